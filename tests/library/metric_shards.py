"""Small sets of shards for the tests of the metrics."""

from itertools import count

import numpy as np

from seesaw.shards import Shards, ShardWriter

_folder = count()


def shards_of(folder, *, ids=None, shard_size=1000, meta=None, **arrays):
    """Shards with the given arrays (n, ...), in a new folder below ``folder``."""
    n = len(next(iter(arrays.values())))
    path = folder / f"set{next(_folder)}" / "manifest.json"
    with ShardWriter(path, shard_size=shard_size, meta=meta or {}) as writer:
        writer.add(ids or [f"im{i:04d}" for i in range(n)], arrays)
    return Shards(path)


def readings_of(measured):
    """Readings by variant."""
    found = {reading.variant: reading for reading in measured.readings}
    assert len(found) == len(measured.readings)
    return found


def pair_of(folder, field, a, b, **kwargs):
    """A reference and a source with one field."""
    return shards_of(folder, **{field: a}, **kwargs), shards_of(folder, **{field: b}, **kwargs)


def binary_maps(seed, n=6, size=16, density=0.3):
    """Random edge maps, uint8 (n, size, size), 0 or 255."""
    rng = np.random.default_rng(seed)
    return (rng.random((n, size, size)) < density).astype(np.uint8) * 255


def faces(tmp_path, found, angles, **kwargs):
    """Faces with embeddings at given angles; zeros where none is found."""
    angles = np.asarray(angles, np.float64)
    found = np.asarray(found, np.uint8)
    embedding = np.stack([np.cos(angles), np.sin(angles)], axis=1) * found[:, None]
    return shards_of(tmp_path, found=found, embedding=embedding.astype(np.float32), **kwargs)
