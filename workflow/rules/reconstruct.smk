from seesaw.limits import job_minutes


rule reconstruct_images:
    """Encode and decode the evaluation images in one pass; keep images and latents."""
    input:
        images=f"<results>/data/{EVALUATION}/manifest.json",
        weights=get_weights,
    output:
        manifest="<results>/reconstruct/{autoencoder}/manifest.json",
        speed="<results>/reconstruct/{autoencoder}/speed.json",
    log:
        "<results>/logs/reconstruct_images/{autoencoder}.log",
    benchmark:
        "<results>/benchmarks/reconstruct_images/{autoencoder}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        batch_size=BATCH_SIZE,
        gpu=1,
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=lambda wildcards, attempt: job_minutes(
            "reconstruct_images", wildcards, config, least=120, attempt=attempt
        ),
    params:
        version=get_family_version("reconstruct"),
        model=get_model,
        shard_size=config["data"]["shard_size"],
        posterior=config["reconstruct"]["posterior"],
        quantisation=OWN_PROTOCOL.quantisation,
        seed=config["seed"],
    script:
        "../scripts/reconstruct_images.py"
