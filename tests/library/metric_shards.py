"""Small sets of shards for the tests of the metrics."""

from itertools import count

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
