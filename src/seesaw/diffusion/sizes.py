"""Sizes of the SiT, and what follows from a latent's shape. Imports no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from seesaw.registry import unknown

PUBLISHED_DIMENSIONS = 4096
"""Latent dimensions at which the published time shift is 1."""


@dataclass(frozen=True)
class Size:
    """Blocks, width and attention heads."""

    depth: int
    width: int
    heads: int


SIZES = {
    "SiT-Ti": Size(4, 96, 2),
    "SiT-S": Size(12, 384, 6),
    "SiT-B": Size(12, 768, 12),
    "SiT-L": Size(24, 1024, 16),
    "SiT-XL": Size(28, 1152, 16),
}
"""SiT-Ti is the mini world's; the others are those of the SiT paper."""


def size_of(name: str) -> Size:
    """The size called ``name``.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in SIZES:
        raise unknown("SiT size", name, SIZES)
    return SIZES[name]


def time_shift_of(latent_shape: Sequence[int], dimensions: int = PUBLISHED_DIMENSIONS) -> float:
    """``sqrt(number of latent dimensions / dimensions)``; the paper's ``dimensions`` is 4096."""
    return math.sqrt(math.prod(latent_shape) / dimensions)
