"""Training of autoencoders."""

import inspect
import logging
import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from seesaw.autoencoders.base import build_autoencoder
from seesaw.autoencoders.weights import load_weights
from seesaw.muon import Muon
from seesaw.networks import Network
from seesaw.progress import progress
from seesaw.registry import OBJECTIVES
from seesaw.shards import Shards

IN_MEMORY_BYTES = 2 * 1024**3
WARM_UP = 0.05
LAST_STEPS = 20
WEIGHT_DECAY = 1e-4

logger = logging.getLogger(__name__)


def train_autoencoder(
    *,
    family: str,
    config: Mapping[str, Any],
    objective: str,
    options: Mapping[str, Any],
    images: Shards,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
    device: str = "cpu",
    matrix_lr: float | None = None,
    init: str | Path | None = None,
    teacher: Network | None = None,
    what: str = "autoencoder",
) -> tuple[nn.Module, dict[str, Any]]:
    """Train an autoencoder: warm-up over 5% of the steps, then a cosine to zero.

    Which images a step sees, the initial weights and all noise follow from ``seed`` alone.

    Args:
        family: a name in :data:`seesaw.registry.FAMILIES`, or ``"module:Class"``.
        config: keyword arguments of the family.
        objective: a name in :data:`seesaw.registry.OBJECTIVES`.
        options: keyword arguments of the objective.
        images: packed images with the field ``images`` uint8 (3, R, R).
        steps: optimiser steps.
        batch_size: images per step.
        lr: highest learning rate of AdamW.
        seed: see above.
        device: torch device.
        matrix_lr: highest learning rate of :class:`seesaw.muon.Muon`, which then trains
            the matrices and kernels; ``None``: AdamW trains them too.
        init: weights to start from (fine-tuning), or None.
        teacher: a loaded feature network, for objectives and families that use one.
        what: name for log lines.

    Returns:
        The autoencoder in evaluation mode on ``device``, and a summary: ``steps``, ``batch_size``,
        ``parameters`` (all), ``trained`` (of them trained), ``seconds``, ``images_per_second`` and
        ``losses`` (means over the last 20 steps).

    Raises:
        ValueError: unknown names or options, images of another size, or a loss that is not finite.
    """
    autoencoder = _build(family, config, images, seed, device, init, teacher)
    learner = build_objective(objective, autoencoder, teacher, options, seed).to(device)
    batches = image_batches(images, steps=steps, batch_size=batch_size, seed=seed)
    start = time.monotonic()
    rates = {"lr": lr, "matrix_lr": matrix_lr}
    recent = _minimise(learner, batches, steps=steps, **rates, seed=seed, what=f"training {what}")
    seconds = time.monotonic() - start
    summary = {
        "steps": steps,
        "batch_size": batch_size,
        "parameters": sum(p.numel() for p in autoencoder.parameters()),
        "trained": sum(p.numel() for p in autoencoder.parameters() if p.requires_grad),
        "seconds": round(seconds, 2),
        "images_per_second": round(steps * batch_size / seconds, 1),
        "losses": {name: float(np.mean([v[name] for v in recent])) for name in recent[-1]},
    }
    return autoencoder.eval().requires_grad_(False), summary


def _minimise(
    learner: nn.Module,
    batches: Iterator[np.ndarray],
    *,
    steps: int,
    lr: float,
    matrix_lr: float | None,
    seed: int,
    what: str,
) -> list[dict[str, float]]:
    """Take the steps; return the losses of the last 20."""
    learner.train()
    parameters = [p for p in learner.parameters() if p.requires_grad]
    device = parameters[0].device
    optimisers = _optimisers(parameters, lr, matrix_lr)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate(step, steps))
        for optimiser in optimisers
    ]
    generator = torch.Generator().manual_seed(seed)
    recent: list[dict[str, float]] = []
    for step, batch in enumerate(progress(batches, total=steps, what=what)):
        pixels = torch.from_numpy(batch).to(device).float() / 127.5 - 1
        losses = learner(pixels.contiguous(memory_format=torch.channels_last), generator)
        values = {name: float(loss.detach()) for name, loss in losses.items()}
        if not math.isfinite(values["loss"]):
            raise ValueError(
                f"{what}: the loss is {values['loss']} at step {step} of {steps} ({values}); "
                f"lower 'lr' (now {lr}) or the weights of the objective's terms"
            )
        learner.zero_grad(set_to_none=True)
        losses["loss"].backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimiser, schedule in zip(optimisers, schedules, strict=True):
            optimiser.step()
            schedule.step()
        recent = [*recent[-(LAST_STEPS - 1) :], values]
    return recent


def _optimisers(
    parameters: list[nn.Parameter], lr: float, matrix_lr: float | None
) -> list[torch.optim.Optimizer]:
    """AdamW for all, or Muon for what has two axes; learned tokens (1, T, C) are no matrix."""
    matrices = [p for p in parameters if p.ndim > 1 and len(p) > 1 and matrix_lr is not None]
    chosen = {id(p) for p in matrices}
    rest = [p for p in parameters if id(p) not in chosen]
    adam = torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY, fused=True)
    if not matrices:
        return [adam]
    return [adam, Muon(matrices, matrix_lr, weight_decay=WEIGHT_DECAY)]


def build_objective(
    name: str,
    autoencoder: nn.Module,
    teacher: Network | None,
    options: Mapping[str, Any],
    seed: int,
) -> nn.Module:
    """The registered objective ``name`` for ``autoencoder``.

    Raises:
        ValueError: the name is unknown, or it does not take an option of that name.
    """
    cls = OBJECTIVES.load(name)
    accepted = {
        parameter.name
        for base in cls.__mro__
        if issubclass(base, nn.Module) and base is not nn.Module
        for parameter in inspect.signature(base.__init__).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    bad = sorted(set(options) - accepted)
    if bad:
        raise ValueError(
            f"objective {name!r} does not take {', '.join(map(repr, bad))}; it takes "
            f"{', '.join(sorted(accepted))}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(autoencoder, teacher, **options)


def image_batches(
    images: Shards, *, steps: int, batch_size: int, seed: int
) -> Iterator[np.ndarray]:
    """Batches of uint8 images ``(batch_size, 3, R, R)``: epochs, each in a new random order.

    The order depends on (seed, number of images) only. Sets up to 2 GiB are held in memory; of
    larger ones a step's images are read, one step ahead.
    """
    rows = _rows(len(images), steps, batch_size, seed)
    size = len(images) * math.prod(images.fields["images"]["shape"])
    if size <= IN_MEMORY_BYTES:
        whole = images.load("images")
        yield from (whole[chosen] for chosen in rows)
        return

    def read(chosen: np.ndarray) -> np.ndarray:
        return images.take([images.ids[row] for row in chosen], ["images"])["images"]

    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(read, next(rows))
        for chosen in rows:
            batch = coming.result()
            coming = reader.submit(read, chosen)
            yield batch
        yield coming.result()


def _rows(n: int, steps: int, batch_size: int, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng([seed, 0x5EE5A3])
    order = np.empty(0, np.int64)
    for _ in range(steps):
        while len(order) < batch_size:
            order = np.concatenate([order, generator.permutation(n)])
        yield order[:batch_size]
        order = order[batch_size:]


def rate(step: int, steps: int) -> float:
    """Share of the highest learning rate at ``step`` (from 0): linear warm-up, then a cosine."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _build(
    family: str,
    config: Mapping[str, Any],
    images: Shards,
    seed: int,
    device: str,
    init: str | Path | None,
    teacher: Network | None,
) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        autoencoder = build_autoencoder(family, config)
    if not isinstance(autoencoder, nn.Module) or not hasattr(autoencoder, "posterior"):
        raise ValueError(
            f"autoencoder family {family!r} cannot be trained here: it has no posterior(images); "
            "give its weights instead of a 'train' block"
        )
    side = images.fields["images"]["shape"][-1]
    if autoencoder.resolution != side:
        raise ValueError(
            f"this autoencoder takes images of {autoencoder.resolution} x {autoencoder.resolution} "
            f"pixels, {images.path} has {side} x {side}; set data.resolution or its resolution"
        )
    autoencoder.to(device, memory_format=torch.channels_last)
    if init is not None:
        load_weights(autoencoder, init)
    prepare = getattr(autoencoder, "prepare", None)
    if prepare is not None and init is None:
        prepare(teacher, images)
    return autoencoder
