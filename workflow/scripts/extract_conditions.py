"""Rule extract_conditions: see seesaw.conditions.extract_conditions."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.conditions import extract_conditions

    extract_conditions(
        network=snakemake.wildcards.network,
        weights=snakemake.input.weights or None,
        images=snakemake.input.images,
        output=snakemake.output.manifest,
        batch_size=snakemake.resources.batch_size,
        version=snakemake.params.version,
        device=device,
    )
