"""Depth maps of MiDaS v3 (DPT-Hybrid), as ControlNet's annotator makes them.

Ranftl et al. 2021 (arXiv 2103.13413); isl-org/MiDaS and lllyasviel/ControlNet ed85cd1
(``annotator/midas``). The backbone is timm's; reassembling, fusion and head are written out here
under the names of the official file.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from timm.models import create_model
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from seesaw.networks import check_finite, check_images
from seesaw.networks.checkpoint import published_state
from seesaw.networks.controlnet_resize import RESIZED_MULTIPLE, check_resize, resized
from seesaw.registry import unknown

WEIGHTS_FILE = "dpt_hybrid-midas-501f0c75.pt"
"""From release 1_0 of intel-isl/DPT; ControlNet has it in ``annotator/ckpts``."""

SOURCES = (
    f"{WEIGHTS_FILE} (intel-isl/DPT on GitHub, release 1_0; lllyasviel/ControlNet on Hugging Face, "
    "annotator/ckpts), or the weights file of Intel/dpt-hybrid-midas on Hugging Face"
)

MULTIPLE = 32
"""The deepest grid is a 32nd of the image, and every grid above it twice the one below."""

RESIZED_BY: Mapping[str, str] = {
    "controlnet": f"multiples of {RESIZED_MULTIPLE}",
    "midas": f"MiDaS' dpt_transform, multiples of {MULTIPLE}",
}
"""Option ``by`` -> words."""

PATCH = 16
WIDTH = 768
DEPTH = 12
FEATURES = 256
TAPPED_STAGES = 2
TAPPED_BLOCKS = (8, 11)
CLASSIFIER = ("pretrained.model.head.weight", "pretrained.model.head.bias")
"""In the file, but without influence on the depth."""


class _Reassemble(nn.ModuleDict):
    """Tokens to a grid of features; the class token is joined to every other token."""

    def __init__(self, *, halved: bool) -> None:
        project = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.GELU())
        super().__init__(
            {"0": nn.ModuleDict({"project": project}), "3": nn.Conv2d(WIDTH, WIDTH, 1)}
        )
        if halved:
            self["4"] = nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        patches = tokens[:, 1:]
        readout = tokens[:, :1].expand_as(patches)
        patches = self["0"]["project"](torch.cat([patches, readout], -1))
        features = self["3"](patches.transpose(1, 2).unflatten(2, grid))
        return self["4"](features) if "4" in self else features


class _Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(FEATURES, FEATURES, 3, padding=1)
        self.conv2 = nn.Conv2d(FEATURES, FEATURES, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return self.conv2(relu(self.conv1(relu(features)))) + features


class _Fusion(nn.Module):
    """What comes from below, and the features of this level, at twice the resolution."""

    def __init__(self) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(FEATURES, FEATURES, 1)
        self.resConfUnit1 = _Residual()
        self.resConfUnit2 = _Residual()

    def forward(self, below: Tensor, here: Tensor | None = None) -> Tensor:
        if here is not None:
            below = below + self.resConfUnit1(here)
        return self.out_conv(_doubled(self.resConfUnit2(below)))


class _Doubled(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return _doubled(features)


class DPTHybrid(nn.Module):
    """The network, under the names of the official file.

    A weight-standardised ResNet-50 of three stages, a ViT-B on its grid, and the DPT decoder on the
    outputs of two stages and two blocks. The last normalisation of the ViT and the first residual
    unit of the deepest fusion are in the file and have no influence.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pretrained = nn.ModuleDict(
            {
                "model": create_model("vit_base_r50_s16_384", pretrained=False, num_classes=0),
                "act_postprocess3": _Reassemble(halved=False),
                "act_postprocess4": _Reassemble(halved=True),
            }
        )
        widths = (256, 512, WIDTH, WIDTH)
        self.scratch = nn.ModuleDict(
            {
                f"layer{level}_rn": nn.Conv2d(width, FEATURES, 3, padding=1, bias=False)
                for level, width in enumerate(widths, 1)
            }
        )
        self.scratch.update({f"refinenet{level}": _Fusion() for level in (1, 2, 3, 4)})
        self.scratch["output_conv"] = nn.Sequential(
            nn.Conv2d(FEATURES, FEATURES // 2, 3, padding=1),
            _Doubled(),
            nn.Conv2d(FEATURES // 2, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Inverse depth (N, H, W), not negative, of pixels (N, 3, H, W) in [-1, 1]."""
        levels = self._levels(pixels)
        levels = [self.scratch[f"layer{i}_rn"](level) for i, level in enumerate(levels, 1)]
        path = self.scratch["refinenet4"](levels[3])
        for i in (3, 2, 1):
            path = self.scratch[f"refinenet{i}"](path, levels[i - 1])
        return self.scratch["output_conv"](path).squeeze(1)

    def _levels(self, pixels: Tensor) -> list[Tensor]:
        """Features at a 4th, 8th, 16th and 32nd of the resolution."""
        vit = self.pretrained["model"]
        grid = (pixels.shape[-2] // PATCH, pixels.shape[-1] // PATCH)
        levels = []
        features = vit.patch_embed.backbone.stem(pixels)
        for index, stage in enumerate(vit.patch_embed.backbone.stages):
            features = stage(features)
            if index < TAPPED_STAGES:
                levels.append(features)
        tokens = vit.patch_embed.proj(features).flatten(2).transpose(1, 2)
        tokens = torch.cat([vit.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + _resized_positions(vit.pos_embed, grid)
        for index, block in enumerate(vit.blocks):
            tokens = block(tokens)
            if index in TAPPED_BLOCKS:
                reassemble = self.pretrained[f"act_postprocess{len(levels) + 1}"]
                levels.append(reassemble(tokens, grid))
        return levels


class DptHybridMidas:
    """MiDaS' DPT-Hybrid; a map is its inverse depth, stretched over 0..255 image by image.

    Input is RGB / 127.5 - 1. The map is ``(d - min) / max(d - min) * 255`` per image, cut off to
    whole numbers (the annotator's, not rounded). Near is bright. A constant ``d``, which the
    annotator divides by zero, gives a map of zeros here, and the field ``constant`` says so.

    By default the network sees an image at its own size (sides are multiples of 32). With
    ``resize`` it sees another one, ``by`` whom:

    - ``"controlnet"``: what ControlNet's demonstration shows it (384 there): the shorter side of
      that length and both rounded to multiples of 64, by Lanczos upwards and by area downwards; the
      finished map is brought back to the image's size bilinearly.
    - ``"midas"``: what MiDaS' ``dpt_transform`` and ``run.py`` show it (isl-org/MiDaS 4545977, 384
      there): see :func:`midas_resized`. The depth is brought back to the image's size by torch's
      bicubic, and then stretched.

    They differ: depth maps depend on the resolution at which the network sees an image.

    Cutting off makes a level hang on float noise where ``d`` is near a whole number of levels.
    Measured at 256 x 256 on the CPU, weights filled with noise, two pictures: one level apart are 3
    and 6 of the 65536 pixels in a batch of 1 and one of 2; 13 and 20 here and in the official code;
    35 and 41 here and in float64. That moves a drift by at most 2.3e-6. ``d`` itself is the same to
    2e-5 of its range, with TF32 off.

    Licence: MIT (isl-org/MiDaS, Intel ISL), weights and code; for the same weights in transformers'
    layout see the model card of Intel/dpt-hybrid-midas.

    Args:
        weights: ``dpt_hybrid-midas-501f0c75.pt`` (a state dict, or one under ``model`` beside an
            ``optimizer``), or the file of Intel/dpt-hybrid-midas in transformers' layout (or the
            folder that holds it). The classifier of the ViT is left out; every other tensor must
            be there, and no other.
        device: torch device.
        resize: None, or the length of the side that the network sees: a multiple of 64
            (ControlNet's way, of the shorter side) or of 32 (MiDaS' way).
        by: ``"controlnet"`` or ``"midas"``: how images are resized, if they are.

    Raises:
        FileNotFoundError: no such file. Nothing is ever downloaded.
        ValueError: not that file: see :func:`seesaw.networks.checkpoint.published_state`; or
            ``resize`` is no such multiple, or ``by`` is unknown.
    """

    def __init__(
        self,
        weights: str | Path | None,
        device: str = "cpu",
        *,
        resize: int | None = None,
        by: Literal["controlnet", "midas"] = "controlnet",
    ) -> None:
        if weights is None:
            raise ValueError(f"DPT-Hybrid needs its weights: give the path of {SOURCES}")
        if by not in RESIZED_BY:
            raise unknown("way of resizing (by)", by, RESIZED_BY)
        if by == "controlnet":
            check_resize(resize, 384)
        elif resize is None or resize < MULTIPLE or resize % MULTIPLE:
            raise ValueError(
                f"resize is {resize!r}; by MiDaS' way it is a positive multiple of {MULTIPLE} "
                "(MiDaS' is 384)"
            )
        with torch.device("meta"):
            self.model = DPTHybrid()
        layout = self.model.state_dict()
        state = published_state(weights, file=SOURCES, layout=layout, adapt=official_state)
        self.device = torch.device(device)
        floats = {name: tensor.to(self.device, torch.float32) for name, tensor in state.items()}
        self.model.load_state_dict(floats, assign=True)
        self.model.eval().requires_grad_(False)
        self.resize, self.by = resize, by
        self.meta: dict[str, Any] = {
            "implementation": "DPT-Hybrid of MiDaS v3, as ControlNet's annotator",
            "source": "isl-org/MiDaS; lllyasviel/ControlNet ed85cd1, annotator/midas",
            "licence": "MIT (isl-org/MiDaS)",
            "resize": "none" if resize is None else f"{resize}, {RESIZED_BY[by]}",
            "map": "per image, (d - min) / max(d - min) * 255, truncated; constant: zeros",
        }

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Depth maps of uint8 RGB images ``(N, 3, H, W)``.

        Returns:
            ``map``: uint8 ``(N, H, W)``, 255 is nearest and 0 farthest in each image;
            ``constant``: uint8 ``(N,)``, 1 where the depth was the same everywhere (map all 0).

        Raises:
            ValueError: see :meth:`depth` and :func:`stretched`.
        """
        depth = self._depth(images)
        height, width = images.shape[2:]
        if self.by == "midas":
            depth = interpolate(depth[:, None], (height, width), mode="bicubic")[:, 0]
        maps, constant = (array.cpu().numpy() for array in stretched(depth))
        if maps.shape[1:] != (height, width):
            sized = np.empty((len(maps), height, width), np.uint8)
            for row, level in zip(sized, maps, strict=True):
                row[:] = cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR)
            maps = sized
        return {"map": maps, "constant": constant}

    def depth(self, images: np.ndarray) -> np.ndarray:
        """What the network itself says of uint8 RGB images ``(N, 3, H, W)``.

        Returns:
            float32 ``(N, H, W)``: inverse depth up to scale and shift, not negative; at the size
            that the network sees.

        Raises:
            ValueError: other images, or (without ``resize``) sides that are no multiples of 32.
        """
        return self._depth(images).cpu().numpy()

    @torch.inference_mode()
    def _depth(self, images: np.ndarray) -> Tensor:
        check_images(images)
        if self.resize is not None and self.by == "midas":
            return self.model(torch.from_numpy(midas_resized(images, self.resize)).to(self.device))
        if self.resize is not None:
            images = resized(images, self.resize)
        height, width = images.shape[2:]
        if min(height, width) < MULTIPLE or height % MULTIPLE or width % MULTIPLE:
            raise ValueError(
                f"DPT-Hybrid takes images whose sides are multiples of {MULTIPLE}, got {height} x "
                f"{width}; set data.resolution to such a size, or use resize"
            )
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        return self.model(pixels.float() / 127.5 - 1)


def stretched(depth: Tensor) -> tuple[Tensor, Tensor]:
    """Each map of ``depth`` over the levels 0..255, truncated, as the annotator does.

    Args:
        depth: float (N, H, W).

    Returns:
        uint8 (N, H, W), which has 0 and 255 in every map but the constant ones, which are 0; and
        uint8 (N,), 1 for those.

    Raises:
        ValueError: a map has values that are not finite.
    """
    above = depth - depth.amin((1, 2), keepdim=True)
    span = above.amax((1, 2), keepdim=True)
    check_finite(span, "dpt_hybrid_midas")
    constant = span == 0
    levels = above / span.masked_fill(constant, 1) * 255
    return levels.clamp(0, 255).to(torch.uint8), constant.flatten().to(torch.uint8)


def midas_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width at which MiDaS' transform shows an image to the network.

    Of the two factors that bring a side to ``side`` it takes the one nearer to 1 for both, and
    rounds both sides to multiples of 32 (a half to the even multiple).
    """
    across, down = side / width, side / height
    factor = across if abs(1 - across) < abs(1 - down) else down
    height, width = (int(np.round(factor * s / MULTIPLE)) * MULTIPLE for s in (height, width))
    return height, width


def midas_resized(images: np.ndarray, side: int) -> np.ndarray:
    """uint8 images (N, 3, H, W) as the network's input by MiDaS' own transform.

    Resized by OpenCV's bicubic (not antialiased) in float64, neither rounded nor cut off.

    Args:
        images: uint8 RGB (N, 3, H, W).
        side: see :func:`midas_size`.

    Returns:
        float32 (N, 3, H', W'), [-1, 1] but for what bicubic overshoots.
    """
    height, width = midas_size(*images.shape[2:], side)
    out = np.empty((len(images), 3, height, width), np.float32)
    for row, image in zip(out, images, strict=True):
        picture = image.transpose(1, 2, 0) / 255.0
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        row[:] = ((picture - 0.5) / 0.5).transpose(2, 0, 1)
    return out


_BIT = r"dpt\.embeddings\.backbone\.bit\."
_BACKBONE = "pretrained.model.patch_embed.backbone."
_BLOCK = r"dpt\.encoder\.layer\.(\d+)\."
_OFFICIAL_BLOCK = r"pretrained.model.blocks.\1."
_STAGE = r"neck\.reassemble_stage\."
_FUSION = r"neck\.fusion_stage\.layers\."
RENAMED = {
    r"dpt\.embeddings\.cls_token": "pretrained.model.cls_token",
    r"dpt\.embeddings\.position_embeddings": "pretrained.model.pos_embed",
    r"dpt\.embeddings\.projection\.": "pretrained.model.patch_embed.proj.",
    rf"{_BIT}embedder\.convolution\.": f"{_BACKBONE}stem.conv.",
    rf"{_BIT}embedder\.norm\.": f"{_BACKBONE}stem.norm.",
    rf"{_BIT}encoder\.stages\.(\d+)\.layers\.": rf"{_BACKBONE}stages.\1.blocks.",
    rf"{_BLOCK}layernorm_before\.": f"{_OFFICIAL_BLOCK}norm1.",
    rf"{_BLOCK}layernorm_after\.": f"{_OFFICIAL_BLOCK}norm2.",
    rf"{_BLOCK}attention\.attention\.": f"{_OFFICIAL_BLOCK}attn.",
    rf"{_BLOCK}attention\.output\.dense\.": f"{_OFFICIAL_BLOCK}attn.proj.",
    rf"{_BLOCK}intermediate\.dense\.": f"{_OFFICIAL_BLOCK}mlp.fc1.",
    rf"{_BLOCK}output\.dense\.": f"{_OFFICIAL_BLOCK}mlp.fc2.",
    r"dpt\.layernorm\.": "pretrained.model.norm.",
    rf"{_STAGE}readout_projects\.2\.": "pretrained.act_postprocess3.0.project.",
    rf"{_STAGE}readout_projects\.3\.": "pretrained.act_postprocess4.0.project.",
    rf"{_STAGE}layers\.2\.projection\.": "pretrained.act_postprocess3.3.",
    rf"{_STAGE}layers\.3\.projection\.": "pretrained.act_postprocess4.3.",
    rf"{_STAGE}layers\.3\.resize\.": "pretrained.act_postprocess4.4.",
    **{rf"neck\.convs\.{i}\.": f"scratch.layer{i + 1}_rn." for i in range(4)},
    **{rf"{_FUSION}{i}\.projection\.": f"scratch.refinenet{4 - i}.out_conv." for i in range(4)},
    **{
        rf"{_FUSION}{i}\.residual_layer(\d)\.convolution": (
            rf"scratch.refinenet{4 - i}.resConfUnit\1.conv"
        )
        for i in range(4)
    },
    r"head\.head\.": "scratch.output_conv.",
}
"""Beginnings of names in transformers' layout (patterns) -> in the official one.

Query, key and value are three tensors there, and one here."""


def official_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict in the official layout, without the classifier.

    Args:
        state: in that layout or in transformers'. Names that neither has stay as they are.
    """
    named = {_official_name(k): v for k, v in state.items() if k not in CLASSIFIER}
    for block in range(DEPTH):
        for kind in ("weight", "bias"):
            attention = f"pretrained.model.blocks.{block}.attn."
            parts = [f"{attention}{part}.{kind}" for part in ("query", "key", "value")]
            if all(part in named for part in parts) and _stackable([named[p] for p in parts]):
                named[f"{attention}qkv.{kind}"] = torch.cat([named.pop(part) for part in parts])
    return named


def _official_name(name: str) -> str:
    for pattern, official in RENAMED.items():
        renamed, found = re.subn(f"^{pattern}", official, name)
        if found:
            return renamed
    return name


def _stackable(tensors: list[Tensor]) -> bool:
    return tensors[0].ndim > 0 and len({tensor.shape for tensor in tensors}) == 1


def _doubled(features: Tensor) -> Tensor:
    return interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)


def _resized_positions(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Position table (1, 1 + side^2, C) for another grid; the class token's stays as it is."""
    token, places = table[:, :1], table[:, 1:]
    side = round(places.shape[1] ** 0.5)
    places = places.transpose(1, 2).unflatten(2, (side, side))
    places = interpolate(places, size=grid, mode="bilinear", align_corners=False)
    return torch.cat([token, places.flatten(2).transpose(1, 2)], dim=1)
