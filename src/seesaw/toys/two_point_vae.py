"""After iFID Figure 4: a VAE of two images, whose reconstruction wants its latents far apart.

Two images x = +a and x = -a, posteriors N(mean, v I) with fixed variance v and fixed KL divergence
from N(0, I). The KL divergence fixes the norm r of the means, so that they lie on a circle, and
what is left to choose is the distance between them. In units of the posterior's standard deviation
(``separation``) it decides everything: the error of the best decoder, in closed form, falls with
it; and the latents are a mixture of two Gaussians, on which a diffusion model is trained.

The paper gives neither r nor v. Here v = 1 and r = 8, so that separations up to 16 have the same
KL divergence; another v or r only changes which separations can be reached.
"""

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from scipy.stats import norm

from seesaw.figures.style import COLOURS, FULL_WIDTH, SMALL, new_figure, styled
from seesaw.progress import progress
from seesaw.seeds import generator_for
from seesaw.toys import Toy
from seesaw.toys.field import Training, one_thread, sample_points, train
from seesaw.toys.mixture import OFF, Mixture, measure
from seesaw.toys.table import check_seeds, entry, over_seeds, percent

logger = logging.getLogger(__name__)

VARIANCE, RADIUS, AMPLITUDE = 1.0, 8.0, 1.0
SEPARATIONS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
TRAINING = Training(steps=500)
SHOWN = 400
"""Points in a panel of the figure, at most."""
NODES = 20_001
PURE = 0.9
"""A decoded value nearer to 0 than this share of a is a blend of both images."""
DATA, EXACT, TRAINED = "latents", "samples, exact field", "samples, trained"
UNITS = {
    "mse": "mean squared error of the reconstruction, a = 1",
    **OFF,
    "middle": "share in the middle third between the means (projected on their axis)",
    "blend": f"share that decodes to |x| < {PURE:g} a, a blend of both images",
    "frechet": "Fréchet distance of 2-D Gaussian fits to latents; latents have variance 1",
    "wasserstein": "Wasserstein-1 distance to latents; latents have standard deviation 1",
}
STYLES = {DATA: ("0.45", "s"), EXACT: (COLOURS[0], "D"), TRAINED: (COLOURS[1], "o")}


def kl_divergence(radius: float = RADIUS, variance: float = VARIANCE, d: int = 2) -> float:
    """KL divergence of N(mean, v I) from N(0, I) with a mean of norm ``radius``, in nats."""
    return (radius**2 + d * (variance - 1 - np.log(variance))) / 2


def posterior_means(
    separation: float, radius: float = RADIUS, variance: float = VARIANCE
) -> np.ndarray:
    """Means ``(2, 2)`` on the circle, ``separation`` standard deviations apart; -a's first.

    Raises:
        ValueError: the circle is too small, or the separation not positive.
    """
    half = separation * variance**0.5 / 2
    if not 0 < half <= radius * (1 + 1e-12):
        raise ValueError(
            f"two means on a circle of radius {radius:g} are up to {2 * radius / variance**0.5:g} "
            f"standard deviations apart and not 0, got {separation:g}"
        )
    height = np.sqrt(max(radius**2 - half**2, 0))
    return np.array([[-half, height], [half, height]])


def decode(z: np.ndarray, means: np.ndarray, variance: float = VARIANCE) -> np.ndarray:
    """The decoder of least squared error, E[x | z], ``(n, 2) -> (n,)``.

    ``a tanh((m2 - m1) . (z - (m1 + m2) / 2) / (2 v))``; antipodal means: ``a tanh(m2 . z / v)``.
    """
    difference, middle = means[1] - means[0], means.mean(axis=0)
    return AMPLITUDE * np.tanh((z - middle) @ difference / (2 * variance))


def reconstruction_error(separation: float) -> float:
    """Mean squared error of :func:`decode` over the posterior, by the trapezoidal rule.

    The argument of tanh is normal for latents of +a, with mean and variance ``separation^2 / 4``.
    """
    nodes = np.linspace(-12, 12, NODES)
    mean = separation**2 / 4
    values = (1 - np.tanh(mean + np.sqrt(mean) * nodes)) ** 2
    return float(AMPLITUDE**2 * np.trapezoid(norm.pdf(nodes) * values, nodes))


def middle_share(separation: float) -> float:
    """Share of the latents in the middle third between the means, by projection."""
    s = separation
    return float(norm.cdf(-s / 2 + s / 6) - norm.cdf(-s / 2 - s / 6))


def two_point_vae(
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    *,
    training: Training = TRAINING,
    samples: int = 2000,
    evaluations: int = 80,
    separations: Sequence[float] = SEPARATIONS,
) -> Toy:
    """Reconstruction error and off-mode share of diffusion samples over the means' separation.

    Per separation and seed: draw latents, fit a velocity network, sample; sample the exact field
    from the same noise. Latents are centred and divided by one number before training.

    Args:
        seeds: of latents, initial weights, training noise and sampling noise, together.
        training: of the networks.
        samples: points per set.
        evaluations: of the field per sample.
        separations: distances of the means in posterior standard deviations, ascending.

    Raises:
        ValueError: no seeds or a seed twice, or a separation that the KL divergence forbids.
    """
    check_seeds(seeds)
    rows, shown = [], {}
    with one_thread():
        jobs = [(separation, seed) for separation in separations for seed in seeds]
        for separation, seed in progress(jobs, total=len(jobs), what="two-point VAE"):
            found = run_seed(separation, seed, training, samples, evaluations)
            rows += found[0]
            if seed == seeds[0]:
                shown[separation] = found[1]
    table = over_seeds(rows, ["separation", "set"], UNITS)
    closed = {"mse": reconstruction_error, "middle": middle_share}
    table["closed_form"] = [
        closed[row.quantity](row.separation) if row.quantity in closed and row.set == DATA
        else np.nan for row in table.itertuples()
    ]  # fmt: skip
    points = pd.concat(
        [
            pd.DataFrame({"separation": separation, "x": xy[:, 0], "y": xy[:, 1]}).assign(
                set=TRAINED,
                off_3std=Mixture(posterior_means(separation), VARIANCE**0.5).distance(xy) > 3,
            )
            for separation, xy in shown.items()
        ],
        ignore_index=True,
    )
    for separation in separations:
        logger.info(
            "separation %g: error %.4f, off-mode %s, exact field %s",
            separation,
            reconstruction_error(separation),
            percent(entry(table, "off_3std", separation=separation, set=TRAINED)),
            percent(entry(table, "off_3std", separation=separation, set=EXACT)),
        )
    return Toy(draw_figure(table, points, training), table, points)


def run_seed(
    separation: float, seed: int, training: Training, samples: int, evaluations: int
) -> tuple[list[dict[str, object]], np.ndarray]:
    """Rows of one separation and seed, and samples of the trained model as latents."""
    means = posterior_means(separation)
    latents = Mixture(means, VARIANCE**0.5)
    mixture = latents.normalised()
    purpose = f"toy two_point_vae {separation:g}"
    generators = [generator_for(seed, purpose, part) for part in ("train", "data", "reference")]
    train_points, _ = mixture.draw(generators[0], training.points)
    data, images = mixture.draw(generators[1], samples)
    reference, _ = mixture.draw(generators[2], samples)
    fields = {
        EXACT: mixture.velocity(),
        TRAINED: train(train_points, training, seed=seed, purpose=purpose),
    }
    sets = {DATA: data}
    for what, field in fields.items():
        sets[what] = sample_points(
            field, samples, 2, seed=seed, purpose=purpose, evaluations=evaluations
        )
    rows = []
    for what, points in sets.items():
        z = points * latents.scale + latents.centre
        decoded = decode(z, means)
        along = (z[:, 0] - latents.centre[0]) / VARIANCE**0.5
        row = {
            "separation": separation,
            "set": what,
            "seed": seed,
            "points": len(points),
            **measure(mixture, points, reference),
            "middle": float((np.abs(along) < separation / 6).mean()),
            "blend": float((np.abs(decoded) < PURE * AMPLITUDE).mean()),
        }
        if what == DATA:
            truth = AMPLITUDE * (2 * images - 1)
            row["mse"] = float(np.square(decoded - truth).mean())
        rows.append(row)
    return rows, (sets[TRAINED] * latents.scale + latents.centre)[:SHOWN]


@styled
def draw_figure(table: pd.DataFrame, points: pd.DataFrame, training: Training) -> Figure:
    """A row of latents and samples over the separation, and a row of curves."""
    separations = list(dict.fromkeys(table["separation"]))
    figure = new_figure(FULL_WIDTH, 3.7)
    grid = figure.add_gridspec(2, 1, height_ratios=[1, 1.45])
    latents, curves = (grid[row].subgridspec(1, n) for row, n in enumerate((len(separations), 4)))
    for place, separation in enumerate(separations):
        axis = figure.add_subplot(latents[place])
        _draw_latents(axis, points[points["separation"] == separation], separation)
    error, off, far, blend = (figure.add_subplot(curves[place]) for place in range(4))
    _draw_error(error, table, separations)
    _draw_curves(off, table, "off_3std", "Off-mode, by 3 std")
    _draw_curves(far, table, "off_4std", "Off-mode, by 4 std")
    _draw_curves(blend, table, "blend", f"Decodes to a blend, |x| < {PURE:g} a")
    off.legend(loc="upper left", handlelength=1.2, borderaxespad=0.1)
    for axis in (error, off, far, blend):
        axis.set_xscale("log", base=2)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xticks(separations, [f"{s:g}" for s in separations])
        axis.set_xlabel("separation / posterior std")
    count = int(table["seeds"].max())
    words = "Orange points: samples of the trained model farther than 3 std from both means (+). "
    words += f"Circle: KL divergence of {kl_divergence():g} nats. "
    words += f"Mean ± standard deviation of {count} seeds.\nModel: {training}."
    figure.supxlabel(words, fontsize=SMALL)
    return figure


def _draw_latents(axis: Axes, cloud: pd.DataFrame, separation: float) -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    axis.plot(RADIUS * np.cos(angle), RADIUS * np.sin(angle), color="0.8", linewidth=0.7, zorder=1)
    for off, colour in ((False, "0.35"), (True, COLOURS[1])):
        part = cloud[cloud["off_3std"] == off]
        axis.scatter(part["x"], part["y"], s=1.6, color=colour, linewidths=0, zorder=2)
    means = posterior_means(separation)
    axis.plot(means[:, 0], means[:, 1], "+", color=COLOURS[5], markersize=5, zorder=3)
    reach = RADIUS + 4
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set_visible(True)
    axis.set_title(f"separation {separation:g} std")


def _draw_error(axis: Axes, table: pd.DataFrame, separations: Sequence[float]) -> None:
    """Closed form as a line, measured errors on it."""
    curve = np.geomspace(separations[0], separations[-1], 100)
    errors = [reconstruction_error(s) for s in curve]
    axis.plot(curve, errors, color="0.3", linewidth=0.9, label="closed form")
    rows = [entry(table, "mse", separation=s, set=DATA) for s in separations]
    axis.errorbar(
        separations, [row["mean"] for row in rows], yerr=[np.nan_to_num(row["sd"]) for row in rows],
        color=STYLES[DATA][0], marker=STYLES[DATA][1], markersize=3.5, linestyle="none",
        elinewidth=0.8, capsize=1.5, label="measured",
    )  # fmt: skip
    axis.set_ylim(bottom=-0.02)
    axis.set_title("Reconstruction error (a = 1)", loc="left")
    axis.legend(loc="upper right", handlelength=1.2, borderaxespad=0.1)


def _draw_curves(axis: Axes, table: pd.DataFrame, quantity: str, title: str) -> None:
    """A share over the separation: latents, the exact field, the trained model."""
    chosen = table[table["quantity"] == quantity]
    for place, (what, (colour, marker)) in enumerate(STYLES.items()):
        line = chosen[chosen["set"] == what]
        axis.errorbar(
            line["separation"] * 2 ** (0.1 * (place - 1)), 100 * line["mean"],
            yerr=100 * line["sd"].fillna(0), color=colour, marker=marker, markersize=3.5,
            linewidth=0.9, elinewidth=0.8, capsize=1.5, label=what.removeprefix("samples, "),
            markerfacecolor=colour if what == TRAINED else "white", markeredgewidth=0.8,
        )  # fmt: skip
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    axis.set_ylim(bottom=0)
    axis.set_title(title, loc="left")
