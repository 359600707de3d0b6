"""The papers' figures from their own numbers, each with its finding and how strong that is.

Every function takes a seed (of intervals and permutations) and returns the figure, the points that
it shows and a caption in plain words, whose numbers are computed from the same data.
:data:`FIGURES` has them all by name.
"""

from collections.abc import Callable, Mapping

from seesaw.published.figures.benchmark import ifid_figure1, ifid_vs_gfid
from seesaw.published.figures.choice import regret, seesaw
from seesaw.published.figures.drift import (
    figure2,
    figure3,
    figure5,
    figure6,
    figure7,
    figure8,
    figure9,
)
from seesaw.published.figures.sheets import ifid_table3, ifid_table4, ifid_table5
from seesaw.published.figures.words import Drawn

FIGURES: Mapping[str, Callable[[int], Drawn]] = {
    "seesaw": seesaw,
    "figure2": figure2,
    "figure3": figure3,
    "figure5": figure5,
    "figure6": figure6,
    "figure7": figure7,
    "figure8": figure8,
    "figure9": figure9,
    "regret": regret,
    "ifid_figure1": ifid_figure1,
    "ifid_vs_gfid": ifid_vs_gfid,
    "ifid_table3": ifid_table3,
    "ifid_table4": ifid_table4,
    "ifid_table5": ifid_table5,
}
"""Name of the output -> function, in the order of the page."""

__all__ = ["FIGURES", "Drawn", *FIGURES]
