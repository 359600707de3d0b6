"""SiT: a diffusion transformer that predicts the velocity of the linear path (Ma et al. 2024).

Same computation and same state-dict layout as the model of the iFID paper
(tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID bac6ede, ``ifid/sit/sit.py``), so its released
checkpoints load. Time runs from 0 (data) to 1 (noise): ``x_t = (1 - t) x + t noise``, velocity
``noise - x``. Latents are normalised by the model's own BatchNorm.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.diffusion.backbones.base import Backbone
from seesaw.diffusion.backbones.layers import LabelEmbedder, PatchEmbed, TimeEmbedder, sincos_2d
from seesaw.diffusion.sizes import size_of, time_shift_of

BN_EPS = 1e-4
BN_MOMENTUM = 0.1


class SiT(Backbone):
    """Velocity network on latents.

    Args:
        latent_shape: ``(C, H, H)`` of a grid or ``(T, C)`` of tokens.
        size: a name in :data:`seesaw.diffusion.sizes.SIZES`.
        patch_size: side of the squares that become one token; 1 for tokens.
        num_classes: labels are ``0 .. num_classes - 1``; ``num_classes`` means no label.
        time_shift: ``s`` of :meth:`shift_time`; None, the paper's for this latent.

    Raises:
        ValueError: an unknown size, or a latent that cannot be cut into such patches.
    """

    data_at = 0

    def __init__(
        self,
        latent_shape: Sequence[int],
        *,
        size: str,
        patch_size: int = 1,
        num_classes: int = 1000,
        time_shift: float | None = None,
    ) -> None:
        super().__init__()
        depth, width, heads = (getattr(size_of(size), f) for f in ("depth", "width", "heads"))
        self.latent_shape = tuple(latent_shape)
        self.num_classes = num_classes
        self.time_shift = time_shift_of(self.latent_shape) if time_shift is None else time_shift
        self.patch_size = patch_size
        self.spatial = _check_latent(self.latent_shape, patch_size)
        self.channels = self.latent_shape[0 if self.spatial else 1]
        if self.spatial:
            side = self.latent_shape[1] // patch_size
            self.token_grid = (side, side)
            self.x_embedder: nn.Module = PatchEmbed(self.channels, width, patch_size)
            positions = sincos_2d(width, side)
            self.bn: nn.Module = nn.BatchNorm2d(
                self.channels, eps=BN_EPS, momentum=BN_MOMENTUM, affine=False
            )
        else:
            self.token_grid = None
            self.x_embedder = nn.Linear(self.channels, width)
            positions = sincos_1d(width, self.latent_shape[0])
            self.bn = nn.BatchNorm1d(self.channels, eps=BN_EPS, momentum=BN_MOMENTUM, affine=False)
        self.t_embedder = TimeEmbedder(width)
        self.y_embedder = LabelEmbedder(num_classes, width)
        self.pos_embed = nn.Parameter(positions[None].float(), requires_grad=False)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.final_layer = FinalLayer(width, patch_size**2 * self.channels)
        self._initialise()

    def _initialise(self) -> None:
        for part in (self.x_embedder, self.blocks, self.final_layer):
            for module in part.modules():
                if isinstance(module, nn.Linear):
                    nn.init.xavier_uniform_(module.weight)
                    nn.init.zeros_(module.bias)
        for part in (*self.blocks, self.final_layer):
            nn.init.zeros_(part.adaLN_modulation[1].weight)
        nn.init.zeros_(self.final_layer.linear.weight)

    def shift_time(self, t: Tensor) -> Tensor:
        """``s t / (1 + (s - 1) t)``: more time near the noise for larger latents."""
        return self.time_shift * t / (1 + (self.time_shift - 1) * t)

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Training times: uniform, then the shift; float32 ``(count,)``."""
        return self.shift_time(torch.rand(count, generator=generator, device=generator.device))

    def normalise(self, latents: Tensor) -> Tensor:
        """BatchNorm of raw latents: by the batch in training, by running statistics else."""
        if self.spatial:
            return self.bn(latents)
        return self.bn(latents.transpose(1, 2)).transpose(1, 2)

    def denormalise(self, x: Tensor) -> Tensor:
        """Samples back to raw latents: ``x sqrt(running_var) + running_mean``.

        As the paper's code, without the eps of :meth:`normalise`.
        """
        shape = (1, -1, 1, 1) if self.spatial else (1, 1, -1)
        scale = self.bn.running_var.sqrt().view(shape)
        return x * scale.to(x.dtype) + self.bn.running_mean.view(shape).to(x.dtype)

    def embed(self, x: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Latents, times and labels to tokens ``(N, T, D)`` and a condition ``(N, D)``."""
        return self.x_embedder(x) + self.pos_embed, self.t_embedder(t) + self.y_embedder(y)

    def unembed(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Tokens of the last block to a velocity ``(N, *latent_shape)``."""
        x = self.final_layer(tokens, condition)
        if not self.spatial:
            return x
        (rows, columns), p, c = self.token_grid, self.patch_size, self.channels
        x = x.reshape(-1, rows, columns, p, p, c).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(-1, c, rows * p, columns * p)

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Velocity at normalised latents ``x``.

        Args:
            x: ``(N, *latent_shape)``, normalised.
            t: ``(N,)`` in [0, 1], 0 data, 1 noise (after the shift).
            y: int64 ``(N,)``; ``num_classes`` means no label.
        """
        tokens, condition = self.embed(x, t, y)
        for block in self.blocks:
            tokens = block(tokens, condition)
        return self.unembed(tokens, condition)


def _check_latent(shape: tuple[int, ...], patch_size: int) -> bool:
    """Whether the latent is a grid; raise where it cannot be cut into patches."""
    if len(shape) == 2:
        if patch_size != 1:
            raise ValueError(f"1-D tokens {shape} take patch_size 1, got {patch_size}")
        return False
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] % patch_size:
        raise ValueError(
            f"a SiT with patch_size {patch_size} takes latents (C, H, H) with H a multiple of "
            f"{patch_size}, or tokens (T, C); got {shape}"
        )
    return True


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, T, D)`` to the same."""
        n, t, d = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d))


class Mlp(nn.Module):
    """Two layers with a tanh-approximated GELU between, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` to the same."""
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without learned parameters, then ``x (1 + scale) + shift`` per image."""
    x = F.layer_norm(x, x.shape[-1:], eps=1e-6)
    return torch.addcmul(shift[:, None], x, 1 + scale[:, None])


class Block(nn.Module):
    """Attention and MLP, each modulated and gated by the condition (adaLN-Zero)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = Attention(width, heads)
        self.mlp = Mlp(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Tokens ``(N, T, D)`` and a condition ``(N, D)`` to tokens."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(c).chunk(6, 1)
        x = torch.addcmul(x, gate_a[:, None], self.attn(modulate(x, shift_a, scale_a)))
        return torch.addcmul(x, gate_m[:, None], self.mlp(modulate(x, shift_m, scale_m)))


class FinalLayer(nn.Module):
    """Modulated layer norm, then a linear map to the values of a patch."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, values)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """``(N, T, D)`` to ``(N, T, values)``."""
        shift, scale = self.adaLN_modulation(c).chunk(2, 1)
        return self.linear(modulate(x, shift, scale))


def sincos_1d(width: int, length: int) -> Tensor:
    """Fixed positions of a sequence, ``(length, width)``: sines at even, cosines at odd places."""
    positions = torch.arange(length, dtype=torch.float64)[:, None]
    steps = torch.arange(0, width, 2, dtype=torch.float64)
    angles = positions * torch.exp(-math.log(10000.0) / width * steps)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
