"""The ``config.json`` that diffusers writes beside weights, compared with what we know ourselves.

The weights decide what is computed, and their keys are checked strictly elsewhere. ``config.json``
tells what they cannot, above all the statistics of the latents. Where it speaks of the same things
as our own registry, the two must agree.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

NO_STRUCTURE = frozenset(
    ["sample_size", "sample_height", "sample_width", "force_upcast", "dropout"]
    + ["scaling_factor", "shift_factor", "latents_mean", "latents_std", "invert_scale_latents"]
)
"""Entries that change neither a tensor nor how one image is encoded or decoded."""

Normalization = tuple[Tensor | float, Tensor | float]


def agreed_normalization(
    found: Mapping[str, Any],
    path: Path,
    *,
    model: nn.Module,
    channels: int,
    ours: Normalization | None,
) -> Normalization | None:
    """Check a ``config.json`` against ``model``; the mean and scale of the latents as both say.

    Args:
        found: what the file says; a file without ``_class_name`` is not diffusers' and not used.
        path: where it lies, for errors.
        model: diffusers model that the weights went into.
        channels: of the latents, C.
        ours: mean and scale that are known already, broadcastable to (C, 1, 1).

    Returns:
        ``ours``, or where that is None what the file says, each (C, 1, 1): per channel
        (z - ``latents_mean``) / ``latents_std`` where both are given, else (z - ``shift_factor``)
        * ``scaling_factor``. None where nobody says anything.

    Raises:
        ValueError: the file describes another network, or other statistics than ``ours``.
    """
    if "_class_name" not in found:
        return ours
    check_structure(found, path, model)
    theirs = stated_normalization(found, channels, path)
    if ours is None or theirs is None:
        return theirs if ours is None else ours
    for name, there, here in zip(("mean", "scale"), theirs, ours, strict=True):
        here = torch.as_tensor(here, dtype=torch.float32).expand(there.shape)
        if not torch.allclose(there, here, rtol=1e-4, atol=1e-6):
            raise ValueError(
                f"{path} gives the latents the {name} {_short(there)}, the registry entry (or "
                f"'config') {_short(here)}. Correct 'normalization' there if these are the weights "
                "that you mean"
            )
    return ours


def check_structure(
    found: Mapping[str, Any], path: Path, model: nn.Module, also: Sequence[str] = ()
) -> None:
    """Raise where a ``config.json`` describes another network than ``model``.

    Args:
        found: what it says. What the installed diffusers does not know is passed over.
        path: where it lies, for the error.
        model: the diffusers model.
        also: entries of :data:`NO_STRUCTURE` to compare nevertheless.

    Raises:
        ValueError: another class, or another value of an argument that both know.
    """
    kind, wanted = found.get("_class_name"), type(model).__name__
    if kind is not None and kind != wanted:
        raise ValueError(
            f"{path} is of class {kind}, these weights went into {wanted}; choose the family that "
            "fits, or other weights"
        )
    wrong = [
        f"{key} is {_plain(found[key])} there and {_plain(here)} here"
        for key, here in model.config.items()
        if not key.startswith("_") and (key not in NO_STRUCTURE or key in also)
        if None not in (found.get(key), here) and _plain(found[key]) != _plain(here)
    ]
    if wrong:
        raise ValueError(
            f"{path} describes another network: {'; '.join(wrong)}. Check that the registry entry "
            "(or 'config') and the weights belong together"
        )


def stated_normalization(
    found: Mapping[str, Any], channels: int, where: object
) -> tuple[Tensor, Tensor] | None:
    """Mean and scale of the latents by a config of diffusers, each (C, 1, 1); None: it has none.

    Raises:
        ValueError: other than one number per channel; ``where`` is named.
    """
    mean, std = found.get("latents_mean"), found.get("latents_std")
    if mean is not None and std is not None:
        return _column(mean, channels, where), 1 / _column(std, channels, where)
    if found.get("scaling_factor") is None:
        return None
    shift, scale = float(found.get("shift_factor") or 0.0), float(found["scaling_factor"])
    return torch.full((channels, 1, 1), shift), torch.full((channels, 1, 1), scale)


def _column(values: Sequence[float], channels: int, where: object) -> Tensor:
    column = torch.tensor(values, dtype=torch.float32).flatten()
    if len(column) != channels:
        raise ValueError(
            f"{where} has statistics of {len(column)} channels; these latents have {channels}"
        )
    return column[:, None, None]


def _plain(value: object) -> object:
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def _short(values: Tensor) -> str:
    flat = [f"{value:.6g}" for value in values.flatten().tolist()]
    return flat[0] if len(set(flat)) == 1 else f"({', '.join(flat[:4])}, ...)"
