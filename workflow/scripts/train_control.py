"""Rule train_control: see seesaw.control.job.train_control."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.control.job import train_control
    from seesaw.external import with_weights

    given, params = snakemake.input, snakemake.params
    train_control(
        backbone={
            **params.backbone,
            "weights": given.backbone,
            "latents": given.latents or None,
        },
        **with_weights(params.model, given.weights),
        images=given.images,
        index=given.index,
        maps=given.maps,
        posterior=params.posterior,
        recipe=params.recipe,
        depth=params.depth,
        output=snakemake.output.branch,
        seed=params.seed,
        device=device,
        what=f"{snakemake.wildcards.condition} branch on {snakemake.wildcards.autoencoder}",
    )
