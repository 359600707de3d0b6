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

H and W of a map are those of the image, but for ``canny-512``, whose shorter side is 512.

A network of the kind ``features`` that classifies has the attribute ``head``: float32 (D, classes),
what its features are multiplied with (the Inception Score needs it; see :func:`head_of`).

Some protocols do not round images before they measure them. The Inceptions (``mini-inception``
too) have ``extract_pixels`` and LPIPS ``distance_pixels`` for them: float tensors on the scale
0..255, with the same results as uint8 images where these hold whole numbers in 0..255.

One class can stand in the registry under several names, each with the options of one author's
protocol: ``inception`` (torch-fidelity), ``inception-bilinear`` (pytorch-fid),
``inception-antialias`` (torchmetrics), ``inception-clean`` (clean-fid); ``canny`` and
``canny-512`` (controlnet_aux); ``dpt_hybrid_midas`` (ControlNet's annotator) and
``dpt_hybrid_midas-384`` (MiDaS' own transform); ``dinov2_vitb14`` and ``dinov2_vitb14-crop`` (the
authors' evaluation).
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from seesaw.packages import warn_of_several
from seesaw.registry import ALIASES, NETWORKS

FEATURE_KINDS = ("features", "perceptual")
DETECTOR_KINDS = ("edges", "map", "labels", "faces")


class Network(Protocol):
    """A detector or feature network, ready to run on its device."""

    meta: dict[str, Any]
    """What a reader of the extracted arrays needs (a palette, the network's own quality, ...)."""

    def __init__(self, weights: str | Path | None, device: str) -> None: ...

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Extract the fields of this kind from uint8 RGB images ``(N, 3, H, W)``."""
        ...


def load_network(
    name: str, weights: str | Path | None = None, device: str = "cpu", **options: Any
) -> Network:
    """The network registered as ``name``, with its weights, on ``device``.

    More than one OpenCV in the environment is warned of (:mod:`seesaw.packages`).

    Args:
        name: a name in :data:`seesaw.registry.NETWORKS`.
        weights: the weights file, for a network that has one.
        device: torch device.
        options: of the network's class, such as ``crop`` of DINOv2; they go before the entry's own.

    Raises:
        ValueError: the name is unknown, weights are missing or not wanted, or the network does not
            take an option.
    """
    entry = NETWORKS[name]
    if entry.weights is not None and weights is None:
        train = "train it with the rule train_network, or " if entry.weights == "trained" else ""
        raise ValueError(
            f"network {name!r} needs a weights file: {train}give 'weights' in the config block "
            f"'networks'{_which_file(name)}"
        )
    if entry.weights is None and weights is not None:
        raise ValueError(f"network {name!r} has no weights, but {weights} was given")
    cls = NETWORKS.load(name)
    warn_of_several("OpenCV")
    accepted = [
        key for key in inspect.signature(cls).parameters if key not in ("weights", "device")
    ]
    bad = [key for key in options if key not in accepted]
    if bad:
        raise ValueError(
            f"network {name!r} does not take {', '.join(map(repr, bad))}; beside weights and "
            f"device it takes {', '.join(accepted) or 'nothing'}"
        )
    return cls(weights, device, **{**entry.options, **options})


def _which_file(name: str) -> str:
    """Which file is wanted, as the network says itself when it is made without one."""
    if NETWORKS[name].weights != "file":
        return ""
    try:
        NETWORKS.load(name)(None)
    except ValueError as error:
        return f". {error}"
    return ""


def load_feature_network(
    name: str, weights: str | Path | None = None, device: str = "cpu", **options: Any
) -> Network:
    """As :func:`load_network`, of a network that embeds images or compares two (``perceptual``).

    Args:
        name: a name in :data:`seesaw.registry.NETWORKS` or :data:`seesaw.registry.ALIASES`.
        weights: see :func:`load_network`.
        device: torch device.
        options: see :func:`load_network`.

    Raises:
        ValueError: a detector; or see :func:`load_network`.
    """
    return _load_kind(name, FEATURE_KINDS, "load_detector", weights, device, options)


def load_detector(
    name: str, weights: str | Path | None = None, device: str = "cpu", **options: Any
) -> Network:
    """As :func:`load_network`, of a network that detects edges, depth, labels or faces.

    Args:
        name: a name in :data:`seesaw.registry.NETWORKS` or :data:`seesaw.registry.ALIASES`.
        weights: see :func:`load_network`.
        device: torch device.
        options: see :func:`load_network`.

    Raises:
        ValueError: a feature network; or see :func:`load_network`.
    """
    return _load_kind(name, DETECTOR_KINDS, "load_feature_network", weights, device, options)


def _load_kind(
    name: str,
    kinds: Sequence[str],
    other: str,
    weights: str | Path | None,
    device: str,
    options: dict[str, Any],
) -> Network:
    name, settings = ALIASES.get(name, (name, {}))
    if NETWORKS[name].kind not in kinds:
        fitting = [key for key in NETWORKS if NETWORKS[key].kind in kinds]
        raise ValueError(
            f"network {name!r} is of kind {NETWORKS[name].kind!r}, which {other} loads; here the "
            f"kinds are {', '.join(kinds)}: {', '.join(fitting)}"
        )
    return load_network(name, weights, device, **{**settings, **options})


def head_of(network: Network) -> np.ndarray | None:
    """Weights (D, classes) from a network's features to its class logits; None if it has none."""
    return getattr(network, "head", None)


def check_images(images: np.ndarray) -> None:
    """Raise unless ``images`` is a uint8 RGB batch ``(N, 3, H, W)``."""
    if isinstance(images, np.ndarray) and images.dtype == np.uint8 and _is_rgb(images.shape):
        return
    given = f"{getattr(images, 'dtype', type(images).__name__)} {_shape(images)}"
    raise ValueError(
        f"expected uint8 RGB images (N, 3, H, W) in 0..255, got {given}{_hint(images)}"
    )


def check_pixels(pixels: Any) -> None:
    """Raise unless ``pixels`` is a batch of RGB pixels: a float tensor ``(N, 3, H, W)``.

    Their range cannot be checked: on the scale 0..255 an image within [0, 1] is one that is black.
    """
    floating = getattr(pixels, "is_floating_point", lambda: False)()
    if floating and _is_rgb(pixels.shape):
        return
    given = f"{getattr(pixels, 'dtype', type(pixels).__name__)} {_shape(pixels)}"
    raise ValueError(
        f"expected a float tensor of RGB pixels (N, 3, H, W) on the scale 0..255, got {given}; "
        "uint8 arrays go to extract or distance"
    )


def check_finite(values: Any, name: str) -> None:
    """Raise unless what a network computed is finite, before rounding or argmax would hide it.

    Args:
        values: float tensor (N, ...), one row per image of the batch.
        name: the network's, for the words.
    """
    bad = (~values.isfinite()).flatten(1).any(1)
    if bad.any():
        raise ValueError(
            f"{name} computed NaN or infinite values for image {int(bad.int().argmax())} of a "
            "batch; are its weights damaged?"
        )


def _is_rgb(shape: Sequence[int]) -> bool:
    return len(shape) == 4 and shape[1] == 3


def _shape(images: Any) -> tuple[int, ...]:
    return tuple(getattr(images, "shape", ()))


def _hint(images: Any) -> str:
    """What to do about images that are refused."""
    if not isinstance(images, np.ndarray):
        return "; give a numpy array, as tensor.cpu().numpy() makes it"
    if images.dtype != np.uint8:
        if images.dtype.kind != "f" or not images.size:
            return "; convert them to uint8"
        low, high = float(images.min()), float(images.max())
        values = f" with values from {low:.6g} to {high:.6g}"
        if not np.isfinite([low, high]).all():
            return f"{values}; they are not finite"
        if low < -1 or high > 1:
            return f"{values}; round them and cut off to 0..255"
        scaled = "multiply by 255" if low >= 0 else "multiply x + 1 by 127.5"
        return f"{values}; {scaled} and round"
    if len(images.shape) == 3:
        return "; one image is a batch as images[None]"
    if len(images.shape) == 4 and images.shape[3] == 3:
        return "; they seem to have their channels last: images.transpose(0, 3, 1, 2)"
    return ""
