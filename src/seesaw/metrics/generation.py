"""Inception Score, precision and recall of generated images, by the formulas of ADM's evaluator.

Features go in, numbers come out; no network is tied in. As in openai/guided-diffusion,
``evaluations/evaluator.py`` (commit 22e0df8), where precision and recall are those of Kynkäänniemi
et al. 2019. Distances are float64, where the official code rounds them to float16 or float32.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seesaw.metrics import Reading

SPLIT = 5000
"""Images per split of the Inception Score: 50,000 images make ten."""
TILE = 2048
"""Rows per tile of a distance matrix."""
ROUNDING = 1e-12
"""Rounding of a squared distance, relative to ``|x|^2 + |y|^2``: above 4096 float64 epsilons."""


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]: samples that look like the reference, reference that the samples cover."""

    precision: float
    recall: float


def class_probabilities(features: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Softmax of ``features @ head``; there is no bias, as in ADM's evaluator.

    Args:
        features: (N, D), finite.
        head: weights of the classifier, (D, classes).

    Returns:
        float64 (N, classes).

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.
    """
    if features.ndim != 2 or head.ndim != 2 or features.shape[1] != len(head):
        raise ValueError(
            f"features (N, D) and a head (D, classes) are needed, got {features.shape} and "
            f"{head.shape}"
        )
    logits = features.astype(np.float64) @ head.astype(np.float64)
    if not np.isfinite(logits).all():
        raise ValueError("features or head hold NaN or infinity; remake what they come from")
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def split_score(probabilities: np.ndarray) -> float:
    """``exp`` of the mean KL divergence of each row from the mean row: one split of the score.

    Between 1 (all rows equal) and the number of classes (certain, and every class as often).

    Args:
        probabilities: (N, classes), rows that sum to 1.

    Raises:
        ValueError: no rows, or rows that are no probabilities.
    """
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 2 or not p.size or not (p >= 0).all() or abs(p.sum(axis=1) - 1).max() > 1e-4:
        raise ValueError(
            f"expected probabilities (N, classes) whose rows sum to 1, got an array {p.shape}"
        )
    mean = np.broadcast_to(p.mean(axis=0), p.shape)
    there = p > 0  # 0 log 0 = 0
    return float(np.exp((p[there] * np.log(p[there] / mean[there])).sum() / len(p)))


def inception_score(
    features: np.ndarray, head: np.ndarray | None, *, split_size: int = SPLIT
) -> Reading:
    """Inception Score (Salimans et al. 2016): mean over splits of ``exp(mean KL(p(y|x), p(y)))``.

    Splits are consecutive rows. As in the official code a last, smaller split counts like the
    others; with fewer images than ``split_size`` there is one split of them all. A small split has
    too low a score (p(y) is estimated from the same images), which the note then says.

    Args:
        features: (N, D) of the generated images, in the order of generation.
        head: weights (D, classes) of the network's classifier (its attribute ``head``); None where
            it has none.
        split_size: images per split.

    Returns:
        The score, at least 1, higher is better. Its value is None if there is no ``head``.

    Raises:
        ValueError: see :func:`class_probabilities`; no images, or a split below one image.
    """
    n = len(features)
    if head is None:
        return Reading(None, n, note="undefined: the network has no classifier, only features")
    if n == 0 or split_size < 1:
        raise ValueError(
            f"the Inception Score needs images and splits of at least one, got {n} images and "
            f"split_size {split_size}"
        )
    starts = range(0, n, split_size)
    scores = [split_score(class_probabilities(features[i : i + split_size], head)) for i in starts]
    return Reading(float(np.mean(scores)), n, note=split_note(n, split_size))


def split_note(n: int, split_size: int = SPLIT) -> str:
    """Words on a score of ``n`` images whose splits are not all whole; none if they are."""
    if n < split_size:
        return (
            f"one split of {n} images instead of splits of {split_size}: biased downwards, compare "
            "at equal n only"
        )
    rest = n % split_size
    return f"{n // split_size} splits of {split_size} images and one of {rest}" if rest else ""


def precision_recall(
    reference: np.ndarray, samples: np.ndarray, *, k: int = 3, device: str = "cpu"
) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019) of ``samples``.

    Each set's manifold is the union of balls around its members that reach to the k-th nearest
    other member. Precision: share of the samples in the reference's manifold; recall: share of the
    reference in the samples' manifold. ADM uses 10,000 reference images and 50,000 samples; both
    shares depend on these numbers.

    Squared Euclidean distances are computed in float64 from centred features, in tiles of
    :data:`TILE` rows, so beside the features it takes about 0.5 GB whatever their number. Distances
    within float64 rounding of a radius count as inside, so that a copy of an image is always in the
    ball of the original, even in a set of copies, where all radii are 0.

    Args:
        reference: features (n, D), finite, on the CPU (a memory map will do).
        samples: features (m, D).
        k: neighbours.
        device: torch device of the tiles.

    Raises:
        ValueError: shapes that do not fit, a set of at most ``k`` members, values not finite.
    """
    for name, rows in (("reference", reference), ("samples", samples)):
        if rows.ndim != 2 or rows.shape[1:] != reference.shape[1:]:
            raise ValueError(
                f"precision and recall need two sets of features of one length, got "
                f"{reference.shape} and {samples.shape}"
            )
        if k < 1 or len(rows) <= k:
            raise ValueError(
                f"with k = {k} each set needs more than {k} images (k at least 1), {name} has "
                f"{len(rows)}; use more images, or a smaller k"
            )
    center = np.mean(reference, axis=0, dtype=np.float64)
    a, b = _Rows(reference, center, device), _Rows(samples, center, device)
    radii_a, radii_b = _radii(a, k), _radii(b, k)
    a_inside = torch.zeros(len(reference), dtype=torch.bool, device=device)
    b_inside = torch.zeros(len(samples), dtype=torch.bool, device=device)
    for i in range(0, len(reference), TILE):
        x, here = a.tile(i), slice(i, i + TILE)
        for j in range(0, len(samples), TILE):
            y, there = b.tile(j), slice(j, j + TILE)
            distance, slack = _distances(x, y)
            b_inside[there] |= (distance <= radii_a[here, None] + slack).any(0)
            a_inside[here] |= (distance <= radii_b[None, there] + slack).any(1)
    return PrecisionRecall(
        precision=int(b_inside.sum()) / len(samples), recall=int(a_inside.sum()) / len(reference)
    )


class _Rows:
    """Features of one set, centred and in float64 a tile at a time."""

    def __init__(self, rows: np.ndarray, center: np.ndarray, device: str) -> None:
        self.rows, self.center, self.device = rows, center, device

    def __len__(self) -> int:
        return len(self.rows)

    def tile(self, start: int) -> Tensor:
        """Rows from ``start`` on, at most :data:`TILE`."""
        rows = self.rows[start : start + TILE].astype(np.float64) - self.center
        if not np.isfinite(rows).all():
            raise ValueError("feature vectors hold NaN or infinity; remake what they come from")
        return torch.from_numpy(rows).to(self.device)


def _distances(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances of the rows of two tiles, and how far rounding may have moved each."""
    squares = x.square().sum(1)[:, None] + y.square().sum(1)[None]
    distance = torch.addmm(squares, x, y.T, alpha=-2).clamp_(min=0)
    return distance, squares.mul_(ROUNDING)


def _radii(rows: _Rows, k: int) -> Tensor:
    """Squared distance of each row to its k-th nearest other row; copies count as others."""
    nearest = torch.full((len(rows), k), torch.inf, dtype=torch.float64, device=rows.device)

    def keep(start: int, found: Tensor) -> None:
        here = slice(start, start + len(found))
        found = found.topk(min(k, found.shape[1]), dim=1, largest=False).values
        both = torch.cat([nearest[here], found], dim=1)
        nearest[here] = both.topk(k, dim=1, largest=False).values

    for i in range(0, len(rows), TILE):
        x = rows.tile(i)
        for j in range(i, len(rows), TILE):
            distance, _ = _distances(x, x if j == i else rows.tile(j))
            if j == i:
                distance.fill_diagonal_(torch.inf)
            else:
                keep(j, distance.T)
            keep(i, distance)
    return nearest.amax(1)
