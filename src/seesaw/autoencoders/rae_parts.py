"""What RAE and UAE share: DINOv2 with registers as encoder, a ViT decoder, their key names.

Encoder: timm's vision transformer. Decoder: diffusers' ``RAEDecoder``. Nothing here needs
transformers, whose names the official encoder files have.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_rae import RAEDecoder
from timm.layers import AttentionRope
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.autoencoders.imagenet import from_imagenet, to_imagenet


class Attention(AttentionRope):
    """timm's self-attention with query, key and value apart, as in the files; no rotation."""

    def __init__(self, dim: int, **options: Any) -> None:
        super().__init__(dim, qkv_fused=False, **options)


class Dinov2Encoder(nn.Module):
    """DINOv2 with registers (arXiv 2309.16588), with a last LayerNorm that has no affine.

    Args:
        width: channels of a token.
        depth: blocks.
        heads: attention heads.
        input_size: side to which images are resized (bicubic, not antialiased).
        table: side of the grid of position embeddings, resized to the image's (bicubic,
            antialiased).
        patch: side of a patch, in pixels.
        registers: register tokens.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        input_size: int,
        table: int = 37,
        patch: int = 14,
        registers: int = 4,
    ) -> None:
        super().__init__()
        if input_size % patch or width % heads:
            raise ValueError(
                f"encoder_input {input_size} must be a multiple of {patch}, and width {width} of "
                f"its {heads} heads"
            )
        self.input_size = input_size
        self.grid = input_size // patch
        self.registers = registers
        self.vit = VisionTransformer(
            img_size=table * patch,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            init_values=1.0,
            reg_tokens=registers,
            dynamic_img_size=True,
            final_norm=False,
            global_pool="",
            num_classes=0,
            attn_layer=Attention,
        )
        # in the files, without effect: it replaces patches that training hides
        self.mask_token = nn.Parameter(torch.zeros(1, width))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(N, 3, R, R)`` in [-1, 1] to a grid of tokens ``(N, width, g, g)``."""
        if images.shape[-1] != self.input_size:
            size = (self.input_size, self.input_size)
            images = F.interpolate(images, size=size, mode="bicubic", align_corners=False)
        tokens = self.vit.forward_features(to_imagenet(images))[:, 1 + self.registers :]
        tokens = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
        return tokens.transpose(1, 2).unflatten(2, (self.grid, self.grid))

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Key by key from the names of transformers 4 or 5 to those of this module; others stay.

        The last LayerNorm's weight and bias are dropped: the authors remove them from the model.
        """
        state = {key: tensor for key, tensor in state.items() if key not in REMOVED}
        table = state.get(POSITIONS)
        if table is not None and table.ndim == 3:
            # registers have no position: zeros, after the class token's
            none = table.new_zeros(table.shape[0], self.registers, table.shape[2])
            state[POSITIONS] = torch.cat([table[:, :1], none, table[:, 1:]], dim=1)
        return _rename(state, _encoder_key)


class PixelDecoder(RAEDecoder):
    """The ViT-MAE-like decoder of RAE (arXiv 2510.11690) from a grid of tokens to pixels.

    Args:
        channels: of the latents.
        grid: side of the latents.
        width: channels of a token in the decoder.
        depth: blocks.
        heads: attention heads.
        hidden: hidden width of the perceptrons.
        patch: side of the square of pixels that a token makes.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    def __init__(
        self,
        *,
        channels: int,
        grid: int,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        patch: int = 16,
    ) -> None:
        if width % 4 or width % heads:
            raise ValueError(
                f"decoder_width {width} must be a multiple of 4 and of decoder_heads, {heads}"
            )
        super().__init__(
            hidden_size=channels,
            decoder_hidden_size=width,
            decoder_num_hidden_layers=depth,
            decoder_num_attention_heads=heads,
            decoder_intermediate_size=hidden,
            num_patches=grid**2,
            patch_size=patch,
            image_size=grid * patch,
        )
        # fixed, but in the files: part of the weights here as there
        self.register_buffer("decoder_pos_embed", self.decoder_pos_embed)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents ``(N, channels, g, g)`` to images about [-1, 1], unclamped."""
        logits = super().forward(latents.flatten(2).transpose(1, 2)).logits
        return from_imagenet(self.unpatchify(logits))

    def convert(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Key by key from the official names to those of this module; others stay."""
        return _rename(state, _decoder_key)


POSITIONS = "embeddings.position_embeddings"
REMOVED = ("layernorm.weight", "layernorm.bias")

ENCODER_NAMES = {
    "embeddings.cls_token": "vit.cls_token",
    "embeddings.mask_token": "mask_token",
    "embeddings.register_tokens": "vit.reg_token",
    POSITIONS: "vit.pos_embed",
    "embeddings.patch_embeddings.projection.weight": "vit.patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.bias": "vit.patch_embed.proj.bias",
}

ENCODER_LAYER_NAMES = {
    "norm1": "norm1",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    # transformers 4
    "attention.attention.query": "attn.q_proj",
    "attention.attention.key": "attn.k_proj",
    "attention.attention.value": "attn.v_proj",
    "attention.output.dense": "attn.proj",
    # transformers 5
    "attention.q_proj": "attn.q_proj",
    "attention.k_proj": "attn.k_proj",
    "attention.v_proj": "attn.v_proj",
    "attention.o_proj": "attn.proj",
}

DECODER_ATTENTION_NAMES = {
    "attention.attention.query": "attention.to_q",
    "attention.attention.key": "attention.to_k",
    "attention.attention.value": "attention.to_v",
    "attention.output.dense": "attention.to_out.0",
}


def _rename(state: Mapping[str, Tensor], name: Callable[[str], str]) -> dict[str, Tensor]:
    """``state`` under new names; a key whose new name is taken keeps its own, and is noticed."""
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        new = name(key)
        renamed[key if new in renamed else new] = tensor
    return renamed


def _encoder_key(key: str) -> str:
    found = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+?)(\.weight|\.bias|)", key)
    if found and found[2] in ENCODER_LAYER_NAMES:
        return f"vit.blocks.{found[1]}.{ENCODER_LAYER_NAMES[found[2]]}{found[3]}"
    return ENCODER_NAMES.get(key, key)


def _decoder_key(key: str) -> str:
    found = re.fullmatch(r"(decoder_layers\.\d+)\.(.+)\.(weight|bias)", key)
    if found and found[2] in DECODER_ATTENTION_NAMES:
        return f"{found[1]}.{DECODER_ATTENTION_NAMES[found[2]]}.{found[3]}"
    return key
