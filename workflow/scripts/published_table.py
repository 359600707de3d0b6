"""Rule published_table: see seesaw.published.tables."""

from seesaw.files import write_csv
from seesaw.log import configure_logging
from seesaw.published.tables import make_table

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    table = make_table(snakemake.wildcards.table, seed=snakemake.params.seed)
    write_csv(snakemake.output.table, table)
