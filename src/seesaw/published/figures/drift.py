"""Seesaw Figures 2, 3 and 5 to 9: what goes along with condition drift, over the papers' rows."""

import itertools
from collections.abc import Callable

import pandas as pd
from matplotlib.figure import Figure

from seesaw.figures import scatter, sweeps
from seesaw.figures.correlation import SIGNIFICANT, draw_heatmap
from seesaw.figures.style import FULL_WIDTH, SMALL, new_figure, p_text, styled
from seesaw.published.figures.pools import pools, whole
from seesaw.published.figures.words import RHO, Drawn, listed, p_span, span, strength, undecided
from seesaw.score_table import CONDITIONS, QUALITY, label, measured, pool, worse
from seesaw.stats import Comparison, compare_dependent, correlate, spearman
from seesaw.tables import correlations

SHORT_LABELS = {
    "canny": "Canny", "depth": "Depth", "segmentation": "Segment.", "spatial": "Spatial",
    "identity": "Identity", "face-recall": "Face@R", "clip": "CLIP", "dino": "DINOv2",
}  # fmt: skip
"""Conditions as the narrow panels of Figure 2 name them."""

PANELS = ("all rows", "rows with gFID", "duplicates removed")
"""Subsets of :func:`seesaw.published.subsets` that Figure 2 shows side by side."""


@styled
def figure2(seed: int = 0) -> Drawn:
    """Seesaw Figure 2 three times: over all rows, the rows with gFID, and without duplicates.

    Returns:
        The figure; the rows of :func:`seesaw.tables.correlations` (Spearman, oriented so that +
        means that both get worse together) with their pool in column ``rows``; the caption.
    """
    chosen = {name: pools()[name] for name in PANELS}
    rows = measured(chosen["all rows"], QUALITY)
    columns = measured(chosen["all rows"], CONDITIONS)
    pairs = list(itertools.product(rows, columns))
    tables = {
        name: correlations(table, seed, pairs=pairs, methods=["spearman"])
        for name, table in chosen.items()
    }
    figure = new_figure(FULL_WIDTH, 2.15)
    axes = figure.subplots(1, len(tables), sharey=True)
    for axis, (name, table) in zip(axes, tables.items(), strict=True):
        image = draw_heatmap(axis, table, rows, columns, fontsize=5.5)
        names = [SHORT_LABELS[metric] for metric in columns]
        axis.set_xticks(range(len(columns)), names, rotation=55, ha="right", rotation_mode="anchor")
        axis.set_title(f"{name[0].upper()}{name[1:]}: {counts(table)}", loc="center")
    axes[0].set_yticks(range(len(rows)), [label(metric) for metric in rows])
    bar = figure.colorbar(image, ax=axes, fraction=0.025, pad=0.01)
    bar.outline.set_visible(False)
    bar.set_label(f"Spearman {RHO}\n(+: worse together)")
    words = "Hatched, in brackets: p \N{GREATER-THAN OR EQUAL TO} .05 (permutation, not corrected)."
    figure.supxlabel(words, fontsize=SMALL)
    points = pd.concat([table.assign(rows=name) for name, table in tables.items()])
    return figure, points.reset_index(drop=True), caption2(points, seed)


def counts(table: pd.DataFrame) -> str:
    """``n = 33 (gFID 6)``."""
    n = table.groupby(table["x"] == "gfid")["n"].max()
    most, few = int(n[False]), int(n[True])
    return f"n = {most}" if most == few else f"n = {most} (gFID {few})"


def caption2(points: pd.DataFrame, seed: int) -> str:
    """What Figure 2 shows, and how sure that is.

    Args:
        points: the rows of :func:`figure2`.
        seed: of the permutations.
    """
    chosen = pools()

    def of(name: str, metric: str) -> pd.DataFrame:
        return points[(points["rows"] == name) & (points["x"] == metric)]

    def ranges(name: str) -> str:
        found = {metric: of(name, metric) for metric in ("psnr", "rfid")}
        return listed(
            f"{label(metric)} has {span(rows['value'])} ({p_span(rows['p'])})"
            for metric, rows in found.items()
        )

    n = {name: int(points.loc[points["rows"] == name, "n"].max()) for name in PANELS}
    gfid = of("all rows", "gfid")
    six, votes = chosen["rows with gFID"], chosen["one per family"]
    bad = [worse(six, metric) for metric in ("psnr", "gfid", "spatial")]
    families = chosen["all rows"].drop_duplicates("autoencoder")["family"].value_counts()
    per_family = correlate(worse(votes, "psnr"), worse(votes, "spatial"), seed=seed)
    words = [
        f"Spearman's {RHO} of generation and reconstruction metrics with condition drift; + means "
        "that both get worse together.",
        f"Over all {n['all rows']} rows, as in the paper, {ranges('all rows')}; over the "
        f"{n['duplicates removed']} that repeat no other row's weights "
        f"{ranges('duplicates removed')}.",
        f"gFID is published for {gfid['n'].max()} of them: {RHO} is {span(gfid['value'])} "
        f"({p_span(gfid['p'])}); {undecided(int(gfid['n'].max()), gfid['p'])}.",
        f"On those {n['rows with gFID']} rows {ranges('rows with gFID')}; "
        f"{versus('PSNR', 'gFID', compare_dependent(*bad, method='spearman'))}",
        f"Rows are variants of {len(families)} families ({families.iloc[0]} of {families.sum()} of "
        f"{families.index[0]}), so p understates chance; with one vote per family PSNR and spatial "
        f"drift have {strength(per_family)}.",
    ]
    return " ".join(words)


LIBERAL_UP_TO = 10
"""Up to this n Williams' test of ranks rejects in 8% to 11% of the cases where 5% are aimed at, if
both correlations are strong (:func:`seesaw.stats.compare_dependent`)."""


def versus(first: str, second: str, found: Comparison) -> str:
    """Williams' test of two predictors of spatial drift, in words."""
    if found.p is None:
        return f"{first} and {second} cannot be compared as its predictors ({found.note})."
    verdict = "predicts" if found.p < SIGNIFICANT else "is not shown to predict"
    return (
        f"{first} {verdict} spatial drift better than {second} (Williams' t of the ranks "
        f"{found.t:.2f}, {p_text(found.p)}, n = {found.n}"
        + ("; at so few points this p is too small" if found.n <= LIBERAL_UP_TO else "")
        + ")."
    )


def figure3(seed: int = 0) -> Drawn:
    """Seesaw Figure 3: gFID, rFID and PSNR against spatial drift, identity and CLIP."""
    return _scattered(scatter.figure3, "spatial drift, identity and CLIP similarity", seed)


def figure5(seed: int = 0) -> Drawn:
    """Seesaw Figure 5: against Canny drift."""
    return _scattered(sweeps.figure5, "Canny drift", seed)


def figure6(seed: int = 0) -> Drawn:
    """Seesaw Figure 6: against depth drift."""
    return _scattered(sweeps.figure6, "depth drift", seed)


def figure7(seed: int = 0) -> Drawn:
    """Seesaw Figure 7: against segmentation drift."""
    return _scattered(sweeps.figure7, "segmentation drift", seed)


def figure8(seed: int = 0) -> Drawn:
    """Seesaw Figure 8: against identity similarity and face detection recall."""
    return _scattered(sweeps.figure8, "identity similarity and face detection recall", seed)


def figure9(seed: int = 0) -> Drawn:
    """Seesaw Figure 9: against CLIP and DINO similarity."""
    return _scattered(sweeps.figure9, "CLIP and DINOv2 similarity", seed)


def _scattered(draw: Callable[..., tuple[Figure, pd.DataFrame]], against: str, seed: int) -> Drawn:
    figure, points = draw(whole(), key="group")
    return figure, points, scatter_caption(points, against)


def scatter_caption(points: pd.DataFrame, against: str) -> str:
    """Per metric the range of rho over its panels, p and n; and what the few with gFID can tell.

    Args:
        points: of :func:`seesaw.figures.scatter.scatter_grid`.
        against: the conditions in words.
    """
    panels = points.drop_duplicates(["x_metric", "y_metric"])
    pairs = [sorted(pair, key=CONDITIONS.__contains__)
             for pair in zip(panels["x_metric"], panels["y_metric"])]  # fmt: skip
    panels = panels.assign(metric=[metric for metric, _ in pairs])
    every = pools()["all rows"]
    panels["all"] = [spearman(worse(every, x), worse(every, y)) if x != "gfid" else None
                     for x, y in pairs]  # fmt: skip
    rows = dict(tuple(panels.groupby("metric", sort=False)))
    gfid = rows.pop("gfid", None)
    once, count = len(pool(pools()["duplicates removed"])), len(pool(every))
    found = (f"{label(metric)} {span(of['rho'])} ({p_span(of['p'])}; all {count} rows: "
             f"{span(of['all'], 3)})" for metric, of in rows.items())  # fmt: skip
    words = [
        f"Published metrics against {against}: a point is one of the {once} autoencoders that "
        "repeat no other's weights, colour and marker its family; all axes point to better.",
        f"Spearman's {RHO}, + if both get worse together: {listed(found)}.",
    ]
    if gfid is not None:
        n = int(gfid["n"].max())
        words.append(
            f"gFID, which {n} have: {RHO} is {span(gfid['rho'])} ({p_span(gfid['p'])}); "
            f"{undecided(n, gfid['p'])}."
        )
    return " ".join(words)
