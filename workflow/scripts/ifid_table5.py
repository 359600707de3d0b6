"""Rule ifid_table5: see seesaw.tables.ifid_table5."""

from seesaw.files import write_csv
from seesaw.log import configure_logging
from seesaw.score_table import read_scores_csv
from seesaw.tables import ifid_table5

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    write_csv(snakemake.output.table, ifid_table5(read_scores_csv(snakemake.input.scores)))
