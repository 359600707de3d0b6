"""Rule protocols: see seesaw.protocol_tables.protocols."""

from seesaw.files import write_csv
from seesaw.log import configure_logging
from seesaw.protocol_tables import protocols
from seesaw.score_table import read_scores_csv

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    write_csv(snakemake.output.table, protocols(read_scores_csv(snakemake.input.scores)))
