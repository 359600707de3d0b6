"""Condition drift of maps: edges, depth, segmentation (Seesaw eq. 3 and A.1.2)."""

from collections.abc import Callable, Iterator

import numpy as np

from seesaw.metrics import Measured, Options, Reading, shuffled_partners
from seesaw.metrics.pairs import mean_reading, paired_batches
from seesaw.registry import NETWORKS
from seesaw.shards import Shards

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


def drift(reference: Shards, source: Shards, options: Options) -> Measured:
    """Mean absolute difference of condition maps in [0, 1], per image, mean over images.

    Maps (field ``map``) are divided by 255. Labels (field ``labels``) become the colours of
    ``meta["palette"]``, divided by 255, and the mean is over pixels and channels.

    A map without an edge, or a depth without relief, is a map of zeros like any other: two of them
    differ by 0, and one of them differs from another map by that map's mean. How many depth maps
    were constant is noted, where the field ``constant`` says so.

    Variants:
        shuffled: the map of each image against that of another image's reconstruction. A drift near
            it says nothing about the image at hand.
        zero: against an all-zero map (for labels: a black image). For edges it is the edge density.
        density: mean of the reference's edge maps; two unrelated maps of density d differ by
            ``2 d (1 - d)`` (edges only).
        mismatch: share of the pixels whose label differs (labels only).

    Args:
        reference: field ``map`` uint8 (H, W), or ``labels`` uint8 (H, W) with a palette.
        source: the same of the reconstructions.
        options: ``seed`` and ``batch_size``.

    Raises:
        ValueError: different images, sizes, networks or palettes, neither field, maps that are not
            uint8, or a label without a colour.
    """
    _check_same_network(reference, source)
    field = next((name for name in ("map", "labels") if name in reference.fields), None)
    if field is None:
        raise ValueError(
            f"{reference.path} has neither 'map' nor 'labels' but {', '.join(reference.fields)}; "
            "drift is defined for networks of the kinds edges, map and labels"
        )
    distance = map_distance if field == "map" else palette_distance(_palette(reference))
    values, zero, mismatch = [], [], []
    for a, b in paired_batches(reference, source, [field], options.batch_size):
        values.append(distance(a[field], b[field]))
        zero.append(_against_zero(a[field], reference, field))
        if field == "labels":
            mismatch.append((a[field] != b[field]).mean(axis=(1, 2)))
    columns = {"value": np.concatenate(values)}
    readings = [
        mean_reading(columns["value"], note=_constant_note(reference, source)),
        _shuffled(reference, source, field, distance, options),
        mean_reading(np.concatenate(zero), "zero"),
    ]
    if field == "labels":
        columns["mismatch"] = np.concatenate(mismatch)
        readings.append(mean_reading(columns["mismatch"], "mismatch"))
    elif _is_edges(reference):
        readings.append(mean_reading(np.concatenate(zero), "density"))
    return Measured(readings, columns)


def map_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean ``|a - b| / 255`` per image of uint8 maps (N, H, W), float64 (N,)."""
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(
            f"expected uint8 maps, whose 0..255 stand for [0, 1], got {a.dtype} and {b.dtype}"
        )
    difference = np.maximum(a, b) - np.minimum(a, b)
    total = difference.reshape(len(a), -1).sum(axis=1, dtype=np.int64)
    return total / (255.0 * difference[0].size)


def palette_distance(palette: np.ndarray) -> Distance:
    """A distance of label maps (N, H, W): mean ``|colour difference| / 255`` over pixels and RGB.

    Args:
        palette: uint8 (L, 3), the colour of each label.
    """
    colours = palette.astype(np.int64)
    table = np.abs(colours[:, None] - colours[None]).sum(axis=2)

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if a.dtype.kind not in "iu" or b.dtype.kind not in "iu":
            raise ValueError(f"labels are whole numbers, got {a.dtype} and {b.dtype}")
        top, low = max(int(a.max()), int(b.max())), min(int(a.min()), int(b.min()))
        if top >= len(table) or low < 0:
            raise ValueError(
                f"label {low if low < 0 else top} has no colour: the palette has {len(table)} "
                "colours; remake labels and palette with one network"
            )
        total = table[a, b].reshape(len(a), -1).sum(axis=1)
        return total / (3 * 255.0 * a[0].size)

    return distance


def _against_zero(maps: np.ndarray, shards: Shards, field: str) -> np.ndarray:
    if field == "map":
        return map_distance(maps, np.zeros_like(maps))
    brightness = _palette(shards).sum(axis=1, dtype=np.int64)
    total = brightness[maps].reshape(len(maps), -1).sum(axis=1)
    return total / (3 * 255.0 * maps[0].size)


def _shuffled(
    reference: Shards, source: Shards, field: str, distance: Distance, options: Options
) -> Reading:
    """Reference maps against those of another image's reconstruction, read batch by batch."""
    if len(reference) < 2:
        return Reading(None, len(reference), "shuffled", "needs at least two images to pair")
    partners = shuffled_partners(source.ids, options.seed)
    values = [
        distance(rows, source.take([source.ids[p] for p in chunk], [field])[field])
        for rows, chunk in _chunks(reference, field, partners, options.batch_size)
    ]
    return mean_reading(np.concatenate(values), "shuffled")


def _chunks(
    reference: Shards, field: str, partners: np.ndarray, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    start = 0
    for batch in reference.batches([field], size):
        yield batch[field], partners[start : start + len(batch)]
        start += len(batch)


def _constant_note(reference: Shards, source: Shards) -> str:
    a, b = (
        int((shards.load("constant") > 0).sum()) if "constant" in shards.fields else 0
        for shards in (reference, source)
    )
    if not a and not b:
        return ""
    return f"{a} maps of the reference and {b} of the reconstructions are constant: all zeros"


def _palette(shards: Shards) -> np.ndarray:
    palette = np.asarray(shards.meta.get("palette", []))
    if palette.ndim != 2 or palette.shape[1] != 3 or palette.min() < 0 or palette.max() > 255:
        raise ValueError(
            f"{shards.path} holds labels, but its meta has no 'palette' of RGB colours in 0..255"
        )
    return palette.astype(np.uint8)


def _is_edges(shards: Shards) -> bool:
    name = shards.meta.get("network")
    return name in NETWORKS and NETWORKS[name].kind == "edges"


def _check_same_network(reference: Shards, source: Shards) -> None:
    for key in ("network", "palette"):
        a, b = reference.meta.get(key), source.meta.get(key)
        if a != b:
            raise ValueError(
                f"{reference.path} was made with {key} {a!r}, {source.path} with {b!r}; extract "
                "both with the same network"
            )
