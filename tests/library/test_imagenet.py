"""ImageNet from every container: the same ids, labels, order and pixels; odd and broken files."""

import io
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from seesaw.data import containers, imagenet, load_source
from seesaw.data.crops import resize_center_crop
from seesaw.data.imagenet import container_stamp, find_container, missing, read_devkit, wnids
from seesaw.data.pack import pack_images
from seesaw.shards import Shards

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_imagenet import (
    DEVKIT,
    FOX,
    HUSKY,
    SETTER,
    TENCH,
    TRAIN_KINDS,
    TRUTH,
    VAL,
    VAL_KINDS,
    VAL_LABELS,
    VAL_WNIDS,
    build_devkit,
    devkit_ids,
    encoded,
    lay_train,
    lay_val,
    meta_mat,
    picture,
    train_images,
    val_images,
    val_name,
    write_files,
    write_parquet,
)


@pytest.fixture(scope="module")
def meta():
    return meta_mat()


@pytest.fixture(scope="module")
def devkit(meta, tmp_path_factory):
    return build_devkit(tmp_path_factory.mktemp("devkit"), meta)


def config_of(path, split="val", images=VAL, **more):
    config = {"source": "imagenet", "path": str(path), "split": split, "images": images, **more}
    return {key: value for key, value in config.items() if value is not None}


def source_of(path, split="val", images=VAL, **more):
    config = config_of(path, split, images, **more)
    return load_source(config, split=split, resolution=16, crop="adm", seed=0)


def pack(out, path, split="val", images=VAL, *, workers=1, shard_size=4, **more):
    pack_images(
        source=config_of(path, split, images, **more),
        split=split,
        resolution=32,
        crop="resize-center-crop",
        shard_size=shard_size,
        seed=0,
        workers=workers,
        manifest=out / "manifest.json",
        index=out / "index.parquet",
    )
    return Shards(out / "manifest.json")


def results(out):
    """Name -> bytes of what other stages read: not the records that packing keeps for itself."""
    names = ["manifest.json", "index.parquet", *(p.name for p in out.glob("*.safetensors"))]
    return {name: (out / name).read_bytes() for name in sorted(names)}


def test_the_classes_are_imagenets():
    assert len(wnids()) == len(set(wnids())) == 1000
    assert list(wnids()) == sorted(wnids())
    known = {TENCH: 0, "n01443537": 1, HUSKY: 250, FOX: 278, "n02012849": 134, "n03126707": 517}
    known |= {"n03710637": 638, "n03710721": 639, "n15075141": 999}
    assert {wnid: wnids().index(wnid) for wnid in known} == known


# ----------------------------------------------------------------------- the same from everywhere


@pytest.fixture(scope="module")
def val(devkit, tmp_path_factory):
    return lay_val("tar", tmp_path_factory.mktemp("val"), devkit)


@pytest.fixture(scope="module")
def packed_val(val, tmp_path_factory):
    out = tmp_path_factory.mktemp("packed")
    pack(out, val)
    return out


def more_of(kind, path):
    return {"devkit": str(path / "LOC_val_solution.csv")} if kind == "kaggle" else {}


def test_val_by_hand(packed_val):
    shards, index = (
        Shards(packed_val / "manifest.json"),
        pd.read_parquet(packed_val / "index.parquet"),
    )
    assert shards.ids == list(index["id"]) == [val_name(i) for i in range(1, 12)]
    assert list(index["label"]) == VAL_LABELS
    assert (index["path"] == "").all()
    for row, content in enumerate(val_images().values()):
        image = Image.open(io.BytesIO(content))
        crop = resize_center_crop(image, 32).transpose(2, 0, 1)
        np.testing.assert_array_equal(shards.load("images")[row], crop)
        assert tuple(shards.load("original_size")[row]) == image.size
    assert shards.meta["source"] == {"source": "imagenet", "split": "val", "images": 11}


@pytest.mark.parametrize("kind", VAL_KINDS)
def test_val_is_the_same_from_every_container(kind, tmp_path, devkit, packed_val):
    path = lay_val(kind, tmp_path / "in", devkit)
    pack(tmp_path / "out", path, **more_of(kind, path))
    assert results(tmp_path / "out") == results(packed_val)


@pytest.mark.parametrize("kind", TRAIN_KINDS)
def test_train_is_the_same_from_every_container(kind, tmp_path):
    files = train_images()
    path = lay_train(kind, tmp_path / "in")
    shards = pack(tmp_path / "out", path, "train", 15)
    index = pd.read_parquet(tmp_path / "out" / "index.parquet")
    assert shards.ids == list(index["id"]) == sorted(Path(name).stem for name in files)
    assert shards.ids[:3] == [f"{TENCH}_{n}" for n in (10, 100, 1003)]
    assert list(index["label"]) == [0] * 5 + [250] * 5 + [278] * 5
    images = shards.load("images")
    for row, image_id in enumerate(shards.ids):
        content = Image.open(io.BytesIO(files[f"{image_id}.JPEG"]))
        np.testing.assert_array_equal(
            images[row], resize_center_crop(content, 32).transpose(2, 0, 1)
        )


@pytest.mark.parametrize("kind", ["tar", "shuffled"])
def test_workers_change_nothing(kind, tmp_path):
    path = lay_train(kind, tmp_path / "in")
    pack(tmp_path / "one", path, "train", 15, workers=1)
    pack(tmp_path / "two", path, "train", 15, workers=2, shard_size=4)
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_the_same_images_are_chosen_from_every_container(tmp_path):
    chosen = [
        list(source_of(lay_train(kind, tmp_path / kind), "train", 15, limit=6).index()["id"])
        for kind in TRAIN_KINDS
    ]
    assert all(ids == chosen[0] for ids in chosen)
    assert len(chosen[0]) == 6
    whole = list(source_of(tmp_path / "tar", "train", 15).index()["id"])
    assert chosen[0] == sorted(chosen[0]) != whole[:6]
    path = tmp_path / "shuffled"
    shards = pack(tmp_path / "out", path, "train", 15, limit=6)
    assert shards.ids == chosen[0]


@pytest.mark.parametrize("kind", ["tar", "flat", "parquet"])
def test_a_source_survives_pickling(kind, tmp_path, devkit):
    source = source_of(lay_val(kind, tmp_path, devkit))
    before = source.render([3, 1])
    copy = pickle.loads(pickle.dumps(source))
    pd.testing.assert_frame_equal(copy.index(), source.index())
    np.testing.assert_array_equal(copy.render([3, 1])["images"], before["images"])
    assert copy.stamps([3, 1]) == source.stamps([3, 1])


# ----------------------------------------------------------------------------------------- labels


def test_the_devkit_numbers_classes_in_another_order(devkit):
    ids = devkit_ids()
    assert (ids[FOX], ids[SETTER], ids[HUSKY]) == (1, 2, 3)
    for path in (
        devkit / f"{DEVKIT}.tar.gz",
        devkit / DEVKIT,
        devkit / DEVKIT / "data",
        devkit / DEVKIT / "data" / TRUTH,
    ):
        assert read_devkit(path).tolist() == VAL_LABELS


@pytest.mark.parametrize(
    "line",
    [
        "{wnid}",
        "{name} {wnid}",
        "{name}.JPEG\t{wnid}",
        "{name},{wnid} 1 2 3 4",
        "{name}_{wnid}.JPEG",
    ],
)
def test_lists_of_wordnet_ids(tmp_path, line):
    path = tmp_path / "labels.txt"
    lines = [line.format(name=val_name(i), wnid=w) for i, w in enumerate(VAL_WNIDS, 1)]
    path.write_text("\n".join(lines))
    assert read_devkit(path).tolist() == VAL_LABELS


def test_lists_that_cannot_be_are_refused(tmp_path, meta):
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"{val_name(i)}.JPEG {n}\n" for i, n in enumerate(VAL_LABELS, 1)))
    with pytest.raises(ValueError, match="Numbers are not taken, since they come in two orders"):
        read_devkit(path)
    path.write_text(f"{TENCH}\nn99999999\n")
    with pytest.raises(ValueError, match="no WordNet id of one of the 1,000 classes.*'n99999999'"):
        read_devkit(path)
    path.write_text(f"{val_name(1)} {TENCH}\n{val_name(3)} {TENCH}\n")
    with pytest.raises(ValueError, match="does not name the images 1 to 2 once each"):
        read_devkit(path)
    path.write_text(f"{TENCH}\n" * 50_000)
    with pytest.raises(ValueError, match=f"50 images of every class.*{TENCH} has 50000"):
        read_devkit(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="neither a devkit nor a text file"):
        read_devkit(path)
    (tmp_path / "kit" / "data").mkdir(parents=True)
    with pytest.raises(ValueError, match="is no devkit: it holds no data/meta.mat"):
        read_devkit(tmp_path / "kit")
    kit = write_files(tmp_path / "kit", {f"data/{TRUTH}": b"1\n5000\n", "data/meta.mat": meta})
    with pytest.raises(ValueError, match="is no class of meta.mat: 5000"):
        read_devkit(kit)
    (kit / "data/meta.mat").write_bytes(meta_mat({"n99999999": 1}))
    with pytest.raises(ValueError, match="classes that ILSVRC 2012 lacks: n99999999"):
        read_devkit(kit)
    (kit / "data/meta.mat").write_bytes(b"no matlab")
    with pytest.raises(ValueError, match=r"meta.mat of .* is not that of the devkit"):
        read_devkit(kit)


def test_labels_do_not_move_where_a_class_has_no_image(tmp_path):
    files = {n: c for n, c in train_images().items() if not n.startswith(TENCH)}
    index = source_of(lay_train("classes", tmp_path, files), "train", 10).index()
    assert set(index["label"]) == {250, 278}
    (tmp_path / "train" / "n99999999").mkdir()
    (tmp_path / "train" / "n99999999" / "n99999999_1.JPEG").write_bytes(b"")
    assert len(source_of(tmp_path, "train", 10).index()) == 10


def test_the_source_folder_says_that_its_labels_are_others(tmp_path, devkit, caplog):
    path = lay_val("classes", tmp_path, devkit)
    config = {"source": "folder", "path": str(path)}
    index = load_source(config, split="val", resolution=16, crop="adm", seed=0).index()
    assert set(index["label"]) == {0, 1, 2, 3}
    assert "4 folders that are named like ImageNet's classes" in caplog.text
    assert "'source: imagenet'" in caplog.text


def test_what_is_known_twice_must_agree(tmp_path, devkit):
    path = lay_val("classes", tmp_path / "a", devkit)
    kit = str(devkit / DEVKIT)
    assert list(source_of(path, devkit=kit).index()["label"]) == VAL_LABELS
    (path / FOX / f"{val_name(1)}.JPEG").rename(path / TENCH / f"{val_name(1)}.JPEG")
    with pytest.raises(
        ValueError, match=f"disagree about the class of 1 of 11.*{val_name(1)} is of class 0"
    ):
        source_of(path, devkit=kit).index()
    files = train_images()
    write_parquet(tmp_path / "b", files, list(range(15)), begin="train")
    with pytest.raises(
        ValueError, match="set of Parquet shards .* and the file names disagree.* 15 of 15"
    ):
        source_of(tmp_path / "b", "train", 15).index()
    write_parquet(tmp_path / "c", val_images(), [*VAL_LABELS[:-1], -1], begin="validation")
    with pytest.raises(FileNotFoundError, match="set of Parquet shards .* and there is no devkit"):
        source_of(tmp_path / "c").index()
    write_parquet(tmp_path / "c", val_images(), [*VAL_LABELS[:-1], 1000], begin="validation")
    with pytest.raises(ValueError, match=f"1 images .* none of .*1,000 classes, {val_name(11)}"):
        source_of(tmp_path / "c").index()


# -------------------------------------------------------------------------------------- odd files


def odd_files():
    image = picture("odd", 44, 61)
    rgba = np.dstack([np.asarray(image), np.full((44, 61), 90, np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = encoded(image)
    broken = b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x1a\0\x05\0\0\0\x01\0\0\xff\xff\x87\x69"
    segment = b"\xff\xe1" + (len(broken) + 2).to_bytes(2, "big") + broken
    return {
        f"{FOX}_1.JPEG": encoded(image.convert("CMYK"), quality=95),
        f"{FOX}_2.JPEG": encoded(image.convert("L")),
        f"{FOX}_3.JPEG": encoded(Image.fromarray(rgba), "PNG"),
        f"{FOX}_4.JPEG": encoded(image, exif=exif),
        f"{FOX}_5.JPEG": plain[:2] + segment + plain[2:],
        f"{FOX}_6.jpg": encoded(image, "WEBP", lossless=True),
        f"{FOX}_7.JPEG": encoded(image, "BMP"),
        f"{FOX}_8.JPEG": encoded(image.quantize(8), "PNG", transparency=0),
        f"{FOX}_9.JPEG": encoded(picture("small", 9, 7)),
    }


@pytest.mark.parametrize("kind", ["tar", "classes", "shuffled"])
@pytest.mark.filterwarnings("error")
def test_odd_files_become_what_the_usual_loader_makes_of_them(kind, tmp_path):
    files = odd_files()
    shards = pack(tmp_path / "out", lay_train(kind, tmp_path / "in", files), "train", len(files))
    images = shards.load("images")
    for row, content in enumerate(files.values()):
        with pytest.warns() if row == 4 else _nothing(), Image.open(io.BytesIO(content)) as image:
            usual = resize_center_crop(image.convert("RGB"), 32)
        np.testing.assert_array_equal(images[row], usual.transpose(2, 0, 1), str(row))
    assert shards.load("original_size").tolist() == [[61, 44]] * 8 + [[7, 9]]
    assert shards.meta["upscaled"] == 1


class _nothing:
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_transparency_is_dropped_not_composited(tmp_path):
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[:] = (200, 10, 30, 0)
    files = {f"{FOX}_1.JPEG": encoded(Image.fromarray(rgba), "PNG")}
    images = source_of(lay_train("classes", tmp_path, files), "train", 1).render([0])["images"]
    assert (images == np.array([200, 10, 30])[None, :, None, None]).all()


BROKEN = {
    3: "truncated",
    5: "the file is empty",
    6: "an HTML page",
    9: "not an image in any format",
}


@pytest.mark.parametrize("kind", ["tar", "classes", "parquet", "shuffled"])
def test_broken_images_are_named(kind, tmp_path, devkit):
    files = val_images()
    files[f"{val_name(3)}.JPEG"] = files[f"{val_name(3)}.JPEG"][:-200]
    files[f"{val_name(5)}.JPEG"] = b""
    files[f"{val_name(6)}.JPEG"] = b"<!DOCTYPE html><html>Sign in</html>"
    files[f"{val_name(9)}.JPEG"] = b"some words"
    path = lay_val(kind, tmp_path / "in", devkit, files)
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="4 of 11 image files cannot be packed") as error:
        pack(out, path)
    for number, reason in BROKEN.items():
        assert f"{val_name(number)}: " in str(error.value)
        assert reason in str(error.value)
    assert f"(in {path}" in str(error.value)
    assert not (out / "manifest.json").exists()
    shards = pack(out, path, skip_problems=True)
    assert shards.ids == [val_name(i) for i in range(1, 12) if i not in BROKEN]
    assert list(pd.read_parquet(out / "index.parquet")["label"]) == [
        label for i, label in enumerate(VAL_LABELS, 1) if i not in BROKEN
    ]
    assert not (out / "spool").exists()


def test_a_file_that_goes_away_is_named(tmp_path, devkit):
    path = lay_val("classes", tmp_path, devkit)
    source = source_of(path)
    source.index()
    (path / TENCH / f"{val_name(3)}.JPEG").unlink()
    with pytest.raises(ValueError, match=f"{val_name(3)}: cannot be opened: No such file"):
        source.render([0, 1, 2, 3])


def test_other_troubles_of_the_system_are_not_blamed_on_an_image(tmp_path, monkeypatch, val):
    source = source_of(val)
    source.index()

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(OSError, match="Input/output error"):
        source.render([0])


# --------------------------------------------------------------------------------------- archives


def test_an_archive_is_gone_through_once(tmp_path, val, monkeypatch):
    path = shutil.copytree(val, tmp_path / "in")
    pack(tmp_path / "out", path)
    before = results(tmp_path / "out")
    monkeypatch.setattr(containers, "_tar_members", None)
    pack(tmp_path / "out", path)
    assert results(tmp_path / "out") == before
    monkeypatch.undo()
    (tmp_path / "out" / "members.npz").write_bytes(b"PK\x03\x04 half")
    pack(tmp_path / "out", path)
    os.utime(path / "ILSVRC2012_img_val.tar", (1, 1))
    monkeypatch.setattr(containers, "_tar_members", lambda *_: iter([]))
    with pytest.raises(ValueError, match="holds 0 images"):
        pack(tmp_path / "out", path)


def test_archives_that_are_cut_or_damaged_say_where(tmp_path, val):
    archive = tmp_path / "ILSVRC2012_img_val.tar"
    shutil.copytree(val, tmp_path, dirs_exist_ok=True)
    whole = archive.read_bytes()
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    header, last = members[4].offset, members[-1]
    archive.write_bytes(whole[: last.offset_data + last.size // 2])
    with pytest.raises(
        ValueError, match=f"cannot be read after {last.name}: unexpected end of data"
    ):
        source_of(tmp_path).index()
    archive.write_bytes(whole[:header] + b"\x01" * 512 + whole[header + 512 :])
    with pytest.raises(
        ValueError, match=f"is damaged after {members[3].name}: no member.*byte {header}"
    ):
        source_of(tmp_path).index()
    archive.write_bytes(b"<html>Log in</html>" * 100)
    with pytest.raises(ValueError, match="cannot be read after its beginning"):
        source_of(tmp_path).index()
    archive.write_bytes(whole)
    source = source_of(tmp_path)
    source.index()
    archive.write_bytes(whole[: last.offset_data + 100])  # cut after it was listed
    with pytest.raises(ValueError, match=f"{last.name[:-5]}: the archive ends in it: 100 of"):
        source.render(range(11))


def test_a_damaged_class_archive_is_named(tmp_path):
    path = lay_train("tar", tmp_path) / "ILSVRC2012_img_train.tar"
    whole = bytearray(path.read_bytes())
    at = whole.index(f"{HUSKY}_26.JPEG".encode())
    whole[at + 120 : at + 140] = b"\xff" * 20
    path.write_bytes(bytes(whole))
    with pytest.raises(
        ValueError, match=f"archive {HUSKY}.tar in .* is damaged after {HUSKY}_10.JPEG"
    ):
        source_of(tmp_path, "train", 15).index()


# ----------------------------------------------------------------------------------------- shards


def test_shuffled_shards_are_read_once(tmp_path, monkeypatch):
    reads, read = [], containers._read_group

    def counted(path, group, rows):
        reads.append((path, group))
        return read(path, group, rows)

    monkeypatch.setattr(containers, "_read_group", counted)
    monkeypatch.setattr(containers, "REREADS", 1.5)
    pack(tmp_path / "a", lay_train("shuffled", tmp_path / "in"), "train", 15, shard_size=2)
    assert len(reads) == len(set(reads)) == 9
    assert not (tmp_path / "a" / "spool").exists()
    reads.clear()
    pack(tmp_path / "b", lay_train("parquet", tmp_path / "in2"), "train", 15, shard_size=4)
    assert len(set(reads)) == 9
    assert not (tmp_path / "b" / "spool").exists()
    assert (tmp_path / "a" / "index.parquet").read_bytes() == (
        tmp_path / "b" / "index.parquet"
    ).read_bytes()


def test_copies_are_kept_by_a_run_that_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "REREADS", 1)
    path, out = lay_train("shuffled", tmp_path / "in"), tmp_path / "out"
    bad = pq.ParquetFile(path / "train-00001-of-00003.parquet")
    monkeypatch.setattr(imagenet, "read_rgb", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pack(out, path, "train", 15, shard_size=2)
    bad.close()
    copies = {p.name: p.stat().st_ino for p in (out / "spool").glob("*.bin")}
    assert len(copies) == 3
    (out / "spool" / "00001.bin").write_bytes(b"half")
    monkeypatch.undo()
    monkeypatch.setattr(containers, "REREADS", 1)
    written, write = [], containers._write_spool
    monkeypatch.setattr(containers, "_write_spool", lambda *a: (written.append(a[0]), write(*a)))
    shards = pack(out, path, "train", 15, shard_size=2)
    assert [Path(name).name for name in written] == ["train-00001-of-00003.parquet"]
    assert shards.n == 15
    assert not (out / "spool").exists()


def test_a_full_disk_is_told_before_copying(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "REREADS", 1)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    path = lay_train("shuffled", tmp_path / "in")
    with pytest.raises(OSError, match="in random order and must be copied out once.*Make room"):
        pack(tmp_path / "out", path, "train", 15, shard_size=2)


def test_other_parquet_files_are_refused(tmp_path):
    path = tmp_path / "validation-00000-of-00001.parquet"
    path.write_bytes(b"PAR1 cut")
    with pytest.raises(ValueError, match="is no Parquet file, or it is cut"):
        source_of(tmp_path).index()
    pq.write_table(pa.table({"jpg": [b""], "cls": [1]}), path)
    with pytest.raises(ValueError, match=r"lacks image.bytes, image.path, label; it has jpg, cls"):
        source_of(tmp_path).index()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": b"x", "path": None}, {"bytes": b"y", "path": "a.JPEG"}], kind)
    pq.write_table(pa.table({"image": rows, "label": [1, 2]}), path)
    with pytest.raises(ValueError, match="does not say which images it holds.* 1 of 2 rows"):
        source_of(tmp_path).index()


@pytest.mark.parametrize("rereads", [0, 99])
def test_a_damaged_parquet_file_is_named(rereads, tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "REREADS", rereads)
    path = lay_train("parquet", tmp_path / "in") / "train-00001-of-00003.parquet"
    with pq.ParquetFile(path) as file:
        leaf = file.metadata.row_group(1).column(0)
    content = bytearray(path.read_bytes())
    content[leaf.data_page_offset : leaf.data_page_offset + 40] = b"\xff" * 40
    path.write_bytes(bytes(content))
    error = OSError if rereads == 0 else ValueError
    with pytest.raises(error, match=f"row group 1 of {path} is damaged .* download the file again"):
        pack(tmp_path / "out", path.parent, "train", 15)


# ----------------------------------------------------------------------------------------- counts


def test_incomplete_copies_are_complained_about(tmp_path, devkit):
    path = lay_val("tar", tmp_path / "val", devkit)
    with pytest.raises(ValueError, match="holds 11 images, but ImageNet's val has 50,000") as error:
        source_of(path, images=None).index()
    assert "missing are ILSVRC2012_val_00000012, " in str(error.value)
    assert "and 49986 more" in str(error.value)
    assert "set 'images: 11' in the config block of split 'val'" in str(error.value)
    with pytest.raises(ValueError, match="holds 11 images, but the config says 12"):
        source_of(path, images=12).index()
    train = lay_train("tar", tmp_path / "train")
    with pytest.raises(ValueError, match="ImageNet's train has 1,281,167; no image of 997 classes"):
        source_of(train, "train", None).index()


def test_images_twice_are_refused(tmp_path, devkit):
    path = lay_val("classes", tmp_path, devkit)
    shutil.copy(path / FOX / f"{val_name(1)}.JPEG", path / FOX / f"{val_name(1)}_{FOX}.jpg")
    with pytest.raises(ValueError, match=f"holds 1 images twice, {val_name(1)} for example"):
        source_of(path, images=12).index()


def test_other_images_are_refused(tmp_path):
    write_files(tmp_path, {f"{FOX}/holiday.jpg": b"", f"{FOX}/{FOX}_1.JPEG": b""})
    with pytest.raises(
        ValueError, match="1 of 2 images.*not named like.*train.*holiday.*source: folder"
    ):
        source_of(tmp_path, "train", 2).index()
    with pytest.raises(
        ValueError, match="2 of 2 images.*ImageNet's val.*Correct 'path' or 'split'"
    ):
        source_of(tmp_path, "val", 2).index()


# --------------------------------------------------------------------------- what is not there


def test_what_is_missing_is_said_with_where_to_get_it(tmp_path, devkit):
    assert "does not exist" in missing(config_of(tmp_path / "gone"))
    words = missing(config_of(tmp_path))
    assert "holds no images of ImageNet's val" in words
    for part in (
        "ILSVRC2012_img_val.tar with",
        "val/nXXXXXXXX/*.JPEG",
        "data/validation-*.parquet",
    ):
        assert f"{tmp_path}/{part}" in words
    assert "image-net.org/download-images.php" in words
    assert "https://huggingface.co/datasets/ILSVRC/imagenet-1k" in words
    assert "devkit" not in missing(config_of(tmp_path, "train"))
    with pytest.raises(FileNotFoundError, match="split 'val': .*holds no images of ImageNet's val"):
        source_of(tmp_path).index()
    with pytest.raises(FileNotFoundError):
        pack(tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()
    for kind in VAL_KINDS:
        path = lay_val(kind, tmp_path / kind, devkit)
        assert missing(config_of(path, **more_of(kind, path))) is None
    for kind in TRAIN_KINDS:
        assert missing(config_of(lay_train(kind, tmp_path / f"{kind} train"), "train")) is None


@pytest.mark.parametrize("kind", ["tar", "flat"])
def test_a_missing_devkit_is_said(kind, tmp_path, devkit):
    path = lay_val(kind, tmp_path, devkit)
    (path / f"{DEVKIT}.tar.gz").unlink()
    assert "there is no devkit beside it" in missing(config_of(path))
    with pytest.raises(
        FileNotFoundError, match="does not say the classes of its images.*no devkit"
    ):
        source_of(path).index()
    with pytest.raises(FileNotFoundError, match=r"the devkit .*/gone, .* does not exist"):
        source_of(path, devkit=str(tmp_path / "gone")).index()
    config = config_of(path, devkit=str(devkit / DEVKIT))
    assert missing(config) is None
    assert list(source_of(path, devkit=str(devkit / DEVKIT)).index()["label"]) == VAL_LABELS


def test_too_short_a_devkit_is_said(tmp_path, devkit):
    path = lay_val("flat", tmp_path, devkit)
    short = tmp_path / "short.txt"
    short.write_text(f"{TENCH}\n" * 3)
    with pytest.raises(ValueError, match="has labels of 3 images.*holds ILSVRC2012_val_00000011"):
        source_of(path, devkit=str(short)).index()


@pytest.mark.parametrize("kind", TRAIN_KINDS)
def test_the_stamp_follows_the_container(kind, tmp_path):
    path = lay_train(kind, tmp_path)
    config = config_of(path, "train")
    before = container_stamp(config)
    assert before == container_stamp(config)
    container = find_container(path, "train")
    names = getattr(container, "paths", [f"{container.path}/{FOX}"])
    os.utime(names[-1], (1, 1))
    assert container_stamp(config) != before
    assert container_stamp(config_of(tmp_path / "gone", "train")) is None


@pytest.mark.parametrize(
    "config, words",
    [
        ({"split": "val"}, "needs 'path', a path; got None"),
        ({"path": "x"}, "needs 'split'.*train or val; got None"),
        ({"path": "x", "split": "test"}, "train or val; got 'test'"),
        ({"path": "x", "split": "train", "devkit": "y"}, "takes no 'devkit'"),
        ({"path": "x", "split": "val", "devkit": 3}, "needs 'devkit', a path; got 3"),
        ({"path": "x", "split": "val", "image": 3}, "unknown key.*'image'.*Did you mean 'images'"),
        ({"path": "x", "split": "val", "images": 0}, "'images'.*1 or more; got 0"),
        ({"path": "x", "split": "val", "limit": True}, "'limit'.*1 or more; got True"),
    ],
)
def test_wrong_config_is_an_error_in_words(config, words):
    with pytest.raises(ValueError, match=words):
        imagenet.Imagenet(config, split="val", resolution=16, crop="adm", seed=0)


# -------------------------------------------------------------------------------- starting again

PACK = """
import sys
from pathlib import Path
from seesaw.data.pack import pack_images
if __name__ == "__main__":
    out = Path(sys.argv[2])
    pack_images(source={"source": "imagenet", "path": sys.argv[1], "split": "train", "images": 60},
                split="train", resolution=32, crop="resize-center-crop", shard_size=3, seed=0,
                workers=1, manifest=out / "manifest.json", index=out / "index.parquet")
"""


def test_a_killed_packing_goes_on_where_it_was(tmp_path):
    content = encoded(picture("large", 450, 600))
    path = lay_train("tar", tmp_path / "in", {f"{FOX}_{i}.JPEG": content for i in range(60)})
    (tmp_path / "script.py").write_text(PACK)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, tmp_path / "script.py", path, killed])
    deadline = time.monotonic() + 60
    while len(list(killed.glob("shard-*.json"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "manifest.json").exists()
    before = {p.stem: p.with_suffix(".safetensors") for p in killed.glob("shard-*.json")}
    inodes = {name: shard.stat().st_ino for name, shard in before.items()}
    assert 2 <= len(inodes) < 20
    shards = pack(killed, path, "train", 60, shard_size=3)
    assert {name: before[name].stat().st_ino for name in inodes} == inodes
    pack(whole, path, "train", 60, shard_size=3)
    assert results(killed) == results(whole)
    assert shards.n == 60
    assert not list(killed.glob("*.part*"))
