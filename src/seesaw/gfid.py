"""Stage ``gfid``: generation FID (gFID) of one set of samples, and what stands beside it.

gFID compares samples with a reference: a split's features, or the moments in a file such as ADM's
``VIRTUAL_imagenet256_labeled.npz``. gFID(t), which starts from noised latents, is in
:mod:`seesaw.gfid_times`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from seesaw.metrics.frechet import Statistics, bias_of, frechet_distance, statistics_of
from seesaw.metrics.generation import inception_score, precision_recall
from seesaw.metrics.kid import squared_mmd
from seesaw.networks import head_of, load_network
from seesaw.results import Score, write_scores
from seesaw.seeds import shuffled
from seesaw.shards import Shards

MANIFOLD = 10_000
"""Reference images of precision and recall at most, as in ADM's evaluator."""

logger = logging.getLogger(__name__)


def score_gfid(
    *,
    autoencoder: str,
    name: str,
    samples: str | Path,
    references: Mapping[str, str | Path],
    evaluation: str,
    network: str,
    network_weights: str | Path | None,
    plain: bool,
    output: str | Path,
    protocol: Mapping[str, Any],
    version: str,
    seed: int,
    provenance: Mapping[str, Any],
) -> None:
    """Scores of one set of samples: gFID, KID, Inception Score, precision, recall.

    Variants are called ``"<name> ref=<reference>"``. Precision, recall and KID are against the
    evaluation split. The Inception Score takes the samples in an order that the seed and their ids
    give: they are stored by class, and its splits must not be.

    Args:
        autoencoder: its name.
        name: model and sampler setting, such as ``"SiT-B plain"``.
        samples: manifest of the feature network's ``features`` of the samples.
        references: name -> manifest of features of a split, or ``.npz`` with ``mu`` and ``sigma``.
            The first is the one that the plain name stands for.
        evaluation: which of them is the evaluation split.
        network: the feature network.
        network_weights: its weights file, if it has one.
        plain: whether these samples are what the plain name ``gfid`` stands for.
        output: JSON of scores.
        protocol: the named choices to record.
        version: of this stage's code, to record.
        seed: chooses the reference images of precision and recall, and orders the samples.
        provenance: what to record beside the scores.

    Raises:
        ValueError: features of another length, or not finite.
    """
    generated = Shards(samples)
    found = statistics_of(generated)
    features = generated.load("features")
    head = head_of(load_network(network, network_weights, "cpu"))
    scores: list[Score] = []

    def add(metric: str, value: float | None, n: int, better: bool, note: str, ref: str) -> None:
        entry = Score(
            metric=metric,
            value=value,
            n=n,
            unit={"gkid": "1e-3", "precision": "share", "recall": "share"}.get(metric, "1"),
            higher_is_better=better,
            metric_version=version,
            network=network,
            protocol={**protocol, "reference": ref, "samples": name},
            note=note,
            variant=f"{name} ref={ref}",
        )
        scores.append(entry)
        if plain and not any(s.metric == metric and s.variant == "" for s in scores):
            scores.append(Score(**{**vars(entry), "variant": ""}))

    for reference, path in references.items():
        target = read_moments(path, len(found.mean))
        distance = frechet_distance(target, found)
        logger.info("gFID %s %s against %s: %.4f", autoencoder, name, reference, distance)
        add("gfid", distance, found.n, False, bias_of(target, found), reference)
    score = inception_score(features[shuffled(generated.ids, seed, "inception-score")], head)
    add("inception-score", score.value, score.n, True, score.note, "none")
    real = Shards(references[evaluation])
    whole = real.load("features")
    add("gkid", 1000 * squared_mmd(whole, features), found.n, False, "unbiased", evaluation)
    chosen = np.sort(shuffled(real.ids, seed, "manifold")[:MANIFOLD])
    shares = precision_recall(whole[chosen], features)
    note = f"3 nearest neighbours, {len(chosen)} reference images"
    add("precision", shares.precision, found.n, True, note, evaluation)
    add("recall", shares.recall, found.n, True, note, evaluation)
    write_scores(output, autoencoder=autoencoder, scores=scores, provenance=provenance)


def read_moments(path: str | Path, d: int) -> Statistics:
    """Mean and covariance of a reference: a manifest of features, or a file of moments.

    Args:
        path: ``manifest.json`` with the field ``features``, or ``.npz`` with ``mu`` (d,) and
            ``sigma`` (d, d), as ADM and the iFID paper publish them.
        d: length of the features that it will be compared with.

    Raises:
        ValueError: the file lacks the moments, or they are of another length.
    """
    if Path(path).suffix != ".npz":
        return statistics_of(Shards(path))
    with np.load(path) as file:
        if not {"mu", "sigma"} <= set(file.files):
            raise ValueError(
                f"{path} has {', '.join(file.files)}; a reference needs the moments mu and sigma"
            )
        mean, covariance = file["mu"].astype(np.float64), file["sigma"].astype(np.float64)
    if mean.shape != (d,) or covariance.shape != (d, d):
        raise ValueError(
            f"{path} holds moments of shape {mean.shape} and {covariance.shape}, the samples' "
            f"features have length {d}; use the statistics of the same network"
        )
    return Statistics(n=0, mean=mean, covariance=covariance)
