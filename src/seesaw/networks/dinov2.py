"""DINOv2 vision transformers without registers (Oquab et al. 2023, arXiv 2304.07193)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from seesaw.networks import check_images
from seesaw.networks.checkpoint import published_state
from seesaw.networks.image_embedding import (
    SIDE,
    Prepare,
    cropped,
    fused,
    normalised,
    prepared,
    renamed,
    squeezed,
)
from seesaw.registry import unknown

PATCH = 14
TABLE = 37
"""Side of the stored grid of position embeddings: training ended at 518 pixels."""

GRID = SIDE // PATCH
OFFSET = 0.1
"""Added to the grid's side where the hub model resizes the position embeddings."""

UNUSED = "mask_token"
"""In the files, without effect: it replaced patches that the training hid."""

CROPS: Mapping[str, Prepare] = {
    "direct": squeezed,
    "official": lambda image: cropped(image, 256),
}
"""Option ``crop`` -> what becomes of an image."""

HUB_NAMES = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.mask_token": UNUSED,
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
    "attention.qkv": "attn.qkv",
    "attention.output.dense": "attn.proj",
    "attention.o_proj": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "layer_scale2.lambda1": "ls2.gamma",
    **{name: name for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2")},
}
"""Names of transformers 4 and 5 -> the authors'."""


class _Dinov2:
    """See :class:`Dinov2VitB14`."""

    name: str
    width: int
    depth: int
    heads: int
    grid = GRID

    def __init__(
        self,
        weights: str | Path | None,
        device: str = "cpu",
        *,
        crop: Literal["direct", "official"] = "direct",
    ) -> None:
        if crop not in CROPS:
            raise unknown("crop of DINOv2's images", crop, CROPS)
        file = self.weights_file()
        if weights is None:
            raise ValueError(f"DINOv2 needs its weights: give the path of {file}")
        with torch.device("meta"):
            vit = VisionTransformer(
                img_size=TABLE * PATCH,
                patch_size=PATCH,
                embed_dim=self.width,
                depth=self.depth,
                num_heads=self.heads,
                init_values=1.0,
                num_classes=0,
                dynamic_img_size=True,
                weight_init="skip",
            )
        state = published_state(weights, file=file, layout=vit.state_dict(), adapt=official_names)
        own = {key: value.float().contiguous() for key, value in state.items()}
        vit.load_state_dict(own, strict=True, assign=True)
        self.dim = self.width
        self.crop = crop
        self.device = torch.device(device)
        self.vit = vit.eval().requires_grad_(False).to(self.device)
        self.positions = hub_positions(own["pos_embed"]).to(self.device)
        self.positions_by_size = resample_abs_pos_embed(own["pos_embed"], [GRID, GRID]).to(
            self.device
        )
        steps = {
            "direct": "PIL bicubic to 224 x 224",
            "official": "PIL bicubic, shorter side to 256, centre crop 224",
        }
        self.meta: dict[str, Any] = {
            "implementation": f"DINOv2 {self.name}, normalised class token, timm, float32",
            "preprocessing": f"{steps[crop]}, ImageNet mean and std",
            "source": "facebookresearch/dinov2 b8931f7",
            "licence": "Apache-2.0",
        }

    @classmethod
    def weights_file(cls) -> str:
        """The published files that fit, in words."""
        official = f"dinov2_{cls.name.lower().replace('-', '').replace('/', '')}"
        size = {"ViT-B/14": "base", "ViT-L/14": "large"}[cls.name]
        return (
            f"{official}_pretrain.pth of facebookresearch/dinov2 "
            f"(https://dl.fbaipublicfiles.com/dinov2/{official}/{official}_pretrain.pth), or the "
            f"model.safetensors of facebook/dinov2-{size} on the Hugging Face hub"
        )

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """What the network sees, before mean and deviation: uint8 ``(N, 3, 224, 224)``."""
        check_images(images)
        return prepared(images, CROPS[self.crop])

    @torch.inference_mode()
    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Features of uint8 RGB images ``(N, 3, H, W)``.

        With another batch size they differ by what float32 rounds (about 1e-6 of their size).

        Returns:
            ``features``: float32 ``(N, dim)``, the class token after the last LayerNorm.
        """
        mean, std = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
        pixels = normalised(self.prepare(images), mean, std, self.device)
        return {"features": self.run(pixels, self.positions)[:, 0].cpu().numpy()}

    def tokens(self, images: Tensor) -> Tensor:
        """Patch tokens as the VF loss takes them, row by row.

        As hustvl/LightningDiT 2725fed (``vavae/ldm/models/foundation_models.py``) does with timm's
        DINOv2, which differs from the hub's in two ways that move the tokens: pixels in [-1, 1] are
        resized to 224 (bilinear, not antialiased) and not normalised, and the position embeddings
        are resized by size, antialiased.

        Args:
            images: float ``(N, 3, H, W)`` in [-1, 1].

        Returns:
            float32 ``(N, 256, dim)``, after the last LayerNorm. The weights are frozen; gradients
            reach the images.
        """
        pixels = images.to(self.device, torch.float32)
        pixels = F.interpolate(pixels, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        return self.run(pixels, self.positions_by_size)[:, 1:]

    def run(self, pixels: Tensor, positions: Tensor) -> Tensor:
        """Pixels ``(N, 3, 224, 224)`` to class token and patch tokens, ``(N, 257, dim)``."""
        patches = self.vit.patch_embed(pixels).flatten(1, 2)
        first = self.vit.cls_token.expand(len(pixels), -1, -1)
        return self.vit.norm(self.vit.blocks(torch.cat([first, patches], dim=1) + positions))


class Dinov2VitB14(_Dinov2):
    """DINOv2 ViT-B/14 as ``torch.hub`` gives it: the class token after the last LayerNorm, 768-d.

    The whole image is resized to 224 x 224 (PIL's bicubic) and normalised with ImageNet's mean and
    deviation. The stored position embeddings (37 x 37) are resized to 16 x 16 as the hub model
    does: bicubic, not antialiased, by the factor (16 + 0.1) / 37. Loaders that resize them by size
    (transformers, timm) give other features: 0.08 apart where the features reach 3.5, with the
    weights of the tests. Computed in float32 by timm's vision transformer.

    It has ``tokens(images)``, ``dim`` and ``grid``, as the VF loss and the training objective
    ``alignment`` ask of the roles ``dino-large`` and ``dino``.

    Source: facebookresearch/dinov2 b8931f7. Code and weights: Apache-2.0.

    Args:
        weights: ``dinov2_vitb14_pretrain.pth``, or ``model.safetensors`` of
            ``facebook/dinov2-base`` on the Hugging Face hub.
        device: torch device.
        crop: ``"direct"``: the whole image at 224 x 224. ``"official"``: the shorter side to 256
            and the centre 224 x 224, as in the authors' evaluation; it does not see the border.

    Raises:
        FileNotFoundError: no such file. Nothing is ever downloaded.
        ValueError: an unknown crop, or not that file: see
            :func:`seesaw.networks.checkpoint.published_state`.
    """

    name = "ViT-B/14"
    width = 768
    depth = 12
    heads = 12


class Dinov2VitL14(_Dinov2):
    """DINOv2 ViT-L/14, 1024-d; otherwise as :class:`Dinov2VitB14`.

    The network of FD-DINOv2 and of VA-VAE's VF loss. FD-DINOv2's code (layer6ai-labs/dgm-eval
    74c79f7, ``dgm_eval/models/dinov2.py``) prepares images as ``crop="direct"`` does, unless it is
    run with ``--clean_resize``, which is not here. Files: ``dinov2_vitl14_pretrain.pth``, or
    ``model.safetensors`` of ``facebook/dinov2-large``.
    """

    name = "ViT-L/14"
    width = 1024
    depth = 24
    heads = 16


def hub_positions(table: Tensor, grid: int = GRID) -> Tensor:
    """Stored position embeddings for another grid, as the hub model resizes them.

    Args:
        table: ``(1, 1 + T * T, D)``, the class token's first.
        grid: side of the grid that is wanted.

    Returns:
        ``(1, 1 + grid * grid, D)``.
    """
    side = round((table.shape[1] - 1) ** 0.5)
    patches = table[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    scale = (grid + OFFSET) / side
    resized = F.interpolate(
        patches, scale_factor=(scale, scale), mode="bicubic", align_corners=False
    )
    return torch.cat([table[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


def official_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors in the authors' names, key by key; unknown keys stay as they are."""
    whole = ".attention.qkv."
    for names in (
        tuple(f".attention.attention.{part}." for part in ("query", "key", "value")),
        tuple(f".attention.{part}_proj." for part in "qkv"),
    ):
        state = fused(state, names, whole)
    named = {renamed(k, HUB_NAMES, "encoder.layer.", "blocks."): v for k, v in state.items()}
    return {key: value for key, value in named.items() if key != UNUSED}
