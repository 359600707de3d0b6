# What the papers' own numbers say: resources/published, neither images nor weights nor a GPU.
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


rule published:
    """Everything that follows from the papers' own numbers."""
    input:
        tables=expand("<results>/published/tables/{table}.csv", table=PUBLISHED_TABLES),
        reproduction="<results>/tables/reproduction.csv",
