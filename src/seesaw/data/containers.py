"""Files in tar archives, folders and Parquet shards, each read where it lies.

A container lists its members once (name, class, place) and then gives the bytes of any of them.
Listings are numpy arrays: 1.28 million members take about 60 MB. Nothing is extracted, but see
:meth:`ParquetShards.prepare`.
"""

import io
import logging
import multiprocessing
import os
import shutil
import tarfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from seesaw.data.folder import EXTENSIONS
from seesaw.files import atomic, digest_of

logger = logging.getLogger(__name__)

PLACE = np.dtype([("file", np.int32), ("at", np.int64), ("size", np.int32)])
SPOOLS = "spool"
"""Folder of images that were copied out of Parquet files; nobody needs it after packing."""
REREADS = 3
"""So many times may a row group be read, on average, before its images are copied out once."""


@dataclass
class Members:
    """What a container holds.

    Attributes:
        names: file names without folders, bytes (n,).
        labels: int32 (n,), -1 where the container does not say.
        places: of type :data:`PLACE` (n,); what it means is the container's affair.
    """

    names: np.ndarray
    labels: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: np.ndarray) -> "Members":
        return Members(self.names[rows], self.labels[rows], self.places[rows])


class Container(Protocol):
    """Where the files of a split lie. Must be picklable."""

    words: str
    """What it is, for messages."""
    path: str

    def members(self, labels: Mapping[str, int]) -> Members:
        """All image files, in no particular order.

        Args:
            labels: name of a class, as folders and archives bear it -> its label.
        """
        ...

    def read(self, members: Members) -> Iterator[bytes]:
        """The bytes of some members, one after the other.

        Raises:
            OSError: a file cannot be read.
        """
        ...

    def stamps(self, members: Members) -> list[str]:
        """Words per member that change when its bytes may have changed."""
        ...


def members_of(rows: Iterable[tuple[str, int, int, int, int]]) -> Members:
    """Members from rows (name, label, place: file, at, size)."""
    rows = list(rows)
    names = np.array([row[0].encode() for row in rows], dtype=np.bytes_)
    labels = np.array([row[1] for row in rows], np.int32)
    return Members(names, labels, np.array([row[2:] for row in rows], PLACE))


def leave_with_parent() -> None:
    """In a worker process: end it when its parent ends, or it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave, daemon=True).start()


def stat_stamp(path: str | Path) -> str:
    """Size in bytes and time of change in ns of a file, or why there are none."""
    try:
        status = os.stat(path)
    except OSError as error:
        return f"error {error.errno}"
    return f"{status.st_size} {status.st_mtime_ns}"


# --------------------------------------------------------------------------------------- archives


class TarFiles:
    """Uncompressed tar archives: of images, or of one archive ``WNID.tar`` per class.

    Args:
        paths: the archives. An archive that is named like a class holds that class's images.
    """

    words = "tar archive"

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self.paths = [str(path) for path in paths]
        self.path = self.paths[0] if len(paths) == 1 else str(Path(paths[0]).parent)
        self._open: dict[int, int] = {}
        self._index: Path | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def prepare(self, folder: Path, **_: Any) -> None:
        """Keep the listing as ``members.npz`` in ``folder``: archives are long to go through."""
        self._index = folder / "members.npz"

    def members(self, labels: Mapping[str, int]) -> Members:
        """See :class:`Container`.

        Raises:
            ValueError: an archive is damaged, cut or compressed.
        """
        key = digest_of([[[p, stat_stamp(p)] for p in self.paths], dict(labels)])
        kept = _load_members(self._index, key) if self._index else None
        if kept is not None:
            return kept
        found = members_of(self._rows(labels))
        if self._index:
            with atomic(self._index) as temporary:
                np.savez(
                    temporary,
                    key=key,
                    names=found.names,
                    labels=found.labels,
                    places=found.places,
                )
        return found

    def _rows(self, labels: Mapping[str, int]) -> Iterator[tuple[str, int, int, int, int]]:
        for number, path in enumerate(self.paths):
            file, outer = self._file(number), labels.get(Path(path).stem, -1)
            for name, at, size in _tar_members(file, path):
                folder, name = os.path.split(name)
                stem, suffix = os.path.splitext(name)
                if suffix == ".tar" and stem in labels:
                    for image, begin, length in _tar_members(file, f"{name} in {path}", at, size):
                        if _is_image(image):
                            yield os.path.basename(image), labels[stem], number, begin, length
                elif _is_image(name):
                    yield name, labels.get(os.path.basename(folder), outer), number, at, size

    def read(self, members: Members) -> Iterator[bytes]:
        """See :class:`Container`."""
        for place in members.places:
            size = int(place["size"])
            content = _read_at(self._file(int(place["file"])), int(place["at"]), size)
            if len(content) < size:
                raise OSError(
                    f"the archive ends in it: {len(content)} of {size} bytes are there; "
                    f"{self.paths[int(place['file'])]} is cut"
                )
            yield content

    def stamps(self, members: Members) -> list[str]:
        """See :class:`Container`."""
        archives = [stat_stamp(path) for path in self.paths]
        return [f"{archives[file]} {at} {size}" for file, at, size in members.places.tolist()]

    def _file(self, number: int) -> int:
        if number not in self._open:
            self._open[number] = os.open(self.paths[number], os.O_RDONLY | os.O_CLOEXEC)
        return self._open[number]


class _Window(io.RawIOBase):
    """Some bytes of an open file, as a file; tarfile reads headers through it."""

    def __init__(self, file: int, begin: int, size: int) -> None:
        self._of, self._begin, self._size, self._at = file, begin, size, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._at, 0)
        content = _read_at(self._of, self._begin + self._at, left if size < 0 else min(size, left))
        self._at += len(content)
        return content


def _read_at(file: int, at: int, size: int) -> bytes:
    """``size`` bytes at a place, fewer at the end of the file."""
    content = os.pread(file, size, at)
    while 0 < len(content) < size:
        more = os.pread(file, size - len(content), at + len(content))
        if not more:
            break
        content += more
    return content


def _tar_members(
    file: int, words: str, begin: int = 0, size: int | None = None
) -> Iterator[tuple[str, int, int]]:
    """Name, place and size of the files of an archive that lies in an open file.

    tarfile takes a damaged header for the archive's end, so what follows the last member is looked
    at: zeros, or nothing.
    """
    window = _Window(file, begin, os.fstat(file).st_size if size is None else size)
    name = "its beginning"
    try:
        with tarfile.open(fileobj=window, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()
                name = member.name
                if member.isreg():
                    yield name, begin + member.offset_data, member.size
            end = archive.offset
    except tarfile.TarError as error:
        raise ValueError(
            f"the archive {words} cannot be read after {name}: {error}. It is damaged, cut or "
            "compressed; compare its checksum with the publisher's"
        ) from error
    window.seek(end)
    if window.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise ValueError(
            f"the archive {words} is damaged after {name}: no member begins at byte {end}; compare "
            "its checksum with the publisher's"
        )


def _load_members(path: Path, key: str) -> Members | None:
    """A listing kept by an earlier run, if it is of the same archives."""
    try:
        with np.load(path) as kept:
            if str(kept["key"]) != key:
                return None
            return Members(kept["names"], kept["labels"], kept["places"])
    except (OSError, ValueError, KeyError, EOFError):
        return None
    except Exception as error:  # zipfile's own, of a damaged file
        logger.warning("%s is read again: %s", path, error)
        return None


def _is_image(name: str) -> bool:
    name = os.path.basename(name)
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


# ---------------------------------------------------------------------------------------- folders


class ClassFolders:
    """A folder of image files: in folders that are named like classes, or directly in it.

    Args:
        path: the folder.
    """

    words = "folder"

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.folders: list[str] = []

    def members(self, labels: Mapping[str, int]) -> Members:
        """See :class:`Container`. Other folders than the classes' are left out."""
        self.folders = [self.path]
        rows = []
        with os.scandir(self.path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name in labels and entry.is_dir():
                    names = [name for name in os.listdir(entry.path) if _is_image(name)]
                    rows += [(name, labels[entry.name], len(self.folders), 0, 0) for name in names]
                    self.folders.append(entry.path)
                elif _is_image(entry.name):
                    rows.append((entry.name, -1, 0, 0, 0))
        return members_of(rows)

    def read(self, members: Members) -> Iterator[bytes]:
        """See :class:`Container`."""
        for path in self._paths(members):
            with open(path, "rb") as stream:
                yield stream.read()

    def stamps(self, members: Members) -> list[str]:
        """See :class:`Container`."""
        return [stat_stamp(path) for path in self._paths(members)]

    def _paths(self, members: Members) -> Iterator[str]:
        for name, place in zip(members.names, members.places, strict=True):
            yield os.path.join(self.folders[int(place["file"])], name.decode())


# ---------------------------------------------------------------------------------------- parquet


class ParquetShards:
    """Parquet files with the columns ``image`` (struct of ``bytes`` and ``path``) and ``label``.

    Rows can be read by whole row groups only, and published shards hold the images in random
    order, so a run of images in the order of their names would read every row group of every file
    again and again. Where that would be so, :meth:`prepare` copies the encoded images out once.

    Args:
        paths: the files.
    """

    words = "set of Parquet shards"

    def __init__(self, paths: Sequence[str | Path]) -> None:
        self.paths = [str(path) for path in paths]
        self.path = str(Path(paths[0]).parent)
        self.groups: list[np.ndarray] = []
        """First row of each row group and the number of rows, per file."""
        self._spools: Path | None = None
        self._places: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_places": {}}

    def members(self, labels: Mapping[str, int]) -> Members:
        """See :class:`Container`. Reads names and labels only.

        Raises:
            ValueError: a file is no Parquet file, has other columns, or does not name its images.
        """
        del labels  # the files have them as numbers
        rows, self.groups = [], []
        for number, path in enumerate(self.paths):
            table, groups = _read_names(path)
            self.groups.append(groups)
            paths = table["image"].combine_chunks().field("path").to_pylist()
            names = [os.path.basename(name or "") for name in paths]
            if not all(names):
                raise ValueError(
                    f"{path} does not say which images it holds: image.path is empty in "
                    f"{names.count('')} of {len(names)} rows. Take another copy of the data set"
                )
            labels = table["label"].to_pylist()
            rows += [
                (name, -1 if label is None else label, number, row, 0)
                for row, (name, label) in enumerate(zip(names, labels, strict=True))
            ]
        return members_of(rows)

    def prepare(self, folder: Path, **_: Any) -> None:
        """Remember where encoded images may be copied to; :meth:`gather` does it."""
        self._spools = folder / SPOOLS

    def gather(self, members: Members, *, shard_size: int, workers: int) -> None:
        """Copy the images out, unless they can be read shard by shard nearly as they lie.

        The copies, one file per Parquet file in a folder :data:`SPOOLS`, take as much disk as the
        images do. A file that an earlier run copied is kept.

        Raises:
            OSError: the disk has too little space.
        """
        if self._spools is None or self._rereads(members, shard_size) <= REREADS:
            self._spools = None
            return
        jobs = []
        for number, path in enumerate(self.paths):
            rows = np.sort(members.places["at"][members.places["file"] == number])
            if (
                len(rows)
                and _load_spool(self._spool(number), self._spool_key(number, rows)) is None
            ):
                jobs.append((number, path, rows))
        total = sum(
            os.path.getsize(path) * len(rows) / int(self.groups[number][-1])
            for number, path, rows in jobs
        )
        self._spools.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._spools).free
        if total > free:
            raise OSError(
                f"images of {self.path} are in random order and must be copied out once, which "
                f"takes up to {total / 1e9:.0f} GB in {self._spools} until packing is done; "
                f"{free / 1e9:.0f} GB are free. Make room, or use the tar archive"
            )
        if jobs:
            logger.info("copying images out of %d Parquet files (%.1f GB)", len(jobs), total / 1e9)
        arguments = [
            (path, rows, str(self._spool(number)), self._spool_key(number, rows))
            for number, path, rows in jobs
        ]
        if workers == 1 or len(jobs) < 2:
            for job in arguments:
                _write_spool(*job)
            return
        pool = ProcessPoolExecutor(
            min(workers, len(jobs)),
            mp_context=multiprocessing.get_context("spawn"),
            initializer=leave_with_parent,
        )
        try:
            for future in [pool.submit(_write_spool, *job) for job in arguments]:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def read(self, members: Members) -> Iterator[bytes]:
        """See :class:`Container`."""
        if self._spools is not None:
            yield from self._read_spooled(members)
            return
        wanted: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for position, (file, row, _) in enumerate(members.places.tolist()):
            group = int(np.searchsorted(self.groups[file], row, side="right")) - 1
            within = row - int(self.groups[file][group])
            wanted.setdefault((file, group), []).append((position, within))
        # encoded images of the groups that are under way; at REREADS <= 3 that is about one shard's
        held: dict[int, bytes] = {}
        order = iter(sorted(wanted, key=lambda key: wanted[key][0]))
        for position in range(len(members)):
            while position not in held:
                file, group = next(order)
                places = wanted[file, group]
                content = _read_group(self.paths[file], group, [row for _, row in places])
                held.update(zip([place for place, _ in places], content, strict=True))
            yield held.pop(position)

    def _read_spooled(self, members: Members) -> Iterator[bytes]:
        for file, row, _ in members.places.tolist():
            spool = self._spool(file)
            if file not in self._places:
                with np.load(spool.with_suffix(".npz")) as kept:
                    self._places[file] = np.stack([kept["rows"], kept["ends"]])
            rows, ends = self._places[file]
            index = int(np.searchsorted(rows, row))
            begin = int(ends[index - 1]) if index else 0
            with open(spool, "rb") as stream:
                stream.seek(begin)
                yield stream.read(int(ends[index]) - begin)

    def stamps(self, members: Members) -> list[str]:
        """See :class:`Container`."""
        files = [stat_stamp(path) for path in self.paths]
        return [f"{files[file]} {row}" for file, row, _ in members.places.tolist()]

    def _rereads(self, members: Members, shard_size: int) -> float:
        """How many times a row group would be read on average, shard by shard."""
        keys = np.zeros(len(members), np.int64)
        for number, groups in enumerate(self.groups):
            of_file = members.places["file"] == number
            group = np.searchsorted(groups, members.places["at"][of_file], side="right")
            keys[of_file] = number * 2**32 + group
        shards = range(0, len(keys), shard_size)
        reads = sum(len(np.unique(keys[at : at + shard_size])) for at in shards)
        return reads / max(len(np.unique(keys)), 1)

    def _spool(self, number: int) -> Path:
        assert self._spools is not None
        return self._spools / f"{number:05d}.bin"

    def _spool_key(self, number: int, rows: np.ndarray) -> str:
        path = self.paths[number]
        return digest_of([path, stat_stamp(path), rows.tolist()])


def _read_names(path: str) -> tuple[Any, np.ndarray]:
    """Names and labels of a Parquet file; first row of each row group, and the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            leaves = [file.schema.column(i).path for i in range(len(file.schema))]
            missing = {"image.bytes", "image.path", "label"} - set(leaves)
            if missing:
                raise ValueError(
                    f"{path} lacks {', '.join(sorted(missing))}; it has {', '.join(leaves)}. "
                    "Expected are the shards of the repository imagenet-1k: image {bytes, path}, "
                    "label"
                )
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            return file.read(columns=["image.path", "label"]), np.cumsum([0, *sizes])
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file, or it is cut: {error}") from error


def _read_group(path: str, group: int, rows: Sequence[int]) -> list[bytes]:
    """Encoded images at some positions of a row group; empty bytes where there are none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            column = file.read_row_group(group, columns=["image.bytes"], use_threads=False)["image"]
        column = column.combine_chunks().field("bytes").take(list(rows))
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        words = str(error).partition("\n")[0]
        raise OSError(
            f"row group {group} of {path} is damaged ({words}); download the file again"
        ) from error
    return [value.as_py() or b"" for value in column]


def _write_spool(path: str, rows: np.ndarray, spool: str, key: str) -> None:
    """Copy the encoded images at some rows of a Parquet file, in their order, into one file."""
    import pyarrow.parquet as pq

    ends, end = [], 0
    with atomic(spool) as temporary, open(temporary, "wb") as out, pq.ParquetFile(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            last = first + file.metadata.row_group(group).num_rows
            within = rows[(rows >= first) & (rows < last)] - first
            if len(within):
                for content in _read_group(path, group, within.tolist()):
                    out.write(content)
                    end += len(content)
                    ends.append(end)
            first = last
    with atomic(Path(spool).with_suffix(".npz")) as temporary:
        np.savez(temporary, key=key, rows=rows, ends=np.array(ends, np.int64))


def _load_spool(spool: Path, key: str) -> bool | None:
    """True if an earlier run copied the same images; its record is written last."""
    try:
        with np.load(spool.with_suffix(".npz")) as kept:
            whole = str(kept["key"]) == key and spool.stat().st_size == int(kept["ends"][-1])
        return whole or None
    except (OSError, ValueError, KeyError, EOFError):
        return None
