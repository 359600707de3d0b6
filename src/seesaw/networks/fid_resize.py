"""How the known implementations of the Fréchet distance bring images to Inception's 299 x 299.

They are four, their features differ by far more than rounding, and numbers made with two of them
cannot be compared.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

SIDE = 299
"""Side of the images that Inception sees, in pixels."""

CUBIC = -0.5
"""Pillow's coefficient of the cubic kernel (Keys); torch's and OpenCV's without antialiasing is
-0.75."""


@dataclass(frozen=True, kw_only=True)
class FidResize:
    """One way from pixels to Inception's input.

    Attributes:
        prepare: float32 ``(N, 3, H, W)`` on the scale 0..255 to float32 ``(N, 3, 299, 299)``.
        resize: what it does, in words.
        normalisation: of pixels x on the scale 0..255.
        source: whose it is, with the commit or version that was read.
    """

    prepare: Callable[[Tensor], Tensor]
    resize: str
    normalisation: str
    source: str


def tf1(pixels: Tensor) -> Tensor:
    """Bilinear from corner to corner of the pixels' grid, as TensorFlow 1; then (x - 128) / 128."""
    return (
        interpolate_bilinear_2d_like_tensorflow1x(pixels, size=(SIDE, SIDE), align_corners=False)
        - 128
    ) / 128


def torch_bilinear(pixels: Tensor) -> Tensor:
    """On [0, 1]: bilinear between pixel centres, not antialiased; then 2 x - 1."""
    return 2 * F.interpolate(pixels / 255, (SIDE, SIDE), mode="bilinear", align_corners=False) - 1


def antialiased(pixels: Tensor) -> Tensor:
    """Bilinear, its kernel as wide as an output pixel where it reduces; then (x - 128) / 128."""
    resized = F.interpolate(
        pixels, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True
    )
    return (resized - 128) / 128


def clean(pixels: Tensor) -> Tensor:
    """Pillow's bicubic on float channels, cut off to 0..255; then (x - 128) / 128.

    The bits of Pillow, for square images; others differ by what float32 rounds, as Pillow's order
    of the two directions hangs on its version. (torch's antialiased bicubic has the same kernel in
    less precise arithmetic: up to 0.004 of 255 apart.)
    """
    rows, columns = (
        pillow_bicubic(side, SIDE).to(pixels.device) for side in (pixels.shape[2], pixels.shape[3])
    )
    wide = (pixels.double() @ columns.T).float()
    resized = (rows @ wide.double()).float().clamp(0, 255)
    return (resized - 128) / 128


@cache
def pillow_bicubic(side: int, to: int) -> Tensor:
    """Weights with which Pillow's bicubic resize makes ``to`` pixels of ``side``.

    Args:
        side: length of a row that is resized.
        to: its new length.

    Returns:
        float64 ``(to, side)``, each row of sum 1.
    """
    scale = side / to
    stretch = max(scale, 1.0)
    centres = (np.arange(to) + 0.5) * scale
    first = np.maximum((centres - 2 * stretch + 0.5).astype(int), 0)
    last = np.minimum((centres + 2 * stretch + 0.5).astype(int), side)
    place = np.arange(side)
    x = np.abs(place - centres[:, None] + 0.5) / stretch
    near = ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * CUBIC
    weights = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    weights[(place < first[:, None]) | (place >= last[:, None])] = 0
    return torch.from_numpy(weights / weights.sum(1, keepdims=True))


RESIZES: Mapping[str, FidResize] = {
    "tf1": FidResize(
        prepare=tf1,
        resize="299, TensorFlow 1 bilinear",
        normalisation="(x - 128) / 128",
        source="toshas/torch-fidelity 5e211a9",
    ),
    "torch-bilinear": FidResize(
        prepare=torch_bilinear,
        resize="299, torch bilinear, not antialiased",
        normalisation="2 x / 255 - 1",
        source="mseitzer/pytorch-fid b9c1811",
    ),
    "antialias": FidResize(
        prepare=antialiased,
        resize="299, torch bilinear, antialiased",
        normalisation="(x - 128) / 128",
        source="torchmetrics 1.9.0, FrechetInceptionDistance(antialias=True), its default",
    ),
    "clean": FidResize(
        prepare=clean,
        resize="299, Pillow bicubic on float channels, cut off to 0..255",
        normalisation="(x - 128) / 128",
        source="GaParmar/clean-fid e88c4d6, mode 'clean'",
    ),
}
"""Option ``resize`` of :class:`seesaw.networks.inception.Inception`."""
