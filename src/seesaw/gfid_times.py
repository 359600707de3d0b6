"""Stage ``gfid_times``: gFID(t) and the diffusion loss of one SiT.

gFID(t) (eq. 7 of "Making rFID predictive of gFID") noises the evaluation images' latents to time t
and denoises them from there: at t = 0 it is rFID, at t = 1 it is gFID against the evaluation
images. Labels and noise of an image are the same for every t.
"""

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seesaw.autoencoders.base import load_autoencoder
from seesaw.batching import Batched, fitted_sizes
from seesaw.diffusion.sample import labels_for, sample_latents
from seesaw.diffusion.samplers import Sampler
from seesaw.diffusion.sit import SiT
from seesaw.diffusion.train import load_sit, velocity_loss
from seesaw.files import digest_of, sha256_of, write_tensors
from seesaw.metrics.frechet import bias_note, frechet_distance, statistics_of
from seesaw.networks import load_network
from seesaw.progress import progress
from seesaw.readings import named
from seesaw.reconstruct import decode_batch
from seesaw.results import Score, write_scores
from seesaw.seeds import generator_for, normal_per_image, seed_for
from seesaw.shards import Shards, ShardWriter, require_same_ids

LOSS_DRAWS = 4
"""Times and noises per image of the diffusion loss."""
EXAMPLES = 8
"""Images that are kept as they look when denoised from each t."""

logger = logging.getLogger(__name__)


def score_gfid_times(
    *,
    autoencoder: str,
    model_name: str,
    checkpoint: str | Path,
    family: str,
    config: Mapping[str, Any],
    weights: str | Path | None,
    images: str | Path,
    reconstructions: str | Path,
    index: str | Path,
    network: str,
    network_weights: str | Path | None,
    features: str | Path,
    times: Sequence[float],
    sampler: Sampler,
    output: str | Path,
    output_examples: str | Path,
    decode_batch_size: int,
    feature_batch_size: int,
    protocol: Mapping[str, Any],
    version: str,
    seed: int,
    device: str,
    provenance: Mapping[str, Any],
    quantisation: str = "uint8-round",
) -> None:
    """gFID(t) for t < 1, and the diffusion loss, of one SiT.

    Images pass the decoder in the batches of the stage ``reconstruct`` and the feature network in
    those of ``conditions``, so that t = 0 repeats rFID to the last digit. Where a batch did not fit
    into memory and was halved, here or there, it repeats it up to the rounding of floats; the
    provenance then says so (``fitted_batch_size``).

    While it runs, features are kept in a folder beside ``output`` (:func:`unfinished_of`), and a
    run that was killed goes on after the last whole shard. The folder is removed at the end.

    Args:
        autoencoder: its name.
        model_name: the SiT's, such as ``"SiT-B"``.
        checkpoint: its state.
        family: autoencoder family or ``"module:Class"``.
        config: its keyword arguments.
        weights: its weights file, if it has one.
        images: manifest of the packed evaluation split.
        reconstructions: manifest with the evaluation latents.
        index: index of the evaluation split (labels).
        network: the feature network.
        network_weights: its weights file, if it has one.
        features: manifest of that network's features of the evaluation images.
        times: where to start, in [0, 1), in the model's own time (after the shift).
        sampler: as for the samples.
        output: JSON of scores.
        output_examples: a few images, denoised from every t and sampled at t = 1.
        decode_batch_size: as in ``reconstruct``.
        feature_batch_size: as in ``conditions``.
        protocol: the named choices to record.
        version: of this stage's code, to record.
        seed: of the noise.
        device: torch device.
        provenance: what to record beside the scores.
        quantisation: of decoded images, as in ``reconstruct``.

    Raises:
        ValueError: a time outside [0, 1), or different images.
    """
    if not all(0 <= t < 1 for t in times):
        raise ValueError(f"gFID(t) here takes t in [0, 1), got {list(times)}; t = 1 is gFID itself")
    model = load_sit(checkpoint, device)
    source, real = Shards(reconstructions), Shards(features)
    require_same_ids(source, real)
    target = statistics_of(real)
    autoencoder_model = load_autoencoder(family, weights, config, device=device)
    denoiser = Denoiser(
        model=model,
        decode=Batched(
            partial(decode_batch, autoencoder_model, quantisation=quantisation), "decoding"
        ),
        extract=Batched(load_network(network, network_weights, device).extract, network),
        labels=dict(zip(source.ids, labels_for(model, index).tolist(), strict=True)),
        sampler=sampler,
        seed=seed,
        device=device,
    )
    files = [path and sha256_of(path) for path in (checkpoint, weights, network_weights, index)]
    depends = [version, network, family, dict(config), files, sha256_of(reconstructions), seed]
    depends += [{**vars(sampler), "interval": list(sampler.interval)}, quantisation]
    common = {"n": target.n, "metric_version": version}
    sampling = f"{sampler.mode} {sampler.steps} steps"
    scores = []
    for t in times:
        kept = unfinished_of(output) / f"{t:g}" / "manifest.json"
        denoiser.write_features(
            kept, source, t, decode_batch_size, feature_batch_size, resume=digest_of([depends, t])
        )
        value = frechet_distance(target, statistics_of(Shards(kept)))
        logger.info("gFID(%g) %s %s: %.4f", t, autoencoder, model_name, value)
        scores.append(
            Score(
                **named("gfid-t"),
                variant=f"{model_name} t={t:g}",
                value=value,
                network=network,
                protocol={**protocol, "t": t, "sampler": sampling, "samples": model_name},
                note=bias_note(target.n, len(target.mean)),
                **common,
            )
        )
    for shifted, variant in ((True, ""), (False, " unshifted")):
        value = denoiser.loss(source, decode_batch_size, shifted=shifted)
        scores.append(
            Score(
                **named("diffusion-loss"),
                variant=f"{model_name}{variant}",
                value=value,
                protocol={**protocol, "samples": model_name, "draws": LOSS_DRAWS},
                note="velocity MSE of the averaged model on normalised evaluation latents, times "
                + ("shifted as in training" if shifted else "uniform"),
                **common,
            )
        )
    denoiser.write_examples(output_examples, source, Shards(images), times)
    fitted = fitted_sizes(denoiser.denoise, denoiser.decode, denoiser.extract)
    write_scores(
        output, autoencoder=autoencoder, scores=scores, provenance={**provenance, **fitted}
    )
    shutil.rmtree(unfinished_of(output), ignore_errors=True)


def unfinished_of(output: str | Path) -> Path:
    """Where a run keeps the features of what it denoised."""
    return Path(output).with_name(f"{Path(output).stem}.unfinished")


class Denoiser:
    """A SiT with what is around it: noises and denoises evaluation latents, decodes, measures.

    Args:
        model: a trained SiT, on its device.
        decode: latents and their ids to uint8 images, see :func:`decode_batch`.
        extract: uint8 images to what the feature network finds in them.
        labels: label of every image by its id.
        sampler: how to denoise.
        seed: of the noise.
        device: torch device.
    """

    def __init__(
        self,
        *,
        model: SiT,
        decode: Callable[..., Any],
        extract: Callable[..., Any],
        labels: Mapping[str, int],
        sampler: Sampler,
        seed: int,
        device: str,
    ) -> None:
        self.model, self.decode, self.extract = model, decode, extract
        self.labels, self.seed, self.device = labels, seed, device

        def denoise(latents: torch.Tensor, ids: Sequence[str], *, start: float) -> torch.Tensor:
            y = self._labels(ids)
            return sample_latents(model, y, ids, sampler, seed=seed, latents=latents, start=start)

        self.denoise = Batched(denoise, "denoising")

    def _labels(self, ids: Sequence[str]) -> torch.Tensor:
        return torch.tensor([self.labels[image_id] for image_id in ids], device=self.device)

    @torch.inference_mode()
    def write_features(
        self,
        manifest: Path,
        source: Shards,
        t: float,
        decode_batch_size: int,
        feature_batch_size: int,
        *,
        resume: str,
    ) -> None:
        """Features of all images, noised to ``t`` and denoised, shard by shard as in ``source``.

        Nothing is done where ``manifest`` is whole and of the same ``resume``. Batches end with
        each shard, as in the stages ``reconstruct`` and ``conditions``.
        """
        if manifest.is_file() and Shards(manifest).meta["resume"] == resume:
            return
        size = max(shard["n"] for shard in source.shards)
        with ShardWriter(manifest, shard_size=size, meta={"resume": resume}, resume=resume) as kept:
            todo = range(kept.done // size, len(source.shards))
            for shard in progress(todo, total=len(todo), what=f"gFID({t:g})", unit="shard"):
                ids, pixels = (
                    source.shard_ids(shard),
                    self._pixels(source, shard, t, decode_batch_size),
                )
                for start in range(0, len(ids), feature_batch_size):
                    part = slice(start, start + feature_batch_size)
                    found = self.extract(pixels[part])["features"]
                    kept.add(ids[part], {"features": found})

    def _pixels(self, source: Shards, shard: int, t: float, batch_size: int) -> np.ndarray:
        decoded = []
        for batch in source.batches(["latents"], batch_size, shards=[shard]):
            latents = torch.from_numpy(batch["latents"]).to(self.device)
            decoded.append(self.denoised(latents, batch.ids, t))
        return np.concatenate(decoded)

    @torch.inference_mode()
    def denoised(self, latents: torch.Tensor, ids: Sequence[str], t: float) -> np.ndarray:
        """Images of raw latents ``(N, *latent_shape)`` noised to ``t`` and denoised, uint8.

        At t = 0 they are the reconstructions, at t = 1 the samples of the same labels and noise.
        """
        if t > 0:
            latents = self.denoise(latents, ids, start=t)
        return self.decode(latents, ids, what=f"image denoised from t = {t:g}")[0]

    def write_examples(
        self, output: str | Path, source: Shards, originals: Shards, times: Sequence[float]
    ) -> None:
        """The same few images for every autoencoder, denoised from every t, with t = 1 at the end.

        Fields, uint8: ``images`` ``(8, 3, R, R)`` and ``denoised`` ``(T, 8, 3, R, R)``; metadata
        ``ids`` and ``times`` as JSON lists.
        """
        order = sorted(source.ids, key=lambda i: seed_for(self.seed, "example", i))
        ids = order[:EXAMPLES]
        latents = torch.from_numpy(source.take(ids, ["latents"])["latents"]).to(self.device)
        shown = [*sorted(set(times)), 1.0]
        write_tensors(
            output,
            {
                "images": originals.take(ids, ["images"])["images"],
                "denoised": np.stack([self.denoised(latents, ids, t) for t in shown]),
            },
            {"ids": json.dumps(ids), "times": json.dumps(shown)},
        )

    @torch.inference_mode()
    def loss(self, source: Shards, batch_size: int, *, shifted: bool) -> float:
        """Diffusion loss: velocity MSE, mean over images and 4 (time, noise) draws each, float64.

        The draws of an image depend on (seed, id) only; they are the same for every autoencoder of
        the same latent shape.
        """
        measure = Batched(self._losses, "diffusion loss")
        found = [
            measure(torch.from_numpy(batch["latents"]), batch.ids, draw=draw, shifted=shifted)
            for batch in source.batches(["latents"], batch_size)
            for draw in range(LOSS_DRAWS)
        ]
        return float(np.concatenate(found).mean())

    def _losses(
        self, latents: torch.Tensor, ids: Sequence[str], *, draw: int, shifted: bool
    ) -> np.ndarray:
        shape, purpose = self.model.latent_shape, f"loss-noise-{draw}"
        noise = normal_per_image(shape, seed=self.seed, purpose=purpose, ids=ids)
        drawn = [generator_for(self.seed, "loss-t", i).random(LOSS_DRAWS)[draw] for i in ids]
        t = torch.tensor(drawn, dtype=torch.float32, device=self.device)
        t = self.model.shift_time(t) if shifted else t
        x = self.model.normalise(latents.to(self.device))
        noise = torch.from_numpy(noise).to(self.device)
        return velocity_loss(self.model, x, t, self._labels(ids), noise).double().cpu().numpy()
