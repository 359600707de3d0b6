"""PSNR and SSIM of float pixels on the scale 0..255, batched, in float64 on any device."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from seesaw.metrics.fidelity import SIGMA, WINDOW


def shifted(pixels: Tensor) -> Tensor:
    """What an image in [0, 1] that is taken for one in [-1, 1] is on the scale 0..255.

    ``(y + 1) * 127.5`` of ``y = pixels / 255``: half the contrast, so that PSNR is 20 log10(2) =
    6.02 dB higher.
    """
    return pixels / 2 + 127.5


def mean_squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error per image of pixels (N, C, H, W), for values in [0, 1], float64 (N,)."""
    return (a.double() - b.double()).square().flatten(1).mean(1) / 255.0**2


def structural_similarity(a: Tensor, b: Tensor, border: str) -> Tensor:
    """SSIM per image of pixels (N, C, H, W), mean over channels and windows, float64 (N,).

    As :func:`seesaw.metrics.fidelity.structural_similarity`: Gaussian 11 x 11, sigma 1.5, K 0.01
    and 0.03, range 255.

    Args:
        a: pixels, at least 11 high and wide.
        b: the same shape.
        border: ``"valid"``: windows inside the image; ``"reflect"``: a window around each pixel of
            the image reflected at its border.

    Raises:
        ValueError: images smaller than the window.
    """
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(
            f"SSIM needs images of at least {WINDOW} x {WINDOW} pixels, its window; got "
            f"{tuple(a.shape[-2:])}. Raise data.resolution"
        )
    rows, columns = (window_matrix(n, border, str(a.device)) for n in a.shape[-2:])

    def blur(planes: Tensor) -> Tensor:
        return rows.T @ (planes @ columns)

    x, y = (pixels.to(torch.float64, copy=True) for pixels in (a, b))  # changed in place
    mean_x, mean_y, covariance = blur(x), blur(y), blur(x * y)
    variances = blur(x.square_().add_(y.square_()))
    product = mean_x * mean_y
    squares = mean_x.square_().add_(mean_y.square_())
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    covariance.sub_(product).mul_(2).add_(c2)
    variances.sub_(squares).add_(c2)
    found = product.mul_(2).add_(c1).mul_(covariance).div_(squares.add_(c1)).div_(variances)
    return found.flatten(1).mean(1)


@cache
def window_matrix(n: int, border: str, device: str) -> Tensor:
    """Matrix (n, windows), float64, whose columns are the windows over n pixels."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    pixels = np.arange(n)
    if border == "reflect":
        pixels = np.pad(pixels, WINDOW // 2, mode="reflect")
    windows = len(pixels) - WINDOW + 1
    matrix = np.zeros((n, windows))
    for column in range(windows):
        np.add.at(matrix[:, column], pixels[column : column + WINDOW], weights)
    return torch.from_numpy(matrix).to(device)
