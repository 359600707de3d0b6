"""Figures made of a diffusion model's images: denoised from t, and sampled from noise."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from seesaw.figures.images import (
    GAP,
    LABEL_WIDTH,
    LINE,
    MARGIN,
    WIDTH,
    Sheet,
    check_pictures,
    row_labels,
    shorten,
    wrap,
)
from seesaw.figures.style import SMALL, styled

BETWEEN = 0.14
"""Space between blocks of images, inches."""
LARGEST = 0.9
"""Side of an image at most, inches."""


@styled
def ifid_figure2(
    images: np.ndarray,
    denoised: Mapping[str, np.ndarray],
    *,
    ids: Sequence[str],
    times: Sequence[float],
    titles: Sequence[str] = (),
    count: int | None = None,
) -> Figure:
    """After iFID Figure 2: refinement and navigation, images denoised from a growing t.

    Per example a block: a column for the image and for each t, a row per autoencoder. At t = 0 it
    is the reconstruction, at t = 1 a sample that has only label and noise in common with the image.

    Args:
        images: uint8 ``(n, 3, R, R)``.
        denoised: autoencoder -> uint8 ``(T, n, 3, R, R)``.
        ids: the n image ids.
        times: the T times.
        titles: words above each example; the ids by default.
        count: how many examples; by default 4, or 2 if there are over twelve autoencoders.

    Raises:
        ValueError: no autoencoder, or arrays of another type or number.
    """
    if not denoised or not len(ids):
        raise ValueError("ifid_figure2 needs the examples of at least one autoencoder")
    check_pictures(images, "images", len(ids))
    for name, pictures in denoised.items():
        if pictures.shape[:1] != (len(times),):
            raise ValueError(
                f"the examples of {name!r} have {len(pictures)} times, expected {len(times)}"
            )
        for t, row in zip(times, pictures, strict=True):
            check_pictures(row, f"images of {name!r} denoised from t = {t:g}", len(ids))
    titles = titles or [shorten(image_id, 40) for image_id in ids]
    count = min(len(ids), count or (4 if len(denoised) <= 12 else 2))
    per_row = min(2, count)
    columns = len(times) + 1
    room = WIDTH - LABEL_WIDTH - MARGIN - BETWEEN * (per_row - 1)
    size = min(LARGEST, room / (per_row * columns) - GAP)
    row, head = size + GAP, 0.36
    section = head + len(denoised) * row + 0.08
    sheet = Sheet(-(-count // per_row) * section + MARGIN)
    words = ["image", *(f"t = {t:g}" for t in times)]
    if columns * per_row > 10:
        words = ["image", *(f"{t:g}" for t in times)]
    for example in range(count):
        top = MARGIN + example // per_row * section
        left = LABEL_WIDTH + example % per_row * (columns * row + BETWEEN)
        sheet.text(titles[example], left + (columns * row - GAP) / 2, top, color="0.35")
        for column, word in enumerate(words):
            at = left + column * row + size / 2
            sheet.text(word, at, top + head - 0.06, va="baseline", fontsize=6.5)
        for index, pictures in enumerate(denoised.values()):
            y = top + head + index * row
            for column, picture in enumerate([images[example], *pictures[:, example]]):
                sheet.image(picture, left + column * row, y, size)
        if example % per_row == 0:
            sheet.text("t", LABEL_WIDTH - 0.08, top + head - 0.06, ha="right", va="baseline",
                       fontsize=6.5)  # fmt: skip
            row_labels(sheet, [*denoised], top + head, row)
    return sheet.figure


@styled
def sample_grid(
    images: np.ndarray,
    samples: Mapping[str, Mapping[str, np.ndarray]],
    *,
    labels: Sequence[str],
) -> Figure:
    """Samples of every autoencoder's diffusion models: blocks per way to sample, rows below.

    The first row is an evaluation image of each column's class, for comparison: a sample has its
    label and not its content.

    Args:
        images: uint8 ``(n, 3, R, R)``.
        samples: way to sample (``"SiT-B guided"``) -> autoencoder -> uint8 ``(n, 3, R, R)``.
        labels: class of each image, in words.

    Raises:
        ValueError: no samples, or arrays of another type or number.
    """
    if not samples or not len(labels):
        raise ValueError("sample_grid needs at least one set of samples")
    check_pictures(images, "images", len(labels))
    for way, found in samples.items():
        for name, pictures in found.items():
            check_pictures(pictures, f"samples {way} of {name!r}", len(labels))
    names = list(dict.fromkeys(name for found in samples.values() for name in found))
    n = len(labels)
    room = WIDTH - LABEL_WIDTH - MARGIN - BETWEEN * (len(samples) - 1)
    size = min(LARGEST, room / (n * len(samples)) - GAP)
    row = size + GAP
    texts = [wrap(shorten(word, 24), max(4, int(size * 72 / 3.4))) for word in labels]
    lines = max(text.count("\n") for text in texts) + 1
    longest = max(len(line) for text in texts for line in text.split("\n"))
    font = min(SMALL, max(4.0, (size + GAP) * 72 / (0.68 * longest)))
    head = 0.2 + LINE * lines + 0.04
    sheet = Sheet(head + 2 * MARGIN + (1 + len(names)) * row + 0.06)
    top = MARGIN + head
    for place, (way, found) in enumerate(samples.items()):
        left = LABEL_WIDTH + place * (n * row + BETWEEN)
        sheet.text(way, left + (n * row - GAP) / 2, MARGIN, fontsize=7)
        for column, text in enumerate(texts):
            x = left + column * row
            sheet.text(text, x + size / 2, top - 0.04, va="bottom", color="0.35", fontsize=font)
            sheet.image(images[column], x, top, size)
            for index, name in enumerate(names):
                if name in found:
                    y = top + 0.06 + (1 + index) * row
                    sheet.image(found[name][column], x, y, size)
    row_labels(sheet, ["real image"], top, row)
    row_labels(sheet, names, top + row + 0.06, row)
    return sheet.figure


def read_denoised(
    paths: Mapping[str, str | Path],
) -> tuple[np.ndarray, dict[str, np.ndarray], list[str], list[float]]:
    """Read what :meth:`seesaw.gfid_times.Denoiser.write_examples` wrote for every autoencoder.

    Returns:
        The images, the denoised ones per autoencoder, ids and times that all files share.

    Raises:
        ValueError: two files hold other images or times, or there is no file.
    """
    from safetensors import safe_open

    images, found, shared, first = None, {}, None, None
    for name, path in paths.items():
        with safe_open(path, framework="numpy") as file:
            said = file.metadata()
            own = json.loads(said["ids"]), json.loads(said["times"])
            found[name] = file.get_tensor("denoised")
            images = file.get_tensor("images")
        shared, first = (own, path) if shared is None else (shared, first)
        if own != shared:
            raise ValueError(f"{first} and {path} hold other images or times; remake one")
    if images is None or shared is None:
        raise ValueError("there are no examples to read")
    return images, found, *shared


def class_words(
    labels: Sequence[int], ids: Sequence[str], names: Sequence[str] | None = None
) -> list[str]:
    """What to call the classes of images: their name, their folder, or their number.

    Args:
        labels: class of each image, -1 for none.
        ids: image ids; of images in folders they begin with the folder.
        names: name of each class, where the source knows it.
    """
    words = []
    for label, image_id in zip(labels, ids, strict=True):
        if label < 0:
            words.append("no class")
        elif names is not None and label < len(names):
            words.append(names[label])
        else:
            folder, slash, _ = image_id.partition("/")
            words.append(folder if slash else f"class {label}")
    return words
