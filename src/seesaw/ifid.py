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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seesaw.autoencoders.base import load_autoencoder
from seesaw.batching import Batched, fitted_sizes
from seesaw.files import write_tensors
from seesaw.metrics.frechet import Moments, bias_note, frechet_distance, statistics_of
from seesaw.networks import load_network
from seesaw.progress import progress
from seesaw.readings import named
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
    count = int(alpha * z.shape[axis] + 1e-9)
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
    reference: str,
    version: str,
    seed: int,
    device: str,
    provenance: Mapping[str, Any],
    quantisation: str = "uint8-round",
) -> None:
    """IFID of one autoencoder for a default setting and its variants.

    Images pass the decoder in the batches of the stage ``reconstruct`` and the feature network in
    those of ``conditions``, so that alpha = 0 repeats rFID to the last digit. Where a batch did not
    fit into memory and was halved, here or there, it repeats it up to the rounding of floats; the
    provenance then says so (``fitted_batch_size``).

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
        reference: name of the reference split, to record.
        version: of this stage's code, to record.
        seed: the config's seed.
        device: torch device.
        provenance: what to record beside the scores.
        quantisation: of decoded images, as in ``reconstruct``.
    """
    import pandas as pd

    target = statistics_of(Shards(features))
    model = load_autoencoder(family, weights, config, device=device)
    options = {"posterior": posterior, "seed": seed, "device": device}
    world = Latents(
        encode=Batched(partial(encode_batch, model, **options), "encoding"),
        decode=Batched(partial(decode_batch, model, quantisation=quantisation), "decoding"),
        extract=Batched(load_network(network, network_weights, device).extract, network),
        source=Shards(reconstructions),
        pool=Shards(references),
        table=pd.read_parquet(neighbours),
        seed=seed,
        device=device,
    )
    require_same_ids(world.source, Shards(features))
    settings = list(dict.fromkeys([default, *variants]))
    values: dict[Variant, float] = {}
    with torch.inference_mode():
        for draw in sorted({variant.draw for variant in settings}):
            members = [variant for variant in settings if variant.draw == draw]
            moments = world.moments(members, decode_batch_size, feature_batch_size)
            for variant in members:
                values[variant] = frechet_distance(target, moments[variant].statistics())
                logger.info("iFID %s %s: %.4f", autoencoder, variant.name, values[variant])
        world.write_examples(output_examples, Shards(images), default)
    protocol = {**protocol, "reference": reference, "reference_images": len(world.pool)}
    note = bias_note(target.n, len(target.mean))
    scores = [
        Score(
            **named("ifid"),
            variant=name,
            value=values[variant],
            n=target.n,
            metric_version=version,
            network=network,
            protocol={**protocol, "ifid": variant.name, "distance": variant.distance},
            note=note,
        )
        for variant, name in [(default, ""), *((v, v.name) for v in settings)]
    ]
    fitted = fitted_sizes(world.encode, world.decode, world.extract)
    write_scores(
        output_scores,
        autoencoder=autoencoder,
        scores=scores,
        provenance={**provenance, **fitted},
    )


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Evaluation latents of one autoencoder, and what it takes to interpolate them.

    Attributes:
        encode: uint8 images and their ids to latents, see :func:`encode_batch`.
        decode: latents and their ids to uint8 images, see :func:`decode_batch`.
        extract: uint8 images to what the feature network finds in them.
        source: shards with the fields ``latents`` and ``images`` (reconstructions).
        pool: the packed reference split.
        table: neighbours of every evaluation latent.
        seed: of the draw.
        device: torch device.
    """

    encode: Batched
    decode: Batched
    extract: Batched
    source: Shards
    pool: Shards
    table: "pd.DataFrame"
    seed: int
    device: str

    def moments(
        self,
        members: Sequence[Variant],
        decode_batch_size: int,
        feature_batch_size: int,
    ) -> dict[Variant, Moments]:
        """Feature moments of the interpolations, for variants that share one draw.

        Batches end with each shard, as in the stages ``reconstruct`` and ``conditions``.
        """
        names = draw_neighbours(self.table, self.source.ids, members[0].draw, self.seed)
        chosen = dict(zip(self.source.ids, names, strict=True))
        sums: dict[Variant, Moments] = {}
        shards = progress(
            range(len(self.source.shards)),
            total=len(self.source.shards),
            what=f"interpolating with {members[0].draw}",
            unit="shard",
        )

        def add(variant: Variant, pixels: np.ndarray) -> None:
            found = self.extract(pixels)["features"]
            sums.setdefault(variant, Moments(found.shape[1])).add(found)

        for shard in shards:
            waiting: dict[Variant, np.ndarray] = {}
            for z, other, ids in self.pairs(shard, chosen, decode_batch_size):
                for variant in members:
                    mixed = interpolate(variant.interpolation, z, other, variant.alpha)
                    pixels, _ = self.decode(mixed, ids, what=f"iFID {variant.name}")
                    if variant in waiting:
                        pixels = np.concatenate([waiting[variant], pixels])
                    while len(pixels) >= feature_batch_size:
                        add(variant, pixels[:feature_batch_size])
                        pixels = pixels[feature_batch_size:]
                    waiting[variant] = pixels
            for variant, pixels in waiting.items():
                if len(pixels):
                    add(variant, pixels)
        return sums

    def pairs(
        self, shard: int, chosen: Mapping[str, str], batch_size: int
    ) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
        """Latents of one shard and of their drawn neighbours, and the ids of the former."""
        for batch in self.source.batches(["latents"], batch_size, shards=[shard]):
            other = self.of_references([chosen[image_id] for image_id in batch.ids])
            yield torch.from_numpy(batch["latents"]).to(self.device), other, batch.ids

    def of_references(self, names: list[str]) -> Tensor:
        """Latents of reference images, encoded again: they are not kept by the search."""
        return self.encode(self.pool.take(names, ["images"])["images"], names)

    def write_examples(self, output: str | Path, originals: Shards, default: Variant) -> None:
        """The same few images for every autoencoder, with what iFID makes of them.

        Fields, uint8 ``(8, 3, R, R)``: ``images``, ``neighbour_images`` (of the reference split),
        ``neighbours`` (its latents decoded), ``interpolations`` and ``reconstructions``.
        """
        order = sorted(self.source.ids, key=lambda i: seed_for(self.seed, "example", i))
        ids = order[:EXAMPLES]
        drawn = draw_neighbours(self.table, self.source.ids, default.draw, self.seed)
        chosen = dict(zip(self.source.ids, drawn, strict=True))
        names = [chosen[image_id] for image_id in ids]
        batch = self.source.take(ids, ["latents", "images"])
        z, other = torch.from_numpy(batch["latents"]).to(self.device), self.of_references(names)
        mixed = interpolate(default.interpolation, z, other, default.alpha)
        write_tensors(
            output,
            {
                "images": originals.take(ids, ["images"])["images"],
                "reconstructions": batch["images"],
                "neighbour_images": self.pool.take(names, ["images"])["images"],
                "neighbours": self.decode(other, names)[0],
                "interpolations": self.decode(mixed, ids)[0],
            },
            {"ids": json.dumps(ids)},
        )
