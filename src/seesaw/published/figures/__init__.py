"""The papers' figures from their own numbers, each with its finding and how strong that is.

Every function takes a seed (of intervals and permutations) and returns the figure, the points that
it shows and a caption in plain words, whose numbers are computed from the same data. This module
imports none of them, so that a workflow can list them at no cost.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from seesaw.registry import unknown

if TYPE_CHECKING:
    from seesaw.published.figures.words import Drawn

FIGURES: Mapping[str, str] = {
    "seesaw": "choice",
    "figure2": "drift",
    "figure3": "drift",
    "figure5": "drift",
    "figure6": "drift",
    "figure7": "drift",
    "figure8": "drift",
    "figure9": "drift",
    "regret": "choice",
    "ifid_figure1": "benchmark",
    "ifid_vs_gfid": "benchmark",
    "ifid_table3": "sheets",
    "ifid_table4": "sheets",
    "ifid_table5": "sheets",
}
"""Name of the output and of its function -> module of this package, in the order of the page."""


def module_of(name: str) -> str:
    """Full name of the module that draws a figure.

    Raises:
        ValueError: there is no such figure; the message lists them.
    """
    if name not in FIGURES:
        raise unknown("published figure", name, FIGURES)
    return f"{__name__}.{FIGURES[name]}"


def draw_figure(name: str, seed: int = 0) -> "Drawn":
    """The figure of that name, its points and its caption.

    Raises:
        ValueError: there is no such figure; the message lists them.
    """
    draw: Callable[[int], Drawn] = getattr(import_module(module_of(name)), name)
    return draw(seed)
