"""Rule score_ifid: see seesaw.ifid.score_ifid."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.external import with_weights
    from seesaw.ifid import Variant, score_ifid
    from seesaw.results import provenance

    default, *variants = (Variant(**variant) for variant in snakemake.params.variants)
    score_ifid(
        autoencoder=snakemake.wildcards.autoencoder,
        **with_weights(snakemake.params.model, snakemake.input.weights),
        images=snakemake.input.images,
        reconstructions=snakemake.input.reconstructions,
        references=snakemake.input.references,
        neighbours=snakemake.input.neighbours,
        network=snakemake.params.network,
        network_weights=snakemake.input.network_weights or None,
        features=snakemake.input.features,
        default=default,
        variants=variants,
        output_scores=snakemake.output.scores,
        output_examples=snakemake.output.examples,
        decode_batch_size=snakemake.resources.batch_size,
        feature_batch_size=snakemake.resources.feature_batch_size,
        posterior=snakemake.params.posterior,
        quantisation=snakemake.params.protocol["quantisation"],
        protocol=snakemake.params.protocol,
        reference=snakemake.params.reference,
        version=snakemake.params.version,
        seed=snakemake.params.seed,
        device=device,
        provenance=provenance(seed=snakemake.params.seed, device=device),
    )
