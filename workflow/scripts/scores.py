"""Rule scores: see seesaw.metrics.collect.merge_scores."""

from seesaw.log import configure_logging
from seesaw.metrics.collect import merge_scores

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    merge_scores(
        scores=snakemake.input.scores,
        autoencoders=snakemake.params.autoencoders,
        output=snakemake.output.table,
    )
