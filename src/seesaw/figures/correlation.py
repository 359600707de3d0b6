"""Heatmap of rank correlations between metrics."""

import itertools
import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from seesaw.figures.style import FULL_WIDTH, SMALL, message_figure, new_figure, short, styled
from seesaw.score_table import CONDITIONS, QUALITY, distinct, label, network_of
from seesaw.tables import correlations

SIGNIFICANT = 0.05


@styled
def figure2(scores: pd.DataFrame, seed: int = 0) -> tuple[Figure, pd.DataFrame]:
    """Seesaw Figure 2: Spearman correlation of generation and reconstruction with conditions.

    Oriented: + means that both metrics get worse together. Cells with permutation p >= .05 (not
    corrected for the number of cells) are hatched and their value stands in brackets; a metric that
    was not measured has an empty row or column.

    Returns:
        The figure, and the Spearman rows of :func:`seesaw.tables.correlations` that it shows.
    """
    pairs = list(itertools.product(QUALITY, CONDITIONS))
    table = correlations(scores, seed, pairs=pairs, methods=["spearman"])
    if table["n"].max() == 0:
        return message_figure("Nothing to correlate: no pair of metrics was measured"), table
    figure = new_figure(FULL_WIDTH, 3.3)
    axis = figure.subplots()
    axis.grid(visible=False)
    cells = table.pivot(index="x", columns="y", values="value")
    cells = cells.loc[list(QUALITY), list(CONDITIONS)]
    image = axis.imshow(cells.astype(float), cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for row in table.itertuples():
        _draw_cell(axis, CONDITIONS.index(row.y), QUALITY.index(row.x), row)
    _draw_frame(axis, distinct(scores))
    bar = figure.colorbar(image, ax=axis, fraction=0.03, pad=0.015)
    bar.outline.set_visible(False)
    bar.set_label("Spearman \N{GREEK SMALL LETTER RHO}  (+: worse together)")
    counts = table.loc[table["n"] > 0, "n"]
    n = "-".join(str(count) for count in dict.fromkeys([counts.min(), counts.max()]))
    axis.set_title(
        f"n = {n} autoencoders.  Hatched, in brackets: permutation p \N{GREATER-THAN OR EQUAL TO} .05 "
        "(uncorrected)",
        loc="left",
    )
    return figure, table


def _draw_cell(axis: Axes, x: int, y: int, row: tuple) -> None:
    if row.value is None or np.isnan(row.value):
        axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="0.95", edgecolor="none"))
        text = "not\nmeasured" if "not measured" in row.note else "undefined"
        axis.text(x, y, text, ha="center", va="center", fontsize=SMALL - 1, color="0.45")
        return
    number = short(row.value, 2)
    colour = "white" if abs(row.value) > 0.65 else "black"
    if row.p < SIGNIFICANT:
        axis.text(x, y, number, ha="center", va="center", color=colour)
        return
    axis.add_patch(
        Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="////", edgecolor="0.6", linewidth=0)
    )
    box = {"facecolor": "white", "alpha": 0.8, "pad": 0.6, "linewidth": 0}
    axis.text(x, y, f"({number})", ha="center", va="center", color="black", bbox=box)


def _draw_frame(axis: Axes, scores: pd.DataFrame) -> None:
    """Names with networks; white lines between cells, wider ones between kinds of metric."""

    def name(metric: str, width: int) -> str:
        lines = textwrap.wrap(label(metric), width)
        lines += textwrap.wrap(network_of(scores, metric), width)
        return "\n".join(lines)

    axis.set_xticks(range(len(CONDITIONS)), [name(m, 13) for m in CONDITIONS])
    axis.set_yticks(range(len(QUALITY)), [name(m, 22) for m in QUALITY])
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    for y in range(1, len(QUALITY)):
        axis.axhline(y - 0.5, color="white", linewidth=2.5 if y == 2 else 0.7)
    for x in range(1, len(CONDITIONS)):
        axis.axvline(x - 0.5, color="white", linewidth=2.5 if x in (4, 6) else 0.7)
