"""MAETok: 128 latent tokens of a masked autoencoder, without a quantiser."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from timm.layers import Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.autoencoders.continuous_tokenizer import (
    EPS,
    NAMES,
    TRAINING_ONLY,
    TokenAutoencoder,
    TokenEncoder,
    ToPixel,
    Trunk,
    embedding,
)
from seesaw.autoencoders.vit import RotaryAttention
from seesaw.autoencoders.weights import MAIN, Layout

MASKED_TRAINING_ONLY = (
    "decoder_hog.",
    "decoder_dino.",
    "decoder_clip.",
    "post_quant_conv_",
    "to_pixel_",
    "hog_generator.",
    "clip_model.",
    "clip_scale.",
    "clip_de_scale.",
)
"""Prefixes of the auxiliary decoders and their targets."""


class MixedRotation(nn.Module):
    """Rotary embedding of learned frequencies, one set per block and head.

    ``freqs`` is (2, blocks, heads * pairs): per pair of channels the angle per column and per row.
    It stays float32 when the module moves to a narrower dtype, as in the published code, and so do
    the angles: rounded frequencies turn far tokens by wrong angles.
    """

    POSITIONS = ("freqs", "freqs_t_x", "freqs_t_y")

    def start_rotation(self, *, width: int, depth: int, side: int) -> None:
        """Create the parameters, for ``side * side`` patches."""
        self.freqs = nn.Parameter(torch.randn(2, depth, width // 2))
        places = torch.arange(side**2)
        self.register_buffer("freqs_t_x", (places % side).float())
        self.register_buffer("freqs_t_y", (places // side).float())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        before = {name: getattr(self, name).detach() for name in self.POSITIONS}
        super()._apply(fn, recurse)
        for name, exact in before.items():
            moved = getattr(self, name)
            if moved.dtype.itemsize < exact.dtype.itemsize:
                moved.data = exact.to(moved.device)
        return self

    def mixed_rotations(
        self, *, heads: int, before: int, after: int
    ) -> list[tuple[Tensor, Tensor]]:
        """Cosines and sines ``(heads, T, D)`` of each block, for :func:`vit.rotate`.

        Args:
            heads: attention heads.
            before: tokens before the image's; they are not rotated.
            after: tokens behind the image's; they are not rotated.
        """
        columns, rows = self.freqs[:, :, None]
        angles = self.freqs_t_x[:, None] * columns + self.freqs_t_y[:, None] * rows
        angles = angles.unflatten(-1, (heads, -1)).transpose(1, 2).repeat_interleave(2, -1)
        angles = F.pad(angles, (0, 0, before, after))
        return list(zip(angles.cos(), angles.sin(), strict=True))


class MAETokEncoder(MixedRotation, TokenEncoder):
    """The shared encoder with rotated image tokens, beside its table of positions."""

    def __init__(
        self, *, width: int, depth: int, heads: int, patch: int, side: int, tokens: int
    ) -> None:
        super().__init__(
            width=width, depth=depth, heads=heads, patch=patch, side=side, tokens=tokens
        )
        self.mask_token = embedding(1, width)  # of the masked training; of no effect here
        self.start_rotation(width=width, depth=depth, side=side)

    def rotations(self) -> Sequence[tuple[Tensor, Tensor]]:
        """Rotations that leave the class token and the latent tokens alone."""
        return self.mixed_rotations(heads=self.heads, before=1, after=self.latent_tokens.shape[1])


class Modulation(nn.Sequential):
    """SiLU and a linear layer: raw latents ``(N, K, channels)`` to ``parts`` tensors of ``width``.

    All zeros at first, as published.
    """

    def __init__(self, channels: int, width: int, parts: int) -> None:
        super().__init__(nn.SiLU(), nn.Linear(channels, parts * width))
        self.parts = parts
        nn.init.zeros_(self[1].weight)
        nn.init.zeros_(self[1].bias)

    def forward(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Shifts and scales in turn, each ``(N, K, width)``."""
        return super().forward(latents).chunk(self.parts, -1)


def modulate(tokens: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Tokens ``(N, T, width)`` of which the last K become ``token * scale + shift``."""
    image, latent = tokens.tensor_split([tokens.shape[1] - shift.shape[1]], 1)
    return torch.cat([image, latent * scale + shift], 1)


class ModulatedBlock(nn.Module):
    """Pre-norm block whose norms have no weights; the raw latents modulate the latent tokens."""

    def __init__(self, width: int, heads: int, channels: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS, elementwise_affine=False)
        self.attn = RotaryAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS, elementwise_affine=False)
        self.mlp = Mlp(width, 4 * width)
        self.adaLN_modulation = Modulation(channels, width, 4)

    def forward(self, tokens: Tensor, rotation: tuple[Tensor, Tensor], latents: Tensor) -> Tensor:
        """Tokens ``(N, T, width)`` to tokens of the same shape."""
        shift1, scale1, shift2, scale2 = self.adaLN_modulation(latents)
        tokens = tokens + self.attn(modulate(self.norm1(tokens), shift1, scale1), rotation)
        return tokens + self.mlp(modulate(self.norm2(tokens), shift2, scale2))


class ModulatedNorm(nn.Module):
    """The last norm, modulated like those of the blocks."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=EPS, elementwise_affine=False)
        self.adaLN_modulation = Modulation(channels, width, 2)

    def forward(self, tokens: Tensor, latents: Tensor) -> Tensor:
        """Tokens ``(N, T, width)`` to tokens of the same shape."""
        return modulate(self.norm(tokens), *self.adaLN_modulation(latents))


class MAETokDecoder(MixedRotation):
    """Mask tokens, placed by rotation alone, and latent tokens, modulated by the raw latents."""

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        depth: int,
        heads: int,
        patch: int,
        side: int,
        tokens: int,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.patches = side**2
        self.mask_token = embedding(1, width)
        self.latent_pos_embed = embedding(tokens, width)
        self.model = Trunk(  # pos_embed and patch_embed are of no effect, but in every file
            width=width,
            patch=patch,
            patches=self.patches,
            blocks=[ModulatedBlock(width, heads, channels) for _ in range(depth)],
            norm=ModulatedNorm(width, channels),
            class_token=False,
        )
        self.to_pixel = ToPixel(width, patch)
        self.start_rotation(width=width, depth=depth, side=side)

    def forward(self, tokens: Tensor, latents: Tensor) -> Tensor:
        """Tokens ``(N, K, width)`` and the latents that they come from to images."""
        rotations = self.mixed_rotations(heads=self.heads, before=0, after=tokens.shape[1])
        masks = self.mask_token.expand(len(tokens), self.patches, -1)
        tokens = torch.cat([masks, tokens + self.latent_pos_embed], 1)
        for block, rotation in zip(self.model.blocks, rotations, strict=True):
            tokens = block(tokens, rotation, latents)
        return self.to_pixel(self.model.norm(tokens, latents)[:, : self.patches])


class MAETok(TokenAutoencoder):
    """MAETok (arXiv 2502.03444; Hhhhhhao/continuous_tokenizer, ``AEModel``).

    Latents are tokens (tokens, channels), deterministic. Key names are the published ones. The
    generators are trained on ``(latent - vq_mean) / vq_std`` of the ``config.json`` that lies
    beside the published weights.

    Args:
        resolution: side of the images, in pixels.
        patch: side of a patch, in pixels.
        tokens: latent tokens.
        channels: channels of a latent token.
        width: channels of the transformers.
        depth: blocks of each.
        heads: attention heads of each.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    layouts: ClassVar = {MAIN: Layout(drop=TRAINING_ONLY + MASKED_TRAINING_ONLY)}
    encoder_type = MAETokEncoder
    decoder_type = MAETokDecoder

    def __init__(
        self,
        *,
        resolution: int = 256,
        patch: int = 16,
        tokens: int = 128,
        channels: int = 32,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
    ) -> None:
        if width % (2 * heads):
            raise ValueError(f"{heads} heads do not cut width {width} into pairs of channels")
        super().__init__(
            resolution=resolution,
            patch=patch,
            tokens=tokens,
            channels=channels,
            width=width,
            depth=depth,
            heads=heads,
        )

    def published_config(self) -> dict[str, tuple[Any, str]]:
        """See :meth:`TokenAutoencoder.published_config`."""
        expected = {
            "dec_cls_token": (False, "the decoder's class token"),
            "use_rope": (True, "rotation"),
            "rope_mixed": (True, "rotation by learned frequencies"),
        }
        if self.sizes in NAMES:
            name, meaning = NAMES[self.sizes], "the transformer of (width, depth, heads)"
            expected["encoder_model"] = (name, meaning)
            expected["decoder_model"] = (f"{name}_movqv2", meaning)
        return {**super().published_config(), **expected}
