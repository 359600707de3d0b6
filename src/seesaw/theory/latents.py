"""A small autoencoder, and backbones of a finite image set as tables of p(latent | condition)."""

from dataclasses import dataclass

import numpy as np

from seesaw.theory.images import block_means, enlarge, to_uint8


@dataclass(frozen=True)
class Blocks:
    """An autoencoder: means of square blocks, rounded to a few levels or blurred by noise.

    Attributes:
        block: side of a block in pixels.
        levels: values that a mean is rounded to, or None.
        noise: standard deviation of the encoder's noise; the means are in 0..1.
    """

    block: int
    levels: int | None = None
    noise: float = 0.0

    @property
    def name(self) -> str:
        """Such as ``"blocks of 8, 4 levels"``."""
        extra = f"{self.levels} levels" if self.levels else f"noise {self.noise:g}"
        return f"blocks of {self.block}, {extra}"

    def mean(self, images: np.ndarray) -> np.ndarray:
        """Latents without noise of uint8 images, float64 ``(N, 3, R / block, R / block)``."""
        means = block_means(images, self.block) / 255
        top = self.levels - 1 if self.levels else None
        return np.rint(means * top) / top if top else means

    def draw(self, means: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Latents drawn around :meth:`mean`."""
        return means + self.noise * rng.standard_normal(means.shape)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Flat blocks, uint8 ``(N, 3, R, R)``."""
        return enlarge(to_uint8(255 * latents), self.block)


@dataclass(frozen=True)
class Pairs:
    """The joint distribution of conditions and latents of a finite image set.

    Attributes:
        conditions: distinct conditions (C, P).
        latents: distinct latents (Z, L).
        weights: p(c), (C,).
        conditional: p(z|c), (C, Z).
        condition_of: row of ``conditions`` per image (N,).
    """

    conditions: np.ndarray
    latents: np.ndarray
    weights: np.ndarray
    conditional: np.ndarray
    condition_of: np.ndarray


def pairs_of(conditions: np.ndarray, latents: np.ndarray) -> Pairs:
    """Count which latents go with which conditions.

    Args:
        conditions: (N, P), a row per image.
        latents: (N, ...), a row per image.

    Raises:
        ValueError: different numbers of images.
    """
    if len(conditions) != len(latents):
        raise ValueError(f"{len(conditions)} conditions cannot be paired with {len(latents)} codes")
    values, of_image = np.unique(conditions, axis=0, return_inverse=True)
    codes, code_of_image = np.unique(latents.reshape(len(latents), -1), axis=0, return_inverse=True)
    counts = np.zeros((len(values), len(codes)))
    np.add.at(counts, (of_image.ravel(), code_of_image.ravel()), 1)
    totals = counts.sum(axis=1, keepdims=True)
    return Pairs(values, codes, totals[:, 0] / len(latents), counts / totals, of_image.ravel())


def alignment_error(
    pairs: Pairs, distances: np.ndarray, backbone: np.ndarray | None = None
) -> float:
    """``sum_c p(c) sum_z q(z|c) d(c, f(D(z)))``, eq. 4 averaged over conditions.

    Args:
        pairs: conditions and latents.
        distances: ``d(c, f(D(z)))``, (C, Z).
        backbone: q(z|c), (C, Z); by default the perfect fit p(z|c).
    """
    q = pairs.conditional if backbone is None else backbone
    return float(pairs.weights @ (q * distances).sum(axis=1))


def misfit(pairs: Pairs, epsilon: float) -> np.ndarray:
    """``(1 - eps) p(z|c) + eps p(z)``: latents that ignore the condition mixed in, (C, Z)."""
    marginal = pairs.weights @ pairs.conditional
    return (1 - epsilon) * pairs.conditional + epsilon * marginal


def best_latents(distances: np.ndarray) -> np.ndarray:
    """A backbone that gives for each condition the latent that decodes best, (C, Z)."""
    return np.eye(distances.shape[1])[distances.argmin(axis=1)]
