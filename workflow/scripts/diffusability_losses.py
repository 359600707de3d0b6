"""Rule diffusability_losses: see seesaw.tables.diffusability_losses."""

from seesaw.files import write_csv
from seesaw.log import configure_logging
from seesaw.score_table import read_scores_csv
from seesaw.tables import diffusability_losses

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    write_csv(snakemake.output.table, diffusability_losses(read_scores_csv(snakemake.input.scores)))
