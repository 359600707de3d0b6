"""One-dimensional tokenizer: an image becomes a few latent tokens without a grid."""

import torch
from torch import Tensor, nn

from seesaw.autoencoders.base import Autoencoder
from seesaw.autoencoders.vit import Block, patchify, positions, unpatchify


class Tokenizer1D(Autoencoder):
    """Transformer autoencoder with learned latent tokens (MAETok arXiv 2502.03444, after TiTok).

    The encoder sees the image's patches, some of them replaced by a mask token in training, and
    ``tokens`` learned tokens, and keeps what becomes of the latter, projected to ``channels``. The
    decoder sees a mask token per patch and the projected latent tokens, and keeps what becomes of
    the former. Latents are (tokens, channels).

    Args:
        resolution: side of the images, in pixels.
        patch: side of a patch, in pixels.
        tokens: latent tokens.
        channels: channels of a latent token.
        width: channels inside the transformer.
        depth: blocks of the encoder, and of the decoder.
        heads: attention heads.
        variational: a KL posterior (SoftVQ-style tokenizers have none, which is the default).

    Raises:
        ValueError: sizes that do not fit each other.
    """

    spatial = False

    def __init__(
        self,
        resolution: int,
        patch: int = 8,
        tokens: int = 16,
        channels: int = 8,
        width: int = 128,
        depth: int = 3,
        heads: int = 4,
        variational: bool = False,
    ) -> None:
        super().__init__()
        if resolution % patch:
            raise ValueError(f"resolution {resolution} is not a multiple of patch {patch}")
        self.resolution = resolution
        self.patch = patch
        self.latent_shape = (tokens, channels)
        self.stochastic = variational
        self.patches = (resolution // patch) ** 2
        self.embed = nn.Linear(3 * patch**2, width)
        self.image_positions = positions(self.patches, width)
        self.latent_tokens = self._spread(tokens)
        self.mask_token = positions(1, width)
        self.encoder = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.encoder_norm = nn.LayerNorm(width)
        self.to_latent = nn.Linear(width, channels * (2 if variational else 1))
        self.from_latent = nn.Linear(channels, width)
        self.pixel_tokens = nn.Parameter(self.image_positions.detach().clone())
        self.latent_positions = self._spread(tokens)
        self.decoder = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.decoder_norm = nn.LayerNorm(width)
        self.to_pixels = nn.Linear(width, 3 * patch**2)

    def _spread(self, tokens: int) -> nn.Parameter:
        """One start for each latent token: the position of a patch, evenly spaced in raster order.

        From there tokens learn what to gather; random starts took many times as long.
        """
        places = torch.arange(tokens) * self.patches // tokens
        return nn.Parameter(self.image_positions.detach()[:, places].clone())

    def posterior(
        self, images: Tensor, hidden: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Mean and log variance (None if not ``variational``), each ``(N, tokens, channels)``.

        Args:
            images: float RGB in [-1, 1].
            hidden: bool ``(N, patches)``: patches, in raster order, that the encoder may not see.
        """
        patches = self.embed(patchify(images, self.patch))
        if hidden is not None:
            patches = torch.where(hidden[..., None], self.mask_token, patches)
        latents = self.latent_tokens.expand(len(images), -1, -1)
        both = self.encoder(torch.cat([latents, patches + self.image_positions], 1))
        latents = self.to_latent(self.encoder_norm(both[:, : self.latent_shape[0]]))
        if not self.stochastic:
            return latents, None
        mean, log_variance = latents.chunk(2, -1)
        return mean, log_variance.clamp(-30, 20)

    def render(self, latents: Tensor) -> Tensor:
        """See :meth:`Autoencoder.render`."""
        latents = self.from_latent(latents) + self.latent_positions
        pixels = self.pixel_tokens.expand(len(latents), -1, -1)
        both = self.decoder(torch.cat([pixels, latents], 1))
        patches = self.to_pixels(self.decoder_norm(both[:, : self.patches]))
        return unpatchify(patches, self.patch)
