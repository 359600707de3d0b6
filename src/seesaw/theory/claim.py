"""What a checked claim consists of: a table of checks, a figure with its points, a caption."""

import importlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from seesaw.registry import unknown
from seesaw.theory import CLAIMS

logger = logging.getLogger(__name__)

COLUMNS = ("claim", "setting", "relation", "expected", "found", "tolerance", "holds", "n")
ERRORS = 4.0
"""Standard errors that a Monte Carlo check allows: a true claim fails once in 16 000 checks."""


class Claim(NamedTuple):
    """The outcome of a claim's checks.

    Attributes:
        table: a row per check, columns :data:`COLUMNS`.
        figure: one column wide.
        points: what the figure shows.
        caption: the finding in words, with its numbers and assumptions.
    """

    table: pd.DataFrame
    figure: Figure
    points: pd.DataFrame
    caption: str


def check(
    claim: str,
    setting: str,
    *,
    found: float,
    expected: float,
    n: int,
    relation: str = "=",
    tolerance: float = 0.0,
) -> dict[str, Any]:
    """One row of a claim's table; a value that is not a number holds nothing.

    Args:
        claim: what is said.
        setting: of what.
        found: the value that was computed.
        expected: what theory compares it with.
        n: images, pairs or draws behind ``found``.
        relation: of ``found`` to ``expected``. ``=``, ``<=`` and ``>=`` may fail by up to
            ``tolerance``; ``<``, ``>`` and ``differs`` must hold by more than it.
        tolerance: see there, at least 0.

    Raises:
        ValueError: another relation, or a tolerance below 0 or not a number.
    """
    if not tolerance >= 0:
        raise ValueError(f"a tolerance is a number of at least 0, got {tolerance}")
    above = found - expected
    outcomes = {
        "=": abs(above) <= tolerance,
        "<=": above <= tolerance,
        ">=": above >= -tolerance,
        "<": above < -tolerance,
        ">": above > tolerance,
        "differs": abs(above) > tolerance,
    }
    if relation not in outcomes:
        raise unknown("relation", relation, outcomes)
    row = (claim, setting, relation, expected, found, tolerance, outcomes[relation], n)
    kinds = (str, str, str, float, float, float, bool, int)
    return {name: kind(value) for name, kind, value in zip(COLUMNS, kinds, row, strict=True)}


def run_claim(name: str, *, seed: int) -> Claim:
    """Check one claim of :data:`seesaw.theory.CLAIMS`.

    Raises:
        ValueError: an unknown name.
    """
    if name not in CLAIMS:
        raise unknown("claim", name, CLAIMS)
    outcome = getattr(importlib.import_module(f"seesaw.theory.{name}"), name)(seed=seed)
    held = int(outcome.table["holds"].sum())
    logger.info("%s: %d of %d checks hold. %s", name, held, len(outcome.table), outcome.caption)
    return outcome


def theory(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """All claims' checks in one table, if every one of them holds.

    Args:
        tables: table per name of a claim.

    Returns:
        The tables one below the other, with the name as first column ``theory``.

    Raises:
        ValueError: no check at all, or checks that do not hold; they are named.
    """
    empty = [name for name, table in tables.items() if not len(table)]
    if empty or not tables:
        raise ValueError(f"nothing was checked for {', '.join(empty) or 'any claim'}")
    rows = pd.concat(
        [table.assign(theory=name) for name, table in tables.items()], ignore_index=True
    )
    failed = rows[~rows["holds"].eq(True)]  # what is no truth value does not hold either
    if len(failed):
        words = "\n".join(
            f"- {row.theory}: {row.claim} ({row.setting}): found {row.found:.6g}, expected "
            f"{row.relation} {row.expected:.6g}, tolerance {row.tolerance:.2g}, n = {row.n}"
            for row in failed.itertuples()
        )
        raise ValueError(f"{len(failed)} of {len(rows)} checks do not hold:\n{words}")
    logger.info("all %d checks of %d claims hold", len(rows), len(tables))
    return rows[["theory", *COLUMNS]]


def table_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows of :func:`check` as a table."""
    return pd.DataFrame(rows, columns=list(COLUMNS))
