"""Stage ``protocols``: rFID, PSNR, SSIM and LPIPS of one autoencoder by several protocols.

Each image is encoded and decoded once per posterior; what the decoder made is then streamed, as
floats, through every distinct rounding, resize and pixel metric. Nothing but moments and a number
per image is kept.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seesaw.autoencoders.base import load_autoencoder, quantise
from seesaw.batching import Batched, fitted_sizes
from seesaw.gfid import read_moments
from seesaw.metrics.fidelity import MSE_FLOOR, decibel
from seesaw.metrics.frechet import PAIRED, Moments, Statistics, bias_of, frechet_distance
from seesaw.networks import load_network
from seesaw.progress import progress
from seesaw.protocols import DETERMINISTIC, EVALUATION, Protocol
from seesaw.protocols.pixels import mean_squared_error, shifted, structural_similarity
from seesaw.protocols.study import recorded
from seesaw.reconstruct import decode_levels, encode_batch
from seesaw.registry import METRICS
from seesaw.results import Score, write_scores
from seesaw.shards import Shards, require_same_ids

PIXEL_METRICS = ("psnr", "ssim", "lpips")
NOT_SAMPLED = (
    "the protocol samples the posterior; this autoencoder says that it is deterministic, so nothing"
    " was sampled (a class with a posterior says stochastic = True)"
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Column:
    """One number per image: a pixel metric under the choices that it depends on.

    Attributes:
        metric: of :data:`PIXEL_METRICS`.
        quantisation: what it sees, see :func:`seesaw.autoencoders.base.quantise`.
        how: window of SSIM, network of LPIPS, ``""`` of PSNR.
        range: ``"right"`` or ``"shifted"``.
    """

    metric: str
    quantisation: str
    how: str
    range: str


def column_of(metric: str, protocol: Protocol) -> Column:
    """What a pixel metric depends on under a protocol; equal columns are computed once."""
    seen = protocol.quantisation
    if protocol.similarity == "float" and metric != "psnr":
        seen = "clipped" if metric == "ssim" else "float"
    how = {"psnr": "", "ssim": protocol.ssim, "lpips": protocol.lpips}[metric]
    return Column(metric, seen, how, protocol.range)


def score_protocols(
    *,
    autoencoder: str,
    family: str,
    config: Mapping[str, Any],
    weights: str | Path | None,
    images: str | Path,
    protocols: Mapping[str, Protocol],
    swept: Mapping[str, Protocol],
    networks: Mapping[str, str],
    network_weights: str | Path | None,
    references: Mapping[tuple[str, str], str | Path],
    perceptual: Mapping[str, tuple[str, str | Path | None]],
    output: str | Path,
    batch_size: int,
    feature_batch_size: int,
    protocol: Mapping[str, Any],
    seed: int,
    device: str,
    provenance: Mapping[str, Any],
) -> None:
    """Score one autoencoder by the protocols of one crop.

    Images pass the decoder in the batches of the stage ``reconstruct``, networks in batches of
    their own; no number depends on either beyond the rounding of floats. Batches that do not fit
    into memory are halved; the provenance then says so (``fitted_batch_size``).

    Args:
        autoencoder: its name.
        family: autoencoder family or ``"module:Class"``.
        config: its keyword arguments.
        weights: its weights file, if it has one.
        images: manifest of the evaluation images in this crop.
        protocols: name -> protocol: all four metrics, the name is their variant.
        swept: variant -> protocol: rFID only.
        networks: resize -> registry name of the feature network.
        network_weights: weights file of all of them, if they have one.
        references: (network, reference) -> manifest of that network's features, or ``.npz`` with
            ``mu`` and ``sigma``.
        perceptual: LPIPS network (``"alex"``, ``"vgg"``) -> registry name and weights file. Without
            it, LPIPS has no value and a note.
        output: JSON of scores.
        batch_size: images at a time in the autoencoder.
        feature_batch_size: images at a time in the networks.
        protocol: further choices to record (resolution, evaluation split).
        seed: of posterior samples.
        device: torch device.
        provenance: what to record beside the scores.

    Raises:
        ValueError: pixels or features that are not finite, references of other images or another
            length.
    """
    model = load_autoencoder(family, weights, config, device=device)
    stochastic = bool(getattr(model, "stochastic", False))
    asked = {name: p.posterior for name, p in protocols.items()}
    protocols = {name: _settled(p, stochastic) for name, p in protocols.items()}
    swept = {p.sweep_variant: p for p in (_settled(p, stochastic) for p in swept.values())}
    every = [*protocols.values(), *swept.values()]
    source = Shards(images)
    for (_, reference), path in references.items():
        if reference == protocol.get("evaluation") and Path(path).suffix != ".npz":
            require_same_ids(source, Shards(path))
    stream = _Stream(
        networks={
            name: Batched(_features(name, network_weights, device), name)
            for name in sorted({networks[p.resize] for p in every})
        },
        distances={
            net: Batched(load_network(*perceptual[net], device).distance_pixels, perceptual[net][0])
            for net in sorted({p.lpips for p in protocols.values()} & set(perceptual))
        },
        batch_size=feature_batch_size,
    )
    encode = Batched(partial(encode_batch, model, seed=seed, device=device), "encoding")
    decode = Batched(partial(decode_levels, model), "decoding")
    for posterior in sorted({p.posterior for p in every}):
        columns = (
            column_of(metric, p)
            for p in protocols.values()
            if p.posterior == posterior
            for metric in PIXEL_METRICS
        )
        stream.start(
            posterior,
            moments=[
                (p.quantisation, networks[p.resize]) for p in every if p.posterior == posterior
            ],
            columns=[c for c in columns if c.metric != "lpips" or c.how in perceptual],
        )
        how = "mean" if posterior == DETERMINISTIC else posterior
        what = f"{len(source)} images of {autoencoder}, posterior {posterior}"
        shards = range(len(source.shards))
        with torch.inference_mode():
            for shard in progress(shards, total=len(shards), what=what, unit="shard"):
                for batch in source.batches(["images"], batch_size, shards=[shard]):
                    latents = encode(batch["images"], batch.ids, posterior=how)
                    levels = decode(latents, batch.ids)
                    stream.add(torch.from_numpy(batch["images"]).to(device).float(), levels)
                stream.flush()
        stream.finish()
    paired = (EVALUATION, protocol.get("evaluation"))
    rfid = _Distances(stream.found, networks, references, paired)
    scores: list[Score] = []
    for name, p in protocols.items():
        replaced = asked[name] == "sample" and p.posterior == DETERMINISTIC
        shared = {
            "variant": name,
            "protocol": {**protocol, **recorded(p)},
            "remark": NOT_SAMPLED if replaced else "",
        }
        scores.append(rfid.score(p, **shared))
        logger.info("%s by %s: rFID %.4f", autoencoder, name, scores[-1].value)
        for metric in PIXEL_METRICS:
            values = stream.columns.get((p.posterior, column_of(metric, p)))
            network = (
                perceptual[p.lpips][0] if metric == "lpips" and p.lpips in perceptual else None
            )
            scores.append(_pixel_score(metric, p, values, network, **shared))
    for variant, p in swept.items():
        axes = {**protocol, **recorded(p)}
        scores.append(rfid.score(p, variant=variant, protocol=axes, remark=""))
    write_scores(
        output,
        autoencoder=autoencoder,
        scores=scores,
        provenance={**provenance, **fitted_sizes(encode, decode, *stream.steps)},
    )


def _settled(protocol: Protocol, stochastic: bool) -> Protocol:
    """A protocol as it applies to an autoencoder."""
    return protocol if stochastic else replace(protocol, posterior=DETERMINISTIC)


class _Distances:
    """rFID of every distinct combination of what moves it, each computed once."""

    def __init__(
        self,
        found: Mapping[tuple[str, str, str], Statistics],
        networks: Mapping[str, str],
        references: Mapping[tuple[str, str], str | Path],
        paired: Sequence[str | None],
    ) -> None:
        self.found, self.networks, self.references = found, networks, references
        self.paired = paired
        self.targets: dict[tuple[str, str], Statistics] = {}
        self.values: dict[tuple[str, ...], float] = {}

    def score(
        self, p: Protocol, *, variant: str, protocol: Mapping[str, Any], remark: str
    ) -> Score:
        """The score of a protocol."""
        network = self.networks[p.resize]
        at, key = (network, p.reference), (p.posterior, p.quantisation, network)
        found, path = self.found[key], self.references[at]
        if at not in self.targets:
            self.targets[at] = read_moments(path, len(found.mean))
        if (*key, p.reference) not in self.values:
            self.values[*key, p.reference] = frechet_distance(self.targets[at], found)
        note = bias_of(self.targets[at], found)
        note += PAIRED if note and p.reference in self.paired else ""
        if Path(path).suffix == ".npz":
            words = "moments from a file, whose own resize and crop are not known here"
            note = "; ".join(filter(None, [note, words]))
        note = "; ".join(filter(None, [note, remark]))
        entry = METRICS["rfid"]
        return Score(
            metric="rfid",
            variant=variant,
            value=self.values[*key, p.reference],
            n=found.n,
            unit=entry.unit,
            higher_is_better=entry.higher_is_better,
            metric_version=entry.version,
            network=network,
            protocol=protocol,
            note=note,
        )


def _features(name: str, weights: str | Path | None, device: str) -> Callable[[Tensor], np.ndarray]:
    network = load_network(name, weights, device)
    return lambda pixels: network.extract_pixels(pixels)["features"]


class _Stream:
    """Everything that is computed of decoded images, a posterior at a time.

    Images wait until they fill a batch of the networks; such batches end with each shard, as in the
    stage ``conditions``.
    """

    def __init__(
        self, *, networks: Mapping[str, Batched], distances: Mapping[str, Batched], batch_size: int
    ) -> None:
        self.networks, self.distances, self.batch_size = networks, distances, batch_size
        self.similarities = {
            border: Batched(partial(structural_similarity, border=border), f"SSIM ({border})")
            for border in ("valid", "reflect")
        }
        self.found: dict[tuple[str, str, str], Statistics] = {}
        self.columns: dict[tuple[str, Column], np.ndarray] = {}

    @property
    def steps(self) -> list[Batched]:
        parts = (self.networks, self.distances, self.similarities)
        return [step for part in parts for step in part.values()]

    def start(
        self, posterior: str, *, moments: list[tuple[str, str]], columns: list[Column]
    ) -> None:
        self.posterior = posterior
        self.moments: dict[tuple[str, str], Moments | None] = dict.fromkeys(moments)
        self.parts: dict[Column, list[np.ndarray]] = {column: [] for column in columns}
        self.waiting: list[tuple[Tensor, Tensor]] = []

    def add(self, reference: Tensor, levels: Tensor) -> None:
        """Original and decoded pixels (N, 3, H, W), float32 on the scale 0..255."""
        self.waiting.append((reference, levels))
        if sum(len(pair[0]) for pair in self.waiting) >= self.batch_size:
            a, b = (torch.cat(part) for part in zip(*self.waiting, strict=True))
            whole = len(a) - len(a) % self.batch_size
            for at in range(0, whole, self.batch_size):
                self._compute(a[at : at + self.batch_size], b[at : at + self.batch_size])
            self.waiting = [(a[whole:], b[whole:])]

    def flush(self) -> None:
        """Compute what still waits."""
        if sum(len(pair[0]) for pair in self.waiting):
            self._compute(*(torch.cat(part) for part in zip(*self.waiting, strict=True)))
        self.waiting = []

    def finish(self) -> None:
        """Keep the results of this posterior."""
        for (quantisation, network), sums in self.moments.items():
            self.found[self.posterior, quantisation, network] = sums.statistics()
        for column, parts in self.parts.items():
            self.columns[self.posterior, column] = np.concatenate(parts)

    def _compute(self, reference: Tensor, levels: Tensor) -> None:
        names = {q for q, _ in self.moments} | {column.quantisation for column in self.parts}
        seen = {name: quantise(levels, name) for name in sorted(names)}
        for quantisation, network in self.moments:
            features = self.networks[network](seen[quantisation])
            sums = self.moments[quantisation, network] or Moments(features.shape[1])
            sums.add(features)
            self.moments[quantisation, network] = sums
        for column, parts in self.parts.items():
            a, b = reference, seen[column.quantisation]
            if column.range == "shifted":
                a, b = shifted(a), shifted(b)
            parts.append(self._column(column, a, b))

    def _column(self, column: Column, a: Tensor, b: Tensor) -> np.ndarray:
        if column.metric == "psnr":
            return mean_squared_error(a, b).cpu().numpy()
        if column.metric == "ssim":
            return self.similarities[column.how](a, b).cpu().numpy()
        return np.asarray(self.distances[column.how](a, b), np.float64)


def _pixel_score(
    metric: str,
    p: Protocol,
    values: np.ndarray | None,
    network: str | None,
    *,
    variant: str,
    protocol: Mapping[str, Any],
    remark: str,
) -> Score:
    """A pixel metric's score; ``values`` are squared errors of PSNR, None where nobody measures."""
    entry, note, value = METRICS[metric], "", None
    if values is None:
        note = f"not measured: no network plays the LPIPS of {p.lpips}"
    elif metric == "psnr":
        capped = int((values < MSE_FLOOR).sum())
        note = f"{capped} images with (almost) no error count as 100 dB" if capped else ""
        errors = values.mean(keepdims=True) if p.psnr == "of-mean-mse" else values
        value = float(decibel(errors).mean())
    else:
        value = float(values.mean())
    if value is not None:
        note = "; ".join(filter(None, [note, remark]))
    if value is not None and not np.isfinite(value):
        raise ValueError(f"{entry.label} by protocol {variant!r} is {value}, not a finite number")
    return Score(
        metric=metric,
        variant=variant,
        value=value,
        n=0 if values is None else len(values),
        unit=entry.unit,
        higher_is_better=entry.higher_is_better,
        metric_version=entry.version,
        network=network,
        protocol=protocol,
        note=note,
    )
