"""Rule theory_claim: see seesaw.theory.claim.run_claim."""

from seesaw.figures.style import save_figure
from seesaw.files import write_csv, write_text
from seesaw.log import configure_logging
from seesaw.theory.claim import run_claim

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    claim = run_claim(snakemake.wildcards.claim, seed=snakemake.params.seed)
    figure = {"pdf": snakemake.output.pdf, "png": snakemake.output.png}
    save_figure(claim.figure, claim.points, figure | {"csv": snakemake.output.points})
    write_csv(snakemake.output.table, claim.table)
    write_text(snakemake.output.caption, claim.caption + "\n")
