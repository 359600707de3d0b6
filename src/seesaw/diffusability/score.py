"""Stage ``diffusability``: the configured losses of one frozen autoencoder -> scores (JSON)."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seesaw.autoencoders.base import load_autoencoder
from seesaw.batching import Batched, fitted_sizes
from seesaw.diffusability import Context, Loss
from seesaw.networks import load_network
from seesaw.progress import progress
from seesaw.reconstruct import encode_batch
from seesaw.registry import LOSSES
from seesaw.results import Score, write_scores
from seesaw.seeds import seed_for
from seesaw.shards import Shards, require_same_ids

logger = logging.getLogger(__name__)

FIT_BATCH = 16
"""Training images per forward pass. Fixed, and the last batch is filled up: what is fitted can blow
up a difference in the last bit, so it must not depend on the batch size."""


def subset(ids: Sequence[str], count: int | str, seed: int, purpose: str) -> list[str]:
    """``count`` of the ids, chosen by (seed, purpose, id) alone, in stored order; or all of them.

    Raises:
        ValueError: there are fewer.
    """
    if count == "all":
        return list(ids)
    if count > len(ids):
        raise ValueError(
            f"config, diffusability: {count} images are asked for {purpose}, the split has "
            f"{len(ids)}; lower the number, or say 'all' if the key takes it"
        )
    order = sorted(ids, key=lambda image_id: (seed_for(seed, purpose, image_id), image_id))
    chosen = set(order[: int(count)])
    return [image_id for image_id in ids if image_id in chosen]


def score_diffusability(
    *,
    autoencoder: str,
    family: str,
    config: Mapping[str, Any],
    weights: str | Path | None,
    images: str | Path,
    reconstructions: str | Path,
    train: str | Path | None,
    networks: Mapping[str, str],
    network_weights: Mapping[str, str | Path | None],
    options: Mapping[str, Any],
    output_scores: str | Path,
    batch_size: int,
    posterior: str,
    protocol: Mapping[str, Any],
    seed: int,
    device: str,
    provenance: Mapping[str, Any],
) -> None:
    """All losses of one autoencoder, on the same seeded subset of the evaluation images.

    Args:
        autoencoder: its name.
        family: autoencoder family or ``"module:Class"``.
        config: its keyword arguments.
        weights: its weights file, if it has one.
        images: manifest of the packed evaluation split.
        reconstructions: manifest with the evaluation latents.
        train: manifest of the packed split that losses are fitted on; None if none of them fits.
        networks: role -> registry name, for the roles that the losses need or use.
        network_weights: role -> weights file of that network, if it has one.
        options: the config block ``diffusability``: ``losses`` (registry names), ``images`` (how
            many evaluation images, or ``"all"``, the default), ``train_images``, and what each loss
            reads of it.
        output_scores: JSON of scores.
        batch_size: evaluation images at a time; no score depends on it.
        posterior: ``"mean"`` or ``"sample"``, for training latents.
        protocol: the named choices to record.
        seed: the config's seed.
        device: torch device.
        provenance: what to record beside the scores.

    Raises:
        ValueError: unknown losses, sets of different images, too few images, a loss that is not
            finite.
    """
    source, stored = Shards(images), Shards(reconstructions)
    require_same_ids(source, stored)
    context = Context(
        autoencoder=load_autoencoder(family, weights, config, device=device),
        networks={
            role: load_network(name, network_weights.get(role), device)
            for role, name in networks.items()
        },
        options=options,
        seed=seed,
        device=device,
    )
    losses: dict[str, Loss] = {name: LOSSES.load(name)(context) for name in options["losses"]}
    with torch.inference_mode():
        fitted = {n: loss for n, loss in losses.items() if LOSSES[n].fits and loss.exists}
        if fitted:
            if train is None:
                raise ValueError(f"{', '.join(fitted)}: a loss is fitted, but no 'train' is given")
            fit_losses(list(fitted.values()), context, Shards(train), posterior=posterior)
        ids = subset(source.ids, options.get("images", "all"), seed, "diffusability")
        what = f"diffusability losses of {len(ids)} images"
        for part in parts_of(ids, batch_size, what):
            pixels = to_pixels(source.take(part, ["images"])["images"], device)
            latents = torch.from_numpy(stored.take(part, ["latents"])["latents"]).to(device)
            for loss in losses.values():
                loss.add(part, pixels, latents)
    scores = [
        score
        for name, loss in losses.items()
        for score in scores_of(name, loss, networks, {**protocol, "evaluation_images": len(ids)})
    ]
    for score in scores:
        logger.info("%s %s %s: %s", autoencoder, score.metric, score.variant, score.value)
    fitted = fitted_sizes(*(loss.measured for loss in losses.values()))
    write_scores(
        output_scores,
        autoencoder=autoencoder,
        scores=scores,
        provenance={**provenance, **fitted},
    )


def fit_losses(losses: Sequence[Loss], context: Context, train: Shards, *, posterior: str) -> None:
    """Show the losses their training images, with latents made in batches of a fixed size."""
    count, seed, device = context.options["train_images"], context.seed, context.device
    encode = Batched(partial(encode_batch, context.autoencoder), "encoding")
    ids = subset(train.ids, count, seed, "diffusability fit")
    for part in parts_of(ids, FIT_BATCH, f"fitting on {len(ids)} images"):
        full = [*part, *[part[-1]] * (FIT_BATCH - len(part))]
        pixels = train.take(full, ["images"])["images"]
        latents = encode(pixels, full, posterior=posterior, seed=seed, device=device)
        for loss in losses:
            loss.fit(part, to_pixels(pixels, device)[: len(part)], latents[: len(part)])
    for loss in losses:
        loss.finish_fit()


def parts_of(ids: Sequence[str], size: int, what: str) -> Iterator[list[str]]:
    """The ids in order, ``size`` at a time."""
    starts = range(0, len(ids), size)
    for start in progress(starts, total=len(starts), what=what, unit="batche"):
        yield list(ids[start : start + size])


def to_pixels(images: np.ndarray, device: str) -> Tensor:
    """uint8 images to float32 in [-1, 1] on the device."""
    return torch.from_numpy(images).to(device).float() / 127.5 - 1.0


def scores_of(
    name: str, loss: Loss, networks: Mapping[str, str], protocol: Mapping[str, Any]
) -> list[Score]:
    """The findings of a loss as scores."""
    entry = LOSSES[name]
    return [
        Score(
            metric=name,
            variant=finding.variant,
            value=finding.value,
            n=finding.n,
            unit=entry.unit if finding.unit is None else finding.unit,
            higher_is_better=entry.higher_is_better,
            metric_version=entry.version,
            network=networks[finding.role] if finding.role else None,
            protocol={**protocol, **loss.protocol()},
            note=finding.note,
        )
        for finding in loss.findings()
    ]
