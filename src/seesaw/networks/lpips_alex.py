"""LPIPS v0.1 on AlexNet, as published and on a random trunk; see :mod:`seesaw.networks.lpips`."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.networks.lpips import Lpips, TrunkSpec, published_trunk

RANDOM_SEED = 0


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


ALEXNET = TrunkSpec(
    name="AlexNet",
    file="alexnet-owt-7be5be79.pth",
    heads="alex",
    build=alexnet_trunk,
    taps=(1, 4, 7, 9, 11),
    smallest=31,
)


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


class LpipsAlex(Lpips):
    """LPIPS v0.1 with AlexNet, as published.

    Args:
        weights: torchvision's ``alexnet-owt-7be5be79.pth``.
        device: torch device.

    Raises:
        FileNotFoundError: no such file. Nothing is ever downloaded.
        ValueError: not that file: see :func:`seesaw.networks.checkpoint.published_state`.
    """

    def __init__(self, weights: str | Path | None, device: str = "cpu") -> None:
        super().__init__(ALEXNET, published_trunk(ALEXNET, weights), device)
        self.meta["trunk"] = "AlexNet, ImageNet"


class LpipsAlexRandom(Lpips):
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
        super().__init__(ALEXNET, random_trunk_state(), device)
        self.meta["trunk"] = f"AlexNet, random, PCG64 seed {RANDOM_SEED}"
