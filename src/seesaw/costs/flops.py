"""Operations of one image, two per multiply-add, counted from the architectures."""

from collections.abc import Mapping, Sequence
from typing import Any

from seesaw.entries import architecture_known

CLASSES = 1001  # ImageNet's and the empty label


def transformer_flops(*, tokens: int, width: int, depth: int, ratio: float = 4.0) -> float:
    """Operations of a transformer's blocks (norms, biases and activations left out).

    Args:
        tokens: length of the sequence.
        width: channels.
        depth: blocks.
        ratio: weights of the two or three MLP matrices together, in units of ``2 width^2``.
    """
    per_block = tokens * (4 + 2 * ratio) * width**2 + 2 * tokens**2 * width
    return 2.0 * depth * per_block


def sit_flops(*, width: int, depth: int, tokens: int, patch_channels: int) -> float:
    """Operations of one forward pass of a SiT, which is built as DiT (arXiv 2212.09748).

    Blocks, their adaptive modulation (6 width per block and image), patch embedding, time embedding
    and the last layer, which predicts mean and variance (2 x ``patch_channels``), as DiT's table 4
    counts: DiT-XL/2 at 32 x 32 x 4 is 118.64 and DiT-B/2 23.01 billion multiply-adds.

    Args:
        width: channels.
        depth: blocks.
        tokens: length of the sequence.
        patch_channels: numbers per patch, patch^2 times the latent's channels.
    """
    ends = 3 * tokens * patch_channels * width + 2 * width**2
    time = 256 * width + width**2
    return transformer_flops(tokens=tokens, width=width, depth=depth) + 2.0 * (
        depth * 6 * width**2 + ends + time
    )


def sit_parameters(*, width: int, depth: int, patch_channels: int) -> int:
    """Trained parameters of a SiT (675 million for SiT-XL/2 on 4 channels)."""
    block = 12 * width**2 + 9 * width + 6 * width**2 + 6 * width
    patches = patch_channels * width + width
    time = 256 * width + width + width**2 + width
    last = 2 * width**2 + 2 * width + 2 * patch_channels * width + 2 * patch_channels
    return depth * block + patches + time + CLASSES * width + last


def kl_flops(
    *,
    resolution: int,
    widths: Sequence[int],
    layers: int,
    latent_channels: int,
    patch: int = 1,
    middle_attention: bool = True,
    deepest_attention: bool = False,
    quant_conv: bool = True,
    post_quant_conv: bool = True,
) -> tuple[float, float]:
    """Operations of encoding and of decoding one image with an AutoencoderKL of diffusers.

    Convolutions, attention's products and its linear maps; norms and activations are left out.

    Args:
        resolution: side of the image.
        widths: channels of each stage; each stage after the first halves the side.
        layers: residual blocks per stage (the decoder has one more).
        latent_channels: channels of the latent.
        patch: pixels are unshuffled by this before the first convolution.
        middle_attention: self-attention in the middle.
        deepest_attention: and after each block of the deepest stage.
        quant_conv: 1 x 1 convolution after the encoder.
        post_quant_conv: 1 x 1 convolution before the decoder.
    """
    first, channels = resolution // patch, 3 * patch**2
    sides = [first // 2**stage for stage in range(len(widths))]
    last, deepest = widths[-1], sides[-1]

    def conv(side: int, inputs: int, outputs: int, kernel: int = 3) -> int:
        return side**2 * inputs * outputs * kernel**2

    def block(side: int, inputs: int, outputs: int) -> int:
        shortcut = conv(side, inputs, outputs, 1) if inputs != outputs else 0
        return conv(side, inputs, outputs) + conv(side, outputs, outputs) + shortcut

    def attention(side: int, width: int) -> int:
        return 4 * side**2 * width**2 + 2 * side**4 * width

    middle = 2 * block(deepest, last, last) + middle_attention * attention(deepest, last)
    encode = conv(first, channels, widths[0]) + middle + conv(deepest, last, 2 * latent_channels)
    encode += quant_conv * conv(deepest, 2 * latent_channels, 2 * latent_channels, 1)
    decode = conv(deepest, latent_channels, last) + middle + conv(first, widths[0], channels)
    decode += post_quant_conv * conv(deepest, latent_channels, latent_channels, 1)
    for stage, (side, width) in enumerate(zip(sides, widths)):
        above, below = widths[max(stage - 1, 0)], widths[min(stage + 1, len(widths) - 1)]
        attends = deepest_attention and stage == len(widths) - 1
        for index in range(layers):
            encode += block(side, above if index == 0 else width, width)
        for index in range(layers + 1):
            decode += block(side, below if index == 0 else width, width)
        if attends:
            encode += layers * attention(side, width)
            decode += (layers + 1) * attention(side, width)
        if stage < len(widths) - 1:
            encode += conv(side // 2, width, width)
        if stage > 0:
            decode += conv(side * 2, width, width)
    return 2.0 * encode, 2.0 * decode


def autoencoder_flops(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    """Operations of encoding and of decoding one image, or None where nothing says them.

    Args:
        entry: of ``autoencoders``; its ``gflops`` if given, else counted for the KL families.
    """
    if "gflops" in entry:
        return entry["gflops"]["encode"] * 1e9, entry["gflops"]["decode"] * 1e9
    config = entry.get("config", {})
    if entry["family"] not in ("diffusers-kl", "ldm-kl") or "resolution" not in config:
        return None
    if not architecture_known(entry):
        return None
    official = config.get("official")
    if official is None:
        return kl_flops(
            resolution=config["resolution"],
            widths=config.get("widths", (64,)),
            layers=config.get("layers", 1),
            latent_channels=config.get("latent_channels", 4),
            patch=config.get("patch", 1),
            middle_attention=config.get("attention", False),
        )
    return kl_flops(
        resolution=config["resolution"],
        widths=official["block_out_channels"],
        layers=official["layers_per_block"],
        latent_channels=official["latent_channels"],
        middle_attention=official.get("mid_block_add_attention", True),
        deepest_attention=any(t.startswith("Attn") for t in official.get("down_block_types", [])),
        quant_conv=official.get("use_quant_conv", True),
        post_quant_conv=official.get("use_post_quant_conv", True),
    )


def latent_shape(entry: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Shape of a latent: a grid (C, H, W) or tokens (N, C); None where the entry does not say."""
    shape = entry.get("latent_shape")
    return tuple(shape) if shape else None


def sit_shape(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """Tokens of an autoencoder's SiT, and numbers per token.

    Args:
        entry: of ``autoencoders``; ``latent_shape`` and ``patch_size`` (default 1) are read.
    """
    shape = latent_shape(entry)
    if shape is None:
        return None
    patch = entry.get("patch_size", 1)
    if len(shape) == 2:
        return shape[0], shape[1]
    channels, height, width = shape
    return (height // patch) * (width // patch), channels * patch**2
