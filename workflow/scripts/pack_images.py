"""Rule pack_images: see seesaw.data.pack.pack_images."""

from seesaw.data.pack import pack_images
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    pack_images(
        source=snakemake.params.source,
        split=snakemake.wildcards.split,
        resolution=snakemake.params.resolution,
        crop=snakemake.params.crop,
        shard_size=snakemake.params.shard_size,
        seed=snakemake.params.seed,
        workers=snakemake.threads,
        manifest=snakemake.output.manifest,
        index=snakemake.output.index,
    )
