"""GMM loss: how well does a Gaussian mixture describe the latents?

As in MAETok (arXiv 2502.03444, B.3): latents are flattened, brought to one number of principal
components for all autoencoders, each divided by its standard deviation; a mixture of Gaussians with
diagonal covariances is fitted to training latents; the loss is the mean negative log-likelihood of
evaluation latents, in nats. No code of it is published.

EM runs a fixed number of steps from a fixed start (means: latents chosen by the seed; equal
weights, unit variances), so that rounding cannot choose another optimum, as it can with k-means and
a tolerance. From that start scikit-learn's GaussianMixture gives the same numbers (tested); it is
written out here because the import of scikit-learn takes long, and to run on a GPU.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seesaw.diffusability import Context, Loss
from seesaw.seeds import seed_for

EM_STEPS = 100
VARIANCE_FLOOR = 1e-6
CHUNK = 4096  # rows or columns at a time, in float64
WIDE_CHUNK = 256  # whole rows at a time, which may be long
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Whitening:
    """Principal components of unit variance: ``(x - mean) @ basis``.

    Attributes:
        mean: float64 ``(D,)``.
        basis: float64 ``(D, K)``.
        kept: share of the variance that the K components explain.
    """

    mean: Tensor
    basis: Tensor
    kept: float

    def __call__(self, rows: Tensor) -> Tensor:
        """Rows ``(N, D)`` to float64 ``(N, K)``."""
        return (rows.to(self.mean) - self.mean) @ self.basis


def fit_whitening(rows: Tensor, components: int) -> Whitening:
    """Principal components of ``rows``, each divided by its (population) standard deviation.

    By the eigenvectors of the covariance or, with fewer rows than columns, of the Gram matrix; both
    in float64, ``min(N, D)`` squared numbers of memory.

    Args:
        rows: ``(N, D)``.
        components: K.

    Raises:
        ValueError: the rows do not vary in K directions.
    """
    count, width = rows.shape
    mean = torch.stack([part.double().sum(0) for part in rows.split(WIDE_CHUNK)]).sum(0) / count
    wide = count < width

    def centred() -> Any:
        """The centred rows in parts, rows at a time, or columns at a time where they are wide."""
        if wide:
            yield from (
                part.double() - centre
                for part, centre in zip(rows.split(CHUNK, 1), mean.split(CHUNK))
            )
        else:
            yield from (part.double() - mean for part in rows.split(CHUNK))

    gram = sum(part @ part.T if wide else part.T @ part for part in centred()) / count
    variance, vectors = torch.linalg.eigh(gram)
    total = float(variance.clamp_min(0).sum())
    rank = int((variance > 1e-10 * max(total, 1e-300)).sum())
    if components > rank:
        raise ValueError(
            f"diffusability.pca is {components}, but {count} training latents of {width} numbers "
            f"vary in {rank} directions only; choose at most {rank} for all autoencoders, or more "
            "train_images"
        )
    variance = variance.flip(0)[:components]
    vectors = vectors.flip(1)[:, :components]
    if wide:
        vectors = torch.cat([part.T @ vectors for part in centred()]) / (count * variance).sqrt()
    return Whitening(mean, vectors / variance.sqrt(), float(variance.sum()) / total)


@dataclass(frozen=True)
class Mixture:
    """Gaussians with diagonal covariances: weights ``(M,)``, means and variances ``(M, K)``."""

    weights: Tensor
    means: Tensor
    variances: Tensor

    def log_joint(self, rows: Tensor) -> Tensor:
        """``log(weight_m N(x_i; m))`` of rows ``(N, K)``: ``(N, M)``."""
        precision = 1 / self.variances
        distance = (
            rows.square() @ precision.T
            - 2 * rows @ (self.means * precision).T
            + (self.means.square() * precision).sum(1)
        )
        volume = self.variances.log().sum(1) + rows.shape[1] * LOG_2PI
        return self.weights.log() - 0.5 * (distance + volume)

    def nll(self, rows: Tensor) -> Tensor:
        """Negative log-likelihood of each of the rows ``(N, K)``, in nats: ``(N,)``."""
        return -self.log_joint(rows).logsumexp(1)

    def em_step(self, rows: Tensor) -> "Mixture":
        """One step of expectation and maximisation on rows ``(N, K)``."""
        joint = self.log_joint(rows)
        shares = (joint - joint.logsumexp(1, keepdim=True)).exp()
        counts = shares.sum(0) + 10 * torch.finfo(rows.dtype).eps
        means = shares.T @ rows / counts[:, None]
        squares = shares.T @ rows.square() / counts[:, None]
        variances = (squares - means.square()).clamp_min(0) + VARIANCE_FLOOR
        return Mixture(counts / counts.sum(), means, variances)


def fit_mixture(rows: Tensor, start: Tensor, steps: int) -> Mixture:
    """EM from equal weights, unit variances and the means ``start``.

    Args:
        rows: float64 ``(N, K)``.
        start: ``(M, K)``.
        steps: EM steps; 0 returns the start.
    """
    weights = torch.full((len(start),), 1 / len(start), dtype=rows.dtype, device=rows.device)
    mixture = Mixture(weights, start.clone(), torch.ones_like(start))
    for _ in range(steps):
        mixture = mixture.em_step(rows)
    return mixture


class MixtureLoss(Loss):
    """Variants of the GMM loss.

    - ``""``: evaluation latents.
    - ``"train"``: the training latents that it was fitted to; far below ``""``, it was overfitted.
    - ``"gaussian"``: evaluation latents under a single Gaussian, the baseline.
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._ids: list[str] = []
        self._rows: list[Tensor] = []

    def variants(self) -> Sequence[str]:
        """See :class:`MixtureLoss`."""
        return ("", "train", "gaussian")

    def fit(self, ids: Sequence[str], images: Tensor, latents: Tensor) -> None:
        """Keep the latents."""
        self._ids += ids
        self._rows.append(latents.flatten(1).cpu())

    def finish_fit(self) -> None:
        """Fit principal components and mixture.

        Raises:
            ValueError: more components than training images, or see :func:`fit_whitening`.
        """
        options, seed = self.context.options, self.context.seed
        count = options["components"]
        if count > len(self._ids):
            raise ValueError(
                f"diffusability.components is {count}, more than the {len(self._ids)} training "
                "images; lower it, or raise train_images"
            )
        rows = torch.empty((len(self._ids), self._rows[0].shape[1]), device=self.context.device)
        filled = 0
        while self._rows:  # one copy in memory, not two
            part = self._rows.pop(0)
            rows[filled : filled + len(part)] = part
            filled += len(part)
        self.whitening = fit_whitening(rows, options["pca"])
        white = torch.cat([self.whitening(part) for part in rows.split(WIDE_CHUNK)])
        order = sorted(
            range(len(white)), key=lambda i: (seed_for(seed, "mixture", self._ids[i]), i)
        )
        start = white[torch.tensor(order[:count], device=white.device)]
        self.mixture = fit_mixture(white, start, options.get("em_steps", EM_STEPS))
        self._values["train"] = [self.mixture.nll(white).cpu().numpy()]

    def measure(self, ids: Sequence[str], images: Tensor, latents: Tensor) -> dict[str, Tensor]:
        """See :meth:`seesaw.diffusability.Loss.measure`."""
        white = self.whitening(latents.flatten(1))
        gaussian = 0.5 * (white.square().sum(1) + white.shape[1] * LOG_2PI)
        return {"": self.mixture.nll(white), "gaussian": gaussian}

    def protocol(self) -> dict[str, Any]:
        """What was fitted to what."""
        return {
            "train_images": len(self._ids),
            "pca": self.whitening.basis.shape[1],
            "variance_kept": f"{self.whitening.kept:.4f}",
            "components": len(self.mixture.weights),
            "covariance": "diagonal",
            "em_steps": self.context.options.get("em_steps", EM_STEPS),
        }
