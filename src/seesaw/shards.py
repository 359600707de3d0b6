"""Shards: arrays for many images in a few safetensors files, and a manifest that names them.

A manifest ``manifest.json`` is written last, so a set of shards is whole when it exists::

    {"format": 1, "n": 2000, "shards": [{"file": "shard-00000.safetensors", "n": 500, ...}],
     "fields": {"images": {"dtype": "uint8", "shape": [3, 32, 32]}}, "meta": {...}}

Each shard holds one array per field, ``(n, *shape)``, and the image ids as metadata. Shards lie
beside their manifest. Nothing in a manifest depends on when or on which machine it was made.

What is computed once from all images of a set, such as their mean, can be attached to it: a file
``attached-<name>.safetensors`` that ``meta`` names with size and digest.
"""

import json
import logging
import math
import mmap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from seesaw.files import read_json, sha256_of, write_json, write_tensors

FORMAT = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Batch:
    """Some images: their ids and, per field, an array ``(len(ids), ...)``."""

    ids: list[str]
    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, field: str) -> np.ndarray:
        return self.arrays[field]


def shard_name(index: int) -> str:
    """File name of a shard."""
    return f"shard-{index:05d}.safetensors"


def write_shard(
    folder: Path, index: int, ids: Sequence[str], arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Write one shard and return its entry for the manifest."""
    _check_rows(ids, arrays)
    path = folder / shard_name(index)
    write_tensors(path, arrays, {"ids": json.dumps(list(ids))})
    return {
        "file": path.name,
        "n": len(ids),
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
    }


def _check_rows(ids: Sequence[str], arrays: Mapping[str, np.ndarray]) -> None:
    for field, array in arrays.items():
        if len(array) != len(ids):
            raise ValueError(f"field {field!r} has {len(array)} rows for {len(ids)} image ids")


def write_manifest(
    path: str | Path,
    shards: Sequence[Mapping[str, Any]],
    fields: Mapping[str, Mapping[str, Any]],
    meta: Mapping[str, Any],
) -> None:
    """Write the manifest; remove shards that it does not name and what killed jobs left behind."""
    path = Path(path)
    named = {shard["file"] for shard in shards}
    named |= {attached_name(key) for key in meta if _is_attached(meta, key)}
    for pattern in (
        "shard-*.safetensors",
        ".shard-*.part.safetensors",
        "attached-*.safetensors",
        ".attached-*.part.safetensors",
    ):
        for stale in path.parent.glob(pattern):
            if stale.name not in named:
                stale.unlink()
    write_json(
        path,
        {
            "format": FORMAT,
            "n": sum(shard["n"] for shard in shards),
            "fields": dict(fields),
            "meta": dict(meta),
            "shards": list(shards),
        },
    )


def attached_name(key: str) -> str:
    """File name of what is attached to a set under ``key``."""
    return f"attached-{key}.safetensors"


def _is_attached(meta: Mapping[str, Any], key: str) -> bool:
    return isinstance(meta[key], Mapping) and meta[key].get("file") == attached_name(key)


def describe(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """The manifest's ``fields`` for arrays ``(n, ...)``."""
    return {
        field: {"dtype": str(array.dtype), "shape": list(array.shape[1:])}
        for field, array in arrays.items()
    }


class ShardWriter:
    """Collect batches of any size into shards of ``shard_size`` images.

    Use as a context manager. An earlier manifest is removed on entry and the new one is written on
    a clean exit only, so a set that was half rewritten is never taken for whole.

    Args:
        manifest: path of the manifest to make.
        shard_size: images per shard.
        meta: what the reader should know about the set; may be filled until the exit.
        resume: for sets that take hours, a digest of all that their arrays depend on
            (:func:`seesaw.files.digest_of`). Whole shards that a killed writer with the same digest
            left are then kept, see :attr:`done` and :meth:`kept`, and so is what its ``meta`` had
            and this one's has not.
    """

    def __init__(
        self,
        manifest: str | Path,
        *,
        shard_size: int,
        meta: dict[str, Any],
        resume: str | None = None,
    ) -> None:
        if shard_size < 1:
            raise ValueError(f"shard_size must be at least 1, got {shard_size}")
        self.manifest = Path(manifest)
        self.shard_size = shard_size
        self.meta = meta
        self.resume = resume
        self._seen: set[str] = set()
        self._ids: list[str] = []
        self._parts: list[dict[str, np.ndarray]] = []
        self._shards: list[dict[str, Any]] = []
        self._fields: dict[str, dict[str, Any]] | None = None

    def __enter__(self) -> "ShardWriter":
        self.manifest.parent.mkdir(parents=True, exist_ok=True)
        self.manifest.unlink(missing_ok=True)
        if not (self.resume and self._adopt()):
            self._unfinished.unlink(missing_ok=True)  # its shards are about to be overwritten
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            if self._ids:
                self._flush(len(self._ids))
            if self._fields is None:
                raise ValueError(f"{self.manifest}: no image was written")
            write_manifest(self.manifest, self._shards, self._fields, self.meta)
            self._unfinished.unlink(missing_ok=True)

    @property
    def done(self) -> int:
        """How many images are in whole shards, kept ones included."""
        return sum(shard["n"] for shard in self._shards)

    def kept(self, field: str) -> Iterator[np.ndarray]:
        """A field of the images in whole shards: ``(n, ...)`` of each shard, in order.

        Nothing where there is no shard yet, or where they have no such field.
        """
        if self._fields is not None and field in self._fields:
            dtype = {field: self._fields[field]["dtype"]}
            for shard in self._shards:
                yield _mapped(self.manifest.parent / shard["file"], dtype)[1][field]

    @property
    def _unfinished(self) -> Path:
        return self.manifest.with_name("unfinished.json")

    def _adopt(self) -> bool:
        """Take over the shards that a killed writer left; whether there were any."""
        if not self._unfinished.is_file():
            return False
        left, folder = read_json(self._unfinished), self.manifest.parent
        files = [(folder / shard["file"], shard["sha256"]) for shard in left["shards"]]
        if left["resume"] != self.resume:
            return False
        if not all(file.is_file() and sha256_of(file) == sha for file, sha in files):
            return False
        self._shards, self._fields = left["shards"], left["fields"]
        self.meta.update({k: v for k, v in left.get("meta", {}).items() if k not in self.meta})
        for file, _ in files:
            self._seen.update(_ids_of(file))
        logger.info("%s: going on after %d images", self.manifest.parent, self.done)
        return True

    def add(self, ids: Sequence[str], arrays: Mapping[str, np.ndarray]) -> None:
        """Append a batch: ``ids`` and arrays ``(len(ids), ...)``, the same fields every time.

        Arrays are kept, not copied, until their shard is written.

        Raises:
            ValueError: other fields, dtypes or shapes than before, a field with another number of
                rows than ids, or an id that was added before.
        """
        _check_rows(ids, arrays)
        fields = describe(arrays)
        if self._fields is None:
            self._fields = fields
        elif fields != self._fields:
            raise ValueError(f"batch has fields {fields}, earlier ones had {self._fields}")
        before = len(self._seen)
        self._seen.update(ids)
        if len(self._seen) != before + len(ids):
            raise ValueError(
                f"{self.manifest}: an image id of the batch {ids[0]!r} .. occurs twice, "
                "but every image needs an id of its own"
            )
        self._ids.extend(ids)
        self._parts.append(dict(arrays))
        while len(self._ids) >= self.shard_size:
            self._flush(self.shard_size)

    def attach(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write arrays of any shape beside the shards; ``meta[key]`` names their file.

        They are read by :meth:`Shards.attached`. What an earlier manifest had attached and this one
        does not name is removed.
        """
        path = self.manifest.with_name(attached_name(key))
        write_tensors(path, arrays)
        size = path.stat().st_size
        self.meta[key] = {"file": path.name, "bytes": size, "sha256": sha256_of(path)}

    def _flush(self, n: int) -> None:
        assert self._fields is not None
        joined = {f: np.concatenate([p[f] for p in self._parts]) for f in self._fields}
        head = {field: array[:n] for field, array in joined.items()}
        self._shards.append(
            write_shard(self.manifest.parent, len(self._shards), self._ids[:n], head)
        )
        self._ids = self._ids[n:]
        self._parts = [{field: array[n:].copy() for field, array in joined.items()}]
        if self.resume:
            left = {"resume": self.resume, "fields": self._fields, "meta": self.meta}
            write_json(self._unfinished, {**left, "shards": self._shards})


def _mapped(file: Path, dtypes: Mapping[str, str]) -> tuple[list[str], dict[str, np.ndarray]]:
    """Ids and arrays of a shard, mapped copy-on-write; safetensors' own slices are copies."""
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    arrays = {}
    for field, dtype in dtypes.items():
        shape, (start, _) = header[field]["shape"], header[field]["data_offsets"]
        flat = np.frombuffer(content, np.dtype(dtype), math.prod(shape), offset=8 + length + start)
        arrays[field] = flat.reshape(shape)
    return json.loads(header["__metadata__"]["ids"]), arrays


def _ids_of(file: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as shard:
        return json.loads(shard.metadata()["ids"])


def batches_in_shards(
    n: int, shard_size: int, batch_size: int, *, start: int = 0
) -> list[tuple[int, int]]:
    """(first, end) of batches of ``n`` images that end with each shard, from image ``start`` on.

    With ``start`` at the beginning of a shard they are those of a run from 0, so that a run that
    goes on there computes the same.
    """
    return [
        (at, min(at + batch_size, shard + shard_size, n))
        for shard in range(start, n, shard_size)
        for at in range(shard, min(shard + shard_size, n), batch_size)
    ]


def batches_after(
    source: "Shards", fields: Sequence[str], batch_size: int, done: int
) -> Iterator[tuple[Batch, int]]:
    """The batches of ``source`` that reach beyond its first ``done`` images.

    They are those of a run from 0, so that a run that goes on after ``done`` images computes the
    same. Each comes with the number of its first rows that belong to the images that are done: 0,
    unless these end inside a batch.
    """
    start = 0
    for index, shard in enumerate(source.shards):
        if start + shard["n"] > done:
            for batch in source.batches(fields, batch_size, shards=[index]):
                if start + len(batch) > done:
                    yield batch, max(done - start, 0)
                start += len(batch)
        else:
            start += shard["n"]


class Shards:
    """A set of shards, read lazily.

    Args:
        manifest: path of a ``manifest.json``.

    Raises:
        FileNotFoundError: the manifest or a shard that it names is missing.
        ValueError: a shard is shorter than the manifest says, or the format is unknown.
    """

    def __init__(self, manifest: str | Path) -> None:
        self.path = Path(manifest)
        if not self.path.is_file():
            raise FileNotFoundError(
                f"{self.path} does not exist; make it with the rule of its stage"
            )
        content = read_json(self.path)
        if content.get("format") != FORMAT:
            raise ValueError(
                f"{self.path} has format {content.get('format')!r}, this version reads {FORMAT}; "
                "delete it and rerun"
            )
        self.n: int = content["n"]
        self.fields: dict[str, dict[str, Any]] = content["fields"]
        self.meta: dict[str, Any] = content["meta"]
        self.shards: list[dict[str, Any]] = content["shards"]
        for shard in self.shards:
            file = self.path.parent / shard["file"]
            if not file.is_file():
                raise FileNotFoundError(
                    f"{file} is named by {self.path} but missing; delete the manifest and rerun"
                )
            if file.stat().st_size != shard["bytes"]:
                raise ValueError(
                    f"{file} has {file.stat().st_size} bytes, {self.path} says {shard['bytes']}: "
                    "it was cut or changed; delete the manifest and rerun"
                )

    def __len__(self) -> int:
        return self.n

    @cached_property
    def ids(self) -> list[str]:
        """Image ids in stored order."""
        return [image_id for index in range(len(self.shards)) for image_id in self.shard_ids(index)]

    def shard_ids(self, index: int) -> list[str]:
        """Image ids of one shard."""
        return _ids_of(self.path.parent / self.shards[index]["file"])

    def batches(
        self, fields: Sequence[str], batch_size: int, *, shards: Sequence[int] | None = None
    ) -> Iterator[Batch]:
        """Batches in stored order; a batch does not reach over the end of a shard.

        Their arrays are pieces of the mapped file, not copies: what is written into them stays in
        memory and never reaches the file.

        Args:
            fields: which arrays to read.
            batch_size: images per batch at most.
            shards: indices of the shards to read; all by default.
        """
        self._check(fields)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        for index in range(len(self.shards)) if shards is None else shards:
            ids, arrays = self._mapped(index, fields)
            for start in range(0, len(ids), batch_size):
                stop = min(start + batch_size, len(ids))
                yield Batch(ids[start:stop], {f: arrays[f][start:stop] for f in fields})

    def load(self, field: str) -> np.ndarray:
        """One field of all images, ``(n, ...)``."""
        self._check([field])
        shape = self.fields[field]["shape"]
        whole = np.empty((self.n, *shape), np.dtype(self.fields[field]["dtype"]))
        row = 0
        for index, shard in enumerate(self.shards):
            whole[row : row + shard["n"]] = self._mapped(index, [field])[1][field]
            row += shard["n"]
        return whole

    def pieces(self, field: str, first: int, end: int) -> Iterator[np.ndarray]:
        """A field of images ``first`` to ``end`` in stored order, in pieces of the mapped files."""
        self._check([field])
        start = 0
        for index, shard in enumerate(self.shards):
            low, high = max(first - start, 0), min(end - start, shard["n"])
            if low < high:
                yield self._mapped(index, [field])[1][field][low:high]
            start += shard["n"]

    def take(self, ids: Sequence[str], fields: Sequence[str]) -> Batch:
        """The images named by ``ids``, in that order; an id may occur more than once."""
        self._check(fields)
        missing = [image_id for image_id in ids if image_id not in self._place]
        if missing:
            raise KeyError(f"{self.path} has no image {missing[0]!r} ({len(missing)} ids missing)")
        out = {
            f: np.empty((len(ids), *self.fields[f]["shape"]), np.dtype(self.fields[f]["dtype"]))
            for f in fields
        }
        wanted: dict[int, list[tuple[int, int]]] = {}
        for position, image_id in enumerate(ids):
            shard, row = self._place[image_id]
            wanted.setdefault(shard, []).append((position, row))
        for shard, places in wanted.items():
            _, arrays = self._mapped(shard, fields)
            for field in fields:
                for position, row in places:
                    out[field][position] = arrays[field][row]
        return Batch(list(ids), out)

    @cached_property
    def _place(self) -> dict[str, tuple[int, int]]:
        return {
            image_id: (shard, row)
            for shard in range(len(self.shards))
            for row, image_id in enumerate(self.shard_ids(shard))
        }

    def attached(self, key: str) -> dict[str, np.ndarray] | None:
        """Arrays that were attached under ``key``; None if the manifest names none.

        Raises:
            FileNotFoundError: the manifest names their file, which is missing.
            ValueError: the file is not the one that was written with this manifest.
        """
        from safetensors.numpy import load_file

        if key not in self.meta or not _is_attached(self.meta, key):
            return None
        about = self.meta[key]
        path = self.path.parent / about["file"]
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is named by {self.path} but missing; delete the manifest and rerun"
            )
        if path.stat().st_size != about["bytes"] or sha256_of(path) != about["sha256"]:
            raise ValueError(
                f"{path} is not the file that {self.path} names: it was cut or changed; delete the "
                "manifest and rerun"
            )
        return load_file(path)

    def _mapped(self, index: int, fields: Sequence[str]) -> tuple[list[str], dict[str, np.ndarray]]:
        file = self.path.parent / self.shards[index]["file"]
        return _mapped(file, {field: self.fields[field]["dtype"] for field in fields})

    def _check(self, fields: Sequence[str]) -> None:
        for field in fields:
            if field not in self.fields:
                raise ValueError(
                    f"{self.path} has no field {field!r}; it has {', '.join(self.fields)}"
                )


def require_same_ids(a: Shards, b: Shards) -> None:
    """Raise unless both sets hold the same images in the same order."""
    if a.ids == b.ids:
        return
    only_a, only_b = set(a.ids) - set(b.ids), set(b.ids) - set(a.ids)
    if only_a or only_b:
        example = sorted(only_a | only_b)[0]
        raise ValueError(
            f"{a.path} and {b.path} hold different images: {len(only_a)} only in the first, "
            f"{len(only_b)} only in the second (for example {example!r}); remake one of them"
        )
    raise ValueError(f"{a.path} and {b.path} hold the same images in different order; remake one")
