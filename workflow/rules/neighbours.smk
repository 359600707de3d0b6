rule find_neighbours:
    """Nearest reference latents of every evaluation latent, in one part of the reference split."""
    input:
        reconstructions="<results>/reconstruct/{autoencoder}/manifest.json",
        references=f"<results>/data/{REFERENCE}/manifest.json",
        weights=get_weights,
    output:
        table="<results>/neighbours/{autoencoder}/part-{part}.parquet",
    log:
        "<results>/logs/find_neighbours/{autoencoder}_{part}.log",
    benchmark:
        "<results>/benchmarks/find_neighbours/{autoencoder}_{part}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        batch_size=FEATURE_BATCH_SIZE,
        gpu=1,
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=600,
    params:
        version=get_family_version("neighbours"),
        model=get_model,
        exclude_self=splits_overlap(),
        options=config.get("neighbours"),
        posterior=config["reconstruct"]["posterior"],
        seed=config["seed"],
    script:
        "../scripts/find_neighbours.py"


rule merge_neighbours:
    """The exact top-K over all parts."""
    input:
        parts=lambda wildcards: expand(
            "<results>/neighbours/{autoencoder}/part-{part}.parquet",
            autoencoder=wildcards.autoencoder,
            part=range(config["neighbours"]["parts"]),
        ),
    output:
        table="<results>/neighbours/{autoencoder}/neighbours.parquet",
    log:
        "<results>/logs/merge_neighbours/{autoencoder}.log",
    benchmark:
        "<results>/benchmarks/merge_neighbours/{autoencoder}.tsv"
    conda:
        "../../envs/tables.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=60,
    params:
        version=get_version("neighbours"),
        k=config.get("neighbours", {}).get("k"),
    script:
        "../scripts/merge_neighbours.py"
