"""Samples of a trained SiT, decoded: uint8 images, one per evaluation image.

A sample takes the label and the id of an evaluation image; its noise follows from (seed, id) only.
So there are as many samples as evaluation images, with the same labels (50 per class for
ImageNet-val), and a sample is the same however the work is cut.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seesaw.autoencoders.base import load_autoencoder
from seesaw.batching import Batched, fitted_sizes
from seesaw.diffusion.latents import read_labels
from seesaw.diffusion.samplers import Sampler, sample
from seesaw.diffusion.sit import SiT
from seesaw.diffusion.train import load_sit
from seesaw.files import digest_of, sha256_of
from seesaw.progress import progress
from seesaw.reconstruct import decode_batch
from seesaw.seeds import generator_for
from seesaw.shards import Shards, ShardWriter, batches_in_shards

THREADS = 8

logger = logging.getLogger(__name__)


class NoiseStream:
    """Standard normal noise for a batch of images, array after array, drawn ahead of its use.

    The k-th array of an image follows from (seed, purpose, image id) and k only.
    """

    def __init__(
        self, shape: Sequence[int], *, seed: int, purpose: str, ids: Sequence[str], arrays: int
    ) -> None:
        self.shape = (len(ids), *shape)
        self._generators = [generator_for(seed, purpose, image_id) for image_id in ids]
        self._left = arrays
        self._pool = ThreadPoolExecutor(THREADS)
        self._coming: list[Future[None]] = []
        self._noise = np.empty(0, np.float32)
        self._ask()

    def __enter__(self) -> "NoiseStream":
        return self

    def __exit__(self, *reason: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _draw(self, noise: np.ndarray, first: int) -> None:
        """Fill each eighth image's array from ``first`` on."""
        for row in range(first, len(noise), THREADS):
            self._generators[row].standard_normal(out=noise[row], dtype=np.float32)

    def _ask(self) -> None:
        self._coming = []
        if self._left > 0:
            noise = self._noise = np.empty(self.shape, np.float32)
            self._coming = [self._pool.submit(self._draw, noise, k) for k in range(THREADS)]
        self._left -= 1

    def next(self) -> np.ndarray:
        """The next array, float32 ``(len(ids), *shape)``.

        Raises:
            ValueError: more arrays than were announced.
        """
        if not self._coming:
            raise ValueError("the noise stream is used up; announce more arrays")
        for part in self._coming:
            part.result()
        noise = self._noise
        self._ask()
        return noise


def sample_latents(
    model: SiT,
    labels: Tensor,
    ids: Sequence[str],
    sampler: Sampler,
    *,
    seed: int,
    latents: Tensor | None = None,
    start: float = 1.0,
    velocity: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Latents of samples, raw (denormalised) float32 ``(N, *latent_shape)``.

    Args:
        model: a trained SiT, on its device.
        labels: int64 ``(N,)``.
        ids: image ids; the noise depends on them.
        sampler: how.
        seed: the config's seed.
        latents: raw latents to start from with ``start`` < 1: noised to
            ``(1 - start) normalised + start noise`` (gFID(t), eq. 7 of the iFID paper). The noise
            of an image is the same for every ``start``.
        start: time to start from, after the shift.
        velocity: what to integrate instead of ``model`` (a controlled model).

    Raises:
        ValueError: ``start`` < 1 without latents.
    """
    if start < 1 and latents is None:
        raise ValueError(f"a start at t = {start:g}, below 1, needs latents to start from")
    device = labels.device
    times = sampler.times(model.shift_time, start)
    arrays = 1 + (max(len(times) - 2, 0) if sampler.mode == "sde" else 0)
    shape = model.latent_shape
    with NoiseStream(shape, seed=seed, purpose="diffusion", ids=ids, arrays=arrays) as stream:
        x = torch.from_numpy(stream.next()).to(device)
        if start < 1:
            x = (1 - start) * model.normalise(latents) + start * x
        found = sample(
            velocity or model,
            x,
            labels,
            times,
            sampler,
            noise=lambda step: torch.from_numpy(stream.next()).to(device),
            null=model.num_classes,
        )
    return model.denormalise(found.float())


def sample_images(
    *,
    checkpoint: str | Path,
    family: str,
    config: Mapping[str, Any],
    weights: str | Path | None,
    images: str | Path,
    index: str | Path,
    sampler: Sampler,
    output: str | Path,
    batch_size: int,
    shard_size: int,
    version: str,
    seed: int,
    device: str,
    quantisation: str = "uint8-round",
) -> None:
    """Write a sample for each evaluation image: shards with the field ``images`` (uint8).

    A run that was killed goes on after its last whole shard. Batches that do not fit into memory
    are halved; the manifest's ``meta`` then says so (``fitted_batch_size``).

    Args:
        checkpoint: state of the trained SiT.
        family: autoencoder family or ``"module:Class"``.
        config: its keyword arguments.
        weights: its weights file, if it has one.
        images: manifest of the packed evaluation split (for ids and their order).
        index: its index (for labels).
        sampler: how.
        output: manifest to write.
        batch_size: images at a time.
        shard_size: images per shard.
        version: of the code that samples; shards of another one are not gone on with.
        seed: the config's seed.
        device: torch device.
        quantisation: of decoded images, as in ``reconstruct``.
    """
    model = load_sit(checkpoint, device)
    autoencoder = load_autoencoder(family, weights, config, device=device)
    labels = labels_for(model, index)
    ids = Shards(images).ids
    meta: dict[str, Any] = {
        "sampler": {**vars(sampler), "interval": list(sampler.interval)},
        "seed": seed,
        "checkpoint_sha256": sha256_of(checkpoint),
    }
    files = [path and sha256_of(path) for path in (weights, index)]
    depends = [meta, version, family, dict(config), files, shard_size, ids, quantisation]
    writer = ShardWriter(output, shard_size=shard_size, meta=meta, resume=digest_of(depends))
    label_of = dict(zip(ids, labels.tolist(), strict=True))

    def draw(some: Sequence[str]) -> Tensor:
        y = torch.tensor([label_of[image_id] for image_id in some], device=device)
        return sample_latents(model, y, some, sampler, seed=seed)

    decode = partial(decode_batch, autoencoder, what="sample", quantisation=quantisation)
    write_samples(writer, ids, draw, decode, batch_size=batch_size, device=device)


def write_samples(
    writer: ShardWriter,
    ids: Sequence[str],
    draw: Callable[[Sequence[str]], Tensor],
    decode: Callable[[Tensor, Sequence[str]], tuple[np.ndarray, np.ndarray]],
    *,
    batch_size: int,
    device: str,
) -> None:
    """Draw and decode a sample per id, from the image on that the writer left off at.

    Args:
        writer: not entered yet; its ``meta`` records batches that had to be halved.
        ids: of all samples.
        draw: some of the ids to raw latents.
        decode: latents and their ids to uint8 images and the clipped share of each.
        batch_size: samples at a time; a batch ends with its shard.
        device: for the log.
    """
    drawing, decoding = Batched(draw, "sampling"), Batched(decode, "decoding")
    begin = time.monotonic()
    with torch.inference_mode(), writer:
        first = writer.done
        batches = batches_in_shards(len(ids), writer.shard_size, batch_size, start=first)
        what = f"{len(ids) - first} samples"
        for at, end in progress(batches, total=len(batches), what=what, unit="batche"):
            some = ids[at:end]
            pixels, clipped = decoding(drawing(some), some)
            writer.add(some, {"images": pixels, "clipped": clipped})
        writer.meta.update(fitted_sizes(drawing, decoding))
    rate = (len(ids) - first) / (time.monotonic() - begin)
    logger.info("%.1f samples/s on %s", rate, device)


def labels_for(model: SiT, index: str | Path) -> Tensor:
    """Labels of the evaluation images, int64 ``(n,)``.

    Raises:
        ValueError: a label that the model was not trained on, or no labels for a model that was
            trained with them.
    """
    labels, classes = read_labels(index)
    if classes == 0 and model.num_classes:
        raise ValueError(
            f"no image of {index} has a label, but the model was trained on {model.num_classes} "
            "classes; sort the evaluation images into the class folders of the training split"
        )
    if classes > model.num_classes:
        raise ValueError(
            f"{index} has labels up to {classes - 1}, the model was trained on "
            f"{model.num_classes} classes; evaluate on images of the training split's classes"
        )
    if classes < model.num_classes:
        logger.warning(
            "%s has %d classes, the model was trained on %d: labels are positions of class folders,"
            " so both splits must have the same folders",
            index,
            classes,
            model.num_classes,
        )
    return torch.from_numpy(np.where(labels == classes, model.num_classes, labels))
