"""The loss that trains a ControlNet branch: its backbone's own, under the hint."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.control.branch import ControlNet

LABEL_DROPOUT = 0.1


def control_loss(
    control: ControlNet,
    latents: Tensor,
    labels: Tensor,
    hints: Tensor,
    generator: torch.Generator,
    *,
    label_dropout: float = LABEL_DROPOUT,
) -> Tensor:
    """Flow-matching loss of a batch with the backbone's times, path and terms; a scalar.

    The label is dropped now and then, the hint never. All randomness comes from ``generator``, on
    its device: a CPU generator gives the same times and noise wherever the batch lies.

    Args:
        control: the branch on its backbone.
        latents: ``(N, *latent_shape)``, normalised as the backbone wants them.
        labels: int64 ``(N,)``.
        hints: float in [0, 1], ``(N, channels, R, R)``.
        generator: of times, noise and dropped labels.
        label_dropout: share of labels that become the null label.
    """
    backbone, count = control.backbone, len(latents)
    draws = draw(backbone, count, tuple(latents.shape[1:]), generator)
    return loss_at(control, latents, labels, hints, draws, label_dropout=label_dropout).mean()


@dataclass(frozen=True)
class Draws:
    """What chance decides in a batch: ``times`` and ``dropped`` ``(N,)``, ``noise`` as latents."""

    times: Tensor
    noise: Tensor
    dropped: Tensor

    def part(self, rows: slice) -> "Draws":
        """Those of some rows."""
        return Draws(self.times[rows], self.noise[rows], self.dropped[rows])


def draw(
    backbone: nn.Module, count: int, shape: tuple[int, ...], generator: torch.Generator
) -> Draws:
    """Times as the backbone was trained with, standard normal noise, uniform numbers for labels.

    Args:
        backbone: its ``draw_times`` is asked.
        count: images.
        shape: of one latent.
        generator: of everything, on its device.
    """
    times = backbone.draw_times(count, generator)
    noise = torch.randn((count, *shape), generator=generator, device=generator.device)
    return Draws(times, noise, torch.rand(count, generator=generator, device=generator.device))


def loss_at(
    control: ControlNet,
    latents: Tensor,
    labels: Tensor,
    hints: Tensor,
    draws: Draws,
    *,
    label_dropout: float = LABEL_DROPOUT,
) -> Tensor:
    """Loss per image ``(N,)`` at given draws; arguments as of :func:`control_loss`."""
    backbone = control.backbone
    times, noise = draws.times.to(latents), draws.noise.to(latents)
    dropped = (draws.dropped < label_dropout).to(labels.device)
    labels = labels.masked_fill(dropped, backbone.num_classes)
    x, target = on_the_path(latents, noise, times, data_at=backbone.data_at)
    predicted = control(x, times, labels, hints)
    return velocity_loss(predicted, target, cosine=backbone.cosine_loss)


def on_the_path(
    latents: Tensor, noise: Tensor, times: Tensor, *, data_at: int
) -> tuple[Tensor, Tensor]:
    """State and velocity of the straight path between noise and data.

    Args:
        latents: ``(N, ...)``.
        noise: the same shape.
        times: ``(N,)``.
        data_at: the time of data, 0 or 1; the other is that of noise.
    """
    start, end = (noise, latents) if data_at else (latents, noise)
    t = times.view(-1, *[1] * (latents.ndim - 1))
    return (1 - t) * start + t * end, end - start


def velocity_loss(predicted: Tensor, target: Tensor, *, cosine: bool) -> Tensor:
    """Mean squared error per image ``(N,)``; with ``cosine`` plus mean ``1 - cos`` over places.

    The cosine is that of the channel vectors, as in hustvl/LightningDiT 2725fed
    (``transport/transport.py``, ``use_cosine_loss``).
    """
    predicted, target = predicted.float(), target.float()
    loss = (predicted - target).square().flatten(1).mean(1)
    if cosine:
        loss = loss + (1 - F.cosine_similarity(predicted, target, dim=1)).flatten(1).mean(1)
    return loss
