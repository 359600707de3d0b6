"""LightningDiT, the backbone of VA-VAE (Yao, Wang 2025, arXiv 2501.01423)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seesaw.diffusion.backbones.base import Backbone
from seesaw.diffusion.backbones.layers import (
    Block,
    Conditioning,
    FinalLayer,
    LabelEmbedder,
    PatchEmbed,
    RotaryTable,
    TimeEmbedder,
    check_grid,
    logit_normal,
    sincos_2d,
    unpatchify,
)


class LightningDiT(Backbone):
    """LightningDiT as configured for VA-VAE: RMS norm, SwiGLU, rotary positions, no QK norm.

    Weights named as in hustvl/LightningDiT 2725fed, ``models/lightningdit.py``
    (``configs/lightningdit_xl_vavae_f16d32.yaml``). Time 1 is data.

    Args:
        latent_shape: ``(C, H, H)``.
        patch_size: side of the squares that become one token.
        width: channels of a token.
        depth: blocks.
        heads: attention heads.
        num_classes: labels, without the null label.

    Raises:
        ValueError: sizes that do not divide.
    """

    data_at = 1
    cosine_loss = True

    def __init__(
        self,
        latent_shape: Sequence[int],
        *,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.latent_shape = tuple(latent_shape)
        self.num_classes = num_classes
        self.patch_size = patch_size
        self.side = check_grid(self.latent_shape, width, patch_size)
        self.token_grid = (self.side, self.side)
        channels = self.latent_shape[0]
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.x_embedder = PatchEmbed(channels, width, patch_size)
        self.register_buffer("pos_embed", sincos_2d(width, self.side)[None].float())
        self.t_embedder = TimeEmbedder(width)
        self.y_embedder = LabelEmbedder(num_classes, width)
        self.feat_rope = RotaryTable(width // heads, self.side)
        self.final_layer = FinalLayer(width, patch_size**2 * channels)

    def embed(self, x: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Conditioning]:
        """See :meth:`Backbone.embed`."""
        vector = self.t_embedder(t) + self.y_embedder(y)
        return self.x_embedder(x) + self.pos_embed, Conditioning(vector, self.feat_rope())

    def unembed(self, tokens: Tensor, conditioning: Conditioning) -> Tensor:
        """See :meth:`Backbone.unembed`."""
        return unpatchify(self.final_layer(tokens, conditioning.vector), self.side, self.patch_size)

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Logit-normal(0, 1), not shifted (``use_lognorm``)."""
        return logit_normal(count, generator)
