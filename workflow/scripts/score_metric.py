"""Rule score_metric: see seesaw.metrics.score.score_metric."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.metrics.score import score_metric

    score_metric(
        metric=snakemake.wildcards.metric,
        autoencoder=snakemake.wildcards.autoencoder,
        reference=snakemake.input.reference,
        source=snakemake.input.source,
        network=snakemake.params.network,
        weights=snakemake.input.weights or None,
        protocol=snakemake.params.protocol,
        seed=snakemake.params.seed,
        batch_size=snakemake.resources.batch_size,
        device=device,
        output_scores=snakemake.output.scores,
        output_images=snakemake.output.images,
        provenance_extra={"device": device},
    )
