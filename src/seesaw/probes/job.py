"""The stage as one job: a probe per condition on one autoencoder's latents -> scores (JSON)."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from seesaw.autoencoders.base import load_autoencoder
from seesaw.files import write_tensors
from seesaw.metrics import Reading
from seesaw.probes.data import TrainingSet, choose_images
from seesaw.probes.evaluate import evaluate_probe, predict
from seesaw.probes.network import Probe, why_undefined
from seesaw.probes.train import Trained, Training, train_probe
from seesaw.readings import named
from seesaw.registry import NETWORKS
from seesaw.results import Score, write_scores
from seesaw.seeds import seed_for
from seesaw.shards import Shards

logger = logging.getLogger(__name__)

KINDS = ("edges", "map")
"""Kinds of network whose maps can be probed for."""
EXAMPLES = 8


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
        options: keyword arguments of :class:`seesaw.probes.train.Training`.
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
