rule train_probe:
    """Train decoders of condition maps on one autoencoder's latents, and score their maps."""
    input:
        images="<results>/data/train/manifest.json",
        weights=get_weights,
        latents="<results>/reconstruct/{autoencoder}/manifest.json",
        train_maps=[
            f"<results>/conditions/train/{player(c)}/manifest.json" for c in PROBES["conditions"]
        ],
        maps=[
            f"<results>/conditions/{EVALUATION}/{player(c)}/manifest.json"
            for c in PROBES["conditions"]
        ],
    output:
        scores=expand(
            "<results>/probes/{{autoencoder}}/{condition}.json",
            condition=PROBES["conditions"],
        ),
        weights=expand(
            "<results>/probes/{{autoencoder}}/{condition}.safetensors",
            condition=PROBES["conditions"],
        ),
        examples=expand(
            "<results>/probes/{{autoencoder}}/examples/{condition}.safetensors",
            condition=PROBES["conditions"],
        ),
    log:
        "<results>/logs/train_probe/{autoencoder}.log",
    benchmark:
        "<results>/benchmarks/train_probe/{autoencoder}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=1440,
    params:
        version=get_probe_version,
        model=get_model,
        conditions={c: player(c) for c in PROBES["conditions"]},
        train_images=PROBES.get("train_images"),
        options={
            key: PROBES[key]
            for key in ("widths", "epochs", "patience", "batch_size", "lr")
            if key in PROBES
        },
        protocol=get_protocol,
        seed=config["seed"],
    script:
        "../scripts/train_probe.py"
