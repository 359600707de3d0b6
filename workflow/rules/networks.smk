from seesaw.registry import NETWORKS


rule train_network:
    """Train a detector or feature network of the mini world, and measure it on held-out truth."""
    input:
        train="<results>/data/train/manifest.json",
        validation=f"<results>/data/{EVALUATION}/manifest.json",
    output:
        weights="<results>/networks/{network}/weights.safetensors",
        quality="<results>/networks/{network}/quality.json",
    log:
        "<results>/logs/train_network/{network}.log",
    benchmark:
        "<results>/benchmarks/train_network/{network}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=60,
    params:
        version=lambda wildcards: NETWORKS[wildcards.network].version,
        options=lambda wildcards: PLAYERS[wildcards.network].get("train", {}),
        seed=config["seed"],
    script:
        "../scripts/train_network.py"
