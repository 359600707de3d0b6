"""Backbones filled by the recipe: no initial zeros, so that every tensor matters."""

import torch
from recipe import fill

SMALL = {
    "lightningdit-xl/1": {
        "latent_shape": (4, 4, 4),
        "width": 32,
        "depth": 3,
        "heads": 2,
        "num_classes": 10,
    },
    "ditdh-xl": {
        "latent_shape": (6, 4, 4),
        "width": 32,
        "depth": 3,
        "heads": 2,
        "head_width": 48,
        "head_depth": 2,
        "head_heads": 2,
        "num_classes": 10,
    },
}
"""Registered name -> a size for tests."""

TABLES = ("pos_embed", "freqs_cos", "freqs_sin")


def kind_of(name, shape):
    """How the recipe fills a tensor."""
    if name.endswith("embedding_table.weight"):
        return "embed"
    if name.endswith(".W") or ("norm" in name and name.endswith(".weight")):
        return "norm_weight"
    return "bias" if len(shape) == 1 else "weight"


def fill_backbone(backbone):
    """The same backbone, its weights (not its position tables) filled by the recipe."""
    state = {
        name: tensor
        if name.endswith(TABLES)
        else torch.from_numpy(fill(name, tensor.shape, kind_of(name, tensor.shape)))
        for name, tensor in backbone.state_dict().items()
    }
    backbone.load_state_dict(state)
    return backbone
