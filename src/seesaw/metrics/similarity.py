"""Cosine similarity of image embeddings (CLIP, DINO)."""

from seesaw.metrics import Measured, Options
from seesaw.metrics.pairs import cosines, mean_reading, require_finite, shuffled_cosine
from seesaw.shards import Shards, require_same_ids


def similarity(reference: Shards, source: Shards, options: Options) -> Measured:
    """Mean cosine between an image's embedding and its reconstruction's (Seesaw A.1.2).

    The variant ``shuffled`` is the mean cosine with another image's reconstruction: the level that
    two unrelated images of this data set have.

    Args:
        reference: field ``features`` (D,).
        source: the same of the reconstructions.
        options: ``seed``.

    Raises:
        ValueError: different images, or an embedding that is not finite or zero.
    """
    require_same_ids(reference, source)
    a, b = reference.load("features"), source.load("features")
    require_finite(reference.ids, a, "embedding")
    require_finite(source.ids, b, "embedding of the reconstruction")
    values = cosines(reference.ids, a, b)
    shuffled = shuffled_cosine(reference.ids, a, b, options.seed)
    return Measured([mean_reading(values), shuffled], {"value": values})
