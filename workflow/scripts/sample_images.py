"""Rule sample_images: see seesaw.diffusion.sample.sample_images."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.diffusion.sample import sample_images
    from seesaw.diffusion.samplers import Sampler
    from seesaw.external import with_weights

    sample_images(
        checkpoint=snakemake.input.state,
        **with_weights(snakemake.params.model, snakemake.input.weights),
        images=snakemake.input.images,
        index=snakemake.input.index,
        sampler=Sampler(**snakemake.params.sampler),
        output=snakemake.output.manifest,
        batch_size=snakemake.resources.batch_size,
        shard_size=snakemake.params.shard_size,
        version=snakemake.params.version,
        seed=snakemake.params.seed,
        quantisation=snakemake.params.quantisation,
        device=device,
    )
