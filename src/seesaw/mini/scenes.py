"""The mini world's images and their truth: what is in a scene, and the image source ``"mini"``.

A scene is a textured plane in haze, one to three shaded objects of ten classes that occlude one
another, and on about a third of the images the face of one of 40 persons. A scene's content is
drawn from (seed, image id) only; :mod:`seesaw.mini.drawing` draws it at any resolution.

An image's attributes are its caption: one word per field of :data:`FIELDS`, stored as numbers of
the vocabulary :data:`VOCABULARY`. Different fields have different words, so a number says both.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from seesaw.mini.drawing import (
    FACE_EXTENT,
    SHAPES,
    draw_background,
    draw_faces,
    draw_objects,
)
from seesaw.seeds import generator_for

if TYPE_CHECKING:
    import pandas as pd

CLASSES: tuple[str, ...] = tuple(SHAPES)
"""Names of the ten object classes; an image's label is the class of its nearest object."""

LABELS: tuple[str, ...] = ("background", *CLASSES, "face")
"""Names of the segmentation labels 0..11."""

PALETTE = np.array(
    [
        (0, 0, 0),
        (230, 25, 75),
        (60, 180, 75),
        (255, 225, 25),
        (0, 130, 200),
        (245, 130, 48),
        (145, 30, 180),
        (70, 240, 240),
        (240, 50, 230),
        (210, 245, 60),
        (0, 128, 128),
        (250, 190, 190),
    ],
    np.uint8,
)
"""RGB colour per segmentation label, ``(12, 3)``."""

COLOURS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.90, 0.16, 0.14),
    "orange": (0.97, 0.52, 0.10),
    "yellow": (0.96, 0.84, 0.16),
    "green": (0.20, 0.68, 0.24),
    "cyan": (0.18, 0.78, 0.84),
    "blue": (0.16, 0.34, 0.90),
    "purple": (0.55, 0.22, 0.76),
    "white": (0.95, 0.95, 0.93),
}
"""Colours of the objects."""

GROUNDS: Mapping[str, tuple[float, float, float]] = {
    "grey": (0.52, 0.52, 0.54),
    "sand": (0.76, 0.66, 0.46),
    "moss": (0.38, 0.50, 0.28),
    "slate": (0.30, 0.38, 0.52),
    "plum": (0.48, 0.30, 0.42),
    "brick": (0.62, 0.36, 0.28),
}
"""Colours of the backgrounds."""

BACKGROUNDS = ("gradient", "stripes", "checks", "clouds", "dots")
POSITIONS = tuple(
    f"{row}-{column}"
    for row in ("upper", "middle", "lower")
    for column in ("left", "centre", "right")
)
FIELDS: Mapping[str, tuple[str, ...]] = {
    "count": ("one", "two", "three"),
    "colour": tuple(COLOURS),
    "class": CLASSES,
    "position": POSITIONS,
    "background": BACKGROUNDS,
    "ground": tuple(GROUNDS),
    "second": ("alone", *(f"with-{name}" for name in CLASSES)),
    "face": ("faceless", "with-face"),
}
"""Caption fields in the order of the columns of ``attributes``, and their words: how many objects;
colour, class and position of the nearest one; kind and colour of the background; class of the
second object; whether there is a face."""

VOCABULARY: tuple[str, ...] = tuple(word for words in FIELDS.values() for word in words)
"""Every caption word; ``attributes`` holds indices of it."""

PERSONS = 40
"""How many persons live in the mini world, the same for every split and seed."""

FACE_SHARE = 0.35
_UNIFORMS = 96
_COARSE, _FINE = 6, 22
_CHUNK_PIXELS = 2**18


def caption(attributes: Sequence[int]) -> str:
    """The caption of one image as a sentence, from its row of ``attributes``."""
    words = [VOCABULARY[number].replace("-", " ") for number in attributes]
    count, colour, name, position, background, ground, second, face = words
    objects = f"{count} object" + ("" if count == "one" else "s")
    extra = "" if second == "alone" else f" {second}"
    article = "an" if colour == "orange" else "a"
    return (
        f"{objects}, {article} {colour} {name}{extra}, {position}, on {ground} {background}, {face}"
    )


class _Columns:
    """Hands out columns of a matrix of uniform numbers in order."""

    def __init__(self, uniforms: np.ndarray) -> None:
        self.uniforms, self.used = uniforms, 0

    def range(self, low: float, high: float, width: int | None = None) -> np.ndarray:
        """Floats in [low, high), ``(n,)`` or ``(n, width)``."""
        start, self.used = self.used, self.used + (width or 1)
        assert self.used <= self.uniforms.shape[1], "more numbers per scene than were drawn"
        part = self.uniforms[:, start : self.used]
        part = low + (high - low) * (part if width else part[:, 0])
        return part.astype(np.float32)

    def choice(self, options: int, width: int | None = None) -> np.ndarray:
        """Integers in 0..options-1."""
        return np.minimum(self.range(0, options, width).astype(np.int64), options - 1)


@cache
def draw_persons() -> dict[str, np.ndarray]:
    """Features of the :data:`PERSONS` persons, one row each; picked to differ from one another."""
    skins = np.array(
        [(0.98, 0.84, 0.72), (0.90, 0.68, 0.50), (0.70, 0.47, 0.31), (0.42, 0.27, 0.18)]
    )
    hairs = np.array(
        [(0.07, 0.06, 0.07), (0.40, 0.22, 0.09), (0.94, 0.80, 0.35), (0.78, 0.26, 0.08),
         (0.78, 0.78, 0.80), (0.15, 0.30, 0.80), (0.10, 0.55, 0.25), (0.85, 0.20, 0.45)]
    )  # fmt: skip
    eyes = np.array([(0.05, 0.05, 0.06), (0.10, 0.35, 0.75), (0.15, 0.50, 0.20)])
    mouths = np.array([(0.72, 0.12, 0.16), (0.35, 0.08, 0.08), (0.95, 0.40, 0.50)])
    options = (len(skins), len(hairs), 5, len(eyes), 2, 2, 2, len(mouths), 2)
    draws = _Columns(generator_for(0, "persons", "mini").random((2000, len(options))))
    traits = np.stack([draws.choice(k) for k in options], axis=1)
    weights = np.array([1.6, 1.5, 1.5, 0.6, 0.5, 1.2, 0.6, 0.5, 1.2])
    chosen = [0]
    distance = np.full(len(traits), np.inf)
    for _ in range(PERSONS - 1):
        distance = np.minimum(distance, (traits != traits[chosen[-1]]) @ weights)
        chosen.append(int(distance.argmax()))
    skin, hair, style, eye, near, glasses, wide, mouth, beard = traits[chosen].T
    hairline = np.array([-9.0, -0.42, -0.22, -0.38, -0.3])[style]
    parting = np.array([0.0, 0.0, 0.5, -0.35, 0.0])[style]
    persons = {
        "skin_rgb": skins[skin],
        "hair_rgb": hairs[hair],
        "eye_rgb": eyes[eye],
        "mouth_rgb": mouths[mouth],
        "hairline": hairline,
        "parting": parting,
        "eye_spacing": np.array([0.29, 0.38])[near],
        "mouth_width": np.array([0.2, 0.42])[wide],
    }
    floats = {key: value.astype(np.float32) for key, value in persons.items()}
    return floats | {"style": style, "glasses": glasses == 1, "beard": beard == 1}


def scene_parameters(uniforms: np.ndarray) -> dict[str, np.ndarray]:
    """What is in each scene, from its uniform numbers ``(n, 96)``.

    Returns:
        Arrays of n rows. Objects have three columns, of which ``count`` are used, nearest first.
    """
    draw = _Columns(uniforms)
    n = len(uniforms)
    p: dict[str, np.ndarray] = {"count": 1 + draw.choice(3)}
    p["shape"] = draw.choice(len(CLASSES), 3)
    p["colour"] = draw.choice(len(COLOURS), 3)
    p["rgb"] = np.array(list(COLOURS.values()), np.float32)[p["colour"]]
    p["rgb"] = np.clip(p["rgb"] + draw.range(-0.06, 0.06, 9).reshape(n, 3, 3), 0, 1)
    size = draw.range(0, 1, 3)
    p["radius"] = np.array([0.20, 0.145, 0.11], np.float32) + size * np.float32([0.08, 0.04, 0.03])
    p["near"] = 0.2 + 1.95 * p["radius"] + draw.range(0, 0.04, 3)
    p["angle"] = draw.range(-0.35, 0.35, 3)
    x, y = draw.range(0.27, 0.73), draw.range(0.27, 0.73)
    away = draw.range(0.22, 0.42, 2)
    turn = draw.range(0, 2 * np.pi)[:, None] + np.float32([0, 2.4]) + draw.range(-0.5, 0.5, 2)
    p["x"] = np.column_stack([x, np.clip(x[:, None] + away * np.cos(turn), 0.1, 0.9)])
    p["y"] = np.column_stack([y, np.clip(y[:, None] + away * np.sin(turn), 0.1, 0.9)])
    light = draw.range(-np.pi * 0.9, -np.pi * 0.1)
    p["light_x"], p["light_y"] = np.cos(light), np.sin(light)
    p |= _background_parameters(draw, n)
    p |= _face_parameters(draw, x, y)
    p["gain"] = draw.range(0.88, 1.1)
    return p


def _background_parameters(draw: _Columns, n: int) -> dict[str, np.ndarray]:
    p = {"background": draw.choice(len(BACKGROUNDS)), "ground": draw.choice(len(GROUNDS))}
    base = np.array(list(GROUNDS.values()), np.float32)[p["ground"]]
    p["background_rgb"] = np.clip(base + draw.range(-0.05, 0.05, 3), 0, 1)
    # the second colour keeps the hue, so that the ground can be named
    contrast = draw.range(0.22, 0.45) * np.where(draw.range(0, 1) < 0.5, -1, 1)
    second = p["background_rgb"] * (1 + contrast[:, None]) + draw.range(-0.06, 0.06, 3)
    p["background_rgb2"] = np.clip(second, 0, 1).astype(np.float32)
    p["texture_angle"] = draw.range(0, np.pi)
    p["texture_cycles"] = draw.range(2.0, 6.0)
    p["texture_phase"] = draw.range(0, 1)
    p["texture_strength"] = draw.range(0.05, 0.14)
    p["plane_far"] = draw.range(0.02, 0.10)
    p["plane_y"] = draw.range(0.10, 0.28)
    p["plane_x"] = draw.range(-0.08, 0.08)
    p["haze"] = (draw.range(0.55, 0.9)[:, None] + np.float32([-0.03, 0, 0.05])).astype(np.float32)
    return p


def _face_parameters(
    draw: _Columns, main_x: np.ndarray, main_y: np.ndarray
) -> dict[str, np.ndarray]:
    """Faces keep away from the nearest object: the first of eight places that is far enough."""
    has = draw.range(0, 1) < FACE_SHARE
    p = {"identity": np.where(has, draw.choice(PERSONS), -1)}
    p["face_scale"] = draw.range(0.135, 0.172)
    places_x, places_y = draw.range(0.19, 0.81, 8), draw.range(0.2, 0.8, 8)
    distance = np.hypot(places_x - main_x[:, None], places_y - main_y[:, None])
    enough = distance > 0.34
    pick = np.where(enough.any(1), enough.argmax(1), distance.argmax(1))
    rows = np.arange(len(pick))
    p["face_x"], p["face_y"] = places_x[rows, pick], places_y[rows, pick]
    p["face_tilt"] = draw.range(-0.16, 0.16)
    p["face_brightness"] = draw.range(0.85, 1.08)
    return p


def scene_attributes(p: Mapping[str, np.ndarray]) -> np.ndarray:
    """Caption words as indices of :data:`VOCABULARY`, uint8 ``(n, 8)``."""

    def third(values: np.ndarray) -> np.ndarray:
        return np.digitize(values, [0.42, 0.58])

    columns = (
        p["count"] - 1,
        p["colour"][:, 0],
        p["shape"][:, 0],
        3 * third(p["y"][:, 0]) + third(p["x"][:, 0]),
        p["background"],
        p["ground"],
        np.where(p["count"] > 1, 1 + p["shape"][:, 1], 0),
        p["identity"] >= 0,
    )
    starts = np.cumsum([0, *(len(words) for words in FIELDS.values())])[: len(FIELDS)]
    return (np.stack([c.astype(np.int64) for c in columns], 1) + starts).astype(np.uint8)


def _draw(p: dict[str, np.ndarray], resolution: int) -> dict[str, np.ndarray]:
    """Draw scenes: uint8 images, depth, labels."""
    canvas = draw_background(p, resolution)
    for slot in (2, 1, 0):
        draw_objects(canvas, p, slot, resolution)
    draw_faces(canvas, p, draw_persons(), resolution)
    canvas["images"] *= p["gain"].astype(np.float32)[:, None, None, None]
    levels = {key: np.clip(canvas[key], 0, 1) * 255 + 0.5 for key in ("images", "depth")}
    return {key: value.astype(np.uint8) for key, value in levels.items()} | {
        "labels": canvas["labels"]
    }


class MiniScenes:
    """Image source ``"mini"``: scenes rendered on demand, with their truth.

    Args:
        config: ``{"source": "mini", "count": how many images}``.
        split: name of the split; another name is another draw.
        resolution: side of the images in pixels, at least 16.
        crop: not used: scenes are rendered at the resolution that is asked for.
        seed: of the study; with the image id it decides what is in a scene.

    Raises:
        ValueError: a config key, count or resolution that cannot be.
    """

    def __init__(
        self, config: Mapping[str, Any], *, split: str, resolution: int, crop: str, seed: int
    ) -> None:
        extra = sorted(set(config) - {"source", "count"})
        if extra:
            raise ValueError(f"source 'mini' takes 'count' only, got {', '.join(map(repr, extra))}")
        count = config.get("count")
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise ValueError(
                f"source 'mini' needs 'count', a whole number of at least 1, got {count!r}"
            )
        if resolution < 16:
            raise ValueError(
                f"mini scenes need a resolution of at least 16 pixels, got {resolution}"
            )
        self.resolution, self.seed = resolution, seed
        self.ids = [f"{split}-{number:07d}" for number in range(count)]

    def index(self) -> "pd.DataFrame":
        """One row per image: id (sorted), label, path (empty), caption."""
        import pandas as pd

        uniforms, _, _ = self._random(self.ids, lattices=False)
        parameters = scene_parameters(uniforms)
        return pd.DataFrame(
            {
                "id": self.ids,
                "label": parameters["shape"][:, 0],
                "path": "",
                "caption": [caption(row) for row in scene_attributes(parameters)],
            }
        )

    def render(self, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """Draw the images of these rows of the index.

        Returns:
            ``images`` uint8 (n, 3, R, R) RGB; ``depth`` uint8 (n, R, R), 255 nearest; ``labels``
            uint8 (n, R, R), see :data:`LABELS`; ``face_box`` float32 (n, 4), x0 y0 x1 y1 in pixels,
            zeros without a face; ``face_found`` uint8 (n,); ``identity`` int16 (n,), -1 without a
            face; ``attributes`` uint8 (n, 8), see :data:`FIELDS`.
        """
        step = max(1, _CHUNK_PIXELS // self.resolution**2)
        ids = [self.ids[row] for row in rows]
        chunks = [self._render(ids[i : i + step]) for i in range(0, max(len(ids), 1), step)]
        return {key: np.concatenate([c[key] for c in chunks]) for key in chunks[0]}

    def _render(self, ids: Sequence[str]) -> dict[str, np.ndarray]:
        uniforms, coarse, fine = self._random(ids, lattices=True)
        p = scene_parameters(uniforms)
        found = p["identity"] >= 0
        half = p["face_scale"][:, None] * np.float32(FACE_EXTENT)
        centre = np.column_stack([p["face_x"], p["face_y"]])
        box = np.concatenate([centre - half, centre + half], 1) * self.resolution
        return {
            **_draw(p | {"coarse": coarse, "fine": fine}, self.resolution),
            "face_box": np.where(found[:, None], box, 0).astype(np.float32),
            "face_found": found.astype(np.uint8),
            "identity": p["identity"].astype(np.int16),
            "attributes": scene_attributes(p),
        }

    def _random(
        self, ids: Sequence[str], *, lattices: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        uniforms = np.empty((len(ids), _UNIFORMS))
        coarse = np.empty((len(ids), _COARSE, _COARSE), np.float32)
        fine = np.empty((len(ids), _FINE, _FINE), np.float32)
        for row, image_id in enumerate(ids):
            generator = generator_for(self.seed, "scene", image_id)
            generator.random(out=uniforms[row])
            if lattices:
                generator.standard_normal(out=coarse[row], dtype=np.float32)
                generator.standard_normal(out=fine[row], dtype=np.float32)
        return uniforms, coarse, fine
