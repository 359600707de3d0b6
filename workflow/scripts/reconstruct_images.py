"""Rule reconstruct_images: see seesaw.reconstruct.reconstruct_images."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.external import with_weights
    from seesaw.reconstruct import reconstruct_images

    reconstruct_images(
        **with_weights(snakemake.params.model, snakemake.input.weights),
        images=snakemake.input.images,
        output=snakemake.output.manifest,
        output_speed=snakemake.output.speed,
        batch_size=snakemake.resources.batch_size,
        shard_size=snakemake.params.shard_size,
        posterior=snakemake.params.posterior,
        quantisation=snakemake.params.quantisation,
        version=snakemake.params.version,
        seed=snakemake.params.seed,
        device=device,
    )
