"""How ControlNet's demonstrations resize an image before they run a detector on it.

lllyasviel/ControlNet ed85cd1 and huggingface/controlnet_aux b1aac31: ``resize_image``.
"""

import cv2
import numpy as np

RESIZED_MULTIPLE = 64
"""To this ControlNet rounds the sides of an image that it resizes."""


def check_resize(resize: int | None, common: int) -> None:
    """Raise unless ``resize`` is None or a length that :func:`resized` can give to a side.

    Args:
        resize: length of the shorter side.
        common: ControlNet's own, for the error.
    """
    if resize is not None and (resize < RESIZED_MULTIPLE or resize % RESIZED_MULTIPLE):
        raise ValueError(
            f"resize is {resize!r}; it can be a positive multiple of {RESIZED_MULTIPLE} "
            f"(ControlNet's is {common}) or None, for images at their own size"
        )


def resized(images: np.ndarray, shorter: int) -> np.ndarray:
    """uint8 images (N, 3, H, W) at the size that ControlNet's ``resize_image`` gives them.

    Lanczos upwards, by area downwards.

    Args:
        images: uint8 RGB (N, 3, H, W).
        shorter: length of the shorter side; both sides are then rounded to multiples of 64.
    """
    scale = shorter / min(images.shape[2:])
    height, width = (
        int(np.round(side * scale / RESIZED_MULTIPLE)) * RESIZED_MULTIPLE
        for side in images.shape[2:]
    )
    how = cv2.INTER_LANCZOS4 if scale > 1 else cv2.INTER_AREA
    out = np.empty((len(images), 3, height, width), np.uint8)
    for row, image in zip(out, images, strict=True):
        picture = np.ascontiguousarray(image.transpose(1, 2, 0))
        row[:] = cv2.resize(picture, (width, height), interpolation=how).transpose(2, 0, 1)
    return out
