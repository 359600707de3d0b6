"""Rule collect_scores: see seesaw.metrics.collect.collect_scores."""

from seesaw.log import configure_logging
from seesaw.metrics.collect import collect_scores

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    collect_scores(
        scores=snakemake.input.scores,
        manifests=snakemake.input.manifests,
        autoencoders=snakemake.params.autoencoders,
        data=snakemake.params.data,
        output=snakemake.output.table,
    )
