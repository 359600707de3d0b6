"""Rule sample_grid: see seesaw.figures.samples.sample_grid."""

import pandas as pd

from seesaw.figures.images import choose_ids
from seesaw.figures.samples import class_words, sample_grid
from seesaw.figures.style import save_figure
from seesaw.log import configure_logging
from seesaw.mini.scenes import CLASSES
from seesaw.shards import Shards

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    images = Shards(snakemake.input.images)
    labels = pd.read_parquet(snakemake.input.index).set_index("id")["label"]
    ids = choose_ids(images.ids, snakemake.params.images_shown, snakemake.params.seed)
    ids.sort(key=lambda image_id: (labels[image_id], image_id))
    names = CLASSES if snakemake.params.source == "mini" else None
    words = class_words(labels[ids].tolist(), ids, names)
    samples: dict = {}
    for source, path in zip(snakemake.params.samples, snakemake.input.samples, strict=True):
        autoencoder, model, sampler = source.rsplit("@", 2)
        pictures = Shards(path).take(ids, ["images"])["images"]
        samples.setdefault(f"{model} {sampler}", {})[autoencoder] = pictures
    figure = sample_grid(images.take(ids, ["images"])["images"], samples, labels=words)
    save_figure(figure, pd.DataFrame({"id": ids, "class": words}), dict(snakemake.output.items()))
