"""CLIP's image encoder ViT-B/32 (Radford et al. 2021, arXiv 2103.00020), in OpenAI's weights."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.layers import LayerNorm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from seesaw.autoencoders.weights import read_content, read_state
from seesaw.networks import check_images
from seesaw.networks.checkpoint import published_state
from seesaw.networks.image_embedding import (
    SIDE,
    cropped,
    fused,
    normalised,
    prepared,
    renamed,
)
from seesaw.networks.torchscript import is_torchscript, torchscript_state

WEIGHTS_FILE = (
    "ViT-B-32.pt of openai/CLIP (the TorchScript archive as published, or its state dict), or the "
    "model.safetensors or pytorch_model.bin of openai/clip-vit-base-patch32 on the Hugging Face hub"
)
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

TEXT_PARTS = ("transformer.", "token_embedding.", "ln_final.", "text_model.")
"""Beginnings of the keys of the text encoder, which is not used."""

UNUSED = {
    "positional_embedding",
    "text_projection",
    "text_projection.weight",
    "logit_scale",
    "input_resolution",
    "context_length",
    "vocab_size",
    "vision_model.embeddings.position_ids",
}
"""Keys beside the image encoder's: of the text encoder, sizes, and 0, 1, 2, ... as a tensor."""

HUB_NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding": "visual.conv1",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "self_attn.in_proj": "attn.in_proj",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
"""transformers' names -> OpenAI's."""

TIMM_NAMES = {
    "visual.conv1": "patch_embed.proj",
    "visual.ln_pre": "norm_pre",
    "visual.ln_post": "norm",
    "attn.in_proj": "attn.qkv",
    "attn.out_proj": "attn.proj",
    "ln_1": "norm1",
    "ln_2": "norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
"""OpenAI's names -> timm's, apart from the three in :meth:`ClipVitB32._to_timm`."""


class ClipVitB32:
    """OpenAI's CLIP ViT-B/32: image embeddings before normalisation (``encode_image``), 512-d.

    Images are resized so that the shorter side has 224 pixels (PIL's bicubic), cropped to the
    centre 224 x 224 and normalised with OpenAI's mean and deviation, as the official ``preprocess``
    does; computed in float32 (the file is float16, as which it runs officially on a GPU). The tower
    is timm's vision transformer, with CLIP's own activation ``x sigmoid(1.702 x)``.

    Source: openai/CLIP d05afc4, ``clip/model.py`` and ``clip/clip.py``. Code and weights: MIT.

    Args:
        weights: ``ViT-B-32.pt``. The published file is a TorchScript archive; its tensors are read
            and its code is not run (:mod:`seesaw.networks.torchscript`). A plain state dict in the
            same names, or the Hugging Face hub's ``openai/clip-vit-base-patch32``, does too. The
            text encoder may be there or not.
        device: torch device.

    Raises:
        FileNotFoundError: no such file. Nothing is ever downloaded.
        ValueError: not that file: see :func:`seesaw.networks.checkpoint.published_state`.
    """

    width = 768
    depth = 12
    heads = 12
    patch = 32
    dim = 512

    def __init__(self, weights: str | Path | None, device: str = "cpu") -> None:
        if weights is None:
            raise ValueError(f"CLIP needs its weights: give the path of {WEIGHTS_FILE}")
        with torch.device("meta"):
            tower = self._tower()
        layout = {self._to_official(key): key for key in tower.state_dict()}
        state = published_state(
            weights,
            file=WEIGHTS_FILE,
            layout={key: self._shaped(tower.state_dict()[own], key) for key, own in layout.items()},
            adapt=official_names,
            read=read_clip,
        )
        own = {layout[key]: self._to_timm(key, value) for key, value in state.items()}
        tower.load_state_dict(own, strict=True, assign=True)
        self.device = torch.device(device)
        self.tower = tower.eval().requires_grad_(False).to(self.device)
        self.meta: dict[str, Any] = {
            "implementation": "openai/CLIP ViT-B/32, image embedding, timm, float32",
            "preprocessing": "PIL bicubic, shorter side to 224, centre crop 224, CLIP mean and std",
            "source": "openai/CLIP d05afc4",
            "licence": "MIT",
        }

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """What the tower sees, before mean and deviation: uint8 ``(N, 3, 224, 224)``."""
        check_images(images)
        return prepared(images, lambda image: cropped(image, SIDE))

    @torch.inference_mode()
    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Embeddings of uint8 RGB images ``(N, 3, H, W)``.

        With another batch size they differ by what float32 rounds (about 1e-6 of their size).

        Returns:
            ``features``: float32 ``(N, 512)``, not normalised.
        """
        pixels = normalised(self.prepare(images), MEAN, STD, self.device)
        return {"features": self.tower(pixels).cpu().numpy()}

    def _tower(self) -> VisionTransformer:
        tower = VisionTransformer(
            img_size=SIDE,
            patch_size=self.patch,
            embed_dim=self.width,
            depth=self.depth,
            num_heads=self.heads,
            num_classes=0,
            pre_norm=True,
            norm_layer=partial(LayerNorm, eps=1e-5),
            act_layer="quick_gelu",
            weight_init="skip",
        )
        tower.head = nn.Linear(self.width, self.dim, bias=False)
        return tower

    @staticmethod
    def _to_official(key: str) -> str:
        special = {
            "cls_token": "visual.class_embedding",
            "pos_embed": "visual.positional_embedding",
            "head.weight": "visual.proj",
        }
        if key in special:
            return special[key]
        names = {timm: official for official, timm in TIMM_NAMES.items()}
        key = renamed(key, names, "blocks.", "visual.transformer.resblocks.")
        return re.sub(r"in_proj\.", "in_proj_", key)

    @staticmethod
    def _shaped(tensor: Tensor, key: str) -> Tensor:
        """A tensor of timm's (on meta) in the shape that the official one has."""
        if key == "visual.class_embedding":
            return tensor.flatten()
        if key == "visual.positional_embedding":
            return tensor[0]
        return tensor.T if key == "visual.proj" else tensor

    @staticmethod
    def _to_timm(key: str, tensor: Tensor) -> Tensor:
        tensor = tensor.float()
        if key == "visual.class_embedding":
            return tensor[None, None]
        if key == "visual.positional_embedding":
            return tensor[None]
        return (tensor.T if key == "visual.proj" else tensor).contiguous()


def read_clip(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a CLIP file in its own names: a TorchScript archive or any other container."""
    if is_torchscript(path):
        return torchscript_state(path)
    content = read_content(Path(path))
    if isinstance(content, Mapping) and any(str(key).startswith("visual.") for key in content):
        # sizes may be stored beside the tensors as plain numbers
        return {key: value for key, value in content.items() if isinstance(value, Tensor)}
    return read_state(path)


def official_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image encoder's tensors in OpenAI's names, key by key; unknown keys stay as they are."""
    state = {
        key: value
        for key, value in state.items()
        if key not in UNUSED and not key.startswith(TEXT_PARTS)
    }
    names = tuple(f".self_attn.{part}_proj." for part in "qkv")
    found = {}
    for key, value in fused(state, names, ".self_attn.in_proj.").items():
        if key == "visual_projection.weight" and value.ndim == 2:
            found["visual.proj"] = value.T
        elif key == "vision_model.embeddings.position_embedding.weight":
            found["visual.positional_embedding"] = value
        else:
            old, new = "vision_model.encoder.layers.", "visual.transformer.resblocks."
            found[re.sub(r"in_proj\.", "in_proj_", renamed(key, HUB_NAMES, old, new))] = value
    return found
