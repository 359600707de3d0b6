"""Rule score_gfid_times: see seesaw.gfid_times.score_gfid_times."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.diffusion.samplers import Sampler
    from seesaw.external import with_weights
    from seesaw.gfid_times import score_gfid_times
    from seesaw.results import provenance

    score_gfid_times(
        autoencoder=snakemake.wildcards.autoencoder,
        model_name=snakemake.wildcards.model,
        checkpoint=snakemake.input.state,
        **with_weights(snakemake.params.model, snakemake.input.weights),
        images=snakemake.input.images,
        reconstructions=snakemake.input.reconstructions,
        index=snakemake.input.index,
        network=snakemake.params.network,
        network_weights=snakemake.input.network_weights or None,
        features=snakemake.input.features,
        times=snakemake.params.times,
        sampler=Sampler(**snakemake.params.sampler),
        output=snakemake.output.scores,
        output_examples=snakemake.output.examples,
        decode_batch_size=snakemake.resources.batch_size,
        feature_batch_size=snakemake.resources.feature_batch_size,
        protocol=snakemake.params.protocol,
        quantisation=snakemake.params.protocol["quantisation"],
        version=snakemake.params.version,
        seed=snakemake.params.seed,
        device=device,
        provenance=provenance(seed=snakemake.params.seed, device=device),
    )
