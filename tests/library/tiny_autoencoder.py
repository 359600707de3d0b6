"""An autoencoder without weights, and images for it: what training and sampling are tested on."""

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from seesaw.autoencoders import Autoencoder
from seesaw.shards import ShardWriter

CLASSES = 3


class Tiny(Autoencoder):
    """Means of 2 x 2 pixels of images 8 x 8, and the same enlarged again."""

    resolution = 8
    latent_shape = (3, 4, 4)
    spatial = True

    def __init__(self, spread: float = 0.0) -> None:
        super().__init__()
        self.spread = spread
        self.stochastic = spread > 0

    def posterior(self, images):
        mean = 4 * F.avg_pool2d(images, 2)
        return mean, torch.full_like(mean, 2 * np.log(self.spread)) if self.spread else None

    def decode(self, latents):
        return F.interpolate(latents / 4, scale_factor=2)


class Own:
    """A person's class, no torch module: it draws samples but does not say from what."""

    resolution = 8
    latent_shape = (3, 4, 4)
    stochastic = True

    def encode(self, images, noise=None):
        return Tiny(0.5).encode(images, noise)

    def decode(self, latents):
        return Tiny().decode(latents)


def write_images(folder, count=40, shard_size=16, seed=0, unlabelled=False):
    """Pack coloured noise: ``manifest.json`` and ``index.parquet``; brighter by class."""
    rng = np.random.default_rng(seed)
    labels = np.full(count, -1) if unlabelled else np.arange(count) % CLASSES
    base = rng.integers(0, 80, (count, 3, 1, 1)) + 50 * labels.clip(0)[:, None, None, None]
    images = (base + rng.integers(0, 60, (count, 3, 8, 8))).clip(0, 255).astype(np.uint8)
    ids = [f"image-{i:04d}" for i in range(count)]
    with ShardWriter(folder / "manifest.json", shard_size=shard_size, meta={}) as writer:
        writer.add(ids, {"images": images})
    pd.DataFrame({"id": ids, "label": labels}).to_parquet(folder / "index.parquet")
    return folder / "manifest.json", folder / "index.parquet"
