"""What a job of the plan costs: GPU-hours and bytes kept, from shapes, sizes and image counts.

These are estimates. Operations are counted from the architectures (two per multiply-add) and
divided by the sustained rates of :data:`ASSUMPTIONS`, the one place where a rate stands. A rule
without an entry in :data:`COSTS` is "not estimated", and so is a job whose sizes are not known.
Torch-free.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from seesaw.assets import assets_of, weights_folder
from seesaw.config import controlled_of, ifid_variants, samplers_of, segment_ends
from seesaw.diffusion.sizes import PUBLISHED_DIMENSIONS, SIZES, time_shift_of
from seesaw.entries import architecture_known
from seesaw.protocols.study import protocols_for
from seesaw.registry import BACKBONES, METRICS, NETWORKS, unknown

DEVICE = "H100"


@dataclass(frozen=True)
class Assumption:
    """A number that the estimate rests on."""

    value: float
    unit: str
    source: str


ASSUMPTIONS: Mapping[str, Assumption] = {
    "training": Assumption(
        151e12,
        "operations/s",
        "bf16 training of diffusion transformers; what 67 H100-hours for 400,000 steps of SiT-XL/2 "
        "at batch 128 come to; encoding its images comes on top",
    ),
    "encoding": Assumption(
        100e12, "operations/s", "assumed: TF32 (495e12 peak), encoding images while training"
    ),
    "latents-kept": Assumption(
        2 * 1024**3, "bytes", "more latents than that are encoded again in every step"
    ),
    "sampling": Assumption(
        30e12, "operations/s", "assumed: float32 without TF32 (67e12 peak), as official samplers"
    ),
    "autoencoder": Assumption(
        30e12, "operations/s", "assumed: float32 without TF32 (67e12 peak), as the jobs set it"
    ),
    "search": Assumption(40e12, "operations/s", "assumed: float32 matrix products"),
    "features": Assumption(1500, "images/s", "assumed: Inception, CLIP, DINO and the like"),
    "map": Assumption(150, "images/s", "assumed: dense depth networks"),
    "labels": Assumption(100, "images/s", "assumed: dense segmentation networks"),
    "faces": Assumption(150, "images/s", "assumed: face detection and embedding"),
    "perceptual": Assumption(1500, "pairs/s", "assumed: LPIPS with AlexNet"),
    "dpt_hybrid_midas-384": Assumption(65, "images/s", "assumed: as map, on 2.25 times the pixels"),
    "lpips-vgg": Assumption(
        350, "pairs/s", "assumed: LPIPS with VGG16, 80e9 operations a pair of 256 px, float32"
    ),
    "probe": Assumption(2000, "images/s", "assumed: training of a latent-to-condition network"),
    "checkpoint": Assumption(
        16, "bytes/parameter", "assumed: float32 weights, their average and two Adam moments"
    ),
    "control-share": Assumption(
        0.5, "of the backbone", "assumed: the control branch copies half of the blocks"
    ),
    "folder-train": Assumption(1_281_167, "images", "ImageNet-1k train, until it is packed"),
    "folder-val": Assumption(50_000, "images", "ImageNet-1k val, until it is packed"),
}

PUBLISHED_POINTS: Mapping[str, int] = {"lightningdit-xl/1": 250, "ditdh-xl": 50}
"""Points of the time grids that published backbones are sampled with."""

CLASSES = 1001  # ImageNet's and the empty label


@dataclass(frozen=True)
class Cost:
    """Of one job. None: not estimated.

    Attributes:
        hours: on one GPU of the kind :data:`DEVICE`.
        kept: bytes that stay in the results folder, or, of weights, in theirs.
    """

    hours: float | None = None
    kept: float | None = None


@dataclass(frozen=True)
class Job:
    """One job of a plan."""

    rule: str
    wildcards: Mapping[str, str] = field(default_factory=dict)
    gpu: int = 0
    mem_mb: int = 0
    runtime: int = 0


@dataclass(frozen=True)
class Study:
    """What the estimate knows: the config with its pool resolved, and the jobs of the plan."""

    config: Mapping[str, Any]
    jobs: Sequence[Job] = ()

    def option(self, path: str, default: Any) -> Any:
        """A key of the config by its dotted path, or ``default``."""
        node: Any = self.config
        for key in path.split("."):
            if not isinstance(node, Mapping) or key not in node:
                return default
            node = node[key]
        return node

    def autoencoder(self, name: str) -> Mapping[str, Any]:
        """Entry of the pool."""
        pool = {entry["name"]: entry for entry in self.config["autoencoders"]}
        if name not in pool:
            raise unknown("autoencoder", name, pool)
        return pool[name]

    def images(self, split: str) -> int | None:
        """Images of a split: as packed, as the config says, or ImageNet's for train and val."""
        results = self.option("pathvars.results", "results")
        manifest = Path(results) / "data" / split / "manifest.json"
        if manifest.exists():
            return _packed(manifest)
        source = self.config["data"]["splits"][split]
        assumed = ASSUMPTIONS.get(f"folder-{source.get('split', split)}")
        count = source.get("count", source.get("limit", source.get("images")))
        return count if count is not None else (int(assumed.value) if assumed else None)

    @property
    def evaluation(self) -> int | None:
        """Images of the evaluation split."""
        return self.images(self.config["data"]["evaluation"])

    @property
    def image_bytes(self) -> int:
        """Bytes of one packed image, uint8 RGB."""
        return 3 * self.config["data"]["resolution"] ** 2


@cache
def _packed(manifest: Path) -> int:
    return int(json.loads(manifest.read_text())["n"])


# Operations of one image, two per multiply-add.


def transformer_flops(*, tokens: int, width: int, depth: int, ratio: float = 4.0) -> float:
    """Operations of a transformer's blocks (norms, biases and activations left out).

    Args:
        tokens: length of the sequence.
        width: channels.
        depth: blocks.
        ratio: weights of the two or three MLP matrices together, in units of ``2 width^2``.
    """
    per_block = tokens * (4 + 2 * ratio) * width**2 + 2 * tokens**2 * width
    return 2.0 * depth * per_block


def sit_flops(*, width: int, depth: int, tokens: int, patch_channels: int) -> float:
    """Operations of one forward pass of a SiT, which is built as DiT (arXiv 2212.09748).

    Blocks, their adaptive modulation (6 width per block and image), patch embedding, time embedding
    and the last layer, which predicts mean and variance (2 x ``patch_channels``), as DiT's table 4
    counts: DiT-XL/2 at 32 x 32 x 4 is 118.64 and DiT-B/2 23.01 billion multiply-adds.

    Args:
        width: channels.
        depth: blocks.
        tokens: length of the sequence.
        patch_channels: numbers per patch, patch^2 times the latent's channels.
    """
    ends = 3 * tokens * patch_channels * width + 2 * width**2
    time = 256 * width + width**2
    return transformer_flops(tokens=tokens, width=width, depth=depth) + 2.0 * (
        depth * 6 * width**2 + ends + time
    )


def sit_parameters(*, width: int, depth: int, patch_channels: int) -> int:
    """Trained parameters of a SiT (675 million for SiT-XL/2 on 4 channels)."""
    block = 12 * width**2 + 9 * width + 6 * width**2 + 6 * width
    patches = patch_channels * width + width
    time = 256 * width + width + width**2 + width
    last = 2 * width**2 + 2 * width + 2 * patch_channels * width + 2 * patch_channels
    return depth * block + patches + time + CLASSES * width + last


def kl_flops(
    *,
    resolution: int,
    widths: Sequence[int],
    layers: int,
    latent_channels: int,
    patch: int = 1,
    middle_attention: bool = True,
    deepest_attention: bool = False,
    quant_conv: bool = True,
    post_quant_conv: bool = True,
) -> tuple[float, float]:
    """Operations of encoding and of decoding one image with an AutoencoderKL of diffusers.

    Convolutions, attention's products and its linear maps; norms and activations are left out.

    Args:
        resolution: side of the image.
        widths: channels of each stage; each stage after the first halves the side.
        layers: residual blocks per stage (the decoder has one more).
        latent_channels: channels of the latent.
        patch: pixels are unshuffled by this before the first convolution.
        middle_attention: self-attention in the middle.
        deepest_attention: and after each block of the deepest stage.
        quant_conv: 1 x 1 convolution after the encoder.
        post_quant_conv: 1 x 1 convolution before the decoder.
    """
    first, channels = resolution // patch, 3 * patch**2
    sides = [first // 2**stage for stage in range(len(widths))]
    last, deepest = widths[-1], sides[-1]

    def conv(side: int, inputs: int, outputs: int, kernel: int = 3) -> int:
        return side**2 * inputs * outputs * kernel**2

    def block(side: int, inputs: int, outputs: int) -> int:
        shortcut = conv(side, inputs, outputs, 1) if inputs != outputs else 0
        return conv(side, inputs, outputs) + conv(side, outputs, outputs) + shortcut

    def attention(side: int, width: int) -> int:
        return 4 * side**2 * width**2 + 2 * side**4 * width

    middle = 2 * block(deepest, last, last) + middle_attention * attention(deepest, last)
    encode = conv(first, channels, widths[0]) + middle + conv(deepest, last, 2 * latent_channels)
    encode += quant_conv * conv(deepest, 2 * latent_channels, 2 * latent_channels, 1)
    decode = conv(deepest, latent_channels, last) + middle + conv(first, widths[0], channels)
    decode += post_quant_conv * conv(deepest, latent_channels, latent_channels, 1)
    for stage, (side, width) in enumerate(zip(sides, widths)):
        above, below = widths[max(stage - 1, 0)], widths[min(stage + 1, len(widths) - 1)]
        attends = deepest_attention and stage == len(widths) - 1
        for index in range(layers):
            encode += block(side, above if index == 0 else width, width)
        for index in range(layers + 1):
            decode += block(side, below if index == 0 else width, width)
        if attends:
            encode += layers * attention(side, width)
            decode += (layers + 1) * attention(side, width)
        if stage < len(widths) - 1:
            encode += conv(side // 2, width, width)
        if stage > 0:
            decode += conv(side * 2, width, width)
    return 2.0 * encode, 2.0 * decode


def autoencoder_flops(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    """Operations of encoding and of decoding one image, or None where nothing says them.

    Args:
        entry: of ``autoencoders``; its ``gflops`` if given, else counted for the KL families.
    """
    if "gflops" in entry:
        return entry["gflops"]["encode"] * 1e9, entry["gflops"]["decode"] * 1e9
    config = entry.get("config", {})
    if entry["family"] not in ("diffusers-kl", "ldm-kl") or "resolution" not in config:
        return None
    if not architecture_known(entry):
        return None
    official = config.get("official")
    if official is None:
        return kl_flops(
            resolution=config["resolution"],
            widths=config.get("widths", (64,)),
            layers=config.get("layers", 1),
            latent_channels=config.get("latent_channels", 4),
            patch=config.get("patch", 1),
            middle_attention=config.get("attention", False),
        )
    return kl_flops(
        resolution=config["resolution"],
        widths=official["block_out_channels"],
        layers=official["layers_per_block"],
        latent_channels=official["latent_channels"],
        middle_attention=official.get("mid_block_add_attention", True),
        deepest_attention=any(t.startswith("Attn") for t in official.get("down_block_types", [])),
        quant_conv=official.get("use_quant_conv", True),
        post_quant_conv=official.get("use_post_quant_conv", True),
    )


def latent_shape(entry: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Shape of a latent: a grid (C, H, W) or tokens (N, C); None where the entry does not say."""
    shape = entry.get("latent_shape")
    return tuple(shape) if shape else None


def sit_shape(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """Tokens of an autoencoder's SiT, and numbers per token.

    Args:
        entry: of ``autoencoders``; ``latent_shape`` and ``patch_size`` (default 1) are read.
    """
    shape = latent_shape(entry)
    if shape is None:
        return None
    patch = entry.get("patch_size", 1)
    if len(shape) == 2:
        return shape[0], shape[1]
    channels, height, width = shape
    return (height // patch) * (width // patch), channels * patch**2


# Hours and bytes of one kind of work, from plain numbers.


def rate(name: str) -> float:
    """Value of an assumption."""
    return ASSUMPTIONS[name].value


def network_rate(name: str) -> float:
    """Images or pairs per second of a network: its own assumption, else that of its kind."""
    return rate(name if name in ASSUMPTIONS else NETWORKS[name].kind)


def training_hours(forward: float, *, steps: int, batch_size: int) -> float:
    """Hours of training: backward costs two forward passes.

    Args:
        forward: operations of one forward pass of one image.
        steps: optimiser steps.
        batch_size: images per step.
    """
    return 3 * forward * steps * batch_size / rate("training") / 3600


def control_training_hours(forward: float, *, steps: int, batch_size: int) -> float:
    """Hours of training a control branch on a frozen backbone.

    The backbone runs forward and its activations backward, the branch both ways and its weights.
    """
    passes = 2 + 3 * rate("control-share")
    return passes * forward * steps * batch_size / rate("training") / 3600


def sampling_hours(
    forward: float, *, images: int, evaluations: float, decode: float = 0.0
) -> float:
    """Hours of drawing and decoding samples.

    Args:
        forward: operations of one network evaluation of one image.
        images: how many.
        evaluations: of the network per image (twice the steps with guidance).
        decode: operations of decoding one image.
    """
    seconds = forward * evaluations / rate("sampling") + decode / rate("autoencoder")
    return images * seconds / 3600


def encoding_hours(entry: Mapping[str, Any], *, images: int, passes: float) -> float | None:
    """Hours of encoding training images: once where their latents fit in memory, else each time.

    Args:
        entry: of ``autoencoders``.
        images: how many different ones.
        passes: how often each is used.
    """
    flops, shape = autoencoder_flops(entry), latent_shape(entry)
    if flops is None or shape is None:
        return None
    times = 1 if 4 * images * math.prod(shape) <= rate("latents-kept") else passes
    return images * times * flops[0] / rate("encoding") / 3600


def segment_steps(step: int, others: Sequence[int]) -> int:
    """Steps of the segment that ends at ``step``, where the other segments end at ``others``."""
    return step - max((other for other in others if other < step), default=0)


# The rules.


def _fetch_asset(job: Job, study: Study) -> Cost:
    asset = assets_of(study.config).get(weights_folder(study.config) / job.wildcards["asset"])
    size = (asset.size or asset.about) if asset else None
    return Cost(0.0, None if size is None else float(size))


def _pack_images(job: Job, study: Study) -> Cost:
    count = study.images(job.wildcards["split"])
    return Cost(0.0, None if count is None else count * study.image_bytes)


def _train_autoencoder(job: Job, study: Study) -> Cost:
    entry = study.autoencoder(job.wildcards["autoencoder"])
    flops, parameters, train = autoencoder_flops(entry), entry.get("parameters"), entry["train"]
    kept = 4.0 * parameters if parameters else None
    if flops is None or "batch_size" not in train:
        return Cost(None, kept)
    work = 3 * sum(flops) * train["steps"] * train["batch_size"]
    return Cost(work / rate("autoencoder") / 3600, kept)


def _train_network(job: Job, study: Study) -> Cost:
    return Cost()  # only networks of the mini world are trained: seconds, and not on this device


def _reconstruct_images(job: Job, study: Study) -> Cost:
    entry = study.autoencoder(job.wildcards["autoencoder"])
    count, flops, shape = study.evaluation, autoencoder_flops(entry), latent_shape(entry)
    if count is None:
        return Cost()
    return Cost(
        None if flops is None else count * sum(flops) / rate("autoencoder") / 3600,
        None if shape is None else count * (study.image_bytes + 4.0 * math.prod(shape)),
    )


def _extract_conditions(job: Job, study: Study) -> Cost:
    network, source = job.wildcards["network"], job.wildcards["source"]
    kind = NETWORKS[network].kind
    count = study.images(source) if source in study.config["data"]["splits"] else study.evaluation
    if "@control@" in source:
        count = _control_images(study)
    if count is None:
        return Cost()
    resolution = study.config["data"]["resolution"]
    side = NETWORKS[network].options.get("resize", resolution) if kind == "edges" else resolution
    pixels = resolution**2
    each = {
        "edges": side**2,
        "map": pixels,
        "labels": pixels,
        "features": 4 * 2048,
        "faces": 4 * 518,
    }
    seconds = 0.0 if kind == "edges" else count / network_rate(network)
    return Cost(seconds / 3600, float(count * each[kind]))


def _score_metric(job: Job, study: Study) -> Cost:
    count, metric = study.evaluation, METRICS[job.wildcards["metric"]]
    if count is None:
        return Cost()
    if metric.reads != "images" or metric.role is None:
        return Cost(0.0, 100.0 * count)
    network = study.option(f"networks.{metric.role}.network", None)
    speed = rate("perceptual") if network is None else network_rate(network)
    return Cost(count / speed / 3600, 100.0 * count)


def _find_neighbours(job: Job, study: Study) -> Cost:
    entry, options = study.autoencoder(job.wildcards["autoencoder"]), study.config["neighbours"]
    flops, shape, count = autoencoder_flops(entry), latent_shape(entry), study.evaluation
    pool = study.images(study.config["data"]["reference"])
    if count is None or pool is None:
        return Cost()
    sizes = [pool if size == "all" else size for size in options["references"]]
    tables = len(sizes) * len(options["distances"])
    kept = float(count * options["k"] * tables * 40)
    if flops is None or shape is None:
        return Cost(None, kept)
    references = max(sizes) / options["parts"]
    search = 2.0 * count * math.prod(shape) * len(options["distances"])
    seconds = references * (flops[0] / rate("autoencoder") + search / rate("search"))
    return Cost(seconds / 3600, kept)


def _score_ifid(job: Job, study: Study) -> Cost:
    flops = autoencoder_flops(study.autoencoder(job.wildcards["autoencoder"]))
    count = study.evaluation
    if count is None or flops is None:
        return Cost()
    variants = {tuple(sorted(variant.items(), key=str)) for variant in ifid_variants(study.config)}
    each = sum(flops) / rate("autoencoder") + 1 / rate("features")
    return Cost(len(variants) * count * each / 3600)


def _sit(job: Job, study: Study) -> tuple[float, int, int, int] | None:
    """Operations of a forward pass, width, depth and numbers per patch of a job's SiT."""
    shape = sit_shape(study.autoencoder(job.wildcards["autoencoder"]))
    model = job.wildcards["model"].partition("/")[0]
    if shape is None or model not in SIZES:
        return None
    width, depth = SIZES[model].width, SIZES[model].depth
    flops = sit_flops(width=width, depth=depth, tokens=shape[0], patch_channels=shape[1])
    return flops, width, depth, shape[1]


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


def _with_encoding(hours: float, job: Job, study: Study, used: float) -> float | None:
    """Hours of training, and of encoding the ``used`` images that its steps take."""
    entry, images = study.autoencoder(job.wildcards["autoencoder"]), study.images("train")
    if images is None:
        return None
    encoding = encoding_hours(entry, images=images, passes=used / images)
    return None if encoding is None else hours + encoding


def _sample(job: Job, study: Study, count: int | None, evaluations: float) -> Cost:
    sit = _sit(job, study)
    flops = autoencoder_flops(study.autoencoder(job.wildcards["autoencoder"]))
    if sit is None or flops is None or count is None:
        return Cost()
    hours = sampling_hours(sit[0], images=count, evaluations=evaluations, decode=flops[1])
    return Cost(hours, float(count * study.image_bytes))


def _evaluations(sampler: Mapping[str, Any]) -> float:
    """Network evaluations per sample; guidance doubles those inside its interval."""
    low, high = sampler.get("interval", (0.0, 1.0))
    guided = (high - low) if sampler.get("guidance", 1) > 1 else 0.0
    once = 2 * sampler["steps"] - 1 if sampler["mode"] == "heun" else sampler["steps"]
    return once * (1 + guided)


def _sample_images(job: Job, study: Study) -> Cost:
    samplers = {sampler["name"]: sampler for sampler in samplers_of(study.config)}
    evaluations = _evaluations(samplers[job.wildcards["sampler"]])
    return _sample(job, study, study.evaluation, evaluations)


def _score_gfid_times(job: Job, study: Study) -> Cost:
    """Denoising from each time takes the steps of the shifted grid below it; scores are kept."""
    times, count = study.option("gfid.times", []), study.evaluation
    shape = latent_shape(study.autoencoder(job.wildcards["autoencoder"]))
    if shape is None:
        return Cost()
    dimensions = study.option("diffusion.train.time_shift_dimensions", PUBLISHED_DIMENSIONS)
    shift = time_shift_of(shape, dimensions)
    share = sum(t / (shift - (shift - 1) * t) for t in times)
    evaluations = _evaluations(samplers_of(study.config)[0]) * share
    drawn = _sample(job, study, count, evaluations)
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
    flops, count = autoencoder_flops(entry), _control_images(study)
    if model is None or flops is None or count is None:
        return Cost()
    hours = sampling_hours(
        model[0] * (1 + rate("control-share")),
        images=count,
        evaluations=_control_evaluations(dict(controlled_of(study.config))[entry["name"]], study),
        decode=flops[1],
    )
    return Cost(hours, float(count * study.image_bytes))


def _control_images(study: Study) -> int | None:
    images = study.option("control.images", "all")
    return study.evaluation if images == "all" or study.evaluation is None else images


def _control_evaluations(backbone: Mapping[str, Any] | None, study: Study) -> float:
    """Network evaluations per sample: a published grid has one Euler step fewer than points."""
    if backbone is not None:
        return backbone.get("points", PUBLISHED_POINTS[backbone["name"]]) - 1
    return _evaluations(study.config["control"]["sampler"])


def _train_probe(job: Job, study: Study) -> Cost:
    """Of all conditions, if training never stops early."""
    count = study.option("probes.train_images", "all")
    count = study.images("train") if count == "all" else count
    if count is None:
        return Cost()
    epochs, conditions = study.option("probes.epochs", 100), study.option("probes.conditions", [0])
    entry = study.autoencoder(job.wildcards["autoencoder"])
    encoding = encoding_hours(entry, images=count, passes=epochs * len(conditions))
    training = epochs * len(conditions) * count / rate("probe") / 3600
    return Cost(None if encoding is None else training + encoding)


def _score_diffusability(job: Job, study: Study) -> Cost:
    """Per image one encoding, and decodings of 11 turned and scaled and 2 down-sampled latents."""
    flops = autoencoder_flops(study.autoencoder(job.wildcards["autoencoder"]))
    count = study.option("diffusability.images", "all")
    count = study.evaluation if count == "all" else count
    if flops is None or count is None:
        return Cost()
    fitted = study.option("diffusability.train_images", 0)
    work = count * (flops[0] + 13 * flops[1]) + fitted * flops[0]
    return Cost(work / rate("autoencoder") / 3600)


def _score_protocols(job: Job, study: Study) -> Cost:
    """Per posterior one pass of the autoencoder; features and LPIPS as often as they differ."""
    name = job.wildcards["autoencoder"]
    flops, count = autoencoder_flops(study.autoencoder(name)), study.evaluation
    if flops is None or count is None:
        return Cost()
    every = protocols_for(study.config, name, job.wildcards["crop"])
    posteriors = {p.posterior for p in every.values()}
    features = {(p.posterior, p.quantisation, p.resize) for p in every.values()}
    pairs = {
        (p.posterior, p.quantisation, p.similarity, p.range, p.lpips)
        for variant, p in every.items()
        if not variant.startswith("sweep ")
    }
    networks = {"alex": "perceptual", "vgg": "lpips-vgg"}
    each = len(posteriors) * sum(flops) / rate("autoencoder") + len(features) / rate("features")
    each += sum(1 / rate(networks[net]) for *_, net in pairs)
    return Cost(count * each / 3600)


COSTS: Mapping[str, Callable[[Job, Study], Cost]] = {
    "fetch_asset": _fetch_asset,
    "pack_images": _pack_images,
    "train_network": _train_network,
    "train_autoencoder": _train_autoencoder,
    "reconstruct_images": _reconstruct_images,
    "extract_conditions": _extract_conditions,
    "score_metric": _score_metric,
    "score_protocols": _score_protocols,
    "find_neighbours": _find_neighbours,
    "score_ifid": _score_ifid,
    "train_diffusion": _train_diffusion,
    "sample_images": _sample_images,
    "score_gfid_times": _score_gfid_times,
    "train_control": _train_control,
    "sample_control": _sample_control,
    "train_probe": _train_probe,
    "score_diffusability": _score_diffusability,
}
"""Rule -> cost of one of its jobs. Every rule that declares ``gpu`` has an entry (tested)."""


def cost(job: Job, study: Study) -> Cost:
    """Estimate of one job; a job that declares no GPU costs no GPU-hours.

    ``hours`` counts one device; what a job does on several at once takes as many GPU-hours.
    """
    known = COSTS[job.rule](job, study) if job.rule in COSTS else Cost()
    return Cost(known.hours if job.gpu else 0.0, known.kept)
