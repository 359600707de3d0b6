"""Rule train_autoencoder: see seesaw.autoencoders.train.train_autoencoder."""

from seesaw.device import claim_device
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    device = claim_device(snakemake.resources.gpu)

    from seesaw.autoencoders.train import train_autoencoder
    from seesaw.autoencoders.weights import save_weights
    from seesaw.files import write_json
    from seesaw.networks import load_network
    from seesaw.results import provenance
    from seesaw.shards import Shards

    training = {k: v for k, v in snakemake.params.training.items() if k not in ("init", "teacher")}
    teacher = None
    if snakemake.params.teacher:
        teacher = load_network(snakemake.params.teacher, snakemake.input.teacher or None, device)
    autoencoder, summary = train_autoencoder(
        **snakemake.params.model,
        **{"options": {}, **training},
        images=Shards(snakemake.input.images),
        seed=snakemake.params.seed,
        device=device,
        init=snakemake.input.init or None,
        teacher=teacher,
        what=snakemake.wildcards.autoencoder,
    )
    save_weights(autoencoder, snakemake.output.weights)
    summary["provenance"] = provenance(seed=snakemake.params.seed, device=device)
    write_json(snakemake.output.summary, summary)
