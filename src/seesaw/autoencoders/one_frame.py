"""Variational autoencoders of videos, from diffusers, used on single frames.

Their tensors have a frame axis, ``(N, C, T, H, W)``; here T is 1 and does not show. A convolution
over time sees the one frame and copies of it, or zeros, in front and behind: it is one over space
with the sum, or the last part, of its weights, at a third of the operations (:func:`fold_time`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MethodType
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.autoencoders.base import Autoencoder
from seesaw.autoencoders.hub_config import (
    agreed_normalization,
    check_structure,
    stated_normalization,
)


class OneFrame(Autoencoder):
    """What the families of this module share. Latents are a grid (C, s, s).

    Args:
        resolution: side of the images, in pixels.
        official: keyword arguments of the diffusers class (its ``config.json``), where they are not
            its defaults.

    Raises:
        ValueError: the resolution is not a multiple of the reduction.
    """

    spatial = True
    stochastic = True
    resizable = True
    on_meta = True
    library: ClassVar[str]

    def __init__(self, *, resolution: int = 256, official: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        import diffusers

        arguments = {k: v for k, v in (official or {}).items() if not k.startswith("_")}
        self.model = getattr(diffusers, self.library)(**arguments)
        channels, factor = self.sizes(self.model.config)
        if resolution % factor:
            raise ValueError(
                f"resolution {resolution} is not a multiple of {factor}, by which {self.library} "
                "with this config reduces images"
            )
        fold_time(self.model)
        self.resolution = resolution
        self.latent_shape = (channels, resolution // factor, resolution // factor)

    @staticmethod
    def sizes(config: Mapping[str, Any]) -> tuple[int, int]:
        """Latent channels, and by how much the sides of an image are reduced."""
        raise NotImplementedError

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each ``(N, *latent_shape)`` (the latter clamped to [-30, 20])."""
        distribution = self.model.encode(images.unsqueeze(2)).latent_dist
        return distribution.mean.squeeze(2), distribution.logvar.squeeze(2)

    def render(self, latents: Tensor) -> Tensor:
        """Latents to images; grids of another side give images of another side."""
        return self.model.decode(latents.unsqueeze(2)).sample.squeeze(2)

    def parts(self) -> Mapping[str, nn.Module]:
        """The file holds the diffusers class's own keys."""
        return {"autoencoder": self.model}

    def read_hub_config(self, config: Mapping[str, Any], path: Path) -> None:
        """Compare with the ``config.json`` beside the weights, and take statistics from it."""
        self.normalization = agreed_normalization(
            config,
            path,
            model=self.model,
            channels=self.latent_shape[0],
            ours=self.normalization,
        )

    def after_load(self) -> None:
        """Where nobody gave statistics of the latents, those of the library's class hold."""
        if self.normalization is None:
            self.normalization = stated_normalization(
                self.model.config, self.latent_shape[0], self.library
            )


class QwenImageKL(OneFrame):
    """VAE of Qwen-Image (``AutoencoderKLQwenImage``, after Wan 2.1's), f8 with 16 channels.

    Its decoder clamps images to [-1, 1] itself.
    """

    library = "AutoencoderKLQwenImage"

    @staticmethod
    def sizes(config: Mapping[str, Any]) -> tuple[int, int]:
        """See :meth:`OneFrame.sizes`."""
        return config["z_dim"], 2 ** (len(config["dim_mult"]) - 1)


class CogVideoXKL(OneFrame):
    """VAE of CogVideoX (arXiv 2408.06072; ``AutoencoderKLCogVideoX``), f8 with 16 channels."""

    library = "AutoencoderKLCogVideoX"

    @staticmethod
    def sizes(config: Mapping[str, Any]) -> tuple[int, int]:
        """See :meth:`OneFrame.sizes`."""
        return config["latent_channels"], 2 ** (len(config["block_out_channels"]) - 1)


class LTXKL(OneFrame):
    """VAE of LTX-Video (arXiv 2501.00103; ``AutoencoderKLLTXVideo``), f32 with 128 channels.

    The defaults are the layout of release 0.9.0. One log variance serves all channels of a place.
    """

    library = "AutoencoderKLLTXVideo"

    @staticmethod
    def sizes(config: Mapping[str, Any]) -> tuple[int, int]:
        """See :meth:`OneFrame.sizes`."""
        reduction = config["patch_size"] * 2 ** sum(config["spatio_temporal_scaling"])
        return config["latent_channels"], reduction

    def read_hub_config(self, config: Mapping[str, Any], path: Path) -> None:
        """Compare with the ``config.json`` beside the weights, which hold the statistics."""
        if "_class_name" in config:
            check_structure(config, path, self.model, also=["scaling_factor"])

    def after_load(self) -> None:
        """The statistics of the latents are buffers of the file: (z - mean) * factor / std."""
        if self.normalization is not None:
            return
        scale = self.model.config["scaling_factor"] / self.model.latents_std
        self.normalization = (self.model.latents_mean[:, None, None], scale[:, None, None])


def fold_time(model: nn.Module) -> None:
    """Let the convolutions over time of ``model`` compute single frames as convolutions over space.

    Equal up to rounding; several frames go the library's way. Weights stay as they are.
    """
    for module in model.modules():
        forward = FOLDED.get(type(module).__name__)
        if forward is not None:
            module.forward = MethodType(forward, module)


def _qwen(self: nn.Module, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
    """Frames before the first are zeros: only the last weights in time meet the frame."""
    if cache_x is not None or x.shape[2] != 1:
        return type(self).forward(self, x, cache_x)
    width, _, height, *_ = self._padding
    return _in_space(self, x, self.weight[:, :, -1], (height, width))


def _cogvideox(
    self: nn.Module, inputs: Tensor, conv_cache: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Frames before the first are copies of it."""
    if conv_cache is not None or inputs.shape[2] != 1 or self.pad_mode == "replicate":
        return type(self).forward(self, inputs, conv_cache)
    padding = (self.height_pad, self.width_pad)
    return _in_space(self.conv, inputs, self.conv.weight.sum(2), padding), None


def _ltx(self: nn.Module, hidden_states: Tensor) -> Tensor:
    """Frames before the first, and in the decoder those after the last, are copies of it."""
    if hidden_states.shape[2] != 1 or self.conv.padding_mode != "zeros":
        return type(self).forward(self, hidden_states)
    return _in_space(self.conv, hidden_states, self.conv.weight.sum(2), self.conv.padding[1:])


def _in_space(conv: nn.Conv3d, x: Tensor, weight: Tensor, padding: tuple[int, ...]) -> Tensor:
    rest = {"stride": conv.stride[1:], "dilation": conv.dilation[1:], "groups": conv.groups}
    return F.conv2d(x[:, :, 0], weight, conv.bias, padding=padding, **rest)[:, :, None]


FOLDED: Mapping[str, Callable] = {
    "QwenImageCausalConv3d": _qwen,
    "CogVideoXCausalConv3d": _cogvideox,
    "LTXVideoCausalConv3d": _ltx,
}
"""Class of diffusers -> what its ``forward`` does with single frames."""
