"""``mini-segmentation``: class of every pixel of a mini scene, by a small convolutional network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.mini.depth import DenseNet, check_size
from seesaw.mini.scenes import LABELS, PALETTE
from seesaw.mini.training import (
    MiniNetwork,
    State,
    fit,
    load_arrays,
    minibatches,
    save_state,
    seeded,
    to_pixels,
)
from seesaw.networks import check_finite
from seesaw.results import Score
from seesaw.shards import Shards

VERSION = "1"
WIDTHS = (32, 64, 96)


class MiniSegmentation(MiniNetwork):
    """Label maps; ``meta`` holds ``labels`` (names) and ``palette`` (RGB per label)."""

    def __init__(
        self, weights: str | Path | Mapping[str, np.ndarray] | None, device: str = "cpu"
    ) -> None:
        super().__init__(weights, device)
        self.meta = {"labels": list(LABELS), "palette": PALETTE.tolist()}

    def build(self) -> nn.Module:
        """The network in its folded form."""
        return DenseNet(len(LABELS), WIDTHS, norm=False)

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Labels of uint8 RGB images ``(N, 3, H, W)``.

        Returns:
            ``labels``: uint8 ``(N, H, W)``, see :data:`seesaw.mini.scenes.LABELS`.
        """
        check_size(images, "mini-segmentation")

        def labels(pixels: Tensor) -> dict[str, Tensor]:
            logits = self.model(pixels)
            check_finite(logits, "mini-segmentation")
            return {"labels": logits.argmax(1).to(torch.uint8)}

        return self.run(images, labels)


def train(
    train: Shards,
    validation: Shards,
    *,
    steps: int,
    seed: int,
    device: str = "cpu",
    batch_size: int = 32,
    lr: float = 6e-3,
    matrix_lr: float = 4e-2,
) -> tuple[State, list[Score]]:
    """Train ``mini-segmentation`` on true labels and score it on the validation split.

    The loss is the cross-entropy, labels weighted by their frequency to the power -1/4.

    Args:
        train: packed split with ``images`` and ``labels``.
        validation: the same, not trained on.
        steps: optimiser steps.
        seed: of the initial weights and the order of the images.
        device: torch device.
        batch_size: images per step.
        lr: highest learning rate of biases and normalisations (AdamW).
        matrix_lr: highest learning rate of kernels (Muon).

    Returns:
        The trained state, and the scores of :func:`score`.
    """
    arrays = load_arrays(train, ["images", "labels"])
    frequency = np.bincount(arrays["labels"].ravel(), minlength=len(LABELS)) / arrays["labels"].size
    weight = np.maximum(frequency, 1e-4) ** -0.25
    weight = torch.from_numpy((weight / (weight * frequency).sum()).astype(np.float32)).to(device)
    with seeded(seed):
        model = DenseNet(len(LABELS), WIDTHS)

    def loss(batch: dict[str, Tensor]) -> Tensor:
        logits = model(to_pixels(batch["images"]))
        return nn.functional.cross_entropy(logits, batch["labels"].long(), weight)

    batches = minibatches(arrays, batch_size=batch_size, seed=seed, device=device)
    options = {"what": "mini-segmentation", "device": device, "lr": lr, "matrix_lr": matrix_lr}
    fit(model, batches, loss, steps=steps, seed=seed, **options)
    state = save_state(model)
    return state, score(MiniSegmentation(state, device), validation)


def confusion(truth: np.ndarray, predicted: np.ndarray, labels: int) -> np.ndarray:
    """Pixel counts, int64 ``(labels, labels)``: row = true label, column = predicted label."""
    pairs = truth.astype(np.int64).ravel() * labels + predicted.ravel()
    return np.bincount(pairs, minlength=labels * labels).reshape(labels, labels)


def mean_iou(counts: np.ndarray) -> float:
    """Mean over the labels that occur of intersection over union, from a confusion matrix."""
    both = np.diag(counts).astype(np.float64)
    union = counts.sum(0) + counts.sum(1) - both
    return float((both[union > 0] / union[union > 0]).mean())


def score(network: MiniSegmentation, validation: Shards) -> list[Score]:
    """Mean IoU and pixel accuracy on true labels, beside those of the most frequent label."""
    labels = len(LABELS)
    counts = np.zeros((labels, labels), np.int64)
    for batch in validation.batches(["images", "labels"], 500):
        counts += confusion(batch["labels"], network.extract(batch["images"])["labels"], labels)
    majority = np.zeros_like(counts)
    majority[:, counts.sum(1).argmax()] = counts.sum(1)
    shared: dict[str, Any] = {
        "n": len(validation),
        "unit": "share",
        "higher_is_better": True,
        "metric_version": VERSION,
        "network": "mini-segmentation",
    }
    scores = []
    for variant, matrix in (("", counts), ("majority", majority)):
        accuracy = float(np.trace(matrix) / matrix.sum())
        iou = mean_iou(matrix)
        scores.append(Score(metric="segmentation-miou", variant=variant, value=iou, **shared))
        scores.append(Score(metric="pixel-accuracy", variant=variant, value=accuracy, **shared))
    return scores
