"""Representation autoencoder: a frozen feature network encodes, a trained decoder reconstructs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.autoencoders.base import Autoencoder
from seesaw.autoencoders.vit import Block, positions, unpatchify
from seesaw.networks import Network
from seesaw.registry import resolve
from seesaw.shards import Shards

STATISTICS_IMAGES = 2000
EPS = 1e-5


class RAE(Autoencoder):
    """RAE (arXiv 2510.11690): tokens of a frozen encoder as latents, with a transformer decoder.

    The encoder's tokens (N, T, D) become a grid (D, g, g), g^2 = T, normalised per channel with mean
    and deviation over training images. Encoder weights and statistics are part of this model's own
    weights file, so the file is enough to use it.

    Args:
        resolution: side of the images, in pixels.
        encoder: ``"module:Class"`` of a torch module with ``tokens(images) -> (N, T, D)`` of float
            images in [-1, 1], ``dim`` (D) and ``grid`` (g).
        encoder_config: its keyword arguments.
        width: channels of the decoder.
        depth: blocks of the decoder.
        heads: attention heads of the decoder.

    Raises:
        ValueError: the grid does not divide the resolution, or the encoder lacks a part.
    """

    spatial = True

    def __init__(
        self,
        resolution: int,
        encoder: str = "seesaw.mini.dino:DinoVit",
        encoder_config: Mapping[str, Any] | None = None,
        width: int = 96,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.encoder = resolve(encoder)(**dict(encoder_config or {}))
        for part in ("tokens", "dim", "grid"):
            if not hasattr(self.encoder, part):
                raise ValueError(f"encoder {encoder!r} of the RAE has no {part!r}")
        self.encoder.requires_grad_(False).eval()
        dim, grid = self.encoder.dim, self.encoder.grid
        if resolution % grid:
            raise ValueError(f"resolution {resolution} is not a multiple of the token grid {grid}")
        self.resolution = resolution
        self.latent_shape = (dim, grid, grid)
        self.register_buffer("mean", torch.zeros(dim, 1, 1))
        self.register_buffer("deviation", torch.ones(dim, 1, 1))
        self.patch = resolution // grid
        self.embed = nn.Linear(dim, width)
        self.positions = positions(grid**2, width)
        self.decoder = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.to_pixels = nn.Linear(width, 3 * self.patch**2)

    def train(self, mode: bool = True) -> "RAE":
        """Training mode for the decoder; the encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def prepare(self, teacher: Network | None, images: Shards) -> None:
        """Take the encoder's weights from ``teacher`` and the statistics from ``images``.

        Called once before training. The statistics come from 2,000 images evenly spaced in the set.

        Raises:
            ValueError: there is no teacher, or its network is not of the encoder's kind.
        """
        network = getattr(teacher, "network", None)
        if not isinstance(network, nn.Module):
            raise ValueError(
                "family 'rae' needs the trained network that encodes; set 'teacher' in its train "
                "block to the role that it plays (teacher: dino)"
            )
        try:
            self.encoder.load_state_dict(network.state_dict())
        except RuntimeError as error:
            raise ValueError(f"the teacher does not fit the RAE's encoder: {error}") from error
        rows = np.linspace(0, len(images) - 1, min(STATISTICS_IMAGES, len(images))).astype(int)
        self.fit_statistics(images, [images.ids[row] for row in rows])

    @torch.no_grad()
    def fit_statistics(self, images: Shards, ids: Sequence[str], batch_size: int = 100) -> None:
        """Set mean and deviation per channel from the tokens of the images named by ``ids``."""
        total = torch.zeros(2, self.latent_shape[0], dtype=torch.float64)
        count = 0
        for start in range(0, len(ids), batch_size):
            batch = images.take(ids[start : start + batch_size], ["images"])["images"]
            pixels = torch.from_numpy(batch).to(self.mean.device).float() / 127.5 - 1
            tokens = self.encoder.tokens(pixels).flatten(0, 1).double().cpu()
            total += torch.stack([tokens.sum(0), tokens.square().sum(0)])
            count += len(tokens)
        mean, square = total / count
        deviation = (square - mean**2).clamp_min(0).sqrt()
        self.mean.copy_(mean.view(-1, 1, 1))
        self.deviation.copy_(deviation.view(-1, 1, 1))

    def posterior(self, images: Tensor) -> tuple[Tensor, None]:
        """Normalised tokens as a grid ``(N, D, g, g)``; there is no variance."""
        with torch.no_grad():
            tokens = self.encoder.tokens(images)
        grid = tokens.transpose(1, 2).reshape(len(images), *self.latent_shape)
        return (grid - self.mean) / (self.deviation + EPS), None

    def decode(self, latents: Tensor) -> Tensor:
        """See :meth:`Autoencoder.decode`."""
        tokens = self.embed(latents.flatten(2).transpose(1, 2)) + self.positions
        return unpatchify(self.to_pixels(self.norm(self.decoder(tokens))), self.patch)
