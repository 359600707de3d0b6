"""FD-infinity: the Frechet distance that infinitely many images would have (Chong & Forsyth 2020).

A distance of n images is biased upwards by about b / n, with a b that differs between models. Here
it is measured on subsets of growing size and a line in 1 / n is followed to 1 / n = 0. As in the
code of the authors (mchong6/FID_IS_infinity 2cbf52e) and in dgm-eval (layer6ai-labs/dgm-eval
74c79f7): 15 sizes, equally spaced, from 5,000 (in dgm-eval: or a tenth of fewer images) to n, and
an ordinary least-squares line. Three things differ:

- They subsample the generated images and keep the reference whole. Its own bias stays, which is the
  same for all models where samples are independent of it. Reconstructions are not: a perfect
  autoencoder has distance 0 at n and more on any subset against the whole, so that this line ends
  below 0. Here a subset holds the same images of both sets; their way is the variant
  ``reference=whole``.
- Subsets are nested: the first images in an order that the seed and the image ids give. So storage
  order, shards and batches change nothing, and every image is added up once. (Theirs are drawn anew
  for each size, unseeded.)
- No subset has fewer than two images per feature dimension, where 1 / n is no small number.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seesaw.metrics import Measured, Options, Reading
from seesaw.metrics.frechet import FEW, FrechetTo, Moments, Statistics, statistics_of
from seesaw.metrics.pairs import require_finite
from seesaw.seeds import shuffled
from seesaw.shards import Shards, require_same_ids

POINTS = 15
SMALLEST = 5000
"""Images of the smallest subset, where there are ten times as many."""


@dataclass(frozen=True)
class Line:
    """A least-squares line in 1 / n: its value at 1 / n = 0, its slope, its share of the variance.

    ``r2`` is None where all values are the same. The points of nested subsets depend on each other,
    so it is no measure of the error of ``end``.
    """

    end: float
    slope: float
    r2: float | None


def subset_sizes(n: int, d: int) -> list[int]:
    """The sizes of the subsets of ``n`` images with features of length ``d``; none if too few.

    At least four images per dimension, and 30, are needed, so that sizes vary by a factor of two.
    """
    if n < max(2 * FEW * d, 2 * POINTS):
        return []
    smallest = max(min(SMALLEST, n // 10), FEW * d)
    return [int(size) for size in np.linspace(smallest, n, POINTS)]


def fit(sizes: Sequence[int], distances: Sequence[float]) -> Line:
    """The line of distances over ``1 / size``."""
    x, y = 1.0 / np.asarray(sizes, np.float64), np.asarray(distances, np.float64)
    dx, dy = x - x.mean(), y - y.mean()
    slope = float(dx @ dy / (dx @ dx))
    rest, spread = dy - slope * dx, float(dy @ dy)
    r2 = 1.0 - float(rest @ rest) / spread if spread > 0 else None
    return Line(float(y.mean() - slope * x.mean()), slope, r2)


def subset_statistics(
    features: np.ndarray, order: np.ndarray, sizes: Sequence[int]
) -> list[Statistics]:
    """Mean and covariance of the first ``sizes`` rows of ``features`` (n, d) in ``order``."""
    moments, found, start = Moments(features.shape[1]), [], 0
    for size in sizes:
        moments.add(features[order[start:size]])
        found.append(moments.statistics())
        start = size
    return found


def fd_infinity(reference: Shards, source: Shards, options: Options) -> Measured:
    """The Frechet distance extrapolated to infinitely many images. It can be slightly negative.

    See this module for how. ``""``: subsets of the same images of both sets. ``reference=whole``:
    subsets of the source against the whole reference, as the authors do; of reconstructions it is
    too low. Undefined below four images per feature dimension. Both feature sets are held in
    memory; of 50,000 images with 2,048 features it takes 31 eigenvalue problems of that size, and
    roots of 15 covariances.

    Args:
        reference: field ``features`` (D,).
        source: the same of the reconstructions.
        options: ``seed``.

    Raises:
        ValueError: different images, or features that are not finite.
    """
    require_same_ids(reference, source)
    n, d = len(reference), reference.fields["features"]["shape"][0]
    sizes = subset_sizes(n, d)
    if not sizes:
        note = (
            f"undefined: {n} images for {d} feature dimensions; the line needs at least "
            f"{max(2 * FEW * d, 2 * POINTS)}"
        )
        return Measured([Reading(None, n, v, note) for v in ("", "reference=whole")])
    order = shuffled(reference.ids, options.seed, "fd-infinity")
    sets = []
    for shards, what in ((reference, "feature vector"), (source, "reconstruction's features")):
        features = shards.load("features")
        require_finite(shards.ids, features, f"{shards.path}: {what}")
        sets.append(subset_statistics(features, order, sizes))
    whole = FrechetTo(statistics_of(reference))
    lines = {
        "": fit(sizes, [FrechetTo(a).distance(b) for a, b in zip(*sets, strict=True)]),
        "reference=whole": fit(sizes, [whole.distance(b) for b in sets[1]]),
    }
    about = {"": "of both sets, the same images", "reference=whole": "of the reconstructions"}
    return Measured(
        [
            Reading(line.end, n, variant, _words(line, sizes, about[variant]))
            for variant, line in lines.items()
        ]
    )


def _words(line: Line, sizes: Sequence[int], subsets: str) -> str:
    fitted = "" if line.r2 is None else f", R^2 {line.r2:.4f}"
    return (
        f"line through {len(sizes)} nested subsets {subsets}, {sizes[0]} to {sizes[-1]}{fitted}; "
        f"at {sizes[-1]} images it is {line.slope / sizes[-1]:+.3g} off"
    )
