"""Condition projectors with a known Lipschitz constant, and images on which Canny has none."""

from dataclasses import dataclass

import cv2
import numpy as np

from seesaw.networks.canny import THRESHOLDS

GREY = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in grey (Rec. 601)."""
STEPS = 32
"""Steps per grey level at which Canny's gradients are computed; the most that int16 can hold."""


@dataclass(frozen=True)
class SoftEdges:
    """Gradient magnitude of the blurred grey image, or a logistic threshold of it.

    Attributes:
        sigma: standard deviation of the blur in pixels.
        slope: of the logistic, or None for the magnitude itself.
        threshold: magnitude where the logistic is 1/2.
    """

    sigma: float
    slope: float | None = None
    threshold: float = 0.05

    @property
    def name(self) -> str:
        """Such as ``"gradient, blur 1"``."""
        if self.slope is None:
            return f"gradient, blur {self.sigma:g}"
        return f"soft edges, slope {self.slope:g}"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Maps (N, R, R) of float images (N, 3, R, R) in 0..1."""
        grey = np.tensordot(images, GREY, axes=([1], [0]))
        spectrum = np.fft.fft2(grey)
        across, down = transfer(images.shape[-1], self.sigma)
        gradient = [np.fft.ifft2(spectrum * part).real for part in (across, down)]
        magnitude = np.hypot(*gradient)
        if self.slope is None:
            return magnitude
        return 1 / (1 + np.exp(-self.slope * (magnitude - self.threshold)))

    def lipschitz(self, resolution: int) -> float:
        """The smallest L for the gradient; an upper bound of it for soft edges.

        ``|f(x) - f(y)| <= L |x - y|``, root mean squares, images of ``resolution`` pixels.
        """
        gain = float(np.sqrt(gains(resolution, self.sigma).max()))
        constant = np.sqrt(3) * float(np.linalg.norm(GREY)) * gain
        return constant if self.slope is None else constant * self.slope / 4


def transfer(resolution: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Central differences of a Gaussian blur in Fourier space, across and down, complex (R, R)."""
    u = np.fft.fftfreq(resolution)
    low = np.exp(-2 * (np.pi * sigma) ** 2 * (u[:, None] ** 2 + u[None] ** 2))
    slope = 1j * np.sin(2 * np.pi * u)
    return low * slope[None], low * slope[:, None]


def gains(resolution: int, sigma: float) -> np.ndarray:
    """Squared factor by which blur and gradient change each wave, (R, R)."""
    across, down = transfer(resolution, sigma)
    return np.abs(across) ** 2 + np.abs(down) ** 2


def rms(values: np.ndarray) -> np.ndarray:
    """Root mean square per row of (N, ...), float64 ``(N,)``."""
    return np.sqrt((values.reshape(len(values), -1).astype(np.float64) ** 2).mean(axis=1))


def worst_pair(projector: SoftEdges, resolution: int) -> tuple[np.ndarray, np.ndarray]:
    """A flat grey image and the wave on it that the projector's gradient amplifies most."""
    squared = gains(resolution, projector.sigma)
    down, across = np.unravel_index(squared.argmax(), squared.shape)
    place = np.arange(resolution) / resolution
    wave = np.cos(2 * np.pi * (down * place[:, None] + across * place[None]))
    flat = np.full((1, 3, resolution, resolution), 0.5)
    colour = 0.1 * GREY / np.linalg.norm(GREY)
    return flat, flat + colour[None, :, None, None] * wave


def fine_canny(grey: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """``cv2.Canny`` of a grey image with fractions of grey levels, bool (R, R).

    The gradients are multiplied by ``steps`` before they become integers, and so are the
    thresholds. With ``steps=1`` and whole grey levels it is ``cv2.Canny`` itself.

    Args:
        grey: float (R, R), 0..255.
        steps: 1 to 32: more would overflow int16.
    """
    gradients = [
        np.rint(
            steps
            * cv2.Sobel(grey.astype(np.float64), cv2.CV_64F, *d, borderType=cv2.BORDER_REPLICATE)
        )
        for d in ((1, 0), (0, 1))
    ]
    low, high = (steps * threshold for threshold in THRESHOLDS)
    return cv2.Canny(*(g.astype(np.int16) for g in gradients), low, high) > 0


def hair_trigger(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Two uint8 images (side, side, 3): one grey level in one pixel between a blank map and not.

    A comb whose outline is one chain of weak edges, and a pixel on it that is raised, level by
    level, to where the first strong edge appears.

    Raises:
        ValueError: a side below 32.
    """
    if side < 32:
        raise ValueError(f"the comb needs a side of at least 32 pixels, got {side}")
    image = np.full((side, side, 3), 100, np.uint8)
    image[4:10, 4:-4] = 130
    for left in range(4, side - 7, 8):
        image[4:-4, left : left + 4] = 130
    row, column = 4, 2 + 8 * (side // 16)
    before = image
    for level in range(1, 100):
        image = image.copy()
        image[row, column] = 130 + level
        if cv2.Canny(image, *THRESHOLDS).any():
            return before, image
        before = image
    raise AssertionError("no strong edge at any level")
