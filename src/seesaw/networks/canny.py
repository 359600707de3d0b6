"""Canny edge maps, as ControlNet's annotator makes them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seesaw.networks import check_images
from seesaw.networks.controlnet_resize import RESIZED_MULTIPLE, check_resize, resized

THRESHOLDS = (100, 200)
"""Hysteresis thresholds: low, high (the annotator's defaults)."""


class Canny:
    """``cv2.Canny`` with thresholds 100 and 200 on RGB images, at their native size by default.

    OpenCV takes the gradient of the strongest channel at each pixel, aperture 3, L1 norm. No
    weights, no smoothing beforehand (lllyasviel/ControlNet ed85cd1, ``annotator/canny``).

    With ``resize`` the edges are those of the image as ControlNet's demonstration and
    huggingface/controlnet_aux b1aac31 (``CannyDetector``) resize it first (512 by default, both):
    the shorter side of that length and both rounded to multiples of 64, by Lanczos upwards and by
    area downwards. The map keeps that size, as theirs. Enlarged images have fewer edges per pixel,
    so that a drift on such maps is smaller: numbers of the two sizes cannot be compared.

    Args:
        weights: must be None.
        device: ignored; OpenCV runs on the CPU.
        resize: None, or the length of the shorter side, a multiple of 64.

    Raises:
        ValueError: weights were given, or ``resize`` is no multiple of 64.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        device: str = "cpu",
        *,
        resize: int | None = None,
    ) -> None:
        if weights is not None:
            raise ValueError(f"Canny has no weights, but {weights} was given")
        check_resize(resize, 512)
        self.resize = resize
        self.meta: dict[str, Any] = {
            "implementation": "cv2.Canny",
            "thresholds": list(THRESHOLDS),
            "resize": "none" if resize is None else f"{resize}, multiples of {RESIZED_MULTIPLE}",
        }

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Edge maps of uint8 RGB images ``(N, 3, H, W)``.

        Returns:
            ``map``: uint8 ``(N, H, W)``, 255 on an edge, else 0; with ``resize`` of the size of the
            resized images.
        """
        check_images(images)
        if self.resize is not None:
            images = resized(images, self.resize)
        maps = np.empty((len(images), *images.shape[2:]), np.uint8)
        for row, image in zip(maps, images, strict=True):
            row[:] = cv2.Canny(np.ascontiguousarray(image.transpose(1, 2, 0)), *THRESHOLDS)
        return {"map": maps}
