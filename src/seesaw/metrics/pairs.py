"""The same images of two sets of shards, side by side, whatever the sizes of their shards."""

from collections.abc import Iterator, Sequence

import numpy as np

from seesaw.metrics import Reading, shuffled_partners
from seesaw.shards import Batch, Shards


def equal_batches(shards: Shards, fields: Sequence[str], size: int) -> Iterator[Batch]:
    """Batches of exactly ``size`` images in stored order (the last one may be smaller).

    Unlike :meth:`Shards.batches` they reach over the ends of shards, so where a batch ends depends
    on ``size`` only.
    """
    ids: list[str] = []
    parts: list[Batch] = []
    for batch in shards.batches(fields, size):
        ids += batch.ids
        parts.append(batch)
        if len(ids) >= size:
            joined = {f: _joined(parts, f) for f in fields}
            yield Batch(ids[:size], {f: joined[f][:size] for f in fields})
            parts = [Batch(ids[size:], {f: joined[f][size:] for f in fields})]
            ids = ids[size:]
    if ids:
        yield Batch(ids, {f: _joined(parts, f) for f in fields})


def _joined(parts: Sequence[Batch], field: str) -> np.ndarray:
    """One field of all parts; of a single part it is no copy."""
    return parts[0][field] if len(parts) == 1 else np.concatenate([part[field] for part in parts])


def paired_batches(
    reference: Shards, source: Shards, fields: Sequence[str], size: int
) -> Iterator[tuple[Batch, Batch]]:
    """Batches of the same images from both sets.

    Raises:
        ValueError: the sets hold different images, another order, or arrays of different shapes.
    """
    if len(reference) != len(source):
        raise ValueError(
            f"{reference.path} holds {len(reference)} images, {source.path} holds {len(source)}; "
            "remake one of them"
        )
    pairs = zip(
        equal_batches(reference, fields, size), equal_batches(source, fields, size), strict=True
    )
    for a, b in pairs:
        if a.ids != b.ids:
            first = next((x, y) for x, y in zip(a.ids, b.ids) if x != y)
            raise ValueError(
                f"{reference.path} has image {first[0]!r} where {source.path} has {first[1]!r}; "
                "remake one of them"
            )
        for field in fields:
            if a[field].shape != b[field].shape:
                raise ValueError(
                    f"field {field!r} is {a[field].shape[1:]} per image in {reference.path} and "
                    f"{b[field].shape[1:]} in {source.path}; both must have the same size"
                )
        yield a, b


def require_finite(ids: Sequence[str], values: np.ndarray, what: str) -> None:
    """Raise unless all ``values`` (N, ...) are finite; the error names the first bad image."""
    bad = ~np.isfinite(values).reshape(len(ids), -1).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{what} of image {ids[int(np.argmax(bad))]!r} is NaN or infinite "
            f"({int(bad.sum())} of {len(ids)} images); remake what it was computed from"
        )


def cosines(ids: Sequence[str], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each row of ``a`` with the same row of ``b``, (N, D) -> float64 (N,).

    Raises:
        ValueError: a row has length zero, so that no cosine is defined; its image is named.
    """
    if a.shape != b.shape:
        raise ValueError(f"cannot compare embeddings {a.shape} and {b.shape}")
    out = np.empty(len(a), np.float64)
    for start in range(0, len(a), 1024):
        x = a[start : start + 1024].astype(np.float64)
        y = b[start : start + 1024].astype(np.float64)
        norms = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
        if not norms.all():
            image_id = ids[start + int(np.argmin(norms))]
            raise ValueError(
                f"the embedding of image {image_id!r} is a zero vector: it has no cosine"
            )
        out[start : start + 1024] = (x * y).sum(axis=1) / norms
    return np.clip(out, -1.0, 1.0)


def mean_reading(values: np.ndarray, variant: str = "", note: str = "") -> Reading:
    """The mean over images as a reading."""
    return Reading(float(np.mean(values)), len(values), variant, note)


def shuffled_cosine(ids: Sequence[str], a: np.ndarray, b: np.ndarray, seed: int) -> Reading:
    """The shuffled-pair baseline of a cosine: row i of ``a`` with another image's row of ``b``."""
    if len(ids) < 2:
        return Reading(None, len(ids), "shuffled", "needs at least two images to pair")
    return mean_reading(cosines(ids, a, b[shuffled_partners(ids, seed)]), "shuffled")
