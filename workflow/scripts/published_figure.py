"""Rule published_figure: see seesaw.published.figures, a function per figure."""

from seesaw.figures.style import save_figure
from seesaw.files import write_text
from seesaw.log import configure_logging
from seesaw.published.figures import FIGURES

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    draw = FIGURES[snakemake.wildcards.published_figure]
    figure, points, caption = draw(snakemake.params.seed)
    kinds = {kind: snakemake.output[kind] for kind in ("pdf", "png", "csv")}
    save_figure(figure, points, kinds, dpi=300)
    write_text(snakemake.output.caption, caption + "\n")
