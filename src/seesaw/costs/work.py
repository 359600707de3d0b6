"""Hours of one kind of work, from plain numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from seesaw.costs.assumptions import rate
from seesaw.costs.flops import autoencoder_flops, latent_shape


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
    forward: float,
    *,
    images: int,
    evaluations: float,
    decode: float = 0.0,
    precision: str = "fp32",
) -> float:
    """Hours of drawing and decoding samples.

    Args:
        forward: operations of one network evaluation of one image.
        images: how many.
        evaluations: of the network per image (twice the steps with guidance).
        decode: operations of decoding one image.
        precision: of the sampler, ``"fp32"`` or ``"tf32"``.
    """
    pace = rate("sampling-tf32" if precision == "tf32" else "sampling")
    seconds = forward * evaluations / pace + decode / rate("autoencoder")
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
