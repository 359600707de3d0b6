"""Rule score_diffusability: see seesaw.diffusability.score.score_diffusability."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.diffusability.score import score_diffusability
    from seesaw.external import with_weights
    from seesaw.results import provenance

    score_diffusability(
        autoencoder=snakemake.wildcards.autoencoder,
        **with_weights(snakemake.params.model, snakemake.input.weights),
        images=snakemake.input.images,
        reconstructions=snakemake.input.reconstructions,
        train=snakemake.input.train or None,
        networks=snakemake.params.networks,
        network_weights={
            "dino-large": snakemake.input.dino_weights or None,
            "lpips": snakemake.input.lpips_weights or None,
        },
        options=snakemake.params.options,
        output_scores=snakemake.output.scores,
        batch_size=snakemake.resources.batch_size,
        posterior=snakemake.params.posterior,
        protocol=snakemake.params.protocol,
        seed=snakemake.params.seed,
        device=device,
        provenance=provenance(seed=snakemake.params.seed, device=device),
    )
