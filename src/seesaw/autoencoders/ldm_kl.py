"""AutoencoderKL in files of the latent-diffusion code: VA-VAE, REPA-E, FLUX as first published."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from seesaw.autoencoders.diffusers_kl import DiffusersKL
from seesaw.autoencoders.ldm_keys import speak_ldm
from seesaw.autoencoders.weights import Layout

STATISTICS = (
    ("mean", "std"),  # VA-VAE's latents_stats.pt: (z - mean) / std
    ("latents_bias", "latents_scale"),  # REPA-E's <checkpoint>-latents-stats.pt: (z - bias) * scale
)


class LdmKL(DiffusersKL):
    """KL-regularised convolutional autoencoder (LDM, arXiv 2112.10752) in its authors' layout.

    The network is diffusers' ``AutoencoderKL``, as in
    :class:`seesaw.autoencoders.diffusers_kl.DiffusersKL`; keys and shapes of its weights are those
    of the latent-diffusion code. Weights of the training's losses (``loss.``), of the frozen
    network that VA-VAE aligns with (``foundation_model.``) and of the projection to it are left out
    of a file.

    Args:
        resolution: side of the images, in pixels.
        official: keyword arguments of ``AutoencoderKL``.

    Raises:
        ValueError: sizes that do not fit each other.
    """

    layouts: ClassVar[Mapping[str, Layout]] = {
        "autoencoder": Layout(
            entry="state_dict", drop=("loss.", "foundation_model.", "linear_proj.weight")
        ),
        "stats": Layout(optional=True),
    }

    def __init__(self, *, resolution: int = 256, official: Mapping[str, Any]) -> None:
        super().__init__(resolution=resolution, official=official)
        speak_ldm(self.model, levels=len(self.model.config.block_out_channels))

    def convert_weights(self, role: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """As they are: the model's own keys are those of the file."""
        return state

    def statistics(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and scale, each (C, 1, 1), from the file of either publisher (``STATISTICS``).

        Raises:
            ValueError: other keys, not one number per channel, or a deviation that is not positive.
        """
        for mean_key, spread_key in STATISTICS:
            if set(state) == {mean_key, spread_key}:
                break
        else:
            known = " or ".join(f"{{{', '.join(pair)}}}" for pair in STATISTICS)
            raise ValueError(
                f"a file of latent statistics holds {known}; this one holds "
                f"{', '.join(sorted(state)) or 'nothing'}"
            )
        mean, spread = (_column(state, key, self.latent_shape[0]) for key in (mean_key, spread_key))
        if not (spread > 0).all():
            raise ValueError(f"{spread_key} of the latent statistics is not positive everywhere")
        return mean, (1 / spread if spread_key == "std" else spread)


def _column(state: Mapping[str, Tensor], key: str, channels: int) -> Tensor:
    values = state[key].float()
    if values.numel() != channels or not values.isfinite().all():
        raise ValueError(
            f"{key} of the latent statistics is {tuple(values.shape)}"
            f"{'' if values.isfinite().all() else ' with NaN or infinity'}; it must hold one "
            f"number for each of the {channels} channels"
        )
    return values.reshape(channels, 1, 1)
