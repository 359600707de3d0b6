"""Images as the networks take them that were trained on ImageNet's mean and deviation."""

from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def to_imagenet(images: Tensor) -> Tensor:
    """Images ``(N, 3, H, W)`` in [-1, 1] to channel mean 0 and deviation 1 over ImageNet."""
    return ((images + 1) / 2 - _channels(images, MEAN)) / _channels(images, STD)


def from_imagenet(images: Tensor) -> Tensor:
    """The inverse of :func:`to_imagenet`, unclamped."""
    return (images * _channels(images, STD) + _channels(images, MEAN)) * 2 - 1


def _channels(images: Tensor, values: tuple[float, ...]) -> Tensor:
    return images.new_tensor(values).view(1, 3, 1, 1)
