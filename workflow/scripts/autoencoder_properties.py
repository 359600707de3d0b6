"""Rule autoencoder_properties: see seesaw.autoencoder_properties.autoencoder_properties."""

from seesaw.autoencoder_properties import autoencoder_properties
from seesaw.files import read_json, write_csv
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    entries, given = snakemake.params.autoencoders, snakemake.input
    autoencoders = {
        name: {**entry, "manifest": read_json(manifest), "speed": read_json(speed)}
        for (name, entry), manifest, speed in zip(
            entries.items(), given.manifests, given.speeds, strict=True
        )
    }
    write_csv(snakemake.output.table, autoencoder_properties(autoencoders))
