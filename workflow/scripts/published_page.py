"""Rule published_page: see seesaw.published.page.write_page."""

from pathlib import Path

from seesaw.log import configure_logging
from seesaw.published.page import write_page
from seesaw.results import provenance

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    write_page(
        output=Path(snakemake.output.page),
        figures=snakemake.input.figures,
        captions=snakemake.input.captions,
        tables=[*snakemake.input.tables, *snakemake.input.reproduction],
        provenance=provenance(seed=snakemake.params.seed),
    )
