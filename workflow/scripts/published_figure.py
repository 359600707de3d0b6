"""Rule published_figure: see seesaw.published.figures.draw_figure."""

from seesaw.figures.style import save_figure
from seesaw.files import write_text
from seesaw.log import configure_logging
from seesaw.published.figures import draw_figure

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    name = snakemake.wildcards.published_figure
    figure, points, caption = draw_figure(name, snakemake.params.seed)
    kinds = {kind: snakemake.output[kind] for kind in ("pdf", "png", "csv")}
    save_figure(figure, points, kinds)
    write_text(snakemake.output.caption, caption + "\n")
