from seesaw.config import loss_networks


rule score_diffusability:
    """EQ, SE, VF and GMM loss of one frozen autoencoder: how its latents suit a diffusion model."""
    input:
        images=f"<results>/data/{EVALUATION}/manifest.json",
        reconstructions="<results>/reconstruct/{autoencoder}/manifest.json",
        train=get_loss_images,
        weights=get_weights,
        dino_weights=get_loss_weights("dino-large"),
        lpips_weights=get_loss_weights("lpips"),
    output:
        scores="<results>/diffusability/{autoencoder}/scores.json",
    log:
        "<results>/logs/score_diffusability/{autoencoder}.log",
    benchmark:
        "<results>/benchmarks/score_diffusability/{autoencoder}.tsv"
    conda:
        "../../envs/torch.yaml"
    resources:
        batch_size=BATCH_SIZE,
        gpu=1,
        mem_mb=lambda wildcards, attempt: get_loss_memory(wildcards) * attempt,
        runtime=600,
    params:
        version=get_diffusability_version,
        model=get_model,
        networks=lambda wildcards: loss_networks(config),
        options=config.get("diffusability"),
        posterior=config["reconstruct"]["posterior"],
        protocol=get_protocol,
        seed=config["seed"],
    script:
        "../scripts/score_diffusability.py"
