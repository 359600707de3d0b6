"""Stage ``conditions``: what a detector or feature network extracts from a source's images.

A source is the packed evaluation split or an autoencoder's reconstructions of it.
"""

from pathlib import Path

import numpy as np

from seesaw.batching import Batched, fitted_sizes
from seesaw.files import digest_of, sha256_of
from seesaw.metrics.frechet import STATISTICS, Moments, to_arrays
from seesaw.metrics.pairs import require_finite
from seesaw.networks import load_network
from seesaw.progress import progress
from seesaw.shards import Shards, ShardWriter, batches_after


def extract_conditions(
    *,
    network: str,
    weights: str | Path | None,
    images: str | Path,
    output: str | Path,
    batch_size: int,
    device: str,
    version: str | None = None,
) -> None:
    """Run one network over all images of a set of shards.

    Writes shards of the same sizes as the input's, with the fields of the network's kind (see
    :mod:`seesaw.networks`). Batches that do not fit into memory are halved; the manifest's ``meta``
    then says so (``fitted_batch_size``). A run that was killed goes on after its last whole shard.

    Mean and covariance of ``features`` are attached to the shards, so that they are computed once
    for all that compare with them (:func:`seesaw.metrics.frechet.statistics_of`); not where the
    images are fewer than the features are long, since then the distance needs the vectors.

    Args:
        network: registry name.
        weights: its weights file, if it has one.
        images: manifest with a field ``images``, uint8 RGB.
        output: manifest to write.
        batch_size: images at a time.
        device: torch device.
        version: of the code that extracts; shards of another one are not gone on with, and without
            one none are.

    Raises:
        ValueError: a network that cannot be loaded, or a feature vector that is not finite; its
            image is named.
    """
    source = Shards(images)
    extractor = load_network(network, weights, device)
    meta = {**extractor.meta, "network": network}
    extract = Batched(extractor.extract, network)
    shard_size = max(shard["n"] for shard in source.shards)
    resume = None
    if version is not None:
        files = [sha256_of(weights) if weights else None, sha256_of(images)]
        resume = digest_of([meta, version, files, shard_size])
    moments: Moments | None = None

    def measure(features: np.ndarray) -> None:
        nonlocal moments
        moments = moments or Moments(features.shape[1])
        moments.add(features)

    with ShardWriter(output, shard_size=shard_size, meta=meta, resume=resume) as writer:
        first = writer.done
        for features in writer.kept("features"):
            measure(features)
        batches = progress(
            batches_after(source, ["images"], batch_size, first),
            total=-(-(len(source) - first) // batch_size),
            what=f"{network} on {len(source) - first} images",
            unit="batche",
        )
        for batch, old in batches:
            ids, found = batch.ids[old:], extract(batch["images"])
            found = {field: array[old:] for field, array in found.items()}
            if "features" in found:
                require_finite(ids, found["features"], f"{network}: feature vector")
                measure(found["features"])
            meta.update(fitted_sizes(extract))
            writer.add(ids, found)
        if moments is not None and len(source) >= max(moments.d, 2):
            writer.attach(STATISTICS, to_arrays(moments.statistics()))
