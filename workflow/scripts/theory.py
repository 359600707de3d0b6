"""Rule theory: see seesaw.theory.claim.theory."""

import pandas as pd

from seesaw.files import write_csv
from seesaw.log import configure_logging
from seesaw.theory.claim import theory

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    tables = dict(zip(snakemake.params.claims, snakemake.input.tables, strict=True))
    write_csv(snakemake.output.table, theory({name: pd.read_csv(t) for name, t in tables.items()}))
