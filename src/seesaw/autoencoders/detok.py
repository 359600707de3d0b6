"""l-DeTok: a grid of 16 x 16 latents between two transformers with rotary positions."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.autoencoders.base import Autoencoder
from seesaw.autoencoders.continuous_tokenizer import embedding
from seesaw.autoencoders.vit import RotaryAttention, colours_first, unpatchify
from seesaw.autoencoders.weights import MAIN, STATISTICS, Layout

EPS = 1e-6
FREQUENCIES = (7.0, 7e-4)
"""Turns over the side of the image, of the fastest and of the slowest pair of channels."""


class SwiGLU(nn.Module):
    """Gated perceptron ``w3(silu(a) * b)``, a and b made by ``w12``, 8/3 ``width`` wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = int(2 / 3 * width * 4)
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``(..., width)`` to tokens of the same shape."""
        gate, values = self.w12(tokens).chunk(2, -1)
        return self.w3(F.silu(gate) * values)


class Block(nn.Module):
    """Pre-norm block with RMS norms and a gated perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(width, eps=EPS)
        self.attn = RotaryAttention(width, heads)
        self.norm2 = nn.RMSNorm(width, eps=EPS)
        self.mlp = SwiGLU(width)

    def forward(self, tokens: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        """Tokens ``(N, T, width)`` to tokens of the same shape."""
        tokens = tokens + self.attn(self.norm1(tokens), rotation)
        return tokens + self.mlp(self.norm2(tokens))


class Transformer(nn.Module):
    """What encoder and decoder share: positions, norms and blocks over ``side * side`` tokens."""

    def __init__(self, *, width: int, depth: int, heads: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.head_channels = width // heads
        self.positional_embedding = embedding(side**2, width)
        self.ln_pre = nn.RMSNorm(width, eps=EPS)
        self.transformer = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.ln_post = nn.RMSNorm(width, eps=EPS)

    def transform(self, tokens: Tensor) -> Tensor:
        """Tokens ``(N, side * side, width)`` in raster order to tokens of the same shape."""
        rotation = grid_rotation(self.side, self.head_channels, tokens.device)
        tokens = self.ln_pre(tokens + self.positional_embedding)
        for block in self.transformer:
            tokens = block(tokens, rotation)
        return self.ln_post(tokens)


class Encoder(Transformer):
    """Images to mean and log variance per token."""

    def __init__(
        self, *, width: int, depth: int, heads: int, patch: int, side: int, channels: int
    ) -> None:
        super().__init__(width=width, depth=depth, heads=heads, side=side)
        self.patch_embed = nn.Sequential(nn.Conv2d(3, width, patch, patch))
        self.latent_head = nn.Linear(width, 2 * channels)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(N, 3, R, R)`` to tokens ``(N, side * side, 2 channels)``."""
        patches = self.patch_embed(images).flatten(2).transpose(1, 2)
        return self.latent_head(self.transform(patches))


class Decoder(Transformer):
    """Latent tokens to images; a last convolution smooths the seams of the patches."""

    def __init__(
        self, *, width: int, depth: int, heads: int, patch: int, side: int, channels: int
    ) -> None:
        super().__init__(width=width, depth=depth, heads=heads, side=side)
        self.patch = patch
        self.mask_token = embedding(1, width)  # of the masked training; of no effect here
        self.decoder_embed = nn.Linear(channels, width)
        self.ffn = nn.Sequential(nn.Identity(), nn.Conv2d(width, 3 * patch**2, 1))
        self.conv_out = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents ``(N, side * side, channels)`` to images ``(N, 3, R, R)``."""
        tokens = self.transform(self.decoder_embed(latents))
        grid = self.ffn(tokens.transpose(1, 2).unflatten(2, (self.side, self.side)))
        patches = colours_first(grid.flatten(2).transpose(1, 2))
        return self.conv_out(unpatchify(patches, self.patch))


class DeTok(Autoencoder):
    """l-DeTok (arXiv 2507.15856; Jiawei-Yang/DeTok 706f7ac, ``models/detok.py``).

    Latents are the means of a Gaussian posterior as a grid (channels, s, s), s = resolution /
    patch. Key names are the published ones. A published file holds the weights (``model``) and
    their moving average (``model_ema``), which the authors evaluate; ``stats.pkl`` beside it holds
    mean and deviation per channel, which their generators use.

    Args:
        resolution: side of the images, in pixels.
        patch: side of a patch, in pixels.
        channels: channels of the latent.
        width: channels of the transformers.
        depth: blocks of each.
        heads: attention heads of each.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    spatial = True
    stochastic = True
    on_meta = True
    ema = True
    layouts: ClassVar = {
        MAIN: Layout(entry="model", ema_entry="model_ema"),
        STATISTICS: Layout(entry="detok-BB-gamm3.0-m0.7", optional=True),
    }

    def __init__(
        self,
        *,
        resolution: int = 256,
        patch: int = 16,
        channels: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
    ) -> None:
        super().__init__()
        if resolution % patch:
            raise ValueError(f"resolution {resolution} is not a multiple of patch {patch}")
        if width % (4 * heads):
            raise ValueError(
                f"{heads} heads do not cut width {width} into pairs of channels for rows and for "
                "columns; choose another"
            )
        side = resolution // patch
        self.resolution = resolution
        self.latent_shape = (channels, side, side)
        sizes = {"width": width, "depth": depth, "heads": heads, "patch": patch, "side": side}
        self.encoder = Encoder(channels=channels, **sizes)
        self.decoder = Decoder(channels=channels, **sizes)

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each ``(N, *latent_shape)`` (the latter clamped to [-30, 20])."""
        moments = self.encoder(images).transpose(1, 2).unflatten(2, self.latent_shape[1:])
        mean, log_variance = moments.chunk(2, 1)
        return mean, log_variance.clamp(-30, 20)

    def render(self, latents: Tensor) -> Tensor:
        """Latents ``(N, *latent_shape)`` to images about [-1, 1]."""
        return self.decoder(latents.flatten(2).transpose(1, 2))

    def statistics(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and 1 / deviation, per channel or one for all, from ``mean`` and ``std``.

        Raises:
            ValueError: there are no such entries, or of another size.
        """
        channels = self.latent_shape[0]
        sizes = {key: state[key].numel() for key in ("mean", "std") if key in state}
        if len(sizes) < 2 or not set(sizes.values()) <= {1, channels}:
            found = {key: tuple(value.shape) for key, value in state.items()}
            raise ValueError(
                f"the statistics of l-DeTok's latents are 'mean' and 'std', a number or "
                f"{channels} of each; the file has {found or 'neither'}"
            )
        mean, deviation = (state[key].float().reshape(-1, 1, 1) for key in ("mean", "std"))
        return mean, 1 / deviation


def grid_rotation(
    side: int, channels: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Cosines and sines ``(side * side, channels)`` for :func:`vit.rotate`, in float32.

    The first half of the channels turns with the row, the second with the column, places going
    from 0 to 1. Within a half the frequencies, falling geometrically, are given twice in a row
    (f1 ... fn f1 ... fn), while the rotation pairs neighbours: as published, the two channels of a
    pair turn by different angles.
    """
    fastest, slowest = FREQUENCIES
    exponents = torch.linspace(0, -1, channels // 4, device=device)
    turns = 2 * math.pi * fastest * (fastest / slowest) ** exponents
    angles = torch.linspace(0, 1, side, device=device)[:, None] * torch.cat([turns, turns])
    rows = angles[:, None].expand(-1, side, -1)
    columns = angles[None].expand(side, -1, -1)
    angles = torch.cat([rows, columns], -1).flatten(0, 1)
    return angles.cos(), angles.sin()
