"""What the published image encoders share: pixels by PIL, and files in transformers' names."""

import re
from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as TF

SIDE = 224
"""Side of the images that the encoders see, in pixels."""

Prepare = Callable[[Image.Image], Image.Image]


def squeezed(image: Image.Image, side: int = SIDE) -> Image.Image:
    """The whole image at ``side`` x ``side`` pixels: PIL's bicubic, which is antialiased."""
    return image.resize((side, side), Image.Resampling.BICUBIC)


def cropped(image: Image.Image, resize: int, side: int = SIDE) -> Image.Image:
    """PIL's bicubic and torchvision's crop: ``Resize(resize)``, ``CenterCrop(side)``.

    ``resize`` is for the shorter side; an image that has it already is only cropped.
    """
    resized = TF.resize(image, resize, interpolation=TF.InterpolationMode.BICUBIC)
    return TF.center_crop(resized, side)


def prepared(images: np.ndarray, prepare: Prepare, side: int = SIDE) -> np.ndarray:
    """Images ``(N, 3, H, W)``, one by one, through ``prepare`` to uint8 ``(N, 3, side, side)``."""
    result = np.empty((len(images), side, side, 3), np.uint8)
    for row, image in zip(result, images, strict=True):
        row[:] = prepare(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))))
    return result.transpose(0, 3, 1, 2)


def normalised(
    images: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> Tensor:
    """uint8 ``(N, 3, H, W)`` to float32 ``(x / 255 - mean) / std`` on ``device``."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device).float() / 255
    centre, spread = (torch.tensor(v, device=device).view(1, -1, 1, 1) for v in (mean, std))
    return (pixels - centre) / spread


def fused(
    state: Mapping[str, Tensor], parts: tuple[str, str, str], whole: str
) -> dict[str, Tensor]:
    """Query, key and value, stored apart, as one tensor (in rows), as the official files have them.

    Args:
        state: key -> tensor.
        parts: what the keys of the three hold.
        whole: what the key of the one holds instead. Where one of the three is missing, or they
            cannot be put together, all stay.
    """
    state = dict(state)
    for key in [key for key in state if parts[0] in key]:
        names = [key.replace(parts[0], part) for part in parts]
        shapes = {tuple(state[name].shape) for name in names if name in state}
        if all(name in state for name in names) and len(shapes) == 1 and shapes != {()}:
            state[key.replace(parts[0], whole)] = torch.cat([state.pop(name) for name in names])
    return state


def renamed(key: str, names: Mapping[str, str], layer: str, block: str) -> str:
    """A key in other names; unknown keys stay.

    Args:
        key: such as ``embeddings.cls_token`` or ``encoder.layer.3.norm1.weight``.
        names: old -> new, of whole keys without ``.weight`` and ``.bias``, and, below a layer, of
            what follows its number.
        layer: how the keys of a layer begin, before its number.
        block: how they are to begin.
    """
    found = re.fullmatch(rf"(?:{re.escape(layer)}(\d+)\.)?(.+?)(\.weight|\.bias|)", key)
    if found is None or found[2] not in names:
        return key
    start = "" if found[1] is None else f"{block}{found[1]}."
    return f"{start}{names[found[2]]}{found[3]}"
