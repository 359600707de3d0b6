"""Rule protocol_sweep: see seesaw.protocol_tables.protocol_sweep."""

from seesaw.files import write_csv
from seesaw.log import configure_logging
from seesaw.protocol_tables import protocol_sweep
from seesaw.score_table import read_scores_csv

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    write_csv(snakemake.output.table, protocol_sweep(read_scores_csv(snakemake.input.scores)))
