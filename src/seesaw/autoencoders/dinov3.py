"""DINOv3 vision transformers: timm's class with what Meta's files hold beside its weights."""

from collections.abc import Callable

import torch
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from timm.models import create_model
from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.autoencoders.official_names import speak

NAME = "vit_small_plus_patch16_dinov3_qkvb"
NAMES = (
    ("reg_token", "storage_tokens"),
    (r"rope\.periods", "rope_embed.periods"),
    (r"blocks\.(\d+)\.gamma_(\d)", r"blocks.\1.ls\2.gamma"),
    (r"blocks\.(\d+)\.mlp\.fc1_g\.(.+)", r"blocks.\1.mlp.w1.\2"),
    (r"blocks\.(\d+)\.mlp\.fc1_x\.(.+)", r"blocks.\1.mlp.w2.\2"),
    (r"blocks\.(\d+)\.mlp\.fc2\.(.+)", r"blocks.\1.mlp.w3.\2"),
)
UNUSED = ("mask_token",)
"""Keys of Meta's files that only its training uses."""


class MaskedBias(nn.Linear):
    """A linear map whose bias is multiplied by a mask: the keys of DINOv3 have no bias.

    The mask, zero for the keys and one for queries and values, belongs to the weights, and the
    files may hold any number where it is zero.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        mask = torch.ones(outputs)
        mask[outputs // 3 : 2 * outputs // 3] = 0
        self.register_buffer("bias_mask", mask)

    def forward(self, values: Tensor) -> Tensor:
        """``(..., inputs)`` to ``(..., outputs)``."""
        return F.linear(values, self.weight, self.bias * self.bias_mask)


class Rotary(RotaryEmbeddingDinoV3):
    """timm's rotary embedding, whose periods belong to the weights and stay in float32."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, temperature=100.0)
        self.register_buffer("periods", self.periods, persistent=True)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Rotary":
        periods = self.periods
        nn.Module._apply(self, fn, recurse)
        if self.periods.dtype != periods.dtype:
            self.periods = periods.to(self.periods.device)
        return self


def build(*, width: int = 384, depth: int = 12, heads: int = 6) -> nn.Module:
    """An untrained DINOv3 ViT-S+/16 (arXiv 2508.10104), or a smaller one, with Meta's keys.

    It takes images of any multiple of 16. ``mask_token`` (:data:`UNUSED`) is not among its keys.

    Args:
        width: channels of a token.
        depth: transformer blocks.
        heads: attention heads; must divide ``width``.
    """
    model = create_model(
        NAME,
        pretrained=False,
        num_classes=0,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        attn_type="rope",
    )
    model.rope = Rotary(width // heads)
    for block in model.blocks:
        block.attn.qkv = MaskedBias(width, 3 * width)
    speak(model, NAMES)
    return model


def patch_tokens(model: nn.Module, images: Tensor) -> Tensor:
    """Normalised patch tokens ``(N, T, width)``, in raster order, of ImageNet-normalised images."""
    return model.forward_features(images)[:, model.num_prefix_tokens :]
