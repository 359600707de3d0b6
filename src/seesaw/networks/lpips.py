"""LPIPS v0.1 (Zhang et al. 2018; richzhang/PerceptualSimilarity): what its networks share.

The trunks are written out here and the heads are read from the files that the package ``lpips``
has, because importing that package takes seconds; the tests hold both against it.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.autoencoders.weights import check_state, read_state
from seesaw.networks import check_images, check_pixels
from seesaw.networks.checkpoint import published_state

SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)
EPSILON = 1e-10


@dataclass(frozen=True, kw_only=True)
class TrunkSpec:
    """A convolutional network whose activations LPIPS compares.

    Attributes:
        name: in words.
        file: torchvision's weights; only its ``features.*`` tensors are used.
        heads: file of the package ``lpips``, in ``weights/v0.1``, without its ending.
        build: the convolutions up to the last ReLU, named as torchvision's ``features``.
        taps: indices of the ReLUs whose outputs are compared.
        smallest: the smallest side, in pixels, that reaches the last layer.
    """

    name: str
    file: str
    heads: str
    build: Callable[[], nn.Sequential]
    taps: tuple[int, ...]
    smallest: int


def packaged_heads(spec: TrunkSpec) -> list[Tensor]:
    """The linear heads, ``(1, C, 1, 1)`` each, from the file inside the ``lpips`` package.

    Raises:
        ValueError: the package is not installed, or its file is another one.
    """
    found = importlib.util.find_spec("lpips")
    folders = found.submodule_search_locations if found is not None else None
    if not folders:
        raise ValueError("LPIPS needs the heads of the package lpips: pip install 'lpips>=0.1.4'")
    file = Path(folders[0], "weights", "v0.1", f"{spec.heads}.pth")
    with torch.device("meta"):
        trunk = spec.build()
        layout = {
            f"lin{index}.model.1.weight": torch.empty(1, trunk[tap - 1].out_channels, 1, 1)
            for index, tap in enumerate(spec.taps)
        }
    state = read_state(file)
    check_state(layout, state, file)
    return [state[name] for name in layout]


def published_trunk(spec: TrunkSpec, weights: str | Path | None) -> dict[str, Tensor]:
    """The tensors of a trunk from torchvision's file, checked strictly.

    Args:
        spec: which trunk.
        weights: the path of ``spec.file``.

    Raises:
        FileNotFoundError: no such file. Nothing is ever downloaded.
        ValueError: not that file: see :func:`seesaw.networks.checkpoint.published_state`.
    """
    if weights is None:
        raise ValueError(f"LPIPS needs {spec.name}'s weights: give the path of {spec.file}")
    with torch.device("meta"):
        layout = {f"features.{name}": v for name, v in spec.build().state_dict().items()}

    def convolutions(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {k: v for k, v in state.items() if not k.startswith("classifier.")}

    state = published_state(weights, file=spec.file, layout=layout, adapt=convolutions)
    return {k.removeprefix("features."): v for k, v in state.items()}


class Lpips:
    """The distance itself, on a given trunk.

    Args:
        spec: which trunk.
        trunk: its tensors.
        device: torch device.
    """

    def __init__(self, spec: TrunkSpec, trunk: Mapping[str, Tensor], device: str) -> None:
        self.spec = spec
        self.device = torch.device(device)
        with torch.device("meta"):
            self.trunk = spec.build()
        floats = {name: tensor.float() for name, tensor in trunk.items()}
        self.trunk.load_state_dict(floats, strict=True, assign=True)
        self.trunk.eval().requires_grad_(False).to(self.device)
        self.heads = [head.to(self.device) for head in packaged_heads(spec)]
        self.shift = torch.tensor(SHIFT, device=self.device).view(1, 3, 1, 1)
        self.scale = torch.tensor(SCALE, device=self.device).view(1, 3, 1, 1)
        self.meta: dict[str, Any] = {
            "heads": f"lpips v0.1 {spec.heads}",
            "normalisation": "2 x / 255 - 1, then LPIPS' shift and scale",
            "smallest_side": spec.smallest,
        }

    def distance(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Distance of each pair of uint8 RGB images, at their own size.

        Args:
            a: ``(N, 3, H, W)``, sides of at least ``meta["smallest_side"]`` pixels.
            b: the same shape.

        Returns:
            float64 ``(N,)``, 0 for equal images, larger for more different ones.

        Raises:
            ValueError: other images; see :meth:`distance_of_signed`.
        """
        check_images(a)
        check_images(b)
        first, second = (
            torch.from_numpy(np.ascontiguousarray(images)).to(self.device).float()
            for images in (a, b)
        )
        return self.distance_pixels(first, second)

    @torch.inference_mode()
    def distance_pixels(self, a: Tensor, b: Tensor) -> np.ndarray:
        """As :meth:`distance`, of pixels that were never rounded to uint8.

        Args:
            a: float ``(N, 3, H, W)`` on the scale 0..255; neither whole numbers nor inside that
                range are asked for. Other float types become float32, other devices this network's.
            b: the same shape.

        Returns:
            The same; of whole numbers in 0..255 the same bits.

        Raises:
            ValueError: no float tensors of that shape; see :meth:`distance_of_signed`.
        """
        check_pixels(a)
        check_pixels(b)
        first, second = (x.to(self.device, torch.float32).contiguous() / 127.5 - 1 for x in (a, b))
        return self.distance_of_signed(first, second).cpu().numpy()

    def distance_of_signed(self, a: Tensor, b: Tensor) -> Tensor:
        """As :meth:`distance`, of float images in [-1, 1]; float64 ``(N,)``, with gradients.

        Raises:
            ValueError: the shapes differ, or the images are too small for the trunk.
        """
        if a.shape != b.shape:
            raise ValueError(f"LPIPS compares images of one shape, got {a.shape} and {b.shape}")
        if min(a.shape[-2:]) < self.spec.smallest:
            raise ValueError(
                f"{a.shape[-2]} x {a.shape[-1]} pixels are too few for LPIPS on {self.spec.name}, "
                f"which needs sides of at least {self.spec.smallest}"
            )
        total = torch.zeros(len(a), dtype=torch.float64, device=self.device)
        a, b = (a - self.shift) / self.scale, (b - self.shift) / self.scale
        for index, layer in enumerate(self.trunk):
            a, b = layer(a), layer(b)
            if index in self.spec.taps:
                head = self.heads[self.spec.taps.index(index)]
                apart = ((_unit(a) - _unit(b)).square() * head).sum(1)
                total += apart.double().mean((1, 2))
        return total


def _unit(activations: Tensor) -> Tensor:
    """Activations divided by their length over channels, with LPIPS' epsilon."""
    return activations / (activations.square().sum(1, keepdim=True).sqrt() + EPSILON)
