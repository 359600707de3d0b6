"""DM-VAE: a fine-tuned DINOv2 with a bottleneck of tokens, and a convolutional decoder."""

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from diffusers.models.upsampling import Upsample2D
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import create_model
from torch import Tensor, nn

from seesaw.autoencoders.base import Autoencoder
from seesaw.autoencoders.ldm_decoder import build_decoder
from seesaw.autoencoders.weights import MAIN, Layout

PATCH = 16


class Scale(nn.Module):
    """Mean and deviation of pixels, which the official files hold."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))


class Encoder(nn.Module):
    """timm's DINOv2 at another patch and image size, on ImageNet-normalised pixels.

    Args:
        resolution: side of the images, in pixels.
        width: channels of a token.
        depth: transformer blocks.
        heads: attention heads; must divide ``width``.
    """

    def __init__(
        self, *, resolution: int, width: int = 1024, depth: int = 24, heads: int = 16
    ) -> None:
        super().__init__()
        self.de_scale = Scale([0.5] * 3, [0.5] * 3)
        self.scale = Scale(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
        self.model = create_model(
            "vit_large_patch14_dinov2",
            pretrained=False,
            num_classes=0,
            img_size=resolution,
            patch_size=PATCH,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images in [-1, 1], ``(N, 3, R, R)``, to patch tokens ``(N, T, width)``."""
        images = images * self.de_scale.std + self.de_scale.mean
        return self.model.forward_features((images - self.scale.mean) / self.scale.std)[:, 1:]


class BottleNeck(nn.Module):
    """Tokens ``(N, T, width)`` to the latent ``(N, T, channels)``."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, channels)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """See the class."""
        return self.mlp(tokens)


class DMVAE(Autoencoder):
    """DM-VAE (github.com/sen-ye/dmvae, d2be8e0).

    The latent is the patch tokens of a DINOv2 ViT-L, reduced to a few channels, ``(T, C)`` in
    raster order. The decoder sees them as a grid, doubles it, and goes on as LDM's.

    Weights: ``vae.pt``, of which the averaged ``vae_ema`` (as the authors sample) or, with
    ``ema: false``, the plain ``vae_wo_ddp``.

    Args:
        resolution: side of the images, in pixels; a multiple of 16.
        latent_channels: channels of a latent token.
        encoder: ``width``, ``depth`` and ``heads`` of the DINOv2 transformer, where not those of
            ViT-L.
        widths: channels of the decoder's stages, from the image to the latent.
        norm_groups: groups of the decoder's norms.

    Raises:
        ValueError: a resolution that is not a multiple of 16.
    """

    spatial = False
    ema = True
    on_meta: ClassVar[bool] = True
    layouts: ClassVar[Mapping[str, Layout]] = {
        MAIN: Layout(entry="vae_wo_ddp", ema_entry="vae_ema")
    }

    def __init__(
        self,
        *,
        resolution: int = 256,
        latent_channels: int = 32,
        encoder: Mapping[str, int] | None = None,
        widths: Sequence[int] = (128, 256, 512, 512),
        norm_groups: int = 32,
    ) -> None:
        super().__init__()
        if resolution % PATCH or resolution <= 0:
            raise ValueError(f"resolution {resolution} is not a multiple of the patch, {PATCH}")
        self.resolution = resolution
        self.latent_shape = ((resolution // PATCH) ** 2, latent_channels)
        self.encoder = Encoder(resolution=resolution, **(encoder or {}))
        self.bottle_neck = BottleNeck(self.encoder.model.embed_dim, latent_channels)
        self.decoder = build_decoder(
            latent_channels=latent_channels,
            widths=widths,
            attention=False,
            norm_groups=norm_groups,
        )
        # nearest neighbours doubled, and a convolution, before the decoder's own first one
        self.decoder.conv_in = nn.Sequential(
            Upsample2D(latent_channels, use_conv=True), self.decoder.conv_in
        )

    def posterior(self, images: Tensor) -> tuple[Tensor, None]:
        """Latent tokens; there is no variance."""
        return self.bottle_neck(self.encoder(images)), None

    def render(self, latents: Tensor) -> Tensor:
        """See :meth:`Autoencoder.render`."""
        side = math.isqrt(latents.shape[1])
        return self.decoder(latents.transpose(1, 2).unflatten(2, (side, side)))
