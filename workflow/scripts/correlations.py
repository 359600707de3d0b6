"""Rule correlations: see seesaw.tables.correlations."""

from seesaw.files import write_csv
from seesaw.log import configure_logging
from seesaw.score_table import read_scores_csv
from seesaw.tables import correlations

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    write_csv(snakemake.output.table, correlations(read_scores_csv(snakemake.input.scores)))
