"""Randomness per image: what is drawn for an image depends on (seed, purpose, image id) only.

So no result depends on batch size, shard size, device, number of jobs or their order.
"""

import hashlib
from collections.abc import Sequence

import numpy as np


def seed_for(seed: int, purpose: str, image_id: str) -> int:
    """A 64-bit seed for one image and one purpose (``"posterior"``, ``"neighbour"``, ...)."""
    digest = hashlib.sha256(f"{seed}\0{purpose}\0{image_id}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def generator_for(seed: int, purpose: str, image_id: str) -> np.random.Generator:
    """The PCG64 generator of one image and one purpose."""
    return np.random.Generator(np.random.PCG64(seed_for(seed, purpose, image_id)))


def normal_per_image(
    shape: Sequence[int], *, seed: int, purpose: str, ids: Sequence[str]
) -> np.ndarray:
    """Standard normal noise, float32, ``(len(ids), *shape)``."""
    noise = np.empty((len(ids), *shape), np.float32)
    for row, image_id in zip(noise, ids, strict=True):
        generator_for(seed, purpose, image_id).standard_normal(out=row, dtype=np.float32)
    return noise


def uniform_per_image(*, seed: int, purpose: str, ids: Sequence[str]) -> np.ndarray:
    """One number in [0, 1) per image, float64, ``(len(ids),)``."""
    return np.array([generator_for(seed, purpose, image_id).random() for image_id in ids])


def shuffled(ids: Sequence[str], seed: int, purpose: str) -> np.ndarray:
    """Positions of ``ids`` in an order that depends on (seed, purpose, ids) only, int64."""
    drawn = [seed_for(seed, purpose, image_id) for image_id in ids]
    return np.array(sorted(range(len(ids)), key=lambda row: (drawn[row], ids[row])), np.int64)
