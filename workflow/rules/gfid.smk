rule score_gfid:
    """gFID of one set of samples, with KID, Inception Score, precision and recall."""
    input:
        samples=get_sample_features,
        references=get_references,
        network_weights=lambda wildcards: weights_of_network(player("inception")),
    output:
        scores="<results>/gfid/{autoencoder}/{model}/{sampler}.json",
    log:
        "<results>/logs/score_gfid/{autoencoder}_{model}_{sampler}.log",
    benchmark:
        "<results>/benchmarks/score_gfid/{autoencoder}_{model}_{sampler}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=120,
    params:
        version=get_version("gfid"),
        references=list(REFERENCES),
        evaluation=EVALUATION,
        sampler=lambda wildcards: SAMPLERS[wildcards.sampler],
        plain=lambda wildcards: (wildcards.model, wildcards.sampler) == PLAIN,
        network=player("inception"),
        protocol=get_protocol,
        seed=config["seed"],
    script:
        "../scripts/score_gfid.py"


rule score_gfid_times:
    """gFID(t): evaluation latents noised to t and denoised, with examples; the diffusion loss."""
    input:
        state=get_last_segment,
        images=f"<results>/data/{EVALUATION}/manifest.json",
        reconstructions="<results>/reconstruct/{autoencoder}/manifest.json",
        index=f"<results>/data/{EVALUATION}/index.parquet",
        features=f"<results>/conditions/{EVALUATION}/{player('inception')}/manifest.json",
        weights=get_weights,
        network_weights=lambda wildcards: weights_of_network(player("inception")),
    output:
        scores="<results>/gfid/{autoencoder}/{model}/times.json",
        examples="<results>/gfid/{autoencoder}/{model}/examples.safetensors",
    log:
        "<results>/logs/score_gfid_times/{autoencoder}_{model}.log",
    benchmark:
        "<results>/benchmarks/score_gfid_times/{autoencoder}_{model}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        batch_size=BATCH_SIZE,
        feature_batch_size=FEATURE_BATCH_SIZE,
        gpu=1,
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=4320,
    params:
        version=get_family_version("gfid-times"),
        model=get_model,
        times=config.get("gfid", {}).get("times"),
        sampler=SAMPLERS.get(PLAIN[1]),
        network=player("inception"),
        protocol=get_protocol,
        seed=config["seed"],
    script:
        "../scripts/score_gfid_times.py"
