"""Weights files: read in any usual container, checked strictly, written as safetensors."""

import argparse
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from seesaw.files import atomic

PICKLES = (".pt", ".pth", ".ckpt", ".bin")
WRAPPERS = ("state_dict", "model")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NAMED = 10


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load a weights file into ``module``, strictly: every key must be there, and no other.

    A module may say that its weights belong to a part of it (attribute ``weights_module``), and may
    rename older key layouts (method ``convert_weights(state) -> state``). Half-precision weights
    are converted to the dtype of the module.

    Args:
        module: where the weights go, on any device.
        path: ``.safetensors``, or ``.pt``/``.pth``/``.ckpt``/``.bin`` of ``torch.save``; the latter
            are read with ``weights_only=True``, so no code in them runs.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file holds no weights (a web page, a git-lfs pointer, cut short), or its
            keys, shapes or dtypes are not those of ``module``; the first ten of each are named.
    """
    path = Path(path)
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"weights {path} were given for a {type(module).__name__}, which is no "
            "torch.nn.Module; derive the class from that, or let it read its weights itself"
        )
    state = read_state(path)
    convert: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None
    convert = getattr(module, "convert_weights", None)
    if convert is not None:
        state = convert(state)
    target = getattr(module, "weights_module", module)
    check_state(target.state_dict(), state, path)
    target.load_state_dict(state, strict=True)


def save_weights(module: nn.Module, path: str | Path) -> None:
    """Write the weights of ``module`` (of its ``weights_module``, if it has one) as safetensors.

    The file appears under its name only when it is whole.
    """
    from safetensors.torch import save_file

    target = getattr(module, "weights_module", module)
    tensors = {
        key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for key, tensor in target.state_dict().items()
    }
    with atomic(path) as temporary:
        save_file(tensors, temporary)


def read_state(path: str | Path, prefer: str | None = None) -> dict[str, Tensor]:
    """The tensors of a weights file by key, on the CPU. See :func:`load_weights` for the errors.

    Args:
        path: see :func:`load_weights`.
        prefer: where a ``torch.save`` file holds several state dicts, the one taken if it is there
            (``"ema"``).
    """
    path = Path(path)
    reject_what_is_no_weights_file(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in PICKLES:
        return _unwrap(_read_pickle(path), path, prefer)
    raise ValueError(
        f"{path} ends in {path.suffix!r}; weights are .safetensors, {', '.join(PICKLES)} files"
    )


def reject_what_is_no_weights_file(path: Path) -> None:
    """Raise for what often lies where weights should be: nothing, a web page, a git-lfs pointer."""
    if not path.exists():
        raise FileNotFoundError(
            f"weights file {path} does not exist; correct 'weights' in the config, or download the "
            "file to that place"
        )
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the weights file in it")
    with open(path, "rb") as stream:
        head = stream.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty: its download failed; delete it and download it again")
    if head.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise ValueError(
            f"{path} is a web page, not weights: the download got an error or login page. Delete "
            "it and use the direct link of the file (on a model hub: 'resolve', not 'blob'; log "
            "in, and accept the licence, if the model is gated)"
        )
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(
            f"{path} is a git-lfs pointer, not the weights themselves; run 'git lfs pull' where it "
            "was cloned, or download the file itself"
        )


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


def _read_pickle(path: Path) -> object:
    try:
        # training checkpoints hold their command line, a Namespace: attributes, no code
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{path} cannot be read as weights ({reason}; it has {path.stat().st_size} bytes): it "
            "was cut short, is something else, or holds Python objects beside tensors. Download it "
            "again, or save its state dict alone, as safetensors"
        ) from error


def _unwrap(content: object, path: Path, prefer: str | None = None) -> dict[str, Tensor]:
    """The state dict in ``content``: itself, ``prefer``, the only ``state_dict`` or ``model``."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a state dict; save that")
    if _is_state(content):
        return dict(content)
    if isinstance(content.get(prefer), Mapping) and _is_state(content[prefer]):
        return dict(content[prefer])
    inner = [
        key for key, value in content.items() if isinstance(value, Mapping) and _is_state(value)
    ]
    if len(inner) == 1 and inner[0] in WRAPPERS:
        return dict(content[inner[0]])
    raise ValueError(
        f"{path} holds {', '.join(map(repr, list(content)[:NAMED])) or 'nothing'}; which of them "
        f"is the model's state dict is not clear (it is looked for in {' and '.join(WRAPPERS)}, if "
        "only one of the entries is one); save the one that you want alone, as safetensors"
    )


def _is_state(content: Mapping) -> bool:
    return bool(content) and all(isinstance(value, Tensor) for value in content.values())
