# What the papers' own numbers say: resources/published, neither images nor weights nor a GPU.
from seesaw.published.figures import FIGURES as PUBLISHED_FIGURES
from seesaw.published.figures import module_of
from seesaw.versions import code_hash

PUBLISHED_TABLES = [
    "table2",
    "table5",
    "noise",
    "correlations",
    "comparisons",
    "regret",
    "ifid_table1",
    "ifid_table3",
    "ifid_table4",
    "ifid_table5",
    "ifid_vs_gfid",
    "ifid_subsets",
    "cross_paper",
    "cross_paper_correlations",
]
PUBLISHED_FILES = sorted(str(path) for path in (ROOT / "resources/published").glob("*.csv"))


localrules:
    published,


rule published_table:
    """One table of the published numbers; the wildcard names it and its function."""
    input:
        PUBLISHED_FILES,
    output:
        table=report(
            "<results>/published/tables/{table}.csv",
            caption="../report/published_table.rst",
            category="Published numbers",
            labels={"table": "{table}"},
        ),
    log:
        "<results>/logs/published_table/{table}.log",
    benchmark:
        "<results>/benchmarks/published_table/{table}.tsv"
    wildcard_constraints:
        table=any_of(PUBLISHED_TABLES),
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.published.tables"),
        seed=config["seed"],
    script:
        "../scripts/published_table.py"


rule reproduction:
    """Our scores beside the published ones; whatever of them there is."""
    input:
        PUBLISHED_FILES,
    output:
        table=report(
            "<results>/tables/reproduction.csv",
            caption="../report/reproduction.rst",
            category="Published numbers",
        ),
        page="<results>/tables/reproduction.html",
    log:
        "<results>/logs/reproduction.log",
    benchmark:
        "<results>/benchmarks/reproduction/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.published.reproduction"),
        own=get_own_scores,
    script:
        "../scripts/reproduction.py"


rule published_figure:
    """One of the papers' figures from their printed numbers, with a caption that says how sure it is."""
    input:
        PUBLISHED_FILES,
    output:
        pdf="<results>/published/figures/{published_figure}.pdf",
        png="<results>/published/figures/{published_figure}.png",
        csv="<results>/published/figures/{published_figure}.csv",
        caption="<results>/published/figures/{published_figure}.txt",
    log:
        "<results>/logs/published_figure/{published_figure}.log",
    benchmark:
        "<results>/benchmarks/published_figure/{published_figure}.tsv"
    wildcard_constraints:
        published_figure=any_of(PUBLISHED_FIGURES),
    conda:
        "../../envs/tables.yaml"
    params:
        code=lambda wildcards: code_hash(module_of(wildcards.published_figure)),
        seed=config["seed"],
    script:
        "../scripts/published_figure.py"


rule published_page:
    """All figures from the published numbers on one page, with links to the tables."""
    input:
        figures=expand(
            "<results>/published/figures/{published_figure}.png",
            published_figure=PUBLISHED_FIGURES,
        ),
        captions=expand(
            "<results>/published/figures/{published_figure}.txt",
            published_figure=PUBLISHED_FIGURES,
        ),
        tables=expand("<results>/published/tables/{table}.csv", table=PUBLISHED_TABLES),
        reproduction=["<results>/tables/reproduction.csv", "<results>/tables/reproduction.html"],
        templates=[
            str(ROOT / f"src/seesaw/report/{name}.html") for name in ("published", "template")
        ],
    output:
        page="<results>/published/index.html",
    log:
        "<results>/logs/published_page.log",
    benchmark:
        "<results>/benchmarks/published_page/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.published.page"),
        seed=config["seed"],
    script:
        "../scripts/published_page.py"


rule published:
    """Everything that follows from the papers' own numbers."""
    input:
        tables=expand("<results>/published/tables/{table}.csv", table=PUBLISHED_TABLES),
        reproduction="<results>/tables/reproduction.csv",
        page="<results>/published/index.html",
