"""VF loss: are latents laid out like the features of a vision network?

The two parts of the training loss of VA-VAE (arXiv 2501.01423; hustvl/LightningDiT 2725fed,
vavae/ldm/modules/losses/contperceptual.py), with the code of the training objective
:class:`seesaw.autoencoders.objectives.Alignment`. The distance-matrix part needs only latents and
features. The marginal cosine part compares features with projected latents: in training the
projector is learned with the autoencoder, here it is fitted to the frozen one on training images,
for each margin by itself. It has no bias, as there: a direction that all features share can only
come from one that all latents share.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seesaw.autoencoders.objectives import cosine_excess, distance_excess, paired_tokens
from seesaw.diffusability import NO_GRID, Context, Loss
from seesaw.seeds import generator_for

MARGINS = {"": (0.25, 0.5), "margin=0": (0.0, 0.0)}
"""Variant -> (margin of the distance part, margin of the cosine part)."""

TOKENS = 1 << 14
"""Tokens that the projector is fitted on, about: as many of each training image."""

RIDGE = 1e-6
"""Relative to the mean square of a latent channel; keeps a channel that is never used harmless."""


def fit_projector(tokens: Tensor, wanted: Tensor, margin: float, *, iterations: int = 40) -> Tensor:
    """Linear map that minimises ``mean relu(1 - margin - cos(z_i W, f_i))``, without bias.

    Starts at the least squares of unit-length features on latents, then L-BFGS on the loss itself.

    Args:
        tokens: latents, float32 ``(N, C)``.
        wanted: features ``(N, D)``.
        margin: of the cosine.
        iterations: of L-BFGS; 0 returns the least squares.

    Returns:
        float32 ``(C, D)``.

    Raises:
        ValueError: latents that are all zero.
    """
    z, f = tokens.double(), F.normalize(wanted.double(), dim=-1)
    gram = z.T @ z
    size = gram.diagonal().mean()
    if not size > 0:
        raise ValueError("the training latents are all zero: no projector can be fitted")
    ridge = RIDGE * size * torch.eye(len(gram), dtype=size.dtype, device=size.device)
    start = torch.linalg.solve(gram + ridge, z.T @ f).float()
    with torch.inference_mode(False), torch.enable_grad():
        # copies: what was made in inference mode cannot enter a gradient
        z, f = tokens.clone(), wanted.clone()
        weight = start.clone(memory_format=torch.contiguous_format).requires_grad_()
        optimizer = torch.optim.LBFGS(
            [weight], max_iter=iterations, line_search_fn="strong_wolfe", tolerance_grad=1e-9
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = cosine_excess(z @ weight, f, margin).mean()
            loss.backward()
            return loss

        if iterations:
            optimizer.step(closure)
        return weight.detach()


class AlignmentLoss(Loss):
    """Variants of the VF loss.

    - ``""``, ``"distance"``, ``"cosine"``: the sum and its two parts, at the margins 0.25 and 0.5.
    - ``"margin=0"``, ``"distance margin=0"``, ``"cosine margin=0"``: the same without margins.

    Rests on the network that plays ``dino-large``: DINOv2 ViT-L/14 in VA-VAE and in the iFID paper.
    It must have ``tokens(images) -> (N, T, dim)``,
    ``dim`` and ``grid``. Where the grids differ, the finer one is averaged to the coarser.

    Raises:
        ValueError: that network has no tokens.
    """

    roles = {
        f"{part} {margin}".strip(): "dino-large"
        for part in ("", "distance", "cosine")
        for margin in MARGINS
    }

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.teacher = context.networks["dino-large"]
        if not all(hasattr(self.teacher, part) for part in ("tokens", "dim", "grid")):
            raise ValueError(
                "vf-loss compares grids of patch tokens, which the player of 'dino-large' does "
                f"not offer ({type(self.teacher).__name__} lacks tokens, dim or grid); choose one "
                "that does, such as mini-dino, or leave vf-loss out of diffusability.losses"
            )
        if not context.spatial:
            self.undefined = dict.fromkeys(self.variants(), NO_GRID)
            return
        self._tokens: list[Tensor] = []
        self._wanted: list[Tensor] = []
        self._fitted_on = ""

    def variants(self) -> Sequence[str]:
        """See :class:`AlignmentLoss`."""
        return tuple(self.roles)

    def pair(self, images: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of the latents and of the features on one grid."""
        features = self.teacher.tokens(images).to(latents)
        return paired_tokens(latents, features, self.teacher.grid)

    def fit(self, ids: Sequence[str], images: Tensor, latents: Tensor) -> None:
        """Keep some tokens of each image, chosen by the seed and its id."""
        if not self.exists:
            return
        tokens, wanted = self.pair(images, latents)
        count = min(tokens.shape[1], -(-TOKENS // self.context.options["train_images"]))
        for image_id, z, f in zip(ids, tokens, wanted, strict=True):
            draw = generator_for(self.context.seed, "projector", image_id)
            chosen = torch.from_numpy(draw.permutation(len(z))[:count]).to(z.device)
            self._tokens.append(z[chosen])
            self._wanted.append(f[chosen])

    def finish_fit(self) -> None:
        """Fit a projector per margin."""
        if not self.exists:
            return
        tokens, wanted = torch.cat(self._tokens), torch.cat(self._wanted)
        self._fitted_on = f"{len(tokens)} tokens of {len(self._tokens)} training images"
        self._tokens, self._wanted = [], []
        self.projectors = {
            margin: fit_projector(tokens, wanted, cosine) for margin, (_, cosine) in MARGINS.items()
        }

    def measure(self, ids: Sequence[str], images: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """See :meth:`seesaw.diffusability.Loss.measure`."""
        tokens, wanted = self.pair(images, latents)
        found = {}
        for margin, (distance, cosine) in MARGINS.items():
            parts = {
                "distance": distance_excess(tokens, wanted, distance),
                "cosine": cosine_excess(tokens @ self.projectors[margin], wanted, cosine),
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
            "projector": self._fitted_on,
        }
