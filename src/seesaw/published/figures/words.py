"""Words for captions: a correlation with its strength, what few points can tell, ranges."""

from collections.abc import Iterable

import pandas as pd
from matplotlib.figure import Figure

from seesaw.figures.style import p_text, short
from seesaw.stats import Correlation, smallest_detectable

Drawn = tuple[Figure, pd.DataFrame, str]
"""Figure, the points that it shows, caption."""

RHO = "\N{GREEK SMALL LETTER RHO}"
ATLEAST = "\N{GREATER-THAN OR EQUAL TO}"
MINUS = "\N{MINUS SIGN}"


def strength(found: Correlation, symbol: str = RHO) -> str:
    """``ρ = .09 (95% interval −.94 to 1.00, exact p = .919, n = 6)``, or why there is none."""
    if found.value is None:
        return f"no {symbol} ({found.note}; n = {found.n})"
    parts = []
    if found.low is not None and found.high is not None:
        wide = found.low < found.high
        ends = span([found.low, found.high]) if wide else "without width"
        parts.append(f"95% interval {ends}")
    if found.p is not None:
        parts.append(f"{found.p_method} {p_text(found.p)}".strip())
    return f"{symbol} = {short(found.value, 2)} ({', '.join([*parts, f'n = {found.n}'])})"


def power(n: int) -> str:
    """What n points can tell: the smallest correlation that they would show in 80% of the cases.

    That holds for Pearson's r of normal pairs; ranks show it less often (58% at n = 6, see
    :func:`seesaw.stats.smallest_detectable`), hence "at best".
    """
    found = smallest_detectable(n)
    if found is None:
        return f"{n} points are too few to tell any {RHO} from 0"
    least = short(found, 2)
    return f"{n} points tell only |{RHO}| {ATLEAST} {least} from 0 (p < .05, power 80% at best)"


def undecided(n: int, p: Iterable[float]) -> str:
    """What p over n points allows to say of a weak correlation."""
    there = [value for value in p if value is not None and pd.notna(value)]
    if there and min(there) < 0.05:
        return f"{power(n)}; some of these are"
    return f"{power(n)}, so this neither shows a relation nor excludes a moderate one"


def span(values: Iterable[float], digits: int = 2) -> str:
    """``.89 to .96``, or one number where all read the same."""
    there = [value for value in values if value is not None and pd.notna(value)]
    if not there:
        return "none"
    ends = dict.fromkeys(short(end, digits) for end in (min(there), max(there)))
    return " to ".join(ends)


def p_span(values: Iterable[float]) -> str:
    """``p = .657 to 1.000``, ``p < .001``, ``all p < .05`` is never said where it is not so."""
    there = [value for value in values if value is not None and pd.notna(value)]
    if not there:
        return "no p"
    low, high = p_text(min(there)), p_text(max(there))
    return low if low == high else f"{low} to {high.removeprefix('p = ')}"


def listed(words: Iterable[str]) -> str:
    """``a, b and c``."""
    *first, last = list(words)
    return f"{', '.join(first)} and {last}" if first else last
