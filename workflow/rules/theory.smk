from seesaw.theory import CLAIMS
from seesaw.versions import code_hash


rule theory_claim:
    """One claim of the Seesaw paper checked numerically: table, figure, its points, caption."""
    output:
        table="<results>/theory/{claim}.csv",
        pdf="<results>/theory/{claim}.pdf",
        png="<results>/theory/{claim}.png",
        points="<results>/theory/{claim}_points.csv",
        caption="<results>/theory/{claim}.txt",
    log:
        "<results>/logs/theory_claim/{claim}.log",
    benchmark:
        "<results>/benchmarks/theory_claim/{claim}.tsv"
    wildcard_constraints:
        claim="|".join(CLAIMS),
    conda:
        "../../envs/tables.yaml"
    params:
        code=get_claim_code,
        seed=config["seed"],
    script:
        "../scripts/theory_claim.py"


rule theory:
    """All checks of all claims in one table; fails, and names them, if some do not hold."""
    input:
        tables=expand("<results>/theory/{claim}.csv", claim=CLAIMS),
    output:
        table="<results>/theory/theory.csv",
    log:
        "<results>/logs/theory.log",
    benchmark:
        "<results>/benchmarks/theory/all.tsv"
    conda:
        "../../envs/tables.yaml"
    params:
        code=code_hash("seesaw.theory.claim"),
        claims=list(CLAIMS),
    script:
        "../scripts/theory.py"
