"""Moments of latents, image by image: mean, standard deviation, kurtosis, what is not finite.

Central moments of each image and channel are taken in float64 about the image's own mean, and
merged (Pebay, "Formulas for robust, one-pass parallel computation of covariances and
arbitrary-order statistical moments", Sandia report SAND2008-6212, 2008). Means count from the first
number of their channel, so that nothing cancels however large they are, and what is constant has no
spread. Images are merged in blocks of :data:`BLOCK` by their place in the order, whatever batches
they came in: the same images in the same order give the same bits.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

BLOCK = 64
"""Images that are merged at once."""
CACHED = 1 << 15
"""Numbers that are worked on at once: few enough to stay in a processor's cache."""


class LatentStatistics:
    """Statistics per channel and of all numbers, of latents that come batch by batch.

    A channel is the first axis of a grid ``(C, H, W)`` and the last one of tokens ``(T, C)``.

    Args:
        latent_shape: shape of one latent.
    """

    def __init__(self, latent_shape: Sequence[int]) -> None:
        self.latent_shape = tuple(latent_shape)
        self._axis = 1 if len(self.latent_shape) == 2 else 0
        self._channels = self.latent_shape[self._axis]
        self._block = np.empty((5, BLOCK, self._channels))
        self._filled = 0
        self._total: np.ndarray | None = None
        self._origin: np.ndarray | None = None
        self.not_finite = 0
        """How many numbers were NaN or infinite."""

    def add(self, latents: np.ndarray) -> None:
        """Add the latents of the next images, float32 ``(N, *latent_shape)``.

        Raises:
            ValueError: another shape or dtype.
        """
        if latents.dtype != np.float32 or latents.shape[1:] != self.latent_shape:
            raise ValueError(
                f"statistics of latents were given {latents.shape} of {latents.dtype}; they take "
                f"float32, (N, {', '.join(map(str, self.latent_shape))})"
            )
        size = math.prod(self.latent_shape) // self._channels
        rows = np.moveaxis(latents, self._axis + 1, 1).reshape(-1, self._channels, size)
        if self._origin is None and len(rows):
            self._origin = rows[0, :, 0].astype(np.float64)
        at = 0
        while at < len(rows):
            images = rows[at : at + BLOCK - self._filled]
            found = self._moments(images)
            if not np.isfinite(found).all():
                self.not_finite += int(np.count_nonzero(~np.isfinite(images)))
            self._block[:, self._filled : self._filled + len(images)] = found
            self._filled += len(images)
            at += len(images)
            if self._filled == BLOCK:
                self._total, self._filled = self._merged(), 0

    def summary(self) -> dict[str, Any]:
        """The statistics so far.

        Returns:
            ``mean``, ``std`` (of a population: divided by n) and ``excess_kurtosis``
            (``m4 / m2**2 - 3``, 0 for a Gaussian, not corrected for n) of all numbers of all
            channels; ``channel_mean``, ``channel_std`` and ``channel_excess_kurtosis``, lists with
            one number per channel; ``numbers``, how many there were, and ``not_finite``. A kurtosis
            is None where all numbers are equal: it is undefined there. All but the last two are
            None where some number was not finite.

        Raises:
            ValueError: there was no image.
        """
        total, keys = self._merged(), ("mean", "std", "excess_kurtosis")
        if total is None or self._origin is None:
            raise ValueError("statistics of latents: no image was added")
        found: dict[str, Any] = dict.fromkeys([*keys, *(f"channel_{key}" for key in keys)])
        if not self.not_finite:
            parts = [_described(*pair) for pair in zip(total.T, self._origin, strict=True)]
            together = total.copy()
            together[1] += self._origin - self._origin[0]
            found = {
                **_described(pooled(together), self._origin[0]),
                **{f"channel_{key}": [part[key] for part in parts] for key in keys},
            }
        return {**found, "numbers": int(total[0].sum()), "not_finite": self.not_finite}

    def _moments(self, images: np.ndarray) -> np.ndarray:
        """Moments ``(5, N, C)`` of each image and channel of ``(N, C, M)``."""
        rows = images.reshape(-1, images.shape[-1])
        origins = np.tile(self._origin, len(images))
        step = max(1, CACHED // rows.shape[1])
        parts = [
            row_moments(rows[at : at + step], origins[at : at + step])
            for at in range(0, len(rows), step)
        ]
        return np.concatenate(parts, axis=1).reshape(5, *images.shape[:2])

    def _merged(self) -> np.ndarray | None:
        """All images so far, ``(5, C)``; None if there were none."""
        if not self._filled:
            return self._total
        with np.errstate(invalid="ignore"):
            block = pooled(self._block[:, : self._filled])
            return block if self._total is None else pooled(np.stack([self._total, block], axis=1))


def row_moments(values: np.ndarray, origins: np.ndarray) -> np.ndarray:
    """Moments of each row, which depend on the numbers of that row only, to the last bit.

    Args:
        values: float32 ``(K, M)``.
        origins: float64 ``(K,)``: what the means count from, some number like those of the row.

    Returns:
        float64 ``(5, K)``: count ``M``, mean minus origin, and the sums of the second, third and
        fourth powers of the deviations from the mean.
    """
    deviation = np.empty(values.shape)  # in this layout, so that sums run along memory
    with np.errstate(invalid="ignore"):
        np.subtract(values, origins[:, None], out=deviation)
        mean = deviation.mean(-1)
        deviation -= mean[:, None]
        square = deviation * deviation
        second = square.sum(-1)
        third = np.multiply(square, deviation, out=deviation).sum(-1)
        fourth = np.multiply(square, square, out=square).sum(-1)
    return np.stack([np.full(len(values), float(values.shape[1])), mean, second, third, fourth])


def pooled(moments: np.ndarray) -> np.ndarray:
    """Moments of all numbers of several groups, from those of each group.

    Args:
        moments: ``(5, K, ...)`` of K groups, as :func:`row_moments` returns them, all with the
            same origin.

    Returns:
        ``(5, ...)``.
    """
    count, means, second, third, fourth = moments
    total = count.sum(0)
    mean = (count * means).sum(0) / total
    d = means - mean
    return np.stack(
        [
            total,
            mean,
            (second + count * d**2).sum(0),
            (third + 3 * d * second + count * d**3).sum(0),
            (fourth + 4 * d * third + 6 * d**2 * second + count * d**4).sum(0),
        ]
    )


def _described(moments: np.ndarray, origin: float) -> dict[str, float | None]:
    count, mean, second, _, fourth = map(float, moments)
    return {
        "mean": float(origin + mean),
        "std": math.sqrt(second / count),
        "excess_kurtosis": count * fourth / second**2 - 3 if second else None,
    }
