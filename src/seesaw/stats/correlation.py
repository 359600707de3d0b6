"""A correlation with interval, p and reasons (:func:`correlate`), and its permutation test."""

import itertools
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from seesaw.stats.intervals import bootstrap_interval
from seesaw.stats.values import ROUNDING, Method, known, pearson, ranks, unit, value_of, vectors

PERMUTATIONS = 20_000
EXACT_UP_TO = 8
"""All n! permutations are enumerated up to this n (8! = 40,320)."""


@dataclass(frozen=True, kw_only=True)
class Correlation:
    """A correlation of ``n`` pairs.

    Attributes:
        value: Pearson's r, Spearman's rho or Kendall's tau-b in [-1, 1]; None where it is
            undefined.
        n: pairs that have both values.
        low: lower end of the 95% interval, or None: percentile bootstrap, of a partial correlation
            Fisher's.
        high: upper end, or None.
        p: two-sided p in (0, 1], or None: by permutation, of a partial correlation by t.
        method: ``"pearson"``, ``"spearman"`` or ``"kendall"``.
        p_method: ``"exact"`` (all permutations), ``"Monte Carlo"``, or ``"t"``; empty without p.
        note: why a value is missing, or which pairs were left out.
    """

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    p: float | None = None
    method: str
    p_method: str = ""
    note: str = ""

    def remarked(self, *words: str) -> "Correlation":
        """The same with more words in its note; empty ones and repeated ones add nothing."""
        return replace(self, note="; ".join(filter(None, dict.fromkeys([self.note, *words]))))


def permutation_p(
    x: ArrayLike,
    y: ArrayLike,
    method: Method = "spearman",
    *,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
) -> float | None:
    """Two-sided p of |correlation| when x and y are unrelated, by permuting y.

    Exact (all n! permutations) up to n = 8; above, ``(b + 1) / (m + 1)`` with b of m random
    permutations at least as extreme, which is valid for any m (Phipson and Smyth 2010).

    Returns:
        p in (0, 1], or None if a column is constant or n < 2.
    """
    x, y = vectors(x, y)
    if known(method) == "spearman" and len(x) > 1:
        x, y = ranks(x), ranks(y)
    observed = pearson(x, y)
    if observed is None:
        return None
    exact = len(x) <= EXACT_UP_TO
    order = _all_orders(len(x)) if exact else _random_orders(len(x), permutations, seed)
    if method == "kendall":
        agree = _concordance(x, y, order)
        extreme = np.abs(agree) >= abs(_concordance(x, y, np.arange(len(x))[None])[0])
    else:
        permuted = unit(y[None])[0][order] @ unit(x[None])[0]
        extreme = np.abs(permuted) >= abs(observed) - ROUNDING
    if exact:
        return float(extreme.mean())
    return float((extreme.sum() + 1) / (permutations + 1))


def correlate(
    x: ArrayLike, y: ArrayLike, method: Method = "spearman", seed: int = 0
) -> Correlation:
    """Correlation of the pairs in which both values are finite, with interval and p.

    Args:
        x: values (n,); NaN or None stands for a missing one.
        y: values (n,).
        method: ``"pearson"``, ``"spearman"`` or ``"kendall"`` (tau-b).
        seed: of bootstrap and permutations.

    Returns:
        The correlation. With fewer than three pairs or a constant column its ``value`` is None and
        ``note`` says why; nothing in it is ever NaN.

    Raises:
        ValueError: lengths differ, or the method is unknown.
    """
    x, y = vectors(x, y)
    known(method)
    whole = np.isfinite(x) & np.isfinite(y)
    lost, n = int((~whole).sum()), int(whole.sum())
    notes = [f"{lost} of {len(x)} pairs left out: a value is missing"] if lost else []
    x, y = x[whole], y[whole]
    if n < 3:
        return Correlation(
            value=None,
            n=n,
            method=method,
            note="; ".join([f"{n} of the 3 pairs that it takes", *notes]),
        )
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        note = "all values of one metric are equal"
        return Correlation(value=None, n=n, method=method, note="; ".join([note, *notes]))
    in_order = np.lexsort((y, x))  # so that the order of the autoencoders changes nothing
    x, y = x[in_order], y[in_order]
    interval = bootstrap_interval(x, y, method, seed=seed)
    if interval is None:
        notes.append("no interval: most resamples have all values of one metric equal")
    low, high = interval or (None, None)
    return Correlation(
        value=value_of(x, y, method),
        n=n,
        low=low,
        high=high,
        p=permutation_p(x, y, method, seed=seed),
        method=method,
        p_method="exact" if n <= EXACT_UP_TO else "Monte Carlo",
        note="; ".join(notes),
    )


def _concordance(x: np.ndarray, y: np.ndarray, orders: np.ndarray) -> np.ndarray:
    """Concordant minus discordant pairs, twice, for each permutation (m, n) of y: integers (m,).

    The rest of tau-b is the same for every permutation.
    """
    above_x, above_y = (np.sign(v[:, None] - v).astype(np.int64) for v in (x, y))
    total = np.zeros(len(orders), np.int64)
    for i in range(len(x)):
        for j in range(i):
            if above_x[i, j]:
                total += 2 * above_x[i, j] * above_y[orders[:, i], orders[:, j]]
    return total


@lru_cache(maxsize=8)
def _all_orders(n: int) -> np.ndarray:
    return np.array(list(itertools.permutations(range(n))))


@lru_cache(maxsize=8)
def _random_orders(n: int, count: int, seed: int) -> np.ndarray:
    orders = np.tile(np.arange(n), (count, 1))
    return np.random.default_rng(seed).permuted(orders, axis=1)
