from seesaw.published.figures import FIGURES as PUBLISHED_FIGURES
from seesaw.published.figures import module_of


rule published_figure:
    """One of the papers' figures from their printed numbers, with a caption that says how sure it is."""
    input:
        data=sorted(map(str, (ROOT / "resources/published").glob("*.csv"))),
    output:
        pdf="<results>/published/figures/{published_figure}.pdf",
        png="<results>/published/figures/{published_figure}.png",
        csv="<results>/published/figures/{published_figure}.csv",
        caption="<results>/published/figures/{published_figure}.txt",
    log:
        "<results>/logs/published_figure/{published_figure}.log",
    benchmark:
        "<results>/benchmarks/published_figure/{published_figure}.tsv"
    conda:
        "../../envs/tables.yaml"
    wildcard_constraints:
        published_figure=any_of(PUBLISHED_FIGURES),
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
