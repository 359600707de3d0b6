"""Rule probe_strip: see seesaw.figures.images.probe_strip."""

import pandas as pd

from seesaw.figures.images import probe_strip, read_probes
from seesaw.figures.style import message_figure, save_figure
from seesaw.log import configure_logging
from seesaw.score_table import network_label
from seesaw.shards import Shards

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    # params.conditions: role -> network; the files are in the order of autoencoders, then roles
    names, networks = snakemake.params.autoencoders, snakemake.params.conditions
    files = iter(snakemake.input.examples)
    truth, predictions, ids = read_probes(
        {name: {role: next(files) for role in networks} for name in names}
    )
    if ids:
        figure = probe_strip(
            Shards(snakemake.input.images).take(ids, ["images"])["images"],
            truth,
            predictions,
            titles={role: f"{role} ({network_label(net)})" for role, net in networks.items()},
        )
    else:
        figure = message_figure("No autoencoder has a latent grid that can be probed.")
    save_figure(figure, pd.DataFrame({"id": ids}), dict(snakemake.output.items()))
