"""Unpickling that runs no code of the file: what is no data becomes an empty placeholder.

Training checkpoints hold, beside their tensors, objects of the authors' training code (options,
callbacks, schedulers). ``torch.load(weights_only=True)`` refuses such a file as a whole. Here the
names that make tensors, arrays and plain containers are resolved, and every other name stands for
:class:`Placeholder`, which takes whatever it is given and does nothing with it. The module can be
passed to ``torch.load`` as ``pickle_module``.
"""

import argparse
import io
import pickle
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

DATA = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("argparse", "Namespace"): argparse.Namespace,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "bytearray"): bytearray,
    ("builtins", "complex"): complex,
    ("builtins", "slice"): slice,
    ("builtins", "dict"): dict,
    ("builtins", "list"): list,
    ("builtins", "int"): int,
    ("builtins", "float"): float,
    ("builtins", "bool"): bool,
    ("builtins", "str"): str,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
REBUILDERS = {
    "_rebuild_tensor",
    "_rebuild_tensor_v2",
    "_rebuild_parameter",
    "_rebuild_parameter_with_state",
}
NUMPY_REBUILDERS = {"_reconstruct", "scalar", "_frombuffer"}


class Placeholder:
    """Stands for any object that is no data: it takes everything and does nothing."""

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def __new__(cls, *args: Any, **options: Any) -> "Placeholder":
        """An empty object, whatever is given."""
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __call__(self, *args: Any, **options: Any) -> "Placeholder":
        """Take a call."""
        return self

    def append(self, item: Any) -> None:
        """Take an item of a list."""

    def extend(self, items: Any) -> None:
        """Take items of a list."""

    def add(self, item: Any) -> None:
        """Take an item of a set."""


class Unpickler(pickle.Unpickler):
    """An unpickler that resolves only what makes tensors, arrays and plain containers."""

    def find_class(self, module: str, name: str) -> Any:
        """The object of a name in :data:`DATA`, a rebuilder of tensors or arrays, or a stand-in."""
        if (module, name) in DATA:
            return DATA[module, name]
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if module == "torch._utils" and name in REBUILDERS:
            return super().find_class(module, name)
        if module == "torch.storage" and name == "_load_from_bytes":
            return _tensor_from_bytes
        if module in ("numpy.core.multiarray", "numpy._core.multiarray", "numpy._core.numeric"):
            if name in NUMPY_REBUILDERS:
                return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        if module.startswith("numpy.dtypes") or module == "numpy":
            found = getattr(np.dtypes if module == "numpy.dtypes" else np, name, None)
            if isinstance(found, type) and issubclass(found, np.dtype | np.generic):
                return found
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return type(name, (Placeholder,), {})


def load(file: str | Path | io.IOBase, **options: Any) -> Any:
    """The content of a pickle, a path or an open file (as ``pickle.load``)."""
    if isinstance(file, str | Path):
        with open(file, "rb") as stream:
            return Unpickler(stream).load()
    return Unpickler(file, **options).load()


def _encode(text: str, encoding: str = "utf-8") -> bytes:
    return text.encode(encoding)


def _tensor_from_bytes(content: bytes) -> Any:
    """Tensors in a plain pickle are files of ``torch.save`` within it."""
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
