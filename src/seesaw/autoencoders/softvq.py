"""SoftVQ-VAE: 64 latent tokens, each a soft mixture of codebook entries."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.autoencoders.continuous_tokenizer import (
    EPS,
    NAMES,
    TRAINING_ONLY,
    Block,
    TokenAutoencoder,
    TokenEncoder,
    ToPixel,
    Trunk,
    embedding,
)
from seesaw.autoencoders.weights import MAIN, Layout

USAGE_LENGTH = 65536
"""Entries per codebook of the published usage record, which only the training reads."""


class SoftQuantizer(nn.Module):
    """Tokens to convex mixtures of unit codes, in float32 as published.

    The tokens are cut into as many runs as there are codebooks, one codebook each. A token's
    mixture is softmax(cosine / ``temperature``) over the codes.
    """

    def __init__(self, *, codebooks: int, codes: int, channels: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.embedding = nn.Parameter(torch.randn(codebooks, codes, channels))
        # of no effect here, but part of every published file
        self.register_buffer("codebook_used", torch.zeros(codebooks, USAGE_LENGTH))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens ``(N, T, channels)`` to mixtures of the same shape, of norm at most 1."""
        codes = F.normalize(self.embedding.float(), dim=-1)
        runs = F.normalize(tokens.float(), dim=-1).unflatten(1, (len(codes), -1))
        weights = (runs @ codes.transpose(1, 2) / self.temperature).softmax(-1)
        return (weights @ codes).flatten(1, 2).to(tokens.dtype)


class SoftVQDecoder(nn.Module):
    """The encoder's transformer again, with a mask token in place of every patch."""

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
        del channels
        self.patches = side**2
        self.mask_token = embedding(1, width)
        self.latent_pos_embed = embedding(tokens, width)
        self.model = Trunk(  # its patch_embed is of no effect, but part of every published file
            width=width,
            patch=patch,
            patches=self.patches,
            blocks=[Block(width, heads) for _ in range(depth)],
            norm=nn.LayerNorm(width, eps=EPS),
        )
        self.to_pixel = ToPixel(width, patch)

    def forward(self, tokens: Tensor, latents: Tensor) -> Tensor:
        """Tokens ``(N, T, width)`` to images; the raw ``latents`` are not used."""
        del latents
        masks = self.mask_token.expand(len(tokens), self.patches, -1)
        tokens = torch.cat([self.model.place(masks), tokens + self.latent_pos_embed], 1)
        for block in self.model.blocks:
            tokens = block(tokens)
        return self.to_pixel(self.model.norm(tokens)[:, 1 : 1 + self.patches])


class SoftVQ(TokenAutoencoder):
    """SoftVQ-VAE (arXiv 2412.10958; Hhhhhhao/continuous_tokenizer, ``SoftVQModel``).

    Latents are the quantised tokens (tokens, channels), deterministic. Key names are the published
    ones. The generators are trained on ``(latent - vq_mean) / vq_std`` of the ``config.json`` that
    lies beside the published weights.

    Args:
        resolution: side of the images, in pixels.
        patch: side of a patch, in pixels.
        tokens: latent tokens.
        channels: channels of a latent token.
        width: channels of the transformers.
        depth: blocks of each.
        heads: attention heads of each.
        codebooks: codebooks; must divide ``tokens``.
        codes: entries of a codebook.
        temperature: of the softmax over the codes.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    layouts: ClassVar = {MAIN: Layout(drop=TRAINING_ONLY)}
    encoder_type = TokenEncoder
    decoder_type = SoftVQDecoder

    def __init__(
        self,
        *,
        resolution: int = 256,
        patch: int = 16,
        tokens: int = 64,
        channels: int = 32,
        width: int = 1024,
        depth: int = 24,
        heads: int = 16,
        codebooks: int = 4,
        codes: int = 8192,
        temperature: float = 0.07,
    ) -> None:
        if tokens % codebooks:
            raise ValueError(f"{codebooks} codebooks do not divide {tokens} tokens; choose another")
        super().__init__(
            resolution=resolution,
            patch=patch,
            tokens=tokens,
            channels=channels,
            width=width,
            depth=depth,
            heads=heads,
        )
        self.quantize = SoftQuantizer(
            codebooks=codebooks, codes=codes, channels=channels, temperature=temperature
        )

    def posterior(self, images: Tensor) -> tuple[Tensor, None]:
        """Quantised latent tokens ``(N, tokens, channels)``; there is no variance."""
        tokens, _ = super().posterior(images)
        return self.quantize(tokens), None

    def published_config(self) -> dict[str, tuple[Any, str]]:
        """See :meth:`TokenAutoencoder.published_config`."""
        codebooks, codes, _ = self.quantize.embedding.shape
        expected = {
            "num_codebooks": (codebooks, "codebooks"),
            "codebook_size": (codes, "codes"),
            "tau": (self.quantize.temperature, "temperature"),
            "codebook_l2_norm": (True, "normalisation of the codes"),
            "dec_cls_token": (True, "the decoder's class token"),
            "use_rope": (False, "rotation"),
        }
        if self.sizes in NAMES:
            name = (NAMES[self.sizes], "the transformer of (width, depth, heads)")
            expected |= {"encoder_model": name, "decoder_model": name}
        return {**super().published_config(), **expected}
