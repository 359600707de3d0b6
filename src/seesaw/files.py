"""Files that are either whole or absent: every write goes to a temporary name and is renamed."""

import contextlib
import glob
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` only if the block succeeds.

    It is on the disk before it has the name, so that a power cut leaves no empty file either. The
    temporary name keeps the suffix of ``path``, since some writers choose the format by it.
    What a killed process left of the same file is removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{glob.escape(path.stem)}.*.part{path.suffix}"):
        stale.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def to_disk(path: str | Path) -> None:
    """Return when the system has the file on its disk: a power cut leaves none empty."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: str | Path, value: Any) -> None:
    """Write strict JSON (NaN and infinity are errors: they are not JSON)."""
    text = json.dumps(value, indent=1, allow_nan=False)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n")


def read_json(path: str | Path) -> Any:
    """Read JSON; a broken file is an error that names it."""
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is not valid JSON ({error}); delete it and rerun the rule that makes it"
        ) from error


def write_text(path: str | Path, text: str) -> None:
    """Write text."""
    with atomic(path) as temporary:
        temporary.write_text(text)


def write_parquet(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a table without its index."""
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False)


def write_csv(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a table without its index; missing cells stay empty."""
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False)


def write_tensors(
    path: str | Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> None:
    """Write numpy arrays as one safetensors file."""
    from safetensors.numpy import save_file

    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    with atomic(path) as temporary:
        save_file(arrays, temporary, metadata=dict(metadata or {}))


def sha256_of(path: str | Path | Mapping[str, str | Path]) -> str:
    """Hex digest of a file's bytes; of a folder, of its files' names and bytes in sorted order.

    Of several files by role, of their roles and bytes.
    """
    if isinstance(path, Mapping):
        return digest_of({role: sha256_of(file) for role, file in path.items()})
    path = Path(path)
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n".encode())
        return digest.hexdigest()
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """Hex digest of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, allow_nan=False).encode()).hexdigest()


def reject_what_is_no_weights_file(path: Path) -> None:
    """Raise for what often lies where weights should be: nothing, a web page, a git-lfs pointer."""
    if not path.exists():
        raise FileNotFoundError(
            f"weights file {path} does not exist; correct 'weights' in the config, or download the "
            "file to that place"
        )
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
