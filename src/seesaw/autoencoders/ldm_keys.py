"""Key names of the latent diffusion code's convolutional encoder and decoder, to diffusers' names.

The layout is that of CompVis/latent-diffusion (``ldm/modules/diffusionmodules/model.py``), which
LightningDiT, REPA-E, SVG and DM-VAE share: levels ``down.i`` and ``up.i`` with ``block.j`` and, at
any level, ``attn.j``. Both conversions go key by key: what is missing stays missing, and a key that
belongs to no part of the layout passes through as it is, so that a strict check afterwards names
both.
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

RESNET = {
    "norm1": "norm1",
    "conv1": "conv1",
    "norm2": "norm2",
    "conv2": "conv2",
    "nin_shortcut": "conv_shortcut",
}
ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
MIDDLE = {"block_1": "resnets.0", "attn_1": "attentions.0", "block_2": "resnets.1"}
ENDS = {"conv_in": "conv_in", "norm_out": "conv_norm_out", "conv_out": "conv_out"}
KINDS = {"block": "resnets", "attn": "attentions"}


def encoder_keys(state: Mapping[str, Tensor], prefix: str = "encoder.") -> dict[str, Tensor]:
    """State of an LDM ``Encoder`` under the names of ``diffusers``' ``Encoder``.

    Args:
        state: official key to tensor; may hold other keys, too.
        prefix: keys that begin with it are converted and keep it; all others are untouched.
    """
    return _convert(state, prefix, "down", "downsample", lambda level: level)


def decoder_keys(
    state: Mapping[str, Tensor], stages: int, prefix: str = "decoder."
) -> dict[str, Tensor]:
    """State of an LDM ``Decoder`` under the names of ``diffusers``' ``Decoder``.

    Args:
        state: official key to tensor; may hold other keys, too.
        stages: number of levels (length of ``ch_mult``): the official code counts them from the
            image, diffusers from the latent.
        prefix: keys that begin with it are converted and keep it; all others are untouched.
    """
    return _convert(state, prefix, "up", "upsample", lambda level: stages - 1 - level)


def _convert(
    state: Mapping[str, Tensor],
    prefix: str,
    direction: str,
    resampling: str,
    number: Callable[[int], int],
) -> dict[str, Tensor]:
    converted = {}
    for key, tensor in state.items():
        name = None
        if key.startswith(prefix):
            name = _name(key.removeprefix(prefix), direction, resampling, number)
        if name is None:
            converted[key] = tensor
            continue
        if ".attentions." in name and tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
            tensor = tensor[:, :, 0, 0]  # 1x1 convolutions there, linear layers here
        converted[prefix + name] = tensor
    return converted


def _name(key: str, direction: str, resampling: str, number: Callable[[int], int]) -> str | None:
    """The new name of a key, or None if it is not one of the layout."""
    if found := re.fullmatch(r"(\w+)\.(weight|bias)", key):
        part, last = found.groups()
        return f"{ENDS[part]}.{last}" if part in ENDS else None
    if found := re.fullmatch(r"mid\.(\w+)\.(\w+)\.(weight|bias)", key):
        place, part, last = found.groups()
        parts = ATTENTION if place == "attn_1" else RESNET
        known = place in MIDDLE and part in parts
        return f"mid_block.{MIDDLE[place]}.{parts[part]}.{last}" if known else None
    found = re.fullmatch(rf"{direction}\.(\d+)\.(.+)\.(weight|bias)", key)
    if not found or number(int(found[1])) < 0:
        return None
    level, rest, last = number(int(found[1])), found[2], found[3]
    block = f"{direction}_blocks.{level}"
    if rest == f"{resampling}.conv":
        return f"{block}.{resampling}rs.0.conv.{last}"
    if found := re.fullmatch(r"(block|attn)\.(\d+)\.(\w+)", rest):
        kind, index, part = found.groups()
        parts = ATTENTION if kind == "attn" else RESNET
        return f"{block}.{KINDS[kind]}.{index}.{parts[part]}.{last}" if part in parts else None
    return None
