"""Stage ``ifid``: interpolated FID (iFID, eq. 6 of "Making rFID predictive of gFID").

For every evaluation latent: draw one of its K nearest reference latents, interpolate, decode; iFID
is the Fréchet distance between these images and the evaluation images. At alpha = 0 it is rFID.

Details follow the official code (tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID, evalvae.py,
commit bac6ede), except that decoded images are uint8, as for every other metric, and that alpha = 0
returns the latent itself to the last bit.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.autoencoders.base import load_autoencoder
from seesaw.files import write_tensors
from seesaw.metrics.frechet import bias_note, frechet_distance, statistics
from seesaw.networks import load_network
from seesaw.progress import progress
from seesaw.reconstruct import decode_batch, encode_batch
from seesaw.registry import INTERPOLATIONS
from seesaw.results import Score, write_scores
from seesaw.seeds import seed_for, uniform_per_image
from seesaw.shards import Shards, require_same_ids

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

EXAMPLES = 8


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One setting of iFID: how to interpolate, how far, among how many neighbours of how many."""

    interpolation: str
    alpha: float
    k: int
    references: int | str

    @property
    def name(self) -> str:
        """Its name in the scores, such as ``"slerp alpha=0.5 k=10 n=all"``."""
        return f"{self.interpolation} alpha={self.alpha:g} k={self.k} n={self.references}"

    @property
    def distance(self) -> str:
        """The neighbours' distance: squared L2 for linear, cosine for slerp and mask."""
        return "l2" if self.interpolation == "linear" else "cosine"

    @property
    def draw(self) -> tuple[str, int, str]:
        """What decides which neighbour is drawn."""
        return self.distance, self.k, str(self.references)


def linear(z: Tensor, neighbour: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) z + alpha neighbour."""
    return (1 - alpha) * z + alpha * neighbour


def slerp(z: Tensor, neighbour: Tensor, alpha: float) -> Tensor:
    """Spherical interpolation of the flattened latents; norms are mixed by the same weights.

    Weights sin((1 - a) t) / sin t and sin(a t) / sin t with t the angle between the two; the linear
    mix where sin t < 1e-6.
    """
    flat_z, flat_neighbour = z.flatten(1), neighbour.flatten(1)
    unit_z = flat_z / (flat_z.norm(dim=1, keepdim=True) + 1e-7)
    unit_neighbour = flat_neighbour / (flat_neighbour.norm(dim=1, keepdim=True) + 1e-7)
    angle = torch.acos((unit_z * unit_neighbour).sum(1, keepdim=True).clamp(-1, 1))
    sine = torch.sin(angle)
    weight_z = torch.sin((1 - alpha) * angle) / (sine + 1e-7)
    weight_neighbour = torch.sin(alpha * angle) / (sine + 1e-7)
    mixed = torch.where(
        sine < 1e-6,
        linear(flat_z, flat_neighbour, alpha),
        weight_z * flat_z + weight_neighbour * flat_neighbour,
    )
    return mixed.reshape(z.shape)


def mask(z: Tensor, neighbour: Tensor, alpha: float) -> Tensor:
    """Replace the first share ``alpha`` of the rows (grid) or tokens by the neighbour's.

    The paper calls it a random mask; the official code replaces the top half, which alpha = 0.5 is.
    """
    axis = 2 if z.ndim == 4 else 1
    count = int(alpha * z.shape[axis])
    mixed = z.clone()
    mixed.narrow(axis, 0, count).copy_(neighbour.narrow(axis, 0, count))
    return mixed


def interpolate(name: str, z: Tensor, neighbour: Tensor, alpha: float) -> Tensor:
    """Interpolate latents ``(N, *latent_shape)``; ``alpha = 0`` returns ``z`` itself."""
    return z if alpha == 0 else INTERPOLATIONS.load(name)(z, neighbour, alpha)


def neighbour_weights(msd: np.ndarray) -> np.ndarray:
    """Softmax over K candidates of minus their mean squared difference, ``(N, K)``."""
    weights = np.exp(msd.min(1, keepdims=True) - msd)
    return weights / weights.sum(1, keepdims=True)


def draw_neighbours(
    neighbours: "pd.DataFrame", ids: Sequence[str], draw: tuple[str, int, str], seed: int
) -> list[str]:
    """One neighbour per image: softmax over its K of minus the mean squared difference.

    Temperature 1; the mean is over latent dimensions in raw latent units. The number behind the
    draw depends on (seed, image id) only.

    Args:
        neighbours: table of the stage ``neighbours``.
        ids: evaluation images.
        draw: (distance, k, references).
        seed: the config's seed.

    Returns:
        Ids of reference images.

    Raises:
        ValueError: the table lacks this distance, size, or as many as ``k`` neighbours.
    """
    distance, k, references = draw
    table = neighbours[
        (neighbours["distance"] == distance)
        & (neighbours["references"] == references)
        & (neighbours["rank"] < k)
    ].sort_values(["query", "rank"])
    if len(table) != k * len(ids):
        raise ValueError(
            f"iFID needs {k} {distance} neighbours among {references} references for each of "
            f"{len(ids)} images, the neighbour table has {len(table)} rows for them; list the "
            "distance, the size and at least this k in the config block 'neighbours'"
        )
    rows = {image_id: row for row, image_id in enumerate(table["query"].iloc[::k])}
    order = [rows[image_id] for image_id in ids]
    msd = table["msd"].to_numpy().reshape(-1, k)[order]
    names = table["neighbour"].to_numpy(object).reshape(-1, k)[order]
    cumulative = np.cumsum(neighbour_weights(msd), axis=1)
    number = uniform_per_image(seed=seed, purpose="neighbour", ids=ids)
    chosen = np.minimum((number[:, None] >= cumulative).sum(1), k - 1)
    return list(names[np.arange(len(ids)), chosen])


def score_ifid(
    *,
    autoencoder: str,
    family: str,
    config: Mapping[str, Any],
    weights: str | Path | None,
    images: str | Path,
    reconstructions: str | Path,
    references: str | Path,
    neighbours: str | Path,
    network: str,
    network_weights: str | Path | None,
    features: str | Path,
    default: Variant,
    variants: Sequence[Variant],
    output_scores: str | Path,
    output_examples: str | Path,
    decode_batch_size: int,
    feature_batch_size: int,
    posterior: str,
    protocol: Mapping[str, Any],
    version: str,
    seed: int,
    device: str,
    provenance: Mapping[str, Any],
) -> None:
    """IFID of one autoencoder for a default setting and its variants.

    Images pass the decoder in the batches of the stage ``reconstruct`` and the feature network in
    those of ``conditions``, so that alpha = 0 repeats rFID to the last digit.

    Args:
        autoencoder: its name.
        family: autoencoder family or ``"module:Class"``.
        config: its keyword arguments.
        weights: its weights file, if it has one.
        images: manifest of the packed evaluation split.
        reconstructions: manifest with the evaluation latents.
        references: manifest of the packed reference split.
        neighbours: table of the stage ``neighbours``.
        network: the feature network that plays Inception.
        network_weights: its weights file, if it has one.
        features: manifest of that network's features of the evaluation images.
        default: the setting that the plain name ``ifid`` stands for.
        variants: further settings.
        output_scores: JSON of scores.
        output_examples: a few images with their neighbour, interpolation and reconstruction.
        decode_batch_size: as in ``reconstruct``.
        feature_batch_size: as in ``conditions``.
        posterior: ``"mean"`` or ``"sample"``.
        protocol: the named choices to record.
        version: of this stage's code, to record.
        seed: the config's seed.
        device: torch device.
        provenance: what to record beside the scores.
    """
    import pandas as pd

    source, pool, reference = Shards(reconstructions), Shards(references), Shards(features)
    require_same_ids(source, reference)
    table = pd.read_parquet(neighbours)
    model = load_autoencoder(family, weights, config, device=device)
    extractor = load_network(network, network_weights, device)
    target = statistics(reference.load("features"))
    settings = list(dict.fromkeys([default, *variants]))
    values: dict[Variant, float] = {}
    draws = {draw: [v for v in settings if v.draw == draw] for draw in {v.draw for v in settings}}
    with torch.inference_mode():
        for draw, members in sorted(draws.items()):
            chosen = dict(zip(source.ids, draw_neighbours(table, source.ids, draw, seed)))
            collected: dict[Variant, list[np.ndarray]] = {v: [] for v in members}
            for index in progress(
                range(len(source.shards)),
                total=len(source.shards),
                what=f"iFID {autoencoder} {draw}",
                unit="shard",
            ):
                decoded: dict[Variant, list[np.ndarray]] = {v: [] for v in members}
                for z, other, ids in _pairs(
                    model, source, pool, index, chosen, decode_batch_size, posterior, seed, device
                ):
                    for variant in members:
                        mixed = interpolate(variant.interpolation, z, other, variant.alpha)
                        pixels, _ = decode_batch(model, mixed, ids, f"iFID {variant.name}")
                        decoded[variant].append(pixels)
                for variant, parts in decoded.items():
                    pixels = np.concatenate(parts)
                    for start in range(0, len(pixels), feature_batch_size):
                        batch = pixels[start : start + feature_batch_size]
                        collected[variant].append(extractor.extract(batch)["features"])
            for variant, parts in collected.items():
                values[variant] = frechet_distance(target, statistics(np.concatenate(parts)))
                logger.info("iFID %s: %.4f", variant.name, values[variant])
        _write_examples(
            output_examples,
            model,
            Shards(images),
            source,
            pool,
            table,
            default,
            posterior,
            seed,
            device,
        )
    note = bias_note(target.n, target.mean.size)

    def score(variant: Variant, name: str) -> Score:
        return Score(
            metric="ifid",
            variant=name,
            value=values[variant],
            n=target.n,
            unit="1",
            higher_is_better=False,
            metric_version=version,
            network=network,
            protocol={**protocol, "ifid": variant.name, "distance": variant.distance},
            note=note,
        )

    scores = [score(default, ""), *(score(variant, variant.name) for variant in settings)]
    write_scores(output_scores, autoencoder=autoencoder, scores=scores, provenance=provenance)


def _pairs(
    model: nn.Module,
    source: Shards,
    pool: Shards,
    shard: int,
    chosen: Mapping[str, str],
    batch_size: int,
    posterior: str,
    seed: int,
    device: str,
) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
    """Latents of one shard and of their drawn neighbours, which are encoded again."""
    for batch in source.batches(["latents"], batch_size, shards=[shard]):
        names = [chosen[image_id] for image_id in batch.ids]
        images = pool.take(names, ["images"])["images"]
        other = encode_batch(model, images, names, posterior=posterior, seed=seed, device=device)
        yield torch.from_numpy(batch["latents"]).to(device), other, batch.ids


def _write_examples(
    output: str | Path,
    model: nn.Module,
    originals: Shards,
    source: Shards,
    pool: Shards,
    table: "pd.DataFrame",
    default: Variant,
    posterior: str,
    seed: int,
    device: str,
) -> None:
    """The same few images for every autoencoder: image, neighbour, interpolation, reconstruction.

    Fields, uint8 ``(8, 3, R, R)``: ``images``, ``neighbour_images`` (of the reference split),
    ``neighbours`` (its latents decoded), ``interpolations`` and ``reconstructions``.
    """
    ids = sorted(source.ids, key=lambda image_id: seed_for(seed, "example", image_id))[:EXAMPLES]
    names = dict(zip(source.ids, draw_neighbours(table, source.ids, default.draw, seed)))
    batch = source.take(ids, ["latents", "images"])
    neighbours = [names[image_id] for image_id in ids]
    neighbour_images = pool.take(neighbours, ["images"])["images"]
    z = torch.from_numpy(batch["latents"]).to(device)
    other = encode_batch(
        model, neighbour_images, neighbours, posterior=posterior, seed=seed, device=device
    )
    mixed = interpolate(default.interpolation, z, other, default.alpha)
    write_tensors(
        output,
        {
            "images": originals.take(ids, ["images"])["images"],
            "reconstructions": batch["images"],
            "neighbour_images": neighbour_images,
            "neighbours": decode_batch(model, other, neighbours)[0],
            "interpolations": decode_batch(model, mixed, ids)[0],
        },
        {"ids": json.dumps(ids), "neighbours": json.dumps(neighbours), "variant": default.name},
    )
