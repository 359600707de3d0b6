from seesaw.config import ifid_variants


rule score_ifid:
    """iFID of one autoencoder, at the default setting and at its variants."""
    input:
        images=f"<results>/data/{EVALUATION}/manifest.json",
        reconstructions="<results>/reconstruct/{autoencoder}/manifest.json",
        references=f"<results>/data/{REFERENCE}/manifest.json",
        neighbours="<results>/neighbours/{autoencoder}/neighbours.parquet",
        features=f"<results>/conditions/{EVALUATION}/{player('inception')}/manifest.json",
        weights=get_weights,
        network_weights=lambda wildcards: weights_of_network(player("inception")),
    output:
        scores="<results>/ifid/{autoencoder}/scores.json",
        examples="<results>/ifid/{autoencoder}/examples.safetensors",
    log:
        "<results>/logs/score_ifid/{autoencoder}.log",
    benchmark:
        "<results>/benchmarks/score_ifid/{autoencoder}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        batch_size=BATCH_SIZE,
        feature_batch_size=FEATURE_BATCH_SIZE,
        gpu=1,
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=600,
    params:
        version=get_ifid_version,
        model=get_model,
        variants=lambda wildcards: list(ifid_variants(config)),
        network=player("inception"),
        posterior=config["reconstruct"]["posterior"],
        protocol=get_protocol,
        reference=REFERENCE,
        seed=config["seed"],
    script:
        "../scripts/score_ifid.py"
