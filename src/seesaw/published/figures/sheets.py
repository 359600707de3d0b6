"""Tables 3 to 5 of the iFID paper as plots: its printed correlations with the intervals of n = 13.

The paper gives correlations without intervals. Those drawn here are Fisher's, from the printed
value and the number of autoencoders alone; the values themselves are not recomputed.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from seesaw.figures.style import FULL_WIDTH, SMALL, new_figure, short, styled
from seesaw.published import read
from seesaw.published.figures.words import Drawn, listed, power, span
from seesaw.stats import Method, fisher_interval

METHODS: dict[str, Method] = {"pcc": "pearson", "srcc": "spearman"}
TITLES = {"pcc": "Pearson (PCC)", "srcc": "Spearman (SRCC)"}
SETTINGS = {
    ("SiT-B", "no"): ("o", "white", "SiT-B"),
    ("SiT-B", "yes"): ("s", "white", "SiT-B, guided"),
    ("SiT-XL", "no"): ("o", "0.1", "SiT-XL"),
    ("SiT-XL", "yes"): ("s", "0.1", "SiT-XL, guided"),
}
"""Model and guidance -> marker, its face, its name. No colours: those are families."""


def autoencoders_of_paper() -> int:
    """How many autoencoders the paper's correlations are over."""
    return len(read("ifid_table2"))


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``value`` and ``method`` with ``n`` and the ends of Fisher's 95% interval."""
    n = autoencoders_of_paper()
    ends = [
        fisher_interval(value, n, method) or (None, None)
        for value, method in zip(table["value"], table["method"], strict=True)
    ]
    low, high = zip(*ends, strict=True)
    return table.assign(n=n, low=pd.Series(low, table.index), high=pd.Series(high, table.index))


def _whisker(axis: Axes, x: float, y: float, ends: Sequence[float], look: tuple[str, str]) -> None:
    marker, face = look
    if all(pd.notna(end) for end in ends):
        axis.plot(ends, [y, y], color="0.6", linewidth=0.7, zorder=2)
    axis.plot(x, y, marker=marker, markersize=3.4, color="0.1", markerfacecolor=face,
              markeredgewidth=0.7, linestyle="", zorder=3)  # fmt: skip


def _correlation_axis(axis: Axes, title: str, n: int) -> None:
    axis.axvline(0, color="0.4", linewidth=0.7)
    axis.set_xlim(-1.02, 1.02)
    axis.set_xticks((-1, -0.5, 0, 0.5, 1))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_title(f"{title}, n = {n}", loc="left")
    axis.grid(visible=False, axis="y")


@styled
def ifid_table3(seed: int = 0) -> Drawn:
    """Table 3 of the iFID paper: correlation of ten metrics with gFID, for two models.

    Args:
        seed: not used: nothing is drawn; the figures are called alike.
    """
    table = read("ifid_table3").melt(
        ["metric", "kind", "diffusion_model", "cfg"], ["pcc", "srcc"], "column", "value"
    )
    table["metric"] = table["metric"].str.replace("-", "\N{MINUS SIGN}", n=1)
    table = with_intervals(table.assign(method=table["column"].map(METHODS)))
    n, metrics = int(table["n"].iloc[0]), list(dict.fromkeys(table["metric"]))
    figure = new_figure(FULL_WIDTH, 3.6)
    axes = figure.subplots(1, 2, sharey=True)
    steps = dict(zip(SETTINGS, np.linspace(-0.3, 0.3, len(SETTINGS)), strict=True))
    for axis, column in zip(axes, METHODS, strict=True):
        for row in table[table["column"] == column].itertuples():
            key = (row.diffusion_model, row.cfg)
            y = metrics.index(row.metric) + steps[key]
            _whisker(axis, row.value, y, (row.low, row.high), SETTINGS[key][:2])
        for place in range(1, len(metrics)):
            axis.axhline(place - 0.5, color="0.9", linewidth=0.5)
        _correlation_axis(axis, TITLES[column], n)
        axis.set_xlabel("correlation with gFID  (+: lower metric, better gFID)")
    axes[0].set_yticks(range(len(metrics)), metrics)
    axes[0].set_ylim(len(metrics) - 0.5, -0.5)
    _key(axes[0], [(marker, face, name) for marker, face, name in SETTINGS.values()])
    return figure, table, table3_caption(table, n)


def _key(axis: Axes, looks: Sequence[tuple[str, str, str]]) -> None:
    handles = [
        axis.plot([], [], marker=marker, color="0.1", markerfacecolor=face, markersize=3.4,
                  markeredgewidth=0.7, linestyle="", label=name)[0]
        for marker, face, name in looks
    ]  # fmt: skip
    axis.figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), handletextpad=0.2
    )


def table3_caption(table: pd.DataFrame, n: int) -> str:
    """Who goes along with gFID, against it, and not at all; and what n allows to say."""
    table = table.assign(clear=(table["low"] > 0) | (table["high"] < 0))
    by = dict(tuple(table.groupby("metric", sort=False)))
    own = by.pop("iFID")
    against = [m for m, rows in by.items() if rows["clear"].all() and (rows["value"] < 0).all()]
    never = [m for m, rows in by.items() if not rows["clear"].any()]
    partly = [m for m in by if m not in (*against, *never)]
    opposed = span(table.loc[table["metric"].isin(against), "value"])
    others = pd.concat(by.values())
    best = own.loc[own["value"].abs().idxmax()]
    rival = others.loc[others["value"].abs().idxmax()]
    reach = max(abs(rival["low"]), abs(rival["high"]))
    overlap = "overlap" if reach >= min(abs(best["low"]), abs(best["high"])) else "do not overlap"
    ahead = short(abs(best["value"]) - abs(rival["value"]), 2)
    return (
        f"Correlations with gFID that the paper prints, over {n} autoencoders; bars: Fisher's 95% "
        f"interval. iFID has {span(own['value'])}, the lowest interval starts at "
        f"{short(own['low'].min(), 2)}. {listed(against)} go against gFID in every setting "
        f"({opposed}), {listed(partly)} can be told from 0 in some; {listed(never)} nowhere "
        f"({power(n)}). The largest |correlation| of iFID is {ahead} above that of the next, "
        f"{rival['metric']}, and their intervals {overlap}; a test of which is larger "
        "would need the correlation of both, which is not printed."
    )


@styled
def ifid_table4(seed: int = 0) -> Drawn:
    """Table 4 of the iFID paper: interpolation, reference images and K of iFID.

    Args:
        seed: not used: nothing is drawn; the figures are called alike.
    """
    printed = read("ifid_table4")
    names = [
        f"{row.interpolation}, {row.n_reference_images:,} images, K = {row.top_k}"
        for row in printed.itertuples()
    ]
    table = _long(printed.assign(setting=names), "setting")
    n = int(table["n"].iloc[0])
    figure = new_figure(FULL_WIDTH, 2.1)
    axes = figure.subplots(1, 2, sharey=True)
    looks = {"no_cfg": ("o", "0.1"), "cfg": ("s", "0.1")}
    for axis, method in zip(axes, METHODS, strict=True):
        for row in table[table["method"] == METHODS[method]].itertuples():
            y = names.index(row.setting) + (-0.14 if row.target == "no_cfg" else 0.14)
            _whisker(axis, row.value, y, (row.low, row.high), looks[row.target])
        axis.set_xlabel("correlation of iFID with gFID  (better \N{RIGHTWARDS ARROW})")
        axis.set_title(f"{TITLES[method]}, n = {n}", loc="left")
        axis.set_xlim(0.2, 1.0)
        axis.grid(visible=False, axis="y")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    _key(axes[0], [("o", "0.1", "SiT-XL"), ("s", "0.1", "SiT-XL, guided")])
    return figure, table, table4_caption(table, n)


def table4_caption(table: pd.DataFrame, n: int) -> str:
    """How far the settings are apart, against how far an interval of n reaches."""
    best, ends = table["value"].max(), table["low"].max()
    width = (table["high"] - table["low"]).median()
    last = table.loc[table["setting"] == table["setting"].iloc[-1], "value"]
    reach, above = (table["high"] >= best).sum(), (table["value"] >= ends).sum()
    apart = short(np.ptp(table["value"]), 2)
    verdict = "no setting is" if above == len(table) else "some settings are"
    return (
        "Correlations of iFID with SiT-XL's gFID that the paper prints, by interpolation, number "
        f"of reference images and K, over {n} autoencoders; bars: Fisher's 95% interval. They are "
        f"{span(table['value'])}, the default (last row) {span(last)}: {apart} between the "
        f"settings, {short(width, 2)} across a typical interval. {reach} of {len(table)} intervals "
        f"reach the best value and {above} values are above the highest lower end "
        f"({short(ends, 2)}), so {verdict} shown to be better. All share their autoencoders; a "
        "paired test would see more, but needs values per autoencoder that are not printed."
    )


def _long(printed: pd.DataFrame, key: str) -> pd.DataFrame:
    """Columns ``pcc_<target>`` and ``srcc_<target>`` as rows with method, target, interval."""
    columns = [name for name in printed if str(name).split("_")[0] in METHODS]
    keys = list(dict.fromkeys([key, *(name for name in printed if name not in columns)]))
    table = printed.melt(keys, columns, "column", "value")
    table["method"] = [METHODS[name.split("_")[0]] for name in table["column"]]
    table["target"] = [name.split("_", 1)[1] for name in table["column"]]
    return with_intervals(table.drop(columns="column"))


TARGETS = {
    "rfid": ("D", "white", "-", "rFID"),
    "gfid_xl_no_cfg": ("o", "0.1", "-", "gFID, SiT-XL"),
    "gfid_xl_cfg": ("s", "0.1", "--", "gFID, SiT-XL, guided"),
}


@styled
def ifid_table5(seed: int = 0) -> Drawn:
    """Table 5 of the iFID paper: interpolation strength alpha, from rFID (0) to iFID (0.5).

    Args:
        seed: not used: nothing is drawn; the figures are called alike.
    """
    table = _long(read("ifid_table5"), "alpha")
    n = int(table["n"].iloc[0])
    figure = new_figure(FULL_WIDTH, 2.3)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, column in zip(axes, METHODS, strict=True):
        block = table[table["method"] == METHODS[column]]
        for place, (target, (marker, face, line, name)) in enumerate(TARGETS.items()):
            rows = block[block["target"] == target].sort_values("alpha")
            x = rows["alpha"].to_numpy() + 0.007 * (place - 1)
            colour = "0.55" if target == "rfid" else "0.1"
            axis.vlines(x, rows["low"].astype(float), rows["high"].astype(float), color=colour,
                        linewidth=0.6, alpha=0.7)  # fmt: skip
            axis.plot(x, rows["value"], marker=marker, color=colour, linestyle=line, linewidth=0.9,
                      markerfacecolor=face, markersize=3.6, label=name)  # fmt: skip
        axis.axhline(0, color="0.4", linewidth=0.7)
        axis.set_ylim(-1.02, 1.04)
        axis.set_xlabel("interpolation strength \N{GREEK SMALL LETTER ALPHA}  (0: rFID, 0.5: iFID)")
        axis.set_title(f"{TITLES[column]}, n = {n}", loc="left")
    axes[0].set_ylabel("correlation with iFID(\N{GREEK SMALL LETTER ALPHA})")
    axes[1].legend(loc="lower right", fontsize=SMALL, borderpad=0.1)
    return figure, table, table5_caption(table, n)


def table5_caption(table: pd.DataFrame, n: int) -> str:
    """From which alpha on iFID goes along with gFID, for sure."""
    gfid = table[table["target"].str.startswith("gfid")]
    alphas = sorted(gfid["alpha"].unique())
    at = {a: gfid[gfid["alpha"] == a] for a in alphas}
    sure = [a for a in alphas if all((at[b]["low"] > 0).all() for b in alphas if b >= a)]
    rfid = table[(table["target"] == "rfid") & (table["alpha"] > 0)]
    told = rfid[(rfid["low"] > 0) | (rfid["high"] < 0)]
    guessed = table.loc[table["alpha_source"] == "inferred", "alpha"].nunique()
    alpha = "\N{GREEK SMALL LETTER ALPHA}"
    return (
        f"Correlations of iFID at interpolation strength {alpha} with gFID of SiT-XL and with rFID "
        f"that the paper prints, over {n} autoencoders; bars: Fisher's 95% interval. With gFID "
        f"they rise from "
        f"{span(at[alphas[0]]['value'])} at {alpha} = {alphas[0]:g} (rFID itself) to "
        f"{span(at[alphas[-1]]['value'])} at {alphas[-1]:g}, and all intervals are above 0 from "
        f"{alpha} = {min(sure):g} on. With rFID {len(told)} of {len(rfid)} values at {alpha} "
        f"> 0 can be told from 0; {power(n)}. {guessed} of the {len(alphas)} values of {alpha} are "
        "inferred: the text of the table lost them."
    )
