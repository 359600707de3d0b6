"""Rule train_probe: see seesaw.probes.job.probe_latents."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.external import with_weights
    from seesaw.probes.job import Condition, probe_latents
    from seesaw.results import provenance

    # params.conditions: role -> network, in the order of all lists of files
    conditions = [
        Condition(
            name=role,
            network=network,
            train_maps=snakemake.input.train_maps[place],
            maps=snakemake.input.maps[place],
            scores=snakemake.output.scores[place],
            weights=snakemake.output.weights[place],
            examples=snakemake.output.examples[place],
        )
        for place, (role, network) in enumerate(snakemake.params.conditions.items())
    ]
    count = snakemake.params.train_images
    probe_latents(
        autoencoder=snakemake.wildcards.autoencoder,
        **with_weights(snakemake.params.model, snakemake.input.weights),
        images=snakemake.input.images,
        latents=snakemake.input.latents,
        conditions=conditions,
        train_images=None if count == "all" else count,
        options=snakemake.params.options,
        protocol=snakemake.params.protocol,
        version=snakemake.params.version,
        seed=snakemake.params.seed,
        device=device,
        provenance=provenance(seed=snakemake.params.seed, device=device),
    )
