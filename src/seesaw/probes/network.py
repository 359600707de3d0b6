"""The decoder of condition maps: which latents it takes, its stages, its losses."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

GRADIENT_WEIGHT = 0.5
"""Weight of the gradient term of the loss for depth (MiDaS's; the paper's is lost)."""


class Probe(nn.Module):
    """Latents ``(N, C, h, w)`` to the logits of a map ``(N, 2^s h, 2^s w)``.

    Batch normalisation, then ``s`` stages of nearest upsampling by 2 and two convolutions 3 x 3
    with batch normalisation and ReLU, then a convolution 1 x 1.

    Args:
        channels: C.
        widths: channels of each of the s stages.
    """

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.stages = nn.Sequential(
            *(_stage(a, b) for a, b in zip([channels, *widths], widths, strict=False))
        )
        self.leave = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents to logits; their sigmoid is the map."""
        latents = latents.contiguous(memory_format=torch.channels_last)
        return self.leave(self.stages(self.norm(latents)))[:, 0]


def _stage(channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Upsample(scale_factor=2, mode="nearest")]
    for a, b in ((channels, width), (width, width)):
        layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers)


def why_undefined(latent_shape: Sequence[int], resolution: int) -> str:
    """Why such latents cannot be probed, in words; ``""`` if they can.

    Args:
        latent_shape: of one latent, ``(C, h, w)`` or ``(T, C)``.
        resolution: side of the maps.
    """
    if len(latent_shape) != 3:
        return (
            f"undefined: the latent is {latent_shape[0]} tokens without a grid, and the probe "
            "upsamples a grid"
        )
    _, height, width = latent_shape
    factor = resolution // height
    if height != width or height * factor != resolution or factor < 2 or factor & (factor - 1):
        return (
            f"undefined: a latent grid of {height} x {width} does not become {resolution} x "
            f"{resolution} by doubling"
        )
    return ""


def stage_widths(
    latent_shape: Sequence[int], resolution: int, widths: Sequence[int]
) -> tuple[int, ...]:
    """Widths of a probe's stages: the last of ``widths``, as many as it takes to double the grid.

    So probes of different autoencoders have the same width at the same resolution.

    Raises:
        ValueError: there are fewer widths than stages, or :func:`why_undefined` has an answer.
    """
    reason = why_undefined(latent_shape, resolution)
    if reason:
        raise ValueError(f"no probe for latents {tuple(latent_shape)}: {reason}")
    stages = (resolution // latent_shape[1]).bit_length() - 1
    if len(widths) < stages:
        raise ValueError(
            f"a probe from {latent_shape[1]} x {latent_shape[2]} to {resolution} x {resolution} "
            f"has {stages} stages, probes.widths lists {len(widths)}; list at least {stages}"
        )
    return tuple(widths[len(widths) - stages :])


def edge_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Half binary cross-entropy, half Dice loss, per image.

    Dice: ``1 - (2 sum(p g) + 1) / (sum(p) + sum(g) + 1)`` with p the sigmoid of the logits.

    Args:
        logits: ``(N, H, W)``.
        target: ``(N, H, W)`` in [0, 1].

    Returns:
        ``(N,)``.
    """
    cross = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p, g = torch.sigmoid(logits).flatten(1), target.flatten(1)
    dice = 1 - (2 * (p * g).sum(1) + 1) / (p.sum(1) + g.sum(1) + 1)
    return 0.5 * cross.flatten(1).mean(1) + 0.5 * dice


def map_loss(logits: Tensor, target: Tensor) -> Tensor:
    """L1 plus :data:`GRADIENT_WEIGHT` times the L1 of horizontal and vertical differences.

    Args:
        logits: ``(N, H, W)``; their sigmoid is compared.
        target: ``(N, H, W)`` in [0, 1].

    Returns:
        ``(N,)``.
    """
    error = torch.sigmoid(logits) - target
    gradient = error.diff(dim=2).abs().flatten(1).mean(1) + error.diff(dim=1).abs().flatten(1).mean(
        1
    )
    return error.abs().flatten(1).mean(1) + GRADIENT_WEIGHT * gradient


LOSSES = {"edges": edge_loss, "map": map_loss}
