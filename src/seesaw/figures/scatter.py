"""Scatter plots of autoencoders: one metric against another, numbered points, rho in the title."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from seesaw.figures.style import (
    FULL_WIDTH,
    SMALL,
    axis_label,
    correlation_text,
    group_styles,
    message_figure,
    new_figure,
    styled,
)
from seesaw.score_table import (
    describe,
    distinct,
    few,
    label,
    left_out,
    measured,
    pool,
    values,
    worse,
)
from seesaw.stats import correlate

Cell = tuple[str, str]
"""Metric on the x axis, metric on the y axis."""

Key = Literal["autoencoder", "group"]
"""What the key explains: a number per autoencoder, or a look per group."""

NAMED_UP_TO = 8
"""Points of a panel up to which each is named by its group, where the key explains groups."""

PANEL_HEIGHT = 1.95
RADII = (4.5, 6.0, 8.0, 11.0, 14.0, 18.0, 23.0)
"""Distances in points at which a number is tried around its point."""

BASELINE = {"color": "0.35", "linewidth": 0.7, "linestyle": (0, (4, 3))}

LEADER_FROM = 8.0
"""Numbers farther away than this get a line to their point."""


def figure3(scores: pd.DataFrame, key: Key = "autoencoder") -> tuple[Figure, pd.DataFrame]:
    """Seesaw Figure 3: gFID (when measured), rFID and PSNR against Spatial, identity and CLIP."""
    rows = measured(scores, ("gfid", "rfid", "psnr"))
    columns = measured(scores, ("spatial", "identity", "clip"))
    missing = [m for m in ("gfid", "rfid", "psnr", "spatial", "identity", "clip")
               if m not in (*rows, *columns)]  # fmt: skip
    return scatter_grid(scores, [[(x, y) for y in columns] for x in rows], missing, key)


@styled
def scatter_grid(
    scores: pd.DataFrame,
    cells: Sequence[Sequence[Cell | None]],
    missing: Sequence[str] = (),
    key: Key = "autoencoder",
) -> tuple[Figure, pd.DataFrame]:
    """A grid of scatter plots over autoencoders, duplicated weights left out.

    Every axis points to better, so an upward cloud means that the two metrics agree. Numbers stand
    for autoencoders (key below or in a free cell). The dashed line is the median over autoencoders
    of the shuffled-pair baseline of the y metric, where it is near the points.

    Args:
        scores: checked scores.
        cells: rows of (x metric, y metric); None leaves a place empty. All must be measured.
        missing: metrics that belong here but were not measured; the key names them.
        key: ``"autoencoder"`` numbers every point; ``"group"`` suits large pools: the key has the
            groups only, and panels of few points name them.

    Returns:
        The figure, and a row per panel and autoencoder: its number, x, y and the panel's rho.
    """
    styles = group_styles(scores)
    scores = distinct(scores)
    filled = [cell for row in cells for cell in row if cell is not None]
    if not filled:
        text = ", ".join(label(metric) for metric in missing) or "nothing"
        return message_figure(f"Not measured: {text}"), pd.DataFrame(columns=_POINTS)
    columns = max(len(row) for row in cells)
    figure = new_figure(FULL_WIDTH, PANEL_HEIGHT * len(cells) + key_height(scores, key))
    axes = figure.subplots(len(cells), columns, squeeze=False)
    points, drawn, baseline = [], [], False
    for i, row in enumerate(cells):
        for j in range(columns):
            cell = row[j] if j < len(row) else None
            if cell is None:
                axes[i, j].axis("off")
                continue
            frame = panel_points(scores, *cell)
            same_y = j > 0 and row[j - 1] is not None and row[j - 1][1] == cell[1]
            baseline |= draw_panel(axes[i, j], scores, frame, styles, name_y=not same_y)
            points.append(frame)
            drawn.append((axes[i, j], frame))
    hollow = any(not frame["in_rho"].all() for frame in points)
    draw_key(figure, scores, styles, missing, baseline=baseline, hollow=hollow, key=key)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # numbers are placed in pixels: nothing may move any more
    for axis, frame in drawn:
        if key == "autoencoder" or len(frame) <= NAMED_UP_TO:
            texts = frame["number" if key == "autoencoder" else "group"].astype(str)
            place_numbers(axis, frame[["x", "y"]].to_numpy(), texts.tolist())
    return figure, pd.concat(points, ignore_index=True)


_POINTS = (
    "number", "autoencoder", "group", "x_metric", "x_unit", "x_network", "x",
    "y_metric", "y_unit", "y_network", "y", "y_shuffled",
)  # fmt: skip


def panel_points(scores: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """The points of one panel and, on every row, their oriented Spearman correlation.

    Points that rest on too few images are shown, but are not in it (``in_rho``).
    """
    autoencoders = pool(scores)
    about_x, about_y = describe(scores, x), describe(scores, y)
    frame = pd.DataFrame(
        {
            "number": np.arange(1, len(autoencoders) + 1),
            "autoencoder": autoencoders.index,
            "group": autoencoders["group"].to_numpy(),
            "x_metric": x,
            "x_unit": about_x.unit,
            "x_network": about_x.network,
            "x": values(scores, x).to_numpy(),
            "y_metric": y,
            "y_unit": about_y.unit,
            "y_network": about_y.network,
            "y": values(scores, y).to_numpy(),
            "y_shuffled": values(scores, y, "shuffled").to_numpy(),
        }
    )
    found = correlate(worse(scores, x), worse(scores, y))
    found = found.remarked(left_out(scores, x), left_out(scores, y))
    frame["in_rho"] = (few(scores, x).isna() & few(scores, y).isna()).to_numpy()
    frame.attrs["correlation"] = found
    for name, value in asdict(found).items():
        frame["rho" if name == "value" else name] = value
    return frame[frame[["x", "y"]].notna().all(axis=1)]


def draw_panel(
    axis: Axes,
    scores: pd.DataFrame,
    frame: pd.DataFrame,
    styles: dict[str, tuple[str, str]],
    name_y: bool,
) -> bool:
    """Points, both axes pointing to better, rho in the title; whether a baseline was drawn."""
    size = frame["group"].map(frame["group"].value_counts())
    for row in frame.iloc[np.argsort(-size, kind="stable")].itertuples():  # the rare ones on top
        style = marker_style(styles[row.group])
        if not row.in_rho:
            style |= {"fillstyle": "none", "markeredgecolor": style["color"]}
            style |= {"markeredgewidth": 0.8}
        axis.plot(row.x, row.y, **style, zorder=3)
    axis.margins(0.12)
    axis.locator_params(nbins=5)
    about_x = describe(scores, frame["x_metric"].iloc[0])
    about_y = describe(scores, frame["y_metric"].iloc[0])
    drawn = _draw_baseline(axis, frame)
    if not about_x.higher_is_better:
        axis.invert_xaxis()
    if not about_y.higher_is_better:
        axis.invert_yaxis()
    axis.set_xlabel(axis_label(about_x))
    if name_y:
        axis.set_ylabel(axis_label(about_y, width=28))
    axis.set_title(correlation_text(frame.attrs["correlation"]), loc="left")
    return drawn


def _draw_baseline(axis: Axes, frame: pd.DataFrame) -> bool:
    """A line at the median shuffled-pair baseline if that at most widens the view by a half."""
    level = frame["y_shuffled"].median()
    low, high = axis.get_ylim()
    reach = (high - low) / 2
    if np.isnan(level) or not low - reach <= level <= high + reach:
        return False
    axis.axhline(level, **BASELINE, zorder=1)
    edge = 0.05 * (high - low)
    axis.set_ylim(min(low, level - edge), max(high, level + edge))
    return True


def key_height(scores: pd.DataFrame, key: Key = "autoencoder") -> float:
    """Height of the key below the panels, inches."""
    entries = _key_entries(scores, key)
    return 0.125 * (math.ceil((len(entries) + 1) / _key_columns(entries)) + 2)


def _key_columns(entries: Sequence[tuple[str, str]]) -> int:
    """How many columns of the longest entry fit side by side; all, if all fit."""
    if sum(0.3 + 0.05 * len(text) for text, _ in entries) <= FULL_WIDTH:
        return len(entries)
    longest = max(len(text) for text, _ in entries)
    return max(1, int(FULL_WIDTH / (0.3 + 0.05 * longest)))


def _key_entries(scores: pd.DataFrame, key: Key) -> list[tuple[str, str]]:
    """Words and group of every entry: ``3  rae-b (RAE)``, or ``RAE (n = 2)``."""
    groups = pool(scores)["group"]
    if key == "group":
        return [
            (f"{group} (n = {n})", group) for group, n in groups.value_counts(sort=False).items()
        ]
    return [
        (f"{number}  {name}" + (f" ({group})" if group not in ("", name) else ""), group)
        for number, (name, group) in enumerate(groups.items(), 1)
    ]


def draw_key(
    figure: Figure,
    scores: pd.DataFrame,
    styles: dict[str, tuple[str, str]],
    missing: Sequence[str] = (),
    *,
    baseline: bool = False,
    hollow: bool = False,
    words: str | None = None,
    key: Key = "autoencoder",
) -> None:
    """Below all panels: names and looks, the baseline, how to read the axes, what is missing.

    ``hollow``: some points are, because :func:`seesaw.score_table.left_out` has words on them.
    """
    entries = _key_entries(scores, key)
    handles = [Line2D([], [], **marker_style(styles[group]), label=text) for text, group in entries]
    if baseline:
        handles.append(Line2D([], [], **BASELINE, label="shuffled pairs (chance)"))
    rho = "\N{GREEK SMALL LETTER RHO}"
    words = words or (
        f"All axes point to better. {rho}: Spearman [95% interval], positive if both agree."
    )
    if hollow:
        words += f" Hollow: n too small, not in {rho}."
    if missing:
        words += f" Not measured: {', '.join(label(metric) for metric in missing)}."
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(_key_columns(entries), len(handles)),
        title=words,
        alignment="left",
        handletextpad=0.3,
        columnspacing=0.8,
        labelspacing=0.25,
    )


def marker_style(style: tuple[str, str]) -> dict[str, Any]:
    """Keywords of a point of a group: its colour and marker, as :func:`group_styles` has them."""
    colour, marker = style
    return {
        "linestyle": "",
        "marker": marker,
        "color": colour,
        "markersize": 5.2 if marker in "PX" else 4.2,
        "markeredgecolor": "white",
        "markeredgewidth": 0.3,
    }


def place_numbers(axis: Axes, xy: np.ndarray, texts: Sequence[str]) -> None:
    """Write a text beside each point so that texts avoid each other, all points and the frame.

    A text also avoids places that are nearer to another point than to its own. Each takes the
    cheapest of 16 directions times :data:`RADII`, in order, three rounds; no randomness. The layout
    must be final.
    """
    if not len(xy):
        return
    scale = axis.figure.dpi / 72
    points = axis.transData.transform(xy) / scale
    box = axis.get_window_extent()
    frame = np.array([box.x0, box.y0, box.x1, box.y1]) / scale
    halves = np.array([[0.33 * SMALL * len(text) + 0.4, 0.42 * SMALL] for text in texts])
    angles = np.pi / 4 + np.arange(16) * np.pi / 8
    offsets = np.array([(r * np.cos(a), r * np.sin(a)) for r in RADII for a in angles])
    markers = np.hstack([points - 2.3, points + 2.3])
    centres = np.full_like(points, np.inf)
    for _ in range(3):
        for i in np.lexsort((points[:, 1], points[:, 0])):
            tried = points[i] + offsets
            boxes = np.hstack([tried - halves[i], tried + halves[i]])
            others = np.delete(np.hstack([centres - halves, centres + halves]), i, axis=0)
            others = others[np.isfinite(others).all(axis=1)]
            cost = 10 * _overlap(boxes, others) + 10 * _overlap(boxes, markers)
            cost += 10 * (4 * halves[i].prod() - _overlap(boxes, frame[None]))
            cost += np.hypot(*offsets.T)
            away = np.abs(tried[:, None] - points[None]) - halves[i]
            away = np.hypot(
                *np.moveaxis(np.clip(away, 0, None), 2, 0)
            )  # of each point, to the text
            cost += 4 * np.clip(away[:, [i]] + 1 - np.delete(away, i, axis=1), 0, None).sum(axis=1)
            centres[i] = tried[cost.argmin()]
    for point, centre, place, text in zip(points, centres, xy, texts, strict=True):
        far = np.hypot(*(centre - point)) >= LEADER_FROM
        axis.annotate(
            text, place, xytext=centre - point, textcoords="offset points", ha="center",
            va="center_baseline", fontsize=SMALL, color="0.15", zorder=4, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.35, "color": "0.5", "shrinkA": 2.5,
                        "shrinkB": 2.0} if far else None,
        )  # fmt: skip


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Summed overlap area of each box (x0, y0, x1, y1) with all others."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)
