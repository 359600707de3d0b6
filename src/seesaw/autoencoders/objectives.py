"""Training objectives of autoencoders.

An objective is built with the autoencoder that it trains and called with a batch of images::

    objective = Reconstruction(autoencoder, kl_weight=1e-6)
    losses = objective(images, generator)  # {"loss": ..., "pixel": ..., "kl": ...}

``images`` are float RGB in [-1, 1], ``(N, 3, R, R)``; ``generator`` is a CPU ``torch.Generator``
that everything random comes from. ``losses["loss"]`` is what training minimises, the others are its
parts. What an objective learns besides the autoencoder (a projector) is its own parameter. Keyword
arguments of the constructor are the keys of the config block ``train: {options: ...}``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.autoencoders.transforms import rescale, rotate


class Reconstruction(nn.Module):
    """Pixel reconstruction and, for a stochastic posterior, its KL divergence from N(0, 1).

    ``l1 mean|d| + mse mean d^2 + gradient (mean|d/dx d| + mean|d/dy d|) + kl_weight KL / P`` with
    d the difference of images, KL summed over the latent and P the number of pixel values, so
    ``kl_weight`` means what it means in LDM, whose two terms are sums (arXiv 2112.10752, ``1e-6``).

    Args:
        autoencoder: what is trained.
        teacher: a feature network; not used here.
        l1: weight of the mean absolute difference.
        mse: weight of the mean squared difference.
        gradient: weight of the absolute difference of neighbouring pixels' differences (edges).
        kl_weight: weight of the KL divergence.
        latent_noise: standard deviation scale of noise added to the latents before decoding: per
            image ``|N(0, 1)| * latent_noise`` (RAE, arXiv 2510.11690, there 0.8).
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        teacher: Any = None,
        *,
        l1: float = 1.0,
        mse: float = 1.0,
        gradient: float = 0.0,
        kl_weight: float = 1e-6,
        latent_noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.l1, self.mse, self.gradient = l1, mse, gradient
        self.kl_weight = kl_weight
        self.latent_noise = latent_noise

    def forward(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of a batch."""
        latents, losses = self.encode(images, generator)
        losses["pixel"] = self.difference(self.autoencoder.decode(latents), images)
        return total(losses)

    def encode(
        self, images: Tensor, generator: torch.Generator, **options: Any
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Posterior samples ``(N, *latent_shape)`` and their loss, ``{"kl": ...}`` or ``{}``."""
        latents, log_variance = self.autoencoder.posterior(images, **options)
        losses = {}
        if log_variance is not None:
            divergence = 0.5 * (latents**2 + log_variance.exp() - 1 - log_variance).sum()
            losses["kl"] = self.kl_weight * divergence / images.numel()
            latents = latents + (0.5 * log_variance).exp() * normal(latents, generator)
        if self.latent_noise:
            spread = torch.randn(len(latents), generator=generator).abs() * self.latent_noise
            spread = spread.to(latents.device).view(-1, *[1] * (latents.ndim - 1))
            latents = latents + spread * normal(latents, generator)
        return latents, losses

    def difference(self, outputs: Tensor, images: Tensor) -> Tensor:
        """Pixel distance of two batches of images of one size, a scalar."""
        d = outputs - images
        loss = self.l1 * d.abs().mean() + self.mse * d.square().mean()
        if self.gradient:
            across = d[..., :, 1:] - d[..., :, :-1]
            down = d[..., 1:, :] - d[..., :-1, :]
            loss = loss + self.gradient * (across.abs().mean() + down.abs().mean())
        return loss


class Equivariance(Reconstruction):
    """EQ-VAE (arXiv 2502.09509): a decoded transformed latent is the transformed image.

    With ``probability`` the latent is shrunk to a side drawn from [1/4, 1) of its grid, turned by
    90, 180 or 270 degrees and decoded; the target is the image after the same transform. Else, with
    ``prior_probability``, a plain step on the image shrunk to such a side (the prior preservation
    at low resolution of the released code); else a plain step. One draw per batch.

    Args:
        autoencoder: what is trained; its decoder must take grids of any side.
        teacher: not used.
        probability: share of the steps that are transformed.
        prior_probability: share of the remaining steps that are at low resolution.
        options: see :class:`Reconstruction`.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        teacher: Any = None,
        *,
        probability: float = 0.5,
        prior_probability: float = 0.25,
        **options: Any,
    ) -> None:
        super().__init__(autoencoder, teacher, **options)
        require_resizable(autoencoder, "equivariance")
        self.probability = probability
        self.prior_probability = prior_probability

    def forward(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of a batch."""
        transformed, low = torch.rand(2, generator=generator).tolist()
        grid = self.autoencoder.latent_shape[-1]
        side = integer(max(1, grid // 4), grid - 1, generator) if grid > 1 else 1
        turns = integer(1, 3, generator)
        pixels = side * images.shape[-1] // grid
        if transformed < self.probability:
            latents, losses = self.encode(images, generator)
            latents = rotate(rescale(latents, side), turns)
            images = rotate(rescale(images, pixels), turns)
        else:
            if low < self.prior_probability:
                images = rescale(images, pixels)
            latents, losses = self.encode(images, generator)
        losses["pixel"] = self.difference(self.autoencoder.decode(latents), images)
        return total(losses)


class ScaleEquivariance(Reconstruction):
    """Scale equivariance (Diffusability, arXiv 2502.14831): shrunk latents decode to shrunk images.

    ``d(x, D(z)) + weight d(down_s x, D(down_s z)) + kl_weight KL``, s drawn from ``scales`` per
    step, bilinear. The paper fine-tunes a trained autoencoder with it (``init``); the control arm
    is :class:`Reconstruction` for as many steps from the same ``init``.

    Args:
        autoencoder: what is trained; its decoder must take grids of any side.
        teacher: not used.
        weight: weight of the second term.
        scales: factors to shrink by; those that do not divide the latent grid are an error.
        options: see :class:`Reconstruction`.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        teacher: Any = None,
        *,
        weight: float = 0.25,
        scales: Sequence[int] = (2, 4),
        **options: Any,
    ) -> None:
        super().__init__(autoencoder, teacher, **options)
        require_resizable(autoencoder, "scale-equivariance")
        grid = autoencoder.latent_shape[-1]
        bad = [scale for scale in scales if scale < 2 or grid % scale]
        if bad or not scales:
            raise ValueError(f"scales {list(scales)} must be > 1 and divide the latent grid {grid}")
        self.weight = weight
        self.scales = tuple(scales)

    def forward(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of a batch."""
        latents, losses = self.encode(images, generator)
        losses["pixel"] = self.difference(self.autoencoder.decode(latents), images)
        scale = self.scales[integer(0, len(self.scales) - 1, generator)]
        small = self.autoencoder.decode(rescale(latents, latents.shape[-1] // scale))
        target = rescale(images, images.shape[-1] // scale)
        losses["scale"] = self.weight * self.difference(small, target)
        return total(losses)


class Alignment(Reconstruction):
    """VF loss of VA-VAE (arXiv 2501.01423, LightningDiT): latents aligned to a feature network.

    Two parts, on tokens of the latent grid z and of the teacher f: the distance matrix part,
    ``mean relu(|cos(z_i, z_j) - cos(f_i, f_j)| - distance_margin)``, and the marginal cosine part,
    ``mean relu(1 - cosine_margin - cos(W z_i, f_i))`` with W a projector without bias. Their sum is
    weighted by ``weight``, and with ``adaptive`` also by the ratio of the norms of the gradients of
    pixel loss and alignment loss at the latents (the released code takes them at the encoder's last
    layer). Where the grids differ, the finer one is averaged to the coarser.

    Args:
        autoencoder: what is trained; its latent must be a grid.
        teacher: has ``tokens(images) -> (N, T, dim)`` of float images in [-1, 1], ``dim``, and
            ``grid``, the side of its token grid.
        weight: weight of both parts.
        distance_margin: differences of cosines below this are free.
        cosine_margin: cosines above 1 - this are free.
        adaptive: balance the gradients; costs a second pass back through the decoder.
        options: see :class:`Reconstruction`.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        teacher: Any = None,
        *,
        weight: float = 0.1,
        distance_margin: float = 0.25,
        cosine_margin: float = 0.5,
        adaptive: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(autoencoder, teacher, **options)
        if not autoencoder.spatial:
            raise ValueError(
                "objective 'alignment' compares grids, but this autoencoder's latents are tokens "
                f"{autoencoder.latent_shape}; choose 'reconstruction' or 'masked'"
            )
        if teacher is None or not hasattr(teacher, "tokens"):
            raise ValueError(
                "objective 'alignment' needs a teacher with tokens(images), such as mini-dino; set "
                "'teacher' in its train block to the role that it plays (teacher: dino)"
            )
        self._teacher = [teacher]  # in a list: frozen, so not among the parameters
        self.project = nn.Linear(autoencoder.latent_shape[0], teacher.dim, bias=False)
        self.weight = weight
        self.distance_margin, self.cosine_margin = distance_margin, cosine_margin
        self.adaptive = adaptive

    def forward(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of a batch."""
        latents, losses = self.encode(images, generator)
        losses["pixel"] = self.difference(self.autoencoder.decode(latents), images)
        align = self.misalignment(latents, images)
        weight = self.weight
        if self.adaptive:
            kept = {"retain_graph": True}
            pull = torch.autograd.grad(losses["pixel"], latents, **kept)[0].norm()
            push = torch.autograd.grad(align, latents, **kept)[0].norm()
            weight = weight * (pull / (push + 1e-4)).clamp(0, 1e4).detach()
        losses["align"] = weight * align
        return total(losses)

    def misalignment(self, latents: Tensor, images: Tensor) -> Tensor:
        """Both parts of the loss, a scalar, before ``weight``."""
        teacher = self._teacher[0]
        with torch.no_grad():
            features = teacher.tokens(images).to(latents)
        tokens, wanted = paired_tokens(latents, features, teacher.grid)
        return (
            distance_excess(tokens, wanted, self.distance_margin).mean()
            + cosine_excess(self.project(tokens), wanted, self.cosine_margin).mean()
        )


class Masked(Reconstruction):
    """Masked reconstruction (MAETok, arXiv 2502.03444): hidden patches are reconstructed too.

    A share of the input patches drawn uniformly from ``ratio`` per image is replaced by the mask
    token; the loss is on all pixels. (MAETok draws from [0.4, 0.6] and also predicts features of
    other networks; that part is not here.)

    Args:
        autoencoder: what is trained; its ``posterior`` must take ``hidden``, a bool mask
            (N, patches).
        teacher: not used.
        ratio: least and greatest share of hidden patches.
        options: see :class:`Reconstruction`.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        teacher: Any = None,
        *,
        ratio: Sequence[float] = (0.4, 0.6),
        **options: Any,
    ) -> None:
        super().__init__(autoencoder, teacher, **options)
        if not hasattr(autoencoder, "patches"):
            raise ValueError(
                "objective 'masked' hides patches of the input, which the encoder of this family "
                "cannot; it is for 'tokenizer-1d'"
            )
        low, high = ratio
        if not 0 <= low <= high < 1:
            raise ValueError(f"ratio {list(ratio)} must hold 0 <= least <= greatest < 1")
        self.ratio = (low, high)

    def forward(self, images: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Losses of a batch."""
        low, high = self.ratio
        share = low + (high - low) * torch.rand(len(images), 1, generator=generator)
        rank = torch.rand(len(images), self.autoencoder.patches, generator=generator)
        hidden = rank.argsort(1).argsort(1) < (share * self.autoencoder.patches).round()
        latents, losses = self.encode(images, generator, hidden=hidden.to(images.device))
        losses["pixel"] = self.difference(self.autoencoder.decode(latents), images)
        return total(losses)


def total(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same losses, and their sum under ``"loss"``."""
    return {"loss": torch.stack(list(losses.values())).sum(), **losses}


def paired_tokens(latents: Tensor, features: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """Latents and features as tokens of one grid: the finer one is averaged to the coarser.

    Args:
        latents: ``(N, C, H, H)``.
        features: tokens of a ``grid`` x ``grid`` grid, row by row, ``(N, grid * grid, D)``.
        grid: side of the features' grid.

    Returns:
        ``(N, T, C)`` and ``(N, T, D)``.
    """
    features = features.transpose(1, 2).reshape(len(latents), -1, grid, grid)
    side = min(grid, latents.shape[-1])
    tokens, wanted = (
        F.adaptive_avg_pool2d(grids, side).flatten(2).transpose(1, 2)
        for grids in (latents, features)
    )
    return tokens, wanted


def distance_excess(tokens: Tensor, wanted: Tensor, margin: float) -> Tensor:
    """``relu(|cos(z_i, z_j) - cos(f_i, f_j)| - margin)`` of ``(N, T, C or D)``: ``(N, T, T)``."""
    return F.relu((cosines(tokens) - cosines(wanted)).abs() - margin)


def cosine_excess(projected: Tensor, wanted: Tensor, margin: float) -> Tensor:
    """``relu(1 - margin - cos(W z_i, f_i))`` of projected tokens ``(N, T, D)``: ``(N, T)``."""
    return F.relu(1 - margin - F.cosine_similarity(projected, wanted, dim=-1))


def cosines(tokens: Tensor) -> Tensor:
    """Cosine similarity of all pairs of tokens ``(N, T, C)``: ``(N, T, T)``."""
    unit = F.normalize(tokens, dim=-1)
    return unit @ unit.transpose(1, 2)


def normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise of the shape of ``like``, drawn on the CPU whatever its device."""
    return torch.randn(like.shape, generator=generator).to(like)


def integer(low: int, high: int, generator: torch.Generator) -> int:
    """A uniform integer in ``[low, high]``."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def require_resizable(autoencoder: nn.Module, objective: str) -> None:
    """Raise unless the decoder takes latent grids of any side."""
    if not getattr(autoencoder, "resizable", False):
        raise ValueError(
            f"objective {objective!r} decodes latent grids of other sides, which the decoder of "
            f"{type(autoencoder).__name__} cannot; it is for convolutional autoencoders "
            "(diffusers-kl)"
        )
