"""Frechet distance of two sets of feature vectors: the maths of FID, in float64.

Ties no network: features go in, a number comes out. Moments are accumulated in blocks of a fixed
number of rows, so a value does not depend on batch or shard size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cholesky, eigvalsh
from scipy.linalg.lapack import dsygst

from seesaw.metrics import Measured, Options, Reading
from seesaw.metrics.pairs import equal_batches, require_finite
from seesaw.shards import Shards, require_same_ids

BLOCK = 1024
ENOUGH = 10
"""Images per feature dimension below which the bias of the distance is mentioned."""

FAR = 1e-10
"""Smallest pivot over largest variance above which a covariance is far from singular."""

FEW = 2
"""Images per feature dimension below which no first-order estimate of the bias is right."""

PAIRED = "; an image and its reconstruction depend on each other, so theirs is smaller"
"""What is added to the words on the bias of a set and its own reconstructions."""

STATISTICS = "statistics"
"""What mean and covariance are called among what is attached to a set of shards."""


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


def to_arrays(found: Statistics) -> dict[str, np.ndarray]:
    """Statistics of at least d vectors as arrays to attach to their shards.

    Raises:
        ValueError: fewer vectors than dimensions; the vectors themselves are needed then.
    """
    if found.rows is not None:
        raise ValueError(
            f"{found.n} vectors of length {len(found.mean)} are too few to be kept as mean and "
            "covariance"
        )
    return {"n": np.array(found.n), "mean": found.mean, "covariance": found.covariance}


def from_arrays(arrays: Mapping[str, np.ndarray]) -> Statistics:
    """What :func:`to_arrays` was given."""
    return Statistics(int(arrays["n"]), arrays["mean"], arrays["covariance"])


def statistics_of(shards: Shards) -> Statistics:
    """Mean and covariance of the field ``features`` of all images.

    Those attached to the shards are taken; where there are none, all vectors are read. Both give
    the same bits.

    Raises:
        FileNotFoundError: attached statistics are missing.
        ValueError: a feature vector that is not finite, its image is named; or attached statistics
            that are not those of these shards.
    """
    d = shards.fields["features"]["shape"][0]
    attached = shards.attached(STATISTICS)
    if attached is not None:
        found = from_arrays(attached)
        if (found.n, found.mean.shape, found.covariance.shape) != (len(shards), (d,), (d, d)):
            raise ValueError(
                f"{shards.path}: the statistics are those of {found.n} vectors of length "
                f"{len(found.mean)}, the shards hold {len(shards)} of length {d}; delete the "
                "manifest and rerun"
            )
        return found
    moments = Moments(d)
    for batch in equal_batches(shards, ["features"], BLOCK):
        require_finite(batch.ids, batch["features"], f"{shards.path}: feature vector")
        moments.add(batch["features"])
    return moments.statistics()


def frechet_distance(a: Statistics, b: Statistics) -> float:
    """``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2)``, never negative or complex.

    The trace of the root comes from a Cholesky factor and a symmetric eigenvalue problem (or from
    singular values where both sets have fewer vectors than dimensions) instead of a matrix square
    root: same value, faster, and right where a covariance is singular. Rounding is below 1e-6 of
    the covariances' traces at worst (eigenvalues over ten decades), about 1e-14 where they are well
    conditioned.

    Raises:
        ValueError: different dimensions, or statistics that are not finite.
    """
    return FrechetTo(a).distance(b)


class FrechetTo:
    """Frechet distances to one reference, the root of whose covariance is computed once.

    Args:
        reference: statistics of the reference.

    Raises:
        ValueError: statistics that are not finite.
    """

    def __init__(self, reference: Statistics) -> None:
        _require_finite_statistics(reference)
        self.reference = reference

    def distance(self, other: Statistics) -> float:
        """See :func:`frechet_distance`."""
        reference = self.reference
        if reference.mean.shape != other.mean.shape:
            raise ValueError(
                f"features of length {len(reference.mean)} and {len(other.mean)} cannot be compared"
            )
        _require_finite_statistics(other)
        shift = reference.mean - other.mean
        traces = np.trace(reference.covariance) + np.trace(other.covariance)
        return max(float(shift @ shift + traces - 2.0 * self._trace_of_root(other)), 0.0)

    def _trace_of_root(self, other: Statistics) -> float:
        """``tr (S1 S2)^1/2``: with ``S1 = R^T R`` the roots of the eigenvalues of ``R S2 R^T``."""
        reference = self.reference
        if reference.rows is not None and other.rows is not None:
            return float(np.linalg.svd(reference.rows @ other.rows.T, compute_uv=False).sum())
        if other.rows is not None:
            product = _congruent(other.rows, reference.covariance)
        else:
            product = _congruent(self._root, other.covariance)
        # LAPACK's dsyev through SciPy: a tenth faster than NumPy's dsyevd
        values = eigvalsh(product, driver="ev", check_finite=False)
        return float(np.sqrt(_above_rounding(values, 10)).sum())

    @cached_property
    def _root(self) -> np.ndarray:
        rows = self.reference.rows
        return rows if rows is not None else _root(self.reference.covariance)


def _require_finite_statistics(found: Statistics) -> None:
    if not (np.isfinite(found.mean).all() and np.isfinite(found.covariance).all()):
        raise ValueError("the statistics hold NaN or infinity; remake the features")


def _root(covariance: np.ndarray) -> np.ndarray:
    """``R`` (r, d) with ``R^T R`` = the covariance of rank r.

    Cholesky's where it is far from singular, in a seventh of the time; else by eigenvalues.
    """
    try:
        # SciPy's: a quarter faster than NumPy's
        lower = cholesky(covariance, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        lower = None
    if lower is not None and lower.diagonal().min() ** 2 > FAR * covariance.diagonal().max():
        return lower.T
    values, vectors = np.linalg.eigh(covariance)
    values = _above_rounding(values, len(values))
    kept = values > 0
    return np.sqrt(values[kept])[:, None] * vectors[:, kept].T


def _congruent(root: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """``R S R^T`` with its lower triangle filled; of a triangular ``R`` in half the time."""
    if root.shape != covariance.shape or np.tril(root, -1).any():
        product = root @ covariance @ root.T
        return (product + product.T) / 2
    # LAPACK's step from a generalised eigenvalue problem to an ordinary one: L^T S L
    product, _ = dsygst(covariance.T, root.T, itype=2, lower=1)
    return product


def _above_rounding(values: np.ndarray, factor: float) -> np.ndarray:
    """Eigenvalues with those at the level of rounding errors set to zero."""
    limit = values.max(initial=0.0) * factor * np.finfo(np.float64).eps
    return np.where(values > limit, values, 0.0)


def expected_bias(covariance: np.ndarray, n: int, m: int | None = None) -> float:
    """Mean distance of two independent sets of one Gaussian distribution, to first order in 1/n.

    The true distance of such sets is 0. With eigenvalues l of the covariance, and 1/n standing for
    ``1/n + 1/m``::

        tr(S) / n  +  (sum_ij l_i l_j / (l_i + l_j) + tr(S) / 2) / (2 (n - 1))

    The first part is the means', the second the covariances': half the sum of ``E |D_ij|^2 / (l_i +
    l_j)`` (the Bures distance to second order), with the variances ``l_i l_j (1 + [i = j]) / (n -
    1)`` of a sample covariance. Features with heavier tails have more. In simulations it is right
    within 5% from ten images per dimension on, and too small by up to a quarter at two, where the
    eigenvalues of a sample are spread.

    Args:
        covariance: (d, d), of the larger set if they differ.
        n: images of one set, at least 2.
        m: images of the other; None if it is so large that it does not count.
    """
    values = np.maximum(np.linalg.eigvalsh(covariance), 0.0)
    sums = values[:, None] + values
    products = values[:, None] * values
    mixed = np.divide(products, sums, out=np.zeros_like(sums), where=sums > 0).sum()
    trace = values.sum()
    means = 1 / n + (1 / m if m else 0.0)
    covariances = 1 / (n - 1) + (1 / (m - 1) if m else 0.0)
    return float(means * trace + covariances * (mixed + trace / 2) / 2)


def bias_note(n: int, d: int, expected: float | None = None, which: str = "images") -> str:
    """Words on the bias of a distance of ``n`` images with ``d`` features; none if n is ample.

    Args:
        n: images, of the smaller set if the two differ.
        d: length of a feature vector.
        expected: what :func:`expected_bias` says of them, if it can be said.
        which: what the smaller set is called.
    """
    if n >= ENOUGH * d:
        return ""
    words = f"{n} {which} for {d} feature dimensions: biased upwards, compare at equal n only"
    if n <= d:
        return words + " (fewer images than dimensions: singular covariance)"
    if expected is not None:
        words += f" (two independent sets of one distribution would have about {expected:.2g})"
    return words


def bias_of(reference: Statistics, other: Statistics) -> str:
    """:func:`bias_note` of a distance, with the estimate where it is wanted and can be made.

    Each side adds a bias of its own, so the smaller one decides whether it is remarked, and both
    are in the estimate, which is that of independent sets. A side whose n is unknown (0, of a file
    of moments) is taken for endless.
    """
    sides = [(side, which) for side, which in ((other, "images"), (reference, "reference images"))
             if side.n]  # fmt: skip
    if not sides:
        return ""
    fewer, which = min(sides, key=lambda known: known[0].n)
    larger = reference if fewer is other else other
    n, d = fewer.n, len(fewer.mean)
    estimated = FEW * d <= n < ENOUGH * d
    expected = expected_bias(larger.covariance, n, larger.n or None) if estimated else None
    return bias_note(n, d, expected, which)


def rfid(reference: Shards, source: Shards, options: Options) -> Measured:
    """The Frechet distance of the two feature sets (Heusel et al. 2017).

    Reconstruction FID with Inception's features; FDD with DINOv2's (Stein et al. 2023). Where the
    images are few, a note says by how much two *independent* sets of one distribution would differ.
    Reconstructions are no independent set: those of a perfect autoencoder have distance 0, and the
    bias of good ones is far smaller (:mod:`seesaw.metrics.fd_infinity` measures it).

    Args:
        reference: field ``features`` (D,).
        source: the same of the reconstructions.
        options: not used; blocks have a fixed size.

    Raises:
        ValueError: different images, fewer than two, or features that are not finite.
    """
    require_same_ids(reference, source)
    a, b = statistics_of(reference), statistics_of(source)
    note = bias_of(a, b)
    note += PAIRED if note else ""
    return Measured([Reading(frechet_distance(a, b), a.n, note=note)])
