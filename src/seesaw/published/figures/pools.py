"""Seesaw's scores and the ways to count them, read once. Nobody may change these frames."""

from collections.abc import Mapping
from functools import cache

import pandas as pd

from seesaw.published import scores, subsets


@cache
def whole() -> pd.DataFrame:
    """All of Table 5, as :func:`seesaw.published.scores` has it."""
    return scores()


@cache
def pools() -> Mapping[str, pd.DataFrame]:
    """Its subsets, as :func:`seesaw.published.subsets` has them."""
    return subsets(whole())
