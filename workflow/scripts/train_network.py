"""Rule train_network: see the 'train' function of the network's module (seesaw.mini)."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.files import write_tensors
    from seesaw.registry import NETWORKS, resolve
    from seesaw.results import provenance, write_scores
    from seesaw.shards import Shards

    name = snakemake.wildcards.network
    state, quality = resolve(NETWORKS[name].trainer)(
        Shards(snakemake.input.train),
        Shards(snakemake.input.validation),
        seed=snakemake.params.seed,
        device=device,
        **snakemake.params.options,
    )
    write_tensors(snakemake.output.weights, state)
    write_scores(
        snakemake.output.quality,
        autoencoder=name,
        scores=quality,
        provenance=provenance(seed=snakemake.params.seed, device=device),
    )
