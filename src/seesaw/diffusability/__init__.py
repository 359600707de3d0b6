"""Stage ``diffusability``: losses of a frozen autoencoder that its latents are judged by.

The non-reconstruction metrics of Table 3 of "Making rFID predictive of gFID" (arXiv 2603.05630).
No code of that table is published; each loss follows the code or the words of the paper that it
comes from (see its module), turned from a training loss into a number per image.

A loss is a class registered in :data:`seesaw.registry.LOSSES`, a :class:`Loss`. Its life::

    loss = SomeLoss(context)
    loss.fit(ids, images, latents)  # training images, batch by batch; only if it ``fits``
    loss.finish_fit()
    loss.add(ids, images, latents)  # evaluation images, batch by batch
    loss.findings(), loss.protocol()

``images`` are float RGB in [-1, 1], ``(N, 3, R, R)``, ``latents`` what the autoencoder makes of
them, ``(N, *latent_shape)``, both on the device. A variant that does not exist for an autoencoder
(a rotation of latents without a grid) is undefined: no value, and a reason in words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from seesaw.batching import Batched
from seesaw.metrics.pairs import require_finite


@dataclass(frozen=True, kw_only=True)
class Context:
    """What a loss may use.

    Attributes:
        autoencoder: the frozen :class:`seesaw.autoencoders.Autoencoder`, in evaluation mode.
        networks: role -> loaded network, for the roles that the loss needs or uses.
        options: the config block ``diffusability``.
        seed: the config's seed.
        device: torch device.
    """

    autoencoder: Any
    networks: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    device: str = "cpu"

    @property
    def spatial(self) -> bool:
        """Whether the latents are a grid; where the class does not say, by their shape."""
        ae = self.autoencoder
        return bool(getattr(ae, "spatial", len(ae.latent_shape) == 3))

    @property
    def resizable(self) -> bool:
        """Whether the decoder takes grids of any side."""
        return self.spatial and bool(getattr(self.autoencoder, "resizable", False))


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One number of a loss: a mean over ``n`` images, or None and a ``note`` that says why.

    ``role`` is that of the network that the number rests on, if any; ``unit`` is None where it is
    the loss's own.
    """

    value: float | None
    n: int
    variant: str = ""
    role: str | None = None
    unit: str | None = None
    note: str = ""


class Loss:
    """Base of the losses: keeps a float64 number per image and variant.

    Attributes:
        context: see :class:`Context`.
        undefined: variant -> why it does not exist for this autoencoder.
        roles: variant -> role of the network that it rests on.
        units: variant -> its unit, where it is not that of the loss.
    """

    roles: Mapping[str, str] = {}
    units: Mapping[str, str] = {}

    def __init__(self, context: Context) -> None:
        self.context = context
        self.undefined: dict[str, str] = {}
        self._values: dict[str, list[np.ndarray]] = {}
        self.measured = Batched(self.measure, f"measuring {type(self).__name__}")

    def variants(self) -> Sequence[str]:
        """Names of all variants, ``""`` (the loss itself) first."""
        raise NotImplementedError

    def fit(self, ids: Sequence[str], images: Tensor, latents: Tensor) -> None:
        """Take in a batch of training images; for losses that fit something."""

    def finish_fit(self) -> None:
        """Called once, after the last training batch."""

    def measure(self, ids: Sequence[str], images: Tensor, latents: Tensor) -> Mapping[str, Tensor]:
        """Variant -> value per image ``(N,)``, for the variants that are not undefined.

        What is random in it is drawn per image, from the ids (see :mod:`seesaw.seeds`).
        """
        raise NotImplementedError

    def protocol(self) -> dict[str, Any]:
        """The named choices behind the numbers."""
        return {}

    @property
    def exists(self) -> bool:
        """Whether any variant is defined for this autoencoder."""
        return set(self.undefined) < set(self.variants())

    def add(self, ids: Sequence[str], images: Tensor, latents: Tensor) -> None:
        """Measure a batch of evaluation images.

        Raises:
            ValueError: a number that is not finite; its image is named.
        """
        if not self.exists:
            return
        for variant, values in self.measured(ids, images, latents).items():
            column = values.double().cpu().numpy()
            require_finite(ids, column, f"{type(self).__name__} {variant}".strip())
            self._values.setdefault(variant, []).append(column)

    def findings(self) -> list[Finding]:
        """A finding per variant: the mean over images, or why there is none."""
        found = []
        for variant in self.variants():
            origin = {"role": self.roles.get(variant), "unit": self.units.get(variant)}
            if variant in self.undefined:
                note = f"undefined: {self.undefined[variant]}"
                found.append(Finding(value=None, n=0, variant=variant, note=note, **origin))
                continue
            values = np.concatenate(self._values[variant])
            mean = float(values.mean())
            found.append(Finding(value=mean, n=len(values), variant=variant, **origin))
        return found


NO_GRID = "1-D tokens have no grid"
"""Why a loss of grids is undefined for a 1-D tokenizer."""


def fixed_grid(context: Context) -> str:
    """Why a loss of shrunk grids is undefined for a decoder of a fixed grid."""
    side = context.autoencoder.latent_shape[-1]
    return f"its decoder takes grids of {side} x {side} only"


def mean_difference(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each pair of images ``(N, 3, H, W)``: float64 ``(N,)``.

    Raises:
        ValueError: the shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"the decoder made images of {tuple(b.shape)}, expected {tuple(a.shape)}: a decoder "
            "that says it is resizable must scale its images with the latent grid"
        )
    return (a - b).abs().flatten(1).double().mean(1)
