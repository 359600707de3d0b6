"""Detectors and feature networks: what they extract from images.

Every network takes uint8 RGB images ``(N, 3, H, W)``, applies its own preprocessing and returns
numpy arrays, one row per image. The fields depend on its kind:

==============  ==============================================================================
kind            fields
==============  ==============================================================================
``edges``       ``map`` uint8 (N, H, W), 0 or 255
``map``         ``map`` uint8 (N, H, W), 0..255 stands for [0, 1]
``labels``      ``labels`` uint8 (N, H, W); ``meta["palette"]`` holds an RGB colour per label
``faces``       ``found`` uint8 (N,), ``score`` float32 (N,), ``box`` float32 (N, 4) as x0 y0 x1 y1
                in pixels, ``embedding`` float32 (N, D) of unit length (zeros where none is found)
``features``    ``features`` float32 (N, D)
``perceptual``  nothing: it has ``distance(a, b) -> (N,)`` instead of ``extract``
==============  ==============================================================================

A network of the kind ``features`` that classifies has the attribute ``head``: float32 (D, classes),
what its features are multiplied with (the Inception Score needs it; see :func:`head_of`).
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from seesaw.registry import NETWORKS


class Network(Protocol):
    """A detector or feature network, ready to run on its device."""

    meta: dict[str, Any]
    """What a reader of the extracted arrays needs (a palette, the network's own quality, ...)."""

    def __init__(self, weights: str | Path | None, device: str) -> None: ...

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Extract the fields of this kind from uint8 RGB images ``(N, 3, H, W)``."""
        ...


def load_network(name: str, weights: str | Path | None = None, device: str = "cpu") -> Network:
    """The network registered as ``name``, with its weights, on ``device``.

    Raises:
        ValueError: the name is unknown, or weights are missing or not wanted.
    """
    entry = NETWORKS[name]
    if entry.weights is not None and weights is None:
        raise ValueError(
            f"network {name!r} needs a weights file: train it with the rule train_network, or give "
            f"'weights' in the config block 'networks'"
        )
    if entry.weights is None and weights is not None:
        raise ValueError(f"network {name!r} has no weights, but {weights} was given")
    return NETWORKS.load(name)(weights, device)


def head_of(network: Network) -> np.ndarray | None:
    """Weights (D, classes) from a network's features to its class logits; None if it has none."""
    return getattr(network, "head", None)


def check_images(images: np.ndarray) -> None:
    """Raise unless ``images`` is a uint8 RGB batch ``(N, 3, H, W)``."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"expected uint8 RGB images (N, 3, H, W) in 0..255, got {images.dtype} {images.shape}"
        )
