from pathlib import Path

from seesaw.versions import code_hash


rule report:
    """One self-contained page that a person opens first."""
    input:
        scores="<results>/tables/scores.csv",
        tables=get_tables,
        figures=get_figures,
        captions=get_captions,
        template=str(ROOT / "src/seesaw/report/template.html"),
    output:
        page="<results>/report/index.html",
    log:
        "<results>/logs/report.log",
    benchmark:
        "<results>/benchmarks/report/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.report.page"),
        config=lambda wildcards: config,
        benchmarks=lambda wildcards, output: str(Path(output.page).parents[1] / "benchmarks"),
    script:
        "../scripts/report.py"
