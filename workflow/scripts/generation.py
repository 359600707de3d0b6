"""Rule generation: see seesaw.generation_tables.generation."""

from seesaw.files import write_csv
from seesaw.generation_tables import generation
from seesaw.log import configure_logging
from seesaw.score_table import read_scores_csv

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    write_csv(snakemake.output.table, generation(read_scores_csv(snakemake.input.scores)))
