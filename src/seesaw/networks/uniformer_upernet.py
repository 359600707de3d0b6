"""ControlNet's segmentation annotator: UniFormer-S with UPerNet on the 150 classes of ADE20K.

Written after the papers (UniFormer: Li et al., ICLR 2022; UPerNet: Xiao et al., ECCV 2018) and the
behaviour of lllyasviel/ControlNet ed85cd1, ``annotator/uniformer``. Submodules have the names of
the published file's keys.
"""

from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seesaw.networks import check_finite, check_images
from seesaw.networks.checkpoint import published_state

WEIGHTS_FILE = "upernet_global_small.pth"
"""In the folder ``annotator/ckpts`` of the Hugging Face repository lllyasviel/ControlNet."""

SOURCE = f"https://huggingface.co/lllyasviel/ControlNet/resolve/main/annotator/ckpts/{WEIGHTS_FILE}"
UNUSED = "auxiliary_head."
"""The head that helped the training; its tensors in the file are not read."""

WIDTHS = (64, 128, 320, 512)
DEPTHS = (3, 4, 8, 3)
HEAD_WIDTH = 64
MLP_RATIO = 4
CHANNELS = 512
POOLED = (1, 2, 3, 6)
CLASSES = 150
STRIDE = 32

SCALE = (2048, 512)
"""Longest and shortest side that images are resized to fit, as ADE20K's test pipeline does."""

MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)

PALETTE = tuple(
    tuple(bytes.fromhex(colour))
    for colour in (
        "787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 "
        "96053d 787846 08ff33 ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff "
        "ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff 08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff "
        "e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff "
        "8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff "
        "0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 "
        "0052ff 00ff29 00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 "
        "ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff "
        "00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa 8500ff 00ff5c b800ff "
        "ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 "
        "ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00 00ccff 1400ff "
        "ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff "
        "b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff"
    ).split()
)
"""RGB of each class: ADE20K's colours, ``mmseg/core/evaluation/class_names.py`` of ControlNet.

Classes 6 and 48 (road, skyscraper) have the same colour there.
"""

_resized = partial(functional.interpolate, mode="bilinear", align_corners=False)


class UniformerUpernet:
    """Classes of ADE20K by ControlNet's UniFormer-S UPerNet ("global"), as its annotator runs it.

    An image is resized by OpenCV (bilinear on uint8) until its short side is 512 or its long side
    2048, its channels are swapped, it is normalised by ImageNet's mean and deviation in the order
    R, G, B and goes through the network whole. The logits are resized (bilinear) to the network's
    input and from there to the image; the label is the most probable class. ControlNet gives RGB to
    a pipeline that expects BGR, so its network sees blue in the place of red: that is the default
    here.

    Resizing uint8 runs on the CPU image by image, so that its numbers are OpenCV's; everything else
    runs on the device. Labels do not depend on the batch but where two classes are equal to about
    1e-5 of a logit, which the order of summation decides.

    ControlNet's code is under the Apache licence 2.0; for the weights, see the model card of the
    repository that they are in.

    Args:
        weights: ``upernet_global_small.pth`` (a dict with ``meta`` and ``state_dict``), from the
            folder ``annotator/ckpts`` of huggingface.co/lllyasviel/ControlNet. The tensors
            ``auxiliary_head.*`` in it are not used.
        device: torch device.
        swap_channels: swap red and blue, as ControlNet does; False: the network sees the colours
            that it was trained on.
        scale: longest and shortest side that images are resized to fit.

    Raises:
        FileNotFoundError: no such file. Nothing is ever downloaded.
        ValueError: not that file: see :func:`seesaw.networks.checkpoint.published_state`.
    """

    def __init__(
        self,
        weights: str | Path | None,
        device: str = "cpu",
        *,
        swap_channels: bool = True,
        scale: tuple[int, int] = SCALE,
    ) -> None:
        if weights is None:
            raise ValueError(
                f"UniFormer-UPerNet needs its weights: give the path of {WEIGHTS_FILE} ({SOURCE})"
            )
        with torch.device("meta"):
            model = Segmentor()

        def used(state: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name: v for name, v in state.items() if not name.startswith(UNUSED)}

        state = published_state(
            weights, file=f"{WEIGHTS_FILE} ({SOURCE})", layout=model.state_dict(), adapt=used
        )
        cast = {k: state[k].to(v.dtype).contiguous() for k, v in model.state_dict().items()}
        model.load_state_dict(cast, assign=True)
        self.device = torch.device(device)
        self.model = model.eval().requires_grad_(False).to(self.device)
        self.swap_channels = swap_channels
        self.scale = scale
        self.mean = torch.tensor(MEAN, device=self.device).view(1, 3, 1, 1)
        self.deviation = torch.tensor(DEVIATION, device=self.device).view(1, 3, 1, 1)
        self.meta: dict[str, Any] = {
            "implementation": "UniFormer-S UPerNet, ADE20K, as lllyasviel/ControlNet ed85cd1",
            "weights": SOURCE,
            "licence": "code Apache-2.0; weights: the card of huggingface.co/lllyasviel/ControlNet",
            "resize": f"OpenCV bilinear to fit {max(scale)} x {min(scale)}",
            "channels": "swapped (ControlNet)" if swap_channels else "RGB",
            "palette": [list(colour) for colour in PALETTE],
        }

    @torch.inference_mode()
    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Labels of uint8 RGB images ``(N, 3, H, W)``.

        Returns:
            ``labels``: uint8 ``(N, H, W)``, 0..149; ``meta["palette"]`` has their colours.

        Raises:
            ValueError: not uint8 RGB, or so narrow that nothing is left of the short side.
        """
        pixels = self.pixels(images)
        labels = np.empty((len(images), *images.shape[2:]), np.uint8)
        heads = self.model(pixels)
        check_finite(heads, "uniformer_upernet")
        for row, head in zip(labels, heads, strict=True):
            logits = full_size(head[None], pixels.shape[-2:], images.shape[-2:])
            row[:] = logits.softmax(1).argmax(1)[0].to(torch.uint8).cpu().numpy()
        return {"labels": labels}

    def pixels(self, images: np.ndarray) -> Tensor:
        """What the network sees of uint8 RGB images: resized and normalised, on the device."""
        check_images(images)
        height, width = resized_shape(images.shape[-2:], self.scale)
        resized = np.empty((len(images), height, width, 3), np.uint8)
        for row, image in zip(resized, images, strict=True):
            cv2.resize(
                np.ascontiguousarray(image.transpose(1, 2, 0)),
                (width, height),
                dst=row,
                interpolation=cv2.INTER_LINEAR,
            )
        pixels = torch.from_numpy(resized).to(self.device).permute(0, 3, 1, 2)
        if self.swap_channels:
            pixels = pixels.flip(1)
        return (pixels.float().contiguous() - self.mean) / self.deviation


def resized_shape(shape: tuple[int, int], scale: tuple[int, int] = SCALE) -> tuple[int, int]:
    """Height and width of an image after the resize that keeps its proportions.

    Args:
        shape: height and width.
        scale: the largest that the longest and the shortest side may become.

    Raises:
        ValueError: the network cannot take the result: its short side is below 32.
    """
    factor = min(max(scale) / max(shape), min(scale) / min(shape))
    height, width = (int(side * factor + 0.5) for side in shape)
    if min(height, width) < STRIDE:
        raise ValueError(
            f"images of {shape[0]} x {shape[1]} pixels are too narrow for UniFormer-UPerNet: they "
            f"would be resized to {height} x {width}, and it needs sides of at least {STRIDE}"
        )
    return height, width


def full_size(head: Tensor, seen: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """Logits ``(N, 150, h, w)`` of the head, resized to the network's input, then to ``shape``."""
    return _resized(_resized(head, size=tuple(seen)), size=tuple(shape))


class Segmentor(nn.Module):
    """Normalised images ``(N, 3, H, W)`` to logits ``(N, 150, H // 4, W // 4)``."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = UniFormer()
        self.decode_head = UPerHead()

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits at a quarter of the resolution."""
        return self.decode_head(self.backbone(pixels))


class UniFormer(nn.Module):
    """Four stages, each at half the resolution of the one before (the first at a quarter).

    Stages 1 and 2 mix neighbours by depthwise convolutions, stages 3 and 4 all positions by
    attention. Each stage goes on from the last block's output; what is handed out is normalised.
    """

    def __init__(self) -> None:
        super().__init__()
        blocks = (LocalBlock, LocalBlock, GlobalBlock, GlobalBlock)
        below = 3
        for stage, (width, depth, block) in enumerate(zip(WIDTHS, DEPTHS, blocks), start=1):
            embedding = PatchEmbedding(below, width, patch=4 if stage == 1 else 2)
            self.add_module(f"patch_embed{stage}", embedding)
            self.add_module(f"blocks{stage}", nn.Sequential(*(block(width) for _ in range(depth))))
            self.add_module(f"norm{stage}", nn.LayerNorm(width, eps=1e-6))
            below = width

    def forward(self, x: Tensor) -> list[Tensor]:
        """The four feature maps, finest first."""
        maps = []
        for stage in range(1, len(WIDTHS) + 1):
            x = self.get_submodule(f"patch_embed{stage}")(x)
            x = self.get_submodule(f"blocks{stage}")(x)
            norm = self.get_submodule(f"norm{stage}")
            maps.append(norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous())
        return maps


class PatchEmbedding(nn.Module):
    """Patches that do not overlap, projected and normalised."""

    def __init__(self, below: int, width: int, *, patch: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Conv2d(below, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, below, H, W)`` to ``(N, width, H // patch, W // patch)``."""
        x = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return x.permute(0, 3, 1, 2).contiguous()


class Mlp(nn.Module):
    """Two layers with a GELU between: linear, or convolutions of 1 x 1 if ``convolution``."""

    def __init__(self, width: int, *, convolution: bool) -> None:
        super().__init__()
        layer = partial(nn.Conv2d, kernel_size=1) if convolution else nn.Linear
        self.fc1 = layer(width, width * MLP_RATIO)
        self.fc2 = layer(width * MLP_RATIO, width)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        return self.fc2(functional.gelu(self.fc1(x)))


def _depthwise(width: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, size, padding=size // 2, groups=width)


class LocalBlock(nn.Module):
    """Position by a depthwise convolution, a 5 x 5 depthwise mixer, and an MLP; BatchNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pos_embed = _depthwise(width, 3)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 1)
        self.conv2 = nn.Conv2d(width, width, 1)
        self.attn = _depthwise(width, 5)
        self.norm2 = nn.BatchNorm2d(width)
        self.mlp = Mlp(width, convolution=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width, H, W)`` to the same."""
        x = x + self.pos_embed(x)
        x = x + self.conv2(self.attn(self.conv1(self.norm1(x))))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Multi-head self-attention, heads of 64."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, positions, width)`` to the same."""
        query, key, value = (
            part.unflatten(-1, (-1, HEAD_WIDTH)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, -1)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class GlobalBlock(nn.Module):
    """Position by a depthwise convolution, attention over all positions, and an MLP; LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pos_embed = _depthwise(width, 3)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, convolution=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, width, H, W)`` to the same."""
        x = x + self.pos_embed(x)
        shape = x.shape[-2:]
        x = x.flatten(2).transpose(1, 2)
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x.transpose(1, 2).unflatten(2, shape)


class NormedConv(nn.Module):
    """Convolution without bias that keeps the resolution, BatchNorm, ReLU."""

    def __init__(self, below: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(below, CHANNELS, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, below, H, W)`` to ``(N, 512, H, W)``."""
        return functional.relu(self.bn(self.conv(x)))


class UPerHead(nn.Module):
    """UPerNet: pyramid pooling of the coarsest map, then a feature pyramid down to the finest."""

    def __init__(self) -> None:
        super().__init__()
        top = WIDTHS[-1]
        self.conv_seg = nn.Conv2d(CHANNELS, CLASSES, 1)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(cells), NormedConv(top, 1)) for cells in POOLED
        )
        self.bottleneck = NormedConv(top + len(POOLED) * CHANNELS, 3)
        self.lateral_convs = nn.ModuleList(NormedConv(width, 1) for width in WIDTHS[:-1])
        self.fpn_convs = nn.ModuleList(NormedConv(CHANNELS, 3) for _ in WIDTHS[:-1])
        self.fpn_bottleneck = NormedConv(len(WIDTHS) * CHANNELS, 3)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Four feature maps, finest first, to logits at the resolution of the finest."""
        top = maps[-1]
        pooled = [_resized(pool(top), size=top.shape[-2:]) for pool in self.psp_modules]
        levels = [self.bottleneck(torch.cat([top, *pooled], 1))]
        for convolution, fine in zip(reversed(self.lateral_convs), reversed(maps[:-1])):
            coarse = _resized(levels[0], size=fine.shape[-2:])
            levels.insert(0, convolution(fine) + coarse)
        outputs = [conv(level) for conv, level in zip(self.fpn_convs, levels)] + levels[-1:]
        finest = outputs[0].shape[-2:]
        outputs[1:] = [_resized(output, size=finest) for output in outputs[1:]]
        return self.conv_seg(self.fpn_bottleneck(torch.cat(outputs, 1)))
