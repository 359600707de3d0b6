"""Seesaw Proposition 5.4: equal marginals do not say what the drift is.

If reconstructions have the distribution of the images, rFID is 0 whatever image got which. On a
finite set every permutation of it is such a reconstruction: the Frechet distance of any features is
0 up to rounding, while drift depends on the permutation: 0 for the identity, chance level for a
random one, more for the worst.

This is an existence statement: it shows what rFID cannot rule out, not what autoencoders do.
Published autoencoders do not permute images, and their rFID and drift rank alike. The finite-sample
part is exact here because both sets hold the same images; two different samples of one
distribution have a positive distance. Frechet distance sees two moments only, so it can be 0 for
different distributions as well.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from seesaw.figures.style import COLOURS, COLUMN_WIDTH, MARKERS, SMALL, new_figure, styled
from seesaw.metrics.frechet import frechet_distance, statistics
from seesaw.seeds import generator_for
from seesaw.theory.claim import ERRORS, Claim, check, table_of
from seesaw.theory.images import block_means, blur, edges, mean_absolute, scenes

IMAGES, RESOLUTION = 384, 32
SHARES = (0.25, 0.5, 0.75, 1.0)
BLURS = (0.4, 0.6, 0.8, 1.2, 2.0)
ROUNDING = 1e-10
"""Frechet distance that rounding may leave, as a share of the covariance's trace."""


def features(images: np.ndarray) -> np.ndarray:
    """Mean colours and contrast of 4 x 4 cells, float64 ``(N, 64)``, in 0..1.

    Stands for Inception: the proposition holds for every feature.
    """
    cell = images.shape[-1] // 4
    values = images / 255
    grey = values.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.maximum(block_means(grey**2, cell) - block_means(grey, cell) ** 2, 0))
    return np.concatenate([block_means(values, cell), spread], axis=1).reshape(len(images), -1)


def pair_distances(maps: np.ndarray) -> np.ndarray:
    """Mean absolute difference of every pair of maps (N, ...), float64 (N, N)."""
    flat = maps.reshape(len(maps), -1).astype(np.float64)
    return cdist(flat, flat, "cityblock") / flat.shape[1]


def permutation_moments(distances: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation over all permutations of ``mean_i d[i, permutation(i)]``.

    Hoeffding (1951), exact: with d centred by rows and columns the variance of the mean is
    ``sum d^2 / (n^2 (n - 1))``.

    Args:
        distances: (n, n), n at least 2.

    Raises:
        ValueError: not square, or a single row.
    """
    n = len(distances)
    if distances.shape != (n, n) or n < 2:
        raise ValueError(f"permutations need a square of at least 2 rows, got {distances.shape}")
    centred = distances - distances.mean(0) - distances.mean(1)[:, None] + distances.mean()
    variance = (centred**2).sum() / (n**2 * (n - 1))
    return float(distances.mean()), float(np.sqrt(variance))


def permute_share(n: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Permute a random share of ``range(n)`` among themselves; the rest stays.

    Returns:
        The permutation (n,), and the indices that took part.
    """
    part = np.sort(rng.permutation(n)[: round(share * n)])
    permutation = np.arange(n)
    permutation[part] = rng.permutation(part)
    return permutation, part


def proposition_5_4(*, seed: int) -> Claim:
    """Check Proposition 5.4 on :data:`IMAGES` scenes; a few seconds."""
    images = scenes(IMAGES, RESOLUTION, seed=seed)
    maps = edges(images)
    distances = pair_distances(maps)
    rows: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for name, permutation, expected, deviation in _couplings(distances, seed):
        drift = float(mean_absolute(maps, edges(images[permutation])).mean())
        distance, scale = _distance(images, images[permutation])
        points.append({"kind": "permuted", "setting": name, "frechet": distance, "drift": drift})
        rows.append(
            check(
                "same images in another order: Frechet distance 0",
                name,
                found=distance,
                expected=0,
                tolerance=ROUNDING * scale,
                n=IMAGES,
            )
        )
        if expected is not None:
            rows.append(
                check(
                    "drift of the identity is 0"
                    if name == "identity"
                    else "drift of a random order is at chance level",
                    name,
                    found=drift,
                    expected=expected,
                    tolerance=ERRORS * deviation,
                    n=IMAGES,
                )
            )
    chance = float(distances.sum() / (IMAGES * (IMAGES - 1)))
    _check_spread(points, chance, rows)
    _check_blurs(images, maps, chance, rows, points)
    frame = pd.DataFrame(points)
    table = table_of(rows)
    return Claim(table, _figure(frame, chance), frame, _caption(frame, chance))


def _couplings(
    distances: np.ndarray, seed: int
) -> list[tuple[str, np.ndarray, float | None, float]]:
    """Name, permutation, and for random ones the expected drift with its deviation."""
    n = len(distances)
    order = np.arange(n)
    far = distances + np.where(np.eye(n) > 0, distances.max() * n, 0.0)
    found: list[tuple[str, np.ndarray, float | None, float]] = [
        ("identity", order, 0.0, 0.0),
        ("nearest other image", linear_sum_assignment(far)[1], None, 0.0),
        ("worst order", linear_sum_assignment(distances, maximize=True)[1], None, 0.0),
    ]
    rng = generator_for(seed, "proposition_5_4", "permutations")
    for share in SHARES:
        permutation, part = permute_share(n, share, rng)
        mean, deviation = permutation_moments(distances[np.ix_(part, part)])
        weight = len(part) / n
        name = f"{share:.0%} of the images permuted"
        found.append((name, permutation, weight * mean, weight * deviation))
    return found


def _distance(images: np.ndarray, reconstructions: np.ndarray) -> tuple[float, float]:
    """Frechet distance, and the trace of the images' covariance as its scale."""
    a, b = statistics(features(images)), statistics(features(reconstructions))
    return frechet_distance(a, b), float(np.trace(a.covariance))


def _check_spread(points: list, chance: float, rows: list) -> None:
    """At Frechet distance 0 drift takes values far below and above chance."""
    drift = {point["setting"]: point["drift"] for point in points}
    for name, relation in (("nearest other image", "<"), ("worst order", ">")):
        rows.append(
            check(
                "at Frechet distance 0 drift varies with the order",
                f"{name} against chance",
                found=drift[name],
                expected=chance,
                relation=relation,
                tolerance=0.02 * chance,
                n=IMAGES,
            )
        )


def _check_blurs(
    images: np.ndarray, maps: np.ndarray, chance: float, rows: list, points: list
) -> None:
    """Reconstructions that keep the pairs but change the marginal."""
    for sigma in BLURS:
        blurred = blur(images, sigma)
        drift = float(mean_absolute(maps, edges(blurred)).mean())
        distance, scale = _distance(images, blurred)
        setting = f"blur of {sigma:g} px"
        points.append({"kind": "blurred", "setting": setting, "frechet": distance, "drift": drift})
        rows.append(
            check(
                "blur has a positive Frechet distance",
                setting,
                found=distance,
                expected=0,
                relation=">",
                tolerance=ROUNDING * scale,
                n=IMAGES,
            )
        )
        rows.append(
            check(
                "and yet less drift than a permutation",
                setting,
                found=drift,
                expected=chance,
                relation="<",
                n=IMAGES,
            )
        )


@styled
def _figure(points: pd.DataFrame, chance: float) -> Figure:
    figure = new_figure(COLUMN_WIDTH, 2.2)
    axis = figure.subplots()
    permuted = points[points["kind"] == "permuted"]
    blurred = points[points["kind"] == "blurred"]
    end = 1.2 * blurred["frechet"].max()
    axis.plot([0, end], [chance, chance], color="0.5", linewidth=0.8, linestyle="--")
    axis.text(end, chance, "chance", ha="right", va="bottom", fontsize=SMALL, color="0.35")
    _draw_group(axis, permuted, 0, linestyle="none")
    _draw_group(axis, blurred, 1, linestyle="-")
    for row in permuted.itertuples():
        text = row.setting.replace(" of the images permuted", " permuted")
        _name(
            axis,
            row,
            text.replace("100%", "all").removesuffix(" image"),
            (-5, 0),
            0,
            ha="right",
            va="center",
        )
    for row in blurred.itertuples():
        _name(axis, row, row.setting.replace("of ", ""), (4, -3), 1, ha="left", va="top")
    axis.set(xlabel="Fr\u00e9chet distance  (better \N{LEFTWARDS ARROW})", xlim=(-0.37 * end, end))
    axis.set(ylabel="Canny drift (L1)  (better \N{DOWNWARDS ARROW})", ylim=(-0.015, None))
    axis.set_xticks([tick for tick in axis.get_xticks() if 0 <= tick <= end])
    return figure


def _draw_group(axis: Axes, points: pd.DataFrame, place: int, linestyle: str) -> None:
    axis.plot(
        points["frechet"],
        points["drift"],
        linestyle=linestyle,
        linewidth=0.8,
        marker=MARKERS[place],
        markersize=4,
        color=COLOURS[place],
        zorder=3,
    )


def _name(
    axis: Axes, row: Any, text: str, offset: tuple[float, float], place: int, **align: str
) -> None:
    axis.annotate(
        text,
        (row.frechet, row.drift),
        offset,
        textcoords="offset points",
        fontsize=SMALL,
        color=COLOURS[place],
        **align,
    )


def _caption(points: pd.DataFrame, chance: float) -> str:
    permuted = points[points["kind"] == "permuted"]
    drift = permuted.set_index("setting")["drift"]
    blurred = points[points["kind"] == "blurred"]
    first = blurred.iloc[0]
    return (
        f"Seesaw Proposition 5.4 on {IMAGES} scenes (features: colours and contrast of 4 x 4 "
        f"cells). Permuting the images leaves the Frechet distance at 0 (largest "
        f"{permuted['frechet'].max():.0e}) while Canny drift goes from 0 to "
        f"{drift['100% of the images permuted']:.3f} for a random order (chance: {chance:.3f}) and "
        f"{drift['worst order']:.3f} for the worst. A blur of {BLURS[0]:g} px has the larger "
        f"distance ({first['frechet']:.1e}) and the drift {first['drift']:.3f}. The proposition "
        "says what a marginal distance cannot rule out; it does not say that real autoencoders "
        "permute."
    )
