"""State dicts of TorchScript archives, read as data: nothing in the archive is run or compiled.

Such an archive (what ``torch.jit.save`` writes, and what OpenAI published CLIP as) is a zip file:
``code/`` holds the module's source, ``data.pkl`` its attributes, ``data/<key>`` the bytes of its
tensors. ``torch.jit.load`` would compile the source and run the ``__setstate__`` methods in it.
Here only ``data.pkl`` and the bytes are read: a class of the archive becomes a plain container of
its attributes, a tensor is made of its bytes, and every other name in the pickle is a
:class:`seesaw.autoencoders.inert.Placeholder`, which does nothing. ``code/`` is never opened.
"""

import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seesaw.autoencoders.inert import Placeholder

MARK = "constants.pkl"
"""A file that TorchScript archives have, and files of ``torch.save`` have not."""

DAMAGED = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    EOFError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What reading a damaged archive raises."""

DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
}


def is_torchscript(path: str | Path) -> bool:
    """Whether a file is a TorchScript archive (a whole one: cut short, it is no zip file)."""
    if not Path(path).is_file() or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(
            name.count("/") == 1 and name.endswith(f"/{MARK}") for name in archive.namelist()
        )


def torchscript_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of an archive by their names in its module tree, on the CPU.

    Parameters, buffers and other tensor attributes alike: which is which stands only in the code.

    Raises:
        ValueError: the archive is damaged, or of a kind that is not read here.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            tree = _Reader(archive).load()
    except DAMAGED as error:
        raise ValueError(
            f"{path} is a damaged TorchScript archive, or one of torch before 1.4 ({error}); "
            "download it again, or save its state dict as safetensors"
        ) from error
    if not isinstance(tree, _Module):
        raise ValueError(f"{path} is a TorchScript archive of a {type(tree).__name__}, no module")
    return tree.tensors()


class _Module:
    """Attributes of an object of the archive's own classes."""

    attributes: dict[str, Any]

    def __new__(cls, *_: Any) -> "_Module":
        # a pickle makes objects without calling __init__
        made = super().__new__(cls)
        made.attributes = {}
        return made

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """Those of this object and of the objects within it, by dotted name."""
        found: dict[str, Tensor] = {}
        for name, value in self.attributes.items():
            if isinstance(value, Tensor):
                found[f"{prefix}{name}"] = value
            elif isinstance(value, _Module):
                found |= value.tensors(f"{prefix}{name}.")
        return found


class _Reader(pickle.Unpickler):
    """Unpickler of ``data.pkl`` that resolves tensors and containers only."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        marks = [name for name in archive.namelist() if name.endswith(f"/{MARK}")]
        self.folder = min(marks, key=len).removesuffix(MARK)
        self.storages: dict[str, Tensor] = {}
        super().__init__(io.BytesIO(archive.read(f"{self.folder}data.pkl")))

    def find_class(self, module: str, name: str) -> Any:
        """A container for the archive's classes, a tensor from its bytes, else a stand-in."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        return type(name, (Placeholder,), {})

    def persistent_load(self, pid: Any) -> Tensor:
        """The elements of a stored tensor, ``("storage", dtype, key, device, count)``, as a row."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"a {kind} of {dtype} is not read here")
        if key not in self.storages:
            member = self.archive.getinfo(f"{self.folder}data/{key}")
            if member.file_size != count * dtype.itemsize:
                raise pickle.UnpicklingError(
                    f"{member.filename} has {member.file_size} bytes for {count} of {dtype}"
                )
            content = bytearray(self.archive.read(member))
            self.storages[key] = (
                torch.frombuffer(content, dtype=dtype) if count else torch.empty(0, dtype=dtype)
            )
        return self.storages[key]


def _view(storage: Tensor, offset: int, shape: tuple, strides: tuple, *_: Any) -> Tensor:
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if math.prod(shape) and last >= len(storage):
        raise pickle.UnpicklingError(f"a tensor {shape} needs more than {len(storage)} elements")
    return storage.as_strided(shape, strides, offset)
