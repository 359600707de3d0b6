"""How good samples under control are, and how well they keep to the condition that they were given.

Seesaw's Table 3: FID of the samples, and the mean absolute difference between the condition given
and the one found in the sample. An L1 means little by itself, so beside it stand the L1 of chance,
of an empty map, and of samples of the same labels and noise without control.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seesaw.control.branch import read_notes
from seesaw.metrics import shuffled_partners
from seesaw.metrics.drift import map_distance
from seesaw.metrics.frechet import Moments, Statistics, bias_note, frechet_distance
from seesaw.readings import named
from seesaw.results import Score, write_scores
from seesaw.shards import Shards, require_same_ids

BATCH = 200

logger = logging.getLogger(__name__)


def score_control(
    *,
    autoencoder: str,
    condition: str,
    network: str,
    branch: str | Path,
    hints: str | Path,
    maps: str | Path,
    plain_maps: str | Path | None,
    feature_network: str,
    features: str | Path,
    real_features: str | Path,
    plain_features: str | Path | None,
    output: str | Path,
    protocol: Mapping[str, Any],
    version: str,
    seed: int,
    provenance: Mapping[str, Any],
) -> None:
    """Write ``control-fid`` and ``control-l1`` of one condition, and what to compare them with.

    The variant is the condition (``"canny"``), followed by what stands in its place:

    - ``shuffled``: the hint against the sample of another image's hint. Chance.
    - ``zero``: the hint against an empty map, the mean of the hint.
    - ``uncontrolled``: the hint against the sample of the same label and noise without control, and
      the FID of those samples, where they exist.

    Args:
        autoencoder: its name.
        condition: ``"canny"`` or ``"depth"``.
        network: who makes its maps.
        branch: the trained branch; how it was trained becomes part of the protocol.
        hints: manifest of the evaluation split's maps.
        maps: manifest of the samples' maps; their images are what is scored.
        plain_maps: manifest of maps of samples without control.
        feature_network: who makes the features.
        features: manifest of the samples' features.
        real_features: manifest of the evaluation split's features.
        plain_features: manifest of features of samples without control.
        output: JSON of scores.
        protocol: the named choices to record.
        version: of this stage's code, to record.
        seed: of the shuffled pairs.
        provenance: what to record beside the scores.

    Raises:
        KeyError: a sample of an image that has no hint.
        ValueError: maps of different networks or sizes, or different images.
    """
    given, found, generated = Shards(hints), Shards(maps), Shards(features)
    require_same_ids(found, generated)
    _check_same_network(given, found)
    ids, notes = found.ids, read_notes(branch)
    common = {
        "metric_version": version,
        "protocol": {**protocol, "condition": condition, **notes},
    }
    scores = []

    def add(metric: str, value: float | None, variant: str, note: str, n: int = len(ids)) -> None:
        name = f"{condition} {variant}".strip()
        if value is not None:
            logger.info("%s %s %s: %.4f", metric, autoencoder, name, value)
        scores.append(
            Score(
                **named(metric),
                value=value,
                variant=name,
                n=n,
                network=network if metric == "control-l1" else feature_network,
                note=note,
                **common,
            )
        )

    target = statistics_of_images(Shards(real_features), ids)
    note = bias_note(len(ids), len(target.mean))
    add("control-fid", frechet_distance(target, statistics_of_images(generated, ids)), "", note)
    if plain_features is not None:
        moments = statistics_of_images(Shards(plain_features), ids)
        add("control-fid", frechet_distance(target, moments), "uncontrolled", note)
    add("control-l1", mean_distance(given, ids, found, ids), "", "")
    partners = shuffled_partners(ids, seed)
    if len(ids) < 2:
        add("control-l1", None, "shuffled", "needs at least two images to pair")
    else:
        others = [ids[p] for p in partners]
        add("control-l1", mean_distance(given, ids, found, others), "shuffled", "chance")
    add("control-l1", mean_distance(given, ids, None, ids), "zero", "an empty map")
    if plain_maps is not None:
        plain = Shards(plain_maps)
        _check_same_network(given, plain)
        note = "samples of the same labels and noise without control"
        add("control-l1", mean_distance(given, ids, plain, ids), "uncontrolled", note)
    write_scores(output, autoencoder=autoencoder, scores=scores, provenance=provenance)


def mean_distance(
    given: Shards, ids: Sequence[str], found: Shards | None, others: Sequence[str]
) -> float:
    """Mean over images of the mean ``|a - b| / 255`` of two maps.

    Args:
        given: field ``map``.
        ids: of its images.
        found: field ``map``; None: an empty map.
        others: images of ``found``, one per id.
    """
    values = []
    for start in range(0, len(ids), BATCH):
        a = given.take(ids[start : start + BATCH], ["map"])["map"]
        b = np.zeros_like(a)
        if found is not None:
            b = found.take(others[start : start + BATCH], ["map"])["map"]
        if a.shape != b.shape:
            raise ValueError(f"maps of {a.shape[1:]} and of {b.shape[1:]} cannot be compared")
        values.append(map_distance(a, b))
    return float(np.concatenate(values).mean())


def statistics_of_images(features: Shards, ids: Sequence[str]) -> Statistics:
    """Mean and covariance of the features of some images."""
    moments: Moments | None = None
    for start in range(0, len(ids), BATCH):
        rows = features.take(ids[start : start + BATCH], ["features"])["features"]
        moments = moments or Moments(rows.shape[1])
        moments.add(rows)
    if moments is None:
        raise ValueError(f"{features.path}: no image to measure")
    return moments.statistics()


def _check_same_network(a: Shards, b: Shards) -> None:
    names = [shards.meta.get("network") for shards in (a, b)]
    if names[0] != names[1]:
        raise ValueError(
            f"{a.path} was made by {names[0]!r}, {b.path} by {names[1]!r}; extract both with the "
            "same network"
        )
