"""Gaussian mixtures with equal weights and one standard deviation, and what lies off their modes.

Closed forms: the density, and the velocity field of the linear path, with which a sampler makes
the mixture itself. What a trained model does beyond that is the model's own doing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from torch import Tensor

from seesaw.metrics.frechet import frechet_distance, statistics
from seesaw.seeds import generator_for

THRESHOLDS = (3, 4, 10)
"""Distances to the nearest mode, in its standard deviations, beyond which a point is off."""
LEVEL = 0.01
"""Share of the mixture itself that lies outside its region of highest density."""
LEVEL_POINTS = 50_000
PAIRED = 500
"""Points of either set whose optimal assignment gives the Wasserstein distance."""
OFF = {
    **{f"off_{n}std": f"share farther than {n} std from every mode" for n in THRESHOLDS},
    "off_density": f"share outside the region that holds {1 - LEVEL:.0%} of the mixture",
}
"""Definitions of "off the manifold": column -> words. All are reported."""


@dataclass(frozen=True)
class Mixture:
    """Equal Gaussian modes.

    Attributes:
        means: float64 ``(k, d)``.
        std: standard deviation of each mode and coordinate.
    """

    means: np.ndarray
    std: float

    @property
    def centre(self) -> np.ndarray:
        """Mean of the mixture, ``(d,)``."""
        return self.means.mean(axis=0)

    @property
    def scale(self) -> float:
        """Root of the mean variance of a coordinate: modes' means and their std together."""
        return float(np.sqrt(self.means.var(axis=0).mean() + self.std**2))

    def normalised(self) -> "Mixture":
        """The same around 0 with :attr:`scale` 1, as a diffusion model wants its data."""
        return replace(self, means=(self.means - self.centre) / self.scale,
                       std=self.std / self.scale)  # fmt: skip

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Points ``(n, d)`` and the modes ``(n,)`` that they come from."""
        modes = rng.integers(len(self.means), size=n)
        noise = rng.standard_normal((n, self.means.shape[1]))
        return self.means[modes] + self.std * noise, modes

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance to the nearest mode in standard deviations, ``(n,)``."""
        return cdist(points, self.means).min(axis=1) / self.std

    def log_density(self, points: np.ndarray) -> np.ndarray:
        """Natural logarithm of the density, ``(n,)``."""
        k, d = self.means.shape
        squares = cdist(points, self.means, "sqeuclidean") / self.std**2
        constant = np.log(k) + d / 2 * np.log(2 * np.pi * self.std**2)
        return logsumexp(-squares / 2, axis=1) - constant

    @cached_property
    def level(self) -> float:
        """Log density that all but a share :data:`LEVEL` of the mixture exceeds (simulated)."""
        points, _ = self.draw(generator_for(0, "toy level", ""), LEVEL_POINTS)
        return float(np.quantile(self.log_density(points), LEVEL))

    def off(self, points: np.ndarray) -> dict[str, np.ndarray]:
        """Which points are off the manifold by each definition in :data:`OFF`, bool ``(n,)``."""
        distance = self.distance(points)
        found = {f"off_{n}std": distance > n for n in THRESHOLDS}
        return {**found, "off_density": self.log_density(points) < self.level}

    def velocity(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """The exact field ``E[noise - x | x_t]`` at ``x_t = (1 - t) x + t noise``, t > 0.

        Given the mode, x and noise are linear in ``c = x_t - (1 - t) mean``: noise is
        ``t c / v`` and x ``mean + (1 - t) std^2 c / v`` with ``v = (1 - t)^2 std^2 + t^2``; modes
        weigh in with their posterior probabilities.
        """
        means = torch.from_numpy(self.means)

        def field(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
            modes, t = means.to(x.dtype), t.view(-1, 1)
            variance = (1 - t) ** 2 * self.std**2 + t**2
            centred = x[:, None] - (1 - t)[:, None] * modes
            weights = torch.softmax(-centred.square().sum(-1) / (2 * variance), dim=1)
            expected = torch.einsum("nk,nkd->nd", weights, centred)
            return (t - (1 - t) * self.std**2) / variance * expected - weights @ modes

        return field


def measure(mixture: Mixture, points: np.ndarray, data: np.ndarray) -> dict[str, float]:
    """How far a set of points is from a mixture, by every definition.

    Args:
        mixture: what the points should be like.
        points: ``(n, d)``.
        data: fresh draws of the mixture ``(m, d)``.

    Returns:
        Shares off the manifold by the definitions in :data:`OFF`; ``frechet``, the Fréchet distance
        of Gaussian fits to points and data; ``wasserstein``, the mean distance that the first
        :data:`PAIRED` points must move to become as many of the data. Both distances are in the
        mixture's units (squared for the first) and not 0 between two finite draws.
    """
    shares = {name: float(mask.mean()) for name, mask in mixture.off(points).items()}
    n = min(PAIRED, len(points), len(data))
    costs = cdist(points[:n], data[:n])
    return {
        **shares,
        "frechet": frechet_distance(statistics(points), statistics(data)),
        "wasserstein": float(costs[linear_sum_assignment(costs)].mean()),
    }


def neighbour_midpoints(points: np.ndarray, groups: Sequence[int] | None = None) -> np.ndarray:
    """Midpoint of each point and its nearest neighbour (K = 1), ``(n, d)``.

    Args:
        points: ``(n, d)``, n >= 2.
        groups: labels ``(n,)``; a neighbour must be of another group. By default every point is a
            group of its own: only the point itself is excluded.

    Raises:
        ValueError: a point has no neighbour, as all points are of one group.
    """
    groups = np.arange(len(points)) if groups is None else np.asarray(groups)
    if len(np.unique(groups)) < 2:
        raise ValueError(
            f"{len(points)} points in {len(np.unique(groups))} group(s) have no neighbours in "
            "another; give at least two groups"
        )
    costs = cdist(points, points)
    costs[groups[:, None] == groups] = np.inf
    return (points + points[costs.argmin(axis=1)]) / 2
