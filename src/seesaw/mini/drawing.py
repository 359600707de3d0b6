"""How the mini world's images are drawn: backgrounds, shaded objects, faces.

Everything is a function of position in the unit square (x to the right, y down, both 0..1), so the
same scene can be drawn at any resolution. Shapes are signed distance functions (after I. Quilez,
"2D distance functions"), so edges are anti-aliased without supersampling. All arrays are float32
and hold many images: ``(n, R, R)`` for a map, ``(n, 3, R, R)`` for colours in [0, 1].
"""

from functools import cache

import numpy as np

Canvas = dict[str, np.ndarray]
"""``images`` (n, 3, R, R) in [0, 1], ``depth`` (n, R, R) nearness in [0, 1], ``labels`` uint8."""

FACE_EXTENT = (0.98, 1.12)
"""Half width and half height of a face's box, in units of its scale."""


BALD, SHORT, SIDE, LONG, CAP = range(5)
"""Hair styles of persons."""


def grid(resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres in the unit square: x ``(1, 1, R)`` and y ``(1, R, 1)``."""
    centres = (np.arange(resolution, dtype=np.float32) + 0.5) / resolution
    return centres[None, None, :], centres[None, :, None]


@cache
def lattice_weights(resolution: int, knots: int) -> np.ndarray:
    """Smooth interpolation from ``knots`` lattice values to pixels, ``(R, knots)``."""
    position = (np.arange(resolution) + 0.5) / resolution * (knots - 1)
    left = np.minimum(position.astype(int), knots - 2)
    t = position - left
    t = t * t * (3 - 2 * t)
    weights = np.zeros((resolution, knots), np.float32)
    rows = np.arange(resolution)
    weights[rows, left] = 1 - t
    weights[rows, left + 1] = t
    return weights


def value_noise(lattice: np.ndarray, resolution: int) -> np.ndarray:
    """Lattice values ``(n, k, k)`` interpolated to ``(n, R, R)``."""
    weights = lattice_weights(resolution, lattice.shape[-1])
    return weights @ lattice @ weights.T


def _box(x: np.ndarray, y: np.ndarray, a: float, b: float) -> np.ndarray:
    return np.maximum(np.abs(x) - a, np.abs(y) - b)


def _ellipse(x: np.ndarray, y: np.ndarray, a: float | np.ndarray, b: float) -> np.ndarray:
    k0 = np.hypot(x / a, y / b)
    k1 = np.hypot(x / (a * a), y / (b * b)) + 1e-6
    return k0 * (k0 - 1) / k1


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 0.95


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _box(x, y, 0.8, 0.8)


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    y = y - 0.2
    return np.maximum(np.abs(x) * 0.8660254 - 0.5 * y, y) - 0.6


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(x, y) - 0.76) - 0.24


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.minimum(_box(x, y, 1.0, 0.33), _box(x, y, 0.33, 1.0))


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    r, inner, cos, sin = 1.12, 0.45, 0.809017, 0.587785
    x, y = np.abs(x), -y
    fold = 2 * np.maximum(cos * x - sin * y, 0)
    x, y = x - fold * cos, y + fold * sin
    fold = 2 * np.maximum(-cos * x - sin * y, 0)
    x, y = np.abs(x + fold * cos), y + fold * sin - r
    bx, by = inner * sin, inner * cos - 1
    h = np.clip((x * bx + y * by) / (bx * bx + by * by), 0, r)
    return np.hypot(x - bx * h, y - by * h) * np.sign(y * bx - x * by)


def _heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    s = 0.58
    x, y = np.abs(x) * s, 0.55 - y * s
    lobe = np.hypot(x - 0.25, y - 0.75) - 0.35355
    m = 0.5 * np.maximum(x + y, 0)
    rest = np.sqrt(np.minimum(x * x + (y - 1) ** 2, (x - m) ** 2 + (y - m) ** 2)) * np.sign(x - y)
    return np.where(x + y > 1, lobe, rest) / s


def _oval(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return _ellipse(x, y, 1.15, 0.58)


def _crescent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.hypot(x, y) - 1.0, 0.78 - np.hypot(x - 0.55, y))


def _diamond(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    a, b = 0.66, 1.1
    return (np.abs(x) / a + np.abs(y) / b - 1) * (a * b / np.hypot(a, b))


SHAPES = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "ring": _ring,
    "cross": _cross,
    "star": _star,
    "heart": _heart,
    "ellipse": _oval,
    "crescent": _crescent,
    "diamond": _diamond,
}
"""Class name -> signed distance (negative inside) for coordinates in units of the radius."""


def _column(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)[:, None, None]


def shape_distance(shapes: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance ``(n, R, R)`` to shape number ``shapes`` (n,), in units of the radius."""
    distance = np.empty_like(x)
    for number, function in enumerate(SHAPES.values()):
        rows = np.flatnonzero(shapes == number)
        if len(rows):
            distance[rows] = function(x[rows], y[rows])
    return distance


def _blend(images: np.ndarray, colour: np.ndarray, cover: np.ndarray) -> None:
    """Lay ``colour`` over ``images`` in place, by coverage ``(n, R, R)`` in [0, 1]."""
    images += (colour - images) * cover[:, None]


def draw_background(p: dict[str, np.ndarray], resolution: int) -> Canvas:
    """Background: a textured plane that fades into haze with its distance.

    Args:
        p: scene parameters (see :func:`seesaw.mini.scenes.scene_parameters`) and the lattices
            ``coarse`` (n, 6, 6) and ``fine`` (n, 22, 22).
        resolution: side of the images in pixels.
    """
    x, y = grid(resolution)
    angle = _column(p["texture_angle"])
    cos, sin = np.cos(angle), np.sin(angle)
    x0, y0 = x - 0.5, y - 0.5
    u, v = x0 * cos + y0 * sin, y0 * cos - x0 * sin
    waves = _column(2 * np.pi * p["texture_cycles"])
    phase = _column(2 * np.pi * p["texture_phase"])
    along, across = np.sin(waves * u + phase), np.sin(waves * v - phase)
    kind = p["background"]
    pattern = np.empty(along.shape, np.float32)
    choices = (
        lambda r: 0.5 + 0.75 * u[r],
        lambda r: 0.5 + 0.5 * np.clip(2.2 * along[r], -1, 1),
        lambda r: 0.5 + 0.5 * np.clip(4.0 * along[r] * across[r], -1, 1),
        lambda r: 0.5 + 0.42 * value_noise(p["coarse"][r], resolution),
        lambda r: np.clip(1.4 * (along[r] + across[r]) - 0.9, 0, 1),
    )
    for number, choice in enumerate(choices):
        rows = np.flatnonzero(kind == number)
        if len(rows):
            pattern[rows] = choice(rows)
    first, second = p["background_rgb"], p["background_rgb2"]
    images = first[:, :, None, None] + (second - first)[:, :, None, None] * pattern[:, None]
    depth = _column(p["plane_far"]) + _column(p["plane_y"]) * y + _column(p["plane_x"]) * x0
    depth = np.clip(depth, 0.0, 0.4).astype(np.float32)
    fine = value_noise(p["fine"], resolution)
    images *= (1 + _column(p["texture_strength"]) * fine)[:, None]
    _blend(images, p["haze"][:, :, None, None], np.clip(0.5 - 1.5 * depth, 0, 1))
    return {"images": images, "depth": depth, "labels": np.zeros(depth.shape, np.uint8)}


def draw_objects(canvas: Canvas, p: dict[str, np.ndarray], slot: int, resolution: int) -> None:
    """Draw object ``slot`` of every image that has one, with its shadow, over ``canvas``."""
    rows = np.flatnonzero(p["count"] > slot)
    if not len(rows):
        return
    x, y = grid(resolution)
    take = {key: p[key][rows, slot] for key in ("shape", "x", "y", "radius", "angle", "near")}
    radius, angle = _column(take["radius"]), _column(take["angle"])
    light_x, light_y = _column(p["light_x"][rows]), _column(p["light_y"][rows])
    cos, sin = np.cos(angle) / radius, np.sin(angle) / radius

    def distance(px: np.ndarray, py: np.ndarray) -> np.ndarray:
        return shape_distance(take["shape"], px * cos + py * sin, py * cos - px * sin)

    dx, dy = x - _column(take["x"]), y - _column(take["y"])
    images = canvas["images"][rows]
    lift = 0.28 * radius
    shadow = distance(dx + light_x * lift, dy + light_y * lift)
    images *= (1 - 0.5 * np.clip(0.45 - shadow / 0.5, 0, 1))[:, None]

    inside = distance(dx, dy)
    cover = np.clip(0.5 - inside * radius * resolution, 0, 1)
    dome = np.sqrt(np.clip(-inside / 0.9, 0, 1))
    facing = (dx * light_x + dy * light_y) / radius
    shade = 0.62 + 0.28 * facing + 0.3 * dome
    gloss_x, gloss_y = dx / radius - 0.42 * light_x, dy / radius - 0.42 * light_y
    gloss = 0.45 * np.exp(-(gloss_x**2 + gloss_y**2) / 0.07) * dome
    shade *= 1 + 0.6 * _column(p["texture_strength"][rows]) * value_noise(
        p["fine"][rows], resolution
    )
    colour = p["rgb"][rows, slot][:, :, None, None] * shade[:, None] + gloss[:, None]
    _blend(images, colour, cover)
    canvas["images"][rows] = images
    solid = cover >= 0.5
    near = _column(take["near"]) + 0.12 * dome
    canvas["depth"][rows] = np.where(solid, near, canvas["depth"][rows])
    number = (take["shape"] + 1).astype(np.uint8)[:, None, None]
    canvas["labels"][rows] = np.where(solid, number, canvas["labels"][rows])


def _paint_face(
    images: np.ndarray, who: dict[str, np.ndarray], u: np.ndarray, v: np.ndarray, sharp: np.ndarray
) -> np.ndarray:
    """Paint faces in their own coordinates (u right, v down, head about -1..1) over ``images``.

    Args:
        images: ``(n, 3, R, R)``, changed in place.
        who: features per image, colours already as bright as this image's face.
        u: horizontal coordinate ``(n, R, R)``.
        v: vertical coordinate ``(n, R, R)``.
        sharp: pixels per unit of u and v, ``(n, 1, 1)``.

    Returns:
        Signed distance to the outline of head and hair, ``(n, R, R)``.
    """

    def paint(colour: np.ndarray, distance: np.ndarray) -> None:
        _blend(images, colour[:, :, None, None], np.clip(0.5 - distance * sharp, 0, 1))

    def only(flag: np.ndarray) -> np.ndarray:
        return np.where(flag, 0.0, 9.0).astype(np.float32)[:, None, None]

    head = _ellipse(u, v - 0.1, 0.74, 0.92)
    hair = _ellipse(u, v + 0.14, 0.9, 0.94) + only(who["style"] != BALD)
    hair = np.minimum(hair, _box(u, v - 0.35, 0.9, 0.7) + only(who["style"] == LONG))
    outline = np.minimum(head, hair)
    images *= (1 - 0.35 * np.clip(0.5 - (outline - 0.12) / 0.35, 0, 1))[:, None]
    paint(who["hair_rgb"], hair)
    skin = who["skin_rgb"][:, :, None, None] * (1.0 - 0.12 * v - 0.08 * u)[:, None]
    _blend(images, skin, np.clip(0.5 - head * sharp, 0, 1))
    line = _column(who["hairline"]) + _column(who["parting"]) * u
    paint(who["hair_rgb"], np.maximum(head - 0.06, v - line))
    paint(who["hair_rgb"] * 0.55, _box(u, v + 0.34, 0.95, 0.1) + only(who["style"] == CAP))
    beard = np.maximum(head, 0.3 - v + 0.25 * np.cos(4 * u)) + only(who["beard"])
    paint(who["hair_rgb"] * 0.9, beard)
    eye = np.hypot(np.abs(u) - _column(who["eye_spacing"]), v)
    paint(who["white_rgb"], eye - 0.2)
    paint(who["eye_rgb"], eye - 0.13)
    glasses = np.minimum(np.abs(eye - 0.27) - 0.05, _box(u, v, 0.2, 0.05)) + only(who["glasses"])
    paint(who["white_rgb"] * 0.06, glasses)
    paint(who["mouth_rgb"], _ellipse(u, (v - 0.56) / 0.5, _column(who["mouth_width"]), 0.2) * 0.5)
    return outline


def draw_faces(
    canvas: Canvas, p: dict[str, np.ndarray], persons: dict[str, np.ndarray], resolution: int
) -> None:
    """Draw the face of every image that has one, in front of everything.

    Args:
        canvas: what to draw on.
        p: scene parameters.
        persons: features per person (see :func:`seesaw.mini.scenes.draw_persons`).
        resolution: side of the images in pixels.
    """
    rows = np.flatnonzero(p["identity"] >= 0)
    if not len(rows):
        return
    who = {key: values[p["identity"][rows]] for key, values in persons.items()}
    who["white_rgb"] = np.full_like(who["skin_rgb"], 0.97)
    bright = p["face_brightness"][rows].astype(np.float32)[:, None]
    who |= {key: values * bright for key, values in who.items() if key.endswith("_rgb")}
    x, y = grid(resolution)
    scale, tilt = _column(p["face_scale"][rows]), _column(p["face_tilt"][rows])
    dx, dy = x - _column(p["face_x"][rows]), y - _column(p["face_y"][rows])
    u = (dx * np.cos(tilt) + dy * np.sin(tilt)) / scale
    v = (dy * np.cos(tilt) - dx * np.sin(tilt)) / scale
    images = canvas["images"][rows]
    outline = _paint_face(images, who, u, v, scale * resolution)
    canvas["images"][rows] = images
    solid = outline <= 0
    near = 0.88 + 0.11 * np.sqrt(np.clip(-outline, 0, 1))
    canvas["depth"][rows] = np.where(solid, near, canvas["depth"][rows])
    canvas["labels"][rows] = np.where(solid, len(SHAPES) + 1, canvas["labels"][rows])
