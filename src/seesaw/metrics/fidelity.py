"""PSNR, SSIM and MS-SSIM of uint8 images, per image, in float64."""

from functools import cache

import numpy as np

from seesaw.metrics import Measured, Options, Reading
from seesaw.metrics.pairs import mean_reading, paired_batches
from seesaw.shards import Shards

MSE_FLOOR = 1e-10
"""Smallest mean squared error counted, for values in [0, 1]: identical images have 100 dB."""

WINDOW = 11
SIGMA = 1.5
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales of MS-SSIM, the finest first."""

LARGER_THAN = (WINDOW - 1) * 2 ** (len(SCALES) - 1)
"""Pixels: sides of MS-SSIM's images must be larger, so that a window fits into the coarsest."""

TILE = 32
SMALL = 64 * 64


def psnr(reference: Shards, source: Shards, options: Options) -> Measured:
    """Peak signal-to-noise ratio in dB, ``20 log10(255 / RMSE)`` per image, mean over images.

    The error is over channels and pixels of the uint8 images, floored at :data:`MSE_FLOOR`, so that
    identical images have 100 dB. The variant ``of-mean-mse`` is the dB of the mean error over all
    images, which some libraries report; it is lower the more the images differ in quality.

    Args:
        reference: field ``images`` uint8 (3, H, W).
        source: the same images, reconstructed.
        options: ``batch_size``.
    """
    errors = np.concatenate(
        [
            mean_squared_error(a["images"], b["images"])
            for a, b in paired_batches(reference, source, ["images"], options.batch_size)
        ]
    )
    values = decibel(errors)
    capped = int((errors < MSE_FLOOR).sum())
    note = f"{capped} images with (almost) no error count as 100 dB" if capped else ""
    of_mean = float(decibel(np.mean(errors, keepdims=True))[0])
    return Measured(
        [mean_reading(values, note=note), Reading(of_mean, len(values), "of-mean-mse")],
        {"value": values},
    )


def mean_squared_error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean squared error per image of uint8 arrays (N, ...), for values in [0, 1], float64 (N,)."""
    _check_uint8(a, b)
    out = np.empty(len(a), np.float64)
    for i, (x, y) in enumerate(zip(a, b)):
        difference = (x.astype(np.int16) - y).astype(np.float64).ravel()
        out[i] = difference @ difference / (difference.size * 255.0**2)
    return out


def decibel(mse: np.ndarray) -> np.ndarray:
    """``-10 log10`` of mean squared errors on the scale [0, 1], floored at :data:`MSE_FLOOR`."""
    return -10.0 * np.log10(np.maximum(mse, MSE_FLOOR))


def ssim(reference: Shards, source: Shards, options: Options) -> Measured:
    """Structural similarity (Wang et al. 2004), mean over images.

    See :func:`structural_similarity` for window and constants.

    Args:
        reference: field ``images`` uint8 (3, H, W), at least 11 pixels high and wide.
        source: the same images, reconstructed.
        options: ``batch_size``.
    """
    values = [
        structural_similarity(x, y)
        for a, b in paired_batches(reference, source, ["images"], options.batch_size)
        for x, y in zip(a["images"], b["images"])
    ]
    column = np.array(values)
    return Measured([mean_reading(column)], {"value": column})


def structural_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of two uint8 images (C, H, W): mean over channels and valid windows.

    Gaussian window of 11 x 11 pixels, sigma 1.5, K 0.01 and 0.03, range 255, no padding: the maths
    of the original MATLAB code and of pytorch-msssim, in float64. (torchmetrics reflects 5 pixels
    at the border, which changes small images in the third decimal.)

    Raises:
        ValueError: other dtypes or shapes, or an image smaller than the window.
    """
    _check_uint8(a, b)
    if a.ndim != 3 or min(a.shape[1:]) < WINDOW:
        raise ValueError(
            f"SSIM needs images (C, H, W) of at least {WINDOW} x {WINDOW} pixels, its window; got "
            f"{a.shape}. Leave ssim out of 'metrics' or raise data.resolution"
        )
    # small images at once, large ones by channel: many calls cost as much as leaving the cache
    group = len(a) if a[0].size <= SMALL else 1
    parts = [
        stack_similarity(a[start : start + group], b[start : start + group])
        for start in range(0, len(a), group)
    ]
    return sum(parts) / len(parts)


def stack_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Mean SSIM of stacks of planes (K, H, W) of range 255 and any dtype."""
    return float(_similarity_map(*_factors(a, b)).mean())


def ms_ssim(reference: Shards, source: Shards, options: Options) -> Measured:
    """Multi-scale structural similarity (Wang et al. 2003), mean over images.

    See :func:`multi_scale_similarity`.

    Args:
        reference: field ``images`` uint8 (3, H, W), more than 160 pixels high and wide.
        source: the same images, reconstructed.
        options: ``batch_size``.
    """
    values = [
        multi_scale_similarity(x, y)
        for a, b in paired_batches(reference, source, ["images"], options.batch_size)
        for x, y in zip(a["images"], b["images"])
    ]
    column = np.array(values)
    return Measured([mean_reading(column)], {"value": column})


def multi_scale_similarity(a: np.ndarray, b: np.ndarray) -> float:
    """MS-SSIM of two uint8 images (C, H, W): product over five scales, mean over channels.

    Per channel: contrast times structure at the four finer scales, SSIM at the coarsest, each the
    mean over valid windows of :func:`structural_similarity`, negative ones taken as 0, to the power
    of :data:`SCALES`. From scale to scale 2 x 2 pixels are averaged; a side of odd length is first
    preceded by a line of zeros. The maths of pytorch-msssim (VainF/pytorch-msssim b057b07), in
    float64. (torchmetrics reflects the border at the coarsest scale, averages over channels before
    it multiplies, and leaves out the last line of an odd side.)

    Raises:
        ValueError: other dtypes or shapes, or a side of 160 pixels or less.
    """
    _check_uint8(a, b)
    if a.ndim != 3 or min(a.shape[1:]) <= LARGER_THAN:
        raise ValueError(
            f"MS-SSIM needs images (C, H, W) of more than {LARGER_THAN} pixels a side, since it "
            f"halves them {len(SCALES) - 1} times and its window has {WINDOW}; got {a.shape}. "
            "Leave ms-ssim out of 'metrics' or raise data.resolution"
        )
    x, y = a.astype(np.float64), b.astype(np.float64)
    product = np.ones(len(a))
    for scale, exponent in enumerate(SCALES):
        coarsest = scale == len(SCALES) - 1
        product *= np.maximum(_plane_means(x, y, luminance=coarsest), 0.0) ** exponent
        if not coarsest:
            x, y = _halved(x), _halved(y)
    return float(product.mean())


def _plane_means(x: np.ndarray, y: np.ndarray, *, luminance: bool) -> np.ndarray:
    """Means (K,) of the SSIM maps of planes (K, H, W); without luminance: contrast x structure."""
    group = len(x) if x[0].size <= SMALL else 1  # as in structural_similarity
    means = []
    for start in range(0, len(x), group):
        factors = _factors(x[start : start + group], y[start : start + group])
        values = _similarity_map(*factors) if luminance else np.divide(*factors[1::2])
        means.append(values.mean(axis=(1, 2)))
    return np.concatenate(means)


def _halved(planes: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels of planes (K, H, W); a line of zeros precedes a side of odd length."""
    _, height, width = planes.shape
    if height % 2 or width % 2:
        planes = np.pad(planes, ((0, 0), (height % 2, 0), (width % 2, 0)))
    rows = planes[:, ::2] + planes[:, 1::2]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def _similarity_map(
    luminance: np.ndarray, structure: np.ndarray, luminance_of: np.ndarray, structure_of: np.ndarray
) -> np.ndarray:
    """SSIM of each window from :func:`_factors`, which are overwritten."""
    luminance *= structure
    luminance_of *= structure_of
    luminance /= luminance_of
    return luminance


def _factors(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """SSIM's two numerators and their denominators for each window of planes (K, H, W).

    Luminance is the first over the third, contrast times structure the second over the fourth.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    squares = x * x
    squares += y * y
    mean_x, mean_y, mean_squares, mean_product = map(_blur, (x, y, squares, x * y))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    product = mean_x * mean_y
    mean_x *= mean_x
    mean_y *= mean_y
    mean_x += mean_y
    # in place from here: fresh arrays of 256 x 256 cost more than the arithmetic
    mean_squares -= mean_x
    mean_squares += c2
    mean_product -= product
    mean_product *= 2.0
    mean_product += c2
    product *= 2.0
    product += c1
    mean_x += c1
    return product, mean_product, mean_x, mean_squares


def _blur(planes: np.ndarray) -> np.ndarray:
    """Gaussian-weighted means (K, H - 10, W - 10) of planes (K, H, W), over valid windows."""
    margin = WINDOW - 1
    count, height, width = planes.shape
    rows = np.empty((count, height, width - margin))
    for start in range(0, width - margin, TILE):
        stop = min(start + TILE, width - margin)
        np.matmul(
            planes[..., start : stop + margin], _band(stop - start), out=rows[..., start:stop]
        )
    out = np.empty((count, height - margin, width - margin))
    for start in range(0, height - margin, TILE):
        stop = min(start + TILE, height - margin)
        band = _band(stop - start).T
        np.matmul(band, rows[:, start : stop + margin], out=out[:, start:stop])
    return out


@cache
def _band(n: int) -> np.ndarray:
    """Matrix (n + 10, n) whose columns hold the shifted window: a 1-D filter as one product."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    window = np.exp(-(offsets**2) / (2 * SIGMA**2))
    window /= window.sum()
    band = np.zeros((n + WINDOW - 1, n))
    for column in range(n):
        band[column : column + WINDOW, column] = window
    return band


def _check_uint8(a: np.ndarray, b: np.ndarray) -> None:
    if a.dtype != np.uint8 or b.dtype != np.uint8 or a.shape != b.shape:
        raise ValueError(
            f"expected two uint8 arrays of one shape, got {a.dtype} {a.shape} and "
            f"{b.dtype} {b.shape}"
        )
