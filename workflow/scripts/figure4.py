"""Rule figure4: see seesaw.figures.images.figure4."""

import pandas as pd

from seesaw.figures.images import choose_ids, figure4
from seesaw.figures.style import save_figure
from seesaw.log import configure_logging
from seesaw.score_table import network_label
from seesaw.shards import Shards

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    # params.conditions: role -> network; samples and maps are by autoencoder, then role
    given, networks = snakemake.input, snakemake.params.conditions
    ids = choose_ids(Shards(given.samples[0]).ids, 8, snakemake.params.seed)
    pairs = iter(
        [
            (Shards(s).take(ids, ["images"])["images"], Shards(m).take(ids, ["map"])["map"])
            for s, m in zip(given.samples, given.maps, strict=True)
        ]
    )
    figure = figure4(
        Shards(given.images).take(ids, ["images"])["images"],
        {role: Shards(path).take(ids, ["map"])["map"] for role, path in zip(networks, given.hints)},
        {name: {role: next(pairs) for role in networks} for name in snakemake.params.autoencoders},
        titles={role: f"{role} ({network_label(net)})" for role, net in networks.items()},
    )
    save_figure(figure, pd.DataFrame({"id": ids}), dict(snakemake.output.items()))
