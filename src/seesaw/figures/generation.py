"""Figures of the generating half: gFID against drift, against rFID and iFID, and gFID(t)."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from seesaw.figures.scatter import (
    draw_key,
    draw_panel,
    key_height,
    marker_style,
    panel_points,
    place_numbers,
)
from seesaw.figures.style import (
    FULL_WIDTH,
    METRIC_INKS,
    SMALL,
    correlation_text,
    group_styles,
    message_figure,
    new_figure,
    short,
    styled,
)
from seesaw.generation_tables import drift_metric
from seesaw.score_table import (
    Samples,
    describe,
    distinct,
    gfid_curve,
    label,
    measured,
    pool,
    sample_sets,
    values,
    worse,
)
from seesaw.stats import Correlation, correlate

PANEL = 2.05
"""Height of a row of panels, inches."""
CROWD = 14
"""Lines from which on their numbers need more room."""
ARROW = "\N{RIGHTWARDS ARROW}"
RHO = "\N{GREEK SMALL LETTER RHO}"


@styled
def figure1(scores: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """After Seesaw Figure 1: the seesaw between gFID and condition drift.

    Ranks of every autoencoder (duplicated weights once) by gFID and by drift, joined by a line; the
    same for PSNR and drift. Lines that cross are pairs which the two metrics order differently.
    Drift is the spatial one, or the first that was measured. Only autoencoders that have both
    values are ranked.

    Returns:
        The figure, and a row per panel and autoencoder: both values, both ranks, and the panel's
        correlation.
    """
    styles = group_styles(scores)
    scores = distinct(scores)
    drift = drift_metric(scores)
    left = measured(scores, ("gfid", "psnr"))
    if drift is None or "gfid" not in left:
        missing = [] if "gfid" in left else ["gFID"]
        missing += [] if drift else ["condition drift"]
        empty = pd.DataFrame(columns=["x_metric", "y_metric", "autoencoder", "x", "y"])
        return message_figure(f"Not measured: {', '.join(missing)}"), empty
    frames = [ranked(scores, metric, drift) for metric in left]
    tallest = max(len(frame) for frame in frames)
    figure = new_figure(FULL_WIDTH, 1.25 + 0.13 * tallest)
    axes = figure.subplots(1, len(frames), squeeze=False)[0]
    chosen = selected(frames[0])
    for axis, frame in zip(axes, frames, strict=True):
        draw_ranks(axis, scores, frame, styles, chosen)
    figure.supxlabel(_says(chosen, drift), fontsize=SMALL)
    return figure, pd.concat(frames, ignore_index=True)


def ranked(scores: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    """Ranks (1 is best) of the autoencoders that have both metrics, and their correlation.

    ``x_rank`` and ``y_rank`` are shared by equal values; ``x_place`` and ``y_place`` are not.
    """
    bad = pd.DataFrame({"x": worse(scores, x), "y": worse(scores, y)}).dropna()
    found = correlate(bad["x"], bad["y"])
    frame = pd.DataFrame({"x_metric": x, "y_metric": y, "autoencoder": bad.index})
    for side, metric in (("x", x), ("y", y)):
        frame[side] = values(scores, metric).loc[bad.index].to_numpy()
        frame[f"{side}_rank"] = bad[side].rank(method="min").to_numpy().astype(int)
        frame[f"{side}_place"] = bad[side].rank(method="first").to_numpy().astype(int)
    for name, value in asdict(found).items():
        frame["rho" if name == "value" else name] = value
    frame.attrs["correlation"] = found
    return frame


def selected(frame: pd.DataFrame) -> tuple[str, ...]:
    """Who is first by x and who by y in a frame of :func:`ranked`; empty if it is."""
    firsts = (frame.loc[frame[side] == 1, "autoencoder"] for side in ("x_place", "y_place"))
    return tuple(name for first in firsts for name in first)


def draw_ranks(
    axis: Axes,
    scores: pd.DataFrame,
    frame: pd.DataFrame,
    styles: dict[str, tuple[str, str]],
    chosen: Sequence[str],
) -> None:
    """Two columns of names by rank, joined by lines in their groups' looks; ``chosen`` are bold."""
    groups = pool(scores)["group"]
    axis.set(xlim=(-0.75, 1.75), ylim=(len(frame) + 0.6, -0.6))
    axis.axis("off")
    for row in frame.itertuples():
        marked = row.autoencoder in chosen
        style = marker_style(styles[groups[row.autoencoder]])
        style |= {"linestyle": "-", "linewidth": 2.0 if marked else 0.7, "zorder": 2 + marked}
        axis.plot([0, 1], [row.x_place, row.y_place], alpha=1 if marked else 0.55, **style)
        weight = "bold" if marked else "normal"
        sides = ((-0.05, "right", row.x_place, row.x_rank, row.x),
                 (1.05, "left", row.y_place, row.y_rank, row.y))  # fmt: skip
        for at, align, place, rank, value in sides:
            name, number = (
                textwrap.shorten(row.autoencoder, 24, placeholder="…"),
                f"{value:#.3g}".rstrip("."),
            )
            words = (name, number, f"{rank}") if align == "right" else (f"{rank}", number, name)
            text = "  ".join(words)
            axis.text(
                at, place, text, ha=align, va="center", fontsize=SMALL, fontweight=weight,
                color="0.1",
            )  # fmt: skip
    for at, align, metric in ((-0.05, "right", "x_metric"), (1.05, "left", "y_metric")):
        if len(frame):
            about = describe(scores, frame[metric].iloc[0])
            of = f" {sample_sets(scores)[0].name}" if about.metric == "gfid" else ""
            lines = [about.quantity + of, *textwrap.wrap(about.network, 26)]
            head = "\n".join(lines)
            axis.text(at, 0.35, head, ha=align, va="bottom", fontsize=SMALL, fontweight="bold")
    axis.set_title(correlation_text(frame.attrs["correlation"]), loc="center", pad=24)


def _says(chosen: Sequence[str], drift: str) -> str:
    if not chosen:
        return ""
    first, second = chosen
    words = f"{label(drift)} selects {second}" if first != second else "so does drift"
    words = f"Rank 1 is best. gFID selects {first}, {words} (bold)"
    return f"{words}. {RHO}: Spearman [95% interval], + if both agree."


@styled
def ifid_figure1(scores: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """After Figure 1 of the iFID paper: gFID against rFID and against iFID, with straight fits.

    A row of panels per set of samples that was compared with the first reference. All axes point
    to better; the line is the least-squares fit of gFID, drawn where there is a correlation.

    Returns:
        The figure, and a row per panel and autoencoder: x, y, the fit, r and rho with n, interval
        and p.
    """
    styles = group_styles(scores)
    scores = distinct(scores)
    columns = measured(scores, ("rfid", "ifid"))
    if not columns or not measured(scores, ["gfid"]):
        missing = [label(m) for m in ("gfid", "rfid", "ifid") if not measured(scores, [m])]
        return message_figure(f"Not measured: {', '.join(missing)}"), pd.DataFrame(columns=["x"])
    first, *more = sample_sets(scores)
    sets = [first, *(s for s in more if s.reference == first.reference)]
    height = 0.15 + PANEL * len(sets)
    figure = new_figure(FULL_WIDTH, height + key_height(scores))
    axes = figure.subplots(len(sets), len(columns), squeeze=False)
    drawn = []
    for row, s in zip(axes, sets, strict=True):
        chosen = as_plain(scores, s)
        for place, (axis, x) in enumerate(zip(row, columns, strict=True)):
            frame = fitted(chosen, x, s.name)
            if frame.empty:
                axis.axis("off")
                continue
            draw_panel(axis, chosen, frame, styles, name_y=place == 0)
            if place == 0:
                axis.set_ylabel(axis.get_ylabel().replace("gFID", f"gFID {s.name}".strip(), 1))
            draw_fit(axis, frame)
            drawn.append((axis, frame))
    words = "All axes point to better. r: Pearson, "
    words += f"{RHO}: Spearman [95% interval]. Line: least squares."
    draw_key(figure, scores, styles, words=words)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # numbers are placed in pixels: nothing may move any more
    for axis, frame in drawn:
        place_numbers(axis, frame[["x", "y"]].to_numpy(), frame["number"].astype(str).tolist())
    return figure, pd.concat([frame for _, frame in drawn], ignore_index=True)


def as_plain(scores: pd.DataFrame, s: Samples) -> pd.DataFrame:
    """The scores with the gFID of one set of samples in the place of the plain one."""
    if not s.variant:
        return scores
    gfid = scores["metric"] == "gfid"
    chosen = scores[gfid & (scores["variant"] == s.variant)].assign(variant="")
    return pd.concat([scores[~gfid], chosen])


def fitted(scores: pd.DataFrame, x: str, samples: str) -> pd.DataFrame:
    """Points of gFID against ``x``, with both correlations and the least-squares line of gFID."""
    frame = panel_points(scores, x, "gfid").assign(samples=samples)
    spearman = panel_points(scores, x, "gfid").attrs["correlation"]
    pearson = correlate(values(scores, x), values(scores, "gfid"), "pearson")
    frame = frame.drop(columns=[*(name for name in asdict(spearman) if name != "value"), "rho"])
    for short_name, found in (("r", pearson), ("rho", spearman)):
        frame[short_name] = found.value
        for part in ("n", "low", "high", "p"):
            frame[f"{short_name}_{part}"] = getattr(found, part)
    line = (np.nan, np.nan)
    if pearson.value is not None:
        line = tuple(np.polyfit(frame["x"], frame["y"], 1))
    frame["slope"], frame["intercept"] = line
    frame.attrs.update(correlation=spearman, pearson=pearson)
    return frame


def draw_fit(axis: Axes, frame: pd.DataFrame) -> None:
    """The fitted line over the points' range, and r above rho."""
    if np.isfinite(frame["slope"].iloc[0]):
        ends = np.array([frame["x"].min(), frame["x"].max()])
        heights = frame["slope"].iloc[0] * ends + frame["intercept"].iloc[0]
        axis.plot(ends, heights, color="0.7", linewidth=0.9, zorder=1)
    titles = [correlation_text(frame.attrs[name]) for name in ("pearson", "correlation")]
    axis.set_title("\n".join(titles), loc="left")


@styled
def gfid_t(scores: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """GFID(t) over t, a line per autoencoder; and which metric goes along with it at which t.

    A row per model. Left: gFID(t) from the evaluation latents' reconstruction (t = 0, rFID) to a
    sample from noise (t = 1, gFID), on a logarithmic axis. Right: Spearman correlation of rFID and
    iFID with gFID(t), bars are 95% intervals (Table 1 of the iFID paper as a plot).

    Returns:
        The figure, and a row per model, autoencoder and t, then a row per model, metric and t with
        its correlation.
    """
    styles = group_styles(scores)
    scores = distinct(scores)
    models = list(
        dict.fromkeys(
            name.partition(" t=")[0] for name in scores.loc[scores["metric"] == "gfid-t", "variant"]
        )
    )
    if not models:
        return message_figure("Not measured: gFID(t)"), pd.DataFrame(columns=["t"])
    row = max(1.25 * PANEL, 0.7 + 1.05 * SMALL / 72 * len(pool(scores)))  # numbers need room
    figure = new_figure(FULL_WIDTH, 0.3 + row * len(models) + key_height(scores))
    axes = figure.subplots(len(models), 2, squeeze=False, width_ratios=[1.35, 1])
    points, ends = [], []
    network = describe(scores, "gfid-t").network
    for (curves, agreement), model in zip(axes, models, strict=True):
        curve = pd.DataFrame(gfid_curve(scores, model))
        points += [_draw_curves(curves, scores, curve, styles, model)]
        curves.set_ylabel(f"gFID(t), {model}\n{network}")
        points += [_draw_agreement(agreement, scores, curve, model)]
        ends.append((curves, curve))
    words = (
        f"Left: lower is better. Right: {RHO} of rFID and iFID with gFID(t), bars: 95% interval."
    )
    draw_key(figure, scores, styles, words=words)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axis, curve in ends:
        _number_ends(axis, curve)
    return figure, pd.concat(points, ignore_index=True)


def _draw_curves(
    axis: Axes,
    scores: pd.DataFrame,
    curve: pd.DataFrame,
    styles: dict[str, tuple[str, str]],
    model: str,
) -> pd.DataFrame:
    """One line per autoencoder; times as rows of what is returned."""
    groups = pool(scores)["group"]
    for name, line in curve.iterrows():
        there = line.dropna()
        style = {**marker_style(styles[groups[name]]), "linestyle": "-", "linewidth": 0.9}
        axis.plot(there.index, there.to_numpy(), **style)
    if (curve.stack() > 0).all():
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("t")
    axis.set_xticks(curve.columns, [f"{t:g}" for t in curve.columns])
    axis.set_xlim(-0.03, 1.07 if len(curve) <= CROWD else 1.15)
    axis.set_title(f"0: reconstruction (rFID)  {ARROW}  1: sample (gFID)", loc="left")
    long = curve.rename_axis("autoencoder").reset_index()
    long = long.melt(id_vars="autoencoder", var_name="t", value_name="gfid_t")
    return long.assign(model=model, t=long["t"].astype(float))[
        ["model", "autoencoder", "t", "gfid_t"]
    ]


def _draw_agreement(
    axis: Axes, scores: pd.DataFrame, curve: pd.DataFrame, model: str
) -> pd.DataFrame:
    """Spearman correlation of rFID and iFID with each column of ``curve``."""
    rows = []
    metrics: Sequence[str] = measured(scores, ("rfid", "ifid"))
    for place, metric in enumerate(metrics):
        found: list[Correlation] = [
            correlate(values(scores, metric), curve[t]) for t in curve.columns
        ]
        rows += [
            {"model": model, "metric": metric, "t": t, **asdict(one)}
            for t, one in zip(curve.columns, found, strict=True)
        ]
        there = [(t, one) for t, one in zip(curve.columns, found) if one.value is not None]
        if not there:
            continue
        x = np.array([t for t, _ in there]) + 0.012 * (2 * place - 1)
        y = np.array([one.value for _, one in there], float)
        low = [one.value if one.low is None else one.low for _, one in there]
        high = [one.value if one.high is None else one.high for _, one in there]
        bars = np.clip([y - np.array(low, float), np.array(high, float) - y], 0, None)
        axis.errorbar(
            x, y, yerr=bars, color=METRIC_INKS[place], marker="os"[place], markersize=3.5,
            linewidth=0.9, elinewidth=0.7, capsize=1.5, label=describe(scores, metric).header,
        )  # fmt: skip
    axis.axhline(0, color="0.5", linewidth=0.7)
    axis.set_ylim(-1.08, 1.08)
    ticks = (-1, -0.5, 0, 0.5, 1)
    axis.set_yticks(ticks, [short(tick, 1) for tick in ticks])
    axis.set_xticks(curve.columns, [f"{t:g}" for t in curve.columns])
    axis.set_xlabel("t")
    axis.set_ylabel(f"{RHO} with gFID(t)")
    counts = {row["n"] for row in rows}
    if rows:
        n = "\N{EN DASH}".join(str(c) for c in sorted({min(counts), max(counts)}))
        axis.set_title(f"n = {n} autoencoders", loc="left")
    if axis.get_legend_handles_labels()[0]:
        axis.legend(loc="lower left")
    return pd.DataFrame(rows)


def _number_ends(axis: Axes, curve: pd.DataFrame) -> None:
    """The autoencoders' numbers right of their lines' ends, moved apart where they would touch."""
    last = curve.ffill(axis=1).iloc[:, -1].to_numpy(float)
    at = curve.notna().to_numpy()[:, ::-1].argmax(axis=1)
    x = curve.columns.to_numpy(float)[::-1][at]
    shown = np.flatnonzero(np.isfinite(last))
    scale = axis.figure.dpi / 72
    heights = axis.transData.transform(np.column_stack([x, last]))[:, 1] / scale
    order = shown[np.argsort(heights[shown], kind="stable")]
    gap, placed = 1.05 * SMALL, []
    for i in order:
        placed.append(max(heights[i], placed[-1] + gap) if placed else heights[i])
    if not placed:
        return
    box = axis.get_window_extent()
    excess = np.mean([p - heights[i] for p, i in zip(placed, order)])
    excess = max(excess, placed[-1] - box.y1 / scale)
    excess = min(excess, placed[0] - box.y0 / scale)
    for number, height in zip(order, placed, strict=True):
        aside = 9 if len(order) <= CROWD else 24
        axis.annotate(
            str(number + 1), (x[number], last[number]), textcoords="offset points",
            xytext=(aside, height - excess - heights[number]), fontsize=SMALL, va="center",
            color="0.15", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.35, "color": "0.5", "shrinkA": 0,
                        "shrinkB": 2.0},
        )  # fmt: skip
