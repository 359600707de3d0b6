"""Rule score_gfid: see seesaw.gfid.score_gfid."""

from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])

    from seesaw.gfid import score_gfid
    from seesaw.results import provenance

    wildcards, params = snakemake.wildcards, snakemake.params
    score_gfid(
        autoencoder=wildcards.autoencoder,
        name=f"{wildcards.model} {wildcards.sampler}",
        samples=snakemake.input.samples,
        references=dict(zip(params.references, snakemake.input.references, strict=True)),
        evaluation=params.evaluation,
        network=params.network,
        network_weights=snakemake.input.network_weights or None,
        plain=params.plain,
        output=snakemake.output.scores,
        protocol={**params.protocol, **params.sampler},
        version=params.version,
        seed=params.seed,
        provenance=provenance(seed=params.seed),
    )
