"""Rule gfid_t: see seesaw.figures.generation.gfid_t."""

from seesaw.figures.generation import gfid_t
from seesaw.figures.style import save_figure
from seesaw.log import configure_logging
from seesaw.score_table import read_scores_csv

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    figure, points = gfid_t(read_scores_csv(snakemake.input.scores))
    save_figure(figure, points, dict(snakemake.output.items()))
