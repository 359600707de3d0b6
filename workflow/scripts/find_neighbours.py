"""Rule find_neighbours: see seesaw.neighbours.search.find_neighbours."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.external import with_weights
    from seesaw.neighbours.search import find_neighbours

    options = snakemake.params.options
    find_neighbours(
        **with_weights(snakemake.params.model, snakemake.input.weights),
        reconstructions=snakemake.input.reconstructions,
        references=snakemake.input.references,
        output=snakemake.output.table,
        exclude_self=snakemake.params.exclude_self,
        distances=options["distances"],
        sizes=options["references"],
        k=options["k"],
        part=int(snakemake.wildcards.part),
        parts=options["parts"],
        batch_size=snakemake.resources.batch_size,
        posterior=snakemake.params.posterior,
        seed=snakemake.params.seed,
        device=device,
    )
