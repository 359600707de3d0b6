"""The convolutional trunk that mini-inception and mini-clip share."""

import torch
from torch import Tensor, nn

from seesaw.mini.training import ConvNorm

SIDE = 32
"""Side, in pixels, that every image is resized to first (as the official networks do)."""

WIDTH = 64
"""Features that the trunk makes."""


def resize(pixels: Tensor, side: int = SIDE) -> Tensor:
    """Float images ``(N, 3, H, W)`` at ``side`` x ``side`` pixels: bilinear, antialiased."""
    if tuple(pixels.shape[-2:]) == (side, side):
        return pixels
    pixels = nn.functional.interpolate(
        pixels, size=(side, side), mode="bilinear", align_corners=False, antialias=True
    )
    return pixels.contiguous(memory_format=torch.channels_last)


class Trunk(nn.Module):
    """Images ``(N, 3, H, W)`` in [-1, 1] to features ``(N, 64)``: convolutions, then their mean.

    Args:
        norm: whether batch normalisation is there (training) or folded.
    """

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConvNorm(12, 24, norm=norm),
            ConvNorm(24, 48, stride=2, norm=norm),
            ConvNorm(48, 96, stride=2, norm=norm),
            ConvNorm(96, 96, norm=norm),
            ConvNorm(96, WIDTH, 1, norm=norm),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels to features."""
        return self.layers(nn.functional.pixel_unshuffle(resize(pixels), 2)).mean((2, 3))
