"""Stage ``reconstruct``: one pass of an autoencoder over the evaluation images.

Images -> latents -> images again; latents and uint8 reconstructions are stored side by side.
"""

import logging
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.autoencoders.base import (
    decode_float,
    encode_uint8,
    load_autoencoder,
    to_levels,
    to_uint8,
)
from seesaw.batching import Batched, fitted_sizes
from seesaw.files import digest_of, sha256_of, write_json
from seesaw.latent_statistics import LatentStatistics
from seesaw.progress import progress
from seesaw.seeds import normal_per_image
from seesaw.shards import Shards, ShardWriter, batches_after
from seesaw.speed import Timed, speed

logger = logging.getLogger(__name__)


def encode_batch(
    autoencoder: nn.Module,
    images: np.ndarray,
    ids: list[str],
    *,
    posterior: str,
    seed: int,
    device: str,
) -> Tensor:
    """uint8 images ``(N, 3, R, R)`` to finite float32 latents on ``device``.

    Args:
        autoencoder: see :class:`seesaw.autoencoders.Autoencoder`.
        images: uint8 RGB.
        ids: their ids; the noise of a posterior sample depends on them and on ``seed`` only.
        posterior: ``"mean"`` or ``"sample"``.
        seed: the config's seed.
        device: torch device.

    Raises:
        ValueError: latents that are not finite; the images are named.
    """
    noise = None
    if posterior == "sample" and getattr(autoencoder, "stochastic", False):
        shape = tuple(autoencoder.latent_shape)
        noise = torch.from_numpy(normal_per_image(shape, seed=seed, purpose="posterior", ids=ids))
        noise = noise.to(device)
    latents = encode_uint8(autoencoder, torch.from_numpy(images).to(device), noise)
    _require_finite(latents, ids, "latent")
    return latents


def decode_batch(
    autoencoder: nn.Module,
    latents: Tensor,
    ids: list[str],
    what: str = "reconstruction",
    quantisation: str = "uint8-round",
) -> tuple[np.ndarray, np.ndarray]:
    """Latents to uint8 images ``(N, 3, R, R)`` and the clipped share per image, float32 ``(N,)``.

    Args:
        autoencoder: see :class:`seesaw.autoencoders.Autoencoder`.
        latents: ``(N, *latent_shape)``.
        ids: their ids.
        what: what they are, for errors.
        quantisation: see :func:`seesaw.autoencoders.base.to_uint8`.

    Raises:
        ValueError: pixels that are not finite; the images are named.
    """
    decoded = decode_float(autoencoder, latents)
    _require_finite(decoded, ids, what)
    images, clipped = to_uint8(decoded, quantisation)
    return images.cpu().numpy(), clipped.float().cpu().numpy()


def decode_levels(
    autoencoder: nn.Module, latents: Tensor, ids: list[str], what: str = "reconstruction"
) -> Tensor:
    """As :func:`decode_batch`, but float32 on the scale 0..255, neither clipped nor rounded."""
    decoded = decode_float(autoencoder, latents)
    _require_finite(decoded, ids, what)
    return to_levels(decoded)


def reconstruct_images(
    *,
    family: str,
    config: Mapping[str, Any],
    weights: str | Path | None,
    images: str | Path,
    output: str | Path,
    batch_size: int,
    shard_size: int,
    posterior: str,
    seed: int,
    device: str,
    quantisation: str = "uint8-round",
    output_speed: str | Path | None = None,
    version: str | None = None,
) -> None:
    """Encode and decode every image of a packed split.

    Writes shards with the fields ``images`` (uint8), ``latents`` (float32) and ``clipped`` (share
    of values outside [-1, 1] before rounding), in the order of the split. The manifest's ``meta``
    holds the statistics of the latents as stored
    (:class:`seesaw.latent_statistics.LatentStatistics`). Batches that do not fit into memory are
    halved; ``meta`` then says so (``fitted_batch_size``). A run that was killed goes on after its
    last whole shard. Speed and memory, which no two runs have alike, are in a file of their own;
    they are those of the run that ended, of the images that it did.

    Args:
        family: autoencoder family or ``"module:Class"``.
        config: its keyword arguments.
        weights: its weights file, if it has one.
        images: manifest of the packed split.
        output: manifest to write.
        batch_size: images at a time.
        shard_size: images per shard of the output.
        posterior: ``"mean"`` or ``"sample"``.
        seed: for posterior samples.
        device: torch device.
        quantisation: ``"uint8-round"`` (half up) or ``"uint8-floor"``.
        output_speed: JSON to write, see :func:`seesaw.speed.speed`; None: none.
        version: of the code that reconstructs; shards of another one are not gone on with, and
            without one none are.

    Raises:
        ValueError: the autoencoder breaks its contract or makes NaN or infinity; then the images
            are named, and there is no manifest.
    """
    source = Shards(images)
    autoencoder = load_autoencoder(family, weights, config, device=device)
    meta: dict[str, Any] = {
        "posterior": posterior if getattr(autoencoder, "stochastic", False) else "deterministic",
        "quantisation": quantisation,
        "seed": seed,
        "weights_sha256": sha256_of(weights) if weights else None,
        "latent_shape": list(autoencoder.latent_shape),
        "parameters": _parameter_count(autoencoder),
        "source": dict(source.meta),
    }
    resume = None
    if version is not None:
        depends = [meta, version, family, dict(config), sha256_of(images), posterior, shard_size]
        resume = digest_of(depends)
    encode_timed = Timed(
        partial(encode_batch, autoencoder, posterior=posterior, seed=seed, device=device), device
    )
    decode_timed = Timed(partial(decode_batch, autoencoder, quantisation=quantisation), device)
    encode, decode = Batched(encode_timed, "encoding"), Batched(decode_timed, "decoding")
    statistics = LatentStatistics(autoencoder.latent_shape)
    writer = ShardWriter(output, shard_size=shard_size, meta=meta, resume=resume)
    with torch.inference_mode(), writer:
        first, start = writer.done, time.monotonic()
        for stored in writer.kept("latents"):
            statistics.add(stored)
        clipped_shares = [clipped.copy() for clipped in writer.kept("clipped")]
        batches = progress(
            batches_after(source, ["images"], batch_size, first),
            total=-(-(len(source) - first) // batch_size),
            what=f"reconstructing {len(source) - first} images",
            unit="batche",
        )
        for batch, old in batches:
            latents = encode(batch["images"], batch.ids)
            reconstructions, clipped = decode(latents, batch.ids)
            found = {"images": reconstructions, "latents": latents.cpu().numpy()}
            found = {field: array[old:] for field, array in {**found, "clipped": clipped}.items()}
            meta.update(fitted_sizes(encode, decode))
            writer.add(batch.ids[old:], found)
            statistics.add(found["latents"])
            clipped_shares.append(found["clipped"])
        if first == len(source):  # killed at the very end: the last shard again, to be timed
            for batch in source.batches(["images"], batch_size, shards=[len(source.shards) - 1]):
                decode(encode(batch["images"], batch.ids), batch.ids)
        meta["latents"] = statistics.summary()
        meta["clipped_share"] = float(np.concatenate(clipped_shares).mean(dtype=np.float64))
    if output_speed is not None:
        write_json(output_speed, speed(autoencoder, encode_timed, decode_timed, device))
    rate = (len(source) - first) / (time.monotonic() - start)
    logger.info("%.1f images/s on %s", rate, device)


def _parameter_count(autoencoder: nn.Module) -> int | None:
    """Numbers that it learned; None for a class that is not a torch module."""
    if not isinstance(autoencoder, nn.Module):
        return None
    return sum(parameter.numel() for parameter in autoencoder.parameters())


def _require_finite(values: Tensor, ids: list[str], what: str) -> None:
    finite = torch.isfinite(values).flatten(1).all(1)
    if finite.all():
        return
    bad = [image_id for image_id, ok in zip(ids, finite.tolist(), strict=True) if not ok]
    raise ValueError(
        f"NaN or infinity in the {what} of {len(bad)} of {len(ids)} images of this batch, first "
        f"{', '.join(map(repr, bad[:10]))}; check the weights, or run in float32"
    )
