"""Rule merge_neighbours: see seesaw.neighbours.table.merge_neighbours."""

from seesaw.log import configure_logging
from seesaw.neighbours.table import merge_neighbours

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    merge_neighbours(
        parts=snakemake.input.parts, output=snakemake.output.table, k=snakemake.params.k
    )
