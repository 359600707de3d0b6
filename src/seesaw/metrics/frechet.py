"""Frechet distance of two sets of feature vectors: the maths of FID, in float64.

Ties no network: features go in, a number comes out. Moments are accumulated in blocks of a fixed
number of rows, so a value does not depend on batch or shard size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seesaw.metrics import Measured, Options, Reading
from seesaw.metrics.pairs import equal_batches, require_finite
from seesaw.shards import Shards, require_same_ids

BLOCK = 1024
ENOUGH = 10
"""Images per feature dimension below which the bias of the distance is mentioned."""


@dataclass(frozen=True)
class Statistics:
    """Mean and covariance of feature vectors.

    Attributes:
        n: number of vectors.
        mean: float64 (d,).
        covariance: float64 (d, d), divided by n - 1.
        rows: centred vectors (n, d) divided by ``sqrt(n - 1)``, kept where n < d: then the
            covariance is singular and these give a more exact distance.
    """

    n: int
    mean: np.ndarray
    covariance: np.ndarray
    rows: np.ndarray | None = None


class Moments:
    """Streaming mean and scatter of feature vectors, float64 (Chan et al. 1983).

    How the vectors are cut into calls of :meth:`add` does not change a bit of the result.
    """

    def __init__(self, d: int) -> None:
        self.d = d
        self.n = 0
        self.mean = np.zeros(d)
        self.scatter = np.zeros((d, d))
        self._waiting: list[np.ndarray] = []
        self._early: list[np.ndarray] | None = []

    def add(self, features: np.ndarray) -> None:
        """Add vectors (k, d).

        Raises:
            ValueError: another d, or a value that is not finite.
        """
        if features.ndim != 2 or features.shape[1] != self.d:
            raise ValueError(f"expected feature vectors (k, {self.d}), got {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError("feature vectors hold NaN or infinity; remake what they come from")
        rows = features.astype(np.float64)
        self._keep([rows], self.n + self._n_waiting + len(rows))
        self._waiting.append(rows)
        if self._n_waiting >= BLOCK:
            joined = np.concatenate(self._waiting)
            whole = len(joined) - len(joined) % BLOCK
            for start in range(0, whole, BLOCK):
                self._absorb(joined[start : start + BLOCK])
            self._waiting = [joined[whole:].copy()]

    def merge(self, other: "Moments") -> None:
        """Add the vectors that ``other`` saw; ``other`` is left as it is."""
        if other.d != self.d:
            raise ValueError(f"cannot merge features of length {other.d} into length {self.d}")
        self._flush()
        total = other._copy()
        total._flush()
        if other._early is None:
            self._early = None
        else:
            self._keep(other._early, self.n + total.n)
        self._combine(total.n, total.mean, total.scatter)

    def statistics(self) -> Statistics:
        """Mean and covariance of everything added so far.

        Raises:
            ValueError: fewer than two vectors.
        """
        final = self._copy()
        final._flush()
        if final.n < 2:
            raise ValueError(f"a covariance needs at least two feature vectors, got {final.n}")
        rows = None
        if final._early is not None:
            rows = np.concatenate(final._early)
            rows = (rows - rows.mean(axis=0)) / np.sqrt(final.n - 1)
        return Statistics(final.n, final.mean, final.scatter / (final.n - 1), rows)

    @property
    def _n_waiting(self) -> int:
        return sum(map(len, self._waiting))

    def _keep(self, rows: Sequence[np.ndarray], n: int) -> None:
        """Hold on to all vectors while they are fewer than their length."""
        self._early = None if self._early is None or n >= self.d else [*self._early, *rows]

    def _flush(self) -> None:
        if self._n_waiting:
            self._absorb(np.concatenate(self._waiting))
        self._waiting = []

    def _absorb(self, rows: np.ndarray) -> None:
        mean = rows.mean(axis=0)
        centred = rows - mean
        self._combine(len(rows), mean, centred.T @ centred)

    def _combine(self, n: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        if n == 0:
            return
        total = self.n + n
        shift = mean - self.mean
        self.scatter = self.scatter + scatter + np.outer(shift, shift) * (self.n * n / total)
        self.mean = self.mean + shift * (n / total)
        self.n = total

    def _copy(self) -> "Moments":
        copy = Moments(self.d)
        copy.n, copy.mean, copy.scatter = self.n, self.mean, self.scatter
        copy._waiting, copy._early = list(self._waiting), self._early
        return copy


def statistics(features: np.ndarray) -> Statistics:
    """Mean and covariance of features (n, d), float64.

    Raises:
        ValueError: not a matrix, fewer than two rows, or values that are not finite.
    """
    if features.ndim != 2:
        raise ValueError(f"expected a matrix of feature vectors (n, d), got {features.shape}")
    moments = Moments(features.shape[1])
    for start in range(0, len(features), BLOCK):
        moments.add(features[start : start + BLOCK])
    return moments.statistics()


def statistics_of(shards: Shards) -> Statistics:
    """Mean and covariance of the field ``features`` of all images.

    Raises:
        ValueError: a feature vector that is not finite; its image is named.
    """
    moments = Moments(shards.fields["features"]["shape"][0])
    for batch in equal_batches(shards, ["features"], BLOCK):
        require_finite(batch.ids, batch["features"], f"{shards.path}: feature vector")
        moments.add(batch["features"])
    return moments.statistics()


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2)``, never negative or complex.

    The trace of the root comes from symmetric eigenvalue problems (or from singular values where
    both sets have fewer vectors than dimensions) instead of a matrix square root: same value,
    faster, and right where a covariance is singular. Rounding is below 1e-6 of the covariances'
    traces at worst (eigenvalues over ten decades), about 1e-14 where they are well conditioned.

    Raises:
        ValueError: different dimensions, or statistics that are not finite.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features of length {len(a.mean)} and {len(b.mean)} cannot be compared")
    for s in (a, b):
        if not (np.isfinite(s.mean).all() and np.isfinite(s.covariance).all()):
            raise ValueError("the statistics hold NaN or infinity; remake the features")
    shift = a.mean - b.mean
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return max(float(shift @ shift + traces - 2.0 * _trace_of_root(a, b)), 0.0)


def _trace_of_root(a: Statistics, b: Statistics) -> float:
    """``tr (S1 S2)^1/2``: with ``S1 = R R^T`` the roots of the eigenvalues of ``R^T S2 R``."""
    if a.rows is not None and b.rows is not None:
        return float(np.linalg.svd(a.rows @ b.rows.T, compute_uv=False).sum())
    if a.rows is None and b.rows is not None:
        a, b = b, a
    root = a.rows if a.rows is not None else _root(a.covariance)
    product = root @ b.covariance @ root.T
    values = np.linalg.eigvalsh((product + product.T) / 2)
    return float(np.sqrt(_above_rounding(values, 10)).sum())


def _root(covariance: np.ndarray) -> np.ndarray:
    """``R`` (r, d) with ``R^T R`` = the covariance of rank r.

    By Cholesky where the covariance is positive definite beyond rounding, which takes a fraction of
    the time; otherwise by eigenvectors, without those whose eigenvalues are rounding.
    """
    try:
        lower = np.linalg.cholesky(covariance)
        pivots = lower.diagonal() ** 2
    except np.linalg.LinAlgError:
        pivots = np.zeros(len(covariance))
    # what earlier columns leave of each variance; rounding alone leaves about d epsilons of it
    lost = 10 * len(covariance) * np.finfo(np.float64).eps
    if (pivots > lost * covariance.diagonal()).all():
        return lower.T
    values, vectors = np.linalg.eigh(covariance)
    values = _above_rounding(values, len(values))
    kept = values > 0
    return np.sqrt(values[kept])[:, None] * vectors[:, kept].T


def _above_rounding(values: np.ndarray, factor: float) -> np.ndarray:
    """Eigenvalues with those at the level of rounding errors set to zero."""
    limit = values.max(initial=0.0) * factor * np.finfo(np.float64).eps
    return np.where(values > limit, values, 0.0)


def bias_note(n: int, d: int) -> str:
    """Words on the bias of a distance of ``n`` images with ``d`` features; none if n is ample."""
    if n >= ENOUGH * d:
        return ""
    words = f"{n} images for {d} feature dimensions: biased upwards, compare at equal n only"
    return words + (" (fewer images than dimensions: singular covariance)" if n <= d else "")


def rfid(reference: Shards, source: Shards, options: Options) -> Measured:
    """Reconstruction FID: the Frechet distance of the two feature sets (Heusel et al. 2017).

    Args:
        reference: field ``features`` (D,).
        source: the same of the reconstructions.
        options: not used; blocks have a fixed size.

    Raises:
        ValueError: different images, fewer than two, or features that are not finite.
    """
    require_same_ids(reference, source)
    a, b = statistics_of(reference), statistics_of(source)
    note = bias_note(a.n, len(a.mean))
    return Measured([Reading(frechet_distance(a, b), a.n, note=note)])
