"""The table of a toy: mean and spread over seeds, a row per quantity."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd


def over_seeds(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str], units: Mapping[str, str]
) -> pd.DataFrame:
    """Mean and spread of every quantity over the rows that share their keys.

    Args:
        rows: one per seed and key, with ``seed``, the keys, ``points`` and any of the quantities.
        keys: names that tell the rows apart, apart from the seed.
        units: quantity -> what it is.

    Returns:
        The keys, ``quantity``, ``mean``, ``sd`` (of single seeds, n - 1; empty with one seed),
        ``low``, ``high``, ``seeds`` (how many), ``points`` (in one seed's set), ``values`` (of the
        seeds in order) and ``what``; rows in the order of first appearance.
    """
    frame = pd.DataFrame(rows)
    found = []
    for key, group in frame.groupby(list(keys), sort=False, dropna=False):
        for quantity, what in units.items():
            values = group[quantity].dropna().to_numpy(float) if quantity in group else ()
            if not len(values):
                continue
            found.append(
                {
                    **dict(zip(keys, key, strict=True)),
                    "quantity": quantity,
                    "mean": values.mean(),
                    "sd": values.std(ddof=1) if len(values) > 1 else np.nan,
                    "low": values.min(),
                    "high": values.max(),
                    "seeds": len(values),
                    "points": int(group["points"].iloc[0]),
                    "values": " ".join(f"{value:.6g}" for value in values),
                    "what": what,
                }
            )
    return pd.DataFrame(found)


def entry(table: pd.DataFrame, quantity: str, **keys: Any) -> pd.Series:
    """The one row of a quantity with these keys."""
    chosen = table[table["quantity"] == quantity]
    for key, value in keys.items():
        chosen = chosen[chosen[key] == value]
    assert len(chosen) == 1, f"{len(chosen)} rows of {quantity} with {keys}"
    return chosen.iloc[0]


def percent(row: pd.Series, digits: int = 1) -> str:
    """A share in words: ``12.3 ± 0.4%``, or ``12.3%`` with one seed."""
    mean = f"{100 * row['mean']:.{digits}f}"
    return f"{mean}%" if np.isnan(row["sd"]) else f"{mean} ± {100 * row['sd']:.{digits}f}%"


def check_seeds(seeds: Sequence[int]) -> None:
    """At least one seed, none twice.

    Raises:
        ValueError: otherwise.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"a toy needs distinct seeds, at least one, got {list(seeds)}")
