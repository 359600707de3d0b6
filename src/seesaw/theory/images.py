"""Images, edge maps and distances that the claims share. Images are uint8 RGB ``(N, 3, R, R)``."""

from collections.abc import Callable

import cv2
import numpy as np

from seesaw.mini.scenes import MiniScenes
from seesaw.networks.canny import Canny


def scenes(count: int, resolution: int, *, seed: int) -> np.ndarray:
    """Scenes of the mini world, uint8 ``(count, 3, resolution, resolution)``."""
    source = MiniScenes(
        {"source": "mini", "count": count},
        split="theory",
        resolution=resolution,
        crop="",
        seed=seed,
    )
    return source.render(range(count))["images"]


def edges(images: np.ndarray) -> np.ndarray:
    """Canny maps (thresholds 100 and 200), bool ``(N, R, R)``."""
    return Canny().extract(images)["map"] > 0


def to_uint8(values: np.ndarray) -> np.ndarray:
    """Values in 0..255 of any size and type as uint8, rounded and clipped."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def block_means(images: np.ndarray, block: int) -> np.ndarray:
    """Means of squares of ``block`` pixels, float64 ``(N, C, R / block, R / block)``."""
    n, channels, height, width = images.shape
    shape = (n, channels, height // block, block, width // block, block)
    return images.reshape(shape).mean(axis=(3, 5), dtype=np.float64)


def enlarge(blocks: np.ndarray, factor: int) -> np.ndarray:
    """Repeat every value of ``(N, C, H, W)`` in a square of ``factor`` pixels."""
    return blocks.repeat(factor, axis=2).repeat(factor, axis=3)


def to_levels(images: np.ndarray, levels: int) -> np.ndarray:
    """Images with ``levels`` equally spaced values per channel, uint8."""
    return to_uint8(np.rint(images / 255 * (levels - 1)) * (255 / (levels - 1)))


def blur(images: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur, standard deviation in pixels, uint8; borders are reflected."""
    return each(images, lambda image: cv2.GaussianBlur(image, (0, 0), sigma))


def jpeg(images: np.ndarray, quality: int) -> np.ndarray:
    """JPEG and back, uint8; quality 1..100."""

    def one(image: np.ndarray) -> np.ndarray:
        done, stream = cv2.imencode(
            ".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
        )
        assert done
        return cv2.imdecode(stream, cv2.IMREAD_COLOR)[..., ::-1]

    return each(images, one)


def noisy(images: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of ``sigma`` grey levels, rounded and clipped, uint8."""
    return to_uint8(images + sigma * rng.standard_normal(images.shape))


def each(images: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply a function of ``(R, R, 3)`` images to each of ``(N, 3, R, R)``."""
    done = [function(np.ascontiguousarray(image.transpose(1, 2, 0))) for image in images]
    return np.stack(done).transpose(0, 3, 1, 2)


def mean_absolute(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean ``|a - b|`` per row of maps of any shape (N, ...), float64 ``(N,)``."""
    difference = np.abs(a.astype(np.float64) - b.astype(np.float64))
    return difference.reshape(len(difference), -1).mean(axis=1)
