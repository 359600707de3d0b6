"""Rule ifid_figure2: see seesaw.figures.samples.ifid_figure2."""

import pandas as pd

from seesaw.figures.samples import class_words, ifid_figure2, read_denoised
from seesaw.figures.style import save_figure
from seesaw.log import configure_logging
from seesaw.mini.scenes import CLASSES

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    images, denoised, ids, times = read_denoised(
        dict(zip(snakemake.params.autoencoders, snakemake.input.examples, strict=True))
    )
    labels = pd.read_parquet(snakemake.input.index).set_index("id").loc[ids, "label"].tolist()
    words = class_words(labels, ids, CLASSES if snakemake.params.source == "mini" else None)
    figure = ifid_figure2(images, denoised, ids=ids, times=times, titles=words)
    save_figure(figure, pd.DataFrame({"id": ids, "class": words}), dict(snakemake.output.items()))
