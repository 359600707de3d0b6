"""ImageNet with a few images, in every container that people have it in."""

import importlib
import io
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from scipy.io import savemat

from seesaw.data.imagenet import wnids

sys.path.insert(0, str(Path(__file__).parent / "reference"))
recipe = importlib.import_module("recipe")

FOX, SETTER, HUSKY, TENCH = "n02119789", "n02100735", "n02110185", "n01440764"
VAL_WNIDS = [FOX, HUSKY, TENCH, FOX, SETTER, HUSKY, TENCH, TENCH, SETTER, FOX, HUSKY]
VAL_LABELS = [278, 250, 0, 278, 212, 250, 0, 0, 212, 278, 250]
"""Positions of kit fox, husky, tench and setter as every ImageNet classifier has them."""
VAL = len(VAL_WNIDS)
DEVKIT = "ILSVRC2012_devkit_t12"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def picture(name, height=40, width=50):
    return Image.fromarray(recipe.picture(name, height, width))


def encoded(image, kind="JPEG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def val_name(number):
    return f"ILSVRC2012_val_{number:08d}"


def val_images():
    return {
        f"{val_name(i)}.JPEG": encoded(picture(f"val {i}", 40 + i % 3, 50))
        for i in range(1, VAL + 1)
    }


def train_images(each=5):
    return {
        f"{wnid}_{number}.JPEG": encoded(picture(f"{wnid} {number}"))
        for wnid in (FOX, HUSKY, TENCH)
        for number in (7, 10, 26, 100, 1003)[:each]
    }


def write_tar(path, files):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_files(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def devkit_ids():
    """WordNet id -> number as the devkit has them: the first three true, the others reversed."""
    first = [FOX, SETTER, HUSKY]
    return {w: i for i, w in enumerate([*first, *(w for w in wnids()[::-1] if w not in first)], 1)}


def meta_mat(leaves=None):
    """meta.mat in the official structure: leaves, then inner nodes of the WordNet tree."""
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children"]
    fields += ["wordnet_height", "num_train_images"]
    rows = [
        (i, w, f"word {w}", "a thing", 0, [], 0, 1300) for w, i in (leaves or devkit_ids()).items()
    ]
    rows += [(1001 + i, f"n0000000{i}", "whole", "all", 2, [1, 2], 4, 0) for i in range(3)]
    synsets = np.empty((len(rows), 1), dtype=[(name, object) for name in fields])
    for place, row in enumerate(rows):
        synsets[place, 0] = row
    stream = io.BytesIO()
    savemat(stream, {"synsets": synsets})
    return stream.getvalue()


def build_devkit(folder, meta):
    """The devkit's folder and archive, with labels for val's few images."""
    ids = devkit_ids()
    truth = "".join(f"{ids[wnid]}\n" for wnid in VAL_WNIDS)
    write_files(folder / DEVKIT, {"data/meta.mat": meta, f"data/{TRUTH}": truth.encode()})
    with tarfile.open(folder / f"{DEVKIT}.tar.gz", "w:gz") as archive:
        archive.add(folder / DEVKIT, DEVKIT)
    return folder


def write_parquet(folder, files, labels, *, begin, parts=2, group=2, order=None, named=False):
    """Shards as the repository imagenet-1k has them."""
    names = list(files)
    order = (
        np.arange(len(names))
        if order is None
        else np.random.default_rng(order).permutation(len(names))
    )
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in enumerate(np.array_split(order, parts)):
        images = [
            {
                "bytes": files[names[i]],
                "path": f"{names[i][:-5]}_{wnids()[labels[i]]}.JPEG" if named else names[i],
            }
            for i in rows
        ]
        columns = {
            "image": pa.array(images, kind),
            "label": pa.array([labels[i] for i in rows], pa.int64()),
        }
        path = folder / f"{begin}-{part:05d}-of-{parts:05d}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=group)
    return folder


def lay_val(kind, folder, devkit, files=None):
    """Val in one of its containers; the path to name in a config."""
    files = files or val_images()
    folder.mkdir(parents=True, exist_ok=True)
    if kind in ("tar", "flat", "class tar"):
        shutil.copy(devkit / f"{DEVKIT}.tar.gz", folder)
    if kind == "tar":
        write_tar(folder / "ILSVRC2012_img_val.tar", files)
    elif kind == "flat":
        write_files(folder / "val", files)
    elif kind == "classes":
        write_files(folder, {f"{w}/{n}": c for w, (n, c) in zip(VAL_WNIDS, files.items())})
    elif kind == "named":  # as the repository's archives unpack
        names = [f"{Path(n).stem}_{w}.JPEG" for n, w in zip(files, VAL_WNIDS)]
        write_files(folder / "val", dict(zip(names, files.values())))
    elif kind == "kaggle":
        write_files(folder / "ILSVRC/Data/CLS-LOC/val", files)
        rows = [f"{val_name(i)},{w} 1 2 3 4 \n" for i, w in enumerate(VAL_WNIDS, 1)]
        text = "ImageId,PredictionString\n" + "".join(rows[::-1])
        (folder / "LOC_val_solution.csv").write_text(text)
    elif kind in ("parquet", "shuffled"):
        order = 3 if kind == "shuffled" else None
        write_parquet(folder / "data", files, VAL_LABELS, begin="validation", order=order)
    return folder


VAL_KINDS = ["tar", "flat", "classes", "named", "kaggle", "parquet", "shuffled"]


def lay_train(kind, folder, files=None):
    files = files or train_images()
    classes = {}
    for name, content in files.items():
        classes.setdefault(name[:9], {})[name] = content
    if kind in ("tar", "tars"):
        inner = {
            f"{w}.tar": write_tar(folder / "x.tar", c).read_bytes() for w, c in classes.items()
        }
        (folder / "x.tar").unlink()
        if kind == "tar":
            write_tar(folder / "ILSVRC2012_img_train.tar", dict(reversed(inner.items())))
        else:
            write_files(folder / "train", inner)
    elif kind == "classes":
        write_files(folder / "train", {f"{n[:9]}/{n}": c for n, c in files.items()})
    elif kind in ("parquet", "shuffled", "named"):
        labels = [wnids().index(name[:9]) for name in files]
        order = 5 if kind == "shuffled" else None
        named = kind == "named"
        write_parquet(folder, files, labels, begin="train", order=order, parts=3, named=named)
    return folder


TRAIN_KINDS = ["tar", "tars", "classes", "parquet", "shuffled", "named"]
