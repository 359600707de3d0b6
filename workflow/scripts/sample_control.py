"""Rule sample_control: see seesaw.control.sample.sample_control."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.control.sample import sample_control
    from seesaw.external import with_weights

    given, params = snakemake.input, snakemake.params
    sample_control(
        branch=given.branch,
        backbone={
            **params.backbone,
            "weights": given.backbone,
            "latents": given.latents or None,
        },
        **with_weights(params.model, given.weights),
        images=given.images,
        index=given.index,
        maps=given.maps,
        count=None if params.chosen == "all" else params.chosen,
        output=snakemake.output.manifest,
        batch_size=snakemake.resources.batch_size,
        shard_size=params.shard_size,
        version=params.version,
        seed=params.seed,
        quantisation=params.quantisation,
        device=device,
    )
