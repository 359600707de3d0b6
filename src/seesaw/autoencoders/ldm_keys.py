"""The keys of the latent-diffusion code for convolutional parts that diffusers builds.

The latent-diffusion code (CompVis/latent-diffusion, arXiv 2112.10752) and its descendants name the
same tensors otherwise than diffusers: ``decoder.up.4.attn.0.q.weight`` there is
``decoder.up_blocks.0.attentions.0.to_q.weight`` here. The map is one to one; the levels of the
decoder are counted from the other end, and the attention's linear maps are 1x1 convolutions there.
"""

import re
from collections.abc import MutableMapping
from typing import Any

from torch import Tensor, nn

RULES = (
    (r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block."),
    (r"down_blocks\.(\d+)\.attentions\.", r"down.\1.attn."),
    (r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample."),
    (r"up\.(\d+)\.resnets\.", r"up.\1.block."),
    (r"up\.(\d+)\.attentions\.", r"up.\1.attn."),
    (r"up\.(\d+)\.upsamplers\.0\.", r"up.\1.upsample."),
    (r"mid_block\.resnets\.0\.", "mid.block_1."),
    (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.", "mid.attn_1."),
    (r"(attn\S*)\.group_norm\.", r"\1.norm."),
    (r"(attn\S*)\.to_([qkv])\.", r"\1.\2."),
    (r"(attn\S*)\.to_out\.0\.", r"\1.proj_out."),
    (r"conv_norm_out\.", "norm_out."),
    (r"conv_shortcut\.", "nin_shortcut."),
)
LINEAR = re.compile(r"\.attn\S*\.(q|k|v|proj_out)\.weight$")


def ldm_key(key: str, levels: int) -> str:
    """The latent-diffusion code's name of a tensor of diffusers' ``Encoder`` or ``Decoder``.

    Args:
        key: diffusers' name, with or without a part in front (``decoder.up_blocks.0...``).
        levels: number of resolutions, which the decoder counts from the other end.
    """
    key = re.sub(r"up_blocks\.(\d+)\.", lambda m: f"up.{levels - 1 - int(m[1])}.", key)
    for pattern, replacement in RULES:
        key = re.sub(pattern, replacement, key)
    return key


def speak_ldm(model: nn.Module, levels: int) -> None:
    """Make ``model.state_dict()`` and ``load_state_dict`` use the latent-diffusion code's layout.

    ``model`` holds diffusers' ``Encoder`` or ``Decoder`` (an ``AutoencoderKL``, or a part alone).
    Names and shapes of its state dict are then those of the official files, so that a strict check
    names what a file lacks as its authors do, and saved weights are such a file.
    """

    def official(
        module: nn.Module, state: MutableMapping[str, Tensor], prefix: str, *_: object
    ) -> None:
        for key in [key for key in state if key.startswith(prefix)]:
            name = ldm_key(key, levels)
            value = state.pop(key)
            state[name] = value[:, :, None, None] if LINEAR.search(name) else value

    def ours(module: nn.Module, state: MutableMapping[str, Tensor], prefix: str, *_: Any) -> None:
        for key in _own_keys(module):
            name = ldm_key(prefix + key, levels)
            if name in state:
                value = state.pop(name)
                state[prefix + key] = value[:, :, 0, 0] if LINEAR.search(name) else value

    model.register_state_dict_post_hook(official)
    model.register_load_state_dict_pre_hook(ours)


def _own_keys(module: nn.Module) -> list[str]:
    return [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
