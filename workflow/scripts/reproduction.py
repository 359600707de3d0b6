"""Rule reproduction: see seesaw.published.reproduction."""

from seesaw.files import write_csv, write_text
from seesaw.log import configure_logging
from seesaw.published.reproduction import page, read_own, reproduction

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    table = reproduction(read_own(snakemake.params.own.get("path")))
    write_csv(snakemake.output.table, table)
    write_text(snakemake.output.page, page(table))
