"""The autoencoder contract and the one function that builds an autoencoder."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seesaw.autoencoders.weights import load_weights
from seesaw.registry import FAMILIES, resolve


class Autoencoder(nn.Module):
    """What every stage expects of an autoencoder.

    Images are float RGB in [-1, 1], ``(N, 3, resolution, resolution)``; :meth:`decode` may leave
    that range, the caller clamps. Latents are a grid ``(N, C, H, W)`` (``spatial``) or tokens
    ``(N, T, C)``. A family's ``__init__`` takes its config as keyword arguments.

    Attributes:
        resolution: side of the images it takes, in pixels.
        latent_shape: shape of one latent, ``(C, H, W)`` or ``(T, C)``.
        spatial: whether the latent is a grid.
        stochastic: whether the posterior has a spread, so that a sample differs from the mean.
        resizable: whether :meth:`decode` takes latent grids of any side (needed by the
            equivariance objectives).

    A family that is trained here implements :meth:`posterior` and :meth:`decode`; a class that only
    measures needs :meth:`encode` and :meth:`decode`, and need not derive from this one.
    """

    resolution: int
    latent_shape: tuple[int, ...]
    spatial: bool
    stochastic: bool = False
    resizable: bool = False

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and log variance of the latents, each ``(N, *latent_shape)``.

        The log variance is None where the encoder is deterministic.
        """
        raise NotImplementedError

    def encode(self, images: Tensor, noise: Tensor | None = None) -> Tensor:
        """Images ``(N, 3, R, R)`` to latents ``(N, *latent_shape)``.

        Args:
            images: float RGB in [-1, 1].
            noise: standard normal, shaped like the latents: the posterior sample ``mean + std *
                noise``. ``None``: the posterior mean.
        """
        mean, log_variance = self.posterior(images)
        if noise is None or log_variance is None:
            return mean
        return mean + (0.5 * log_variance).exp() * noise

    def decode(self, latents: Tensor) -> Tensor:
        """Latents ``(N, *latent_shape)`` to images ``(N, 3, R, R)``, about [-1, 1], unclamped."""
        raise NotImplementedError


def build_autoencoder(family: str, config: Mapping[str, Any] | None = None) -> nn.Module:
    """An untrained autoencoder of a registered family, or of a person's class ``"module:Class"``.

    Raises:
        ValueError: unknown family, class not found, or config keys that the family does not take.
    """
    cls = resolve(family) if ":" in family else FAMILIES.load(family)
    config = dict(config or {})
    accepted = inspect.signature(cls).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in accepted.values()):
        bad = [key for key in config if key not in accepted]
        if bad:
            raise ValueError(
                f"autoencoder family {family!r} does not take {', '.join(map(repr, bad))}; "
                f"it takes {', '.join(accepted) or 'nothing'}"
            )
    try:
        return cls(**config)
    except TypeError as error:
        raise ValueError(f"cannot build autoencoder family {family!r}: {error}") from error


def load_autoencoder(
    family: str,
    weights: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    *,
    device: str = "cpu",
) -> nn.Module:
    """An autoencoder in evaluation mode on ``device``, its weights loaded strictly.

    Args:
        family: a name in :data:`seesaw.registry.FAMILIES`, or ``"module:Class"``.
        weights: safetensors, ``.pt``/``.pth``/``.ckpt``, or None for a class that needs none.
        config: keyword arguments of the family.
        device: torch device.

    Raises:
        ValueError: see :func:`build_autoencoder` and
            :func:`seesaw.autoencoders.weights.load_weights`; or the object lacks a part of the
            contract.
    """
    autoencoder = build_autoencoder(family, config)
    if weights is not None:
        load_weights(autoencoder, weights)
    for part in ("encode", "decode", "resolution", "latent_shape"):
        if not hasattr(autoencoder, part):
            raise ValueError(
                f"autoencoder {family!r} has no {part!r}; it must offer encode, decode, resolution "
                "and latent_shape (see seesaw.autoencoders.Autoencoder)"
            )
    if isinstance(autoencoder, nn.Module):
        autoencoder.eval().requires_grad_(False).to(device)
        if all(parameter.ndim != 5 for parameter in autoencoder.parameters()):
            autoencoder.to(memory_format=torch.channels_last)
    return autoencoder


def encode_uint8(autoencoder: nn.Module, images: Tensor, noise: Tensor | None = None) -> Tensor:
    """uint8 images ``(N, 3, R, R)`` on any device to float32 latents, checked against the contract.

    Raises:
        ValueError: images of a size that the autoencoder cannot take, latents of another shape than
            it declares, or a posterior sample asked of a class that has none.
    """
    size = tuple(images.shape[-2:])
    if size != (autoencoder.resolution,) * 2:
        raise ValueError(
            f"this autoencoder takes images of {autoencoder.resolution} x {autoencoder.resolution} "
            f"pixels, the packed data has {size[0]} x {size[1]}; set data.resolution to "
            f"{autoencoder.resolution}"
        )
    pixels = images.float() / 127.5 - 1.0
    if noise is None or not getattr(autoencoder, "stochastic", False):
        latents = autoencoder.encode(pixels)
    else:
        latents = autoencoder.encode(pixels, noise=noise)
    expected = tuple(autoencoder.latent_shape)
    if tuple(latents.shape[1:]) != expected:
        raise ValueError(
            f"encode returned latents of shape {tuple(latents.shape[1:])}, latent_shape says "
            f"{expected}"
        )
    return latents.float()


def decode_float(autoencoder: nn.Module, latents: Tensor) -> Tensor:
    """Latents to float32 images about [-1, 1], unclamped."""
    return autoencoder.decode(latents).float()


def to_uint8(images: Tensor) -> tuple[Tensor, Tensor]:
    """Float images about [-1, 1] to uint8, rounded half up, and the clipped share per image.

    Returns:
        uint8 ``(N, 3, R, R)`` and float64 ``(N,)``: the share of values outside [-1, 1].
    """
    levels = images * 127.5 + 127.5
    clipped = ((levels < 0) | (levels > 255)).flatten(1).double().mean(1)
    return torch.floor(levels.clamp(0, 255) + 0.5).to(torch.uint8), clipped
