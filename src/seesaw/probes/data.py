"""What a probe learns from: latents of training images and their condition maps."""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.batching import Batched
from seesaw.progress import progress
from seesaw.reconstruct import encode_batch
from seesaw.seeds import seed_for
from seesaw.shards import Shards

BLOCK = 64
"""Images per forward pass wherever nothing is trained, so that no result depends on a batch size"""
IN_MEMORY_BYTES = 2 * 1024**3
"""Latents, and maps, up to this size are held; beyond it they are made and read batch by batch."""


class TrainingSet:
    """Posterior means of some training images, and their maps of one condition.

    Both are held in memory if they fit; else latents are encoded anew and maps are read again for
    every batch, one batch ahead. The numbers are the same: images are always encoded in blocks of
    :data:`BLOCK`.

    Args:
        autoencoder: frozen, see :class:`seesaw.autoencoders.Autoencoder`.
        images: packed split.
        ids: the images to use.
        device: torch device.
        in_memory: bytes that latents, and maps, may take.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        images: Shards,
        ids: Sequence[str],
        *,
        device: str,
        in_memory: int = IN_MEMORY_BYTES,
    ) -> None:
        self.images, self.device = images, device
        self._encoded = Batched(partial(encode_batch, autoencoder), "encoding")
        self.ids, self.in_memory = list(ids), in_memory
        self.latent_shape = tuple(autoencoder.latent_shape)
        self._latents: np.ndarray | None = None
        if 4 * math.prod(self.latent_shape) * len(ids) <= in_memory:
            chunks = self._chunks()
            what = f"encoding {len(ids)} images"
            found = [
                self._encode(self._read(images, "images", rows), rows).cpu().numpy()
                for rows in progress(chunks, total=len(chunks), what=what, unit="block")
            ]
            self._latents = np.concatenate(found)

    def use(self, maps: Shards) -> "TrainingSet":
        """Take the maps of one condition (field ``map``); returns itself."""
        self.maps = maps
        self.resolution = maps.fields["map"]["shape"][-1]
        self._maps: np.ndarray | None = None
        if math.prod(maps.fields["map"]["shape"]) * len(self) <= self.in_memory:
            self._maps = self._read(maps, "map", np.arange(len(self)))
        return self

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, chunks: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Latents, and maps in [0, 1], of the rows in each chunk, on the device."""
        if self._latents is not None and self._maps is not None:
            yield from (self._batch(rows, *self._load(rows)) for rows in chunks)
            return
        with ThreadPoolExecutor(1) as reader:
            coming = [reader.submit(self._load, rows) for rows in chunks[:1]]
            for index, rows in enumerate(chunks):
                loaded = coming.pop().result()
                coming += [reader.submit(self._load, later) for later in chunks[index + 1 :][:1]]
                yield self._batch(rows, *loaded)

    def mean_map(self) -> np.ndarray:
        """Mean of all maps, float64 ``(H, W)`` in [0, 1]."""
        total = np.zeros(self.maps.fields["map"]["shape"])
        for rows in self._chunks():
            total += self._map_rows(rows).sum(0, dtype=np.int64)
        return total / (255.0 * len(self))

    def _chunks(self) -> list[np.ndarray]:
        return [np.arange(i, min(i + BLOCK, len(self))) for i in range(0, len(self), BLOCK)]

    def _load(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Latents, or the images to encode, and maps."""
        if self._latents is not None:
            return self._latents[rows], self._map_rows(rows)
        return self._read(self.images, "images", rows), self._map_rows(rows)

    def _map_rows(self, rows: np.ndarray) -> np.ndarray:
        return self._read(self.maps, "map", rows) if self._maps is None else self._maps[rows]

    def _batch(
        self, rows: np.ndarray, first: np.ndarray, maps: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        if self._latents is None:
            latents = self._encode(first, rows)
        else:
            latents = torch.from_numpy(first).to(self.device)
        return latents, torch.from_numpy(maps).to(self.device).float() / 255

    def _read(self, shards: Shards, field: str, rows: np.ndarray) -> np.ndarray:
        return shards.take([self.ids[row] for row in rows], [field])[field]

    @torch.no_grad()
    def _encode(self, images: np.ndarray, rows: np.ndarray) -> Tensor:
        """Posterior means, in blocks of exactly :data:`BLOCK` images; the last is filled up."""
        parts = []
        for start in range(0, len(rows), BLOCK):
            names = [self.ids[row] for row in rows[start : start + BLOCK]]
            latents = self._encoded(
                filled(images[start : start + BLOCK]),
                names + names[-1:] * (BLOCK - len(names)),
                posterior="mean",
                seed=0,
                device=self.device,
            )
            parts.append(latents[: len(names)])
        return torch.cat(parts)


def filled(rows: np.ndarray) -> np.ndarray:
    """Rows brought up to :data:`BLOCK` with copies of the last one."""
    return np.concatenate([rows, np.repeat(rows[-1:], BLOCK - len(rows), axis=0)])


def choose_images(ids: Sequence[str], count: int | None, seed: int) -> list[str]:
    """``count`` images (all by default), in an order that depends on (seed, ids) only."""
    drawn = sorted(ids, key=lambda image_id: (seed_for(seed, "probe", image_id), image_id))
    return drawn[:count]
