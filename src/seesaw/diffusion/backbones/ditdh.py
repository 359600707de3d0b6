"""DiT-DH, the backbone of RAE: a DiT whose tokens condition a shallow, wide head."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.diffusion.backbones.base import Backbone
from seesaw.diffusion.backbones.layers import (
    Block,
    Conditioning,
    FinalLayer,
    GaussianTimeEmbedder,
    LabelEmbedder,
    PatchEmbed,
    RotaryTable,
    check_grid,
    logit_normal,
    sincos_2d,
    unpatchify,
)
from seesaw.diffusion.grids import RAE_MARGIN, rae_shift, shift_times


class WideConditioning(NamedTuple):
    """:class:`Conditioning` of the encoder blocks, and what the head needs.

    ``time``: embedded times ``(N, D)``; ``x``: the latents as tokens of the head ``(N, T, W)``.
    """

    vector: Tensor
    rotary: tuple[Tensor, Tensor]
    time: Tensor
    x: Tensor


class DiTDH(Backbone):
    """DiT-DH (Zheng et al. 2025, arXiv 2510.11690): ``blocks`` is its encoder stream.

    The head takes the latents again; each of its tokens is modulated by the encoder's token of the
    same place. Weights named as in bytetriper/RAE a4d18c4, ``stage2/models/DDT.py``
    (``DiTwDDTHead``), where the head's blocks follow the encoder's under the name ``blocks``: that
    is what ``state_dict`` gives and ``load_state_dict`` takes. Time 1 is noise.

    Args:
        latent_shape: ``(C, H, H)``; a cell is a token.
        width: channels of the encoder's tokens.
        depth: blocks of the encoder.
        heads: attention heads of the encoder.
        head_width: channels of the head's tokens; not ``width``.
        head_depth: blocks of the head.
        head_heads: attention heads of the head.
        num_classes: labels, without the null label.

    Raises:
        ValueError: sizes that do not divide, or a head as wide as the encoder.
    """

    data_at = 0

    def __init__(
        self,
        latent_shape: Sequence[int],
        *,
        width: int,
        depth: int,
        heads: int,
        head_width: int,
        head_depth: int,
        head_heads: int,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        if head_width == width:
            raise ValueError(
                f"the head must not be as wide as the encoder ({width}): the official layout has "
                "no projection between them then; choose another head_width"
            )
        self.latent_shape = tuple(latent_shape)
        self.num_classes = num_classes
        self.time_shift = rae_shift(self.latent_shape)
        self.side = check_grid(self.latent_shape, width)
        self.token_grid = (self.side, self.side)
        channels = self.latent_shape[0]
        self.s_embedder = PatchEmbed(channels, width, 1)
        self.register_buffer("pos_embed", sincos_2d(width, self.side)[None].float())
        self.t_embedder = GaussianTimeEmbedder(width)
        self.y_embedder = LabelEmbedder(num_classes, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.enc_feat_rope = RotaryTable(width // heads, self.side)
        self.x_embedder = PatchEmbed(channels, head_width, 1)
        self.s_projector = nn.Linear(width, head_width)
        self.head = nn.ModuleList(Block(head_width, head_heads) for _ in range(head_depth))
        self.dec_feat_rope = RotaryTable(head_width // head_heads, self.side)
        self.final_layer = FinalLayer(head_width, channels)
        self.register_state_dict_post_hook(_to_official_names)
        self.register_load_state_dict_pre_hook(_from_official_names)

    def embed(self, x: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, WideConditioning]:
        """See :meth:`Backbone.embed`."""
        time = self.t_embedder(t)
        vector = F.silu(time + self.y_embedder(y))
        conditioning = WideConditioning(vector, self.enc_feat_rope(), time, self.x_embedder(x))
        return self.s_embedder(x) + self.pos_embed, conditioning

    def unembed(self, tokens: Tensor, conditioning: WideConditioning) -> Tensor:
        """The wide head, then as :meth:`Backbone.unembed`."""
        each = self.s_projector(F.silu(conditioning.time[:, None] + tokens))
        x, in_head = conditioning.x, Conditioning(each, self.dec_feat_rope())
        for block in self.head:
            x = block(x, in_head)
        return unpatchify(self.final_layer(x, each), self.side, 1)

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Logit-normal(0, 1) up to 0.999, shifted by ``sqrt(latent dimensions / 4096)``."""
        return shift_times(
            logit_normal(count, generator).clamp(max=1 - RAE_MARGIN), self.time_shift
        )


def _to_official_names(
    module: DiTDH, state: dict[str, Tensor], prefix: str, _: Mapping[str, Any]
) -> None:
    for index in range(len(module.head)):
        old, new = f"{prefix}head.{index}.", f"{prefix}blocks.{len(module.blocks) + index}."
        _rename(state, old, new)


def _from_official_names(module: DiTDH, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    for index in range(len(module.head)):
        old, new = f"{prefix}head.{index}.", f"{prefix}blocks.{len(module.blocks) + index}."
        _rename(state, new, old)


def _rename(state: dict[str, Tensor], old: str, new: str) -> None:
    for key in [key for key in state if key.startswith(old)]:
        state[new + key.removeprefix(old)] = state.pop(key)
