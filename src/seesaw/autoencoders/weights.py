"""Weights files: read in any usual container, checked strictly, written as safetensors."""

import argparse
import errno
import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.autoencoders import inert
from seesaw.files import atomic, reject_what_is_no_weights_file

PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
WRAPPERS = ("state_dict", "model")
IN_FOLDER = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
)
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NAMED = 10
MAIN = "autoencoder"
STATISTICS = "stats"

Weights = str | Path | Mapping[str, str | Path]
"""A weights file (or the folder that holds it), or one per role."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where in a checkpoint the weights lie, and what else it may hold.

    Attributes:
        entry: top-level name of the state dict; None: the only ``state_dict`` or ``model``. A file
            that is a state dict itself is taken as it is.
        ema_entry: top-level name of the averaged weights, where the authors save both.
        drop: beginnings of keys that belong to the training (losses, teachers) and are left out.
        optional: the file may be missing.
    """

    entry: str | None = None
    ema_entry: str | None = None
    drop: tuple[str, ...] = ()
    optional: bool = False


def load_weights(module: nn.Module, weights: Weights, *, ema: bool | None = None) -> None:
    """Load weights files into ``module``, strictly: every key must be there, and no other.

    What a module may say of its files, each with a default (:class:`Autoencoder` documents them):
    ``layouts`` (role -> :class:`Layout`), ``parts()`` (role -> the module that the file fills),
    ``convert_weights(role, state)`` (file keys to module keys), ``statistics(state)`` and
    ``read_hub_config(config, path)`` (of the ``config.json`` beside a file), ``after_load()``.
    Floating-point weights are converted to the dtype of the module's own.

    Args:
        module: where the weights go, on any device; parts on ``meta`` take the file's tensors.
        weights: ``.safetensors``, or ``.pt``/``.pth``/``.ckpt``/``.bin``/``.pkl``, or a folder with
            one of the usual names in it; or a mapping role -> file. No code in a file runs: see
            :mod:`seesaw.autoencoders.inert`.
        ema: take the averaged weights where a file holds both; None: as the module prefers.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a role is missing or unknown, a file holds no weights (a web page, a git-lfs
            pointer, cut short), or its keys, shapes or dtypes are not those of ``module``; the
            first ten of each are named.
    """
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"weights {weights} were given for a {type(module).__name__}, which is no "
            "torch.nn.Module; derive the class from that, or let it read its weights itself"
        )
    layouts = getattr(module, "layouts", {MAIN: Layout()})
    files = files_by_role(weights, layouts)
    if ema is None:
        ema = getattr(module, "ema", False)
    loaded = []
    for role, path in files.items():
        state = _read_role(path, layouts[role], ema, numbers=role == STATISTICS)
        if role == STATISTICS:
            module.normalization = module.statistics(state)
            continue
        if hasattr(module, "convert_weights"):
            state = module.convert_weights(role, state)
        target = _parts(module)[role]
        check_state(target.state_dict(), state, path)
        loaded.append((target, state))
    for target, state in loaded:
        _fill(target, state)
    for path in files.values():
        config = Path(path) / "config.json" if path.is_dir() else path.parent / "config.json"
        if hasattr(module, "read_hub_config") and config.is_file():
            module.read_hub_config(json.loads(config.read_text()), config)
    if hasattr(module, "after_load"):
        module.after_load()


def save_weights(module: nn.Module, path: str | Path) -> None:
    """Write the weights of ``module`` (of its part ``autoencoder``) as safetensors.

    The file appears under its name only when it is whole.
    """
    from safetensors.torch import save_file

    target = _parts(module)[MAIN]
    tensors = {
        key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, tensor in target.state_dict().items()
    }
    with atomic(path) as temporary:
        save_file(tensors, temporary)


def files_by_role(weights: Weights, layouts: Mapping[str, Layout]) -> dict[str, Path]:
    """The files by role, in the order of ``layouts``; one path alone is the first role's.

    Raises:
        ValueError: a role that the layouts do not name, or one that is missing and not optional.
    """
    if not isinstance(weights, Mapping):
        weights = {next(iter(layouts)): weights}
    unknown = [role for role in weights if role not in layouts]
    missing = [
        role for role, layout in layouts.items() if role not in weights and not layout.optional
    ]
    if unknown or missing:
        roles = ", ".join(
            f"{r!r} (optional)" if x.optional else repr(r) for r, x in layouts.items()
        )
        raise ValueError(
            f"weights were given for {', '.join(map(repr, weights)) or 'nothing'}; this "
            f"autoencoder has files in the roles {roles}. "
            + "; ".join(
                [f"{role!r} is none of them" for role in unknown]
                + [f"{role!r} is missing" for role in missing]
            )
        )
    return {role: Path(weights[role]) for role in layouts if role in weights}


def read_state(path: str | Path, prefer: str | None = None) -> dict[str, Tensor]:
    """The tensors of a weights file by key, on the CPU. See :func:`load_weights` for the errors.

    Args:
        path: see :func:`load_weights`.
        prefer: where a ``torch.save`` file holds several state dicts, the one taken if it is there
            (``"ema"``).
    """
    path = Path(path)
    content = read_content(path)
    return _unwrap(content, path, prefer)


def read_content(path: Path, *, mapped: bool = False) -> Any:
    """What a weights file holds: a state dict, or what the authors' training saved with it.

    Args:
        path: the file, or a folder with a file of a usual name in it.
        mapped: leave the tensors of a file of ``torch.save`` on the disk until they are used (the
            file must then stay as it is).
    """
    path = _in_folder(path) if path.is_dir() else path
    reject_what_is_no_weights_file(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLES:
        return _read_pickle(path, mapped)
    raise ValueError(
        f"{path} ends in {path.suffix!r}; weights are .safetensors, {', '.join(PICKLES)} files"
    )


def _read_role(path: Path, layout: Layout, ema: bool, numbers: bool = False) -> dict[str, Tensor]:
    entry = layout.ema_entry if ema and layout.ema_entry else layout.entry
    content = read_content(path, mapped=True)
    if not isinstance(content, Mapping) or _is_state(content) or entry is None:
        state = _unwrap(content, path)
    elif entry in content and isinstance(content[entry], Mapping):
        state = _tensors(content[entry], numbers)
    else:
        raise ValueError(
            f"{path} holds {', '.join(map(repr, list(content)[:NAMED])) or 'nothing'}, and no "
            f"state dict {entry!r}, where these weights are looked for"
            + (" (option ema)" if layout.ema_entry else "")
        )
    return {key: value for key, value in state.items() if not key.startswith(layout.drop)}


def _parts(module: nn.Module) -> Mapping[str, nn.Module]:
    return module.parts() if hasattr(module, "parts") else {MAIN: module}


def _fill(target: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy the tensors in, or, where ``target`` is on ``meta``, make them its own."""
    own = target.state_dict()
    if not any(tensor.is_meta for tensor in own.values()):
        target.load_state_dict(state, strict=True)
        return
    cast = {key: state[key].to(tensor.dtype).contiguous() for key, tensor in own.items()}
    target.load_state_dict(cast, strict=True, assign=True)


def _in_folder(folder: Path) -> Path:
    found = [folder / name for name in IN_FOLDER if (folder / name).is_file()]
    if not found:
        raise ValueError(
            f"{folder} is a folder without a weights file (looked for {', '.join(IN_FOLDER)}); "
            "give the weights file in it"
        )
    return found[0]


def check_state(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], path: Path) -> None:
    """Raise unless ``given`` has the keys, the shapes and the kinds of dtype of ``expected``."""
    missing = [f"{key} {tuple(expected[key].shape)}" for key in expected if key not in given]
    unexpected = [f"{key} {tuple(given[key].shape)}" for key in given if key not in expected]
    misshapen, mistyped = [], []
    for key in expected:
        if key not in given:
            continue
        want, have = expected[key], given[key]
        if want.shape != have.shape:
            misshapen.append(f"{key} {tuple(have.shape)}, expected {tuple(want.shape)}")
        if (want.dtype in FLOATS) != (have.dtype in FLOATS):
            mistyped.append(f"{key} {have.dtype}, expected {want.dtype}")
    problems = {
        "missing": missing,
        "unexpected": unexpected,
        "misshapen": misshapen,
        "of the wrong dtype": mistyped,
    }
    found = [_name(what, keys) for what, keys in problems.items() if keys]
    if found:
        raise ValueError(
            f"{path} does not fit this model, which has {len(expected)} keys (the file has "
            f"{len(given)}). Check that config and weights belong together.\n" + "\n".join(found)
        )


def _name(what: str, keys: list[str]) -> str:
    more = f"\n    and {len(keys) - NAMED} more" if len(keys) > NAMED else ""
    return f"  {len(keys)} {what}:\n    " + "\n    ".join(keys[:NAMED]) + more


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}; it has {path.stat().st_size} "
            "bytes): it was cut short or is something else; delete it and download it again"
        ) from error


def _read_pickle(path: Path, mapped: bool = False) -> Any:
    from seesaw.networks.torchscript import is_torchscript

    if is_torchscript(path):
        raise ValueError(
            f"{path} is a TorchScript archive: a program with its weights, which is not run here; "
            "give the file of the weights alone, or save its state dict as safetensors"
        )
    try:
        if path.suffix == ".pkl":
            return inert.load(path)
        options = {"map_location": "cpu", "mmap": mapped and zipfile.is_zipfile(path)}
        try:
            # training checkpoints hold their command line, a Namespace: attributes, no code
            with torch.serialization.safe_globals([argparse.Namespace]):
                return torch.load(path, weights_only=True, **options)
        except pickle.UnpicklingError:
            return torch.load(path, weights_only=False, pickle_module=inert, **options)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise  # a disk's error; torch seeks to invalid places in some files that are cut short
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path} cannot be read as weights ({reason}; it has {path.stat().st_size} bytes): it "
            "was cut short or is something else; delete it and download it again"
        ) from error


def _unwrap(content: object, path: Path, prefer: str | None = None) -> dict[str, Tensor]:
    """The state dict in ``content``: itself, ``prefer``, the only ``state_dict`` or ``model``."""
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path} holds a {type(content).__name__} (its code is not run), "
            "not a state dict; save that"
        )
    if _is_state(content):
        return _tensors(content)
    if isinstance(content.get(prefer), Mapping) and _is_state(content[prefer]):
        return _tensors(content[prefer])
    inner = [
        key for key, value in content.items() if isinstance(value, Mapping) and _is_state(value)
    ]
    if len(inner) == 1 and inner[0] in WRAPPERS:
        return _tensors(content[inner[0]])
    raise ValueError(
        f"{path} holds {', '.join(map(repr, list(content)[:NAMED])) or 'nothing'}; which of them "
        f"is the model's state dict is not clear (it is looked for in {' and '.join(WRAPPERS)}, if "
        "only one of the entries is one); save the one that you want alone, as safetensors"
    )


def _is_state(content: Mapping) -> bool:
    return bool(content) and all(isinstance(v, Tensor | np.ndarray) for v in content.values())


def _tensors(content: Mapping, numbers: bool = False) -> dict[str, Tensor]:
    """The tensors and arrays of a state dict, and its numbers if wanted, as tensors."""
    kinds = Tensor | np.ndarray | np.number | float if numbers else Tensor | np.ndarray
    return {
        key: value if isinstance(value, Tensor) else torch.as_tensor(value)
        for key, value in content.items()
        if isinstance(value, kinds)
    }
