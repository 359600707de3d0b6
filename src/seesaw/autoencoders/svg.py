"""SVG and SVG-T2I: DINOv3 tokens, a small residual transformer, and a convolutional decoder."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import ClassVar

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers.pos_embed_sincos import RotaryEmbeddingMixed, get_mixed_freqs, get_mixed_grid
from timm.models import create_model
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from seesaw.autoencoders import dinov3
from seesaw.autoencoders.base import Autoencoder
from seesaw.autoencoders.ldm_decoder import build_decoder
from seesaw.autoencoders.official_names import speak
from seesaw.autoencoders.weights import MAIN, STATISTICS, Layout
from seesaw.registry import unknown

PATCH = 16
EPS = 1e-6
ENCODER = "encoder"
RESIDUALS = ("learned", "rotary", "none", "file")
RESIDUAL_STATISTICS = ("image", "batch")
UNUSED = (
    "encoder.mask_token",  # DINOv3's training
    "mask_token",  # stands for residual tokens that training masks
    "norm_vit.weight",  # a norm that no forward pass calls
    "norm_vit.bias",
    "extra_vit.head.weight",  # the classifier of DeiT, which comes with its class
    "extra_vit.head.bias",
    "extra_vit.freqs_t_x",  # coordinates of a 64 x 64 grid, made anew for the grid at hand
    "extra_vit.freqs_t_y",
)


class LearnedResidual(VisionTransformer):
    """Residual encoder of SVG: torchvision's transformer with learned positions.

    Args:
        resolution: side of the images, in pixels.
        channels: channels that it returns.
        width: channels of a token.
        depth: transformer blocks.
        heads: attention heads; must divide ``width``.
    """

    def __init__(
        self, *, resolution: int, channels: int, width: int = 384, depth: int = 6, heads: int = 8
    ) -> None:
        super().__init__(resolution, PATCH, depth, heads, width, 4 * width)
        self.heads = _head(width, channels)

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(N, 3, R, R)`` to patch tokens ``(N, T, channels)``."""
        patches = self._process_input(images)
        first = self.class_token.expand(len(images), -1, -1)
        return self.heads(self.encoder(torch.cat([first, patches], dim=1))[:, 1:])


class MixedRotary(RotaryEmbeddingMixed):
    """timm's mixed rotary embedding (arXiv 2403.13298), its frequencies shaped as in the files.

    They are ``(2, depth, width / 2)``: horizontal and vertical, heads one after the other.
    """

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__(width, depth, heads)
        self.freqs = nn.Parameter(self.freqs.detach().flatten(2))

    def get_embed(
        self, shape: Sequence[int] | None = None, dtype: torch.dtype | None = None
    ) -> Tensor:
        """Sines and cosines per layer and head, for a grid of ``shape``."""
        x, y = get_mixed_grid(shape, grid_indexing="xy", device=self.freqs.device)
        return get_mixed_freqs(self.freqs.unflatten(2, (self.num_heads, -1)), x, y, dtype=dtype)


class RotaryResidual(nn.Module):
    """Residual encoder of SVG-T2I-R: a DeiT with mixed rotary embeddings, for any image size.

    Args:
        channels: channels that it returns.
        width: channels of a token.
        depth: transformer blocks.
        heads: attention heads; must divide ``width``.
    """

    def __init__(self, *, channels: int, width: int = 384, depth: int = 12, heads: int = 6) -> None:
        super().__init__()
        self.model = create_model(
            "vit_small_patch16_rope_mixed_224",
            pretrained=False,
            num_classes=0,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            dynamic_img_size=True,
        )
        self.model.rope = MixedRotary(width, depth, heads)
        self.heads = _head(width, channels)
        speak(self, ((r"model\.rope\.freqs", "freqs"), (r"model\.(.+)", r"\1")))

    def forward(self, images: Tensor) -> Tensor:
        """Images ``(N, 3, H, W)`` to patch tokens ``(N, T, channels)``."""
        return self.heads(self.model.forward_features(images)[:, 1:])


class SVG(Autoencoder):
    """SVG (github.com/shiml20/SVG, fd69855) and SVG-T2I (github.com/KlingTeam/SVG-T2I, 03f14b6).

    The latent is a grid: the normalised patch tokens of a frozen DINOv3 ViT-S+/16, and after them,
    except in SVG-T2I-P, the channels of a residual encoder, moved and scaled to the mean and
    deviation of the tokens. Both see ImageNet-normalised pixels. An LDM decoder renders it.

    Weights: the authors' ``.ckpt`` (role ``autoencoder``). If it holds no ``encoder.*``, Meta's
    ``dinov3_vits16plus_pretrain_lvd1689m-4057cbaa.pth`` fills the encoder (role ``encoder``);
    otherwise that file is checked if given, and not used. Statistics (role ``stats``): SVG's
    ``dinov3_sp_mean`` and ``dinov3_sp_std`` per channel; SVG-T2I's ``mean`` and ``std`` per layer
    of the encoder, of which the last counts; residual channels take their average over channels.

    Args:
        resolution: side of the images, in pixels; a multiple of 16. SVG's learned positions are for
            256; the encoders of SVG-T2I take any.
        residual: ``"learned"`` (SVG), ``"rotary"`` (SVG-T2I-R), ``"none"`` (SVG-T2I-P), or
            ``"file"``: rotary if the weights file has a residual encoder, else none.
        residual_channels: channels of the residual encoder.
        residual_statistics: over what the residual's means and deviations are taken: ``"image"``,
            each image by itself, or ``"batch"``, all images of a call together, as published; then
            the latent of an image depends on the others.
        attention: whether the decoder's deepest stage has attention; None: as the weights file.
        encoder: ``width``, ``depth`` and ``heads`` of the DINOv3 transformer, where not those of
            ViT-S+.
        residual_encoder: the same of the residual encoder, where not those of the published one.
        widths: channels of the decoder's stages, from the image to the latent.
        norm_groups: groups of the decoder's norms.

    Raises:
        ValueError: unknown values, or a resolution that is not a multiple of 16.
    """

    spatial = True
    resizable = True
    on_meta: ClassVar[bool] = True
    layouts: ClassVar[Mapping[str, Layout]] = {
        MAIN: Layout(entry="state_dict", drop=("loss.",)),
        ENCODER: Layout(optional=True),
        STATISTICS: Layout(optional=True),
    }

    def __init__(
        self,
        *,
        resolution: int = 256,
        residual: str = "learned",
        residual_channels: int = 8,
        residual_statistics: str = "image",
        attention: bool | None = True,
        encoder: Mapping[str, int] | None = None,
        residual_encoder: Mapping[str, int] | None = None,
        widths: Sequence[int] = (128, 128, 256, 256, 512),
        norm_groups: int = 32,
    ) -> None:
        super().__init__()
        if residual not in RESIDUALS:
            raise unknown("residual", residual, RESIDUALS)
        if residual_statistics not in RESIDUAL_STATISTICS:
            raise unknown("residual_statistics", residual_statistics, RESIDUAL_STATISTICS)
        if resolution % PATCH or resolution <= 0:
            raise ValueError(f"resolution {resolution} is not a multiple of the patch, {PATCH}")
        self.resolution = resolution
        self.residual, self.residual_statistics = residual, residual_statistics
        self.attention = attention
        self._residual_sizes = {"channels": residual_channels, **(residual_encoder or {})}
        self._decoder_sizes = {"widths": tuple(widths), "norm_groups": norm_groups}
        self._encoder_in_main = True
        self._encoder_filled = True
        self.encoder = dinov3.build(**(encoder or {}))
        self._build(residual, attention)

    def _build(self, residual: str, attention: bool | None) -> None:
        """Make the parts on which released files differ."""
        self.extra_vit: nn.Module | None = None
        if residual == "learned":
            self.extra_vit = LearnedResidual(resolution=self.resolution, **self._residual_sizes)
        elif residual != "none":
            self.extra_vit = RotaryResidual(**self._residual_sizes)
        channels = self.encoder.embed_dim
        if self.extra_vit is not None:
            channels += self._residual_sizes["channels"]
        self.decoder = build_decoder(
            latent_channels=channels, attention=attention is not False, **self._decoder_sizes
        )
        self.latent_shape = (channels, self.resolution // PATCH, self.resolution // PATCH)

    def posterior(self, images: Tensor) -> tuple[Tensor, None]:
        """Latents; there is no variance. See :class:`SVG` for ``residual_statistics``."""
        mean = images.new_tensor(IMAGENET_DEFAULT_MEAN).view(-1, 1, 1)
        deviation = images.new_tensor(IMAGENET_DEFAULT_STD).view(-1, 1, 1)
        images = ((images + 1) / 2 - mean) / deviation
        tokens = dinov3.patch_tokens(self.encoder, images)
        if self.extra_vit is not None:
            residual = self.extra_vit(images)
            if self.residual_statistics == "image":
                residual = match(residual, tokens)
            else:
                joint = match(residual.flatten(0, 1)[None], tokens.flatten(0, 1)[None])
                residual = joint.view_as(residual)
            tokens = torch.cat([tokens, residual], dim=2)
        return tokens.transpose(1, 2).unflatten(2, self.latent_shape[1:]).contiguous(), None

    def render(self, latents: Tensor) -> Tensor:
        """See :meth:`Autoencoder.render`; grids of another side give images of another side."""
        return self.decoder(latents)

    def parts(self) -> Mapping[str, nn.Module]:
        """The official module, or what the file holds of it, and the encoder."""
        if self._encoder_in_main:
            # the file of the encoder is then checked against a copy, and has no effect
            return {MAIN: self, ENCODER: deepcopy(self.encoder)}
        others = {"extra_vit": self.extra_vit, "decoder": self.decoder}
        main = nn.ModuleDict({name: part for name, part in others.items() if part is not None})
        return {MAIN: main, ENCODER: self.encoder}

    def convert_weights(self, role: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leave out the keys that have no effect; where the config says so, follow the file."""
        if role == ENCODER:
            self._encoder_filled = True
            return {key: value for key, value in state.items() if key not in dinov3.UNUSED}
        state = {key: value for key, value in state.items() if key not in UNUSED}
        self._encoder_in_main = _has(state, "encoder.")
        self._encoder_filled = self._encoder_in_main
        residual, attention = self.residual, self.attention
        if residual == "file":
            residual = "rotary" if _has(state, "extra_vit.") else "none"
        if attention is None:
            attention = _has(state, f"decoder.up.{len(self._decoder_sizes['widths']) - 1}.attn.")
        if (residual, attention) != (self.residual, self.attention):
            with next(self.parameters()).device:
                self._build(residual, attention)
        return state

    def statistics(self, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and one over the deviation per channel, each ``(C, 1, 1)``."""
        learned = isinstance(self.extra_vit, LearnedResidual)
        names = ("dinov3_sp_mean", "dinov3_sp_std") if learned else ("mean", "std")
        channels, width = self.latent_shape[0], self.encoder.embed_dim
        depth = len(self.encoder.blocks)
        expected = (1, 1, channels) if learned else (depth, width)
        if set(state) != set(names) or any(tuple(state[n].shape) != expected for n in names):
            given = ", ".join(f"{key} {tuple(value.shape)}" for key, value in state.items())
            raise ValueError(
                f"the file of statistics holds {given or 'nothing'}; it must hold {names[0]} and "
                f"{names[1]} of the shape {expected}: dinov3_sp_stats.pt belongs to SVG, "
                "dinov3_s16p_layer_patchtoken_stats_dist.pt to SVG-T2I"
            )
        mean, deviation = (state[name].float().reshape(-1, expected[-1])[-1] for name in names)
        more = channels - expected[-1]
        mean, deviation = (torch.cat([x, x.mean().expand(more)]) for x in (mean, deviation))
        return mean.view(-1, 1, 1), 1 / deviation.view(-1, 1, 1)

    def after_load(self) -> None:
        """Check that some file held the encoder.

        Raises:
            ValueError: none did.
        """
        if not self._encoder_filled:
            raise ValueError(
                "the checkpoint holds no encoder.*: the weights of its DINOv3 encoder are missing; "
                "give Meta's dinov3_vits16plus_pretrain_lvd1689m-4057cbaa.pth in the role "
                f"{ENCODER!r}, beside the checkpoint in the role {MAIN!r}"
            )
        self._encoder_in_main = True


def match(residual: Tensor, tokens: Tensor) -> Tensor:
    """Residual ``(N, T, c)`` moved and scaled to mean and deviation of ``tokens`` ``(N, T, C)``.

    Both are taken for each of the N by itself, per channel over the T tokens (the deviation with
    T - 1), and averaged over the channels. Computed in float32.
    """
    own, other = residual.float(), tokens.float()
    scale = _deviation(other) / (_deviation(own) + EPS)
    matched = (own - own.mean((1, 2), keepdim=True)) * scale + other.mean((1, 2), keepdim=True)
    return matched.to(residual.dtype)


def _deviation(tokens: Tensor) -> Tensor:
    return tokens.std(1, keepdim=True).mean(2, keepdim=True)


def _head(width: int, channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, channels))


def _has(state: Mapping[str, Tensor], prefix: str) -> bool:
    return any(key.startswith(prefix) for key in state)
