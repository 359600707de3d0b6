"""Rule autoencoder_grid: see seesaw.figures.images.autoencoder_grid."""

import pandas as pd

from seesaw.figures.gallery import read_numbers
from seesaw.figures.images import autoencoder_grid, choose_ids
from seesaw.figures.style import save_figure
from seesaw.log import configure_logging
from seesaw.shards import Shards

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    images = Shards(snakemake.input.images)
    ids = choose_ids(images.ids, snakemake.params.images_shown, snakemake.params.seed)
    names = list(snakemake.params.autoencoders)
    manifests = dict(zip(names, snakemake.input.reconstructions, strict=True))
    tables = dict(zip(names, snakemake.input.psnr, strict=True))
    figure = autoencoder_grid(
        images.take(ids, ["images"])["images"],
        {name: Shards(path).take(ids, ["images"])["images"] for name, path in manifests.items()},
        {name: read_numbers({"psnr": path})["psnr"].mean() for name, path in tables.items()},
    )
    save_figure(figure, pd.DataFrame({"id": ids}), dict(snakemake.output.items()))
