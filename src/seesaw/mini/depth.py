"""``mini-depth``: nearness of every pixel of a mini scene, by a small convolutional network."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.mini.training import (
    ConvNorm,
    MiniNetwork,
    State,
    fit,
    load_arrays,
    minibatches,
    save_state,
    seeded,
    to_pixels,
)
from seesaw.networks import check_finite, check_images
from seesaw.results import Score
from seesaw.shards import Shards

VERSION = "1"


class DenseNet(nn.Module):
    """Encoder and decoder with skips: images ``(N, 3, H, W)`` to ``(N, outputs, H, W)``.

    The first layer halves the resolution and the last unpacks 2 x 2 pixels from channels, so
    nothing runs at full resolution. H and W must be multiples of 8.

    Args:
        outputs: channels that go out.
        widths: channels at a half, a quarter and an eighth of the resolution.
        norm: whether batch normalisation is there (training) or folded.
    """

    def __init__(
        self, outputs: int, widths: tuple[int, int, int] = (32, 64, 96), *, norm: bool = True
    ) -> None:
        super().__init__()
        a, b, c = widths
        self.enter = ConvNorm(3, a, 6, stride=2, norm=norm)
        self.down1 = ConvNorm(a, b, stride=2, norm=norm)
        self.mid = ConvNorm(b, b, norm=norm)
        self.down2 = ConvNorm(b, c, stride=2, norm=norm)
        self.deep = ConvNorm(c, c, norm=norm)
        self.up2 = ConvNorm(c, b, 1, norm=norm)
        self.join2 = ConvNorm(b, b, norm=norm)
        self.up1 = ConvNorm(b, a, 1, norm=norm)
        self.join1 = ConvNorm(a, a, norm=norm)
        self.leave = nn.Conv2d(a, 4 * outputs, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels in [-1, 1] to maps."""
        half = self.enter(pixels)
        quarter = self.down1(half)
        quarter = quarter + self.mid(quarter)
        eighth = self.down2(quarter)
        eighth = eighth + self.deep(eighth)
        quarter = quarter + nn.functional.interpolate(self.up2(eighth), scale_factor=2)
        quarter = quarter + self.join2(quarter)
        half = half + nn.functional.interpolate(self.up1(quarter), scale_factor=2)
        half = half + self.join1(half)
        return nn.functional.pixel_shuffle(self.leave(half), 2)


def check_size(images: np.ndarray, name: str) -> None:
    """Raise unless ``images`` are uint8 RGB, with height and width multiples of 8."""
    check_images(images)
    if images.shape[-1] % 8 or images.shape[-2] % 8:
        raise ValueError(
            f"{name} takes images whose height and width are multiples of 8, got "
            f"{images.shape[-2]} x {images.shape[-1]}; set data.resolution to a multiple of 8"
        )


class MiniDepth(MiniNetwork):
    """Nearness maps; see :class:`seesaw.mini.training.MiniNetwork`."""

    def build(self) -> nn.Module:
        """The network in its folded form."""
        return DenseNet(1, norm=False)

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Nearness of uint8 RGB images ``(N, 3, H, W)``.

        Returns:
            ``map``: uint8 ``(N, H, W)``, 255 is nearest.
        """
        check_size(images, "mini-depth")

        def nearness(pixels: Tensor) -> dict[str, Tensor]:
            level = torch.sigmoid(self.model(pixels)[:, 0]) * 255
            check_finite(level, "mini-depth")
            return {"map": torch.floor(level + 0.5).to(torch.uint8)}

        return self.run(images, nearness)


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
    """Train ``mini-depth`` on true nearness (L1) and score it on the validation split.

    Args:
        train: packed split with ``images`` and ``depth``.
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
    arrays = load_arrays(train, ["images", "depth"])
    with seeded(seed):
        model = DenseNet(1)

    def loss(batch: dict[str, Tensor]) -> Tensor:
        predicted = torch.sigmoid(model(to_pixels(batch["images"]))[:, 0])
        return (predicted - batch["depth"] / 255).abs().mean()

    batches = minibatches(arrays, batch_size=batch_size, seed=seed, device=device)
    rates = {"lr": lr, "matrix_lr": matrix_lr}
    fit(model, batches, loss, steps=steps, seed=seed, what="mini-depth", device=device, **rates)
    state = save_state(model)
    constant = float(np.median(arrays["depth"]))
    return state, score(MiniDepth(state, device), validation, constant=constant)


def score(network: MiniDepth, validation: Shards, *, constant: float) -> list[Score]:
    """Mean absolute error on true nearness in [0, 1], beside that of a constant map.

    Args:
        network: trained.
        validation: packed split with ``images`` and ``depth``.
        constant: level 0..255 of the constant map (the training split's median).
    """
    error = baseline = 0.0
    for batch in validation.batches(["images", "depth"], 500):
        truth = batch["depth"].astype(np.float64)
        predicted = network.extract(batch["images"])["map"]
        error += np.abs(predicted - truth).mean((1, 2)).sum()
        baseline += np.abs(constant - truth).mean((1, 2)).sum()
    shared: dict[str, Any] = {
        "metric": "depth-mae",
        "n": len(validation),
        "unit": "L1",
        "higher_is_better": False,
        "metric_version": VERSION,
        "network": "mini-depth",
    }
    return [
        Score(value=float(error / 255 / len(validation)), **shared),
        Score(value=float(baseline / 255 / len(validation)), variant="constant", **shared),
    ]
