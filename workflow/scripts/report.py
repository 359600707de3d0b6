"""Rule report: see seesaw.report.write_report."""

from pathlib import Path

from seesaw.log import configure_logging
from seesaw.report import benchmark_table, item_name, read_captions, write_report
from seesaw.results import provenance

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    config = snakemake.params.config
    write_report(
        output=Path(snakemake.output.page),
        title=config["name"],
        config=config,
        tables={item_name(path): path for path in snakemake.input.tables},
        figures={item_name(path): path for path in snakemake.input.figures},
        captions=read_captions(snakemake.input.captions, config),
        scores=Path(snakemake.input.scores),
        provenance=provenance(seed=config["seed"]),
        benchmarks=benchmark_table(snakemake.params.benchmarks),
    )
