"""What a trained probe predicts, and how far that is from the true maps."""

import numpy as np
import torch

from seesaw.metrics import Reading, shuffled_partners
from seesaw.metrics.pairs import equal_batches
from seesaw.probes.data import BLOCK, filled
from seesaw.probes.network import Probe
from seesaw.shards import Shards, require_same_ids

BINS = 1024
"""Levels of the predicted probability that the average precision tells apart."""
EDGE = 0.5
"""Probability from which on a pixel counts as an edge."""


class EdgeCounts:
    """Pixels per predicted probability, with and without a true edge.

    Args:
        bins: levels of the probability in [0, 1].
    """

    def __init__(self, bins: int = BINS) -> None:
        self.edges = np.zeros(bins, np.int64)
        self.others = np.zeros(bins, np.int64)

    def add(self, probability: np.ndarray, target: np.ndarray) -> None:
        """Count pixels: probabilities in [0, 1], and whether there is an edge (bool)."""
        bins = len(self.edges)
        level = np.minimum((probability * bins).astype(np.int64), bins - 1)
        self.edges += np.bincount(level[target], minlength=bins)
        self.others += np.bincount(level[~target], minlength=bins)

    def average_precision(self) -> float | None:
        """Sum over thresholds of (recall gained) x precision; None if there is no edge.

        scikit-learn's ``average_precision_score`` of the probabilities rounded down to the bins.
        """
        hits = np.cumsum(self.edges[::-1])
        called = hits + np.cumsum(self.others[::-1])
        if not hits[-1]:
            return None
        gained = np.diff(hits, prepend=0) / hits[-1]
        return float((gained * hits / np.maximum(called, 1)).sum())

    def f1(self, threshold: float = EDGE) -> float | None:
        """F1 of the pixels at least ``threshold`` likely; None if there is no edge, true or called.

        The threshold must lie between two bins, as 0.5 does.
        """
        first = round(threshold * len(self.edges))
        hits, false = int(self.edges[first:].sum()), int(self.others[first:].sum())
        total = int(self.edges.sum()) + hits + false
        return 2 * hits / total if total else None


@torch.inference_mode()
def predict(probe: Probe, latents: np.ndarray, device: str) -> np.ndarray:
    """Maps in [0, 1], float32 ``(N, R, R)``, of latents ``(N, C, h, w)``.

    The probe runs on exactly :data:`BLOCK` latents at a time; the last block is filled up.
    """
    parts = []
    for start in range(0, len(latents), BLOCK):
        part = latents[start : start + BLOCK]
        maps = torch.sigmoid(probe(torch.from_numpy(filled(part)).to(device)))
        parts.append(maps[: len(part)].cpu().numpy())
    return np.concatenate(parts)


def evaluate_probe(
    probe: Probe,
    kind: str,
    latents: Shards,
    maps: Shards,
    mean_map: np.ndarray,
    *,
    seed: int,
    device: str,
) -> list[Reading]:
    """Mean L1 of a probe's maps on the evaluation split, and what stands beside it.

    Variants:
        zero: an all-zero map in place of the prediction. Of edges this is their density, which is
            also the average precision of chance.
        mean: the mean map of the training images in place of the prediction.
        shuffled: the prediction for an image against another image's true map.
        thresholded: the prediction set to 0 or 1 at :data:`EDGE` (edges only).
        f1, ap: F1 at :data:`EDGE` and average precision, over all pixels (edges only).

    Args:
        probe: trained.
        kind: ``"edges"`` or ``"map"``.
        latents: the evaluation split's, field ``latents``.
        maps: its true maps, field ``map``.
        mean_map: see above, ``(R, R)`` in [0, 1].
        seed: of the shuffled pairs.
        device: torch device.

    Raises:
        ValueError: the two sets hold different images.
    """
    require_same_ids(latents, maps)
    partners = shuffled_partners(maps.ids, seed)
    sums = dict.fromkeys(["", "zero", "mean", "shuffled", "thresholded"], 0.0)
    counts, start = EdgeCounts(), 0
    pairs = zip(
        equal_batches(latents, ["latents"], BLOCK), equal_batches(maps, ["map"], BLOCK), strict=True
    )
    for batch, truth in pairs:
        predicted = predict(probe, batch["latents"], device)
        target = truth["map"] / np.float32(255)
        others = [maps.ids[p] for p in partners[start : start + len(batch)]]
        called = predicted >= EDGE
        compared = {
            "": (predicted, target),
            "zero": (target, np.float32(0)),
            "mean": (mean_map, target),
            "shuffled": (predicted, maps.take(others, ["map"])["map"] / np.float32(255)),
            "thresholded": (called.astype(np.float32), target),
        }
        for name, (a, b) in compared.items():
            sums[name] += float(np.abs(a - b).mean((1, 2), dtype=np.float64).sum())
        if kind == "edges":
            counts.add(predicted, truth["map"] > 127)
        start += len(batch)
    n = len(maps)
    readings = [Reading(total / n, n, name) for name, total in sums.items()]
    if n < 2:
        note = "needs at least two images to pair"
        readings[3] = Reading(None, n, "shuffled", note)
    if kind != "edges":
        return readings[:-1]
    note = "" if counts.edges.any() else "undefined: no true map has an edge"
    return [
        *readings,
        Reading(counts.f1(), n, "f1", note if counts.f1() is None else ""),
        Reading(counts.average_precision(), n, "ap", note),
    ]
