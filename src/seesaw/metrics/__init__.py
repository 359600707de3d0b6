"""Metrics: arrays of the reference and of a source -> readings -> scores.

A metric is a function registered in :data:`seesaw.registry.METRICS`::

    def my_metric(reference: Shards, source: Shards, options: Options) -> Measured

``reference`` and ``source`` hold the same images in the same order: the packed images and an
autoencoder's reconstructions (``reads="images"``), or what a network extracted from them
(``reads="conditions"``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seesaw.seeds import seed_for


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a metric may use besides its two sets of arrays.

    Attributes:
        seed: the config's seed (shuffled pairs depend on it and on the image ids only).
        batch_size: images per batch; no reading depends on it.
        device: torch device of the network.
        network: the loaded :class:`seesaw.networks.Network` of metrics that run one.
    """

    seed: int = 0
    batch_size: int = 200
    device: str = "cpu"
    network: Any = None


@dataclass(frozen=True)
class Reading:
    """One number of a metric; ``variant`` is ``""`` for the metric itself, else a baseline."""

    value: float | None
    n: int
    variant: str = ""
    note: str = ""


@dataclass(frozen=True)
class Measured:
    """What a metric found: its readings, and a column (N,) per per-image quantity.

    The column ``"value"`` is the metric's own reading of each image; its mean is the reading. Where
    an image has none (no face in it), the column is a masked array.
    """

    readings: Sequence[Reading]
    per_image: Mapping[str, np.ndarray] = field(default_factory=dict)


def shuffled_partners(ids: Sequence[str], seed: int) -> np.ndarray:
    """For each image another one: the pairing of the shuffled-pair baseline.

    A single cycle through all images in an order that depends on (seed, ids) only, so nobody is
    their own partner and neither storage order nor shard size matters.

    Returns:
        Indices (N,). For N = 1 the image is its own partner.
    """
    order = np.array(
        sorted(range(len(ids)), key=lambda i: (seed_for(seed, "shuffle", ids[i]), ids[i])),
        np.int64,
    )
    partners = np.empty(len(ids), np.int64)
    partners[order] = np.roll(order, -1)
    return partners
