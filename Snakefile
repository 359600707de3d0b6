# Paths: <results>/<stage>/<what>/...; the code of a stage is workflow/rules/<stage>.smk and
# src/seesaw/<stage>. A table or figure is <results>/tables/NAME.csv or <results>/figures/NAME.png,
# made by rule NAME, script workflow/scripts/NAME.py and seesaw.tables.NAME or seesaw.figures.NAME.
from snakemake.utils import min_version

min_version("9.27")


pathvars:
    results="results",


# A --configfile stands for the whole config, it is not laid over the papers'.
if "data" not in config:

    configfile: "config/config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common/study.smk"
include: "workflow/rules/common/run.smk"
include: "workflow/rules/common/versions.smk"
include: "workflow/rules/common/weights.smk"
include: "workflow/rules/common/inputs.smk"
include: "workflow/rules/common/scores.smk"
include: "workflow/rules/common/targets.smk"
include: "workflow/rules/assets.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/networks.smk"
include: "workflow/rules/autoencoders.smk"
include: "workflow/rules/reconstruct.smk"
include: "workflow/rules/conditions.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/protocols.smk"
include: "workflow/rules/neighbours.smk"
include: "workflow/rules/ifid.smk"
include: "workflow/rules/diffusability.smk"
include: "workflow/rules/diffusion.smk"
include: "workflow/rules/gfid.smk"
include: "workflow/rules/control.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/published.smk"
include: "workflow/rules/theory.smk"
include: "workflow/rules/toys.smk"


# its outputs are named after the block's conditions
if "probes" in config:

    include: "workflow/rules/probes.smk"


localrules:
    all,


rule all:
    """Everything that the config asks for, and the page that shows it."""
    default_target: True
    input:
        "<results>/report/index.html",
