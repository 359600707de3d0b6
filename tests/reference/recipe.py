"""Pictures and weights that anyone can remake from a name: what the reference numbers rest on.

An official network's numbers can be stored and compared without its (large, licensed) weights: its
tensors are filled from a seed and their own names, once for the official code and once here. All
arithmetic is integer or float64, so the arrays are the same bits on every machine.
"""

import hashlib

import numpy as np


def generator(seed, name):
    """The PCG64 generator of one name."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:8], "little")))


def fill(name, shape, kind, *, seed=0, dtype="float32"):
    """A tensor of a network.

    Args:
        name: its key in the official state dict.
        shape: its shape.
        kind: ``weight`` (normal, variance 1/fan-in), ``bias`` or ``embed`` (0.02 normal),
            ``norm_weight`` (1 + 0.1 normal), ``positive`` (uniform in [0.5, 1.5)), ``zeros``; with
            ``:gain`` behind it the tensor is multiplied by that.
        seed: run seed.
        dtype: of the result.
    """
    kind, _, gain = kind.partition(":")
    gain, shape, rng = float(gain or 1), tuple(shape), generator(seed, name)
    if kind == "weight":
        values = rng.standard_normal(shape) * (gain / np.sqrt(np.prod(shape[1:], dtype=np.float64)))
    elif kind in ("bias", "embed"):
        values = rng.standard_normal(shape) * (0.02 * gain)
    elif kind == "norm_weight":
        values = (1 + 0.1 * rng.standard_normal(shape)) * gain
    elif kind == "positive":
        values = (0.5 + rng.random(shape)) * gain
    elif kind == "zeros":
        values = np.zeros(shape)
    else:
        raise ValueError(f"unknown fill {kind!r}")
    return np.asarray(values, dtype)


def fill_all(layout, *, seed=0):
    """A state dict ``{name: array}`` from rows ``(name, shape, dtype, kind)``."""
    return {
        name: fill(name, shape, kind, seed=seed, dtype=dtype) for name, shape, dtype, kind in layout
    }


def picture(name, height, width, *, seed=0):
    """A uint8 RGB picture ``(height, width, 3)``: smooth colours, six rectangles, noise."""
    rng = generator(seed, name)
    corners = rng.integers(0, 256, size=(9, 9, 3), dtype=np.int64)
    ys, xs = np.arange(height, dtype=np.int64) * 8, np.arange(width, dtype=np.int64) * 8
    top, down = (ys // height)[:, None], (ys % height)[:, None, None]
    left, right = (xs // width)[None, :], (xs % width)[None, :, None]
    up, before = height - down, width - right
    mixed = corners[top, left] * up * before + corners[top, left + 1] * up * right
    mixed += corners[top + 1, left] * down * before + corners[top + 1, left + 1] * down * right
    values = mixed // (height * width)
    for _ in range(6):
        y, x = int(rng.integers(0, height)), int(rng.integers(0, width))
        dy = int(rng.integers(1, max(2, height // 3)))
        dx = int(rng.integers(1, max(2, width // 3)))
        values[y : y + dy, x : x + dx] = rng.integers(0, 256, size=3, dtype=np.int64)
    values = values + rng.integers(-12, 13, size=(height, width, 3), dtype=np.int64)
    return np.clip(values, 0, 255).astype(np.uint8)


def pictures(name, count, height, width, *, seed=0):
    """uint8 RGB pictures ``(count, 3, height, width)``, the i-th named ``name/i``."""
    stack = [picture(f"{name}/{i}", height, width, seed=seed) for i in range(count)]
    return np.stack(stack).transpose(0, 3, 1, 2)
