"""Rule table4: see seesaw.tables.table4."""

from seesaw.files import write_csv
from seesaw.log import configure_logging
from seesaw.score_table import read_scores_csv
from seesaw.tables import table4

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    write_csv(snakemake.output.table, table4(read_scores_csv(snakemake.input.scores)))
