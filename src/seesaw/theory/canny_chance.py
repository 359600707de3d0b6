"""Chance level and saturation of Canny L1.

The mean absolute difference of two independent edge maps of density d is ``2 d (1 - d)``, of an
edge map and an empty one d. So below d = 1/2 a blank map scores better than an unrelated one. The
measure saturates where it should still tell bad from worse, and it is not monotone: blur stops at
d, false edges (of coarse blocks, or noise) go up to chance and above, and coarser blocks, which
have fewer edges, score better again.

Maps of real images are not independent coins. With ``P_u`` the share of n images that have an edge
at pixel u, the mean over all pairs of different images is exactly ``n / (n - 1)`` times ``2 d (1 -
d) - 2 Var_u(P_u)``: edges that prefer places (objects sit in the middle, borders have none) agree
more than chance says. How much density varies from image to image does not matter for the mean over
pairs; it does for the spread, and for anyone who averages ``2 d_i (1 - d_i)`` over images, which is
``2 Var_i(d_i)`` too low.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.spatial.distance import pdist

from seesaw.figures.style import COLOURS, COLUMN_WIDTH, MARKERS, SMALL, new_figure, styled
from seesaw.seeds import generator_for
from seesaw.theory.claim import ERRORS, Claim, check, table_of
from seesaw.theory.images import (
    block_means,
    blur,
    edges,
    enlarge,
    mean_absolute,
    noisy,
    scenes,
    to_uint8,
)

IMAGES = 200
RESOLUTIONS = (32, 64, 128)
DENSITIES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
UNEQUAL = ((0.05, 0.15), (0.1, 0.3))
PAIRS, SIDE = 300, 48
DEGRADED = 64
"""Side of the scenes that are degraded."""
STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "blur": (0.4, 0.5, 0.7, 1.0, 1.5, 2.5, 5.0, 10.0),
    "blocks": (2, 4, 8, 16, 32, DEGRADED),
    "noise": (2, 4, 8, 16, 24, 32, 48, 64),
}
"""From mild to strong: standard deviation in pixels, side in pixels, grey levels."""


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
    count, tolerance = len(pairs), _scatter_tolerance(densities, flat.shape[1])
    own = float(chance_level_of(densities).mean())
    rows += [
        check("a blank map scores the density", setting, found=blank, expected=density,
              tolerance=1e-12, n=n),
        check("a blank map scores better than an unrelated one", setting, found=blank,
              expected=level, relation="<", n=count),
        check("shuffled pairs: n / (n - 1) (2 d (1 - d) - 2 Var P)", setting, found=level,
              expected=pair_level(maps), tolerance=1e-12, n=count),
        check("with scattered pixels they are at the chance of their densities", setting,
              found=float(loose.mean()), expected=expected, tolerance=tolerance, n=count),
        check("real shuffled pairs lie below it: edges prefer places", setting, found=level,
              expected=expected, relation="<", tolerance=tolerance, n=count),
        check("the mean of 2 d_i (1 - d_i) is 2 Var d_i below 2 d (1 - d)", setting, found=own,
              expected=chance - 2 * densities.var(), tolerance=1e-12, n=n),
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
            "mean_of_image_chance": own,
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


def degrade(kind: str, images: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Images blurred, averaged in blocks or made noisy, uint8; kinds of :data:`STRENGTHS`."""
    if kind == "blur":
        return blur(images, strength)
    if kind == "noise":
        return noisy(images, strength, rng)
    block = int(strength)
    return to_uint8(enlarge(block_means(images, block), block))


def _check_saturation(images: np.ndarray, seed: int, rows: list, points: list) -> None:
    """Reconstructions of falling PSNR against chance and blank."""
    maps = edges(images)
    density, level, n = float(maps.mean()), pair_level(maps), len(maps)
    scores: dict[str, list[float]] = {}
    for kind, strengths in STRENGTHS.items():
        for strength in strengths:
            rng = generator_for(seed, "canny_chance", f"{kind} {strength}")
            worse = degrade(kind, images, strength, rng)
            found = edges(worse)
            scores.setdefault(kind, []).append(float(mean_absolute(maps, found).mean()))
            error = ((worse / 255 - images / 255) ** 2).mean(axis=(1, 2, 3))
            points.append(
                {
                    "kind": kind,
                    "setting": f"{DEGRADED} px",
                    "strength": strength,
                    "psnr": float(-10 * np.log10(np.maximum(error, 1e-10)).mean()),
                    "level": scores[kind][-1],
                    "density": float(found.mean()),
                }
            )
    setting = f"Canny of {n} scenes, {DEGRADED} px"
    rows += [
        check("blur saturates at the density, whatever its strength", setting,
              found=max(scores["blur"]), expected=density, tolerance=0.02 * density, n=n),
        check("and so below the level of an unrelated image", setting, found=max(scores["blur"]),
              expected=level, relation="<", n=n),
        check("L1 is not monotone: the coarsest blocks score better than finer ones", setting,
              found=scores["blocks"][-1], expected=max(scores["blocks"]), relation="<",
              tolerance=0.1 * density, n=n),
        check("noise exceeds the level of an unrelated image: more edges, more L1",
              f"{setting}, noise of {STRENGTHS['noise'][-1]} levels", found=scores["noise"][-1],
              expected=level, relation=">", n=n),
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
    for value, name in ((scene["level"], "unrelated image"), (scene["density"], "blank map")):
        axis.axhline(value, color="0.4", linewidth=0.9, linestyle="--", zorder=1)
        across = axis.get_yaxis_transform()
        axis.text(0.02, value, name, transform=across, va="bottom", fontsize=SMALL)
    for place, kind in enumerate(STRENGTHS):
        group = points[points["kind"] == kind]
        axis.plot(
            group["psnr"],
            group["level"],
            marker=MARKERS[2 + place],
            markersize=3,
            linewidth=1,
            color=COLOURS[2 + place],
            label=kind,
        )
    axis.invert_xaxis()
    axis.set(xlabel="PSNR (dB, worse \N{RIGHTWARDS ARROW})")
    axis.legend(loc="upper left", handlelength=1.4, handletextpad=0.4, borderaxespad=0.1)


def _caption(points: pd.DataFrame) -> str:
    scene = points[points["kind"] == "scenes"]
    shown = scene[scene["setting"] == f"{DEGRADED} px"].iloc[0]
    below = (1 - scene["level"] / scene["chance"]) * 100
    levels = {kind: points[points["kind"] == kind]["level"] for kind in STRENGTHS}
    return (
        f"Chance and saturation of Canny L1. Left: independent maps follow 2d(1 - d); shuffled "
        f"pairs of {IMAGES} scenes lie {below.min():.1f} to {below.max():.1f}% below it, as edges "
        f"prefer places; single pairs spread by {shown['spread']:.3f} at {DEGRADED} px, because "
        f"densities do ({shown['spread_scattered']:.3f} with scattered pixels). Right, "
        f"{DEGRADED} px, d = {shown['density']:.3f}: blur saturates at {levels['blur'].max():.3f}, "
        f"below an unrelated image's {shown['level']:.3f}; blocks reach "
        f"{levels['blocks'].max():.3f} and fall to {levels['blocks'].iloc[-1]:.3f} when nothing is "
        f"left; noise reaches {levels['noise'].iloc[-1]:.3f}. A level says little without d: 0.20 "
        f"is the chance level at d = {density_at_chance(0.2):.3f}."
    )
