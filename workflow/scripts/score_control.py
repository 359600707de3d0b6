"""Rule score_control: see seesaw.control.score.score_control."""

from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])

    from seesaw.control.score import score_control
    from seesaw.results import provenance

    given, params = snakemake.input, snakemake.params
    score_control(
        autoencoder=snakemake.wildcards.autoencoder,
        condition=snakemake.wildcards.condition,
        network=params.network,
        branch=given.branch,
        hints=given.hints,
        maps=given.maps,
        plain_maps=given.plain_maps or None,
        feature_network=params.feature_network,
        features=given.features,
        real_features=given.real_features,
        plain_features=given.plain_features or None,
        output=snakemake.output.scores,
        protocol=params.protocol,
        version=params.version,
        seed=params.seed,
        provenance=provenance(seed=params.seed),
    )
