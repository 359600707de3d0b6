"""One look for all figures: sizes, fonts, a colour and marker per group, axis labels, saving."""

import functools
import itertools
import logging
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from seesaw.files import atomic, write_csv
from seesaw.score_table import Column, pool
from seesaw.stats import Correlation

COLUMN_WIDTH = 3.4
FULL_WIDTH = 7.0
"""Widths in inches: one column, and the full page."""

SMALL = 6.0
"""Font size in points of numbers at points and of keys."""

RC: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib, so a figure looks the same everywhere
    "font.size": 7.0,
    "axes.labelsize": 6.5,
    "axes.titlesize": 6.2,
    "axes.titlepad": 3.0,
    "axes.labelpad": 2.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "legend.frameon": False,
    "hatch.linewidth": 0.4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
}

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, without the yellow that vanishes on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

_BLUE, _RED, _GREEN, _PINK, _ORANGE, _SKY, _BLACK = COLOURS
FAMILIES: Mapping[str, tuple[str, str]] = {
    "VA-VAE": (_BLUE, "o"),
    "RAE": (_RED, "s"),
    "VTP": (_GREEN, "^"),
    "UAE": (_PINK, "D"),
    "REPA-E": (_ORANGE, "v"),
    "SVG": (_SKY, "P"),
    "SVG-T2I": (_BLACK, "X"),
    "SD": (_BLACK, "o"),
    "FLUX": (_BLACK, "s"),
    "Qwen": (_BLACK, "^"),
    "EQ-VAE": (_SKY, "o"),
    "SoftVQ": (_PINK, "o"),
    "MAETok": (_GREEN, "o"),
    "DeTok": (_ORANGE, "o"),
    "DM-VAE": (_PINK, "s"),
}
"""Colour and marker of the published families, in every figure; no other group gets one of them."""

METRIC_INKS = ("0.05", "0.55")
"""For lines that are metrics and not families: black and grey, told apart by their markers too."""

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it lists every glyph it embeds

P = ParamSpec("P")
R = TypeVar("R")


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function under :data:`RC`, and leave matplotlib's settings as they were."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(dict(RC)):
            return function(*args, **kwargs)

    return run


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in inches, on an Agg canvas, with constrained layout."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def group_styles(scores: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Colour and marker per group: that of :data:`FAMILIES`, else by order of first appearance.

    Up to 48 groups that are not published families look different from them and each other; the
    colours of published families among the scores come last.
    """
    groups = list(dict.fromkeys(pool(scores)["group"]))
    taken = {FAMILIES[group][0] for group in groups if group in FAMILIES}
    looks = [(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i in range(63)]
    looks = [look for look in looks if look not in FAMILIES.values()]
    free = itertools.cycle(sorted(looks, key=lambda look: look[0] in taken))
    return {group: FAMILIES[group] if group in FAMILIES else next(free) for group in groups}


def axis_label(column: Column, width: int = 34) -> str:
    """For an axis that points to better: name, unit, an arrow, and below the network, wrapped."""
    first = f"{column.quantity}  (better \N{RIGHTWARDS ARROW})"
    return "\n".join([first, *textwrap.wrap(column.network, width, break_on_hyphens=False)])


def short(value: float, digits: int) -> str:
    """A number in [-1, 1] without leading zero, and with a true minus: ``.93``, ``1.00``."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    if abs(float(text)) < 1:
        text = text.replace("0.", ".", 1)
    return text.replace("-", "\N{MINUS SIGN}")


def p_text(p: float | None) -> str:
    """``p = .031``, ``p < .001``."""
    if p is None:
        return "no p"
    return "p < .001" if p < 0.001 else f"p = {short(p, 3)}"


def correlation_text(found: Correlation) -> str:
    """One line: rho (Pearson: r, Kendall: tau), its interval, p and n; or why there is none."""
    symbols = {"pearson": "r", "kendall": "\N{GREEK SMALL LETTER TAU}"}
    rho = symbols.get(found.method, "\N{GREEK SMALL LETTER RHO}")
    if found.value is None:
        return f"no {rho} ({found.note.split(';')[0]})"
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f" [{short(found.low, 2)}, {short(found.high, 2)}]"
    return f"{rho} = {short(found.value, 2)}{interval}, {p_text(found.p)}, n = {found.n}"


@styled
def message_figure(text: str) -> Figure:
    """A small figure that says in words why there is no plot."""
    figure = new_figure(COLUMN_WIDTH, 1.0)
    figure.text(0.5, 0.5, text, ha="center", va="center", color="0.3", wrap=True)
    return figure


@styled
def save_figure(
    figure: Figure, points: pd.DataFrame, outputs: Mapping[str, str | Path], dpi: int = 200
) -> None:
    """Write a figure as PDF and PNG and the points it shows as CSV, each whole or not at all.

    Args:
        figure: the figure.
        points: what it shows.
        outputs: paths by kind, any of ``pdf``, ``png``, ``csv``.
        dpi: resolution of the PNG.
    """
    unknown = set(outputs) - {"pdf", "png", "csv"}
    if unknown:
        raise ValueError(f"cannot write a figure as {', '.join(unknown)}; valid: pdf, png, csv")
    for kind, path in outputs.items():
        if kind == "csv":
            write_csv(path, points)
            continue
        # no dates: the same figure is the same file
        metadata = {"CreationDate": None} if kind == "pdf" else {"Software": None}
        with atomic(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=dpi, metadata=metadata)
