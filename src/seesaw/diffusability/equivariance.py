"""EQ loss: does a transformed latent decode to the transformed image?

The training loss of EQ-VAE (arXiv 2502.09509; zelaki/eqvae c34589c, train_eqvae/ldm/models/
autoencoder.py) draws one scale and one quarter turn per batch; the metric is the mean over a fixed
grid of them. Bilinear, corners not aligned, no antialiasing, as there and in
:mod:`seesaw.autoencoders.objectives`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from seesaw.autoencoders.transforms import rescale, rotate
from seesaw.diffusability import NO_GRID, Context, Loss, fixed_grid, mean_difference

SCALES = (0.25, 0.5, 0.75, 1.0)
TURNS = (0, 1, 2, 3)


def transforms(side: int, scales: Sequence[float] = SCALES) -> list[tuple[int, int]]:
    """(side of the transformed latent grid, quarter turns) of every transform but the identity.

    A side that is not whole is rounded down, as ``interpolate(scale_factor=...)`` does; a grid too
    small for a scale leaves that scale out.
    """
    sides = dict.fromkeys(int(side * scale) for scale in scales)
    return [(s, k) for s in sides if s for k in TURNS if (s, k) != (side, 0)]


def transformed_pairs(
    decode: Callable[[Tensor], Tensor],
    images: Tensor,
    latents: Tensor,
    chosen: Sequence[tuple[int, int]],
) -> Iterator[tuple[tuple[int, int], Tensor, Tensor]]:
    """(transform, transformed images, decoded transformed latents) for every chosen transform.

    Args:
        decode: latents ``(N, C, h, h)`` to images ``(N, 3, h f, h f)``.
        images: ``(N, 3, H f, H f)``.
        latents: ``(N, C, H, H)``.
        chosen: (side of the latent grid, quarter turns); the image is brought to ``side * f``.
    """
    grid, resolution = latents.shape[-1], images.shape[-1]
    for side, turns in chosen:
        z, x = latents, images
        if side != grid:
            z, x = rescale(z, side), rescale(x, side * resolution // grid)
        yield (side, turns), rotate(x, turns), decode(rotate(z, turns)).float()


def equivariance_errors(
    decode: Callable[[Tensor], Tensor],
    images: Tensor,
    latents: Tensor,
    chosen: Sequence[tuple[int, int]],
) -> Tensor:
    """``mean |t x - D(t z)|`` per image and transform, float64 ``(N, len(chosen))``."""
    pairs = transformed_pairs(decode, images, latents, chosen)
    return torch.stack([mean_difference(x, y) for _, x, y in pairs], dim=1)


class EquivarianceLoss(Loss):
    """Variants of the EQ loss.

    - ``""``: mean over the grid of scales and quarter turns.
    - ``"rotations"``: over the three turns at full size only, which decoders of a fixed grid take.
    - ``"identity"``: |x - D(z)|, the part of both that is there without any transform.
    - ``"lpips"``, ``"rotations lpips"``: LPIPS in the place of the difference, if a network plays
      that role (the training loss is the sum of the two).
    """

    roles = {"lpips": "lpips", "rotations lpips": "lpips"}
    units = {"lpips": "1", "rotations lpips": "1"}

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        ae = context.autoencoder
        self.lpips = context.networks.get("lpips")
        if not context.spatial:
            self.undefined = dict.fromkeys(self.variants(), NO_GRID)
            return
        self.side = ae.latent_shape[-1]
        every = transforms(self.side)
        self.turns = [(side, k) for side, k in every if side == self.side]
        self.chosen = every if context.resizable else self.turns
        if not context.resizable:
            for variant in {"", "lpips"} & set(self.variants()):
                self.undefined[variant] = fixed_grid(context)
        if self.lpips is not None:
            smallest = self.lpips.meta["smallest_side"]
            for variant, sides in (("lpips", self.chosen), ("rotations lpips", self.turns)):
                pixels = min(side for side, _ in sides) * ae.resolution // self.side
                if pixels < smallest:
                    self.undefined.setdefault(
                        variant,
                        f"LPIPS needs sides of {smallest} pixels, the smallest transformed image "
                        f"has {pixels}",
                    )

    def variants(self) -> Sequence[str]:
        """See :class:`EquivarianceLoss`."""
        more = () if self.lpips is None else ("lpips", "rotations lpips")
        return ("", "rotations", "identity", *more)

    def measure(self, ids: Sequence[str], images: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """See :meth:`seesaw.diffusability.Loss.measure`."""
        decode = self.context.autoencoder.decode
        l1: dict[tuple[int, int], Tensor] = {}
        perceptual: dict[tuple[int, int], Tensor] = {}
        wanted = {"lpips": self.chosen, "rotations lpips": self.turns}
        looked_at = {
            transform
            for variant, chosen in wanted.items()
            if self.lpips is not None and variant not in self.undefined
            for transform in chosen
        }
        for transform, x, y in transformed_pairs(decode, images, latents, self.chosen):
            l1[transform] = mean_difference(x, y)
            if transform in looked_at:
                perceptual[transform] = self.lpips.distance_of_signed(x, y)
        means = {
            "": (l1, self.chosen),
            "rotations": (l1, self.turns),
            **{variant: (perceptual, chosen) for variant, chosen in wanted.items()},
        }
        found = {
            variant: torch.stack([per_transform[t] for t in chosen], 1).mean(1)
            for variant, (per_transform, chosen) in means.items()
            if variant in self.variants() and variant not in self.undefined
        }
        return found | {"identity": mean_difference(images, decode(latents).float())}

    def protocol(self) -> dict[str, Any]:
        """The sides of the transformed grids, and the turns."""
        if not self.context.spatial:
            return {}
        sides = ",".join(str(side) for side in dict.fromkeys(side for side, _ in self.chosen))
        return {"latent_sides": f"{sides} of {self.side}", "quarter_turns": "0-3, no identity"}
