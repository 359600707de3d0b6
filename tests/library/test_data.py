"""The data stage: crops, image folders, packing and packing again after a kill."""

import hashlib
import importlib
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
import psutil
import pytest
from PIL import Image

from seesaw.data import ProblemFiles, load_source
from seesaw.data import pack as packing
from seesaw.data.crops import adm, resize_center_crop
from seesaw.data.folder import ImageFolder, folder_stamp, read_rgb
from seesaw.data.pack import pack_images
from seesaw.shards import Shards

TESTS = Path(__file__).parents[1]
REFERENCE = TESTS / "reference"
sys.path += [str(TESTS), str(REFERENCE)]
recipe = importlib.import_module("recipe")
photos = importlib.import_module("photos")
STORED = json.loads((REFERENCE / "center_crop.json").read_text())
CROPPERS = {"adm": adm, "tv": resize_center_crop}


@pytest.fixture(scope="module")
def photo_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    photos.build_photo_folder(folder, count=60)
    return folder


def pack(out, path, *, workers=1, shard_size=8, resolution=32, crop="adm", seed=0, **config):
    """Pack a folder into ``out`` and open the result."""
    pack_images(
        source={"source": "folder", "path": str(path), **config},
        split="val",
        resolution=resolution,
        crop=crop,
        shard_size=shard_size,
        seed=seed,
        workers=workers,
        manifest=out / "manifest.json",
        index=out / "index.parquet",
    )
    return Shards(out / "manifest.json")


def files_of(folder):
    """Name -> bytes of all files in a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def picture(height=40, width=50, name="picture"):
    return Image.fromarray(recipe.picture(name, height, width))


def source_of(path, *, seed=0, resolution=16, **config):
    config = {"source": "folder", "path": str(path), **config}
    return load_source(
        config, split="val", resolution=resolution, crop="resize-center-crop", seed=seed
    )


# ---------------------------------------------------------------------------------------- crops


@pytest.mark.parametrize("case", STORED["cases"], ids=lambda case: case["name"])
@pytest.mark.parametrize("output", ["adm_64", "tv_64", "adm_256_s4", "tv_256_s4"])
def test_crops_agree_with_the_original_code(case, output):
    pixels = recipe.picture(case["key"], case["height"], case["width"])
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == case["input_sha256"]
    name, resolution, step = (output + "_s1").split("_")[:3]
    cropped = CROPPERS[name](Image.fromarray(pixels), int(resolution))
    assert cropped.dtype == np.uint8
    assert cropped.shape == (int(resolution), int(resolution), 3)
    kept = np.ascontiguousarray(cropped[:: int(step[1:]), :: int(step[1:])])
    expected = np.load(REFERENCE / "center_crop.npz")[f"{case['name']}/{output}"]
    difference = np.abs(kept[::4, ::4].astype(int) - expected)
    assert difference.max() <= 1  # another Pillow may round differently
    if PIL.__version__ == STORED["pillow"]:
        assert hashlib.sha256(kept.tobytes()).hexdigest() == case["sha256"][output]


SIZES = [(64, 64), (500, 375), (375, 500), (33, 90), (91, 34), (129, 130), (65, 64), (70, 161)]


@pytest.mark.parametrize("width, height", SIZES)
@pytest.mark.parametrize("resolution", [32, 63, 64])
def test_resize_center_crop_is_torchvisions(width, height, resolution):
    transforms = importlib.import_module("torchvision.transforms")
    image = picture(height, width)
    theirs = transforms.Compose([transforms.Resize(resolution), transforms.CenterCrop(resolution)])(
        image
    )
    np.testing.assert_array_equal(resize_center_crop(image, resolution), np.asarray(theirs))


@pytest.mark.parametrize("crop", [adm, resize_center_crop])
def test_crops_leave_an_image_of_the_right_size_alone(crop):
    image = picture(32, 32)
    np.testing.assert_array_equal(crop(image, 32), np.asarray(image))


@pytest.mark.parametrize("crop", [adm, resize_center_crop])
def test_crops_refuse_other_modes_and_extreme_sides(crop):
    with pytest.raises(ValueError, match="mode RGB, got L"):
        crop(picture().convert("L"), 16)
    with pytest.raises(ValueError, match="too long and thin"):
        crop(Image.new("RGB", (8000, 1)), 256)


# --------------------------------------------------------------------------------- reading files


def test_modes_become_rgb(tmp_path):
    image = picture()
    rgb = np.asarray(image)
    grey = np.asarray(image.convert("L"))
    assert (np.asarray(read_rgb(save(tmp_path / "a.png", image))) == rgb).all()
    assert (np.asarray(read_rgb(save(tmp_path / "a.bmp", image))) == rgb).all()
    assert (np.asarray(read_rgb(save(tmp_path / "a.webp", image, lossless=True))) == rgb).all()
    read = np.asarray(read_rgb(save(tmp_path / "grey.png", image.convert("L"))))
    assert (read == grey[..., None]).all()
    bits = image.convert("1")
    read = np.asarray(read_rgb(save(tmp_path / "bits.png", bits)))
    assert (read == np.asarray(bits)[..., None] * np.uint8(255)).all()
    palette = image.quantize(16)
    read = np.asarray(read_rgb(save(tmp_path / "palette.png", palette)))
    assert (read == np.asarray(palette.convert("RGB"))).all()
    cmyk = save(tmp_path / "cmyk.jpg", image.convert("CMYK"), quality=100, subsampling=0)
    assert np.abs(np.asarray(read_rgb(cmyk)).astype(int) - rgb).mean() < 3


def test_16_bit_grey_keeps_its_high_byte(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    path = save(tmp_path / "deep.png", Image.fromarray(values))
    expected = (values >> 8).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(read_rgb(path)), np.dstack([expected] * 3))


def test_grey_of_unknown_range_is_refused(tmp_path):
    values = np.linspace(0, 1, 64).reshape(8, 8)
    path = save(tmp_path / "a.png", Image.fromarray(values.astype(np.float32)), format="TIFF")
    with pytest.raises(ValueError, match="no known range"):
        read_rgb(path)
    path = save(tmp_path / "b.png", Image.fromarray((values * 1e6).astype(np.int32)), format="TIFF")
    with pytest.raises(ValueError, match=r"0\.\.1000000 are not of 16 bit"):
        read_rgb(path)


def test_transparency_is_composited_over_white(tmp_path):
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[:, 0] = (10, 20, 30, 255)
    rgba[:, 1] = (10, 20, 30, 0)
    rgba[:, 2] = (0, 0, 0, 51)
    expected = [[10, 20, 30], [255, 255, 255], [204, 204, 204]]
    read = np.asarray(read_rgb(save(tmp_path / "a.png", Image.fromarray(rgba))))
    assert read.tolist() == [expected, expected]
    grey = save(tmp_path / "la.png", Image.fromarray(rgba).convert("LA"))
    assert np.asarray(read_rgb(grey))[0, 1].tolist() == [255, 255, 255]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8))
    palette.putpalette([9, 9, 9, 200, 0, 0])
    path = save(tmp_path / "p.png", palette, transparency=0)
    assert np.asarray(read_rgb(path))[0].tolist() == [[255, 255, 255], [200, 0, 0]]


def test_exif_orientation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to show"
    path = save(tmp_path / "turned.jpg", picture(40, 50), exif=exif)
    assert read_rgb(path).size == (50, 40)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_animations_give_their_first_frame(tmp_path, suffix):
    first, second = Image.new("RGB", (8, 8), (255, 0, 0)), Image.new("RGB", (8, 8), (0, 0, 255))
    options = {} if suffix == ".png" else {"lossless": True}
    path = tmp_path / f"moving{suffix}"
    first.save(path, save_all=True, append_images=[second], **options)
    with Image.open(path) as image:
        assert image.n_frames == 2
    assert (np.asarray(read_rgb(path)) == (255, 0, 0)).all()


# ------------------------------------------------------------------------------------- listing


def test_imagenet_layout_labels_by_sorted_folder_name(tmp_path):
    for name in ("n02/b.JPEG", "n02/a.jpg", "n10/sub/c.PNG", "n01/d.Jpeg", "top.webp"):
        save(tmp_path / name, picture(), format="JPEG")
    (tmp_path / "n00").mkdir()
    (tmp_path / "n01" / "notes.txt").write_text("not listed")
    (tmp_path / "n01" / "._d.jpg").write_text("not listed")
    (tmp_path / ".cache").mkdir()
    save(tmp_path / ".cache" / "x.jpg", picture())
    index = source_of(tmp_path).index()
    assert dict(zip(index["id"], index["label"], strict=True)) == {
        "n01/d.Jpeg": 1,
        "n02/a.jpg": 2,
        "n02/b.JPEG": 2,
        "n10/sub/c.PNG": 3,
        "top.webp": -1,
    }
    assert list(index["id"]) == sorted(index["id"])
    assert (index["path"] == [f"{tmp_path.as_posix()}/{i}" for i in index["id"]]).all()
    assert (index["caption"] == "").all()


def test_links_are_followed_but_not_in_circles(tmp_path):
    save(tmp_path / "far" / "a.png", picture())
    root = tmp_path / "root"
    root.mkdir()
    (root / "class").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "back").symlink_to(root)
    assert list(source_of(root).index()["id"]) == ["class/a.png"]


def test_the_stamp_follows_the_listing_however_deep(tmp_path):
    root, far = tmp_path / "root", tmp_path / "far"
    picture_of = {"flat": root, "class": root / "c", "deep": root / "nest/a/b", "link": far / "x/y"}
    for folder in picture_of.values():
        save(folder / "a.png", picture(4, 4))
    (root / "linked").symlink_to(far)
    (far / "x/back").symlink_to(root)  # a circle
    for where, folder in picture_of.items():
        before, listed = folder_stamp(root), set(source_of(root).ids)
        assert folder_stamp(root) == before
        save(folder / "b.png", picture(4, 4))
        assert len(set(source_of(root).ids) - listed) == 1, where
        assert folder_stamp(root) != before, where
        added = folder_stamp(root)
        (folder / "b.png").unlink()
        assert folder_stamp(root) not in (before, added), where
    before = folder_stamp(root)
    (far / "x/y").rename(far / "x/z")
    assert folder_stamp(root) != before


def test_the_stamp_sees_folders_that_are_listed_and_no_others(tmp_path):
    save(tmp_path / "c" / "a.png", picture(4, 4))
    save(tmp_path / ".hidden" / "a.png", picture(4, 4))
    before = folder_stamp(tmp_path)
    save(tmp_path / ".hidden" / "b.png", picture(4, 4))
    assert folder_stamp(tmp_path) == before
    assert folder_stamp(tmp_path / "gone") is None
    assert folder_stamp(tmp_path / "c" / "a.png") is None


def test_the_stamp_looks_at_folders_not_at_files(tmp_path, monkeypatch):
    for number in range(30):
        save(tmp_path / f"c{number % 3}" / f"{number}.png", picture(4, 4))
    looked, stat = [], os.stat

    def noted(path, **how):
        looked.append(str(path))
        return stat(path, **how)

    monkeypatch.setattr(os, "stat", noted)
    assert folder_stamp(tmp_path)
    assert {Path(path).suffix for path in looked} == {""}
    assert len(looked) < 10


def test_limit_does_not_depend_on_the_listing_and_is_nested(tmp_path, monkeypatch):
    for number in range(40):
        save(tmp_path / f"{number % 3}" / f"{number:02d}.png", picture(4, 4))
    chosen = list(source_of(tmp_path, limit=10).index()["id"])
    assert len(chosen) == 10
    assert chosen == sorted(chosen)
    everything = source_of(tmp_path).index()
    assert chosen != list(everything["id"][:10])
    assert set(chosen) < set(source_of(tmp_path, limit=20).index()["id"])
    assert chosen != list(source_of(tmp_path, limit=10, seed=1).index()["id"])
    assert list(source_of(tmp_path, limit=99).index()["id"]) == list(everything["id"])
    module = importlib.import_module("seesaw.data.folder")
    listed = list(module._list_images(tmp_path))
    monkeypatch.setattr(module, "_list_images", lambda root: sorted(listed, reverse=True))
    assert list(source_of(tmp_path, limit=10).index()["id"]) == chosen
    labels = dict(zip(everything["id"], everything["label"], strict=True))
    limited = source_of(tmp_path, limit=10).index()
    assert list(limited["label"]) == [labels[i] for i in chosen]


def test_a_source_survives_pickling(photo_folder):
    source = source_of(photo_folder)
    copy = pickle.loads(pickle.dumps(source))
    pd.testing.assert_frame_equal(copy.index(), source.index())
    np.testing.assert_array_equal(copy.render([3, 1])["images"], source.render([3, 1])["images"])


@pytest.mark.parametrize(
    "config, words",
    [
        ({}, "needs 'path'.*got None"),
        ({"path": ""}, "needs 'path'"),
        ({"path": "x", "limits": 3}, "unknown key of split 'val'.*'limits'.*Did you mean 'limit'"),
        ({"path": "x", "limit": 0}, "'limit' of split 'val'.*1 or more; got 0"),
        ({"path": "x", "limit": True}, "got True"),
        ({"path": "x", "limit": "10"}, "got '10'"),
    ],
)
def test_wrong_config_is_an_error_in_words(config, words):
    with pytest.raises(ValueError, match=words):
        ImageFolder(config, split="val", resolution=16, crop="adm", seed=0)


def test_unknown_names_are_errors_in_words(tmp_path):
    with pytest.raises(ValueError, match="unknown crop 'center'.*Valid: adm, resize-center-crop"):
        pack(tmp_path / "out", tmp_path, crop="center")
    with pytest.raises(ValueError, match="unknown image source 'foldr'.*Did you mean 'folder'"):
        load_source({"source": "foldr"}, split="val", resolution=8, crop="adm", seed=0)
    with pytest.raises(ValueError, match="names no image source.*folder, imagenet, mini"):
        load_source({"path": "x"}, split="val", resolution=8, crop="adm", seed=0)


def test_missing_and_empty_folders_are_errors_in_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        pack(tmp_path / "out", "images/val")
    assert "'images/val'" in str(error.value)
    assert str(tmp_path / "images" / "val") in str(error.value)
    assert "does not exist. Set 'path' to a folder of images" in str(error.value)
    assert not (tmp_path / "out").exists()
    Path("file").write_text("")
    with pytest.raises(FileNotFoundError, match="is a file, not a folder"):
        source_of("file").index()
    (tmp_path / "empty" / "class").mkdir(parents=True)
    (tmp_path / "empty" / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=r"'empty' \(/.*/empty\).* holds no image.*\.jpg \.jpeg"):
        source_of("empty").index()


# ------------------------------------------------------------------------------------- packing


def test_real_photographs_are_packed(tmp_path, photo_folder):
    shards = pack(tmp_path, photo_folder, resolution=96, crop="resize-center-crop", shard_size=25)
    index = pd.read_parquet(tmp_path / "index.parquet")
    assert shards.n == 60
    assert [entry["n"] for entry in shards.shards] == [25, 25, 10]
    assert list(index.columns) == ["id", "label", "path", "caption"]
    assert list(index["id"]) == shards.ids
    assert set(index["label"]) == set(range(13))
    images, sizes = shards.load("images"), shards.load("original_size")
    for row in (0, 17, 59):
        with Image.open(index["path"][row]) as image:
            assert tuple(sizes[row]) == image.size
        cropped = resize_center_crop(read_rgb(index["path"][row]), 96)
        np.testing.assert_array_equal(images[row], cropped.transpose(2, 0, 1))
    modes = {Image.open(path).mode for path in index["path"]}
    assert modes == {"RGB", "RGBA", "L"}
    assert shards.meta == {
        "split": "val",
        "source": {"source": "folder", "path": str(photo_folder)},
        "resolution": 96,
        "crop": "resize-center-crop",
        "seed": 0,
        "n": 60,
        "problems": 0,
        "upscaled": int((sizes.min(1) < 96).sum()),
    }
    assert 0 < shards.meta["upscaled"] < 60


def test_same_bytes_whatever_the_number_of_workers(tmp_path, photo_folder):
    pack(tmp_path / "one", photo_folder, workers=1)
    pack(tmp_path / "two", photo_folder, workers=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_shard_size_changes_no_image(tmp_path, photo_folder):
    small = pack(tmp_path / "small", photo_folder, shard_size=7)
    large = pack(tmp_path / "large", photo_folder, shard_size=1000)
    assert (len(small.shards), len(large.shards)) == (9, 1)
    assert small.ids == large.ids
    np.testing.assert_array_equal(small.load("images"), large.load("images"))
    # fewer, larger shards in the same folder leave nothing of the earlier ones
    again = pack(tmp_path / "small", photo_folder, shard_size=1000)
    np.testing.assert_array_equal(again.load("images"), large.load("images"))
    assert files_of(tmp_path / "small") == files_of(tmp_path / "large")


def test_skip_problems_is_true_or_false(tmp_path, photo_folder):
    with pytest.raises(ValueError, match="skip_problems is true or false, got 'no'"):
        pack(tmp_path, photo_folder, skip_problems="no")


@pytest.mark.parametrize("name", ["resolution", "shard_size", "workers"])
def test_settings_are_positive_whole_numbers(tmp_path, photo_folder, name):
    with pytest.raises(ValueError, match=f"{name} is a whole number of at least 1, got 0"):
        pack(tmp_path, photo_folder, **{name: 0})


@pytest.fixture
def bad_folder(tmp_path):
    """Six good files and one of each kind of bad one."""
    folder = tmp_path / "mixed"
    for number in range(6):
        save(folder / "good" / f"{number}.png", picture(name=f"good {number}"))
    whole = save(folder / "good" / "whole.jpg", picture(200, 200)).read_bytes()
    (folder / "good" / "whole.jpg").unlink()
    (folder / "bad").mkdir()
    (folder / "bad" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    png = (folder / "good" / "0.png").read_bytes()
    (folder / "bad" / "cut.png").write_bytes(png[: len(png) // 2])
    (folder / "bad" / "empty.webp").write_bytes(b"")
    (folder / "bad" / "page.jpeg").write_text("<!DOCTYPE html><html>404</html>")
    (folder / "bad" / "text.bmp").write_text("these are words")
    (folder / "bad" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "bad" / "thin.png").write_bytes(b"")
    save(folder / "bad" / "thin.png", Image.new("RGB", (60000, 1)))
    return folder


REASONS = {
    "bad/cut.jpg": "truncated",
    "bad/cut.png": "truncated",
    "bad/empty.webp": "the file is empty",
    "bad/gone.png": "cannot be opened: No such file",
    "bad/page.jpeg": "an HTML page, not an image",
    "bad/text.bmp": "not an image in any format Pillow knows",
    "bad/thin.png": "too long and thin",
}


def check_problems_csv(path):
    table = pd.read_csv(path)
    assert list(table.columns) == ["id", "path", "reason"]
    assert list(table["id"]) == sorted(REASONS)
    for image_id, reason in zip(table["id"], table["reason"], strict=True):
        assert REASONS[image_id] in reason


@pytest.mark.parametrize("workers", [1, 2])
def test_all_problem_files_are_listed_by_name(tmp_path, bad_folder, workers):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="7 of 13 image files cannot be packed") as error:
        pack(out, bad_folder, shard_size=4, workers=workers, resolution=128)
    for image_id, reason in REASONS.items():
        assert re.search(f"  {re.escape(image_id)}: .*{reason}", str(error.value))
    assert "skip_problems: true" in str(error.value)
    check_problems_csv(out / "problems.csv")
    assert not (out / "manifest.json").exists()
    assert not (out / "index.parquet").exists()


def test_problem_files_are_left_out_on_request(tmp_path, bad_folder):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="cannot be packed"):
        pack(out, bad_folder, shard_size=4, resolution=128)
    kept = (out / "shard-00003.safetensors").stat().st_ino
    shards = pack(out, bad_folder, shard_size=4, resolution=128, skip_problems=True)
    good = [f"good/{number}.png" for number in range(6)]
    assert shards.ids == good == list(pd.read_parquet(out / "index.parquet")["id"])
    assert (shards.meta["n"], shards.meta["problems"], shards.meta["upscaled"]) == (6, 7, 6)
    assert (out / "shard-00003.safetensors").stat().st_ino == kept  # asking to skip remakes nothing
    check_problems_csv(out / "problems.csv")
    first = files_of(out)
    pack(out, bad_folder, shard_size=4, resolution=128, skip_problems=True)
    assert files_of(out) == first  # a shard with gaps is not taken for whole
    expected = [resize_center_crop(read_rgb(bad_folder / i), 128) for i in good]
    plain = pack(
        tmp_path / "b", bad_folder, resolution=128, crop="resize-center-crop", skip_problems=True
    )
    np.testing.assert_array_equal(plain.load("images"), np.stack(expected).transpose(0, 3, 1, 2))
    # once they are repaired they are packed, and the list of problems goes
    shutil.rmtree(bad_folder / "bad")
    save(bad_folder / "bad" / "cut.jpg", picture())
    shards = pack(out, bad_folder, shard_size=4, resolution=128, skip_problems=True)
    assert shards.ids == ["bad/cut.jpg", *good]
    assert not (out / "problems.csv").exists()


def test_long_lists_of_problems_are_shortened_in_the_message(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(25):
        (tmp_path / "in" / f"{number:02d}.png").write_text("no")
    with pytest.raises(ValueError, match="25 of 25") as error:
        pack(tmp_path / "out", tmp_path / "in")
    assert "19.png" in str(error.value)
    assert "20.png" not in str(error.value)
    assert "and 5 more" in str(error.value)
    assert len(pd.read_csv(tmp_path / "out" / "problems.csv")) == 25
    with pytest.raises(ValueError, match="none of the 25 images"):
        pack(tmp_path / "out", tmp_path / "in", skip_problems=True)


def test_errors_of_the_system_are_not_blamed_on_a_file(tmp_path, monkeypatch):
    save(tmp_path / "a.png", picture())

    def fail(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(OSError, match="Too many open files"):
        source_of(tmp_path, skip_problems=True).render([0])


def test_problem_files_survive_pickling():
    error = pickle.loads(pickle.dumps(ProblemFiles({"a.png": "cut"})))
    assert error.reasons == {"a.png": "cut"}
    assert str(error) == "a.png: cut"


# ---------------------------------------------------------------------------------- starting again


def inodes(folder):
    """Shard file -> inode: a shard that is written again gets another one."""
    return {path.name: path.stat().st_ino for path in folder.glob("shard-*.safetensors")}


def alive(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


PACK_PHOTOS = """
import sys
from pathlib import Path
from seesaw.data.pack import pack_images
if __name__ == "__main__":
    out = Path(sys.argv[2])
    pack_images(source={"source": "folder", "path": sys.argv[1]}, split="val", resolution=192,
                crop="adm", shard_size=3, seed=0, workers=int(sys.argv[3]),
                manifest=out / "manifest.json", index=out / "index.parquet")
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_packing_goes_on_where_it_was(tmp_path, photo_folder, workers):
    script = tmp_path / "script.py"
    script.write_text(PACK_PHOTOS)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, str(script), str(photo_folder), str(killed), str(workers)]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 60
    while len(list(killed.glob("shard-*.json"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= (workers > 1) * workers
    process.send_signal(signal.SIGKILL)
    process.wait()
    while any(map(alive, children)):  # its worker processes leave with it
        assert time.monotonic() < deadline, "worker processes stayed behind"
        time.sleep(0.01)
    assert not (killed / "manifest.json").exists()
    before = {
        name: inode
        for name, inode in inodes(killed).items()
        if (killed / name).with_suffix(".json").exists()
    }
    assert 2 <= len(before) < 20
    (killed / ".shard-00019.1.part.safetensors").write_bytes(b"half")

    pack(killed, photo_folder, shard_size=3, resolution=192, workers=workers)
    pack(whole, photo_folder, shard_size=3, resolution=192)
    assert files_of(killed) == files_of(whole)
    assert {name: inodes(killed)[name] for name in before} == before


def test_only_what_changed_is_made_again(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(12):
        save(folder / f"{number:02d}.png", picture(name=f"image {number}"))
    pack(out, folder, shard_size=4)
    first = inodes(out)
    pack(out, folder, shard_size=4)
    assert inodes(out) == first
    save(folder / "05.png", picture(name="another"))
    shards = pack(out, folder, shard_size=4)
    assert [inodes(out)[name] == first[name] for name in sorted(first)] == [True, False, True]
    expected = adm(picture(name="another"), 32).transpose(2, 0, 1)
    np.testing.assert_array_equal(shards.load("images")[5], expected)


@pytest.mark.parametrize("damage", ["cut", "flip", "record"])
def test_damaged_shards_are_made_again(tmp_path, photo_folder, damage):
    pack(tmp_path, photo_folder)
    whole = files_of(tmp_path)
    path = tmp_path / "shard-00002.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "flip":
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    else:
        path.with_suffix(".json").write_text('{"fingerprint": ')
    assert files_of(tmp_path) != whole
    pack(tmp_path, photo_folder)
    assert files_of(tmp_path) == whole


def test_other_settings_or_versions_make_everything_again(tmp_path, photo_folder, monkeypatch):
    pack(tmp_path, photo_folder)
    first = inodes(tmp_path)

    def remade(**settings):
        nonlocal first
        pack(tmp_path, photo_folder, **settings)
        last, first = first, inodes(tmp_path)
        return sum(first[name] != last[name] for name in last)

    assert remade() == 0
    assert remade(seed=1) == 0  # files look the same whatever the seed
    assert remade(crop="resize-center-crop") == 8
    assert remade(crop="resize-center-crop", resolution=16) == 8
    stages = {**packing.STAGES, "data": "next"}
    monkeypatch.setattr(packing, "STAGES", stages)
    assert remade(crop="resize-center-crop", resolution=16) == 8
    assert remade(crop="resize-center-crop", resolution=16) == 0


def test_the_mini_world_is_packed_with_its_truth(tmp_path):
    def make(out, workers, shard_size, seed=0):
        pack_images(
            source={"source": "mini", "count": 20},
            split="val",
            resolution=32,
            crop="resize-center-crop",
            shard_size=shard_size,
            seed=seed,
            workers=workers,
            manifest=out / "manifest.json",
            index=out / "index.parquet",
        )
        return Shards(out / "manifest.json")

    one, two = make(tmp_path / "one", 1, 20), make(tmp_path / "two", 2, 6)
    assert one.ids == two.ids
    assert {"images", "depth", "labels"} <= set(one.fields)
    for name in one.fields:
        np.testing.assert_array_equal(one.load(name), two.load(name))
    assert pd.read_parquet(tmp_path / "one" / "index.parquet")["caption"].str.len().min() > 0
    first = one.load("images")
    again = make(tmp_path / "one", 1, 20, seed=1).load("images")
    assert (first != again).any(axis=(1, 2, 3)).all()
