"""Crops: from a PIL image of any size to a square uint8 array, by named protocol.

Both protocols enlarge images whose shorter side is below the resolution, as their originals do.
"""

import numpy as np
from PIL import Image

MAX_PIXELS = 2**28
"""Largest intermediate image: only sides of a ratio above 4,000 (at 256 px) reach it."""


def resize_center_crop(image: Image.Image, resolution: int) -> np.ndarray:
    """``torchvision.transforms``: ``Resize(R)`` then ``CenterCrop(R)``, on a PIL image.

    The shorter side becomes R, the longer one ``int(R * long / short)`` (bilinear with
    antialiasing); the offset of the crop is rounded half to even. The same bits as torchvision;
    the protocol of iFID's evaluation.

    Args:
        image: mode RGB.
        resolution: side R in pixels.

    Returns:
        uint8 (R, R, 3).
    """
    _check(image)
    width, height = image.size
    if width <= height:
        size = (resolution, int(resolution * height / width))
    else:
        size = (int(resolution * width / height), resolution)
    pixels = np.asarray(_resize(image, size, Image.Resampling.BILINEAR))
    top = round((size[1] - resolution) / 2)
    left = round((size[0] - resolution) / 2)
    return pixels[top : top + resolution, left : left + resolution]


def adm(image: Image.Image, resolution: int) -> np.ndarray:
    """ADM's ``center_crop_arr`` (openai/guided-diffusion 22e0df8, image_datasets.py; MIT).

    Halved by box averages while the shorter side is at least 2 R, then scaled (bicubic) until the
    shorter side is R, then cropped at offsets rounded down. Used for the training of DiT and SiT.

    Args:
        image: mode RGB.
        resolution: side R in pixels.

    Returns:
        uint8 (R, R, 3).
    """
    _check(image)
    while min(image.size) >= 2 * resolution:
        halved = (image.width // 2, image.height // 2)
        image = image.resize(halved, resample=Image.Resampling.BOX)
    scale = resolution / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    pixels = np.asarray(_resize(image, size, Image.Resampling.BICUBIC))
    top = (size[1] - resolution) // 2
    left = (size[0] - resolution) // 2
    return pixels[top : top + resolution, left : left + resolution]


def _check(image: Image.Image) -> None:
    if image.mode != "RGB":
        raise ValueError(
            f"a crop takes a PIL image of mode RGB, got {image.mode}; convert it first"
        )


def _resize(image: Image.Image, size: tuple[int, int], resample: Image.Resampling) -> Image.Image:
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(
            f"{image.width}x{image.height} pixels are too long and thin: they would become "
            f"{size[0]}x{size[1]} before the crop"
        )
    return image.resize(size, resample=resample)
