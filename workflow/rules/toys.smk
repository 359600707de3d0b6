# Toy examples of the iFID paper. They read no data: seeds are the config's and those that follow.
from seesaw.toys import TOYS
from seesaw.versions import code_hash


localrules:
    toys,


rule toys:
    """The toy examples of the iFID paper, Figures 3 and 4."""
    input:
        expand("<results>/toys/{toy}.png", toy=TOYS),


rule toy:
    """One toy example: small diffusion models on Gaussian mixtures, over several seeds."""
    output:
        pdf="<results>/toys/{toy}.pdf",
        png=report(
            "<results>/toys/{toy}.png",
            caption="../report/toy.rst",
            category="Toys",
        ),
        csv="<results>/toys/{toy}.csv",
        points="<results>/toys/{toy}_points.csv",
    log:
        "<results>/logs/toy/{toy}.log",
    benchmark:
        "<results>/benchmarks/toy/{toy}.tsv"
    wildcard_constraints:
        toy=any_of(TOYS),
    conda:
        "../../envs/torch.yaml"
    params:
        code=lambda wildcards: code_hash(f"seesaw.toys.{wildcards.toy}"),
        seeds=list(range(config["seed"], config["seed"] + 5)),
    script:
        "../scripts/toy.py"
