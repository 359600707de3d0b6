"""Muon: a momentum optimiser for matrices and kernels, for trainings of a few hundred steps."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def orthogonal(matrix: Tensor, rounds: int = 4) -> Tensor:
    """About ``U V'`` of the singular value decomposition ``U S V'``, by Newton-Schulz rounds.

    The quintic of K. Jordan et al., "Muon" (2024): singular values end between about 0.7 and 1.2.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (matrix.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(rounds):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal, for weights with two or more axes.

    ``torch.optim.Muon`` takes matrices only; this one sees a convolution's kernel as the matrix
    ``(out, in * height * width)``. The update has about the size of one of AdamW (J. Liu et al.,
    "Muon is scalable for LLM training", 2025, eq. 4). On small networks it needs half the
    steps of AdamW or fewer.

    Args:
        params: parameters with two or more axes.
        lr: learning rate.
        momentum: of the Nesterov momentum.
        weight_decay: decoupled, as in AdamW.
    """

    def __init__(
        self,
        params: Sequence[nn.Parameter],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        """One step from the gradients."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(mean, group["momentum"]).flatten(1))
                size = 0.2 * math.sqrt(max(update.shape))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view(p.shape), alpha=-group["lr"] * size)
