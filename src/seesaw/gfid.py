"""Stage ``gfid``: generation FID (gFID), and gFID(t), which starts from noised latents.

gFID compares samples with a reference: a split's features, or the moments in a file such as ADM's
``VIRTUAL_imagenet256_labeled.npz``. gFID(t) (eq. 7 of "Making rFID predictive of gFID") noises the
evaluation images' latents to time t and denoises them from there: at t = 0 it is rFID, at t = 1 it
is gFID against the evaluation images. Labels and noise of an image are the same for every t.
"""

import json
import logging
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
from seesaw.files import write_tensors
from seesaw.metrics.frechet import (
    Moments,
    Statistics,
    bias_note,
    frechet_distance,
    statistics_of,
)
from seesaw.metrics.generation import inception_score, precision_recall
from seesaw.metrics.kid import squared_mmd
from seesaw.networks import head_of, load_network
from seesaw.progress import progress
from seesaw.reconstruct import decode_batch
from seesaw.results import Score, write_scores
from seesaw.seeds import generator_for, normal_per_image, seed_for
from seesaw.shards import Shards, require_same_ids

LOSS_DRAWS = 4
"""Times and noises per image of the diffusion loss."""
EXAMPLES = 8
"""Images that are kept as they look when denoised from each t."""
MANIFOLD = 10_000
"""Reference images of precision and recall at most, as in ADM's evaluator."""

logger = logging.getLogger(__name__)


def score_gfid(
    *,
    autoencoder: str,
    name: str,
    samples: str | Path,
    references: Mapping[str, str | Path],
    evaluation: str,
    network: str,
    network_weights: str | Path | None,
    plain: bool,
    output: str | Path,
    protocol: Mapping[str, Any],
    version: str,
    seed: int,
    provenance: Mapping[str, Any],
) -> None:
    """Scores of one set of samples: gFID, KID, Inception Score, precision, recall.

    Variants are called ``"<name> ref=<reference>"``. Precision, recall and KID are against the
    evaluation split. The Inception Score takes the samples in an order that the seed and their ids
    give: they are stored by class, and its splits must not be.

    Args:
        autoencoder: its name.
        name: model and sampler setting, such as ``"SiT-B plain"``.
        samples: manifest of the feature network's ``features`` of the samples.
        references: name -> manifest of features of a split, or ``.npz`` with ``mu`` and ``sigma``.
            The first is the one that the plain name stands for.
        evaluation: which of them is the evaluation split.
        network: the feature network.
        network_weights: its weights file, if it has one.
        plain: whether these samples are what the plain name ``gfid`` stands for.
        output: JSON of scores.
        protocol: the named choices to record.
        version: of this stage's code, to record.
        seed: chooses the reference images of precision and recall, and orders the samples.
        provenance: what to record beside the scores.

    Raises:
        ValueError: features of another length, or not finite.
    """
    generated = Shards(samples)
    found = statistics_of(generated)
    features = generated.load("features")
    head = head_of(load_network(network, network_weights, "cpu"))
    scores: list[Score] = []

    def add(metric: str, value: float | None, n: int, better: bool, note: str, ref: str) -> None:
        entry = Score(
            metric=metric,
            value=value,
            n=n,
            unit={"gkid": "1e-3", "precision": "share", "recall": "share"}.get(metric, "1"),
            higher_is_better=better,
            metric_version=version,
            network=network,
            protocol={**protocol, "reference": ref, "samples": name},
            note=note,
            variant=f"{name} ref={ref}",
        )
        scores.append(entry)
        if plain and not any(s.metric == metric and s.variant == "" for s in scores):
            scores.append(Score(**{**vars(entry), "variant": ""}))

    for reference, path in references.items():
        distance = frechet_distance(read_moments(path, len(found.mean)), found)
        logger.info("gFID %s %s against %s: %.4f", autoencoder, name, reference, distance)
        add("gfid", distance, found.n, False, bias_note(found.n, len(found.mean)), reference)
    score = inception_score(features[shuffled(generated.ids, seed, "inception-score")], head)
    add("inception-score", score.value, score.n, True, score.note, "none")
    real = Shards(references[evaluation])
    whole = real.load("features")
    add("gkid", 1000 * squared_mmd(whole, features), found.n, False, "unbiased", evaluation)
    chosen = np.sort(shuffled(real.ids, seed, "manifold")[:MANIFOLD])
    shares = precision_recall(whole[chosen], features)
    note = f"3 nearest neighbours, {len(chosen)} reference images"
    add("precision", shares.precision, found.n, True, note, evaluation)
    add("recall", shares.recall, found.n, True, note, evaluation)
    write_scores(output, autoencoder=autoencoder, scores=scores, provenance=provenance)


def shuffled(ids: Sequence[str], seed: int, purpose: str) -> np.ndarray:
    """Positions of ``ids`` in an order that depends on (seed, purpose, ids) only."""
    drawn = [seed_for(seed, purpose, image_id) for image_id in ids]
    return np.array(sorted(range(len(ids)), key=lambda row: (drawn[row], ids[row])), np.int64)


def read_moments(path: str | Path, d: int) -> Statistics:
    """Mean and covariance of a reference: a manifest of features, or a file of moments.

    Args:
        path: ``manifest.json`` with the field ``features``, or ``.npz`` with ``mu`` (d,) and
            ``sigma`` (d, d), as ADM and the iFID paper publish them.
        d: length of the features that it will be compared with.

    Raises:
        ValueError: the file lacks the moments, or they are of another length.
    """
    if Path(path).suffix != ".npz":
        return statistics_of(Shards(path))
    with np.load(path) as file:
        if not {"mu", "sigma"} <= set(file.files):
            raise ValueError(
                f"{path} has {', '.join(file.files)}; a reference needs the moments mu and sigma"
            )
        mean, covariance = file["mu"].astype(np.float64), file["sigma"].astype(np.float64)
    if mean.shape != (d,) or covariance.shape != (d, d):
        raise ValueError(
            f"{path} holds moments of shape {mean.shape} and {covariance.shape}, the samples' "
            f"features have length {d}; use the statistics of the same network"
        )
    return Statistics(n=0, mean=mean, covariance=covariance)


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
) -> None:
    """gFID(t) for t < 1, and the diffusion loss, of one SiT.

    Images pass the decoder in the batches of the stage ``reconstruct`` and the feature network in
    those of ``conditions``, so that t = 0 repeats rFID to the last digit. Where a batch did not fit
    into memory and was halved, here or there, it repeats it up to the rounding of floats; the
    provenance then says so (``fitted_batch_size``).

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
        decode=Batched(partial(decode_batch, autoencoder_model), "decoding"),
        extract=Batched(load_network(network, network_weights, device).extract, network),
        labels=dict(zip(source.ids, labels_for(model, index).tolist(), strict=True)),
        sampler=sampler,
        seed=seed,
        device=device,
    )
    common = {"n": target.n, "unit": "1", "higher_is_better": False, "metric_version": version}
    sampling = f"{sampler.mode} {sampler.steps} steps"
    scores = []
    for t in times:
        moments = denoiser.moments(source, t, decode_batch_size, feature_batch_size)
        value = frechet_distance(target, moments.statistics())
        logger.info("gFID(%g) %s %s: %.4f", t, autoencoder, model_name, value)
        scores.append(
            Score(
                metric="gfid-t",
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
                metric="diffusion-loss",
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
    def moments(
        self, source: Shards, t: float, decode_batch_size: int, feature_batch_size: int
    ) -> Moments:
        """Feature moments of all images, noised to ``t`` and denoised.

        Batches end with each shard, as in the stages ``reconstruct`` and ``conditions``.
        """
        total: Moments | None = None
        shards = range(len(source.shards))
        for shard in progress(shards, total=len(shards), what=f"gFID({t:g})", unit="shard"):
            decoded = []
            for batch in source.batches(["latents"], decode_batch_size, shards=[shard]):
                latents = torch.from_numpy(batch["latents"]).to(self.device)
                decoded.append(self.denoised(latents, batch.ids, t))
            pixels = np.concatenate(decoded)
            for start in range(0, len(pixels), feature_batch_size):
                found = self.extract(pixels[start : start + feature_batch_size])["features"]
                total = total or Moments(found.shape[1])
                total.add(found)
        assert total is not None
        return total

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
        sums = []
        shape = self.model.latent_shape
        for batch in source.batches(["latents"], batch_size):
            x = self.model.normalise(torch.from_numpy(batch["latents"]).to(self.device))
            y = self._labels(batch.ids)
            t = np.stack(
                [generator_for(self.seed, "loss-t", i).random(LOSS_DRAWS) for i in batch.ids]
            )
            for draw in range(LOSS_DRAWS):
                ids, purpose = batch.ids, f"loss-noise-{draw}"
                noise = normal_per_image(shape, seed=self.seed, purpose=purpose, ids=ids)
                at = torch.from_numpy(t[:, draw]).float().to(self.device)
                at = self.model.shift_time(at) if shifted else at
                loss = velocity_loss(self.model, x, at, y, torch.from_numpy(noise).to(self.device))
                sums.append(loss.double().cpu().numpy())
        return float(np.concatenate(sums).mean())
