"""The worst, median and best reconstructions of one autoencoder with their condition maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from seesaw.figures.images import (
    GAP,
    LABEL_WIDTH,
    LINE,
    MARGIN,
    NORMAL,
    WIDTH,
    Sheet,
    check_pictures,
    has_box,
    label_colors,
    map_colors,
    shorten,
    wrap,
)
from seesaw.figures.style import styled
from seesaw.registry import METRICS, NETWORKS

if TYPE_CHECKING:
    import pandas as pd

    from seesaw.shards import Shards

HEAD = 0.4
"""Height of a block's title, ids and column heads, inches."""
MAPS = ("edges", "map", "labels")
"""Kinds of network whose output is a picture."""


@dataclass(frozen=True)
class Condition:
    """What one network extracted from some images and from their reconstructions.

    Attributes:
        role: role in the study, such as ``"depth"``.
        network: registry name of the network.
        kind: ``"edges"``, ``"map"``, ``"labels"`` or ``"faces"`` (see :mod:`seesaw.networks`).
        reference: its fields for the images, ``(n, ...)`` each.
        source: its fields for the reconstructions.
        palette: RGB colour per label, for ``"labels"``.
    """

    role: str
    network: str
    kind: str
    reference: Mapping[str, np.ndarray]
    source: Mapping[str, np.ndarray]
    palette: Sequence[Sequence[int]] | None = None


def read_condition(
    role: str, network: str, reference: "Shards", source: "Shards", ids: Sequence[str]
) -> Condition | None:
    """What ``network`` extracted for ``ids``; None if it makes neither a map nor face boxes."""
    if "labels" in reference.fields:
        kind, fields = "labels", ["labels"]
    elif "map" in reference.fields:
        edges = network in NETWORKS and NETWORKS[network].kind == "edges"
        kind, fields = "edges" if edges else "map", ["map"]
    elif "box" in reference.fields:
        kind, fields = "faces", ["found", "box"]
    else:
        return None
    return Condition(
        role=role,
        network=network,
        kind=kind,
        reference=reference.take(ids, fields).arrays,
        source=source.take(ids, fields).arrays,
        palette=reference.meta.get("palette"),
    )


def pick(values: "pd.Series", *, count: int, higher_is_better: bool) -> dict[str, list[str]]:
    """The ids of the worst, median and best images, no id twice.

    Args:
        values: a number per image, indexed by image id; NaN are left out.
        count: ids of each sort; fewer if there are less than three times as many images.
        higher_is_better: direction of the numbers.

    Returns:
        ``"worst"`` (the worst first), ``"median"`` and ``"best"`` (the best last).

    Raises:
        ValueError: there is no number.
    """
    finite = values[~values.isna()]
    if finite.empty:
        raise ValueError("no image has a number to rank it by")
    sign = 1 if higher_is_better else -1
    ranked = [i for _, i in sorted((sign * value, image_id) for image_id, value in finite.items())]
    count = max(1, min(count, len(ranked) // 3))
    middle = (len(ranked) - count) // 2
    chosen = {
        "worst": ranked[:count],
        "median": ranked[middle : middle + count],
        "best": ranked[-count:],
    }
    return {sort: ids for sort, ids in chosen.items() if len(ranked) >= 3 or sort == "worst"}


def read_numbers(tables: Mapping[str, str]) -> "pd.DataFrame":
    """One column per metric, indexed by image id, from per-image Parquet tables.

    A table has a column ``id`` and one named like the metric (else its first other column is
    taken). Metrics without numbers per image are left out.
    """
    import pandas as pd

    columns = {}
    for metric, path in tables.items():
        table = pd.read_parquet(path)
        others = [name for name in table.columns if name != "id"]
        if others:
            name = metric if metric in others else others[0]
            columns[metric] = table.set_index("id")[name]
    return pd.DataFrame(columns)


@styled
def gallery(
    *,
    picks: Mapping[str, Sequence[str]],
    images: np.ndarray,
    reconstructions: np.ndarray,
    conditions: Sequence[Condition],
    numbers: "pd.DataFrame",
    ranked_by: str,
) -> Figure:
    """Reconstructions beside their originals, the condition maps of both, and the image's numbers.

    Args:
        picks: ``"worst"``, ``"median"``, ``"best"`` -> image ids (see :func:`pick`).
        images: the images of all picks in that order, uint8 ``(n, 3, R, R)``.
        reconstructions: their reconstructions.
        conditions: what the networks extracted from both; may be empty.
        numbers: metric names as columns, image ids as index.
        ranked_by: the metric that ``picks`` were ranked by.

    Raises:
        ValueError: the number of images is not that of the picks.
    """
    ids = [image_id for chosen in picks.values() for image_id in chosen]
    check_pictures(images, "images", len(ids))
    check_pictures(reconstructions, "reconstructions", len(ids))
    maps = [condition for condition in conditions if condition.kind in MAPS]
    faces = [condition for condition in conditions if condition.kind == "faces"]
    rows = [("image", images, reconstructions)]
    rows += [(_row_label(c), _pictures(c, c.reference), _pictures(c, c.source)) for c in maps]
    captions = [_captions(row, maps, numbers, ids, ranked_by) for row in [None, *maps]]

    layout = _Layout.of(max(len(chosen) for chosen in picks.values()), captions)
    width = LABEL_WIDTH + layout.pair * max(map(len, picks.values())) + MARGIN
    sheet = Sheet(MARGIN + len(picks) * layout.block, width)
    start = 0
    for number, (sort, chosen) in enumerate(picks.items()):
        top = MARGIN + number * layout.block
        label, unit = METRICS[ranked_by].label, METRICS[ranked_by].unit
        title = f"{sort} by {label} ({unit})" if unit != "1" else f"{sort} by {label}"
        sheet.text(title, MARGIN, top, ha="left", fontsize=NORMAL, weight="bold")
        for place in range(len(chosen)):
            x, image = LABEL_WIDTH + place * layout.pair, start + place
            middle = x + layout.size + GAP / 2
            sheet.text(shorten(ids[image], 26), middle, top + 0.25, va="baseline", color="0.35")
            _draw_pairs(sheet, rows, captions, layout, image, x, top + HEAD)
            _draw_faces(sheet, faces, image, (x, top + HEAD, layout.size), images.shape[-1])
        _draw_row_labels(sheet, [words for words, _, _ in rows], layout, top + HEAD)
        start += len(chosen)
        if number < len(picks) - 1:
            sheet.rule(top + layout.block - 0.06)
    return sheet.figure


@dataclass(frozen=True)
class _Layout:
    """Sizes in inches: an image, the step from pair to pair, each row, a block of all rows."""

    size: float
    pair: float
    heights: list[float]
    block: float

    @classmethod
    def of(cls, per_row: int, captions: Sequence[Sequence[str]]) -> "_Layout":
        gap = 0.1
        size = min(0.75, ((WIDTH - LABEL_WIDTH - MARGIN) / per_row - gap - GAP) / 2)
        lines = [max(text.count("\n") + 1 for text in texts) for texts in captions]
        heights = [size + 0.05 + LINE * n for n in lines]
        return cls(size, 2 * size + GAP + gap, heights, HEAD + sum(heights) + 0.12)


def _draw_pairs(
    sheet: Sheet,
    rows: Sequence[tuple[str, np.ndarray, np.ndarray]],
    captions: Sequence[Sequence[str]],
    layout: _Layout,
    image: int,
    x: float,
    y: float,
) -> None:
    """One image's column: original and reconstruction, then the maps of both, with numbers."""
    size = layout.size
    for side, words in enumerate(("original", "reconstr.")):
        sheet.text(words, x + side * (size + GAP) + size / 2, y - 0.04, va="baseline")
    for texts, height, (_, original, reconstruction) in zip(captions, layout.heights, rows):
        sheet.image(original[image], x, y, size)
        sheet.image(reconstruction[image], x + size + GAP, y, size)
        sheet.text(texts[image], x + size + GAP / 2, y + size + 0.025, fontsize=5.6)
        y += height


def _draw_row_labels(sheet: Sheet, labels: Sequence[str], layout: _Layout, y: float) -> None:
    for words, height in zip(labels, layout.heights):
        x = LABEL_WIDTH - 0.08
        sheet.text(words, x, y + layout.size / 2, ha="right", va="center")
        y += height


def _row_label(condition: Condition) -> str:
    known = condition.network in NETWORKS
    network = NETWORKS[condition.network].label if known else condition.network
    return wrap(condition.role, 17) + "\n" + wrap(f"({network})", 17)


def _pictures(condition: Condition, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    if condition.kind == "labels":
        return label_colors(arrays["labels"], condition.palette)
    return map_colors(arrays["map"], "gray" if condition.kind == "edges" else "magma")


def _captions(
    row: Condition | None,
    maps: Sequence[Condition],
    numbers: "pd.DataFrame",
    ids: Sequence[str],
    ranked_by: str,
) -> list[str]:
    """What is written below each image of a row: the numbers that belong there, two to a line.

    Below a condition's maps stands its own metric, below the images stands all that has no maps.
    """
    with_maps = {condition.role for condition in maps}
    roles = {metric: METRICS[metric].role for metric in numbers.columns}
    if row is not None:
        metrics = [metric for metric in numbers.columns if roles[metric] == row.role]
    else:
        metrics = [metric for metric in numbers.columns if roles[metric] not in with_maps]
        metrics.sort(key=lambda metric: metric != ranked_by)
    texts = []
    for image_id in ids:
        words = [_number(metric, numbers[metric].get(image_id), row) for metric in metrics]
        words = [word for word in words if word]
        lines = ["  ".join(words[i : i + 2]) for i in range(0, len(words), 2)]
        texts.append("\n".join(lines))
    return texts


def _number(metric: str, value: float | None, row: Condition | None) -> str:
    """A metric's name and value; nothing where it is undefined for this image."""
    if value is None or np.isnan(value):
        return ""
    entry = METRICS[metric]
    digits = f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
    if row is not None:
        return f"{entry.unit} {digits}" if entry.unit != "1" else digits
    unit = f" {entry.unit}" if entry.unit == "dB" else ""
    return f"{entry.label.removesuffix(' similarity')} {digits}{unit}"


def _draw_faces(
    sheet: Sheet,
    faces: Sequence[Condition],
    image: int,
    place: tuple[float, float, float],
    pixels: int,
) -> None:
    """The face boxes that were found in an original and in its reconstruction."""
    x, y, size = place
    for condition in faces:
        for side, arrays in enumerate((condition.reference, condition.source)):
            box = arrays["box"][image]
            if arrays["found"][image] and has_box(box):
                sheet.box(box, pixels, x + side * (size + GAP), y, size, "#ffe600")
