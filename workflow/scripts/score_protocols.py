"""Rule score_protocols: see seesaw.protocols.score.score_protocols."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.external import with_weights
    from seesaw.protocols import Protocol
    from seesaw.protocols.score import score_protocols
    from seesaw.results import provenance

    given, params = snakemake.input, snakemake.params
    every = {name: Protocol(**axes) for name, axes in params.protocols.items()}
    lpips = {"alex": given.alex_weights or None, "vgg": given.vgg_weights or None}
    score_protocols(
        autoencoder=snakemake.wildcards.autoencoder,
        **with_weights(params.model, given.weights),
        images=given.images,
        protocols={name: p for name, p in every.items() if name in params.scored},
        swept={name: p for name, p in every.items() if name not in params.scored},
        networks=params.networks,
        network_weights=given.network_weights or None,
        references=dict(zip(map(tuple, params.compared), given.references, strict=True)),
        perceptual={net: (name, lpips[net]) for net, name in params.lpips.items()},
        output=snakemake.output.scores,
        batch_size=snakemake.resources.batch_size,
        feature_batch_size=snakemake.resources.feature_batch_size,
        protocol=params.protocol,
        seed=params.seed,
        device=device,
        provenance=provenance(seed=params.seed, device=device),
    )
