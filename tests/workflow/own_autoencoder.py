"""Autoencoders that a person might bring: plain classes, no weights, no training."""

import torch
import torch.nn.functional as F


class Halve(torch.nn.Module):
    """Half the resolution and 32 levels per channel: lossy, and nothing to learn."""

    def __init__(self, resolution=64):
        super().__init__()
        self.resolution = resolution
        self.latent_shape = (3, resolution // 2, resolution // 2)
        self.spatial = True

    def encode(self, images):
        """Images in [-1, 1] to 2 x 2 block means on 32 levels."""
        return torch.round(F.avg_pool2d(images, 2) * 16) / 16

    def decode(self, latents):
        """Bilinear enlargement."""
        return F.interpolate(latents, scale_factor=2, mode="bilinear", align_corners=False)


class Identity(torch.nn.Module):
    """Loses nothing: what every metric must call perfect."""

    resolution, latent_shape, spatial = 64, (3, 64, 64), True

    def encode(self, images):
        """The images themselves."""
        return images

    def decode(self, latents):
        """The latents themselves."""
        return latents


class Broken(Identity):
    """Makes NaN of bright images."""

    def decode(self, latents):
        """The latents, with infinity where an image is bright."""
        bright = latents.mean((1, 2, 3), keepdim=True) > 0
        return torch.where(bright, torch.full_like(latents, torch.nan), latents)


class Gain(Identity):
    """The images times a number per channel, which a weights file holds."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(3, 1, 1))

    def encode(self, images):
        """Images times the gain."""
        return images * self.gain
