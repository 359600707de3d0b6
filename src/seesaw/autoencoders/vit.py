"""Vision transformer parts: pre-norm blocks, patches to tokens and back."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Pre-norm transformer block: self-attention, then a two-layer GELU perceptron.

    At first queries and keys are made by the same matrix, so that tokens attend to tokens like
    themselves (those at the same place), and the perceptron's last layer is zero.

    Args:
        dim: channels of a token.
        heads: attention heads; must divide ``dim``.
        ratio: hidden width of the perceptron over ``dim``.
    """

    def __init__(self, dim: int, heads: int, ratio: float = 4.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide width {dim}; choose another")
        hidden = int(dim * ratio)
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        for part in (*self.qkv.weight.data.split(dim), self.out.weight):
            nn.init.xavier_uniform_(part)
        self.qkv.weight.data[dim : 2 * dim] = self.qkv.weight.data[:dim]
        nn.init.zeros_(self.fc2.weight)
        nn.init.zeros_(self.fc2.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``(N, T, dim)`` to tokens of the same shape."""
        n, length, dim = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).view(n, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, dim)
        tokens = tokens + self.out(mixed)
        return tokens + self.fc2(F.gelu(self.fc1(self.norm2(tokens))))


class RotaryAttention(nn.Module):
    """Self-attention under timm's names (``qkv``, ``proj``) whose queries and keys can be rotated.

    Args:
        dim: channels of a token.
        heads: attention heads; must divide ``dim``.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} heads do not divide width {dim}; choose another")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, rotation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Tokens ``(N, T, dim)`` to tokens of the same shape; ``rotation``: see :func:`rotate`."""
        n, length, dim = tokens.shape
        qkv = self.qkv(tokens).view(n, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, dim)
        return self.proj(mixed)


def rotate(vectors: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position embedding of neighbouring channel pairs (2k, 2k + 1).

    Channel pairs (a, b) become (a cos - b sin, b cos + a sin), each with the angle of its own
    channel. The arithmetic is that of the wider dtype, so float32 tables serve bfloat16 vectors.

    Args:
        vectors: ``(N, heads, T, D)``, D even.
        rotation: cosines and sines, each ``(T, D)`` or ``(heads, T, D)``.
    """
    cos, sin = rotation
    partners = torch.stack((-vectors[..., 1::2], vectors[..., 0::2]), -1).flatten(-2)
    return (vectors * cos + partners * sin).to(vectors.dtype)


def patchify(images: Tensor, patch: int) -> Tensor:
    """Images ``(N, C, H, H)`` to patches in raster order, ``(N, (H / patch)^2, C patch^2)``."""
    return F.pixel_unshuffle(images, patch).flatten(2).transpose(1, 2)


def unpatchify(patches: Tensor, patch: int) -> Tensor:
    """The inverse of :func:`patchify` for square images."""
    n, length, channels = patches.shape
    grid = round(length**0.5)
    return F.pixel_shuffle(patches.transpose(1, 2).reshape(n, channels, grid, grid), patch)


def colours_first(patches: Tensor) -> Tensor:
    """Patches of (row, column, colour) values, ``(N, T, 3 p^2)``, in :func:`unpatchify`'s order."""
    return patches.unflatten(-1, (-1, 3)).transpose(-1, -2).flatten(-2)


def positions(length: int, dim: int) -> nn.Parameter:
    """Learned position embeddings ``(1, length, dim)``, standard normal at first.

    So large that they weigh as much as what a token says: attention then finds places early.
    """
    return nn.Parameter(torch.randn(1, length, dim))
