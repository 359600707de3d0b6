"""VTP: a vision transformer whose patch tokens, narrowed to 64 channels, are decoded to pixels."""

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.autoencoders.base import Autoencoder
from seesaw.autoencoders.imagenet import from_imagenet, to_imagenet
from seesaw.autoencoders.precision import FixedDtype
from seesaw.autoencoders.weights import MAIN, STATISTICS, Layout

HEAD = 64
TEXT = (
    "text_transformer.",
    "token_embedding.",
    "positional_embedding",
    "ln_final.",
    "text_projection",
    "visual_proj.",
    "logit_scale",
)
"""What the files hold for comparing images with texts: no part of the autoencoder."""


class Rope(FixedDtype):
    """Rotary position embedding of patches on a grid, in bfloat16 as the authors compute it.

    Angles, sines and cosines, queries and keys are rounded to bfloat16: in float32 the latents
    differ by about 1e-2. The periods are in the files, in bfloat16.
    """

    def __init__(self) -> None:
        super().__init__()
        exponents = torch.arange(HEAD // 4) / (HEAD // 4)
        self.register_buffer("periods", (100**exponents).bfloat16())

    def forward(self, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the angles of all patches, each ``(rows * columns, 64)``."""
        periods = self.periods
        axes = (self._centers(count, periods) for count in (rows, columns))
        places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).view(-1, 2, 1)
        angles = (2 * math.pi * places / periods).flatten(1).tile(2)
        return angles.cos(), angles.sin()

    @staticmethod
    def _centers(count: int, like: Tensor) -> Tensor:
        """Centres of ``count`` patches along one axis of length 2 around 0."""
        steps = torch.arange(count, device=like.device, dtype=like.dtype) + 0.5
        return 2 * (steps / count) - 1


def rotate(vectors: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn queries or keys ``(N, heads, T, 64)`` of the last patches; tokens before them stay.

    Element k turns with element k + 32. All tokens are rounded to the dtype of ``cosine``.
    """
    rounded = vectors.to(cosine.dtype)
    first = vectors.shape[2] - len(cosine)
    patches = rounded[:, :, first:]
    left, right = patches.chunk(2, dim=-1)
    turned = patches * cosine + torch.cat([-right, left], dim=-1) * sine
    return torch.cat([rounded[:, :, :first], turned], dim=2).to(vectors.dtype)


class RMSNorm(nn.Module):
    """Root mean square norm, in float32 whatever the input is."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``(..., dim)`` to tokens of the same shape and dtype."""
        wide = tokens.float()
        normed = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return normed.to(tokens.dtype) * self.weight


class Attention(nn.Module):
    """Self-attention whose queries and keys are rotated by :class:`Rope`."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Tokens ``(N, T, dim)`` to tokens of the same shape."""
        n, length, dim = tokens.shape
        qkv = self.qkv(tokens).view(n, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(rotate(q, *angles), rotate(k, *angles), v)
        return self.proj(mixed.transpose(1, 2).reshape(n, length, dim))


class GatedPerceptron(nn.Module):
    """SwiGLU: ``w3(silu(w1 x) * w2 x)``, two thirds of 4 dim wide, rounded up to 8."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = math.ceil(int(4 * dim * 2 / 3) / 8) * 8
        self.w1 = nn.Linear(dim, hidden)
        self.w2 = nn.Linear(dim, hidden)
        self.w3 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``(N, T, dim)`` to tokens of the same shape."""
        return self.w3(F.silu(self.w1(tokens)) * self.w2(tokens))


class Block(nn.Module):
    """Pre-norm transformer block with rotary positions."""

    def __init__(self, dim: int, heads: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm1 = norm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = norm(dim)
        self.mlp = GatedPerceptron(dim)

    def forward(self, tokens: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        """Tokens ``(N, T, dim)`` to tokens of the same shape."""
        tokens = tokens + self.attn(self.norm1(tokens), angles)
        return tokens + self.mlp(self.norm2(tokens))


class Trunk(nn.Module):
    """The encoder: patches and a class token, blocks, a linear map to the latent's channels."""

    def __init__(self, dim: int, depth: int, heads: int, patch: int, channels: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        # in the files, without effect: it replaces patches that training hides
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, patch, stride=patch)})
        self.rope_embed = Rope()
        self.blocks = nn.ModuleList(Block(dim, heads, RMSNorm) for _ in range(depth))
        self.norm = RMSNorm(dim)
        self.feature_bottleneck = nn.Linear(dim, channels, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(N, 3, R, R)`` of ImageNet's mean and deviation to a grid ``(N, C, g, g)``."""
        patches = self.patch_embed["proj"](images)
        grid = patches.shape[-2:]
        angles = self.rope_embed(*grid)
        tokens = patches.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens, angles)
        latents = self.feature_bottleneck(self.norm(tokens)[:, 1:])
        return latents.transpose(1, 2).unflatten(2, grid)


class PixelDecoder(nn.Module):
    """The decoder: latents to tokens, blocks, and a square of pixels from each."""

    def __init__(self, dim: int, depth: int, heads: int, patch: int, channels: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj_in = nn.Conv2d(channels, dim, 1)
        self.rope_embed = Rope()
        self.blocks = nn.ModuleList(Block(dim, heads, _layer_norm) for _ in range(depth))
        self.norm = _layer_norm(dim)
        self.proj_out = nn.Conv2d(dim, 3 * patch**2, 1)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents ``(N, C, h, w)`` to images of ImageNet's mean and deviation."""
        grid = latents.shape[-2:]
        angles = self.rope_embed(*grid)
        tokens = self.proj_in(latents).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens, angles)
        patches = self.norm(tokens).transpose(1, 2).unflatten(2, grid)
        return F.pixel_shuffle(self.proj_out(patches), self.patch)


class VTP(Autoencoder):
    """VTP (MiniMax-AI/VTP, commit 5ce1eb6): vision transformers on both sides.

    Files: ``autoencoder`` (its text tower is left out) and ``stats`` (mean and deviation), which
    only ``latents: normalized`` needs.

    Args:
        width: channels of a token, in encoder and decoder: a multiple of 64.
        depth: blocks of each.
        resolution: side of the images, in pixels.
        patch: side of a patch, in pixels.
        channels: of the latents.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    spatial = True
    resizable = True
    on_meta = True
    layouts: ClassVar[Mapping[str, Layout]] = {
        MAIN: Layout(drop=TEXT),
        STATISTICS: Layout(optional=True),
    }

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        resolution: int = 256,
        patch: int = 16,
        channels: int = 64,
    ) -> None:
        super().__init__()
        if width % HEAD or resolution % patch:
            raise ValueError(
                f"width {width} must be a multiple of {HEAD}, and resolution {resolution} of "
                f"patch {patch}"
            )
        self.resolution = resolution
        self.latent_shape = (channels, resolution // patch, resolution // patch)
        self.trunk = Trunk(width, depth, width // HEAD, patch, channels)
        self.pixel_decoder = PixelDecoder(width, depth, width // HEAD, patch, channels)

    def statistics(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and scale 1 / deviation, each ``(1, C, 1, 1)``.

        Raises:
            ValueError: no ``mean`` and ``std`` with one value per channel.
        """
        channels = self.latent_shape[0]
        found = {key: tuple(tensor.shape) for key, tensor in state.items()}
        if any(key not in state or state[key].numel() != channels for key in ("mean", "std")):
            raise ValueError(
                f"the file of statistics holds {found}; it must hold 'mean' and 'std' with "
                f"{channels} values each"
            )
        mean, deviation = (state[key].float().view(1, channels, 1, 1) for key in ("mean", "std"))
        return mean, 1 / deviation

    def posterior(self, images: Tensor) -> tuple[Tensor, None]:
        """Narrowed patch tokens as a grid; there is no variance."""
        return self.trunk(to_imagenet(images)), None

    def render(self, latents: Tensor) -> Tensor:
        """Raw latents to images about [-1, 1], unclamped; larger grids give larger images."""
        return from_imagenet(self.pixel_decoder(latents))


def _layer_norm(dim: int) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=1e-6)
