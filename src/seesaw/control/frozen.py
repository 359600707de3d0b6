"""The frozen diffusion models that a ControlNet steers, seen alike.

Our own SiT and the published backbones differ, besides their networks, in how latents are
normalised, at which end of time the data lies, and on which grid of times they are sampled. Here
time runs as in a SiT, from 0 (data) to 1 (noise), so that one sampler serves all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seesaw.diffusion.backbones import Backbone, load_backbone
from seesaw.diffusion.grids import LIGHTNINGDIT_SHIFT, RAE_MARGIN, rae_shift, shift_times
from seesaw.diffusion.samplers import Sampler, Velocity
from seesaw.diffusion.train import load_sit
from seesaw.registry import BACKBONES

RAE_EPS = 1e-5
"""Added to RAE's variance (bytetriper/RAE a4d18c4, ``src/stage1/rae.py``)."""


@dataclass(frozen=True)
class Grid:
    """Times that a published backbone is sampled at, in a SiT's time.

    Attributes:
        points: of the grid as published; one Euler step fewer.
        shift: latent shape -> shift of the times.
        end: last time before the shift.
    """

    points: int
    shift: Callable[[Sequence[int]], float]
    end: float = 0.0


GRIDS: Mapping[str, Grid] = {
    "lightningdit-xl/1": Grid(250, lambda _: 1 / LIGHTNINGDIT_SHIFT),
    "ditdh-xl": Grid(50, rae_shift, RAE_MARGIN),
}
"""The grids of :mod:`seesaw.diffusion.grids`; LightningDiT's time is turned round."""


class FrozenModel:
    """A trained diffusion model in a SiT's terms, as far as sampling and a branch need it.

    It has what :func:`seesaw.diffusion.sample.sample_latents` reads of a model.

    Args:
        name: for messages and records.
        backbone: the network, frozen.
        sampler: how samples of it are drawn.
        normalise: raw latents to what the network sees.
        denormalise: back.
        shift_time: maps the times of :meth:`Sampler.times`.
    """

    def __init__(
        self,
        name: str,
        backbone: Backbone,
        sampler: Sampler,
        *,
        normalise: Callable[[Tensor], Tensor],
        denormalise: Callable[[Tensor], Tensor],
        shift_time: Callable[[Tensor], Tensor],
    ) -> None:
        self.name, self.backbone, self.sampler = name, backbone, sampler
        self.normalise, self.denormalise, self.shift_time = normalise, denormalise, shift_time

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of a latent."""
        return tuple(self.backbone.latent_shape)

    @property
    def num_classes(self) -> int:
        """Labels, and the label that means none."""
        return self.backbone.num_classes

    def velocity(self, network: Callable[..., Tensor]) -> Velocity:
        """A network in the backbone's time as a velocity towards noise in a SiT's time."""
        if self.backbone.data_at == 0:
            return network
        return lambda x, t, y: -network(x, 1 - t, y)

    def check_fit(self, autoencoder: nn.Module) -> None:
        """Raise unless the autoencoder's latents are those that the model was trained on.

        Raises:
            ValueError: another shape, or latents that are normalized before the model's statistics
                do it.
        """
        if self.name in GRIDS and getattr(autoencoder, "latents", "raw") == "normalized":
            raise ValueError(
                f"{self.name} normalises latents itself, and the autoencoder does, too; give its "
                "config latents: raw"
            )
        shape = tuple(autoencoder.latent_shape)
        if shape != self.latent_shape:
            raise ValueError(
                f"{self.name} was trained on latents of shape {self.latent_shape}, the autoencoder "
                f"makes {shape}; name the backbone that belongs to it (control.autoencoders)"
            )


def load_frozen(
    name: str,
    weights: str | Path | None,
    *,
    latents: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    points: int | None = None,
    sampler: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> FrozenModel:
    """A published backbone by its name in the registry, or a SiT that was trained here.

    Args:
        name: a name in :data:`seesaw.registry.BACKBONES`, or anything else for a SiT.
        weights: the official file, or the state of a SiT.
        latents: official file of latent statistics, see :func:`read_statistics` (published only).
        config: keyword arguments that replace those of the published size (published only).
        points: of the time grid, if other than published (published only).
        sampler: keyword arguments of :class:`seesaw.diffusion.samplers.Sampler` (SiT only).
        device: torch device.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: files that do not fit, or something that the model needs was not given.
    """
    if name not in BACKBONES:
        if weights is None or sampler is None:
            raise ValueError(
                f"{name!r} is no published backbone ({', '.join(BACKBONES)}), so it is taken for a "
                "SiT trained here, which needs its state and a sampler (control.sampler)"
            )
        model = load_sit(weights, device)
        return FrozenModel(
            name,
            model,
            Sampler(**sampler),
            normalise=model.normalise,
            denormalise=model.denormalise,
            shift_time=model.shift_time,
        )
    if latents is None:
        raise ValueError(f"backbone {name!r} needs the statistics of its latents, a file")
    backbone = load_backbone(name, weights, config, device=device)
    mean, scale = (part.to(device) for part in read_statistics(latents, backbone.latent_shape))
    grid = GRIDS[name]
    shift = grid.shift(backbone.latent_shape)
    return FrozenModel(
        name,
        backbone,
        Sampler(mode="ode", steps=(points or grid.points) - 1),
        normalise=lambda z: (z - mean) / scale,
        denormalise=lambda x: x * scale + mean,
        shift_time=lambda t: shift_times(grid.end + (1 - grid.end) * t, shift),
    )


def read_statistics(path: str | Path, latent_shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean and scale of latents from an official file, float32, broadcast to ``latent_shape``.

    LightningDiT's ``latents_stats.pt`` holds ``mean`` and ``std`` per channel; RAE's ``stat.pt``
    holds ``mean`` and ``var`` per element, and its scale is ``sqrt(var + 1e-5)``.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds something else, or statistics of other latents.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is no file of latent statistics ({error})") from error
    keys = set(content) if isinstance(content, dict) else set()
    if "mean" not in keys or not keys & {"std", "var"}:
        raise ValueError(
            f"{path} holds {', '.join(map(str, sorted(keys))) or type(content).__name__}; latent "
            "statistics are 'mean' and 'std' (LightningDiT) or 'mean' and 'var' (RAE)"
        )
    mean = content["mean"].float()
    scale = content["std"].float() if "std" in keys else (content["var"].float() + RAE_EPS).sqrt()
    shape = tuple(latent_shape)
    try:
        mean, scale = (_leading(part, shape).expand(shape) for part in (mean, scale))
    except RuntimeError:
        raise ValueError(
            f"{path} holds statistics of shape {tuple(mean.shape)}, latents are {shape}; use the "
            "file that was published with the backbone"
        ) from None
    if not (torch.isfinite(mean).all() and (scale > 0).all() and torch.isfinite(scale).all()):
        raise ValueError(f"{path} holds a mean that is not finite, or a scale that is not positive")
    return mean, scale


def _leading(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Without a leading axis of length 1 for the batch; a vector is one of channels."""
    if values.ndim == len(shape) + 1 and len(values) == 1:
        values = values[0]
    return values.view(-1, *[1] * (len(shape) - 1)) if values.ndim == 1 else values
