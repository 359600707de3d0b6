"""A folder of real photographs, cut from those that ship inside scikit-image and scikit-learn.

Nothing is downloaded: only files of the installed packages are opened.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

SIDES = (64, 200)
"""Smallest and largest side of a cut in pixels."""


def photo_files() -> list[Path]:
    """The photographs: 9 of colour, 3 grey, 1 with transparency; JPEG and PNG."""
    skimage_folder = Path(find_spec("skimage").origin).parent / "data"
    sklearn_folder = Path(find_spec("sklearn").origin).parent / "datasets" / "images"
    colour = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
    colour += ("hubble_deep_field.jpg", "retina.jpg")
    other = ("camera.png", "coins.png", "moon.png", "logo.png")
    files = [skimage_folder / name for name in colour + other]
    return files + [sklearn_folder / name for name in ("china.jpg", "flower.jpg")]


def build_photo_folder(folder: Path, count: int = 300, seed: int = 0) -> list[Path]:
    """Write ``count`` cuts into ``folder``, in ImageNet layout: a class folder per photograph.

    Sides of 64 to 200 px, any aspect ratio, at a place and with a size that depend on ``seed``;
    half of them JPEG (.JPEG and .jpg), half PNG. Cuts of grey photographs are grey files, those of
    the photograph with transparency are RGBA.

    Returns:
        The files that were written, sorted.
    """
    rng = np.random.default_rng(seed)
    photos = {file.stem: _sizes(file) for file in photo_files()}
    written = []
    for number in range(count):
        name = list(photos)[number % len(photos)]
        cut = _cut(photos[name][rng.integers(len(photos[name]))], rng)
        suffix = (".JPEG", ".png", ".jpg", ".png")[number // len(photos) % 4]
        if cut.mode == "RGBA":
            suffix = ".png"
        path = folder / name / f"{name}_{number:05d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        cut.save(path, **({} if suffix == ".png" else {"quality": 95}))
        written.append(path)
    return sorted(written)


def _sizes(file: Path) -> list[Image.Image]:
    """The photograph, and at half its size if cuts still fit."""
    with Image.open(file) as photo:
        photo.load()
    half = (photo.width // 2, photo.height // 2)
    if min(half) < SIDES[1]:
        return [photo]
    return [photo, photo.resize(half, Image.Resampling.LANCZOS)]


def _cut(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A cut of random sides and place."""
    width, height = (int(rng.integers(SIDES[0], min(SIDES[1], side) + 1)) for side in photo.size)
    left = int(rng.integers(0, photo.width - width + 1))
    top = int(rng.integers(0, photo.height - height + 1))
    return photo.crop((left, top, left + width, top + height))
