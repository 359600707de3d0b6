"""A folder of image files: ImageNet layout (a folder per class) or flat.

How a file becomes pixels (the part of the protocol that comes before the crop):

- the first frame of an animated file;
- EXIF orientation and colour profiles are *not* applied, as in the usual ImageNet pipelines
  (``Image.open(path).convert("RGB")``);
- transparency is composited over white, at full size, before the crop;
- grey, palette and CMYK pixels become RGB by Pillow's ``convert``; of 16-bit grey the high byte is
  kept, which is also what Pillow does with 16-bit colour.
"""

import errno
import hashlib
import logging
import os
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from seesaw.data import ProblemFiles
from seesaw.registry import CROPS, unknown
from seesaw.seeds import seed_for

if TYPE_CHECKING:
    import pandas as pd

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
logger = logging.getLogger(__name__)

KEYS = ("source", "path", "limit", "skip_problems")
PROBLEMS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises at files that are broken, cut, or not images."""
FILE_ERRORS = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP)
"""System errors that belong to one file. Others (a full table of open files, a network disk that
went away) stop the job: they say nothing about the file."""


class ImageFolder:
    """Source ``folder``: the image files below a folder.

    The id of an image is its path relative to the folder, with ``/``. Files count as images by
    extension (.jpg .jpeg .png .webp .bmp, any case); names that start with a dot are left out;
    links are followed. The label is the position of the first folder of the id among the folder's
    sorted subfolders, as in torchvision's ``ImageFolder``; -1 for files directly in the folder.

    Fields: ``images`` and ``original_size`` int32 (n, 2), width and height of the file in pixels.

    Args:
        config: ``path``: the folder (relative to the working directory, or absolute); ``limit``
            (optional): at most so many images, a choice that depends on the seed and the ids only,
            and larger limits contain smaller ones; ``skip_problems`` (optional): see
            :func:`seesaw.data.pack.pack_images`.
        split: name of the split, for messages.
        resolution: side of the images in pixels.
        crop: name in :data:`seesaw.registry.CROPS`.
        seed: chooses the images if there is a limit.

    Raises:
        ValueError: an unknown or missing key, or an unknown crop.
    """

    def __init__(
        self, config: Mapping[str, Any], *, split: str, resolution: int, crop: str, seed: int
    ) -> None:
        for key in config:
            if key not in KEYS:
                raise unknown(f"key of split {split!r} (source 'folder')", key, KEYS)
        if not isinstance(config.get("path"), str) or not config["path"]:
            raise ValueError(
                f"split {split!r} (source 'folder') needs 'path', the folder that holds its "
                f"images; got {config.get('path')!r}"
            )
        limit = config.get("limit")
        if limit is not None and (
            isinstance(limit, bool) or not isinstance(limit, int) or limit < 1
        ):
            raise ValueError(
                f"'limit' of split {split!r} is a number of images, 1 or more; got {limit!r}. "
                "Leave it out to take all"
            )
        self.split = split
        self.folder = Path(config["path"]).expanduser()
        self.limit: int | None = limit
        self.resolution = resolution
        self.crop = crop
        self.seed = seed
        CROPS[crop]  # an unknown name is an error before any work

    @cached_property
    def ids(self) -> list[str]:
        """Ids of all images, sorted. Listed once; a pickled copy carries the list.

        Raises:
            FileNotFoundError: the folder is missing.
            ValueError: it holds no image, or a file name is not valid UTF-8.
        """
        self._require_folder()
        ids = sorted(_list_images(self.folder))
        if not ids:
            raise ValueError(
                f"the image folder {self._named()} of split {self.split!r} holds no image. Put "
                f"files that end in {' '.join(EXTENSIONS)} into it, directly or in a folder per "
                "class"
            )
        for image_id in ids:
            if not _is_utf8(image_id):
                raise ValueError(f"rename {os.fsencode(image_id)!r} in {self.folder}: not UTF-8")
        if self.limit is None:
            return ids
        if self.limit > len(ids):
            logger.warning("%s: limit %d, but %d images", self.folder, self.limit, len(ids))
        return choose(ids, self.limit, self.seed)

    def index(self) -> "pd.DataFrame":
        """All images, one row each, sorted by id; see :meth:`seesaw.data.Source.index`."""
        import pandas as pd

        ids = self.ids
        with os.scandir(self.folder) as entries:
            classes = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
        labels = {name: label for label, name in enumerate(classes)}
        if (
            len(classes) != 1000
            and all(re.fullmatch(r"n\d{8}", name) for name in classes)
            and classes
        ):
            logger.warning(
                "%s has %d folders that are named like ImageNet's classes; labels are positions "
                "among them, not ImageNet's. 'source: imagenet' gives those",
                self.folder,
                len(classes),
            )
        return pd.DataFrame(
            {
                "id": ids,
                "label": [labels[i.partition("/")[0]] if "/" in i else -1 for i in ids],
                "path": [self._path(i) for i in ids],
                "caption": "",
            }
        )

    def stamps(self, rows: Sequence[int]) -> list[str]:
        """Size in bytes and time of change in ns of the files at some positions of the index."""
        return [_stamp(self._path(self.ids[row])) for row in rows]

    def render(self, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """Read and crop the files at some positions of the index.

        Returns:
            ``images`` uint8 (n, 3, R, R) RGB and ``original_size`` int32 (n, 2).

        Raises:
            ProblemFiles: some files cannot be read; all of them are named.
        """
        crop = CROPS.load(self.crop)
        images = np.empty((len(rows), 3, self.resolution, self.resolution), np.uint8)
        sizes = np.empty((len(rows), 2), np.int32)
        reasons = {}
        for place, row in enumerate(rows):
            path = self._path(self.ids[row])
            try:
                image = read_rgb(path)
                images[place] = crop(image, self.resolution).transpose(2, 0, 1)
                sizes[place] = image.size
            except PROBLEMS as error:
                reasons[self.ids[row]] = reason_of(error, path)
        if reasons:
            raise ProblemFiles(reasons)
        return {"images": images, "original_size": sizes}

    def _path(self, image_id: str) -> str:
        return (self.folder / image_id).as_posix()

    def _named(self) -> str:
        absolute = self.folder.absolute()
        given = str(self.folder)
        return repr(given) if given == str(absolute) else f"{given!r} ({absolute})"

    def _require_folder(self) -> None:
        if self.folder.is_dir():
            return
        found = "is a file, not a folder" if self.folder.exists() else "does not exist"
        raise FileNotFoundError(
            f"the image folder {self._named()} of split {self.split!r} {found}. Set 'path' to a "
            "folder of images: a folder per class (ImageNet layout), or all files directly in it; "
            "a relative path starts at the working directory"
        )


def choose(ids: Sequence[str], limit: int, seed: int) -> list[str]:
    """At most ``limit`` of the ids, sorted: a choice by seed and ids, nested in larger ones."""
    drawn = sorted(ids, key=lambda image_id: (seed_for(seed, "limit", image_id), image_id))
    return sorted(drawn[:limit])


def read_rgb(file: str | Path | BinaryIO, *, over_white: bool = True) -> Image.Image:
    """Read an image file as a PIL image of mode RGB; the module's text says how.

    Args:
        file: a path, or the file's bytes as a binary stream.
        over_white: composite transparent pixels over white. Otherwise their colour is kept and
            their transparency dropped, as ``convert("RGB")`` does.

    Raises:
        OSError, SyntaxError, ValueError, ...: see ``PROBLEMS``.
    """
    with Image.open(file) as image:
        image.load()
        if image.mode.startswith("I"):
            image = _high_byte(image)
        if over_white and image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        elif image.mode == "F":
            raise ValueError("pixels of 32-bit floating point have no known range")
        return image.convert("RGB")


def _high_byte(image: Image.Image) -> Image.Image:
    """16-bit grey (modes I;16, I;16B and, in some files, I) -> mode L."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"grey values {values.min()}..{values.max()} are not of 16 bit")
    return Image.fromarray((values.astype(np.int64) >> 8).astype(np.uint8))


def folder_stamp(path: str | Path) -> str | None:
    """Hash of the times of every folder that :class:`ImageFolder` lists; None if there is none.

    A file that comes, goes or gets another name, however deep, changes it. One that is overwritten
    in place does not. No file is looked at, so a million of them take about a second.

    Args:
        path: the folder of a split.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        return None
    try:
        times = {prefix[:-1]: time for prefix, time, _ in _walk(root)}
    except OSError as error:  # not to be read: packing will say so
        return f"error {error.errno} at {error.filename}"
    text = "".join(f"{times[folder]}\n" for folder in sorted(times))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _list_images(root: Path) -> Iterator[str]:
    """Ids of the image files below ``root``, in no particular order."""
    for prefix, _, names in _walk(root):
        yield from (prefix + name for name in names if name.lower().endswith(EXTENSIONS))


def _walk(root: Path) -> Iterator[tuple[str, int, list[str]]]:
    """Every folder below ``root``, itself first: what ids in it start with, time, names of files.

    Names that start with a dot are left out; links are followed, but not in circles.
    """

    def walk(
        folder: str, prefix: str, ancestors: frozenset[tuple[int, int]]
    ) -> Iterator[tuple[str, int, list[str]]]:
        status = os.stat(folder)
        key = (status.st_dev, status.st_ino)
        if key in ancestors:  # a link to a folder that holds it
            return
        folders, files = [], []
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.name)
        yield prefix, status.st_mtime_ns, files
        for name in folders:
            yield from walk(os.path.join(folder, name), f"{prefix}{name}/", ancestors | {key})

    return walk(str(root), "", frozenset())


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _stamp(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError as error:
        return f"error {error.errno}"
    return f"{status.st_size} {status.st_mtime_ns}"


def reason_of(error: Exception, file: str | bytes) -> str:
    """Why a file cannot be packed, in words; raises ``error`` if it is not the file's fault.

    Args:
        error: one of ``PROBLEMS``.
        file: its path, or its bytes.
    """
    if isinstance(error, OSError) and error.errno is not None:
        if error.errno not in FILE_ERRORS:
            raise error
        return f"cannot be opened: {error.strerror}"
    if isinstance(file, str):
        with open(file, "rb") as stream:
            file = stream.read(64)
    if not file:
        return "the file is empty"
    if isinstance(error, UnidentifiedImageError):
        html = file[:64].lstrip().lower().startswith((b"<!doctype", b"<html"))
        return "an HTML page, not an image" if html else "not an image in any format Pillow knows"
    return str(error) or type(error).__name__
