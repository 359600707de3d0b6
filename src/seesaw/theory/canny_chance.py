"""Chance level and saturation of Canny L1.

The mean absolute difference of two independent edge maps of density d is ``2 d (1 - d)``, of an
edge map and an empty one d. So below d = 1/2 a blank map scores better than an unrelated one, and
the measure is not monotone: blur lowers the number of edges and with it the score, down to d.

Maps of real images are not independent coins. With ``P_u`` the share of n images that have an edge
at pixel u, the mean over all pairs of different images is exactly ``n / (n - 1)`` times ``2 d (1 -
d) - 2 Var_u(P_u)``: edges that prefer places (objects sit in the middle, borders have none) agree
more than chance says. How much density varies from image to image does not matter for the mean over
pairs; it does for the spread, and for anyone who averages ``2 d_i (1 - d_i)`` over images, which is
``2 Var_i(d_i)`` too low.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial.distance import pdist

from seesaw.figures.style import COLOURS, COLUMN_WIDTH, MARKERS, new_figure, styled
from seesaw.seeds import generator_for
from seesaw.theory.claim import ERRORS, Claim, check, table_of
from seesaw.theory.images import blur, edges, mean_absolute, noisy, scenes

IMAGES = 200
RESOLUTIONS = (32, 64, 128)
DENSITIES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
UNEQUAL = ((0.05, 0.15), (0.1, 0.3))
PAIRS, SIDE = 300, 48
BLURS = (0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
NOISES = (4, 8, 16, 24, 32, 48, 64)
DEGRADED = 64
"""Side of the scenes that are blurred and made noisy."""


def chance_level(first: float, second: float | None = None) -> float:
    """Expected L1 of independent maps: ``a (1 - b) + b (1 - a)``; ``2 d (1 - d)`` for one density.

    Raises:
        ValueError: a density outside 0..1.
    """
    other = first if second is None else second
    for density in (first, other):
        if not 0 <= density <= 1:
            raise ValueError(f"a density is a share in 0..1, got {density}")
    return first * (1 - other) + other * (1 - first)


def density_at_chance(level: float) -> float:
    """The density at most 1/2 whose chance level this is: ``(1 - sqrt(1 - 2 level)) / 2``.

    Raises:
        ValueError: a level outside 0..1/2, which no density has.
    """
    if not 0 <= level <= 0.5:
        raise ValueError(f"the chance level of one density is in 0..0.5, got {level}")
    return (1 - np.sqrt(1 - 2 * level)) / 2


def pair_level(maps: np.ndarray) -> float:
    """Mean L1 over all pairs of different maps, bool (N, H, W), by the shares ``P_u``.

    Raises:
        ValueError: fewer than two maps.
    """
    n = len(maps)
    if n < 2:
        raise ValueError(f"pairs need at least two maps, got {n}")
    shares = maps.mean(axis=0)
    density = shares.mean()
    return float(n / (n - 1) * (2 * density * (1 - density) - 2 * shares.var()))


def scattered(maps: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The pixels of each map (N, H, W) in random order: same densities, no preferred places."""
    return rng.permuted(maps.reshape(len(maps), -1), axis=1).reshape(maps.shape)


def canny_chance(*, seed: int) -> Claim:
    """Check chance and saturation of Canny L1 on coins and on scenes; a few seconds."""
    rows: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    _check_coins(seed, rows, points)
    for resolution in RESOLUTIONS:
        images = scenes(IMAGES, resolution, seed=seed)
        _check_scenes(images, resolution, seed, rows, points)
        if resolution == DEGRADED:
            _check_saturation(images, seed, rows, points)
    frame = pd.DataFrame(points)
    table = table_of(rows)
    return Claim(table, _figure(frame), frame, _caption(frame))


def _check_coins(seed: int, rows: list, points: list) -> None:
    """Maps of independent pixels."""
    for a, b in [*((d, d) for d in DENSITIES), *UNEQUAL]:
        rng = generator_for(seed, "canny_chance", f"{a} {b}")
        first, second = (rng.random((PAIRS, SIDE, SIDE)) < d for d in (a, b))
        found = mean_absolute(first, second)
        error = found.std(ddof=1) / np.sqrt(PAIRS)
        rows.append(
            check(
                "independent maps: L1 is a (1 - b) + b (1 - a)",
                f"densities {a:g} and {b:g}",
                found=found.mean(),
                expected=chance_level(a, b),
                tolerance=ERRORS * error,
                n=PAIRS,
            )
        )
        if a == b:
            values = {"density": a, "level": found.mean(), "blank": first.mean()}
            points.append({"kind": "independent", "setting": f"density {a:g}", **values})


def _check_scenes(images: np.ndarray, resolution: int, seed: int, rows: list, points: list) -> None:
    """Canny maps of scenes: blank, shuffled pairs, and the same maps with scattered pixels."""
    maps = edges(images)
    n, density = len(maps), float(maps.mean())
    setting = f"Canny of {n} scenes, {resolution} px"
    flat = maps.reshape(n, -1)
    pairs = pdist(flat, "hamming")
    level, chance = float(pairs.mean()), chance_level(density)
    rng = generator_for(seed, "canny_chance", f"scattered {resolution}")
    loose = pdist(scattered(maps, rng).reshape(n, -1), "hamming")
    densities = flat.mean(axis=1)
    # the mean of a (1 - b) + b (1 - a) over all pairs of different maps
    expected = 2 * density - 2 * ((n * density) ** 2 - (densities**2).sum()) / (n * (n - 1))
    blank = float(mean_absolute(maps, np.zeros_like(maps)).mean())
    count = len(pairs)
    rows += [
        check("a blank map scores the density", setting, found=blank, expected=density,
              tolerance=1e-12, n=n),
        check("a blank map scores better than an unrelated one", setting, found=blank,
              expected=level, relation="<", n=count),
        check("shuffled pairs: n / (n - 1) (2 d (1 - d) - 2 Var P)", setting, found=level,
              expected=pair_level(maps), tolerance=1e-12, n=count),
        check("real shuffled pairs lie below 2 d (1 - d): edges prefer places", setting,
              found=level, expected=chance, relation="<", tolerance=0.01 * chance, n=count),
        check("with scattered pixels they do not", setting, found=float(loose.mean()),
              expected=expected, tolerance=_scatter_tolerance(densities, flat.shape[1]), n=count),
    ]  # fmt: skip
    points.append(
        {
            "kind": "scenes",
            "setting": f"{resolution} px",
            "density": density,
            "level": level,
            "blank": blank,
            "chance": chance,
            "scattered": float(loose.mean()),
            "mean_of_image_chance": float(chance_level_of(densities).mean()),
            "spread": float(pairs.std()),
            "spread_scattered": float(loose.std()),
        }
    )


def chance_level_of(densities: np.ndarray) -> np.ndarray:
    """``2 d (1 - d)`` of every density."""
    return 2 * densities * (1 - densities)


def _scatter_tolerance(densities: np.ndarray, pixels: int) -> float:
    """Standard errors of the mean over all pairs of maps with scattered pixels.

    With ``S_u`` the number of maps that have pixel u, the mean is linear in ``sum_u S_u^2``; pairs
    of maps are uncorrelated given their densities, so its variance is the sum over pairs of that
    of the overlap, which is hypergeometric.
    """
    n = len(densities)
    p = densities
    a, b = np.triu_indices(n, 1)
    variance = p[a] * (1 - p[a]) * p[b] * (1 - p[b]) / (pixels - 1)  # of the overlap's share
    count = n * (n - 1) / 2
    return ERRORS * 2 * float(np.sqrt(variance.sum())) / count


def _check_saturation(images: np.ndarray, seed: int, rows: list, points: list) -> None:
    """Blur and noise of growing strength against chance and blank."""
    maps = edges(images)
    density = float(maps.mean())
    level = pair_level(maps)
    kinds = [("blur", strength) for strength in BLURS] + [("noise", s) for s in NOISES]
    scores: dict[str, list[float]] = {"blur": [], "noise": []}
    for kind, strength in kinds:
        rng = generator_for(seed, "canny_chance", f"{kind} {strength}")
        worse = blur(images, strength) if kind == "blur" else noisy(images, strength, rng)
        found = edges(worse)
        score = float(mean_absolute(maps, found).mean())
        scores[kind].append(score)
        values = {"strength": strength, "level": score, "density": float(found.mean())}
        points.append({"kind": kind, "setting": f"{DEGRADED} px", **values})
    setting = f"Canny of {len(maps)} scenes, {DEGRADED} px"
    n = len(maps)
    rows += [
        check("blur to nothing scores the density", f"{setting}, blur {BLURS[-1]:g} px",
              found=scores["blur"][-1], expected=density, tolerance=0.02 * density, n=n),
        check("L1 is not monotone: some blur scores worse than blur to nothing", setting,
              found=max(scores["blur"]), expected=scores["blur"][-1], relation=">", n=n),
        check("blur never reaches the level of an unrelated image", setting,
              found=max(scores["blur"]), expected=level, relation="<", n=n),
        check("noise exceeds it: more edges, more L1", f"{setting}, noise {NOISES[-1]} levels",
              found=scores["noise"][-1], expected=level, relation=">", n=n),
    ]  # fmt: skip


@styled
def _figure(points: pd.DataFrame) -> Figure:
    figure = new_figure(COLUMN_WIDTH, 2.1)
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_levels(left, points)
    _draw_saturation(right, points)
    return figure


def _draw_levels(axis: Axes, points: pd.DataFrame) -> None:
    density = np.linspace(0, 0.5, 101)
    axis.plot(density, chance_level_of(density), color="0.4", linewidth=0.9, label="2d(1 \u2212 d)")
    axis.plot(density, density, color="0.4", linewidth=0.9, linestyle="--", label="blank map: d")
    for place, (kind, name) in enumerate(
        (("independent", "independent"), ("scenes", "scenes, shuffled"))
    ):
        group = points[points["kind"] == kind]
        axis.plot(
            group["density"],
            group["level"],
            linestyle="none",
            marker=MARKERS[place],
            markersize=3.5,
            color=COLOURS[place],
            label=name,
        )
    axis.set(xlabel="edge density d", ylabel="Canny L1", xlim=(0, 0.52), ylim=(0, 0.53))
    axis.legend(loc="lower right", handlelength=1.4, handletextpad=0.4, borderaxespad=0.1)


def _draw_saturation(axis: Axes, points: pd.DataFrame) -> None:
    scene = points[(points["kind"] == "scenes") & (points["setting"] == f"{DEGRADED} px")].iloc[0]
    axis.axhline(scene["level"], color=COLOURS[1], linewidth=0.8)
    axis.axhline(scene["density"], color="0.4", linewidth=0.9, linestyle="--")
    for place, kind in enumerate(("blur", "noise")):
        group = points[points["kind"] == kind]
        axis.plot(
            group["strength"] / group["strength"].max(),
            group["level"],
            marker=MARKERS[2 + place],
            markersize=3,
            linewidth=1,
            color=COLOURS[2 + place],
        )
    axis.set(xlabel="strength")


def _caption(points: pd.DataFrame) -> str:
    scene = points[points["kind"] == "scenes"]
    shown = scene[scene["setting"] == f"{DEGRADED} px"].iloc[0]
    below = (1 - scene["level"] / scene["chance"]) * 100
    blurs = points[points["kind"] == "blur"]["level"]
    noise = points[points["kind"] == "noise"]["level"]
    return (
        f"Chance and saturation of Canny L1. Left: independent maps follow 2d(1 - d); shuffled "
        f"pairs of {IMAGES} scenes lie {below.min():.0f} to {below.max():.0f}% below it, since "
        f"edges prefer places (with scattered pixels they do not). Right, {DEGRADED} px, d = "
        f"{shown['density']:.3f}: blur scores {blurs.max():.3f} at worst and {blurs.iloc[-1]:.3f} "
        f"when nothing is left, below an unrelated image's {shown['level']:.3f}; noise reaches "
        f"{noise.iloc[-1]:.3f}. So a level means nothing without d: 0.20 is the chance level of "
        f"independent maps of density {density_at_chance(0.2):.3f}."
    )
