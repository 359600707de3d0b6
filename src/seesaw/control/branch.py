"""A ControlNet branch for transformer backbones.

Design of PixArt-delta's "ControlNet-Transformer" (Chen et al. 2024, arXiv 2401.05252;
PixArt-alpha/PixArt-alpha ``diffusion/model/nets/pixart_controlnet.py``), with the pixel hint
encoder of ControlNet (Zhang et al. 2023; lllyasviel/ControlNet ed85cd1 ``cldm/cldm.py``) in place
of an autoencoder, whose own drift would blur what is measured.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seesaw.autoencoders.weights import check_state, read_state
from seesaw.files import atomic

FIRST_WIDTH = 16
STAGE_WIDTHS = (32, 96, 256)
"""Channels of the hint encoder after each halving; further halvings keep the last."""
COPIED, OF = 13, 28
"""PixArt-delta copies 13 of 28 blocks."""
BACKBONE = "backbone."


def default_depth(blocks: int) -> int:
    """Copies for a backbone of ``blocks`` blocks: PixArt-delta's share, 13 of 28, rounded.

    28 -> 13, 12 -> 6, 4 -> 2, 2 -> 1. At least one, and at most all but the last block, since the
    copy of block i speaks to the input of block i + 1.
    """
    return max(1, min(round(COPIED / OF * blocks), blocks - 1))


class HintEncoder(nn.Module):
    """3x3 convolutions with SiLU that bring a picture to the grid of tokens.

    ControlNet's widths: 16, 16, then per halving (32 with stride 2, 32), (96, 96), (256, 256), the
    last of these going straight to ``width``. ControlNet's last convolution is zero-initialised;
    here the linear map behind it is, as in PixArt-delta: of two zero layers in a row neither would
    ever get a gradient. Weights start as of He et al. (2015), biases at zero: with torch's default
    the tokens of two edge maps differ by less than 1e-4 of their size after four halvings.

    Args:
        channels: of the hint.
        width: of a token.
        stages: halvings.
    """

    def __init__(self, channels: int, width: int, stages: int) -> None:
        super().__init__()
        layers = [_conv(channels, FIRST_WIDTH), nn.SiLU(), _conv(FIRST_WIDTH, FIRST_WIDTH)]
        last = FIRST_WIDTH
        for stage in range(stages):
            now = STAGE_WIDTHS[min(stage, len(STAGE_WIDTHS) - 1)]
            layers += [nn.SiLU(), _conv(last, now, stride=2)]
            if stage < stages - 1:
                layers += [nn.SiLU(), _conv(now, now)]
            last = now
        self.layers = nn.Sequential(*layers, nn.SiLU(), _conv(last, width))

    def forward(self, hint: Tensor) -> Tensor:
        """``(N, channels, R, R)`` to tokens ``(N, T, D)``, row by row."""
        return self.layers(hint).flatten(2).transpose(1, 2)


class ControlNet(nn.Module):
    """A frozen backbone and a branch that adds a hint to it.

    The first ``depth`` blocks are copied. The first copy takes the tokens behind frozen block 0
    plus a zero-initialised linear map of the hint's tokens, every other the output of the copy
    before. The output of copy i, through its own zero-initialised linear map, is added to the input
    of frozen block i + 1. So at first the output is the backbone's. Only the branch has gradients;
    the backbone always stays in evaluation mode.

    Args:
        backbone: see :class:`seesaw.diffusion.backbones.Backbone` (``embed``, ``blocks``,
            ``unembed``, ``token_grid``). It is frozen, not copied.
        resolution: side of the hints, in pixels.
        depth: blocks to copy; None: :func:`default_depth`.
        hint_channels: 1 for maps, 3 for pictures.

    Raises:
        ValueError: the backbone has no grid of tokens or a single block, ``depth`` is out of range,
            or the resolution is not the grid's side times a power of two.
    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        resolution: int,
        depth: int | None = None,
        hint_channels: int = 1,
    ) -> None:
        super().__init__()
        stages = _halvings(backbone, resolution)
        depth = _depth(len(backbone.blocks), depth)
        if hint_channels not in (1, 3):
            raise ValueError(f"hints have 1 or 3 channels, got {hint_channels}")
        self.resolution = resolution
        self.depth = depth
        self.hint_channels = hint_channels
        self.backbone = backbone.requires_grad_(False).eval()
        width = _width(backbone)
        device = next(backbone.parameters()).device
        self.hint = HintEncoder(hint_channels, width, stages).to(device)
        self.before = _zero_linear(width).to(device)
        self.copies = nn.ModuleList(
            deepcopy(block).requires_grad_(True) for block in backbone.blocks[:depth]
        )
        self.after = nn.ModuleList(_zero_linear(width).to(device) for _ in range(depth))
        self.train()

    def train(self, mode: bool = True) -> "ControlNet":
        """Training mode for the branch; the backbone stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def branch_parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""
        return (value for name, value in self.named_parameters() if not name.startswith(BACKBONE))

    def branch_state(self) -> dict[str, Tensor]:
        """State dict of the branch alone."""
        return {
            name: value
            for name, value in self.state_dict().items()
            if not name.startswith(BACKBONE)
        }

    def forward(self, x: Tensor, t: Tensor, y: Tensor, hint: Tensor) -> Tensor:
        """The backbone's velocity under a hint.

        Args:
            x: normalised latents ``(N, *latent_shape)``.
            t: ``(N,)``, in the backbone's convention.
            y: int64 ``(N,)``.
            hint: float in [0, 1], ``(N, hint_channels, resolution, resolution)``.

        Raises:
            ValueError: a hint of another shape or dtype.
        """
        self._check_hint(hint, len(x))
        return self.under(x, t, y, self.hint_tokens(hint))

    def hint_tokens(self, hint: Tensor) -> Tensor:
        """What the first copy gets of hints ``(N, T, D)``; the same at every time of a sample."""
        self._check_hint(hint, len(hint))
        return self.before(self.hint(hint))

    def under(self, x: Tensor, t: Tensor, y: Tensor, tokens_of_hint: Tensor) -> Tensor:
        """As :meth:`forward`, for hints that :meth:`hint_tokens` has seen already."""
        with torch.no_grad():
            tokens, conditioning = self.backbone.embed(x, t, y)
            tokens = self.backbone.blocks[0](tokens, conditioning)
        state = tokens + tokens_of_hint
        for index, block in enumerate(self.backbone.blocks[1:]):
            if index < self.depth:
                state = self.copies[index](state, conditioning)
                tokens = tokens + self.after[index](state)
            tokens = block(tokens, conditioning)
        return self.backbone.unembed(tokens, conditioning)

    def _check_hint(self, hint: Tensor, count: int) -> None:
        expected = (count, self.hint_channels, self.resolution, self.resolution)
        if tuple(hint.shape) != expected or not hint.is_floating_point():
            raise ValueError(
                f"expected hints of shape {expected}, float in [0, 1] (uint8 maps divided by 255), "
                f"got {hint.dtype} {tuple(hint.shape)}"
            )


def state_sha256(module: nn.Module) -> str:
    """Hex digest of a module's names, dtypes, shapes and values, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save_branch(
    control: ControlNet, path: str | Path, notes: Mapping[str, Any] | None = None
) -> None:
    """Write the branch as safetensors, with its sizes and the digest of its backbone.

    Args:
        control: the branch on its backbone.
        path: file to write.
        notes: how it was trained, plain values; :func:`read_notes` gives them back.
    """
    from safetensors.torch import save_file

    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in control.branch_state().items()
    }
    metadata = {
        "backbone_sha256": state_sha256(control.backbone),
        "resolution": str(control.resolution),
        "depth": str(control.depth),
        "hint_channels": str(control.hint_channels),
        "notes": json.dumps(dict(notes or {})),
    }
    with atomic(path) as temporary:
        save_file(state, temporary, metadata=metadata)


def read_notes(path: str | Path) -> dict[str, Any]:
    """What :func:`save_branch` was told about the training of a branch."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get("notes", "{}"))


def load_branch(path: str | Path, backbone: nn.Module) -> ControlNet:
    """The branch of a file of :func:`save_branch` on the backbone that it was trained on.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no branch, or the backbone is another one.
    """
    from safetensors import safe_open

    state = read_state(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    if "backbone_sha256" not in metadata:
        raise ValueError(f"{path} is not a ControlNet branch: it names no backbone")
    found = state_sha256(backbone)
    if found != metadata["backbone_sha256"]:
        raise ValueError(
            f"{path} was trained on the backbone {metadata['backbone_sha256'][:12]}, given was "
            f"{found[:12]}; use the backbone's weights that it was trained with, or train it again"
        )
    sizes = {name: int(metadata[name]) for name in ("resolution", "depth", "hint_channels")}
    control = ControlNet(backbone, **sizes)
    check_state(control.branch_state(), state, Path(path))
    control.load_state_dict(state, strict=False)
    return control


def _halvings(backbone: nn.Module, resolution: int) -> int:
    grid = getattr(backbone, "token_grid", None)
    if grid is None:
        raise ValueError(
            f"a ControlNet needs a backbone whose tokens form a grid, so that a hint's pixels have "
            f"a place among them; latents of shape {tuple(backbone.latent_shape)} are 1-D tokens"
        )
    ratio, rest = divmod(resolution, grid[0])
    if grid[0] != grid[1] or rest or ratio < 1 or ratio & (ratio - 1):
        raise ValueError(
            f"hints of {resolution} px cannot be halved to the {grid[0]} x {grid[1]} tokens of "
            f"this backbone; use {grid[0]} times a power of two"
        )
    return ratio.bit_length() - 1


def _depth(blocks: int, depth: int | None) -> int:
    if blocks < 2:
        raise ValueError(f"a ControlNet needs a backbone of at least 2 blocks, got {blocks}")
    depth = default_depth(blocks) if depth is None else depth
    if not 1 <= depth < blocks:
        raise ValueError(f"depth must be in 1 .. {blocks - 1} for {blocks} blocks, got {depth}")
    return depth


@torch.no_grad()
def _width(backbone: nn.Module) -> int:
    device = next(backbone.parameters()).device
    x = torch.zeros(1, *backbone.latent_shape, device=device)
    label = torch.zeros(1, dtype=torch.int64, device=device)
    return backbone.embed(x, torch.zeros(1, device=device), label)[0].shape[-1]


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)
    return layer


def _zero_linear(width: int) -> nn.Linear:
    layer = nn.Linear(width, width)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
