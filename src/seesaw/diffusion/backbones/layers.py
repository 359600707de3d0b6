"""Parts that LightningDiT and DiT-DH share: RMS norm, SwiGLU, rotary attention, adaptive blocks.

Same computation and same names of weights as in hustvl/LightningDiT 2725fed (``models/``) and
bytetriper/RAE a4d18c4 (``stage2/models/``). Initial weights are LightningDiT's; they predict zero.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FREQUENCIES = 256
PERIOD = 10000.0
EPS = 1e-6


class Conditioning(NamedTuple):
    """What a block needs beside its tokens.

    ``vector``: ``(N, D)``, or ``(N, T, D)`` where every token has its own; ``rotary``: cosines and
    sines of the token positions, each ``(T, head width)``.
    """

    vector: Tensor
    rotary: tuple[Tensor, Tensor]


class PatchEmbed(nn.Module):
    """Squares of ``patch_size`` to tokens, row by row."""

    def __init__(self, channels: int, width: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, stride=patch_size)
        nn.init.xavier_uniform_(self.proj.weight.data.flatten(1))
        nn.init.zeros_(self.proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, T, D)``."""
        return self.proj(x).flatten(2).transpose(1, 2)


class LabelEmbedder(nn.Module):
    """One vector per label and one, the last, for no label."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, width)
        nn.init.normal_(self.embedding_table.weight, std=0.02)

    def forward(self, y: Tensor) -> Tensor:
        """``(N,)`` to ``(N, D)``."""
        return self.embedding_table(y)


class TimeEmbedder(nn.Module):
    """Cosines and sines of t (in [0, 1], not scaled), then two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = _time_mlp(FREQUENCIES, width)

    def forward(self, t: Tensor) -> Tensor:
        """``(N,)`` to ``(N, D)``."""
        half = FREQUENCIES // 2
        steps = torch.arange(half, dtype=torch.float32, device=t.device)
        angles = t[:, None].float() * torch.exp(-math.log(PERIOD) * steps / half)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))


class GaussianTimeEmbedder(nn.Module):
    """Sines and cosines of t at random frequencies, which are part of the weights, two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("W", torch.randn(FREQUENCIES))
        self.mlp = _time_mlp(2 * FREQUENCIES, width)

    def forward(self, t: Tensor) -> Tensor:
        """``(N,)`` to ``(N, D)``."""
        angles = t[:, None].float() * self.W * 2 * math.pi
        return self.mlp(torch.cat([angles.sin(), angles.cos()], dim=-1))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _time_mlp(inputs: int, width: int) -> nn.Sequential:
    layers = nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width))
    for layer in (layers[0], layers[2]):
        nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
    return layers


class RotaryTable(nn.Module):
    """Rotary position table of a square grid of tokens.

    The first half of a head turns with the row, the second with the column; neighbouring channels
    form a pair and turn by ``position * 10000^(-2i / (head width / 2))``, i = 0, 1, ...

    Raises:
        ValueError: the head's width is no multiple of 4.
    """

    def __init__(self, head_width: int, side: int) -> None:
        super().__init__()
        if head_width % 4:
            raise ValueError(
                f"rotary positions of a grid need heads whose width is a multiple of 4, got "
                f"{head_width}; choose another number of heads or another width"
            )
        half = head_width // 2
        rates = 1 / PERIOD ** (torch.arange(0, half, 2, dtype=torch.float32) / half)
        angles = torch.arange(side, dtype=torch.float32)[:, None] * rates
        angles = angles.repeat_interleave(2, dim=1)
        rows, columns = (axis.flatten() for axis in _grid(side, torch.int64))
        angles = torch.cat([angles[rows], angles[columns]], dim=1)
        self.register_buffer("freqs_cos", angles.cos())
        self.register_buffer("freqs_sin", angles.sin())

    def forward(self) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each ``(T, head width)``."""
        return self.freqs_cos, self.freqs_sin


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the channel pairs of queries or keys ``(..., T, head width)`` by their positions."""
    cosines, sines = rotary
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([-second, first], dim=-1).flatten(-2)
    return (x * cosines + turned * sines).to(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads do not divide width {width}; choose another")
        self.heads = heads
        self.qkv = _linear(width, 3 * width)
        self.proj = _linear(width, width)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """``(N, T, D)`` to the same."""
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(rotate(q, rotary), rotate(k, rotary), v)
        return self.proj(mixed.transpose(1, 2).reshape(n, t, d))


class SwiGLU(nn.Module):
    """Two layers with a SiLU gate; ``int(8/3 width)`` wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = int(2 / 3 * (4 * width))
        self.w12 = _linear(width, 2 * hidden)
        self.w3 = _linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` to the same."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``x (1 + scale) + shift``."""
    return x * (1 + scale) + shift


class Adaptive(nn.Module):
    """Base of what a condition modulates: ``parts`` vectors out of SiLU and a zero linear map."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, parts * width))
        nn.init.zeros_(self.adaLN_modulation[1].weight)
        nn.init.zeros_(self.adaLN_modulation[1].bias)

    def modulation(self, vector: Tensor) -> tuple[Tensor, ...]:
        """``(N, D)`` or ``(N, T, D)`` to ``parts`` tensors ``(N, 1 or T, D)``."""
        vector = vector if vector.ndim == 3 else vector[:, None]
        return self.adaLN_modulation(vector).chunk(self.parts, dim=-1)


class Block(Adaptive):
    """Rotary attention and SwiGLU, each after an RMS norm, modulated and gated (adaLN-Zero)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, 6)
        self.norm1 = nn.RMSNorm(width, eps=EPS)
        self.norm2 = nn.RMSNorm(width, eps=EPS)
        self.attn = Attention(width, heads)
        self.mlp = SwiGLU(width)

    def forward(self, tokens: Tensor, conditioning: Any) -> Tensor:
        """Tokens ``(N, T, D)`` to the same; ``conditioning`` has the fields of Conditioning."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(conditioning.vector)
        mixed = self.attn(modulate(self.norm1(tokens), shift_a, scale_a), conditioning.rotary)
        tokens = tokens + gate_a * mixed
        return tokens + gate_m * self.mlp(modulate(self.norm2(tokens), shift_m, scale_m))


class FinalLayer(Adaptive):
    """Modulated RMS norm, then a zero-initialised linear map to the values of a patch."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__(width, 2)
        self.norm_final = nn.RMSNorm(width, eps=EPS)
        self.linear = nn.Linear(width, values)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Tensor, vector: Tensor) -> Tensor:
        """``(N, T, D)`` to ``(N, T, values)``."""
        shift, scale = self.modulation(vector)
        return self.linear(modulate(self.norm_final(tokens), shift, scale))


def sincos_2d(width: int, side: int) -> Tensor:
    """Fixed positions of a square grid, float64 ``(side * side, width)``.

    The first half encodes the column, the second the row; each half sines, then cosines.
    """
    quarter = width // 4
    rates = PERIOD ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, columns = (axis.flatten()[:, None] * rates for axis in _grid(side, torch.float64))
    return torch.cat([columns.sin(), columns.cos(), rows.sin(), rows.cos()], dim=1)


def _grid(side: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.meshgrid(*[torch.arange(side, dtype=dtype)] * 2, indexing="ij")


def check_grid(latent_shape: tuple[int, ...], width: int, patch_size: int = 1) -> int:
    """Tokens per side.

    Raises:
        ValueError: the latent is no square grid that the patches divide, or the width does not
            divide by 4 (two coordinates, sine and cosine).
    """
    if len(latent_shape) != 3 or latent_shape[1] != latent_shape[2] or latent_shape[1] % patch_size:
        raise ValueError(
            f"this backbone takes latents (C, H, H) with H a multiple of {patch_size}, got "
            f"{latent_shape}"
        )
    if width % 4:
        raise ValueError(f"the width must be a multiple of 4, got {width}")
    return latent_shape[1] // patch_size


def unpatchify(values: Tensor, side: int, patch_size: int) -> Tensor:
    """Values of patches ``(N, T, p p C)``, channels last in a patch, to ``(N, C, H, H)``."""
    n, p = len(values), patch_size
    grid = values.reshape(n, side, side, p, p, -1).permute(0, 5, 1, 3, 2, 4)
    return grid.reshape(n, -1, side * p, side * p)


def logit_normal(count: int, generator: torch.Generator) -> Tensor:
    """``sigmoid(standard normal)``, float32 ``(count,)``, on the generator's device."""
    return torch.randn(count, generator=generator, device=generator.device).sigmoid()
