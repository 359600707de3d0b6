"""What a choice by one metric costs in another: the seesaw itself, and regret."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from seesaw.figures.generation import draw_ranks, ranked, selected
from seesaw.figures.scatter import marker_style
from seesaw.figures.style import FULL_WIDTH, SMALL, group_styles, new_figure, styled
from seesaw.published import benchmark
from seesaw.published.figures.pools import pools, whole
from seesaw.published.figures.words import Drawn, listed, power, strength
from seesaw.score_table import CONDITIONS, label, measured, pool, values, worse

SELECTORS = ("gfid", "ifid", "rfid", "psnr", "ssim", "lpips",
             *(metric for metric in CONDITIONS if metric != "spatial"))  # fmt: skip
"""Metrics to choose by. Spatial drift, a mean of three of them, is what is lost."""

OTHER_INK = "0.72"


def losses(scores: pd.DataFrame, metric: str) -> pd.Series:
    """How much worse than the best each autoencoder is, in the metric's unit; 0 is the best."""
    bad = worse(scores, metric).dropna()
    return bad - bad.min()


@styled
def seesaw(seed: int = 0) -> Drawn:
    """The gFID-best against the drift-best autoencoder, over the six rows with a published gFID.

    Left: ranks by gFID and by spatial drift, joined. Right: for gFID and every condition, where
    each autoencoder stands between the best (0) and the worst (1) of the six.

    Args:
        seed: not used: with six points permutations are enumerated; the figures are called alike.

    Returns:
        The figure; a row per metric and autoencoder: value, loss to the best and its share of the
        range, with rank by gFID and by drift; the caption.
    """
    styles = group_styles(whole())
    six = by_family(pools()["rows with gFID"])
    frame = ranked(six, "gfid", "spatial")
    chosen = selected(frame)
    metrics = measured(six, ("gfid", *CONDITIONS))
    points = pd.concat([standings(six, metric) for metric in metrics], ignore_index=True)
    points["selected_by"] = points["autoencoder"].map(
        dict(zip(reversed(chosen), ("spatial", "gfid")))
    )
    figure = new_figure(FULL_WIDTH, 2.3)
    left, right = figure.subplots(1, 2, width_ratios=[1, 1.15])
    draw_ranks(left, six, frame, styles, chosen)
    _draw_standings(right, six, points, styles, chosen)
    figure.supxlabel(
        f"gFID selects {chosen[0]}, spatial drift selects {chosen[1]} (bold). "
        "Right: 0 is the best of the six, 1 the worst.",
        fontsize=SMALL,
    )
    return figure, points, seesaw_caption(six, frame, chosen)


def by_family(scores: pd.DataFrame) -> pd.DataFrame:
    """The same scores, autoencoders called as their groups, where no two share a group."""
    if pool(scores)["group"].duplicated().any():
        return scores
    return scores.assign(autoencoder=scores["group"])


def standings(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Value, loss to the best, and share of the range per autoencoder: 0 the best, 1 the worst."""
    lost = losses(scores, metric)
    return pd.DataFrame(
        {
            "metric": metric,
            "autoencoder": lost.index,
            "group": pool(scores)["group"].loc[lost.index].to_numpy(),
            "value": values(scores, metric).loc[lost.index].to_numpy(),
            "lost": lost.to_numpy(),
            "share_of_range": (lost / lost.max()).to_numpy(),
        }
    )


def _draw_standings(
    axis: Axes,
    scores: pd.DataFrame,
    points: pd.DataFrame,
    styles: Mapping[str, tuple[str, str]],
    chosen: Sequence[str],
) -> None:
    """A line per metric from best to worst; the two chosen ones in full, the others faint."""
    metrics = list(dict.fromkeys(points["metric"]))
    for row in points.itertuples():
        style = marker_style(styles[row.group])
        if row.autoencoder not in chosen:
            style |= {"alpha": 0.4, "zorder": 2}
        else:
            style |= {"markersize": 1.35 * style["markersize"], "zorder": 3}
        axis.plot(row.share_of_range, metrics.index(row.metric), **style)
    axis.set_yticks(range(len(metrics)), [label(metric) for metric in metrics])
    axis.set(xlim=(-0.05, 1.05), ylim=(len(metrics) - 0.5, -0.6))
    axis.axhline(0.5, color="0.6", linewidth=0.7)
    axis.set_xlabel("(value \N{MINUS SIGN} best) / (worst \N{MINUS SIGN} best)  (better: left)")
    axis.set_title(f"n = {points['autoencoder'].nunique()} autoencoders", loc="left")
    axis.grid(visible=False, axis="x")


def seesaw_caption(scores: pd.DataFrame, frame: pd.DataFrame, chosen: Sequence[str]) -> str:
    """Who is chosen, what each choice costs, and how little six points say of the correlation."""
    rows, n = frame.set_index("autoencoder"), len(frame)
    first, second = rows.loc[chosen[0]], rows.loc[chosen[1]]
    conditions = measured(scores, CONDITIONS)
    worst = [metric for metric in conditions if losses(scores, metric).idxmax() == first.name]
    if first.name == second.name:
        return f"Of {n} autoencoders gFID and spatial drift choose the same, {first.name}."
    return (
        f"Choosing among the {n} autoencoders with a published gFID. gFID takes {first.name} "
        f"({first['x']:.2f}), whose spatial drift of {first['y']:.4f} is "
        f"{100 * (first['y'] / second['y'] - 1):.0f}% above that of {second.name} and which is the "
        f"worst of the {n} in {len(worst)} of {len(conditions)} conditions. Drift takes "
        f"{second.name} ({second['y']:.4f}), whose gFID of {second['x']:.2f} is "
        f"{second['x'] - first['x']:.2f} above the best, rank {second['x_rank']} of {n}. gFID and "
        f"spatial drift have {strength(frame.attrs['correlation'])}; {power(n)}: that the two "
        f"choices differ is a fact about these {n}, not a law about gFID."
    )


@styled
def regret(seed: int = 0) -> Drawn:
    """What is lost by choosing the autoencoder by each metric: gFID, and spatial drift.

    Three pools: Seesaw's rows with gFID; the autoencoders in both Seesaw's Table 5 and the iFID
    benchmark (gFID of SiT-XL without guidance); all of Table 5 without duplicates, and within each
    family of three or more. A grey bar is the range when any one autoencoder is left out, a dashed
    line what a blind pick loses on average.

    Args:
        seed: not used: nothing is drawn; the figures are called alike.

    Returns:
        The figure; a row per pool, target and metric; the caption.
    """
    styles = group_styles(whole())
    six, joined = pools()["rows with gFID"], joined_scores()
    once = pools()["duplicates removed"]
    panels = [
        ("rows with gFID", six, "gfid", "gFID lost"),
        ("rows with gFID", six, "spatial", "Spatial drift lost"),
        ("in both papers", joined, "gfid", "gFID lost\n(SiT-XL, no guidance)"),
        ("in both papers", joined, "spatial", "Spatial drift lost"),
        ("duplicates removed", once, "spatial", "Spatial drift lost"),
    ]
    points = [regrets(pool_of, target).assign(pool=name) for name, pool_of, target, _ in panels]
    families = within_families(once)
    figure = new_figure(FULL_WIDTH, 3.4)
    axes = figure.subplots(1, len(panels), sharey=True)
    for axis, found, (_, _, _, words) in zip(axes, points, panels, strict=True):
        _draw_regret(axis, found, styles)
        axis.set_xlabel(f"{words}\n(better: left)")
    for row in families.itertuples():
        style = marker_style(styles[row.group]) | {"markersize": 3.0, "alpha": 0.8, "zorder": 2}
        axes[-1].plot(row.lost, SELECTORS.index(row.metric) + 0.32, **style)
    for axis, found, words in zip(axes, points, TITLES, strict=True):
        axis.set_title(f"{words}\nn = {found['n'].max()}", loc="left")
    axes[0].set_yticks(range(len(SELECTORS)), [label(metric) for metric in SELECTORS])
    axes[0].set_ylim(len(SELECTORS) - 0.4, -0.6)
    axes[0].set_ylabel("chosen by")
    shown = pd.concat([*points, families])["group"]
    _draw_looks(figure, [group for group in styles if group in set(shown)], styles)
    table = pd.concat([*points, families], ignore_index=True)
    return figure, table, regret_caption(points, families)


TITLES = (
    "Seesaw, with gFID", "Seesaw, with gFID", "in both papers", "in both papers",
    "Seesaw, distinct",
)  # fmt: skip


def joined_scores() -> pd.DataFrame:
    """Autoencoders of Table 5 that the iFID benchmark has too, with its gFID (SiT-XL) and iFID."""
    table, other = whole(), benchmark().set_index("autoencoder")
    table = table[table["autoencoder"].isin(other.index) & (table["metric"] != "gfid")]
    rows = []
    for name, block in table.groupby("autoencoder", sort=False):
        first = block.iloc[0].to_dict()
        for metric, column in (("gfid", "gfid_xl_no_cfg"), ("ifid", "ifid")):
            about = {"metric": metric, "value": other.loc[name, column], "unit": "1",
                     "higher_is_better": False, "network": "", "variant": ""}  # fmt: skip
            rows.append(first | about)
    return pd.concat([pd.DataFrame(rows), table], ignore_index=True)


def regrets(scores: pd.DataFrame, target: str) -> pd.DataFrame:
    """Per metric: who is chosen by it, and what that loses in ``target``.

    Returns:
        Columns ``target``, ``metric``, ``autoencoder`` (chosen), ``group``, ``lost``, ``low`` and
        ``high`` (range with any one autoencoder left out), ``blind`` (mean over all), ``worst``,
        ``n``. Metrics without values have no row.
    """
    judged = worse(scores, target).dropna()
    names, groups = judged.index, pool(scores)["group"]
    lost = (judged - judged.min()).to_numpy()
    rows = []
    for metric in measured(scores, SELECTORS):
        by = worse(scores, metric).reindex(names).to_numpy()
        if np.isnan(by).any():
            continue
        chosen = names[by.argmin()]
        every = np.arange(len(names))
        without = [lost_by(by[every != i], lost[every != i]) for i in every]
        rows.append(
            {
                "target": target, "metric": metric, "autoencoder": chosen,
                "group": groups[chosen], "lost": lost_by(by, lost), "low": min(without),
                "high": max(without), "blind": lost.mean(), "worst": lost.max(), "n": len(by),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def lost_by(by: np.ndarray, target: np.ndarray) -> float:
    """What the one with the smallest ``by`` loses in ``target``, of which less is better."""
    return float(target[by.argmin()] - target.min())


def within_families(scores: pd.DataFrame, at_least: int = 3) -> pd.DataFrame:
    """Spatial drift lost by choosing among one group's own variants."""
    found = []
    for group, names in pool(scores).groupby("group", sort=False).groups.items():
        if len(names) >= at_least:
            own = regrets(scores[scores["autoencoder"].isin(names)], "spatial")
            found.append(own.assign(pool=f"within {group}"))
    return pd.concat(found, ignore_index=True)


def _draw_regret(axis: Axes, found: pd.DataFrame, styles: Mapping[str, tuple[str, str]]) -> None:
    for row in found.itertuples():
        y = SELECTORS.index(row.metric)
        axis.plot([row.low, row.high], [y, y], color=OTHER_INK, linewidth=3, zorder=1,
                  solid_capstyle="butt")  # fmt: skip
        axis.plot(row.lost, y, **marker_style(styles[row.group]), zorder=3)
    for metric in SELECTORS:
        if metric not in set(found["metric"]):
            axis.text(0.5, SELECTORS.index(metric), "not published", fontsize=SMALL - 0.5,
                      color="0.45", ha="center", va="center", zorder=4,
                      bbox={"facecolor": "white", "linewidth": 0, "pad": 0.8},
                      transform=axis.get_yaxis_transform())  # fmt: skip
    axis.axvline(found["blind"].iloc[0], color="0.35", linewidth=0.7, linestyle=(0, (4, 3)))
    right = max(found["worst"].iloc[0], found["high"].max())
    axis.set_xlim(-0.07 * right, 1.07 * right)
    axis.locator_params(axis="x", nbins=3)


def _draw_looks(
    figure: Figure, groups: Iterable[str], styles: Mapping[str, tuple[str, str]]
) -> None:
    """A key of families, of the bar and of the dashed line."""
    handles = [Line2D([], [], **marker_style(styles[group]), label=group) for group in groups]
    handles += [
        Line2D([], [], color=OTHER_INK, linewidth=3, label="any one left out"),
        Line2D([], [], color="0.35", linewidth=0.7, linestyle=(0, (4, 3)), label="blind pick"),
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), handletextpad=0.5,
        columnspacing=1.1,
        title="Marker: family of the chosen autoencoder (small: within that family).",
        alignment="left",
    )  # fmt: skip


def regret_caption(points: Sequence[pd.DataFrame], families: pd.DataFrame) -> str:
    """The choices that the papers argue about, in numbers."""
    gfid6, drift6, gfid_both, drift_both, drift_all = (p.set_index("metric") for p in points)

    def takes(gfid: pd.DataFrame, drift: pd.DataFrame, metric: str) -> str:
        g, d = gfid.loc[metric], drift.loc[metric]
        return (
            f"{label(metric)} takes {d['group']}: {g['lost']:.2f} of gFID lost (blind pick "
            f"{g['blind']:.2f}), {d['lost']:.4f} of drift (blind pick {d['blind']:.4f}, worst "
            f"{d['worst']:.4f}, {d['low']:.4f} to {d['high']:.4f} with any one left out)"
        )

    reconstruction = [m for m in ("rfid", "psnr", "ssim", "lpips") if m in drift_all.index]
    lost = listed(f"{drift_all.loc[m, 'lost']:.4f} ({label(m)})" for m in reconstruction)
    own = families[families["metric"].isin(reconstruction)]
    most = own.loc[own["lost"].idxmax()]
    return (
        "What is lost against the best of a pool by choosing the autoencoder by one metric; drift "
        f"is the spatial one. Of Seesaw's {drift6['n'].max()} with gFID, "
        f"{takes(gfid6, drift6, 'gfid')}; {takes(gfid6, drift6, 'psnr')}. Of the "
        f"{drift_both['n'].max()} that are in both papers, {takes(gfid_both, drift_both, 'ifid')}; "
        f"{takes(gfid_both, drift_both, 'psnr')}. Of all {drift_all['n'].max()} distinct ones "
        f"choosing by a reconstruction metric loses {lost} of drift (blind pick "
        f"{drift_all['blind'].iloc[0]:.4f}), and within a family they lose nothing in "
        f"{(own['lost'] == 0).sum()} of {len(own)} cases (the most: {label(most['metric'])} in "
        f"{most['group']}, {most['lost']:.4f} of {most['worst']:.4f}). A regret is one choice out "
        "of few: the grey bars show how much hangs on a single autoencoder, and no p belongs to it."
    )
