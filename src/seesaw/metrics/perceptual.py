"""LPIPS: a perceptual distance per image pair."""

import numpy as np

from seesaw.metrics import Measured, Options
from seesaw.metrics.pairs import mean_reading, paired_batches, require_finite
from seesaw.shards import Shards


def lpips(reference: Shards, source: Shards, options: Options) -> Measured:
    """Mean over images of the network's distance (LPIPS v0.1, Zhang et al. 2018).

    Args:
        reference: field ``images`` uint8 (3, H, W).
        source: the same images, reconstructed.
        options: ``batch_size`` and ``network``, one of kind ``perceptual``.

    Raises:
        ValueError: no such network, or a distance that is not finite.
    """
    if not hasattr(options.network, "distance"):
        raise ValueError(
            "LPIPS needs a network of kind 'perceptual': name one as 'lpips' in the config block "
            "'networks'"
        )
    parts = []
    for a, b in paired_batches(reference, source, ["images"], options.batch_size):
        distances = np.asarray(options.network.distance(a["images"], b["images"]), np.float64)
        require_finite(a.ids, distances, "LPIPS distance")
        parts.append(distances)
    values = np.concatenate(parts)
    return Measured([mean_reading(values)], {"value": values})
