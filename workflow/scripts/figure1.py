"""Rule figure1: see seesaw.figures.generation.figure1."""

from seesaw.figures.generation import figure1
from seesaw.figures.style import save_figure
from seesaw.log import configure_logging
from seesaw.score_table import read_scores_csv

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    figure, points = figure1(read_scores_csv(snakemake.input.scores))
    save_figure(figure, points, dict(snakemake.output.items()))
