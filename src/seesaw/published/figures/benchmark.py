"""iFID and gFID from the benchmark table of the iFID repository, with rFID where Seesaw has it."""

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from seesaw.figures import generation
from seesaw.figures.scatter import draw_panel, place_numbers
from seesaw.figures.style import FULL_WIDTH, group_styles, new_figure, short, styled
from seesaw.published import benchmark, read
from seesaw.published.figures.pools import whole
from seesaw.published.figures.words import RHO, Drawn, power, span, strength
from seesaw.score_table import check_scores, sample_sets, values
from seesaw.stats import correlate, leave_one_out

MODELS = {"SiT-XL": "gfid_xl_no_cfg", "SiT-B": "gfid_b_no_cfg"}
"""Diffusion model -> column of the benchmark."""
SAMPLER, REFERENCE = "unguided", "ADM-train"


def benchmark_scores() -> pd.DataFrame:
    """The benchmark as scores: iFID, gFID of both models, and rFID of those in Seesaw's Table 5.

    The iFID repository publishes no rFID per autoencoder.
    """
    table = benchmark()
    rfid = values(whole(), "rfid")
    rows = []
    for row in table.to_dict("records"):
        sets = {f"{model} {SAMPLER} ref={REFERENCE}": row[c] for model, c in MODELS.items()}
        first = next(iter(sets))
        numbers = {
            ("rfid", ""): rfid.get(row["autoencoder"], np.nan),
            ("ifid", ""): row["ifid"],
            ("gfid", ""): sets[first],
            **{("gfid", variant): value for variant, value in sets.items()},
        }
        for (metric, variant), value in numbers.items():
            if pd.isna(value):
                continue
            said = first.partition(" ref=")[0]
            rows.append(
                {
                    "autoencoder": row["vae"], "group": row["group"], "training": row["training"],
                    "metric": metric, "variant": variant, "value": value, "n": np.nan, "unit": "1",
                    "higher_is_better": False, "duplicate_of": "",
                    "network": "Seesaw Table 5" if metric == "rfid" else "iFID Readme",
                    "protocol": f"reference={REFERENCE}; samples={said}",
                }
            )  # fmt: skip
    return check_scores(pd.DataFrame(rows))


def ifid_figure1(seed: int = 0) -> Drawn:
    """Figure 1 of the iFID paper from what is published: gFID against rFID and against iFID.

    The paper draws rFID of its 13 autoencoders but prints none; here rFID is Seesaw's, for the
    autoencoders in both.

    Args:
        seed: not used: the run's figure has its own; the figures are called alike.
    """
    figure, points = generation.ifid_figure1(benchmark_scores())
    panels = points.drop_duplicates(["samples", "x_metric"]).set_index(["x_metric", "samples"])
    models = list(dict.fromkeys(points["samples"]))

    def said(metric: str, model: str) -> str:
        row = panels.loc[(metric, model)]
        name = model.removesuffix(f" {SAMPLER}")
        return (
            f"{name} r = {short(row['r'], 2)} [{span([row['r_low'], row['r_high']])}], "
            f"{RHO} = {short(row['rho'], 2)} (n = {row['r_n']:.0f})"
        )

    n = int(panels.loc["rfid", "r_n"].max())
    paper = read("ifid_table3")
    paper = paper[(paper["metric"] == "rFID") & (paper["cfg"] == "no")]
    caption = (
        "gFID without guidance against rFID and iFID. iFID goes along with gFID: "
        f"{'; '.join(said('ifid', model) for model in models)}. The paper prints no rFID; with "
        f"Seesaw's for the autoencoders in both, {'; '.join(said('rfid', m) for m in models)}. "
        f"{power(n)}; the paper gives r {span(paper['pcc'])} and {RHO} {span(paper['srcc'])} on "
        f"{len(read('ifid_table2'))}, which published values can neither confirm nor refute. "
        "r: Pearson [95% interval]; all axes point to better; line: least squares; colours and "
        "markers are families as Seesaw groups them (SD-VAE and IN-VAE with REPA-E, whose authors "
        "release them)."
    )
    return figure, points, caption


def paper_band() -> tuple[float, float]:
    """Lowest and highest correlation of iFID with gFID without guidance in the paper's Table 3."""
    table = read("ifid_table3")
    rows = table[(table["metric"] == "iFID") & (table["cfg"] == "no")]
    found = rows[["pcc", "srcc"]].to_numpy()
    return float(found.min()), float(found.max())


def subsets_of(table: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """(model, which autoencoders) -> their rows of the benchmark with that model's gFID."""
    found = {}
    for model, column in MODELS.items():
        there = table[table[column].notna()]
        found[model, "all"] = there
        found[model, "in the paper"] = there[there["in_paper"]]
    return found


@styled
def ifid_vs_gfid(seed: int = 0) -> Drawn:
    """Plot iFID against gFID of SiT-XL and SiT-B, and the correlations against the paper's.

    Args:
        seed: of intervals and permutations.

    Returns:
        The figure; a row per model and autoencoder, then one per model, subset and kind of
        correlation with interval, leave-one-out range, n and p; the caption.
    """
    table, everything = benchmark(), benchmark_scores()
    styles = group_styles(everything)
    figure = new_figure(FULL_WIDTH, 3.1)
    axes = figure.subplots(1, 3, width_ratios=[1.1, 1.1, 0.8])
    drawn = []
    for axis, s in zip(axes, sample_sets(everything), strict=False):
        chosen = generation.as_plain(everything, s)
        frame = generation.fitted(chosen, "ifid", s.name)
        draw_panel(axis, chosen, frame, styles, name_y=True)
        axis.set_xlabel("iFID  (better \N{RIGHTWARDS ARROW})")
        axis.set_ylabel(f"gFID {s.model}, no guidance  (better \N{RIGHTWARDS ARROW})")
        generation.draw_fit(axis, frame)
        drawn.append((axis, frame))
    agreement = correlations_of(table, seed)
    handles = _draw_agreement(axes[-1], agreement)
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles))
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # names are placed in pixels: nothing may move any more
    for axis, frame in drawn:
        place_numbers(axis, frame[["x", "y"]].to_numpy(), frame["autoencoder"].tolist())
    points = pd.concat([*(frame for _, frame in drawn), agreement], ignore_index=True)
    return figure, points, benchmark_caption(table, agreement, seed)


def correlations_of(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """PCC and SRCC of iFID with gFID per model and subset, with the range without any one."""
    rows = []
    for (model, which), part in subsets_of(table).items():
        for method in ("pearson", "spearman"):
            gfid = part[MODELS[model]]
            found = correlate(part["ifid"], gfid, method, seed)
            without = leave_one_out(part["ifid"], gfid, method)
            rows.append(
                {
                    "model": model, "subset": which, "method": method, "value": found.value,
                    "n": found.n, "low": found.low, "high": found.high, "p": found.p,
                    "without_low": without.low, "without_high": without.high,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _draw_agreement(axis: Axes, found: pd.DataFrame) -> list[Artist]:
    """A row per model and subset, PCC above SRCC; what is drawn, for the key."""
    low, high = paper_band()
    band = axis.axvspan(low, high, color="0.86", linewidth=0, zorder=0, label="in the paper")
    looks = {"pearson": ("o", "0.05", "PCC"), "spearman": ("s", "white", "SRCC")}
    names = []
    for place, (key, block) in enumerate(found.groupby(["model", "subset"], sort=False)):
        names.append(f"{key[0]}\n{key[1]}: n = {block['n'].iloc[0]}")
        for row in block.itertuples():
            marker, face, name = looks[row.method]
            y = place + (-0.16 if name == "PCC" else 0.16)
            (thin,) = axis.plot([row.low, row.high], [y, y], color="0.05", linewidth=0.7, zorder=2,
                                label="95% interval")  # fmt: skip
            (thick,) = axis.plot([row.without_low, row.without_high], [y, y], color="0.55",
                                 linewidth=3.5, zorder=1, solid_capstyle="butt",
                                 label="any one left out")  # fmt: skip
            axis.plot(row.value, y, marker=marker, markersize=4, zorder=3, color="0.05",
                      markerfacecolor=face, linestyle="", label=name)  # fmt: skip
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")
    axis.set_xlim(min(0.4, found["low"].min() - 0.03), 1.02)
    axis.set_xlabel("correlation  (better \N{RIGHTWARDS ARROW})")
    axis.set_title(f"the paper: {span([low, high])}", loc="left")
    points = dict(zip(("PCC", "SRCC"), axis.lines[2::3]))
    return [*points.values(), thin, thick, band]


def benchmark_caption(table: pd.DataFrame, found: pd.DataFrame, seed: int) -> str:
    """What the benchmark says of the paper's correlations, and how sure."""
    low, high = paper_band()
    parts = []
    for (model, which), part in subsets_of(table).items():
        pearson, spearman = (
            correlate(part["ifid"], part[MODELS[model]], method, seed)
            for method in ("pearson", "spearman")
        )
        words = f"{strength(pearson, 'PCC')}, {strength(spearman, 'SRCC')}"
        parts.append(f"{model}, {which}: {words}")
    inside = found["value"].between(low, high).sum()
    covered = ((found["low"] <= low) & (found["high"] >= high)).sum()
    chosen = table.loc[table["ifid"].idxmin()]
    lost = chosen["gfid_xl_no_cfg"] - table["gfid_xl_no_cfg"].min()
    n = found.loc[found["subset"] == "in the paper", "n"].max()
    return (
        "iFID against gFID without guidance in the table of the iFID repository. "
        f"{'. '.join(parts)}. "
        f"{inside} of {len(found)} correlations lie in the paper's {span([low, high])} and "
        f"{covered} intervals cover all of it; with any one autoencoder left out they are "
        f"{span([found['without_low'].min(), found['without_high'].max()])}. That iFID goes along "
        f"with gFID is sure ({power(int(n))}), how closely is not: the intervals start at "
        f"{short(found['low'].min(), 2)}. Choosing by iFID takes {chosen['vae']}, which loses "
        f"{lost:.2f} of gFID. {missing_words(table)}"
    )


def missing_words(table: pd.DataFrame) -> str:
    """Who lacks a gFID, and who is not in the paper."""
    words = []
    for model, column in MODELS.items():
        lacking = table.loc[table[column].isna(), "vae"]
        words += [f"{', '.join(lacking)} has no gFID of {model}."] if len(lacking) else []
    extra = table.loc[~table["in_paper"], "vae"]
    words += [f"{', '.join(extra)} is not in the paper."] if len(extra) else []
    return " ".join(words)
