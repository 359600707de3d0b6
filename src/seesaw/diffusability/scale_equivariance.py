"""SE loss: does a shrunk latent decode to the shrunk image?

The second term of the regulariser of the Diffusability paper (arXiv 2502.14831), with the absolute
difference as distance and without its weight, averaged over the factors 2 and 4. Bilinear, as the
training objective in :mod:`seesaw.autoencoders.objectives`. The paper's code is not public.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from seesaw.autoencoders.transforms import rescale
from seesaw.diffusability import NO_GRID, Context, Loss, fixed_grid, mean_difference

FACTORS = (2, 4)


def scale_errors(
    decode: Callable[[Tensor], Tensor],
    images: Tensor,
    latents: Tensor,
    factors: Sequence[int] = FACTORS,
) -> Tensor:
    """``mean |down_s x - D(down_s z)|`` per image and factor, float64 ``(N, len(factors))``.

    Args:
        decode: latents ``(N, C, h, h)`` to images ``(N, 3, h f, h f)``.
        images: ``(N, 3, R, R)``.
        latents: ``(N, C, H, H)``; every factor divides H.
        factors: what both are shrunk by.
    """
    return torch.stack(
        [
            mean_difference(
                rescale(images, images.shape[-1] // factor),
                decode(rescale(latents, latents.shape[-1] // factor)).float(),
            )
            for factor in factors
        ],
        dim=1,
    )


class ScaleEquivarianceLoss(Loss):
    """Variants ``""`` (mean over both factors), ``"s=2"`` and ``"s=4"``."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        reason = ""
        if not context.spatial:
            reason = NO_GRID
        elif not context.resizable:
            reason = fixed_grid(context)
        elif context.autoencoder.latent_shape[-1] % max(FACTORS):
            side = context.autoencoder.latent_shape[-1]
            reason = f"its grid of {side} x {side} cannot be shrunk by {max(FACTORS)}"
        if reason:
            self.undefined = dict.fromkeys(self.variants(), reason)

    def variants(self) -> Sequence[str]:
        """See :class:`ScaleEquivarianceLoss`."""
        return ("", *(f"s={factor}" for factor in FACTORS))

    def measure(self, ids: Sequence[str], images: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """See :meth:`seesaw.diffusability.Loss.measure`."""
        errors = scale_errors(self.context.autoencoder.decode, images, latents)
        return {"": errors.mean(1), **dict(zip(self.variants()[1:], errors.T))}

    def protocol(self) -> dict[str, Any]:
        """The factors."""
        return {"factors": ",".join(map(str, FACTORS))}
