"""What SoftVQ-VAE and MAETok share: transformers around latent tokens, and the published folder.

Keys and arithmetic are those of Hhhhhhao/continuous_tokenizer at training time (commit f4d60a0);
its transformers are timm's DINOv2 ones.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from timm.layers import LayerScale, Mlp
from torch import Tensor, nn

from seesaw.autoencoders.base import Autoencoder
from seesaw.autoencoders.vit import RotaryAttention, colours_first, unpatchify

TRAINING_ONLY = ("repa_model.", "projection.", "scale.", "de_scale.")
"""Prefixes of what only the training used, to align with DINOv2; a published file may hold it."""

NAMES = {
    (384, 12, 6): "vit_small_patch14_dinov2",
    (768, 12, 12): "vit_base_patch14_dinov2",
    (1024, 24, 16): "vit_large_patch14_dinov2",
}
"""Width, depth and heads of timm's DINOv2 transformers -> their names, without the training."""

EPS = 1e-6


class Block(nn.Module):
    """Block of timm's DINOv2: pre-norm, exact GELU, both branches scaled per channel."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn = RotaryAttention(width, heads)
        self.ls1 = LayerScale(width, init_values=1.0)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width, 4 * width)
        self.ls2 = LayerScale(width, init_values=1.0)

    def forward(self, tokens: Tensor, rotation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Tokens ``(N, T, width)`` to tokens of the same shape."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens), rotation))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class Trunk(nn.Module):
    """The parts of a timm vision transformer, under its names; how they are used is the owner's.

    Args:
        width: channels of a token.
        patch: side of a patch, in pixels.
        patches: patches of an image.
        blocks: the blocks.
        norm: the last norm.
        class_token: whether there is one; ``pos_embed`` has its row in any case.
    """

    def __init__(
        self,
        *,
        width: int,
        patch: int,
        patches: int,
        blocks: Sequence[nn.Module],
        norm: nn.Module,
        class_token: bool = True,
    ) -> None:
        super().__init__()
        if class_token:
            self.cls_token = embedding(1, width)
        self.pos_embed = embedding(1 + patches, width)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm

    def place(self, patches: Tensor) -> Tensor:
        """The class token before the patches' tokens ``(N, T, width)``, and positions added."""
        first = self.cls_token.expand(len(patches), -1, -1)
        return torch.cat([first, patches], 1) + self.pos_embed


class TokenEncoder(nn.Module):
    """Images to what becomes of learned tokens behind the image's: ``(N, tokens, width)``."""

    def __init__(
        self, *, width: int, depth: int, heads: int, patch: int, side: int, tokens: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.latent_tokens = embedding(tokens, width)
        self.latent_pos_embed = embedding(tokens, width)
        self.model = Trunk(
            width=width,
            patch=patch,
            patches=side**2,
            blocks=[Block(width, heads) for _ in range(depth)],
            norm=nn.LayerNorm(width, eps=EPS),
        )

    def rotations(self) -> Sequence[tuple[Tensor, Tensor] | None]:
        """What each block rotates queries and keys by: nothing."""
        return [None] * len(self.model.blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(N, 3, R, R)`` in [-1, 1]."""
        patches = self.model.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        latents = (self.latent_tokens + self.latent_pos_embed).expand(len(images), -1, -1)
        tokens = torch.cat([self.model.place(patches), latents], 1)
        for block, rotation in zip(self.model.blocks, self.rotations(), strict=True):
            tokens = block(tokens, rotation)
        return self.model.norm(tokens)[:, -latents.shape[1] :]


class ToPixel(nn.Module):
    """Tokens to images by one linear layer, whose values are ordered (row, column, colour)."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.model = nn.Linear(width, 3 * patch**2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``(N, T, width)`` in raster order to images ``(N, 3, R, R)``."""
        return unpatchify(colours_first(self.model(tokens)), self.patch)


class TokenAutoencoder(Autoencoder):
    """Base of both families: deterministic latent tokens ``(tokens, channels)``.

    A family gives :attr:`encoder_type` and :attr:`decoder_type`, built with the same sizes; the
    decoder maps the tokens of the transformer and the raw latents to images.

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

    spatial = False
    on_meta = True
    encoder_type: ClassVar[type[nn.Module]]
    decoder_type: ClassVar[type[nn.Module]]

    def __init__(
        self,
        *,
        resolution: int,
        patch: int,
        tokens: int,
        channels: int,
        width: int,
        depth: int,
        heads: int,
    ) -> None:
        super().__init__()
        if resolution % patch:
            raise ValueError(f"resolution {resolution} is not a multiple of patch {patch}")
        self.resolution = resolution
        self.latent_shape = (tokens, channels)
        self.sizes = (width, depth, heads)
        sizes = {
            "width": width,
            "depth": depth,
            "heads": heads,
            "patch": patch,
            "side": resolution // patch,
            "tokens": tokens,
        }
        self.encoder = self.encoder_type(**sizes)
        self.quant_conv = nn.Linear(width, channels)
        self.decoder = self.decoder_type(channels=channels, **sizes)
        self.post_quant_conv = nn.Linear(channels, width)
        self.patch = patch

    def posterior(self, images: Tensor) -> tuple[Tensor, None]:
        """Latent tokens ``(N, tokens, channels)``; there is no variance."""
        return self.quant_conv(self.encoder(images)), None

    def render(self, latents: Tensor) -> Tensor:
        """Latent tokens to images about [-1, 1]."""
        return self.decoder(self.post_quant_conv(latents), latents)

    def published_config(self) -> dict[str, tuple[Any, str]]:
        """What the published ``config.json`` must say of this model.

        Returns:
            Its key -> the value, and what that is called here.
        """
        tokens, channels = self.latent_shape
        return {
            "image_size": (self.resolution, "resolution"),
            "enc_type": ("vit", "the encoder's kind"),
            "dec_type": ("vit", "the decoder's kind"),
            "enc_patch_size": (self.patch, "patch"),
            "dec_patch_size": (self.patch, "patch"),
            "num_latent_tokens": (tokens, "tokens"),
            "codebook_embed_dim": (channels, "channels"),
            "to_pixel": ("linear", "the last layer's kind"),
        }

    def read_hub_config(self, config: Mapping[str, Any], path: Path) -> None:
        """Check the ``config.json`` beside the weights and take the latents' statistics from it.

        Raises:
            ValueError: it describes another model, its statistics cannot be used, or they are not
                those of the option ``normalization``.
        """
        expected = self.published_config()
        wrong = [
            f"{key} {config[key]!r}, while {name} is {value!r} here"
            for key, (value, name) in expected.items()
            if key in config and _untagged(config[key]) != value
        ]
        if wrong:
            raise ValueError(
                f"{path} describes another model: {'; '.join(wrong)}. Give the family's config "
                "these values, or the weights that belong to it"
            )
        if "vq_mean" not in config or "vq_std" not in config:
            return
        mean, deviation = config["vq_mean"], config["vq_std"]
        if not (_finite(mean) and _finite(deviation) and deviation > 0):
            raise ValueError(
                f"{path}: vq_mean is {mean!r} and vq_std {deviation!r}; they must be finite "
                "numbers, the deviation above 0"
            )
        published = (float(mean), 1 / float(deviation))
        if self.normalization is None:
            self.normalization = published
        given = [torch.as_tensor(part) for part in self.normalization]
        if not all(
            torch.allclose(here, torch.full_like(here, there), rtol=1e-4, atol=1e-6)
            for here, there in zip(given, published, strict=True)
        ):
            raise ValueError(
                f"{path} says vq_mean {mean:.6g} and vq_std {deviation:.6g}, that is mean "
                f"{published[0]:.6g} and scale {published[1]:.6g}; 'normalization' in the config "
                f"says {', '.join(map(str, self.normalization))}. Correct it, or leave it out"
            )

    def _normalization(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if self.normalization is None:
            raise ValueError(
                f"the statistics of {type(self).__name__}'s latents stand in the config.json "
                "(vq_mean, vq_std) that lies beside the published weights; put it into their "
                "folder, or give normalization: {mean: vq_mean, scale: 1 / vq_std} in the config, "
                "or latents: raw"
            )
        return super()._normalization(like)


def _untagged(value: object) -> object:
    """A timm model's name without its training's (``vit.lvd142m``); other values as they are."""
    return value.split(".")[0] if isinstance(value, str) else value


def _finite(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def embedding(tokens: int, width: int) -> nn.Parameter:
    """Learned tokens or positions ``(1, tokens, width)``, small at first."""
    return nn.Parameter(0.02 * torch.randn(1, tokens, width))
