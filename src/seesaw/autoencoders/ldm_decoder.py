"""The latent-diffusion code's convolutional decoder alone, built by diffusers."""

from collections.abc import Sequence

from diffusers.models.autoencoders.vae import Decoder

from seesaw.autoencoders.ldm_keys import speak_ldm


def build_decoder(
    *,
    latent_channels: int,
    widths: Sequence[int],
    attention: bool,
    norm_groups: int = 32,
) -> Decoder:
    """An untrained LDM decoder (arXiv 2112.10752) whose state dict has the official layout.

    It has three residual blocks per stage, attention in the middle, and no ``post_quant_conv``;
    each stage but the last doubles the side.

    Args:
        latent_channels: channels of the latent.
        widths: channels of the stages, from the image to the latent (``ch`` times ``ch_mult``).
        attention: whether the deepest stage has attention, too.
        norm_groups: groups of the group norms; must divide every width.
    """
    deepest = "AttnUpDecoderBlock2D" if attention else "UpDecoderBlock2D"
    decoder = Decoder(
        in_channels=latent_channels,
        out_channels=3,
        up_block_types=(deepest, *["UpDecoderBlock2D"] * (len(widths) - 1)),
        block_out_channels=tuple(widths),
        norm_num_groups=norm_groups,
    )
    speak_ldm(decoder, levels=len(widths))
    return decoder
