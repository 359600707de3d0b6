"""Stage ``metrics``: one metric of one autoencoder -> scores (JSON), per-image table (Parquet)."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seesaw.batching import Batched, fitted_sizes
from seesaw.files import atomic
from seesaw.metrics import Measured, Options
from seesaw.networks import load_network
from seesaw.registry import METRICS, NETWORKS, ROLES, MetricEntry
from seesaw.results import Score, provenance, write_scores
from seesaw.shards import Shards, require_same_ids


def score_metric(
    *,
    metric: str,
    autoencoder: str,
    reference: str | Path,
    source: str | Path,
    network: str | None,
    weights: str | Path | None,
    protocol: Mapping[str, Any],
    seed: int,
    batch_size: int,
    device: str,
    output_scores: str | Path,
    output_images: str | Path,
    provenance_extra: Mapping[str, Any],
) -> None:
    """Compute one metric of one autoencoder and write what it found.

    Args:
        metric: registry name.
        autoencoder: name in the config.
        reference: manifest of the packed images, or of what a network extracted from them.
        source: manifest of the same for the reconstructions.
        network: registry name of the network that the metric rests on, if it has a role.
        weights: its weights file; used only by metrics that run the network themselves.
        protocol: the named choices that the reader of a score must know.
        seed: the config's seed.
        batch_size: images at a time; halved where a network runs out of memory with so many, which
            the provenance then says (``fitted_batch_size``).
        device: torch device.
        output_scores: JSON to write, see :func:`seesaw.results.write_scores`.
        output_images: Parquet to write: column ``id``, a float64 column per per-image quantity.
        provenance_extra: what the caller knows (weights' sha256, ...).

    Raises:
        ValueError: unknown names, a network of the wrong kind, different images in the two sets, or
            a result that is not finite.
    """
    entry = METRICS[metric]
    check_network(metric, entry, network)
    a, b = Shards(reference), Shards(source)
    require_same_ids(a, b)
    loaded, steps = None, []
    if entry.role is not None and entry.reads == "images":
        loaded = load_network(network, weights, device)
        loaded.distance = Batched(loaded.distance, network)
        steps = [loaded.distance]
    options = Options(seed=seed, batch_size=batch_size, device=device, network=loaded)
    measured = METRICS.load(metric)(a, b, options)
    check_finite(metric, measured, a.ids)
    scores = scores_of(metric, entry, measured, network, protocol)
    write_images(output_images, measured, a.ids)
    write_scores(
        output_scores,
        autoencoder=autoencoder,
        scores=scores,
        provenance=provenance(seed=seed, **provenance_extra, **fitted_sizes(*steps)),
    )


def check_network(metric: str, entry: MetricEntry, network: str | None) -> None:
    """Raise unless ``network`` can play the role that the metric needs."""
    if entry.role is None:
        return
    kinds = ROLES[entry.role]
    if network is None:
        raise ValueError(
            f"metric {metric!r} needs a network: name one as {entry.role!r} in the config block "
            "'networks'"
        )
    kind = NETWORKS[network].kind
    if kind not in kinds:
        raise ValueError(
            f"network {network!r} is of kind {kind!r}, but {entry.role!r} of metric {metric!r} "
            f"needs {' or '.join(map(repr, kinds))}"
        )


def check_finite(metric: str, measured: Measured, ids: Sequence[str]) -> None:
    """Raise, naming metric and image, where a number is NaN or infinite."""
    for name, column in measured.per_image.items():
        if len(column) != len(ids):
            raise ValueError(
                f"metric {metric!r}: column {name!r} has {len(column)} rows for {len(ids)} images"
            )
        bad = np.ma.filled(~np.isfinite(column), False)
        if bad.any():
            raise ValueError(
                f"metric {metric!r}: {name} of image {ids[int(np.argmax(bad))]!r} is NaN or "
                f"infinite ({int(bad.sum())} of {len(ids)} images)"
            )
    for reading in measured.readings:
        if reading.value is not None and not math.isfinite(reading.value):
            variant = f" ({reading.variant})" if reading.variant else ""
            raise ValueError(f"metric {metric!r}{variant} is {reading.value}, not a finite number")


def scores_of(
    metric: str,
    entry: MetricEntry,
    measured: Measured,
    network: str | None,
    protocol: Mapping[str, Any],
) -> list[Score]:
    """The readings of a metric as scores with unit, direction and origin."""
    return [
        Score(
            metric=metric,
            variant=reading.variant,
            value=reading.value,
            n=reading.n,
            unit=entry.unit,
            higher_is_better=entry.higher_is_better,
            metric_version=entry.version,
            network=network if entry.role is not None else None,
            protocol=dict(protocol),
            note=reading.note,
        )
        for reading in measured.readings
    ]


def write_images(path: str | Path, measured: Measured, ids: Sequence[str]) -> None:
    """Write the per-image table: ``id`` and float64 columns, empty where an image has no value."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        name: pa.array(np.ma.getdata(column).astype(np.float64), mask=np.ma.getmaskarray(column))
        for name, column in measured.per_image.items()
    }
    with atomic(path) as temporary:
        parquet.write_table(pa.table({"id": pa.array(ids, pa.string()), **columns}), temporary)
