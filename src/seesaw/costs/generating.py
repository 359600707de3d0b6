"""Costs of the rules that train diffusion models and control branches, and that draw samples."""

from collections.abc import Callable, Mapping
from typing import Any

from seesaw.config import controlled_of, samplers_of, segment_ends
from seesaw.costs.assumptions import rate
from seesaw.costs.flops import autoencoder_flops, latent_shape, sit_flops, sit_parameters, sit_shape
from seesaw.costs.study import Cost, Job, Study, control_images
from seesaw.costs.work import (
    control_training_hours,
    encoding_hours,
    sampling_hours,
    segment_steps,
    training_hours,
)
from seesaw.diffusion.sizes import PUBLISHED_DIMENSIONS, SIZES, time_shift_of
from seesaw.registry import BACKBONES

PUBLISHED_POINTS: Mapping[str, int] = {"lightningdit-xl/1": 250, "ditdh-xl": 50}
"""Points of the time grids that published backbones are sampled with."""


def _sit(job: Job, study: Study) -> tuple[float, int, int, int] | None:
    """Operations of a forward pass, width, depth and numbers per patch of a job's SiT."""
    shape = sit_shape(study.autoencoder(job.wildcards["autoencoder"]))
    model = job.wildcards["model"].partition("/")[0]
    if shape is None or model not in SIZES:
        return None
    width, depth = SIZES[model].width, SIZES[model].depth
    flops = sit_flops(width=width, depth=depth, tokens=shape[0], patch_channels=shape[1])
    return flops, width, depth, shape[1]


def _with_encoding(hours: float, job: Job, study: Study, used: float) -> float | None:
    """Hours of training, and of encoding the ``used`` images that its steps take."""
    entry, images = study.autoencoder(job.wildcards["autoencoder"]), study.images("train")
    if images is None:
        return None
    encoding = encoding_hours(entry, images=images, passes=used / images)
    return None if encoding is None else hours + encoding


def _evaluations(sampler: Mapping[str, Any]) -> float:
    """Network evaluations per sample; guidance doubles those inside its interval."""
    low, high = sampler.get("interval", (0.0, 1.0))
    guided = (high - low) if sampler.get("guidance", 1) > 1 else 0.0
    once = 2 * sampler["steps"] - 1 if sampler["mode"] == "heun" else sampler["steps"]
    return once * (1 + guided)


def _sample(
    job: Job, study: Study, count: int | None, evaluations: float, sampler: Mapping[str, Any]
) -> Cost:
    sit = _sit(job, study)
    flops = autoencoder_flops(study.autoencoder(job.wildcards["autoencoder"]))
    if sit is None or flops is None or count is None:
        return Cost()
    hours = sampling_hours(
        sit[0],
        images=count,
        evaluations=evaluations,
        decode=flops[1],
        precision=sampler.get("precision", "fp32"),
    )
    return Cost(hours, float(count * study.image_bytes))


def _train_diffusion(job: Job, study: Study) -> Cost:
    sit = _sit(job, study)
    if sit is None:
        return Cost()
    forward, width, depth, patch_channels = sit
    steps = segment_steps(int(job.wildcards["step"]), segment_ends(study.config["diffusion"]))
    batch = study.option("diffusion.train.batch_size", 128)
    parameters = sit_parameters(width=width, depth=depth, patch_channels=patch_channels)
    return Cost(
        _with_encoding(
            training_hours(forward, steps=steps, batch_size=batch), job, study, steps * batch
        ),
        parameters * rate("checkpoint"),
    )


def _sample_images(job: Job, study: Study) -> Cost:
    samplers = {sampler["name"]: sampler for sampler in samplers_of(study.config)}
    sampler = samplers[job.wildcards["sampler"]]
    return _sample(job, study, study.evaluation, _evaluations(sampler), sampler)


def _score_gfid_times(job: Job, study: Study) -> Cost:
    """Denoising from each time takes the steps of the shifted grid below it; scores are kept."""
    times, count = study.option("gfid.times", []), study.evaluation
    shape = latent_shape(study.autoencoder(job.wildcards["autoencoder"]))
    if shape is None:
        return Cost()
    dimensions = study.option("diffusion.time_shift_dimensions", PUBLISHED_DIMENSIONS)
    shift = time_shift_of(shape, dimensions)
    share = sum(t / (shift - (shift - 1) * t) for t in times)
    sampler = samplers_of(study.config)[0]
    drawn = _sample(job, study, count, _evaluations(sampler) * share, sampler)
    if drawn.hours is None or count is None:
        return Cost()
    return Cost(drawn.hours + len(times) * count / rate("features") / 3600)


def _controlled(job: Job, study: Study) -> tuple[float, float] | None:
    """Operations of a forward pass and parameters of the model that a branch controls.

    A published backbone counts as a SiT of its width and depth, and of its wide head, if it has
    one.
    """
    name = job.wildcards["autoencoder"]
    shape, backbone = sit_shape(study.autoencoder(name)), dict(controlled_of(study.config))[name]
    if shape is None:
        return None
    tokens, patch_channels = shape
    if backbone is None:
        size = SIZES.get(study.option("control.model", ""))
        sizes = [size and (size.width, size.depth)]
    else:
        options = {**BACKBONES[backbone["name"]].config, **backbone.get("config", {})}
        sizes = [(options["width"], options["depth"])]
        if "head_width" in options:
            sizes.append((options["head_width"], options["head_depth"]))
    if None in sizes:
        return None
    known = [{"width": w, "depth": d, "patch_channels": patch_channels} for w, d in sizes]
    return (
        sum(sit_flops(tokens=tokens, **size) for size in known),
        sum(sit_parameters(**size) for size in known),
    )


def _control_evaluations(backbone: Mapping[str, Any] | None, study: Study) -> float:
    """Network evaluations per sample: a published grid has one Euler step fewer than points."""
    if backbone is not None:
        return backbone.get("points", PUBLISHED_POINTS[backbone["name"]]) - 1
    return _evaluations(study.config["control"]["sampler"])


def _train_control(job: Job, study: Study) -> Cost:
    model = _controlled(job, study)
    if model is None:
        return Cost()
    forward, parameters = model
    steps = study.option("control.train.steps", 0)
    batch = study.option("control.train.batch_size", 32)
    hours = control_training_hours(forward, steps=steps, batch_size=batch)
    return Cost(
        _with_encoding(hours, job, study, steps * batch),
        4.0 * parameters * rate("control-share"),
    )


def _sample_control(job: Job, study: Study) -> Cost:
    model = _controlled(job, study)
    entry = study.autoencoder(job.wildcards["autoencoder"])
    flops, count = autoencoder_flops(entry), control_images(study)
    if model is None or flops is None or count is None:
        return Cost()
    hours = sampling_hours(
        model[0] * (1 + rate("control-share")),
        images=count,
        evaluations=_control_evaluations(dict(controlled_of(study.config))[entry["name"]], study),
        decode=flops[1],
    )
    return Cost(hours, float(count * study.image_bytes))


GENERATING: Mapping[str, Callable[[Job, Study], Cost]] = {
    "train_diffusion": _train_diffusion,
    "sample_images": _sample_images,
    "score_gfid_times": _score_gfid_times,
    "train_control": _train_control,
    "sample_control": _sample_control,
}
