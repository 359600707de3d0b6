from seesaw.config import segment_recipe


rule train_diffusion:
    """One segment of the training of a SiT on an autoencoder's latents; it goes on from the last."""
    input:
        images="<results>/data/train/manifest.json",
        index="<results>/data/train/index.parquet",
        weights=get_weights,
        start=get_segment_start,
    output:
        state="<results>/diffusion/{autoencoder}/{model}/step{step}.pt",
    log:
        "<results>/logs/train_diffusion/{autoencoder}_{model}_{step}.log",
    benchmark:
        "<results>/benchmarks/train_diffusion/{autoencoder}_{model}_{step}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        gpu=DIFFUSION.get("gpus", 1),
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=1440,
    params:
        version=get_family_version("diffusion"),
        model=get_model,
        patch_size=get_patch_size,
        posterior=config["reconstruct"]["posterior"],
        recipe=segment_recipe(DIFFUSION),
        time_shift_dimensions=DIFFUSION.get("time_shift_dimensions", 4096),
        seed=config["seed"],
    script:
        "../scripts/train_diffusion.py"


rule sample_images:
    """A sample for each evaluation image: its label, noise from its id."""
    input:
        state=get_last_segment,
        images=f"<results>/data/{EVALUATION}/manifest.json",
        index=f"<results>/data/{EVALUATION}/index.parquet",
        weights=get_weights,
    output:
        manifest="<results>/diffusion/{autoencoder}/{model}/samples/{sampler}/manifest.json",
    log:
        "<results>/logs/sample_images/{autoencoder}_{model}_{sampler}.log",
    benchmark:
        "<results>/benchmarks/sample_images/{autoencoder}_{model}_{sampler}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        batch_size=SAMPLE_BATCH_SIZE,
        gpu=1,
        mem_mb=lambda wildcards, attempt: 16000 * attempt,
        runtime=4320,
    params:
        version=get_family_version("samples"),
        model=get_model,
        sampler=lambda wildcards: SAMPLERS[wildcards.sampler],
        shard_size=config["data"]["shard_size"],
        quantisation=OWN_PROTOCOL.quantisation,
        seed=config["seed"],
    script:
        "../scripts/sample_images.py"
