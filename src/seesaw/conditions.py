"""Stage ``conditions``: what a detector or feature network extracts from a source's images.

A source is the packed evaluation split or an autoencoder's reconstructions of it.
"""

from pathlib import Path

from seesaw.batching import Batched, fitted_sizes
from seesaw.metrics.frechet import STATISTICS, Moments, to_arrays
from seesaw.metrics.pairs import require_finite
from seesaw.networks import load_network
from seesaw.progress import progress
from seesaw.shards import Shards, ShardWriter


def extract_conditions(
    *,
    network: str,
    weights: str | Path | None,
    images: str | Path,
    output: str | Path,
    batch_size: int,
    device: str,
) -> None:
    """Run one network over all images of a set of shards.

    Writes shards of the same sizes as the input's, with the fields of the network's kind (see
    :mod:`seesaw.networks`). Batches that do not fit into memory are halved; the manifest's ``meta``
    then says so (``fitted_batch_size``).

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

    Raises:
        ValueError: a network that cannot be loaded, or a feature vector that is not finite; its
            image is named.
    """
    source = Shards(images)
    extractor = load_network(network, weights, device)
    meta = {**extractor.meta, "network": network}
    extract = Batched(extractor.extract, network)
    shard_size = max(shard["n"] for shard in source.shards)
    batches = progress(
        source.batches(["images"], batch_size),
        total=sum(-(-shard["n"] // batch_size) for shard in source.shards),
        what=f"{network} on {len(source)} images",
        unit="batche",
    )
    moments: Moments | None = None
    with ShardWriter(output, shard_size=shard_size, meta=meta) as writer:
        for batch in batches:
            found = extract(batch["images"])
            writer.add(batch.ids, found)
            if "features" in found:
                features = found["features"]
                require_finite(batch.ids, features, f"{network}: feature vector")
                moments = moments or Moments(features.shape[1])
                moments.add(features)
        if moments is not None and len(source) >= max(moments.d, 2):
            writer.attach(STATISTICS, to_arrays(moments.statistics()))
        meta.update(fitted_sizes(extract))
