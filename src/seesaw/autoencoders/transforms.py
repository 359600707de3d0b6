"""Transforms that act alike on images and on latent grids."""

from torch import Tensor
from torch.nn import functional as F


def rescale(grids: Tensor, side: int) -> Tensor:
    """Grids ``(N, C, H, H)`` to ``(N, C, side, side)``, bilinear (corners not aligned).

    So do EQ-VAE's released code and, as far as it is published, the Diffusability paper.
    """
    return F.interpolate(grids, size=(side, side), mode="bilinear", align_corners=False)


def rotate(grids: Tensor, quarter_turns: int) -> Tensor:
    """Grids ``(N, C, H, W)`` turned counter-clockwise by 90 degrees, ``quarter_turns`` times."""
    return grids.rot90(quarter_turns, dims=(-2, -1))
