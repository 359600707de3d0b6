"""Training a probe, with early stopping on held-out training images."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from seesaw.probes.data import BLOCK, TrainingSet
from seesaw.probes.network import LOSSES, Probe, stage_widths
from seesaw.progress import progress

HELD_OUT = 0.1
"""Share of the training images that decides when training stops."""
WEIGHT_DECAY = 1e-2


@dataclass(frozen=True, kw_only=True)
class Training:
    """Options of a probe's training.

    Attributes:
        widths: see :func:`seesaw.probes.network.stage_widths`.
        epochs: at most so many.
        patience: stop when the held-out loss has not fallen for so many epochs.
        batch_size: images per step.
        lr: learning rate, constant.
    """

    widths: Sequence[int] = (512, 256, 128, 64)
    epochs: int = 100
    patience: int = 10
    batch_size: int = 128
    lr: float = 1e-3


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained probe, in evaluation mode, and how it got there.

    Attributes:
        probe: with the weights of its best epoch.
        epochs: how many ran.
        best_epoch: the one with the lowest held-out loss, from 1.
        trained_on: images.
        held_out: images that decided when to stop.
        losses: held-out loss per epoch.
        cut_short: whether the limit of epochs ended it, not the held-out loss.
    """

    probe: Probe
    epochs: int
    best_epoch: int
    trained_on: int
    held_out: int
    losses: list[float]
    cut_short: bool


def train_probe(
    data: TrainingSet, kind: str, options: Training, *, seed: int, what: str = "probe"
) -> Trained:
    """Train a probe by AdamW with early stopping on held-out training images.

    The last :data:`HELD_OUT` of the images are held out. Initial weights and the order of the
    images follow from ``seed`` alone.

    Args:
        data: latents and maps.
        kind: ``"edges"`` or ``"map"``: which loss.
        options: how.
        seed: see above.
        what: name for log lines.

    Raises:
        ValueError: fewer than four images, or a loss that is not finite.
    """
    if len(data) < 4:
        raise ValueError(
            f"a probe needs at least 4 training images, got {len(data)}; raise probes.train_images "
            "or give the split 'train' more images"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = stage_widths(data.latent_shape, data.resolution, options.widths)
        probe = Probe(data.latent_shape[0], widths)
    probe.to(data.device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(probe.parameters(), lr=options.lr, weight_decay=WEIGHT_DECAY)
    held_out = max(1, round(HELD_OUT * len(data)))
    n = len(data) - held_out
    size = min(options.batch_size, n)
    held_out_chunks = [np.arange(i, min(i + BLOCK, len(data))) for i in range(n, len(data), BLOCK)]
    losses: list[float] = []
    best = copy.deepcopy(probe.state_dict())
    for epoch in progress(range(options.epochs), total=options.epochs, what=what, unit="epoch"):
        order = np.random.default_rng([seed, 0x960BE, epoch]).permutation(n)
        chunks = [order[i : i + size] for i in range(0, n - size + 1, size)]
        probe.train()
        for latents, target in data.batches(chunks):
            loss = LOSSES[kind](probe(latents), target).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        losses.append(_held_out_loss(probe, data, held_out_chunks, kind))
        if not math.isfinite(losses[-1]):
            raise ValueError(
                f"{what}: the held-out loss is {losses[-1]} after epoch {epoch + 1}; lower "
                f"probes.lr (now {options.lr})"
            )
        if losses[-1] == min(losses) and losses.count(losses[-1]) == 1:
            best = copy.deepcopy(probe.state_dict())
        if epoch - int(np.argmin(losses)) >= options.patience:
            break
    probe.load_state_dict(best)
    return Trained(
        probe=probe.eval().requires_grad_(False),
        epochs=len(losses),
        best_epoch=int(np.argmin(losses)) + 1,
        trained_on=n,
        held_out=held_out,
        losses=losses,
        cut_short=len(losses) - 1 - int(np.argmin(losses)) < options.patience,
    )


@torch.inference_mode()
def _held_out_loss(
    probe: Probe, data: TrainingSet, chunks: Sequence[np.ndarray], kind: str
) -> float:
    probe.eval()
    values = [LOSSES[kind](probe(latents), target) for latents, target in data.batches(chunks)]
    return float(torch.cat(values).double().mean())
