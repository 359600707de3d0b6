"""Variational autoencoders of the latent diffusion kind: ``diffusers.AutoencoderKL``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.autoencoders.base import Autoencoder
from seesaw.autoencoders.hub_config import agreed_normalization
from seesaw.autoencoders.weights import MAIN

OLD_ATTENTION = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}
"""Names of the mid-block attention before diffusers 0.14, as in the published SD-VAE files."""

INITIAL_LOG_VARIANCE = -6.0


class DiffusersKL(Autoencoder):
    """KL-regularised convolutional autoencoder (LDM, arXiv 2112.10752), built by diffusers.

    Latents are a grid (latent_channels, s, s), s = resolution / (patch * 2^(stages - 1)), where
    each width is a stage. They are the posterior itself: ``scaling_factor`` is not applied. Weights
    files hold the keys of ``AutoencoderKL``, without a prefix.

    Args:
        resolution: side of the images, in pixels.
        patch: pixels are unshuffled by this before the first convolution and shuffled after the
            last, which makes the convolutions of small images cheap. 1: plain AutoencoderKL.
        widths: channels of each stage.
        latent_channels: channels of the latent.
        layers: residual blocks per stage (the decoder has one more, as diffusers builds it).
        attention: self-attention in the middle.
        norm_groups: groups of the group norms; must divide every width.
        official: keyword arguments of ``AutoencoderKL`` for a published checkpoint (its
            ``config.json``), instead of ``widths`` ... ``norm_groups``.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    spatial = True
    stochastic = True
    resizable = True
    on_meta = True

    def __init__(
        self,
        resolution: int,
        patch: int = 1,
        widths: Sequence[int] = (64,),
        latent_channels: int = 4,
        layers: int = 1,
        attention: bool = False,
        norm_groups: int = 32,
        official: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if official is None:
            official = {
                "block_out_channels": tuple(widths),
                "latent_channels": latent_channels,
                "layers_per_block": layers,
                "norm_num_groups": norm_groups,
                "mid_block_add_attention": attention,
            }
        self.patch = patch
        self.model = _build(dict(official), channels=3 * patch**2)
        stages = len(self.model.config.block_out_channels)
        factor = patch * 2 ** (stages - 1)
        if resolution % factor:
            raise ValueError(
                f"resolution {resolution} is not a multiple of {factor} (patch {patch} and "
                f"{stages} stages)"
            )
        self.resolution = resolution
        side = resolution // factor
        self.latent_shape = (self.model.config.latent_channels, side, side)
        _start_gently(self.model)

    def parts(self) -> Mapping[str, nn.Module]:
        """The part whose keys a weights file has."""
        return {MAIN: self.model}

    def convert_weights(self, role: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Rename the attention keys of files written before diffusers 0.14."""
        return {_modern_key(key): _modern_value(key, value) for key, value in state.items()}

    def read_hub_config(self, config: Mapping[str, Any], path: Path) -> None:
        """Compare with the ``config.json`` beside the weights, and take statistics from it."""
        self.normalization = agreed_normalization(
            config,
            path,
            model=self.model,
            channels=self.latent_shape[0],
            ours=self.normalization,
        )

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance, each ``(N, *latent_shape)`` (the latter clamped to [-30, 20])."""
        if self.patch > 1:
            images = F.pixel_unshuffle(images, self.patch)
        distribution = self.model.encode(images).latent_dist
        return distribution.mean, distribution.logvar

    def render(self, latents: Tensor) -> Tensor:
        """See :meth:`Autoencoder.render`; grids of another side give images of another side."""
        images = self.model.decode(latents).sample
        return F.pixel_shuffle(images, self.patch) if self.patch > 1 else images


def _build(official: dict[str, Any], channels: int) -> nn.Module:
    from diffusers import AutoencoderKL

    official = {key: value for key, value in official.items() if not key.startswith("_")}
    stages = len(official.get("block_out_channels", (64,)))
    arguments = {
        "in_channels": channels,
        "out_channels": channels,
        "down_block_types": ("DownEncoderBlock2D",) * stages,
        "up_block_types": ("UpDecoderBlock2D",) * stages,
        **official,
    }
    if arguments["in_channels"] != channels or arguments["out_channels"] != channels:
        raise ValueError(
            f"AutoencoderKL with {arguments['in_channels']} input and {arguments['out_channels']} "
            f"output channels does not take RGB images at this patch size, which need {channels}"
        )
    groups = arguments.get("norm_num_groups", 32)
    bad = [width for width in arguments.get("block_out_channels", (64,)) if width % groups]
    if bad:
        raise ValueError(f"norm_groups {groups} does not divide width {bad[0]}; choose another")
    return AutoencoderKL(**arguments)


@torch.no_grad()
def _start_gently(model: nn.Module) -> None:
    """Initial weights that short trainings need: identity blocks and little posterior noise.

    The last convolution of every residual branch starts at zero, and so does what the log variance
    depends on; its bias starts at ``INITIAL_LOG_VARIANCE``. As diffusers leaves them, noise of
    deviation 1 drowns the means at first.
    """
    for part in model.modules():
        if type(part).__name__ == "ResnetBlock2D":
            nn.init.zeros_(part.conv2.weight)
            nn.init.zeros_(part.conv2.bias)
    if model.quant_conv is not None:
        channels = model.config.latent_channels
        model.quant_conv.weight[channels:] = 0
        model.quant_conv.bias[channels:] = INITIAL_LOG_VARIANCE


def _modern_key(key: str) -> str:
    parts = key.split(".")
    if "attentions" not in parts or len(parts) < 2 or parts[-2] not in OLD_ATTENTION:
        return key
    return ".".join([*parts[:-2], OLD_ATTENTION[parts[-2]], parts[-1]])


def _modern_value(key: str, value: Tensor) -> Tensor:
    """Attention weights of the oldest files are 1x1 convolutions: drop the two trailing axes."""
    if key != _modern_key(key) and value.ndim == 4 and value.shape[2:] == (1, 1):
        return value[:, :, 0, 0]
    return value
