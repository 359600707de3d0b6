"""Representation autoencoder: a frozen feature network encodes, a trained decoder reconstructs."""

import math
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
MINI_DINO = "seesaw.mini.dino:PatchTransformer"


class RAE(Autoencoder):
    """RAE (arXiv 2510.11690): tokens of a frozen encoder as latents, with a transformer decoder.

    The encoder's tokens (N, T, D) become a grid (D, g, g), g^2 = T, normalised per channel with
    mean and deviation over training images. Encoder weights and statistics are part of this model's
    own weights file, so the file is enough to use it.

    Args:
        resolution: side of the images, in pixels.
        encoder: ``"module:Class"`` of a torch module that takes float images in [-1, 1],
            ``(N, 3, R, R)``, and returns tokens in raster order, ``(N, T, D)`` (no class token).
        encoder_config: its keyword arguments.
        width: channels of the decoder.
        depth: blocks of the decoder.
        heads: attention heads of the decoder.

    Raises:
        ValueError: the encoder returns no tokens of a square grid that divides the resolution.
    """

    spatial = True

    def __init__(
        self,
        resolution: int,
        encoder: str = MINI_DINO,
        encoder_config: Mapping[str, Any] | None = None,
        width: int = 96,
        depth: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__()
        if encoder_config is None:
            encoder_config = {"norm": False} if encoder == MINI_DINO else {}
        self.encoder = resolve(encoder)(**encoder_config).requires_grad_(False).eval()
        dim, grid = _measure(self.encoder, resolution)
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
        network = getattr(teacher, "model", None)
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
            tokens = self.encoder(pixels).flatten(0, 1).double().cpu()
            total += torch.stack([tokens.sum(0), tokens.square().sum(0)])
            count += len(tokens)
        mean, square = total / count
        deviation = (square - mean**2).clamp_min(0).sqrt()
        self.mean.copy_(mean.view(-1, 1, 1))
        self.deviation.copy_(deviation.view(-1, 1, 1))

    def posterior(self, images: Tensor) -> tuple[Tensor, None]:
        """Normalised tokens as a grid ``(N, D, g, g)``; there is no variance."""
        with torch.no_grad():
            tokens = self.encoder(images)
        grid = tokens.transpose(1, 2).reshape(len(images), *self.latent_shape)
        return (grid - self.mean) / (self.deviation + EPS), None

    def render(self, latents: Tensor) -> Tensor:
        """See :meth:`Autoencoder.render`."""
        tokens = self.embed(latents.flatten(2).transpose(1, 2)) + self.positions
        return unpatchify(self.to_pixels(self.norm(self.decoder(tokens))), self.patch)


@torch.no_grad()
def _measure(encoder: nn.Module, resolution: int) -> tuple[int, int]:
    """Channels D and grid side g of the tokens that ``encoder`` makes."""
    tokens = encoder(torch.zeros(1, 3, resolution, resolution))
    grid = math.isqrt(tokens.shape[1]) if tokens.ndim == 3 else 0
    if not grid or grid**2 != tokens.shape[1] or resolution % grid:
        raise ValueError(
            f"the RAE's encoder {type(encoder).__name__} returns {tuple(tokens.shape)} for an "
            f"image of {resolution} pixels; it must return (1, g * g, D), and g must divide that"
        )
    return tokens.shape[2], grid
