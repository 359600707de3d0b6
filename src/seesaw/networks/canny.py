"""Canny edge maps, as ControlNet's annotator makes them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from seesaw.networks import check_images

THRESHOLDS = (100, 200)
"""Hysteresis thresholds: low, high (the annotator's defaults)."""


class Canny:
    """``cv2.Canny`` with thresholds 100 and 200 on RGB images at their native size.

    OpenCV takes the gradient of the strongest channel at each pixel, aperture 3, L1 norm. No
    weights, no smoothing beforehand (lllyasviel/ControlNet, ``annotator/canny``).

    Args:
        weights: must be None.
        device: ignored; OpenCV runs on the CPU.
    """

    def __init__(self, weights: str | Path | None = None, device: str = "cpu") -> None:
        if weights is not None:
            raise ValueError(f"Canny has no weights, but {weights} was given")
        self.meta: dict[str, Any] = {
            "implementation": "cv2.Canny",
            "thresholds": list(THRESHOLDS),
        }

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Edge maps of uint8 RGB images ``(N, 3, H, W)``.

        Returns:
            ``map``: uint8 ``(N, H, W)``, 255 on an edge, else 0.
        """
        check_images(images)
        maps = np.empty((len(images), *images.shape[2:]), np.uint8)
        for row, image in zip(maps, images, strict=True):
            row[:] = cv2.Canny(np.ascontiguousarray(image.transpose(1, 2, 0)), *THRESHOLDS)
        return {"map": maps}
