"""A weights file put to the test: loaded strictly, one image through it, numbers of what came."""

import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seesaw.autoencoders.base import (
    Autoencoder,
    decode_float,
    encode_uint8,
    load_autoencoder,
    to_uint8,
)
from seesaw.data.crops import resize_center_crop
from seesaw.data.folder import read_rgb
from seesaw.files import atomic
from seesaw.metrics.fidelity import decibel, mean_squared_error

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Summary:
    """Latents of one image in numbers.

    Attributes:
        mean: of all values.
        std: of all values.
        low: the smallest value.
        high: the largest value.
    """

    mean: float
    std: float
    low: float
    high: float


@dataclass(frozen=True)
class Checked:
    """What one image says of an autoencoder.

    Attributes:
        psnr: in dB, of the uint8 reconstruction.
        clipped: share of the decoded values outside [-1, 1].
        latent_shape: as encoded.
        latents: summary of the raw latents.
        normalized: summary of the latents after the published statistics, which make them 0 and 1
            on average over images; None where none are at hand.
        parameters: learned numbers.
        encode_seconds: of one image.
        decode_seconds: the same.
        peak_bytes: largest memory of the process (CPU) or of its tensors (GPU) so far.
        image: uint8 (R, R, 3), the image.
        reconstruction: uint8 (R, R, 3).
    """

    psnr: float
    clipped: float
    latent_shape: tuple[int, ...]
    latents: Summary
    normalized: Summary | None
    parameters: int | None
    encode_seconds: float
    decode_seconds: float
    peak_bytes: int
    image: np.ndarray
    reconstruction: np.ndarray

    def cells(self) -> dict[str, Any]:
        """What can be written as JSON."""
        own = {k: v for k, v in vars(self).items() if k not in ("image", "reconstruction")}
        summaries = {k: v and vars(v) for k, v in own.items() if k in ("latents", "normalized")}
        return {**own, "latent_shape": list(self.latent_shape), **summaries}


def check_autoencoder(
    name: str,
    weights: str | Path | Mapping[str, str | Path] | None,
    *,
    image: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    device: str = "cpu",
    precision: str = "fp32",
) -> Checked:
    """Load an autoencoder strictly, and encode and decode one image.

    Args:
        name: see :func:`seesaw.autoencoders.load_autoencoder`.
        weights: see there.
        image: any image file; its centre is cut out. None: the photograph that matplotlib brings.
        config: see there.
        device: torch device.
        precision: a key of :data:`PRECISIONS`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file does not fit the autoencoder, the image cannot be read, or what is
            encoded or decoded is not finite.
    """
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    autoencoder = load_autoencoder(
        name, weights, config, device=device, dtype=PRECISIONS[precision]
    )
    pixels = _centre(image or photograph(), autoencoder.resolution)
    images = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].to(device)
    with torch.inference_mode():
        latents, encode_seconds = _timed(lambda: encode_uint8(autoencoder, images), device)
        decoded, decode_seconds = _timed(lambda: decode_float(autoencoder, latents), device)
    for what, values in (("latents", latents), ("reconstruction", decoded)):
        if not torch.isfinite(values).all():
            raise ValueError(
                f"NaN or infinity in the {what} of {name!r}; check the weights, or take "
                "--precision fp32"
            )
    levels, clipped = to_uint8(decoded)
    reconstruction = levels[0].permute(1, 2, 0).cpu().numpy()
    raw, normalized = _both(autoencoder, latents)
    return Checked(
        psnr=float(decibel(mean_squared_error(pixels[None], reconstruction[None]))[0]),
        clipped=float(clipped[0]),
        latent_shape=tuple(latents.shape[1:]),
        latents=_summary(raw),
        normalized=None if normalized is None else _summary(normalized),
        parameters=_parameters(autoencoder),
        encode_seconds=encode_seconds,
        decode_seconds=decode_seconds,
        peak_bytes=_peak_bytes(device),
        image=pixels,
        reconstruction=reconstruction,
    )


def photograph() -> Path:
    """A photograph in the public domain (512 x 600, a portrait) that comes with matplotlib."""
    from matplotlib import get_data_path

    return Path(get_data_path()) / "sample_data/grace_hopper.jpg"


def write_pair(path: str | Path, checked: Checked) -> None:
    """Write image and reconstruction side by side as PNG."""
    pair = np.concatenate([checked.image, checked.reconstruction], axis=1)
    with atomic(path) as temporary:
        Image.fromarray(pair).save(temporary, format="PNG")


def _centre(path: str | Path, resolution: int) -> np.ndarray:
    try:
        return resize_center_crop(read_rgb(path), resolution)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _timed(run: Callable[[], Tensor], device: str) -> tuple[Tensor, float]:
    """Result and seconds of one run; on a GPU of the second, the first has much to set up."""
    if device != "cpu":
        run()
        torch.cuda.synchronize()
    start = time.perf_counter()
    result = run()
    if device != "cpu":
        torch.cuda.synchronize()
    return result, time.perf_counter() - start


def _both(autoencoder: Any, latents: Tensor) -> tuple[Tensor, Tensor | None]:
    """Raw latents, and after the published statistics where these are known."""
    if not isinstance(autoencoder, Autoencoder) or autoencoder.normalization is None:
        return latents, None
    mean, scale = (torch.as_tensor(part).to(latents) for part in autoencoder.normalization)
    if autoencoder.latents == "normalized":
        return latents / scale + mean, latents
    return latents, (latents - mean) * scale


def _summary(latents: Tensor) -> Summary:
    values = latents.double()
    return Summary(
        mean=values.mean().item(),
        std=values.std(correction=0).item(),
        low=values.min().item(),
        high=values.max().item(),
    )


def _parameters(autoencoder: Any) -> int | None:
    if not isinstance(autoencoder, torch.nn.Module):
        return None
    return sum(parameter.numel() for parameter in autoencoder.parameters())


def _peak_bytes(device: str) -> int:
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
