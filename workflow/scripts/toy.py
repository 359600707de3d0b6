"""Rule toy: see seesaw.toys, a module and function of the toy's name."""

from seesaw.log import configure_logging

if __name__ == "__main__":
    configure_logging(snakemake.log[0])

    from seesaw.figures.style import save_figure
    from seesaw.files import write_csv
    from seesaw.registry import resolve

    name = snakemake.wildcards.toy
    toy = resolve(f"seesaw.toys.{name}:{name}")(snakemake.params.seeds)
    outputs = {kind: snakemake.output[kind] for kind in ("pdf", "png", "csv")}
    save_figure(toy.figure, toy.table, outputs, dpi=300)
    write_csv(snakemake.output.points, toy.points)
