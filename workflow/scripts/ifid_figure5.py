"""Rule ifid_figure5: see seesaw.figures.images.ifid_figure5."""

import pandas as pd

from seesaw.figures.images import ifid_figure5, read_examples
from seesaw.figures.style import save_figure
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    examples, ids = read_examples(
        dict(zip(snakemake.params.autoencoders, snakemake.input.examples, strict=True))
    )
    figure = ifid_figure5(examples, ids)
    save_figure(figure, pd.DataFrame({"id": ids}), dict(snakemake.output.items()))
