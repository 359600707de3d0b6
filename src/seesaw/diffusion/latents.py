"""Latents to train on: a frozen autoencoder's, of the images of a packed split.

Where the posterior of all images fits in memory it is computed once and kept; else the images of a
step are encoded when they are asked for. Which rows a step sees depends on (seed, step) only.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.autoencoders.base import Autoencoder, encode_uint8
from seesaw.batching import Batched
from seesaw.progress import progress
from seesaw.shards import Shards

IN_MEMORY_BYTES = 2 * 1024**3
ENCODE_BATCH = 64

logger = logging.getLogger(__name__)


class TrainingLatents:
    """Latents of a split by row.

    Args:
        autoencoder: frozen, on its device; see :class:`seesaw.autoencoders.Autoencoder`.
        images: the packed split.
        posterior: ``"mean"`` or ``"sample"`` (drawn anew each time a row is used).
        in_memory: latents up to so many bytes are kept; more are encoded again each time, as are
            those of a class that draws samples but does not offer their mean and variance.
        device: torch device of the autoencoder, and of the batches.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        images: Shards,
        *,
        posterior: str,
        in_memory: int = IN_MEMORY_BYTES,
        device: str | torch.device = "cpu",
    ) -> None:
        self.autoencoder = autoencoder
        self.images = images
        self.device = torch.device(device)
        self.sampled = posterior == "sample" and getattr(autoencoder, "stochastic", False)
        self.shape = tuple(autoencoder.latent_shape)
        size = len(images) * math.prod(self.shape) * 4 * (2 if self.sampled else 1)
        keeps = size <= in_memory and (not self.sampled or _has_posterior(autoencoder))
        self._encode = Batched(self._encode_some, "encoding")
        self._kept = self._encode_all() if keeps else None
        if self._kept is None:
            logger.info("%.1f GB of latents: encoded step by step", size / 1e9)

    def __len__(self) -> int:
        return len(self.images)

    def _posterior(self, images: np.ndarray) -> tuple[Tensor, Tensor | None]:
        pixels = torch.from_numpy(images).to(self.device)
        if not self.sampled:
            return encode_uint8(self.autoencoder, pixels), None
        mean, log_variance = self.autoencoder.posterior(pixels.float() / 127.5 - 1)
        return mean.float(), log_variance.float()

    @torch.no_grad()
    def _encode_all(self) -> tuple[Tensor, Tensor | None]:
        total = sum(-(-shard["n"] // ENCODE_BATCH) for shard in self.images.shards)
        batches = self.images.batches(["images"], ENCODE_BATCH)
        encode = Batched(self._posterior, "encoding")
        parts = [
            encode(batch["images"])
            for batch in progress(batches, total=total, what="encoding", unit="batche")
        ]
        mean = torch.cat([part[0] for part in parts])
        if not self.sampled:
            return mean, None
        return mean, torch.cat([part[1] for part in parts])

    @torch.no_grad()
    def batch(self, rows: Sequence[int], noise: Tensor) -> Tensor:
        """Raw latents of some rows, float32 ``(len(rows), *shape)``.

        Args:
            rows: positions in the split.
            noise: standard normal, shaped like the result; used where the posterior is sampled.
        """
        if self._kept is None:
            ids = [self.images.ids[row] for row in rows]
            pixels = torch.from_numpy(self.images.take(ids, ["images"])["images"])
            return self._encode(pixels, *([noise] if self.sampled else []))
        index = torch.as_tensor(np.asarray(rows), device=self.device)
        mean, log_variance = (None if p is None else p[index] for p in self._kept)
        if log_variance is None:
            return mean
        return mean + (0.5 * log_variance).exp() * noise

    def _encode_some(self, pixels: Tensor, noise: Tensor | None = None) -> Tensor:
        return encode_uint8(self.autoencoder, pixels.to(self.device), noise)


def _has_posterior(autoencoder: object) -> bool:
    """Whether it offers mean and variance: a class that only measures may have ``encode`` alone."""
    offered = getattr(type(autoencoder), "posterior", Autoencoder.posterior)
    return offered is not Autoencoder.posterior


def epochs(n: int, batch_size: int, seed: int, *, start: int = 0) -> Iterator[np.ndarray]:
    """Rows of each step from ``start`` on: all rows once per epoch, in a new random order.

    Endless. What a step gets depends on (n, batch_size, seed, step) only.
    """
    generator = np.random.default_rng([seed, 0xD1FF])
    order = np.empty(0, np.int64)
    step = 0
    while True:
        while len(order) < batch_size:
            order = np.concatenate([order, generator.permutation(n)])
        if step >= start:
            yield order[:batch_size]
        order = order[batch_size:]
        step += 1


def read_labels(index: str | Path) -> tuple[np.ndarray, int]:
    """Labels of a packed split in stored order, and how many classes there are.

    Images without a label (-1) get the number of classes, which stands for no label.
    """
    import pandas as pd

    labels = pd.read_parquet(index, columns=["label"])["label"].to_numpy(np.int64)
    classes = int(labels.max(initial=-1)) + 1
    return np.where(labels < 0, classes, labels), classes
