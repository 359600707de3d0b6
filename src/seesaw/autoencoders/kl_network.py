"""The network of ``diffusers.AutoencoderKL``, without what importing diffusers takes.

Importing diffusers costs 4 CPU-seconds, more than most jobs of the mini world compute. Names,
shapes, order and initial values of the parameters are those of diffusers 0.42, so weights and
results are the same, without attention to the last bit (tested).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-6
LOG_VARIANCE_RANGE = (-30.0, 20.0)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a user of the network asks it for."""

    block_out_channels: tuple[int, ...]
    latent_channels: int


@dataclass(frozen=True)
class Posterior:
    """Mean and log variance, each ``(N, latent_channels, h, w)``."""

    mean: Tensor
    logvar: Tensor


@dataclass(frozen=True)
class Encoded:
    """What :meth:`AutoencoderKL.encode` returns."""

    latent_dist: Posterior


@dataclass(frozen=True)
class Decoded:
    """What :meth:`AutoencoderKL.decode` returns."""

    sample: Tensor


class AutoencoderKL(nn.Module):
    """Convolutional encoder and decoder (LDM, arXiv 2112.10752) as ``diffusers`` builds them.

    Args:
        in_channels: channels of the images.
        out_channels: the same.
        block_out_channels: channels of each stage; the next one has half the side.
        latent_channels: channels of the latent.
        layers_per_block: residual blocks per stage of the encoder; the decoder has one more.
        norm_num_groups: groups of the group norms.
        mid_block_add_attention: self-attention in the middle.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        block_out_channels: Sequence[int],
        latent_channels: int,
        layers_per_block: int,
        norm_num_groups: int,
        mid_block_add_attention: bool,
    ) -> None:
        super().__init__()
        self.config = Config(
            block_out_channels=tuple(block_out_channels), latent_channels=latent_channels
        )
        middle = (norm_num_groups, mid_block_add_attention)
        self.encoder = Encoder(
            in_channels, 2 * latent_channels, block_out_channels, layers_per_block, *middle
        )
        self.decoder = Decoder(
            latent_channels, out_channels, block_out_channels, layers_per_block, *middle
        )
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(latent_channels, latent_channels, 1)

    def encode(self, images: Tensor) -> Encoded:
        """Images ``(N, in_channels, H, W)`` to their posterior."""
        mean, log_variance = self.quant_conv(self.encoder(images)).chunk(2, 1)
        return Encoded(Posterior(mean, log_variance.clamp(*LOG_VARIANCE_RANGE)))

    def decode(self, latents: Tensor) -> Decoded:
        """Latents ``(N, latent_channels, h, w)`` to images."""
        return Decoded(self.decoder(self.post_quant_conv(latents)))


class ResnetBlock2D(nn.Module):
    """Two normalised convolutions beside a shortcut."""

    def __init__(self, channels: int, out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, EPS)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, out, EPS)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels, out, 1) if channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)`` to ``(N, out, H, W)``."""
        inner = self.conv1(F.silu(self.norm1(x)))
        inner = self.conv2(F.silu(self.norm2(inner)))
        return (x if self.conv_shortcut is None else self.conv_shortcut(x)) + inner


class Attention(nn.Module):
    """Self-attention over all places, one head."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, EPS)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)`` to the same."""
        n, c, h, w = x.shape
        tokens = self.group_norm(x.view(n, c, h * w)).transpose(1, 2)
        q, k, v = (part(tokens)[:, None] for part in (self.to_q, self.to_k, self.to_v))
        found = self.to_out[0](F.scaled_dot_product_attention(q, k, v)[:, 0])
        return found.transpose(1, 2).reshape(n, c, h, w) + x


class Middle(nn.Module):
    """Residual block, attention if any, residual block."""

    def __init__(self, channels: int, groups: int, attention: bool) -> None:
        super().__init__()
        self.attentions = nn.ModuleList()
        self.resnets = nn.ModuleList([ResnetBlock2D(channels, channels, groups)])
        self.attentions.append(Attention(channels, groups) if attention else None)
        self.resnets.append(ResnetBlock2D(channels, channels, groups))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)`` to the same."""
        x = self.resnets[0](x)
        if self.attentions[0] is not None:
            x = self.attentions[0](x)
        return self.resnets[1](x)


class Resample(nn.Module):
    """A convolution that halves the side, or one after doubling it."""

    def __init__(self, channels: int, *, down: bool) -> None:
        super().__init__()
        self.down = down
        if down:
            self.conv = nn.Conv2d(channels, channels, 3, stride=2)
        else:
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)`` to half or twice the side."""
        if self.down:
            return self.conv(F.pad(x, (0, 1, 0, 1)))
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.Module):
    """Residual blocks of one resolution, then the change to the next."""

    def __init__(
        self, channels: int, out: int, layers: int, groups: int, *, down: bool, last: bool
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResnetBlock2D(out if layer else channels, out, groups) for layer in range(layers)
        )
        resamplers = None if last else nn.ModuleList([Resample(out, down=down)])
        self.downsamplers = resamplers if down else None
        self.upsamplers = None if down else resamplers

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)`` to the next stage's input."""
        for part in (*self.resnets, *(self.downsamplers or self.upsamplers or ())):
            x = part(x)
        return x


class Encoder(nn.Module):
    """Images to ``out`` channels at the latent's side."""

    def __init__(
        self,
        channels: int,
        out: int,
        widths: Sequence[int],
        layers: int,
        groups: int,
        attention: bool,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            Stage(before, width, layers, groups, down=True, last=place == len(widths))
            for place, (before, width) in enumerate(zip([widths[0], *widths], widths), 1)
        )
        self.mid_block = Middle(widths[-1], groups, attention)
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, H, W)`` to ``(N, out, h, w)``."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    """Latents to images."""

    def __init__(
        self,
        channels: int,
        out: int,
        widths: Sequence[int],
        layers: int,
        groups: int,
        attention: bool,
    ) -> None:
        super().__init__()
        widths = list(reversed(widths))
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.up_blocks = nn.ModuleList()
        self.mid_block = Middle(widths[0], groups, attention)
        for place, (before, width) in enumerate(zip([widths[0], *widths], widths), 1):
            last = place == len(widths)
            self.up_blocks.append(Stage(before, width, layers + 1, groups, down=False, last=last))
        self.conv_norm_out = nn.GroupNorm(groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """``(N, channels, h, w)`` to ``(N, out, H, W)``."""
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(F.silu(self.conv_norm_out(x)))
