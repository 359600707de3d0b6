"""Rule ifid_table3: see seesaw.generation_tables.ifid_table3."""

from seesaw.files import write_csv
from seesaw.generation_tables import ifid_table3
from seesaw.log import configure_logging
from seesaw.score_table import read_scores_csv

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    write_csv(snakemake.output.table, ifid_table3(read_scores_csv(snakemake.input.scores)))
