"""Stage ``probes``: what of a condition map is still in the latent (Seesaw A.3).

A small decoder learns to predict a condition map (edges, depth) of an image from its latent; the
autoencoder is frozen. How far its maps are from the true ones on the evaluation split says how much
of the condition the encoder kept, whatever the autoencoder's own decoder makes of it.

The paper's text leaves out widths, kernel sizes, learning rate and the weight of the gradient term:
they are the config's, or the constants and defaults below.
"""

import copy
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seesaw.autoencoders.base import load_autoencoder
from seesaw.batching import Batched
from seesaw.files import write_tensors
from seesaw.metrics import Reading, shuffled_partners
from seesaw.metrics.pairs import equal_batches
from seesaw.progress import progress
from seesaw.readings import named
from seesaw.reconstruct import encode_batch
from seesaw.registry import NETWORKS
from seesaw.results import Score, write_scores
from seesaw.seeds import seed_for
from seesaw.shards import Shards, require_same_ids

logger = logging.getLogger(__name__)

KINDS = ("edges", "map")
"""Kinds of network whose maps can be probed for."""
HELD_OUT = 0.1
"""Share of the training images that decides when training stops."""
WEIGHT_DECAY = 1e-2
GRADIENT_WEIGHT = 0.5
"""Weight of the gradient term of the loss for depth (MiDaS's; the paper's is lost)."""
BLOCK = 64
"""Images per forward pass wherever nothing is trained, so that no result depends on a batch size"""
IN_MEMORY_BYTES = 2 * 1024**3
"""Latents, and maps, up to this size are held; beyond it they are made and read batch by batch."""
BINS = 1024
"""Levels of the predicted probability that the average precision tells apart."""
EXAMPLES = 8
EDGE = 0.5
"""Probability from which on a pixel counts as an edge."""


# ------------------------------------------------------------------------------------------- model


class Probe(nn.Module):
    """Latents ``(N, C, h, w)`` to the logits of a map ``(N, 2^s h, 2^s w)``.

    Batch normalisation, then ``s`` stages of nearest upsampling by 2 and two convolutions 3 x 3
    with batch normalisation and ReLU, then a convolution 1 x 1.

    Args:
        channels: C.
        widths: channels of each of the s stages.
    """

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.stages = nn.Sequential(
            *(_stage(a, b) for a, b in zip([channels, *widths], widths, strict=False))
        )
        self.leave = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents to logits; their sigmoid is the map."""
        latents = latents.contiguous(memory_format=torch.channels_last)
        return self.leave(self.stages(self.norm(latents)))[:, 0]


def _stage(channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Upsample(scale_factor=2, mode="nearest")]
    for a, b in ((channels, width), (width, width)):
        layers += [nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers)


def why_undefined(latent_shape: Sequence[int], resolution: int) -> str:
    """Why such latents cannot be probed, in words; ``""`` if they can.

    Args:
        latent_shape: of one latent, ``(C, h, w)`` or ``(T, C)``.
        resolution: side of the maps.
    """
    if len(latent_shape) != 3:
        return (
            f"undefined: the latent is {latent_shape[0]} tokens without a grid, and the probe "
            "upsamples a grid"
        )
    _, height, width = latent_shape
    factor = resolution // height
    if height != width or height * factor != resolution or factor < 2 or factor & (factor - 1):
        return (
            f"undefined: a latent grid of {height} x {width} does not become {resolution} x "
            f"{resolution} by doubling"
        )
    return ""


def stage_widths(
    latent_shape: Sequence[int], resolution: int, widths: Sequence[int]
) -> tuple[int, ...]:
    """Widths of a probe's stages: the last of ``widths``, as many as it takes to double the grid.

    So probes of different autoencoders have the same width at the same resolution.

    Raises:
        ValueError: there are fewer widths than stages, or :func:`why_undefined` has an answer.
    """
    reason = why_undefined(latent_shape, resolution)
    if reason:
        raise ValueError(f"no probe for latents {tuple(latent_shape)}: {reason}")
    stages = (resolution // latent_shape[1]).bit_length() - 1
    if len(widths) < stages:
        raise ValueError(
            f"a probe from {latent_shape[1]} x {latent_shape[2]} to {resolution} x {resolution} "
            f"has {stages} stages, probes.widths lists {len(widths)}; list at least {stages}"
        )
    return tuple(widths[len(widths) - stages :])


# ------------------------------------------------------------------------------------------ losses


def edge_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Half binary cross-entropy, half Dice loss, per image.

    Dice: ``1 - (2 sum(p g) + 1) / (sum(p) + sum(g) + 1)`` with p the sigmoid of the logits.

    Args:
        logits: ``(N, H, W)``.
        target: ``(N, H, W)`` in [0, 1].

    Returns:
        ``(N,)``.
    """
    cross = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p, g = torch.sigmoid(logits).flatten(1), target.flatten(1)
    dice = 1 - (2 * (p * g).sum(1) + 1) / (p.sum(1) + g.sum(1) + 1)
    return 0.5 * cross.flatten(1).mean(1) + 0.5 * dice


def map_loss(logits: Tensor, target: Tensor) -> Tensor:
    """L1 plus :data:`GRADIENT_WEIGHT` times the L1 of horizontal and vertical differences.

    Args:
        logits: ``(N, H, W)``; their sigmoid is compared.
        target: ``(N, H, W)`` in [0, 1].

    Returns:
        ``(N,)``.
    """
    error = torch.sigmoid(logits) - target
    gradient = error.diff(dim=2).abs().flatten(1).mean(1) + error.diff(dim=1).abs().flatten(1).mean(
        1
    )
    return error.abs().flatten(1).mean(1) + GRADIENT_WEIGHT * gradient


LOSSES = {"edges": edge_loss, "map": map_loss}


# -------------------------------------------------------------------------------------------- data


class TrainingSet:
    """Posterior means of some training images, and their maps of one condition.

    Both are held in memory if they fit; else latents are encoded anew and maps are read again for
    every batch, one batch ahead. The numbers are the same: images are always encoded in blocks of
    :data:`BLOCK`.

    Args:
        autoencoder: frozen, see :class:`seesaw.autoencoders.Autoencoder`.
        images: packed split.
        ids: the images to use.
        device: torch device.
        in_memory: bytes that latents, and maps, may take.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        images: Shards,
        ids: Sequence[str],
        *,
        device: str,
        in_memory: int = IN_MEMORY_BYTES,
    ) -> None:
        self.images, self.device = images, device
        self._encoded = Batched(partial(encode_batch, autoencoder), "encoding")
        self.ids, self.in_memory = list(ids), in_memory
        self.latent_shape = tuple(autoencoder.latent_shape)
        self._latents: np.ndarray | None = None
        if 4 * math.prod(self.latent_shape) * len(ids) <= in_memory:
            chunks = self._chunks()
            what = f"encoding {len(ids)} images"
            found = [
                self._encode(self._read(images, "images", rows), rows).cpu().numpy()
                for rows in progress(chunks, total=len(chunks), what=what, unit="block")
            ]
            self._latents = np.concatenate(found)

    def use(self, maps: Shards) -> "TrainingSet":
        """Take the maps of one condition (field ``map``); returns itself."""
        self.maps = maps
        self.resolution = maps.fields["map"]["shape"][-1]
        self._maps: np.ndarray | None = None
        if math.prod(maps.fields["map"]["shape"]) * len(self) <= self.in_memory:
            self._maps = self._read(maps, "map", np.arange(len(self)))
        return self

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, chunks: Sequence[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Latents, and maps in [0, 1], of the rows in each chunk, on the device."""
        if self._latents is not None and self._maps is not None:
            yield from (self._batch(rows, *self._load(rows)) for rows in chunks)
            return
        with ThreadPoolExecutor(1) as reader:
            coming = [reader.submit(self._load, rows) for rows in chunks[:1]]
            for index, rows in enumerate(chunks):
                loaded = coming.pop().result()
                coming += [reader.submit(self._load, later) for later in chunks[index + 1 :][:1]]
                yield self._batch(rows, *loaded)

    def mean_map(self) -> np.ndarray:
        """Mean of all maps, float64 ``(H, W)`` in [0, 1]."""
        total = np.zeros(self.maps.fields["map"]["shape"])
        for rows in self._chunks():
            total += self._map_rows(rows).sum(0, dtype=np.int64)
        return total / (255.0 * len(self))

    def _chunks(self) -> list[np.ndarray]:
        return [np.arange(i, min(i + BLOCK, len(self))) for i in range(0, len(self), BLOCK)]

    def _load(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Latents, or the images to encode, and maps."""
        if self._latents is not None:
            return self._latents[rows], self._map_rows(rows)
        return self._read(self.images, "images", rows), self._map_rows(rows)

    def _map_rows(self, rows: np.ndarray) -> np.ndarray:
        return self._read(self.maps, "map", rows) if self._maps is None else self._maps[rows]

    def _batch(
        self, rows: np.ndarray, first: np.ndarray, maps: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        if self._latents is None:
            latents = self._encode(first, rows)
        else:
            latents = torch.from_numpy(first).to(self.device)
        return latents, torch.from_numpy(maps).to(self.device).float() / 255

    def _read(self, shards: Shards, field: str, rows: np.ndarray) -> np.ndarray:
        return shards.take([self.ids[row] for row in rows], [field])[field]

    @torch.no_grad()
    def _encode(self, images: np.ndarray, rows: np.ndarray) -> Tensor:
        """Posterior means, in blocks of exactly :data:`BLOCK` images; the last is filled up."""
        parts = []
        for start in range(0, len(rows), BLOCK):
            names = [self.ids[row] for row in rows[start : start + BLOCK]]
            latents = self._encoded(
                _filled(images[start : start + BLOCK]),
                names + names[-1:] * (BLOCK - len(names)),
                posterior="mean",
                seed=0,
                device=self.device,
            )
            parts.append(latents[: len(names)])
        return torch.cat(parts)


def _filled(rows: np.ndarray) -> np.ndarray:
    """Rows brought up to :data:`BLOCK` with copies of the last one."""
    return np.concatenate([rows, np.repeat(rows[-1:], BLOCK - len(rows), axis=0)])


def choose_images(ids: Sequence[str], count: int | None, seed: int) -> list[str]:
    """``count`` images (all by default), in an order that depends on (seed, ids) only."""
    drawn = sorted(ids, key=lambda image_id: (seed_for(seed, "probe", image_id), image_id))
    return drawn[:count]


# ---------------------------------------------------------------------------------------- training


@dataclass(frozen=True, kw_only=True)
class Training:
    """Options of a probe's training.

    Attributes:
        widths: see :func:`stage_widths`.
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


# -------------------------------------------------------------------------------------- evaluation


class EdgeCounts:
    """Pixels per predicted probability, with and without a true edge.

    Args:
        bins: levels of the probability in [0, 1].
    """

    def __init__(self, bins: int = BINS) -> None:
        self.edges = np.zeros(bins, np.int64)
        self.others = np.zeros(bins, np.int64)

    def add(self, probability: np.ndarray, target: np.ndarray) -> None:
        """Count pixels: probabilities in [0, 1], and whether there is an edge (bool)."""
        bins = len(self.edges)
        level = np.minimum((probability * bins).astype(np.int64), bins - 1)
        self.edges += np.bincount(level[target], minlength=bins)
        self.others += np.bincount(level[~target], minlength=bins)

    def average_precision(self) -> float | None:
        """Sum over thresholds of (recall gained) x precision; None if there is no edge.

        scikit-learn's ``average_precision_score`` of the probabilities rounded down to the bins.
        """
        hits = np.cumsum(self.edges[::-1])
        called = hits + np.cumsum(self.others[::-1])
        if not hits[-1]:
            return None
        gained = np.diff(hits, prepend=0) / hits[-1]
        return float((gained * hits / np.maximum(called, 1)).sum())

    def f1(self, threshold: float = EDGE) -> float | None:
        """F1 of the pixels at least ``threshold`` likely; None if there is no edge, true or called.

        The threshold must lie between two bins, as 0.5 does.
        """
        first = round(threshold * len(self.edges))
        hits, false = int(self.edges[first:].sum()), int(self.others[first:].sum())
        total = int(self.edges.sum()) + hits + false
        return 2 * hits / total if total else None


@torch.inference_mode()
def predict(probe: Probe, latents: np.ndarray, device: str) -> np.ndarray:
    """Maps in [0, 1], float32 ``(N, R, R)``, of latents ``(N, C, h, w)``.

    The probe runs on exactly :data:`BLOCK` latents at a time; the last block is filled up.
    """
    parts = []
    for start in range(0, len(latents), BLOCK):
        part = latents[start : start + BLOCK]
        maps = torch.sigmoid(probe(torch.from_numpy(_filled(part)).to(device)))
        parts.append(maps[: len(part)].cpu().numpy())
    return np.concatenate(parts)


def evaluate_probe(
    probe: Probe,
    kind: str,
    latents: Shards,
    maps: Shards,
    mean_map: np.ndarray,
    *,
    seed: int,
    device: str,
) -> list[Reading]:
    """Mean L1 of a probe's maps on the evaluation split, and what stands beside it.

    Variants:
        zero: an all-zero map in place of the prediction. Of edges this is their density, which is
            also the average precision of chance.
        mean: the mean map of the training images in place of the prediction.
        shuffled: the prediction for an image against another image's true map.
        thresholded: the prediction set to 0 or 1 at :data:`EDGE` (edges only).
        f1, ap: F1 at :data:`EDGE` and average precision, over all pixels (edges only).

    Args:
        probe: trained.
        kind: ``"edges"`` or ``"map"``.
        latents: the evaluation split's, field ``latents``.
        maps: its true maps, field ``map``.
        mean_map: see above, ``(R, R)`` in [0, 1].
        seed: of the shuffled pairs.
        device: torch device.

    Raises:
        ValueError: the two sets hold different images.
    """
    require_same_ids(latents, maps)
    partners = shuffled_partners(maps.ids, seed)
    sums = dict.fromkeys(["", "zero", "mean", "shuffled", "thresholded"], 0.0)
    counts, start = EdgeCounts(), 0
    pairs = zip(
        equal_batches(latents, ["latents"], BLOCK), equal_batches(maps, ["map"], BLOCK), strict=True
    )
    for batch, truth in pairs:
        predicted = predict(probe, batch["latents"], device)
        target = truth["map"] / np.float32(255)
        others = [maps.ids[p] for p in partners[start : start + len(batch)]]
        called = predicted >= EDGE
        compared = {
            "": (predicted, target),
            "zero": (target, np.float32(0)),
            "mean": (mean_map, target),
            "shuffled": (predicted, maps.take(others, ["map"])["map"] / np.float32(255)),
            "thresholded": (called.astype(np.float32), target),
        }
        for name, (a, b) in compared.items():
            sums[name] += float(np.abs(a - b).mean((1, 2), dtype=np.float64).sum())
        if kind == "edges":
            counts.add(predicted, truth["map"] > 127)
        start += len(batch)
    n = len(maps)
    readings = [Reading(total / n, n, name) for name, total in sums.items()]
    if n < 2:
        note = "needs at least two images to pair"
        readings[3] = Reading(None, n, "shuffled", note)
    if kind != "edges":
        return readings[:-1]
    note = "" if counts.edges.any() else "undefined: no true map has an edge"
    return [
        *readings,
        Reading(counts.f1(), n, "f1", note if counts.f1() is None else ""),
        Reading(counts.average_precision(), n, "ap", note),
    ]


# ------------------------------------------------------------------------------------------- stage


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition of a run: who makes its maps, where they are, where what is found goes.

    Attributes:
        name: role in the study, ``"canny"`` or ``"depth"``; names the metric.
        network: the network that made the maps.
        train_maps: manifest of the training split's maps.
        maps: manifest of the evaluation split's maps.
        scores: JSON to write.
        weights: safetensors of the probe to write.
        examples: safetensors to write, with ``maps`` and ``predictions``, uint8 ``(8, R, R)``, of a
            few evaluation images that are the same for every autoencoder.
    """

    name: str
    network: str
    train_maps: str | Path
    maps: str | Path
    scores: str | Path
    weights: str | Path
    examples: str | Path

    @property
    def kind(self) -> str:
        """Kind of its network: ``"edges"`` or ``"map"``."""
        return NETWORKS[self.network].kind


def probe_latents(
    *,
    autoencoder: str,
    family: str,
    config: Mapping[str, Any],
    weights: str | Path | None,
    images: str | Path,
    latents: str | Path,
    conditions: Sequence[Condition],
    train_images: int | None,
    options: Mapping[str, Any],
    protocol: Mapping[str, Any],
    version: str,
    seed: int,
    device: str,
    provenance: Mapping[str, Any],
) -> None:
    """Train and score a probe per condition on one autoencoder's latents.

    Latents that are no grid, or none that becomes the image by doubling, have no probe: their score
    is None with a note, and the files of weights and examples are empty.

    Args:
        autoencoder: its name.
        family: autoencoder family or ``"module:Class"``.
        config: its keyword arguments.
        weights: its weights file, if it has one.
        images: manifest of the packed training split.
        latents: manifest with the evaluation split's latents (stage ``reconstruct``).
        conditions: what to probe for.
        train_images: how many training images to use, held-out ones included; None is all.
        options: keyword arguments of :class:`Training`.
        protocol: the named choices to record.
        version: of this stage's code, to record.
        seed: the config's seed.
        device: torch device.
        provenance: what to record beside the scores.

    Raises:
        ValueError: a network whose output is no map, or splits that do not fit each other.
    """
    for condition in conditions:
        if condition.kind not in KINDS:
            raise ValueError(
                f"network {condition.network!r} is of kind {condition.kind!r}; a probe predicts "
                f"what is of kind {' or '.join(KINDS)}"
            )
    model = load_autoencoder(family, weights, config, device=device)
    pool = Shards(images)
    reason = why_undefined(tuple(model.latent_shape), pool.fields["images"]["shape"][-1])
    data = None
    if not reason:
        ids = choose_images(pool.ids, train_images, seed)
        data = TrainingSet(model, pool, ids, device=device)
    for condition in conditions:
        if data is None:
            readings = [Reading(None, 0, note=reason)]
            how: dict[str, Any] = {}
            write_tensors(condition.weights, {}, {"note": reason})
            write_tensors(condition.examples, {}, {"note": reason, "ids": "[]"})
        else:
            data.use(Shards(condition.train_maps))
            what = f"probe for {condition.name} on {autoencoder}"
            trained = train_probe(
                data, condition.kind, Training(**options), seed=seed, what=f"training {what}"
            )
            truth, source = Shards(condition.maps), Shards(latents)
            readings = evaluate_probe(
                trained.probe,
                condition.kind,
                source,
                truth,
                data.mean_map(),
                seed=seed,
                device=device,
            )
            if trained.cut_short:
                note = (
                    f"training ended by its limit of {trained.epochs} epochs, not by early stopping"
                )
                readings[0] = replace(readings[0], note=note)
            logger.info("%s: L1 %.4f, best epoch %d", what, readings[0].value, trained.best_epoch)
            how = {
                "train_latents": "posterior mean",
                "train_images": trained.trained_on,
                "held_out_images": trained.held_out,
                "epochs": trained.epochs,
                "best_epoch": trained.best_epoch,
            }
            _write_weights(condition.weights, trained)
            _write_examples(condition.examples, trained.probe, source, truth, seed, device)
        write_scores(
            condition.scores,
            autoencoder=autoencoder,
            scores=[_score(r, condition, {**protocol, **how}, version) for r in readings],
            provenance=provenance,
        )


def _score(
    reading: Reading, condition: Condition, protocol: Mapping[str, Any], version: str
) -> Score:
    share = {"unit": "1", "higher_is_better": True} if reading.variant in ("f1", "ap") else {}
    return Score(
        **{**named(f"latent-{condition.name}"), **share},
        variant=reading.variant,
        value=reading.value,
        n=reading.n,
        metric_version=version,
        network=condition.network,
        protocol=protocol,
        note=reading.note,
    )


def _write_weights(path: str | Path, trained: Trained) -> None:
    state = {key: value.cpu().numpy() for key, value in trained.probe.state_dict().items()}
    write_tensors(path, state, {"held_out_losses": json.dumps(trained.losses)})


def _write_examples(
    path: str | Path, probe: Probe, latents: Shards, maps: Shards, seed: int, device: str
) -> None:
    """The images of iFID's examples, so that the figures show the same ones."""
    ids = sorted(maps.ids, key=lambda i: seed_for(seed, "example", i))[:EXAMPLES]
    predicted = predict(probe, latents.take(ids, ["latents"])["latents"], device)
    tensors = {
        "maps": maps.take(ids, ["map"])["map"],
        "predictions": np.floor(predicted * 255 + 0.5).astype(np.uint8),
    }
    write_tensors(path, tensors, {"ids": json.dumps(ids)})
