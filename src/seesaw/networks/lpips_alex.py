"""LPIPS v0.1 on AlexNet (Zhang et al. 2018; richzhang/PerceptualSimilarity).

The trunk is written out here and the heads are read from the file that the package ``lpips`` has,
because importing that package takes seconds; the tests hold both against it.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.autoencoders.weights import read_state
from seesaw.networks import check_images
from seesaw.networks.checkpoint import published_state

WEIGHTS_FILE = "alexnet-owt-7be5be79.pth"
"""torchvision's ImageNet AlexNet; only its ``features.*`` tensors are used."""

SMALLEST = 31
"""The smallest side, in pixels, that reaches the last layer of AlexNet."""

RANDOM_SEED = 0
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
TAPS = (1, 4, 7, 9, 11)
"""Indices of the five ReLUs whose outputs are compared."""


def alexnet_trunk() -> nn.Sequential:
    """AlexNet's convolutions up to the last ReLU, named as torchvision's ``features``."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
    )


def packaged_heads() -> list[Tensor]:
    """The five linear heads, ``(1, C, 1, 1)`` each, from the file inside the ``lpips`` package.

    Raises:
        ValueError: the package is not installed or lacks the file.
    """
    spec = importlib.util.find_spec("lpips")
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise ValueError("LPIPS needs the heads of the package lpips: pip install 'lpips>=0.1.4'")
    file = Path(folders[0], "weights", "v0.1", "alex.pth")
    state = read_state(file)
    return [state[f"lin{index}.model.1.weight"] for index in range(len(TAPS))]


def random_trunk_state(seed: int = RANDOM_SEED) -> dict[str, Tensor]:
    """A randomly initialised trunk: Kaiming normal for ReLU, no biases.

    Drawn in float64 from numpy's PCG64 and then rounded, so that it is the same on every machine
    and with every version of torch.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    state = {}
    for name, tensor in alexnet_trunk().state_dict().items():
        if name.endswith("bias"):
            values = np.zeros(tensor.shape)
        else:
            spread = np.sqrt(2 / np.prod(tensor.shape[1:]))
            values = rng.standard_normal(tuple(tensor.shape)) * spread
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


class _Lpips:
    """The distance itself, on a given trunk."""

    def __init__(self, trunk: Mapping[str, Tensor], device: str) -> None:
        self.device = torch.device(device)
        self.trunk = alexnet_trunk()
        self.trunk.load_state_dict(trunk)
        self.trunk.eval().requires_grad_(False).to(self.device)
        self.heads = [head.to(self.device) for head in packaged_heads()]
        self.shift = torch.tensor(SHIFT, device=self.device).view(1, 3, 1, 1)
        self.scale = torch.tensor(SCALE, device=self.device).view(1, 3, 1, 1)
        self.meta: dict[str, Any] = {"heads": "lpips v0.1 alex", "smallest_side": SMALLEST}

    @torch.inference_mode()
    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Distance of each pair of uint8 RGB images, at their own size.

        Args:
            a: ``(N, 3, H, W)``, sides of at least 31 pixels.
            b: the same shape.

        Returns:
            float64 ``(N,)``, 0 for equal images, larger for more different ones.
        """
        check_images(a)
        check_images(b)
        return self.distance_of_pixels(self._pixels(a), self._pixels(b)).cpu().numpy()

    def distance_of_pixels(self, a: Tensor, b: Tensor) -> Tensor:
        """As :meth:`distance`, of float images in [-1, 1]; float64 ``(N,)``.

        Raises:
            ValueError: the shapes differ, or the images are too small for AlexNet.
        """
        if a.shape != b.shape:
            raise ValueError(f"LPIPS compares images of one shape, got {a.shape} and {b.shape}")
        if min(a.shape[-2:]) < SMALLEST:
            raise ValueError(
                f"{a.shape[-2]} x {a.shape[-1]} pixels are too few for LPIPS on AlexNet, "
                f"which needs sides of at least {SMALLEST}"
            )
        total = torch.zeros(len(a), dtype=torch.float64, device=self.device)
        a, b = (a - self.shift) / self.scale, (b - self.shift) / self.scale
        for index, layer in enumerate(self.trunk):
            a, b = layer(a), layer(b)
            if index in TAPS:
                head = self.heads[TAPS.index(index)]
                apart = ((_unit(a) - _unit(b)).square() * head).sum(1)
                total += apart.double().mean((1, 2))
        return total

    def _pixels(self, images: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        return pixels.float() / 127.5 - 1


class LpipsAlex(_Lpips):
    """LPIPS v0.1 with AlexNet, as published.

    Args:
        weights: torchvision's ``alexnet-owt-7be5be79.pth``.
        device: torch device.

    Raises:
        FileNotFoundError: no such file. Nothing is ever downloaded.
        ValueError: not that file: see :func:`seesaw.networks.checkpoint.published_state`.
    """

    def __init__(self, weights: str | Path | None, device: str = "cpu") -> None:
        if weights is None:
            raise ValueError(f"LPIPS needs AlexNet's weights: give the path of {WEIGHTS_FILE}")
        layout = {f"features.{name}": v for name, v in alexnet_trunk().state_dict().items()}

        def convolutions(state: dict[str, Tensor]) -> dict[str, Tensor]:
            return {k: v for k, v in state.items() if not k.startswith("classifier.")}

        state = published_state(weights, file=WEIGHTS_FILE, layout=layout, adapt=convolutions)
        super().__init__({k.removeprefix("features."): v for k, v in state.items()}, device)
        self.meta["trunk"] = "AlexNet, ImageNet"


class LpipsAlexRandom(_Lpips):
    """The published heads on a randomly initialised AlexNet: LPIPS' arithmetic without its weights.

    A stand-in that orders distortions by strength; its values cannot be compared with LPIPS. The
    seed is fixed, so that the number is the same everywhere.

    Args:
        weights: must be None.
        device: torch device.
    """

    def __init__(self, weights: str | Path | None = None, device: str = "cpu") -> None:
        if weights is not None:
            raise ValueError(f"LPIPS on a random AlexNet has no weights, but {weights} was given")
        super().__init__(random_trunk_state(), device)
        self.meta["trunk"] = f"AlexNet, random, PCG64 seed {RANDOM_SEED}"


def _unit(activations: Tensor) -> Tensor:
    """Activations divided by their length over channels, with LPIPS' epsilon."""
    return activations / (activations.square().sum(1, keepdim=True).sqrt() + 1e-10)
