"""ImageNet (ILSVRC 2012), train and val, from whatever container a person has.

Any of these may lie at ``path`` (a folder, or the archive itself); they are looked for in this
order, and the images, their order, ids and labels are the same whichever it is:

- the official archive ``ILSVRC2012_img_val.tar`` or ``ILSVRC2012_img_train.tar``, not unpacked;
- a folder with one archive ``nXXXXXXXX.tar`` per class (train's, unpacked once);
- Parquet shards ``validation-*.parquet`` or ``train-*.parquet`` of the repository imagenet-1k;
- a folder of images, in a folder per class, or directly in it as val is when it is unpacked.

Labels are positions in the sorted list of the 1,000 WordNet ids, 0 to 999, also where a class has
no image. Val's archive and its flat folder do not say the class of an image; the devkit does. (It
numbers the classes 1 to 1,000 in another order, which ``meta.mat`` translates.)

An id is the name of the official file without its suffix: ``ILSVRC2012_val_00000001``,
``n01440764_10026``.

How a file becomes pixels is what torchvision's loader and ADM's code do, ``convert("RGB")``:
EXIF orientation is not applied, CMYK (22 files of train, one of val) and grey become RGB by
Pillow, transparency (train's one PNG, n02105855_2933) is dropped and the colour below it kept.
The format is found from a file's bytes, not from its name.
"""

import io
import logging
import os
import re
import shutil
import tarfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seesaw.data import ProblemFiles
from seesaw.data.containers import (
    SPOOLS,
    ClassFolders,
    Container,
    Members,
    ParquetShards,
    TarFiles,
    stat_stamp,
)
from seesaw.data.folder import PROBLEMS, choose, read_rgb, reason_of
from seesaw.files import digest_of
from seesaw.registry import CROPS, unknown

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

KEYS = ("source", "path", "split", "devkit", "images", "limit", "skip_problems")
EXPECTED: Mapping[str, int] = {"train": 1_281_167, "val": 50_000}
"""Split -> its number of images."""
CLASSES = 1000
DEVKIT = "ILSVRC2012_devkit_t12"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
PREFIXES = {"train": "train", "val": "validation"}
"""Split -> beginning of the names of its Parquet shards."""
NAME = re.compile(r"(?:(ILSVRC2012_val_\d{8})|((n\d{8})_\d+))(?:_(n\d{8}))?")
"""An official file name without suffix; some copies append the class to val's and train's."""
SHOWN = 3

WHERE = (
    "ImageNet is free for research: register at https://image-net.org/download-images.php and get "
    "'Training images (Task 1 & 2)', 'Validation images (all tasks)' and 'Development kit (Task 1 "
    "& 2)' of ILSVRC2012; or accept the terms of "
    "https://huggingface.co/datasets/ILSVRC/imagenet-1k and run 'hf download --repo-type dataset "
    "ILSVRC/imagenet-1k --local-dir FOLDER' with your token"
)


class Imagenet:
    """Source ``imagenet``: one split of ILSVRC 2012; the module's text says what it reads.

    Fields: ``images`` and ``original_size`` int32 (n, 2), width and height of the file in pixels.

    Args:
        config: ``path``: the folder, or the archive; ``split``: ``train`` or ``val``; ``devkit``
            (optional, val): ``ILSVRC2012_devkit_t12.tar.gz``, its folder, or a text file with a
            WordNet id per line, where it does not lie beside the images; ``images`` (optional): how
            many images there must be, for an incomplete copy; ``limit``, ``skip_problems``
            (optional): as in :class:`seesaw.data.folder.ImageFolder`.
        split: the split's name in the config, for messages.
        resolution: side of the images in pixels.
        crop: name in :data:`seesaw.registry.CROPS`.
        seed: chooses the images if there is a limit.

    Raises:
        ValueError: an unknown, missing or impossible key, or an unknown crop.
    """

    def __init__(
        self, config: Mapping[str, Any], *, split: str, resolution: int, crop: str, seed: int
    ) -> None:
        check_keys(config, split)
        self.config = dict(config)
        self.split = split
        self.resolution = resolution
        self.crop = crop
        self.seed = seed
        self.container: Container | None = None
        self._cache: Path | None = None
        CROPS[crop]  # an unknown name is an error before any work

    @property
    def recorded(self) -> dict[str, Any]:
        """What a manifest says of the source: not in which container or folder it was."""
        kept = ("source", "split", "images", "limit", "skip_problems")
        return {key: self.config[key] for key in kept if key in self.config}

    def prepare(self, folder: Path, *, shard_size: int, workers: int) -> None:
        """Get ready to pack into ``folder``: listings and copies that help are kept there."""
        self._cache = folder
        container, members = self._opened, self._members
        if isinstance(container, ParquetShards):
            container.gather(members, shard_size=shard_size, workers=workers)

    def tidy(self) -> None:
        """Remove what only packing needed."""
        if self._cache is not None:
            shutil.rmtree(self._cache / SPOOLS, ignore_errors=True)

    def index(self) -> "pd.DataFrame":
        """All images, one row each, sorted by id; ``path`` and ``caption`` are empty.

        Raises:
            FileNotFoundError: there are no images at ``path``, or no labels.
            ValueError: the container is damaged, its number of images is not what it must be, or
                names or labels are not those of the split.
        """
        import pandas as pd

        members = self._members
        ids = pd.Series(self._ids(members), dtype="str")
        return pd.DataFrame({"id": ids, "label": members.labels, "path": "", "caption": ""})

    def stamps(self, rows: Sequence[int]) -> list[str]:
        """What changes when the bytes of some images may have changed."""
        return self._opened.stamps(self._members[np.asarray(rows)])

    def render(self, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """Read and crop the images at some positions of the index.

        Returns:
            ``images`` uint8 (n, 3, R, R) RGB and ``original_size`` int32 (n, 2).

        Raises:
            ProblemFiles: some images cannot be read; all of them are named.
        """
        crop = CROPS.load(self.crop)
        members = self._members[np.asarray(rows)]
        images = np.empty((len(rows), 3, self.resolution, self.resolution), np.uint8)
        sizes = np.empty((len(rows), 2), np.int32)
        reasons: dict[str, str] = {}
        with warnings.catch_warnings():
            # of EXIF that is damaged, which nobody reads here, and of transparency that is dropped
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            for place, content in enumerate(self._contents(members)):
                try:
                    if isinstance(content, Exception):
                        raise content
                    image = read_rgb(io.BytesIO(content), over_white=False)
                    images[place] = crop(image, self.resolution).transpose(2, 0, 1)
                    sizes[place] = image.size
                except PROBLEMS as error:
                    start = b"?" if isinstance(content, Exception) else content
                    [image_id] = self._ids(members[place : place + 1])
                    reasons[image_id] = f"{reason_of(error, start)} (in {self._opened.path})"
        if reasons:
            raise ProblemFiles(reasons)
        return {"images": images, "original_size": sizes}

    def _contents(self, members: Members) -> Iterator[bytes | Exception]:
        """Bytes of each image, or why they cannot be had."""
        contents = self._opened.read(members)
        for place in range(len(members)):
            try:
                content: bytes | Exception = next(contents)
            except (OSError, ValueError) as error:
                content = error
                contents = self._opened.read(members[place + 1 :])
            yield content

    def _ids(self, members: Members) -> list[str]:
        return [_parse(name)[0] for name in members.names.tolist()]

    @cached_property
    def _opened(self) -> Container:
        path, split = Path(self.config["path"]).expanduser(), self.config["split"]
        self.container = find_container(path, split)
        if self.container is None:
            raise FileNotFoundError(f"split {self.split!r}: {missing_words(path, split)}")
        if self._cache is not None and hasattr(self.container, "prepare"):
            self.container.prepare(self._cache)
        logger.info("%s of ImageNet: %s %s", split, self.container.words, self.container.path)
        return self.container

    @cached_property
    def _members(self) -> Members:
        """The images that were chosen, sorted by id. Listed once; a pickled copy carries them."""
        split = self.config["split"]
        members = self._opened.members(positions())
        parsed = [_parse(name) for name in members.names.tolist()]
        where = f"{self._opened.words} {self._opened.path}"
        self._check_names(parsed, where)
        ids = np.array([image_id for image_id, _ in parsed])
        labels = self._labels(ids, parsed, members.labels, where)
        order = np.argsort(ids, kind="stable")
        ids = ids[order]
        twice = ids[1:][ids[1:] == ids[:-1]]
        if len(twice):
            raise ValueError(
                f"the {where} holds {len(twice)} images twice, {twice[0]} for example; remove the "
                "copies"
            )
        self._check_count(ids, labels, where)
        members = Members(members.names, labels, members.places)[order]
        limit = self.config.get("limit")
        if limit is None:
            return members
        if limit > len(ids):
            logger.warning("%s of ImageNet: limit %d, but %d images", split, limit, len(ids))
        chosen = set(choose(ids.tolist(), limit, self.seed))
        return members[np.array([image_id in chosen for image_id in ids.tolist()])]

    def _check_names(self, parsed: Sequence[tuple[str, str | None]], where: str) -> None:
        split = self.config["split"]
        begin = "ILSVRC2012_val_" if split == "val" else "n"
        wrong = [i for i, _ in parsed if not NAME.fullmatch(i) or not i.startswith(begin)]
        if wrong:
            example = "ILSVRC2012_val_00000001" if split == "val" else "n01440764_10026"
            raise ValueError(
                f"{len(wrong)} of {len(parsed)} images in the {where} are not named like those of "
                f"ImageNet's {split} ({example}): {', '.join(wrong[:SHOWN])}. Correct 'path' or "
                "'split' of this split; for other images use 'source: folder'"
            )

    def _labels(
        self,
        ids: np.ndarray,
        parsed: Sequence[tuple[str, str | None]],
        found: np.ndarray,
        where: str,
    ) -> np.ndarray:
        """Labels of the images by all that is known; what is known twice must agree."""
        label_of = positions()
        named = np.array([-1 if w is None else label_of.get(w, -2) for _, w in parsed], np.int32)
        self._check_agreement(ids, found, named, f"the {where}", "the file names")
        labels = np.where(found < 0, named, found)
        given = self.config.get("devkit")
        if self.config["split"] == "val" and (given or (labels < 0).any()):
            devkit = find_devkit(Path(self.config["path"]).expanduser(), given)
            if devkit is None:
                raise FileNotFoundError(f"split {self.split!r}: {missing_devkit(given, where)}")
            truth = read_devkit(devkit)
            numbers = np.array([int(i[-8:]) for i in ids.tolist()])
            if numbers.max() > len(truth):
                raise ValueError(
                    f"{devkit} has labels of {len(truth)} images, but the {where} holds "
                    f"ILSVRC2012_val_{numbers.max():08d}"
                )
            told = truth[numbers - 1]
            self._check_agreement(ids, labels, told, f"the {where}", str(devkit))
            labels = told
        if (labels < 0).any() or (labels >= CLASSES).any():
            bad = ids[(labels < 0) | (labels >= CLASSES)]
            raise ValueError(
                f"{len(bad)} images in the {where} belong to none of ImageNet's 1,000 classes, "
                f"{bad[0]} for example"
            )
        return labels.astype(np.int32)

    @staticmethod
    def _check_agreement(
        ids: np.ndarray, a: np.ndarray, b: np.ndarray, of_a: str, of_b: str
    ) -> None:
        wrong = np.flatnonzero((a >= 0) & (b != -1) & (a != b))
        if len(wrong):
            first = wrong[0]
            raise ValueError(
                f"{of_a} and {of_b} disagree about the class of {len(wrong)} of {len(ids)} images: "
                f"{ids[first]} is of class {a[first]} by the one and {b[first]} by the other "
                "(positions of sorted WordNet ids); one of them is in another order, or damaged"
            )

    def _check_count(self, ids: np.ndarray, labels: np.ndarray, where: str) -> None:
        split = self.config["split"]
        wanted = self.config.get("images", EXPECTED[split])
        if len(ids) == wanted:
            return
        lack = sorted(set(range(CLASSES)) - set(np.unique(labels).tolist()))
        notes = [f"no image of {len(lack)} classes ({_some([wnids()[i] for i in lack])})"] * bool(
            lack
        )
        if split == "val":
            there = {int(i[-8:]) for i in ids.tolist()}
            absent = [i for i in range(1, EXPECTED["val"] + 1) if i not in there]
            names = [f"ILSVRC2012_val_{i:08d}" for i in absent]
            notes = [f"missing are {_some(names)}"] * bool(absent)
        told = "the config says" if "images" in self.config else f"ImageNet's {split} has"
        raise ValueError(
            f"the {where} holds {len(ids):,} images, but {told} {wanted:,}"
            + "".join(f"; {note}" for note in notes)
            + f". Complete the copy; or, to go on with these, set 'images: {len(ids)}' in the "
            f"config block of split {self.split!r}"
        )


def check_keys(config: Mapping[str, Any], split: str) -> None:
    """Raise unless a split's config block fits the source ``imagenet``.

    Raises:
        ValueError: an unknown key, a missing or an impossible one.
    """
    what = f"split {split!r} (source 'imagenet')"
    for key in config:
        if key not in KEYS:
            raise unknown(f"key of {what}", key, KEYS)
    for key in ("path", "devkit"):
        value = config.get(key)
        if (key == "path" or value is not None) and (not isinstance(value, str) or not value):
            raise ValueError(f"{what} needs '{key}', a path; got {value!r}")
    if config.get("split") not in EXPECTED:
        raise ValueError(
            f"{what} needs 'split', which part of ImageNet it is: train or val; got "
            f"{config.get('split')!r}"
        )
    if config.get("devkit") and config["split"] == "train":
        raise ValueError(f"{what} takes no 'devkit': it has the labels of val only")
    for key in ("images", "limit"):
        value = config.get(key)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < 1
        ):
            raise ValueError(f"'{key}' of {what} is a number of images, 1 or more; got {value!r}")


@cache
def wnids() -> tuple[str, ...]:
    """The WordNet ids of the 1,000 classes, sorted: an image's label is a position in them."""
    return tuple(Path(__file__).with_name("imagenet_wnids.txt").read_text().split())


@cache
def positions() -> Mapping[str, int]:
    """WordNet id -> label."""
    return {wnid: label for label, wnid in enumerate(wnids())}


def find_container(path: str | Path, split: str) -> Container | None:
    """What holds the images of a split, or None.

    Args:
        path: an archive, a Parquet file, or a folder: one of those that the module's text lists,
            or one that holds it, as itself, ``train`` or ``val``, ``data`` (Parquet) or
            ``ILSVRC/Data/CLS-LOC/{train,val}``.
        split: ``train`` or ``val``.
    """
    path = Path(path)
    if path.is_file():
        return ParquetShards([path]) if path.suffix == ".parquet" else TarFiles([path])
    inside = Path("Data/CLS-LOC") / split
    for folder in (path, path / split, path / "data", path / inside, path / "ILSVRC" / inside):
        if folder.is_dir():
            found = _look(folder, split)
            if found is not None:
                return found
    return None


def _look(folder: Path, split: str) -> Container | None:
    archive = folder / f"ILSVRC2012_img_{split}.tar"
    if archive.is_file():
        return TarFiles([archive])
    names = sorted(os.listdir(folder))
    known = positions()
    archives = [name for name in names if name.endswith(".tar") and name[:-4] in known]
    if archives and split == "train":
        return TarFiles([folder / name for name in archives])
    begin = f"{PREFIXES[split]}-"
    shards = [name for name in names if name.startswith(begin) and name.endswith(".parquet")]
    if shards:
        return ParquetShards([folder / name for name in shards])
    flat = (name.startswith("ILSVRC2012_val_") for name in names)
    if any(name in known for name in names) or (split == "val" and any(flat)):
        return ClassFolders(folder)
    return None


def find_devkit(path: Path, given: str | None) -> Path | None:
    """The labels of val: what the config names, or the devkit beside or above the images."""
    if given:
        named = Path(given).expanduser()
        return named if named.exists() else None
    for folder in (path, path.parent):
        for name in (f"{DEVKIT}.tar.gz", DEVKIT, TRUTH):
            if (folder / name).exists() and (name != TRUTH or (folder / "meta.mat").exists()):
                return folder / name
    return None


def read_devkit(path: str | Path) -> np.ndarray:
    """Labels of val's images in the order of their numbers, int32 (n,).

    Args:
        path: ``ILSVRC2012_devkit_t12.tar.gz``; its folder; its list of labels, with ``meta.mat``
            beside it; or a text file with a line per image that holds its WordNet id, alone or
            after the image's name (then in any order; ``LOC_val_solution.csv`` is of that kind).

    Raises:
        ValueError: it is none of these, or its labels cannot be.
    """
    path = Path(path)
    if path.is_dir():
        for folder in (path, path / "data", path / DEVKIT / "data"):
            if (folder / TRUTH).is_file() and (folder / "meta.mat").is_file():
                return _truth(
                    (folder / TRUTH).read_text(), (folder / "meta.mat").read_bytes(), path
                )
        raise ValueError(f"{path} is no devkit: it holds no data/meta.mat with data/{TRUTH}")
    if tarfile.is_tarfile(path):
        with tarfile.open(path) as archive:
            parts = {os.path.basename(m.name): m for m in archive.getmembers() if m.isreg()}
            if not {"meta.mat", TRUTH} <= set(parts):
                raise ValueError(
                    f"{path} is no devkit: it holds no data/meta.mat with data/{TRUTH}"
                )
            meta, truth = (archive.extractfile(parts[name]) for name in ("meta.mat", TRUTH))
            assert meta is not None
            assert truth is not None
            return _truth(truth.read().decode(), meta.read(), path)
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is neither a devkit nor a text file of labels") from error
    if path.with_name("meta.mat").is_file() and not re.search(r"n\d{8}", text):
        return _truth(text, path.with_name("meta.mat").read_bytes(), path)
    return _listed(text, path)


def _truth(text: str, meta: bytes, path: Path) -> np.ndarray:
    """Labels from the devkit's numbers, which ``meta.mat`` translates into WordNet ids."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        synsets = np.atleast_1d(loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
        leaves = [s for s in synsets if int(s["num_children"]) == 0]
        names = {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in leaves}
    except (MatReadError, ValueError, KeyError, TypeError, NotImplementedError) as error:
        raise ValueError(f"meta.mat of {path} is not that of the devkit: {error}") from error
    position = positions()
    strange = sorted(set(names.values()) - set(position))
    if strange:
        raise ValueError(
            f"meta.mat of {path} names classes that ILSVRC 2012 lacks: {_some(strange)}; it is "
            "that of another year or task"
        )
    try:
        return _balanced([position[names[int(line)]] for line in text.split()], path)
    except (ValueError, KeyError) as error:
        raise ValueError(f"a line of {TRUTH} of {path} is no class of meta.mat: {error}") from error


def _listed(text: str, path: Path) -> np.ndarray:
    """Labels from a text file of WordNet ids."""
    position = positions()
    lines = [line for line in text.splitlines() if line.strip()]
    if lines and not re.search(r"n\d{8}", lines[0]):
        lines = lines[1:]  # a heading
    found: dict[int, int] = {}
    for row, line in enumerate(lines, 1):
        number = re.search(r"ILSVRC2012_val_(\d{8})(?!\d)", line)
        wnid = re.search(r"(?<![A-Za-z0-9])n\d{8}(?!\d)", line)
        if wnid is None or wnid[0] not in position:
            raise ValueError(
                f"{path}: no WordNet id of one of the 1,000 classes (n01440764, ...) in the line "
                f"{line[:60]!r}. Numbers are not taken, since they come in two orders; name the "
                f"devkit ({DEVKIT}.tar.gz) instead"
            )
        found[int(number[1]) if number else row] = position[wnid[0]]
    if sorted(found) != list(range(1, len(lines) + 1)):
        raise ValueError(f"{path} does not name the images 1 to {len(lines)} once each")
    return _balanced([found[number] for number in sorted(found)], path)


def _balanced(labels: list[int], path: Path) -> np.ndarray:
    """Labels as an array; those of the whole of val have 50 images per class."""
    array = np.array(labels, np.int32)
    if len(array) == EXPECTED["val"]:
        counts = np.bincount(array, minlength=CLASSES)
        if (counts != EXPECTED["val"] // CLASSES).any():
            raise ValueError(
                f"{path}: val has 50 images of every class, but here class "
                f"{wnids()[counts.argmax()]} has {counts.max()}; these are other labels, or "
                "damaged ones"
            )
    return array


def missing(config: Mapping[str, Any]) -> str | None:
    """What of a split is not there, with what to do, or None. Looks, but reads nothing.

    Args:
        config: the split's config block, source ``imagenet``.
    """
    path, split, given = Path(config["path"]).expanduser(), config["split"], config.get("devkit")
    container = find_container(path, split)
    if container is None:
        return missing_words(path, split)
    names = []
    if isinstance(container, TarFiles):  # of val's own, the names are known without reading it
        names = ["ILSVRC2012_val_00000001.JPEG"] * container.path.endswith("img_val.tar")
    elif isinstance(container, ClassFolders):
        names = [n for n in os.listdir(container.path) if n.startswith("ILSVRC2012_val_")]
    unlabelled = any(_parse(os.fsencode(name))[1] is None for name in names)
    if split == "val" and (given or unlabelled) and find_devkit(path, given) is None:
        return missing_devkit(given, f"{container.words} {container.path}")
    return None


def missing_words(path: Path, split: str) -> str:
    """What may be put where, if there are no images."""
    shards = PREFIXES[split]
    beside = f" with {path}/{DEVKIT}.tar.gz" * (split == "val")
    flat = f" or, with the devkit, {path}/val/*.JPEG" * (split == "val")
    state = "holds no images" if path.exists() else "does not exist, so there are no images"
    return (
        f"{path} {state} of ImageNet's {split}. Put one of these there, or correct its 'path': "
        f"{path}/ILSVRC2012_img_{split}.tar{beside}; {path}/{split}/nXXXXXXXX/*.JPEG{flat}; "
        f"{path}/data/{shards}-*.parquet. {WHERE}"
    )


def missing_devkit(given: str | None, where: str) -> str:
    """What to do if nothing says the classes of val's images."""
    if given:
        state = f"the devkit {given}, which is to say the classes of val's images, does not exist"
    else:
        state = (
            f"the {where} does not say the classes of its images, and there is no devkit beside it"
        )
    return (
        f"{state}. Name {DEVKIT}.tar.gz, its folder, or a text file with a WordNet id per image as "
        "'devkit'. It is at https://image-net.org/download-images.php, 'Development kit (Task 1 & "
        "2)'"
    )


def container_stamp(config: Mapping[str, Any]) -> str | None:
    """Hash of times and sizes of what holds a split and its labels; None if nothing does."""
    path = Path(config["path"]).expanduser()
    container = find_container(path, config["split"])
    if container is None:
        return None
    paths = getattr(container, "paths", None)
    if paths is None:
        with os.scandir(container.path) as entries:
            folders = sorted(entry.path for entry in entries if entry.is_dir())
        paths = [container.path, *folders]
    devkit = find_devkit(path, config.get("devkit")) if config["split"] == "val" else None
    stamps = [[name, stat_stamp(name)] for name in [*paths, *([str(devkit)] if devkit else [])]]
    return digest_of(stamps)[:16]


def _parse(name: bytes) -> tuple[str, str | None]:
    """Id of an image file, and the WordNet id of its class where its name says so.

    A name of another form is its own id.
    """
    stem = os.path.splitext(name.decode(errors="replace"))[0]
    found = NAME.fullmatch(stem)
    if found is None:
        return stem, None
    val, train, of_train, appended = found.groups()
    return (val, appended) if val else (train, of_train)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
