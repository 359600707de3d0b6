"""After iFID Figure 3: 25 isolated modes, 25 connected ones, and what diffusion makes of them.

The paper gives no numbers. Means lie on a 5 x 5 grid of spacing 2, as in the experiments on mode
interpolation that it cites (Aithal et al. 2024, locuslab/diffusion-model-hallucination), with a
standard deviation of 0.05 (isolated, as there) or 0.8 (connected: the modes overlap).

Two readings of "the nearest neighbour" are measured, since they differ: among all points, as the
metric's definition says; and among the points of the other modes, where a mode stands for one
image and its posterior, which is what the paper's picture shows.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from seesaw.figures.style import COLOURS, FULL_WIDTH, SMALL, new_figure, styled
from seesaw.progress import progress
from seesaw.seeds import generator_for
from seesaw.toys import Toy
from seesaw.toys.field import Training, one_thread, sample_points, train
from seesaw.toys.mixture import OFF, Mixture, measure, neighbour_midpoints
from seesaw.toys.table import check_seeds, entry, over_seeds, percent

logger = logging.getLogger(__name__)

SIDE, SPACING = 5, 2.0
STDS = {"isolated": 0.05, "connected": 0.8}
SHORT = 4
"""A second model is trained for this fraction of the steps."""
REFERENCES = (25, 50, 100, 200, 500, 1000)
"""Sizes of the sets among which the nearest neighbour is searched."""
SHOWN = 1000
"""Points in a panel of the figure, at most."""
DATA, EXACT, TRAINED = "data", "samples, exact field", "samples, trained"
BRIEF = f"samples, trained 1/{SHORT} as long"
ALL, OTHER = "midpoints, K = 1", "midpoints, K = 1 among other modes"
UNITS = {
    **OFF,
    "frechet": "Fréchet distance of 2-D Gaussian fits to data; data has variance 1",
    "wasserstein": "Wasserstein-1 distance to data; data has standard deviation 1",
}
COLOUR = {"isolated": COLOURS[0], "connected": COLOURS[2]}
OFF_COLOUR = COLOURS[1]


def grid_mixture(std: float) -> Mixture:
    """5 x 5 modes at spacing 2 with this standard deviation, normalised to variance 1."""
    axis = SPACING * (np.arange(SIDE) - SIDE // 2)
    means = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return Mixture(means, std).normalised()


def alone_share(modes: int, n: int) -> float:
    """Probability that no other of n points comes from the same of equally likely modes.

    Where modes are isolated, it is the share of points whose nearest neighbour is in another mode.
    """
    return (1 - 1 / modes) ** (n - 1)


def isolated_modes(
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    *,
    training: Training | None = None,
    samples: int = 2000,
    evaluations: int = 100,
) -> Toy:
    """Hallucination rate and a toy iFID of 25 isolated and 25 connected modes.

    Per mixture and seed: draw training points, fit a velocity network, sample; sample the exact
    field from the same noise; take midpoints of the training points and their nearest neighbours.
    Every set is held against fresh data of the mixture by every definition in :data:`UNITS`.

    Args:
        seeds: of data, initial weights, training noise and sampling noise, together.
        training: of the networks; by default the same for both mixtures, see :class:`Training`.
        samples: points per set of samples and of data.
        evaluations: of the field per sample.

    Raises:
        ValueError: no seeds, or a seed twice.
    """
    check_seeds(seeds)
    training = training or Training()
    rows, sets = [], {}
    with one_thread():
        jobs = [(name, seed) for name in STDS for seed in seeds]
        for name, seed in progress(jobs, total=len(jobs), what="isolated and connected modes"):
            found = run_seed(name, seed, training, samples, evaluations)
            rows += found[0]
            if seed == seeds[0]:
                sets[name] = found[1]
    table = over_seeds(rows, ["mixture", "std", "set"], UNITS)
    points = pd.concat(
        [
            pd.DataFrame({"mixture": name, "set": what, "x": xy[:, 0], "y": xy[:, 1]}).assign(
                off_3std=grid_mixture(STDS[name]).distance(xy) > 3
            )
            for name, found in sets.items()
            for what, xy in found.items()
        ],
        ignore_index=True,
    )
    for name in STDS:
        logger.info(
            "%s: %s farther than 3 std, exact field %s",
            name,
            percent(entry(table, "off_3std", mixture=name, set=TRAINED)),
            percent(entry(table, "off_3std", mixture=name, set=EXACT)),
        )
    return Toy(draw_figure(table, points, training), table, points)


def run_seed(
    name: str, seed: int, training: Training, samples: int, evaluations: int
) -> tuple[list[dict[str, object]], dict[str, np.ndarray]]:
    """Rows of one mixture and seed, and the sets of points that the figure shows."""
    mixture = grid_mixture(STDS[name])
    purpose = f"toy isolated_modes {name}"
    generators = [generator_for(seed, purpose, part) for part in ("train", "data", "reference")]
    train_points, modes = mixture.draw(generators[0], training.points)
    data, reference = (mixture.draw(rng, samples)[0] for rng in generators[1:])

    brief = replace(training, steps=max(1, training.steps // SHORT))
    fields = {
        EXACT: mixture.velocity(),
        BRIEF: train(train_points, brief, seed=seed, purpose=purpose),
        TRAINED: train(train_points, training, seed=seed, purpose=purpose),
    }
    sets = {DATA: data}
    for what, field in fields.items():
        sets[what] = sample_points(
            field, samples, 2, seed=seed, purpose=purpose, evaluations=evaluations
        )
    sets[ALL] = neighbour_midpoints(train_points)
    sets[OTHER] = neighbour_midpoints(train_points, modes)
    for n in REFERENCES:
        if n <= training.points:
            cuts = range(0, training.points - n + 1, n)
            midpoints = [neighbour_midpoints(train_points[cut : cut + n]) for cut in cuts]
            sets[among(n)] = np.concatenate(midpoints)
    rows = [
        {
            "mixture": name,
            "std": STDS[name],
            "set": what,
            "seed": seed,
            "points": len(points),
            **measure(mixture, points, reference),
        }
        for what, points in sets.items()
    ]
    shown = {what: sets[what][:SHOWN] for what in (DATA, TRAINED, ALL, OTHER)}
    return rows, shown


def among(n: int) -> str:
    """Name of the midpoints with the nearest neighbour among n points."""
    return f"midpoints, K = 1 among {n} points"


@styled
def draw_figure(table: pd.DataFrame, points: pd.DataFrame, training: Training) -> Figure:
    """Two rows of point clouds, and a row of rates."""
    figure = new_figure(FULL_WIDTH, 6.05)
    grid = figure.add_gridspec(3, 1, height_ratios=[1, 1, 0.9])
    rows = [grid[row].subgridspec(1, count) for row, count in enumerate((4, 4, 3))]
    heads = {
        DATA: "data",
        TRAINED: "samples, trained model",
        ALL: "midpoints, K = 1",
        OTHER: "midpoints, K = 1, other modes",
    }
    for row, name in enumerate(STDS):
        for column, (what, head) in enumerate(heads.items()):
            axis = figure.add_subplot(rows[row][column])
            cloud = points[(points["mixture"] == name) & (points["set"] == what)]
            _draw_cloud(axis, cloud)
            share = percent(entry(table, "off_3std", mixture=name, set=what))
            words = f"{share} off by 3 std"
            axis.set_title(f"{head}\n{words}" if row == 0 else words)
            if column == 0:
                axis.set_ylabel(f"{name}\nstd {STDS[name]:g}, spacing {SPACING:g}")
    for place, draw in enumerate((_draw_rates, _draw_neighbours, _draw_distances)):
        draw(figure.add_subplot(rows[2][place]), table)
    count = int(table["seeds"].max())
    words = "Orange: farther than 3 std from every mode. Clouds: the first seed. "
    words += f"Numbers: mean ± standard deviation of {count} seeds.\nModel: {training}."
    figure.supxlabel(words, fontsize=SMALL)
    return figure


def _draw_cloud(axis: Axes, cloud: pd.DataFrame) -> None:
    for off, colour in ((False, "0.35"), (True, OFF_COLOUR)):
        part = cloud[cloud["off_3std"] == off]
        axis.scatter(part["x"], part["y"], s=1.6, color=colour, linewidths=0)
    axis.set(xlim=(-2.45, 2.45), ylim=(-2.45, 2.45), aspect="equal", xticks=[], yticks=[])
    for side in ("top", "right"):
        axis.spines[side].set_visible(True)


def _bars(axis: Axes, x: float, row: pd.Series, colour: str, marker: str, *, full: bool) -> None:
    """Mean and standard deviation of a share in percent."""
    axis.errorbar(
        x, 100 * row["mean"], yerr=100 * np.nan_to_num(row["sd"]), color=colour, marker=marker,
        markersize=4, markerfacecolor=colour if full else "white", markeredgewidth=0.8,
        elinewidth=0.8, capsize=1.5,
    )  # fmt: skip


def _draw_rates(axis: Axes, table: pd.DataFrame) -> None:
    """Shares off the manifold by definition: exact field, brief and full training."""
    styles = {EXACT: ("D", False), BRIEF: ("v", False), TRAINED: ("o", True)}
    for place, column in enumerate(OFF):
        for side, name in ((-0.17, "isolated"), (0.17, "connected")):
            for what, (marker, full) in styles.items():
                row = entry(table, column, mixture=name, set=what)
                _bars(axis, place + side, row, COLOUR[name], marker, full=full)
    axis.set_xticks(range(len(OFF)), ["> 3 std", "> 4 std", "> 10 std", "low\ndensity"])
    axis.set_yscale("symlog", linthresh=0.1, linscale=0.5)
    ticks = (0, 0.1, 1, 10, 100)
    axis.set_yticks(ticks, [f"{tick:g}%" for tick in ticks])
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_ylim(-0.02, 500)
    axis.set_title("Hallucination: samples off the manifold", loc="left")
    names = {EXACT: "exact field", BRIEF: f"1/{SHORT} of the steps", TRAINED: "trained"}
    for what, (marker, full) in styles.items():
        _key(axis, marker, names[what], full=full)
    axis.legend(
        loc="upper center", ncols=3, handletextpad=0.1, columnspacing=0.8, borderaxespad=0.1
    )


def _draw_neighbours(axis: Axes, table: pd.DataFrame) -> None:
    """Toy iFID by the number of points among which neighbours are searched; the other reading."""
    sizes = [n for n in REFERENCES if (table["set"] == among(n)).any()]
    other = 2.2 * sizes[-1]
    for name, marker in (("isolated", "o"), ("connected", "s")):
        rows = [entry(table, "off_3std", mixture=name, set=among(n)) for n in sizes]
        means = [100 * row["mean"] for row in rows]
        axis.plot(sizes, means, color=COLOUR[name], linewidth=0.9, label=name)
        for n, row in zip(sizes, rows, strict=True):
            _bars(axis, n, row, COLOUR[name], marker, full=True)
        row = entry(table, "off_3std", mixture=name, set=OTHER)
        _bars(axis, other, row, COLOUR[name], marker, full=False)
    curve = np.geomspace(sizes[0], sizes[-1], 100)
    alone = [100 * alone_share(SIDE**2, n) for n in curve]
    axis.plot(curve, alone, color="0.4", linestyle=":", linewidth=1.0, label=r"$(1-1/25)^{n-1}$")
    axis.axvline(other / 2**0.5, color="0.7", linewidth=0.6)
    axis.set_xscale("log")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks([*sizes, other], [*(f"{n}" for n in sizes), "other\nmode"])
    axis.set_xlabel("points in which the nearest neighbour is searched")
    _percent_axis(axis)
    axis.set_title("Toy iFID: midpoints farther than 3 std", loc="left")
    axis.legend(loc="center right", handlelength=1.4, bbox_to_anchor=(0.86, 0.55))


def _draw_distances(axis: Axes, table: pd.DataFrame) -> None:
    """Fréchet distance of Gaussian fits (blind to modes) and Wasserstein distance."""
    sets = {DATA: "data", TRAINED: "trained", ALL: "midpoints", OTHER: "other\nmode"}
    for place, what in enumerate(sets):
        for side, name in ((-0.17, "isolated"), (0.17, "connected")):
            for quantity, marker, full in (("frechet", "P", True), ("wasserstein", "^", False)):
                row = entry(table, quantity, mixture=name, set=what)
                axis.errorbar(
                    place + side, row["mean"], yerr=np.nan_to_num(row["sd"]), color=COLOUR[name],
                    marker=marker, markersize=4, markerfacecolor=COLOUR[name] if full else "white",
                    markeredgewidth=0.8, elinewidth=0.8, capsize=1.5,
                )  # fmt: skip
    axis.set_xticks(range(len(sets)), list(sets.values()))
    axis.set_ylim(-0.015, 1.25 * axis.get_ylim()[1])
    axis.set_title("Distance to data (standard deviation 1)", loc="left")
    _key(axis, "^", "Wasserstein", full=False)
    _key(axis, "P", "Fréchet, 2-D Gaussian fits", full=True)
    axis.legend(loc="upper left", handletextpad=0.2, borderaxespad=0.1)


def _key(axis: Axes, marker: str, label: str, *, full: bool) -> None:
    """An entry of the legend in grey, since colour tells the mixtures apart."""
    face = "0.3" if full else "white"
    axis.plot([], [], marker, color="0.3", markerfacecolor=face, markersize=4, label=label)


def _percent_axis(axis: Axes) -> None:
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
