"""Rule fetch_asset: see seesaw.assets.fetch."""

from seesaw.assets import fetch
from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    params = snakemake.params
    fetch(params.asset, params.folder, seed=params.seed, **params.options)
