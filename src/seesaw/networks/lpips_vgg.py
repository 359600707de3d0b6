"""LPIPS v0.1 on VGG16, as published; see :mod:`seesaw.networks.lpips`."""

from itertools import pairwise
from pathlib import Path

from torch import nn

from seesaw.networks.lpips import Lpips, TrunkSpec, published_trunk

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of each stage's convolutions; between two stages the image is halved."""


def vgg16_trunk() -> nn.Sequential:
    """VGG16's convolutions up to the last ReLU, named as torchvision's ``features``."""
    layers: list[nn.Module] = []
    channels = 3
    for index, widths in enumerate(STAGES):
        if index:
            layers.append(nn.MaxPool2d(2))
        for before, width in pairwise((channels, *widths)):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
        channels = widths[-1]
    return nn.Sequential(*layers)


VGG16 = TrunkSpec(
    name="VGG16",
    file="vgg16-397923af.pth",
    heads="vgg",
    build=vgg16_trunk,
    taps=(3, 8, 15, 22, 29),
    smallest=16,
)


class LpipsVgg(Lpips):
    """LPIPS v0.1 with VGG16, as published.

    Another number than LPIPS on AlexNet. It is also the LPIPS of CompVis/taming-transformers, which
    autoencoders are trained and scored with (LightningDiT, EQ-VAE): the same layers, and its heads
    are the file of the package (md5 ``d507d734...``).

    Args:
        weights: torchvision's ``vgg16-397923af.pth``.
        device: torch device.

    Raises:
        FileNotFoundError: no such file. Nothing is ever downloaded.
        ValueError: not that file: see :func:`seesaw.networks.checkpoint.published_state`.
    """

    def __init__(self, weights: str | Path | None, device: str = "cpu") -> None:
        super().__init__(VGG16, published_trunk(VGG16, weights), device)
        self.meta["trunk"] = "VGG16, ImageNet"
