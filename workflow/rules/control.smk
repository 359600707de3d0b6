from seesaw.versions import code_hash


rule train_control:
    """A ControlNet branch on the frozen diffusion model of an autoencoder, for one condition."""
    input:
        images="<results>/data/train/manifest.json",
        index="<results>/data/train/index.parquet",
        maps=get_condition_maps("train"),
        weights=get_weights,
        backbone=get_backbone,
        latents=get_backbone_latents,
    output:
        branch="<results>/control/{autoencoder}/{condition}/branch.safetensors",
    log:
        "<results>/logs/train_control/{autoencoder}_{condition}.log",
    benchmark:
        "<results>/benchmarks/train_control/{autoencoder}_{condition}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=2880,
    params:
        version=get_control_version("control"),
        model=get_controlled_model,
        backbone=get_backbone_options,
        posterior=config["reconstruct"]["posterior"],
        recipe=CONTROL.get("train"),
        depth=CONTROL.get("depth"),
        seed=config["seed"],
    script:
        "../scripts/train_control.py"


rule sample_control:
    """A sample per evaluation image: its label and its condition, noise from its id."""
    input:
        branch="<results>/control/{autoencoder}/{condition}/branch.safetensors",
        images=f"<results>/data/{EVALUATION}/manifest.json",
        index=f"<results>/data/{EVALUATION}/index.parquet",
        maps=get_condition_maps(EVALUATION),
        weights=get_weights,
        backbone=get_backbone,
        latents=get_backbone_latents,
    output:
        manifest="<results>/control/{autoencoder}/{condition}/samples/manifest.json",
    log:
        "<results>/logs/sample_control/{autoencoder}_{condition}.log",
    benchmark:
        "<results>/benchmarks/sample_control/{autoencoder}_{condition}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        batch_size=SAMPLE_BATCH_SIZE,
        gpu=1,
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=4320,
    params:
        version=get_control_version("control-samples"),
        model=get_controlled_model,
        backbone=get_backbone_options,
        chosen=CONTROL_IMAGES,
        shard_size=config["data"]["shard_size"],
        quantisation=OWN_PROTOCOL.quantisation,
        seed=config["seed"],
    script:
        "../scripts/sample_control.py"


rule score_control:
    """FID under control and how far samples are from their condition, with baselines."""
    input:
        branch="<results>/control/{autoencoder}/{condition}/branch.safetensors",
        hints=get_condition_maps(EVALUATION),
        maps=get_control_found(),
        plain_maps=get_plain_found(),
        features=get_control_found("inception"),
        real_features=f"<results>/conditions/{EVALUATION}/{player('inception')}/manifest.json",
        plain_features=get_plain_found("inception"),
    output:
        scores="<results>/control/{autoencoder}/{condition}/scores.json",
    log:
        "<results>/logs/score_control/{autoencoder}_{condition}.log",
    benchmark:
        "<results>/benchmarks/score_control/{autoencoder}_{condition}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=120,
    params:
        version=get_version("control"),
        code=code_hash("seesaw.control.score", without="seesaw.registry"),
        network=lambda wildcards: player(wildcards.condition),
        feature_network=player("inception"),
        protocol=get_protocol,
        seed=config["seed"],
    script:
        "../scripts/score_control.py"
