"""Samples under control: an evaluation image's label and condition, noise from its id.

The noise is that of the uncontrolled samples (:mod:`seesaw.diffusion.sample`), so the two differ by
the hint alone.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seesaw.autoencoders.base import load_autoencoder
from seesaw.control.branch import ControlNet, load_branch
from seesaw.control.frozen import FrozenModel, load_frozen
from seesaw.control.job import to_hints
from seesaw.diffusion.sample import labels_for, sample_latents, write_samples
from seesaw.files import digest_of, sha256_of
from seesaw.reconstruct import decode_batch
from seesaw.seeds import seed_for
from seesaw.shards import Shards, ShardWriter


def choose_images(ids: Sequence[str], count: int | None, seed: int) -> list[str]:
    """``count`` of the ids drawn by (seed, id), in the order given; all for None or too many."""
    drawn = sorted(ids, key=lambda i: (seed_for(seed, "control-image", i), i))
    chosen = set(drawn if count is None else drawn[:count])
    return [image_id for image_id in ids if image_id in chosen]


def sample_latents_under(
    control: ControlNet,
    frozen: FrozenModel,
    labels: Tensor,
    hints: Tensor,
    ids: Sequence[str],
    *,
    seed: int,
) -> Tensor:
    """Raw latents of samples under hints, float32 ``(N, *latent_shape)``.

    Args:
        control: the branch on the backbone of ``frozen``.
        frozen: how it is sampled.
        labels: int64 ``(N,)``, on the device.
        hints: float in [0, 1] ``(N, 1, R, R)``, on the device.
        ids: image ids; the noise depends on them.
        seed: the config's seed.
    """
    tokens = control.hint_tokens(hints)

    def network(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        # guidance asks for every image twice, with its label and without
        return control.under(x, t, y, tokens.repeat(len(x) // len(tokens), 1, 1))

    return sample_latents(
        frozen, labels, ids, frozen.sampler, seed=seed, velocity=frozen.velocity(network)
    )


def sample_control(
    *,
    branch: str | Path,
    backbone: Mapping[str, Any],
    family: str,
    config: Mapping[str, Any],
    weights: str | Path | None,
    images: str | Path,
    index: str | Path,
    maps: str | Path,
    count: int | None,
    output: str | Path,
    batch_size: int,
    shard_size: int,
    version: str,
    seed: int,
    device: str,
    quantisation: str = "uint8-round",
) -> None:
    """Write a sample for each chosen evaluation image: shards with the field ``images`` (uint8).

    A run that was killed goes on after its last whole shard. Batches that do not fit into memory
    are halved; the manifest's ``meta`` then says so (``fitted_batch_size``).

    Args:
        branch: file of the trained branch.
        backbone: keyword arguments of :func:`seesaw.control.frozen.load_frozen`.
        family: autoencoder family or ``"module:Class"``.
        config: its keyword arguments.
        weights: its weights file, if it has one.
        images: manifest of the packed evaluation split (for ids and their order).
        index: its index (labels).
        maps: manifest of its condition maps.
        count: how many images, chosen by the seed; None is all.
        output: manifest to write.
        batch_size: images at a time.
        shard_size: images per shard.
        version: of the code that samples; shards of another one are not gone on with.
        seed: the config's seed.
        device: torch device.
        quantisation: of decoded images, as in ``reconstruct``.

    Raises:
        ValueError: parts that do not fit each other.
    """
    frozen = load_frozen(**backbone, device=device)
    control = load_branch(branch, frozen.backbone).to(device).eval()
    autoencoder = load_autoencoder(family, weights, config, device=device)
    frozen.check_fit(autoencoder)
    every = Shards(images).ids
    label_of = dict(zip(every, labels_for(frozen, index).tolist(), strict=True))
    conditions, ids = Shards(maps), choose_images(every, count, seed)
    sampler = {**vars(frozen.sampler), "interval": list(frozen.sampler.interval)}
    meta = {"sampler": sampler, "seed": seed, "branch_sha256": sha256_of(branch)}
    files = [path and sha256_of(path) for path in (weights, maps, index, backbone.get("latents"))]
    options = {k: v for k, v in backbone.items() if k not in ("weights", "latents")}
    depends = [meta, version, family, dict(config), options, files, shard_size, ids, quantisation]
    writer = ShardWriter(output, shard_size=shard_size, meta=meta, resume=digest_of(depends))

    def draw(some: Sequence[str]) -> Tensor:
        labels = torch.tensor([label_of[image_id] for image_id in some], device=device)
        hints = to_hints(conditions.take(some, ["map"])["map"], device)
        return sample_latents_under(control, frozen, labels, hints, some, seed=seed)

    decode = partial(decode_batch, autoencoder, what="sample", quantisation=quantisation)
    write_samples(writer, ids, draw, decode, batch_size=batch_size, device=device)
