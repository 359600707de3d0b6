"""Pearson, Spearman and Kendall: of two vectors, and of many resamples of them at once."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Method = Literal["pearson", "spearman", "kendall"]
METHODS: tuple[str, ...] = ("pearson", "spearman", "kendall")
ROUNDING = 1e-9
"""Correlations closer than this are equal: rounding must not decide a comparison."""


def pearson(x: ArrayLike, y: ArrayLike) -> float | None:
    """Pearson's correlation of two vectors (n,); None if one is constant or n < 2."""
    x, y = vectors(x, y)
    if len(x) < 2:
        return None
    value = np.clip(unit(x[None])[0] @ unit(y[None])[0], -1.0, 1.0)
    return None if np.isnan(value) else float(value)


def spearman(x: ArrayLike, y: ArrayLike) -> float | None:
    """Spearman's rank correlation (Pearson of average ranks); None if one is constant or n < 2."""
    x, y = vectors(x, y)
    return pearson(ranks(x), ranks(y)) if len(x) > 1 else None


def kendall(x: ArrayLike, y: ArrayLike) -> float | None:
    """Kendall's tau-b of two vectors (n,); None if one is constant or n < 2.

    Concordant minus discordant pairs, over the geometric mean of the pairs untied in x and those
    untied in y (:func:`scipy.stats.kendalltau`).
    """
    from scipy.stats import kendalltau

    x, y = vectors(x, y)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(np.clip(kendalltau(x, y).statistic, -1.0, 1.0))


def value_of(x: np.ndarray, y: np.ndarray, method: str) -> float | None:
    """The correlation ``method`` of two vectors (n,); None if one is constant or n < 2."""
    return {"pearson": pearson, "spearman": spearman, "kendall": kendall}[known(method)](x, y)


def resampled(x: np.ndarray, y: np.ndarray, method: str, counts: np.ndarray) -> np.ndarray:
    """Correlations of many resamples of the pairs (x, y).

    Args:
        x: values (n,), finite.
        y: values (n,), finite.
        method: one of :data:`METHODS`; ranks are taken again in every resample.
        counts: how often each resample holds each pair (m, n), integers; 0 leaves a pair out.

    Returns:
        Correlations (m,); NaN for resamples in which a column is constant.
    """
    times = np.asarray(counts, np.float64)
    above_x, above_y = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    # ordered pairs that differ: whole numbers, so that "constant" is no matter of rounding
    differ_x, differ_y = _pairs(times, np.abs(above_x)), _pairs(times, np.abs(above_y))
    if method == "kendall":
        above, scale = _pairs(times, above_x * above_y), np.sqrt(differ_x * differ_y)
    else:
        if method == "spearman":  # twice the average rank in the resample, centred
            a, b = times @ above_x.T, times @ above_y.T
        else:
            a, b = _centred(x, times), _centred(y, times)
        above = (times * a * b).sum(axis=1)
        scale = np.sqrt((times * a**2).sum(axis=1) * (times * b**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.clip(above / scale, -1.0, 1.0)
    found[(differ_x == 0) | (differ_y == 0)] = np.nan
    return found


def known(method: str, valid: Sequence[str] = METHODS) -> str:
    """``method`` if it is one of ``valid``; else a ValueError that names them."""
    if method not in valid:
        raise ValueError(f"unknown correlation {method!r}; valid: {', '.join(valid)}")
    return method


def vectors(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two float64 vectors of one length, else a ValueError."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"expected two vectors of one length, got shapes {x.shape} and {y.shape}")
    return x, y


def share(level: float, what: str = "level") -> float:
    """``level`` if it lies strictly between 0 and 1, else a ValueError."""
    if not 0 < level < 1:
        raise ValueError(f"{what} must lie between 0 and 1, got {level!r}")
    return level


def ranks(values: np.ndarray) -> np.ndarray:
    """Average ranks along the last axis."""
    from scipy.stats import rankdata

    return rankdata(values, axis=-1)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows (m, n) centred and of unit length; NaN for constant rows."""
    constant = np.ptp(rows, axis=1) == 0
    centred = rows - rows.mean(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        centred = centred / np.abs(centred).max(axis=1, keepdims=True)
        centred = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    centred[constant] = np.nan
    return centred


def _pairs(times: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Sum of a table (n, n) over the ordered pairs of each resample."""
    return ((times @ table) * times).sum(axis=1)


def _centred(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Values (n,) centred in each resample (m, n), largest at 1; 0 where a resample has none."""
    values = values - values.mean()
    mean = (times @ values) / times.sum(axis=1)
    centred = np.where(times > 0, values - mean[:, None], 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return centred / np.abs(centred).max(axis=1, keepdims=True)
