"""Heatmap of rank correlations between metrics."""

import itertools
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from seesaw.figures.style import FULL_WIDTH, SMALL, message_figure, new_figure, short, styled
from seesaw.score_table import CONDITIONS, QUALITY, distinct, label, measured, network_of
from seesaw.tables import correlations

SIGNIFICANT = 0.05

KINDS = {
    **dict.fromkeys(("gfid", "ifid"), "generation"),
    **dict.fromkeys(QUALITY[2:], "reconstruction"),
    **dict.fromkeys(("canny", "depth", "segmentation", "spatial"), "spatial"),
    **dict.fromkeys(("identity", "face-recall"), "faces"),
    **dict.fromkeys(("clip", "dino"), "embeddings"),
}


@styled
def figure2(scores: pd.DataFrame, seed: int = 0) -> tuple[Figure, pd.DataFrame]:
    """Seesaw Figure 2: Spearman correlation of generation and reconstruction with conditions.

    Oriented: + means that both metrics get worse together. Cells with permutation p >= .05 (not
    corrected for the number of cells) are hatched and their value stands in brackets. gFID has its
    row even where it was not measured; other metrics that were not measured are named below.

    Returns:
        The figure, and the Spearman rows of :func:`seesaw.tables.correlations`, missing metrics
        included.
    """
    pairs = list(itertools.product(QUALITY, CONDITIONS))
    table = correlations(scores, seed, pairs=pairs, methods=["spearman"])
    if table["value"].isna().all():
        notes = "; ".join(dict.fromkeys(table.loc[table["n"] > 0, "note"])) or "nothing measured"
        return message_figure(f"No correlation of metrics with conditions: {notes}"), table
    there = measured(distinct(scores), (*QUALITY, *CONDITIONS))
    rows = [metric for metric in QUALITY if metric in there or metric == "gfid"]
    columns = [metric for metric in CONDITIONS if metric in there]
    figure = new_figure(FULL_WIDTH, 1.0 + 0.33 * len(rows))
    axis = figure.subplots()
    image = draw_heatmap(axis, table, rows, columns)
    _name_cells(axis, distinct(scores), rows, columns)
    bar = figure.colorbar(image, ax=axis, fraction=0.03, pad=0.015)
    bar.outline.set_visible(False)
    bar.set_label("Spearman \N{GREEK SMALL LETTER RHO}  (+: worse together)")
    counts = table.loc[table["n"] > 0, "n"]
    n = "\N{EN DASH}".join(str(count) for count in dict.fromkeys([counts.min(), counts.max()]))
    words = f"n = {n} autoencoders.  Hatched, in brackets: p \N{GREATER-THAN OR EQUAL TO} .05."
    missing = [label(metric) for metric in (*QUALITY[1:], *CONDITIONS) if metric not in there]
    if missing:
        words += f"  Not measured: {', '.join(missing)}."
    axis.set_title(words, loc="left")
    return figure, table


def draw_heatmap(
    axis: Axes,
    table: pd.DataFrame,
    rows: Sequence[str],
    columns: Sequence[str],
    fontsize: float | None = None,
) -> AxesImage:
    """Cells of rank correlations with their values; those that could be chance are hatched.

    Args:
        axis: where to draw; its ticks are left to the caller.
        table: columns ``x`` (metric of the row), ``y`` (of the column), ``value``, ``p``, ``note``.
        rows: metrics from top to bottom; a wider line parts kinds of metric.
        columns: metrics from left to right.
        fontsize: of the numbers, points.
    """
    axis.grid(visible=False)
    cells = table.pivot(index="x", columns="y", values="value").loc[rows, columns].astype(float)
    image = axis.imshow(cells, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
    for cell in table[table["x"].isin(rows) & table["y"].isin(columns)].itertuples():
        _draw_cell(axis, columns.index(cell.y), rows.index(cell.x), cell, fontsize)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    for draw, metrics in ((axis.axhline, rows), (axis.axvline, columns)):
        for place, (before, after) in enumerate(itertools.pairwise(metrics)):
            wide = KINDS[before] != KINDS[after]
            draw(place + 0.5, color="white", linewidth=2.5 if wide else 0.7)
    return image


def _draw_cell(axis: Axes, x: int, y: int, row: tuple, fontsize: float | None) -> None:
    if row.value is None or np.isnan(row.value):
        axis.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor="0.95", edgecolor="none"))
        text = "not\nmeasured" if "not measured" in row.note else "undefined"
        axis.text(x, y, text, ha="center", va="center", fontsize=SMALL - 1, color="0.45")
        return
    number = short(row.value, 2)
    colour = "white" if abs(row.value) > 0.65 else "black"
    if row.p < SIGNIFICANT:
        axis.text(x, y, number, ha="center", va="center", color=colour, fontsize=fontsize)
        return
    axis.add_patch(
        Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, hatch="////", edgecolor="0.6", linewidth=0)
    )
    box = {"facecolor": "white", "alpha": 0.8, "pad": 0.6, "linewidth": 0}
    style = {"ha": "center", "va": "center", "color": "black", "bbox": box, "fontsize": fontsize}
    axis.text(x, y, f"({number})", **style)


def _name_cells(
    axis: Axes, scores: pd.DataFrame, rows: Sequence[str], columns: Sequence[str]
) -> None:
    """Names with networks."""

    def name(metric: str, width: int) -> str:
        lines = textwrap.wrap(label(metric), width)
        lines += textwrap.wrap(network_of(scores, metric), width)
        return "\n".join(lines)

    axis.set_xticks(range(len(columns)), [name(metric, 13) for metric in columns])
    axis.set_yticks(range(len(rows)), [name(metric, 22) for metric in rows])
