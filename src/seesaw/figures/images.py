"""Figures made of images: iFID's strips, reconstructions side by side, the mini world's scenes.

Every figure is a :class:`Sheet`, a page measured in inches, so that an image has the size on paper
that the code says. Images are uint8 RGB ``(N, 3, R, R)``, as everywhere. Small ones are enlarged
without smoothing, large ones are reduced with it.
"""

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from seesaw.figures.style import FULL_WIDTH as WIDTH
from seesaw.figures.style import SMALL, styled
from seesaw.seeds import seed_for

GAP = 0.03
MARGIN = 0.05
LABEL_WIDTH = 0.95
NORMAL = 7.5
"""Font size of titles, points."""
LINE = 0.105
"""Height of a line of SMALL text, inches."""
SMOOTH_FROM = 128
"""Images with at least this many pixels a side are resampled smoothly when drawn."""
STRIP = {
    "images": "image",
    "neighbours": "neighbour",
    "interpolations": "interpol.",
    "reconstructions": "reconstr.",
}
FALLBACK_PALETTE = np.array(
    [
        (40, 40, 48), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66),
        (0, 114, 178), (213, 94, 0), (204, 121, 167), (153, 153, 153), (120, 80, 40),
    ],
    np.uint8,
)  # fmt: skip
"""Okabe and Ito's colours, for labels that come without a palette."""


class Sheet:
    """A page on which images and words are placed in inches from the top left corner."""

    def __init__(self, height: float, width: float = WIDTH) -> None:
        self.figure = Figure(figsize=(width, height), dpi=200, facecolor="white")
        FigureCanvasAgg(self.figure)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
        self.axes.axis("off")

    def image(self, pixels: np.ndarray, x: float, y: float, size: float) -> None:
        """Draw uint8 RGB ``(3, H, W)`` as a square of ``size`` with its top left corner at x, y."""
        smooth = max(pixels.shape[1:]) >= SMOOTH_FROM
        self.axes.imshow(
            pixels.transpose(1, 2, 0),
            extent=(x, x + size, y + size, y),
            interpolation="antialiased" if smooth else "nearest",
            aspect="auto",
        )

    def box(
        self, corners: np.ndarray, pixels: int, x: float, y: float, size: float, color: str
    ) -> None:
        """Outline ``x0 y0 x1 y1`` (pixels of an image with that many a side) on an image."""
        x0, y0, x1, y1 = np.clip(corners, 0, pixels) * (size / pixels)
        outline = Rectangle((x + x0, y + y0), x1 - x0, y1 - y0, fill=False, ec=color, lw=0.9)
        outline.set_path_effects([withStroke(linewidth=1.8, foreground="black")])
        self.axes.add_patch(outline)

    def text(self, words: str, x: float, y: float, **style: Any) -> None:
        """Write words; by default small, centred on x and with their top at y."""
        style = {"fontsize": SMALL, "ha": "center", "va": "top", "linespacing": 1.15, **style}
        self.axes.text(x, y, words, **style)

    def rule(self, y: float) -> None:
        """A thin line across the page."""
        ends = [MARGIN, self.axes.get_xlim()[1] - MARGIN]
        self.axes.plot(ends, [y, y], color="0.75", lw=0.5)


def shorten(words: str, length: int) -> str:
    """The end of a long name, which is the part that tells images apart."""
    return words if len(words) <= length else "…" + words[-(length - 1) :]


def wrap(words: str, width: int) -> str:
    """Lines of at most ``width`` characters, also broken behind - _ and /."""
    lines = textwrap.wrap(words, width, break_on_hyphens=True, break_long_words=True)
    return "\n".join(lines)


def check_pictures(pictures: np.ndarray, what: str, n: int | None = None) -> None:
    """Raise unless ``pictures`` is uint8 RGB ``(n, 3, H, W)``."""
    good = pictures.dtype == np.uint8 and pictures.ndim == 4 and pictures.shape[1] == 3
    if not good or (n is not None and len(pictures) != n):
        count = "N" if n is None else n
        raise ValueError(
            f"{what}: expected uint8 RGB images ({count}, 3, H, W), got {pictures.dtype} "
            f"{pictures.shape}"
        )


def choose_ids(ids: Sequence[str], count: int, seed: int) -> list[str]:
    """``count`` of the ids (or all), drawn by (seed, id), whatever order they are stored in."""
    drawn = sorted(ids, key=lambda image_id: (seed_for(seed, "figure", image_id), image_id))
    return drawn[:count]


@styled
def ifid_figure5(
    examples: Mapping[str, Mapping[str, np.ndarray]],
    ids: Sequence[str],
    *,
    count: int | None = None,
    per_row: int = 3,
) -> Figure:
    """What iFID looks at (iFID Figure 5): an image, a neighbour of it and the way between.

    One row per autoencoder; per example its strip: the image, the decoded latent of a near
    neighbour, the decoded interpolation of both latents, and the reconstruction.

    Args:
        examples: autoencoder -> arrays ``images``, ``neighbours``, ``interpolations`` and
            ``reconstructions``, uint8 ``(n, 3, R, R)`` each, for the same images everywhere.
        ids: the n image ids.
        count: how many examples to show; by default 6, or 3 if there are over eight autoencoders.
        per_row: examples side by side.

    Raises:
        ValueError: no autoencoder, a missing array, or one of another shape.
    """
    if not examples or not len(ids):
        raise ValueError("ifid_figure5 needs the examples of at least one autoencoder")
    for name, arrays in examples.items():
        for key in STRIP:
            if key not in arrays:
                raise ValueError(
                    f"the examples of {name!r} lack {key!r}; they need all of {[*STRIP]}"
                )
            check_pictures(arrays[key], f"{key} of {name!r}", len(ids))
    count = min(len(ids), count or (6 if len(examples) <= 8 else 3))
    per_row = min(per_row, count)
    group_gap = 0.12
    room = WIDTH - LABEL_WIDTH - MARGIN - group_gap * (per_row - 1)
    size = min(0.9, room / (per_row * len(STRIP)) - GAP)
    group = len(STRIP) * (size + GAP) + group_gap
    head, row = 0.34, size + GAP
    sections = -(-count // per_row)
    sheet = Sheet(sections * (head + len(examples) * row + 0.08) + MARGIN)
    for section in range(sections):
        top = MARGIN + section * (head + len(examples) * row + 0.08)
        for place, example in enumerate(
            range(section * per_row, min(count, (section + 1) * per_row))
        ):
            left = LABEL_WIDTH + place * group
            label = shorten(ids[example], 34)
            sheet.text(label, left + (group - group_gap) / 2, top, color="0.35")
            for column, words in enumerate(STRIP.values()):
                x = left + column * (size + GAP) + size / 2
                sheet.text(words, x, top + 0.26, va="baseline", fontsize=6.5)
            for index, arrays in enumerate(examples.values()):
                for column, key in enumerate(STRIP):
                    x = left + column * (size + GAP)
                    sheet.image(arrays[key][example], x, top + head + index * row, size)
        row_labels(sheet, [*examples], top + head, row)
    return sheet.figure


@styled
def autoencoder_grid(
    images: np.ndarray,
    reconstructions: Mapping[str, np.ndarray],
    psnr: Mapping[str, float],
) -> Figure:
    """The same images through every autoencoder: originals first, then a row per autoencoder.

    Args:
        images: uint8 ``(n, 3, R, R)``.
        reconstructions: autoencoder -> uint8 ``(n, 3, R, R)``.
        psnr: autoencoder -> mean PSNR in dB over all evaluation images; one may be missing.

    Raises:
        ValueError: arrays of another type or number.
    """
    check_pictures(images, "images")
    n = len(images)
    for name, pictures in reconstructions.items():
        check_pictures(pictures, f"reconstructions of {name!r}", n)
    size = min(0.9, (WIDTH - LABEL_WIDTH - MARGIN) / n - GAP)
    rows = {"original": images, **reconstructions}
    row = size + GAP
    sheet = Sheet(2 * MARGIN + len(rows) * row + 0.06)
    for index, pictures in enumerate(rows.values()):
        y = MARGIN + index * row + (0.06 if index else 0)
        for column in range(n):
            sheet.image(pictures[column], LABEL_WIDTH + column * row, y, size)
    row_labels(sheet, ["original"], MARGIN, row)
    labels = [f"{wrap(a, 19)}\n{psnr[a]:.2f} dB" if a in psnr else a for a in reconstructions]
    row_labels(sheet, labels, MARGIN + row + 0.06, row)
    return sheet.figure


@styled
def probe_strip(
    images: np.ndarray,
    truth: Mapping[str, np.ndarray],
    predictions: Mapping[str, Mapping[str, np.ndarray]],
    *,
    titles: Mapping[str, str],
    columns: int = 8,
) -> Figure:
    """Images, their condition maps, and the maps that probes read from each latent.

    Conditions stand side by side, with as many images each as fit into ``columns``.

    Args:
        images: uint8 ``(n, 3, R, R)``.
        truth: condition -> the network's maps of the images, uint8 ``(n, R, R)``.
        predictions: autoencoder -> condition -> maps of the same type and size.
        titles: condition -> words above its columns.
        columns: images of all conditions together.

    Raises:
        ValueError: no condition, or arrays of another type or number.
    """
    if not truth:
        raise ValueError("probe_strip needs the maps of at least one condition")
    check_pictures(images, "images")
    shown = min(len(images), max(1, columns // len(truth)))
    between = 0.12
    room = WIDTH - LABEL_WIDTH - MARGIN - between * (len(truth) - 1)
    size = min(0.9, room / (shown * len(truth)) - GAP)
    row, head = size + GAP, 0.2
    sheet = Sheet(head + 2 * MARGIN + (2 + len(predictions)) * row + 0.06)
    for place, (condition, maps) in enumerate(truth.items()):
        left = LABEL_WIDTH + place * (shown * row + between)
        sheet.text(titles[condition], left + (shown * row - GAP) / 2, MARGIN)
        colors = "gray" if condition == "canny" else "magma"
        rows = {"the images": images}
        named = {
            "the maps": maps,
            **{name: found[condition] for name, found in predictions.items()},
        }
        for name, values in named.items():
            rows[name] = map_colors(values, colors)
            check_pictures(rows[name], f"{condition} of {name!r}", len(images))
        for index, pictures in enumerate(rows.values()):
            y = MARGIN + head + index * row + (0.06 if index > 1 else 0)
            for column in range(shown):
                sheet.image(pictures[column], left + column * row, y, size)
    row_labels(sheet, ["image", "its map"], MARGIN + head, row)
    row_labels(sheet, [*predictions], MARGIN + head + 2 * row + 0.06, row)
    return sheet.figure


@styled
def figure4(
    images: np.ndarray,
    hints: Mapping[str, np.ndarray],
    runs: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    *,
    titles: Mapping[str, str],
    columns: int = 8,
) -> Figure:
    """Samples under control (Seesaw Figure 4): condition, sample, and the condition found in it.

    Conditions stand side by side, with as many images each as fit into ``columns``; two rows per
    autoencoder.

    Args:
        images: uint8 ``(n, 3, R, R)``, whose conditions were given.
        hints: condition -> the maps given, uint8 ``(n, R, R)``.
        runs: autoencoder -> condition -> samples, uint8 ``(n, 3, R, R)``, and the maps found in
            them, uint8 ``(n, R, R)``.
        titles: condition -> words above its columns.
        columns: images of all conditions together.

    Raises:
        ValueError: no condition, no autoencoder, or arrays of another type or number.
    """
    if not hints or not runs:
        raise ValueError("figure4 needs the samples of at least one autoencoder and condition")
    check_pictures(images, "images")
    shown = min(len(images), max(1, columns // len(hints)))
    between, apart = 0.12, 0.06
    room = WIDTH - LABEL_WIDTH - MARGIN - between * (len(hints) - 1)
    size = min(0.9, room / (shown * len(hints)) - GAP)
    row, head = size + GAP, 0.2
    tops = [MARGIN + head + index * (2 * row + apart) for index in range(1 + len(runs))]
    sheet = Sheet(tops[-1] + 2 * row + MARGIN)
    for place, (condition, maps) in enumerate(hints.items()):
        left = LABEL_WIDTH + place * (shown * row + between)
        sheet.text(titles[condition], left + (shown * row - GAP) / 2, MARGIN)
        colors = "gray" if condition == "canny" else "magma"
        pairs = [("the images", images, maps)]
        pairs += [(name, *found[condition]) for name, found in runs.items()]
        for top, (name, pictures, found) in zip(tops, pairs, strict=True):
            drawn = map_colors(found, colors)
            for what, rows in (
                (f"{condition} of {name!r}", pictures),
                (f"maps of {name!r}", drawn),
            ):
                check_pictures(rows, what, len(images))
            for column in range(shown):
                x = left + column * row
                sheet.image(pictures[column], x, top, size)
                sheet.image(drawn[column], x, top + row, size)
    row_labels(sheet, ["image", "its condition, given"], tops[0], row)
    for top, name in zip(tops[1:], runs, strict=True):
        row_labels(sheet, [f"{wrap(name, 16)}\nsample", "condition found"], top, row)
    return sheet.figure


def label_colors(labels: np.ndarray, palette: Sequence[Sequence[int]] | None) -> np.ndarray:
    """Labels ``(N, H, W)`` to their colours, uint8 RGB ``(N, 3, H, W)``.

    Args:
        labels: whole numbers from 0.
        palette: an RGB colour, 0..255, per label; without one, ten colours in turn.

    Raises:
        ValueError: a label beyond the palette.
    """
    if palette is None:
        colors = FALLBACK_PALETTE
        labels = labels % len(colors)
    else:
        colors = np.asarray(palette, np.uint8)
        if labels.size and labels.max() >= len(colors):
            raise ValueError(f"label {labels.max()} has no colour: the palette holds {len(colors)}")
    return colors[labels].transpose(0, 3, 1, 2)


def map_colors(maps: np.ndarray, colormap: str) -> np.ndarray:
    """Maps ``(N, H, W)``, uint8 0..255 or float 0..1, to uint8 RGB ``(N, 3, H, W)``.

    The scale is the same for all: 0 is the first colour of the map and 255 (or 1) the last.
    """
    from matplotlib import colormaps

    if maps.dtype != np.uint8:
        maps = np.round(np.clip(maps, 0, 1) * 255).astype(np.uint8)
    table = np.round(colormaps[colormap](np.arange(256))[:, :3] * 255).astype(np.uint8)
    return table[maps].transpose(0, 3, 1, 2)


def has_box(corners: np.ndarray) -> bool:
    """Whether ``x0 y0 x1 y1`` is a box: finite and with an area."""
    x0, y0, x1, y1 = corners
    return bool(np.isfinite(corners).all() and x1 > x0 and y1 > y0)


@styled
def scenes(
    images: np.ndarray,
    depth: np.ndarray,
    labels: np.ndarray,
    *,
    boxes: np.ndarray | None = None,
    captions: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    classes: Sequence[str] = (),
    columns: int = 6,
) -> Figure:
    """Scenes of the mini world with what is true of them: depth, segmentation, face box, caption.

    Args:
        images: uint8 ``(n, 3, R, R)``.
        depth: ``(n, R, R)``, uint8 0..255 or float 0..1.
        labels: ``(n, R, R)`` class per pixel.
        boxes: face boxes ``(n, 4)`` as x0 y0 x1 y1 in pixels; one without an area is no face.
        captions: a sentence per image.
        palette: RGB colour per label.
        classes: name per label, for the legend.
        columns: scenes side by side.
    """
    check_pictures(images, "images")
    n, side = len(images), images.shape[-1]
    rows = {
        "image": images,
        "true depth": map_colors(depth, "magma"),
        "true labels": label_colors(labels, palette),
    }
    columns = min(columns, n)
    size = min(1.05, (WIDTH - LABEL_WIDTH - MARGIN) / columns - 2 * GAP)
    texts = [wrap(words, int(size * 72 / 3.3)) for words in captions or [""] * n]
    section = 3 * (size + GAP) + LINE * (max(t.count("\n") for t in texts) + 1) + 0.16
    height = -(-n // columns) * section + MARGIN
    sheet = Sheet(height + (0.2 if len(classes) else 0))
    for index in range(n):
        x = LABEL_WIDTH + index % columns * (size + 2 * GAP)
        top = MARGIN + index // columns * section
        for number, pictures in enumerate(rows.values()):
            sheet.image(pictures[index], x, top + number * (size + GAP), size)
        if boxes is not None and has_box(boxes[index]):
            sheet.box(boxes[index], side, x, top, size, "#ffe600")
        sheet.text(texts[index], x + size / 2, top + 3 * (size + GAP) + 0.02)
        if index % columns == 0:
            row_labels(sheet, [*rows], top, size + GAP)
    _legend(sheet, classes, palette, height)
    return sheet.figure


def row_labels(sheet: Sheet, labels: Sequence[str], top: float, row: float) -> None:
    """Right-aligned labels beside rows of images, centred on each row."""
    for index, label in enumerate(labels):
        words = label if "\n" in label else wrap(label, 16)
        middle = top + index * row + (row - GAP) / 2
        longest = max(len(line) for line in words.split("\n"))
        size = 7 if longest <= 15 else SMALL
        sheet.text(words, LABEL_WIDTH - 0.08, middle, ha="right", va="center", fontsize=size)


def _legend(
    sheet: Sheet, names: Sequence[str], palette: Sequence[Sequence[int]] | None, top: float
) -> None:
    """A line of label names, each behind a square of its colour."""
    colors = label_colors(np.arange(len(names)).reshape(-1, 1, 1), palette)
    widths = np.array([0.22 + 0.05 * len(name) for name in names])
    step = (WIDTH - LABEL_WIDTH - MARGIN) / max(1.0, widths.sum())
    starts = LABEL_WIDTH + np.concatenate([[0], np.cumsum(widths)]) * min(1.0, step)
    for name, color, x in zip(names, colors, starts):
        sheet.image(color, x, top, 0.09)
        sheet.text(name, x + 0.12, top + 0.075, ha="left", va="baseline")


def read_examples(
    paths: Mapping[str, str | Path],
) -> tuple[dict[str, dict[str, np.ndarray]], list[str]]:
    """Read the example strips of every autoencoder.

    Args:
        paths: autoencoder -> safetensors file with the arrays of :data:`STRIP` and the image ids
            as metadata ``ids`` (a JSON list).

    Returns:
        The arrays per autoencoder, and the ids that all files share.

    Raises:
        ValueError: two files hold different images.
    """
    from safetensors import safe_open

    examples, ids, first = {}, [], None
    for name, path in paths.items():
        with safe_open(path, framework="numpy") as file:
            examples[name] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            own = json.loads(file.metadata()["ids"])
        if first is None:
            ids, first = own, path
        elif own != ids:
            raise ValueError(f"{first} and {path} hold examples of different images; remake one")
    return examples, ids


def read_probes(
    paths: Mapping[str, Mapping[str, str | Path]],
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, np.ndarray]], list[str]]:
    """Read what probes predicted; autoencoders that have no probe are left out.

    Args:
        paths: autoencoder -> condition -> safetensors file with the arrays ``maps`` and
            ``predictions`` and the image ids as metadata ``ids`` (a JSON list), empty where there
            is no probe.

    Returns:
        Maps of the images per condition, predictions per autoencoder and condition, and the ids.

    Raises:
        ValueError: two files hold different images.
    """
    from safetensors import safe_open

    truth: dict[str, np.ndarray] = {}
    predictions: dict[str, dict[str, np.ndarray]] = {}
    ids, first = [], None
    for name, files in paths.items():
        for condition, path in files.items():
            with safe_open(path, framework="numpy") as file:
                own = json.loads(file.metadata()["ids"])
                if not own:
                    continue
                truth[condition] = file.get_tensor("maps")
                predictions.setdefault(name, {})[condition] = file.get_tensor("predictions")
            ids, first = (own, path) if first is None else (ids, first)
            if own != ids:
                raise ValueError(f"{first} and {path} hold different images; remake one")
    return truth, predictions, ids
