"""VF loss: are latents laid out like the features of a vision network?

The two parts of the training loss of VA-VAE (arXiv 2501.01423; hustvl/LightningDiT 2725fed,
vavae/ldm/modules/losses/contperceptual.py), as in
:class:`seesaw.autoencoders.objectives.Alignment`: the distance-matrix part needs nothing but latents
and features; the marginal cosine part compares features with projected latents. In training the
projector W is learned with the autoencoder; here it is fitted to the frozen one on training images,
in closed form: least squares of unit-length features on latents.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seesaw.autoencoders.objectives import cosine_excess, distance_excess, paired_tokens
from seesaw.diffusability import NO_GRID, Context, Loss

MARGINS = {"": (0.25, 0.5), "margin=0": (0.0, 0.0)}
"""Variant -> (margin of the distance part, margin of the cosine part)."""

RIDGE = 1e-6
"""Relative to the mean square of a latent channel; keeps a channel that is never used harmless."""


class Projector:
    """Bias-free linear map from latent to feature tokens, by least squares over many batches.

    Minimises ``sum |W z_i - f_i / |f_i||^2``: features count by their direction only, as in the
    cosine part of the loss. Sums are float64.

    Args:
        channels: C of the latents.
        dim: D of the features.
        device: torch device.
    """

    def __init__(self, channels: int, dim: int, device: str = "cpu") -> None:
        self.gram = torch.zeros(channels, channels, dtype=torch.float64, device=device)
        self.cross = torch.zeros(channels, dim, dtype=torch.float64, device=device)
        self.tokens = 0

    def add(self, tokens: Tensor, wanted: Tensor) -> None:
        """Take in tokens ``(N, T, C)`` and features ``(N, T, D)``."""
        z = tokens.flatten(0, 1).double()
        f = F.normalize(wanted.flatten(0, 1).double(), dim=-1)
        self.gram += z.T @ z
        self.cross += z.T @ f
        self.tokens += len(z)

    def matrix(self) -> Tensor:
        """The map, float32 ``(C, D)``: features are ``z @ matrix``.

        Raises:
            ValueError: latents that are all zero.
        """
        size = self.gram.diagonal().mean()
        if not size > 0:
            raise ValueError("the training latents are all zero: no projector can be fitted")
        ridge = RIDGE * size * torch.eye(len(self.gram), dtype=size.dtype, device=size.device)
        return torch.linalg.solve(self.gram + ridge, self.cross).float()


class AlignmentLoss(Loss):
    """Variants of the VF loss.

    - ``""``, ``"distance"``, ``"cosine"``: the sum and its two parts, at the margins 0.25 and 0.5.
    - ``"margin=0"``, ``"distance margin=0"``, ``"cosine margin=0"``: the same without margins.

    Rests on the network that plays ``dino``, which must have ``tokens(images) -> (N, T, dim)``,
    ``dim`` and ``grid``. Where the grids differ, the finer one is averaged to the coarser.

    Raises:
        ValueError: that network has no tokens.
    """

    roles = {
        f"{part} {margin}".strip(): "dino"
        for part in ("", "distance", "cosine")
        for margin in MARGINS
    }

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.teacher = context.networks["dino"]
        if not all(hasattr(self.teacher, part) for part in ("tokens", "dim", "grid")):
            raise ValueError(
                "vf-loss compares grids of patch tokens, which the network that plays 'dino' does "
                f"not offer ({type(self.teacher).__name__} lacks tokens, dim or grid); choose one "
                "that does, such as mini-dino, or leave vf-loss out of diffusability.losses"
            )
        if not context.spatial:
            self.undefined = dict.fromkeys(self.variants(), NO_GRID)
            return
        channels = context.autoencoder.latent_shape[0]
        self.projector = Projector(channels, self.teacher.dim, context.device)
        self.images_fitted = 0

    def variants(self) -> Sequence[str]:
        """See :class:`AlignmentLoss`."""
        return tuple(self.roles)

    def pair(self, images: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of the latents and of the features on one grid."""
        features = self.teacher.tokens(images).to(latents)
        return paired_tokens(latents, features, self.teacher.grid)

    def fit(self, ids: Sequence[str], images: Tensor, latents: Tensor) -> None:
        """Add a batch to the projector's sums."""
        if self.exists:
            self.projector.add(*self.pair(images, latents))
            self.images_fitted += len(ids)

    def finish_fit(self) -> None:
        """Solve for the projector."""
        if self.exists:
            self.weight = self.projector.matrix()

    def measure(self, images: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """See :meth:`seesaw.diffusability.Loss.measure`."""
        tokens, wanted = self.pair(images, latents)
        found = {}
        for margin, (distance, cosine) in MARGINS.items():
            parts = {
                "distance": distance_excess(tokens, wanted, distance),
                "cosine": cosine_excess(tokens @ self.weight, wanted, cosine),
            }
            means = {part: values.flatten(1).double().mean(1) for part, values in parts.items()}
            means[""] = means["distance"] + means["cosine"]
            found |= {f"{part} {margin}".strip(): values for part, values in means.items()}
        return found

    def protocol(self) -> dict[str, Any]:
        """Margins and how the projector was fitted."""
        if not self.context.spatial:
            return {}
        side = min(self.teacher.grid, self.context.autoencoder.latent_shape[-1])
        return {
            "margins": "0.25/0.5",
            "grid": side,
            "projector": f"least squares on {self.images_fitted} training images",
        }
