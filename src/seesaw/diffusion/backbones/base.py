"""The backbone contract and the one function that builds a backbone."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from seesaw.autoencoders.weights import check_state, read_state
from seesaw.registry import ALIASES, BACKBONES

AVERAGED = "ema"
"""Where official checkpoints keep the averaged weights, which published samples are made with."""


class Backbone(nn.Module):
    """A velocity network on normalised latents, open between its blocks.

    ``forward`` is :meth:`embed`, then each of ``blocks``, then :meth:`unembed`; a ControlNet sits
    between the blocks. Times run as the backbone was published.

    Attributes:
        latent_shape: shape of one latent, ``(C, H, H)``.
        token_grid: rows and columns of tokens, None where the tokens are no grid.
        num_classes: labels are ``0 .. num_classes - 1``; ``num_classes`` itself means no label.
        data_at: the time of data. 1: ``x_t = t data + (1 - t) noise``, velocity ``data - noise``;
            0: ``x_t = (1 - t) data + t noise``, velocity ``noise - data``.
        cosine_loss: whether it was trained with ``1 - cosine`` of the velocities beside their
            squared error.
        blocks: what :meth:`embed`'s tokens pass, ``tokens = block(tokens, conditioning)``.
    """

    data_at: ClassVar[Literal[0, 1]]
    cosine_loss: ClassVar[bool] = False
    latent_shape: tuple[int, int, int]
    token_grid: tuple[int, int] | None
    num_classes: int
    blocks: nn.ModuleList

    def embed(self, x: Tensor, t: Tensor, y: Tensor) -> tuple[Tensor, Any]:
        """Latents, times and labels to tokens ``(N, T, D)`` and what every block needs beside them.

        Args:
            x: ``(N, *latent_shape)``, normalised as in the backbone's training.
            t: ``(N,)`` in [0, 1].
            y: int64 ``(N,)``.
        """
        raise NotImplementedError

    def unembed(self, tokens: Tensor, conditioning: Any) -> Tensor:
        """Tokens after the last block to a velocity ``(N, *latent_shape)``."""
        raise NotImplementedError

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Training times as published, float32 ``(count,)``, on the generator's device."""
        raise NotImplementedError

    def forward(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Velocity ``(N, *latent_shape)``; arguments as in :meth:`embed`."""
        tokens, conditioning = self.embed(x, t, y)
        for block in self.blocks:
            tokens = block(tokens, conditioning)
        return self.unembed(tokens, conditioning)


def load_backbone(
    name: str,
    weights: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    *,
    device: str = "cpu",
) -> nn.Module:
    """A backbone in evaluation mode on ``device``, float32, without gradients.

    Args:
        name: a name in :data:`seesaw.registry.BACKBONES` or :data:`seesaw.registry.ALIASES`.
        weights: the official file (or one of the same layout), loaded strictly. Of a training
            checkpoint the averaged weights (``ema``) are taken. None: initial weights, which
            predict zero.
        config: keyword arguments that replace those of the published size.
        device: torch device.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: unknown name, config keys that it does not take, a size that does not work out,
            or a file that does not fit; see :func:`seesaw.autoencoders.weights.load_weights`.
    """
    name, options = ALIASES.get(name, (name, {}))
    entry = BACKBONES[name]
    cls = BACKBONES.load(name)
    accepted = inspect.signature(cls).parameters
    bad = [key for key in config or {} if key not in accepted]
    if bad:
        raise ValueError(
            f"backbone {name!r} does not take {', '.join(map(repr, bad))}; it takes "
            f"{', '.join(accepted)}"
        )
    settings = {**entry.config, **options, **(config or {})}
    if weights is None:
        backbone = cls(**settings)
    else:
        with torch.device("meta"):
            backbone = cls(**settings)
        state = read_state(weights, prefer=AVERAGED)
        check_state(backbone.state_dict(), state, Path(weights))
        state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        backbone.load_state_dict(state, strict=True, assign=True)
    return backbone.eval().requires_grad_(False).to(device)
