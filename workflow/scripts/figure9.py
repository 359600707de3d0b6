"""Rule figure9: see seesaw.figures.sweeps.figure9."""

from seesaw.figures.style import save_figure
from seesaw.figures.sweeps import figure9
from seesaw.log import configure_logging
from seesaw.score_table import read_scores_csv

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    figure, points = figure9(read_scores_csv(snakemake.input.scores))
    save_figure(figure, points, dict(snakemake.output.items()))
