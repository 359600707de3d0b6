"""Rule network_quality: see seesaw.tables.network_quality."""

from seesaw.files import write_csv
from seesaw.log import configure_logging
from seesaw.results import read_scores
from seesaw.tables import network_quality

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    networks = [read_scores(path)[:2] for path in snakemake.input]
    write_csv(snakemake.output.table, network_quality(networks))
