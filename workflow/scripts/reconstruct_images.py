"""Rule reconstruct_images: see seesaw.reconstruct.reconstruct_images."""

from seesaw.device import claim_device

if __name__ == "__main__":
    device = claim_device(snakemake.resources.gpu)

    from seesaw.log import configure_logging
    from seesaw.reconstruct import reconstruct_images

    configure_logging(snakemake.log[0])
    reconstruct_images(
        **snakemake.params.model,
        weights=snakemake.input.weights or None,
        images=snakemake.input.images,
        output=snakemake.output.manifest,
        batch_size=snakemake.resources.batch_size,
        shard_size=snakemake.params.shard_size,
        posterior=snakemake.params.posterior,
        seed=snakemake.params.seed,
        device=device,
    )
