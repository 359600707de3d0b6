"""Intervals of a correlation: percentile and BCa bootstrap, and Fisher's."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from seesaw.stats.values import ROUNDING, Method, known, resampled, share, value_of, vectors

RESAMPLES = 5000


def bootstrap_interval(
    x: ArrayLike,
    y: ArrayLike,
    method: Method = "spearman",
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of a correlation, resampling pairs with replacement.

    Resamples in which a column is constant have no correlation and are dropped; with few pairs
    they are common.

    Args:
        x: values (n,), finite.
        y: values (n,), finite.
        method: ``"pearson"``, ``"spearman"`` or ``"kendall"``; ranked again in every resample.
        seed: of the resamples.
        resamples: how many, at least 2,000 for stable 2.5% tails.
        level: coverage aimed at.

    Returns:
        (low, high), or None if fewer than half of the resamples have a correlation.
    """
    x, y = vectors(x, y)
    known(method)
    if len(x) < 2:
        return None
    found = resampled(x, y, method, _drawn(len(x), resamples, seed))
    found = found[~np.isnan(found)]
    if len(found) < resamples / 2:
        return None
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bca_interval(
    x: ArrayLike,
    y: ArrayLike,
    method: Method = "spearman",
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    clusters: Sequence[object] | np.ndarray | None = None,
) -> tuple[float, float] | None:
    """Bias-corrected and accelerated bootstrap interval (Efron 1987), on request of whole families.

    Own code, since :func:`scipy.stats.bootstrap` has no clusters and answers NaN as soon as one
    resample has no correlation; without such resamples the two agree. Pairs with a missing value
    are left out. Resamples, and left-out pairs of the acceleration's jackknife, without a
    correlation are dropped. Where the correlation is perfect the interval has no width.

    Args:
        x: values (n,); NaN or None stands for a missing one.
        y: values (n,).
        method: ``"pearson"``, ``"spearman"`` or ``"kendall"``; ranked again in every resample.
        seed: of the resamples.
        resamples: how many.
        level: coverage aimed at.
        clusters: a label per pair (n,), such as the family of the autoencoder. Whole clusters are
            resampled (and left out in the jackknife), so that variants of one model count as one
            piece of evidence about how far the correlation can move. Every pair needs a label.

    Returns:
        (low, high); None with fewer than three pairs or clusters, a constant column, fewer than
        half of the resamples with a correlation, or all of them on one side of the observed value.

    Raises:
        ValueError: lengths differ, a label is missing, the level is not between 0 and 1, or the
            method is unknown.
    """
    from scipy.special import ndtr, ndtri

    x, y = vectors(x, y)
    known(method)
    share(level)
    whole = np.isfinite(x) & np.isfinite(y)
    of = None if clusters is None else codes(clusters, len(x))[whole]
    x, y = x[whole], y[whole]
    in_order = np.lexsort((y, x) if of is None else (of, y, x))
    x, y = x[in_order], y[in_order]
    of = np.arange(len(x)) if of is None else np.unique(of[in_order], return_inverse=True)[1]
    observed = value_of(x, y, method)
    groups = len(np.unique(of))
    if groups < 3 or observed is None:
        return None
    found = resampled(x, y, method, _drawn(groups, resamples, seed)[:, of])
    found = found[~np.isnan(found)]
    if len(found) < resamples / 2:
        return None
    tied = np.abs(found - observed) <= ROUNDING
    below = ((found < observed) & ~tied).mean() + tied.mean() / 2
    if not 0 < below < 1:
        return None
    bias = ndtri(below)
    left_out = resampled(x, y, method, 1 - np.eye(groups, dtype=np.int64)[:, of])
    shifted = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    room = 1 - _acceleration(left_out[~np.isnan(left_out)]) * shifted
    if (room <= 0).any():
        return None
    low, high = np.quantile(found, ndtr(bias + shifted / room))
    return float(low), float(high)


def fisher_interval(
    value: float | None, n: int, method: Method = "pearson", level: float = 0.95
) -> tuple[float, float] | None:
    """Interval of a correlation by Fisher's z = artanh(value), which is about normal.

    Variance of z: 1 / (n - 3) for Pearson, (1 + value^2 / 2) / (n - 3) for Spearman (Bonett and
    Wright 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman
    correlations", Psychometrika 65:23-28), 0.437 / (n - 4) for Kendall (Fieller, Hartley and
    Pearson 1957). It assumes a bivariate normal distribution, the latter two without ties.

    Args:
        value: the correlation in [-1, 1], or None.
        n: pairs that it is of.
        method: ``"pearson"``, ``"spearman"`` or ``"kendall"``.
        level: coverage aimed at.

    Returns:
        (low, high); None without a value, for a perfect correlation (its z is infinite), and for
        n <= 3 (Kendall: 4).

    Raises:
        ValueError: the value is outside [-1, 1], the level is not between 0 and 1, or the method
            is unknown.
    """
    from scipy.special import ndtri

    known(method)
    share(level)
    if value is None or np.isnan(value):
        return None
    if abs(value) > 1 + ROUNDING:
        raise ValueError(f"a correlation lies in [-1, 1], got {value!r}")
    if abs(value) >= 1 - 1e-12 or n <= (4 if method == "kendall" else 3):
        return None
    variance = {
        "pearson": 1 / (n - 3),
        "spearman": (1 + value**2 / 2) / (n - 3),
        "kendall": 0.437 / (n - 4) if n > 4 else np.inf,
    }[method]
    half = ndtri((1 + level) / 2) * np.sqrt(variance)
    return float(np.tanh(np.arctanh(value) - half)), float(np.tanh(np.arctanh(value) + half))


def codes(labels: Sequence[object] | np.ndarray, n: int) -> np.ndarray:
    """Whole numbers (n,) for labels (n,), in the order of the sorted labels.

    Raises:
        ValueError: there are not n labels, or one is missing (None, NaN or empty).
    """
    labels = list(labels)
    if len(labels) != n:
        raise ValueError(f"expected a label for each of {n} values, got {len(labels)} labels")
    missing = [
        i for i, label in enumerate(labels) if label is None or str(label) in ("", "nan", "<NA>")
    ]
    if missing:
        raise ValueError(
            f"values {missing} have no label; an autoencoder without relatives needs one of its own"
        )
    place = {label: i for i, label in enumerate(sorted(set(labels), key=str))}
    return np.array([place[label] for label in labels], np.int64)


def _drawn(n: int, resamples: int, seed: int) -> np.ndarray:
    """How often each of n things is in each resample (resamples, n)."""
    drawn = np.random.default_rng(seed).integers(0, n, (resamples, n))
    drawn += n * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * resamples).reshape(resamples, n)


def _acceleration(left_out: np.ndarray) -> float:
    """Efron's a of the jackknife values (k,); 0 if they are all equal."""
    away = left_out.mean() - left_out if len(left_out) else left_out
    squares = float((away**2).sum())
    return float((away**3).sum() / (6 * squares**1.5)) if squares > ROUNDING**2 else 0.0
