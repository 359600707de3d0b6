"""Rule ifid_table2: see seesaw.generation_tables.ifid_table2."""

from seesaw.files import read_json, write_csv
from seesaw.generation_tables import ifid_table2
from seesaw.log import configure_logging
from seesaw.score_table import read_scores_csv

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    entries, manifests = snakemake.params.autoencoders, snakemake.input.reconstructions
    autoencoders = {
        name: {**entry, **read_json(manifest)["meta"]}
        for (name, entry), manifest in zip(entries.items(), manifests, strict=True)
    }
    scores = read_scores_csv(snakemake.input.scores)
    write_csv(snakemake.output.table, ifid_table2(scores, autoencoders))
