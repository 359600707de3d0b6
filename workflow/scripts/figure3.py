"""Rule figure3: see seesaw.figures.scatter.figure3."""

from seesaw.figures.scatter import figure3
from seesaw.figures.style import save_figure
from seesaw.log import configure_logging
from seesaw.score_table import read_scores_csv

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    figure, points = figure3(read_scores_csv(snakemake.input.scores))
    save_figure(figure, points, dict(snakemake.output.items()))
