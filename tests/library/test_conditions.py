"""Extraction: fields, order and shards follow the images; batches change nothing.

Statistics of features are kept beside them, and are those of the vectors.
"""

from functools import partial

import cv2
import numpy as np
import pytest

from seesaw import conditions
from seesaw.conditions import extract_conditions
from seesaw.files import read_json, write_json
from seesaw.metrics import Options
from seesaw.metrics.frechet import rfid, statistics, statistics_of, to_arrays
from seesaw.shards import Shards, ShardWriter, write_manifest, write_shard


@pytest.fixture
def images(tmp_path):
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (25, 3, 4, 4), np.uint8)
    pixels = coarse.repeat(8, axis=2).repeat(8, axis=3)
    with ShardWriter(tmp_path / "val/manifest.json", shard_size=10, meta={}) as out:
        out.add([f"i{n:02d}" for n in range(25)], {"images": pixels})
    return tmp_path / "val/manifest.json"


def extract(images, tmp_path, batch_size, network="canny", name=None, **options):
    output = tmp_path / (name or f"{network}-{batch_size}") / "manifest.json"
    extract_conditions(
        **{"network": network, "weights": None, "device": "cpu", **options},
        images=images,
        output=output,
        batch_size=batch_size,
    )
    return Shards(output)


def test_canny_of_every_image(images, tmp_path):
    found, source = extract(images, tmp_path, 4), Shards(images)
    assert found.ids == source.ids
    assert [shard["n"] for shard in found.shards] == [shard["n"] for shard in source.shards]
    for image, edges in zip(source.load("images"), found.load("map"), strict=True):
        rgb = np.ascontiguousarray(image.transpose(1, 2, 0))
        np.testing.assert_array_equal(edges, cv2.Canny(rgb, 100, 200))


def test_batches_change_nothing(images, tmp_path):
    a, b = extract(images, tmp_path, 3), extract(images, tmp_path, 25)
    assert a.path.read_bytes() == b.path.read_bytes()


def test_unknown_network(images, tmp_path):
    with pytest.raises(ValueError, match="unknown network 'cany'. Did you mean 'canny'"):
        extract(images, tmp_path, 4, network="cany")


def test_a_network_without_its_weights(images, tmp_path):
    with pytest.raises(ValueError, match="'mini-depth' needs a weights file"):
        extract(images, tmp_path, 4, network="mini-depth")


# ------------------------------------------------------------------------------------- statistics


class Means:
    """Features: means of stripes of an image; NaN for a plain image if it is told so."""

    meta = {}

    def __init__(self, width=12, bad=None):
        self.width, self.bad = width, bad

    def extract(self, images):
        rows = images.reshape(len(images), self.width, -1).mean(axis=2, dtype=np.float32)
        if self.bad is not None:
            rows[(images == self.bad).all(axis=(1, 2, 3))] = np.nan
        return {"features": rows}


def extract_means(images, tmp_path, monkeypatch, batch_size=4, **options):
    monkeypatch.setattr(conditions, "load_network", lambda *_: Means(**options))
    return extract(images, tmp_path, batch_size, network="means")


@pytest.mark.parametrize("batch_size", [1, 4, 25])
def test_statistics_are_kept_bit_for_bit(images, tmp_path, monkeypatch, batch_size):
    found = extract_means(images, tmp_path, monkeypatch, batch_size)
    kept, expected = statistics_of(found), statistics(found.load("features"))
    assert found.attached("statistics") is not None
    assert (kept.n, kept.rows) == (25, None)
    np.testing.assert_array_equal(kept.mean, expected.mean)
    np.testing.assert_array_equal(kept.covariance, expected.covariance)
    del found.meta["statistics"]
    streamed = statistics_of(found)
    np.testing.assert_array_equal(kept.mean, streamed.mean)
    np.testing.assert_array_equal(kept.covariance, streamed.covariance)


def test_kept_statistics_are_what_is_read(images, tmp_path, monkeypatch):
    found = extract_means(images, tmp_path, monkeypatch)
    value = rfid(found, found, Options()).readings[0].value
    monkeypatch.setattr(Shards, "batches", None)
    assert rfid(found, found, Options()).readings[0].value == value


def test_too_few_images_keep_their_vectors(images, tmp_path, monkeypatch):
    found = extract_means(images, tmp_path, monkeypatch, width=48)
    assert "statistics" not in found.meta
    assert not list(found.path.parent.glob("attached-*"))
    assert statistics_of(found).rows.shape == (25, 48)
    with pytest.raises(ValueError, match="25 vectors of length 48 are too few to be kept"):
        to_arrays(statistics_of(found))


def test_features_made_anew_have_statistics_of_their_own(images, tmp_path, monkeypatch):
    first = extract_means(images, tmp_path, monkeypatch, width=6)
    before = statistics_of(first).mean
    again = extract_means(images, tmp_path, monkeypatch, width=12)
    assert again.path == first.path
    assert (len(before), len(statistics_of(again).mean)) == (6, 12)
    assert statistics_of(extract_means(images, tmp_path, monkeypatch, width=48)).rows is not None
    assert not list(again.path.parent.glob("attached-*"))


def test_statistics_of_other_images_are_refused(images, tmp_path, monkeypatch):
    found = extract_means(images, tmp_path, monkeypatch)
    found.n = 24
    with pytest.raises(ValueError, match="statistics are those of 25 vectors of length 12"):
        statistics_of(found)


def test_a_network_that_makes_nan_names_the_image(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 32, 32), np.uint8)
    pixels[7] = 3
    path = tmp_path / "val/manifest.json"
    with ShardWriter(path, shard_size=10, meta={}) as out:
        out.add([f"i{n:02d}" for n in range(9)], {"images": pixels})
    with pytest.raises(ValueError, match="means: feature vector of image 'i07' is NaN"):
        extract_means(path, tmp_path, monkeypatch, bad=3)
    assert not (tmp_path / "means-4/manifest.json").exists()


# -------------------------------------------------------------------------------- cut and resumed


class Cut(Means):
    """Features and a map, of so many batches; then it stops. The last number is the batch's size.

    So what it computes depends on how images are cut into batches, as on a GPU the last bits do.
    """

    def __init__(self, width=12, batches=10**6):
        super().__init__(width)
        self.left, self.sizes = batches, []

    def extract(self, images):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.sizes.append(len(images))
        found = super().extract(images)
        found["features"][:, -1] = len(images)
        return {**found, "map": images[:, 0, :4, :4]}


def run(images, folder, monkeypatch, network, **options):
    monkeypatch.setattr(conditions, "load_network", lambda *_: network)
    return extract(images, folder.parent, 4, "means", folder.name, **{"version": "1", **options})


def cut_and_resume(images, tmp_path, monkeypatch, cut, width=12, between=None, **again):
    """A run, and one that is cut after ``cut`` batches and goes on: its network, both folders."""
    whole, other, last = tmp_path / "whole", tmp_path / "other", Cut(width)
    run(images, whole, monkeypatch, Cut(width))
    with pytest.raises(KeyboardInterrupt):
        run(images, other, monkeypatch, Cut(width, cut))
    assert not (other / "manifest.json").exists()
    if between:
        between()
    run(images, other, monkeypatch, last, **again)
    return last, whole, other


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("width", "attached"), [(12, 1), (48, 0)])
@pytest.mark.parametrize(("cut", "todo"), [(0, 8), (2, 8), (3, 5), (5, 5), (7, 2)])
def test_a_run_that_was_cut_off_goes_on(images, tmp_path, monkeypatch, cut, todo, width, attached):
    """25 images in shards of 10, batches of 4: 4, 4, 2, 4, 4, 2, 4, 1."""
    found, whole, other = cut_and_resume(images, tmp_path, monkeypatch, cut, width)
    assert found.sizes == [4, 4, 2, 4, 4, 2, 4, 1][8 - todo :]
    assert contents(other) == contents(whole)
    assert len(list(other.glob("attached-*"))) == attached
    read, vectors = statistics_of(Shards(other / "manifest.json")), Shards(whole / "manifest.json")
    expected = statistics(vectors.load("features"))
    np.testing.assert_array_equal(read.mean, expected.mean)
    np.testing.assert_array_equal(read.covariance, expected.covariance)


@pytest.mark.parametrize("cut", range(6))
def test_where_shards_end_inside_those_of_the_images(images, tmp_path, monkeypatch, cut):
    """Images in shards of 3, 10 and 12: batches of 3; 4, 4, 2; 4, 4, 4. Written in shards of 12."""
    source, pixels = Shards(images), Shards(images).load("images")
    entries, at = [], 0
    for index, size in enumerate((3, 10, 12)):
        rows = slice(at, at + size)
        entries.append(write_shard(tmp_path, index, source.ids[rows], {"images": pixels[rows]}))
        at += size
    write_manifest(tmp_path / "manifest.json", entries, source.fields, {})
    found, *folders = cut_and_resume(tmp_path / "manifest.json", tmp_path, monkeypatch, cut)
    assert len(found.sizes) == (7 if cut < 4 else 4)  # the 12th image is in the fourth batch
    assert contents(folders[0]) == contents(folders[1])


def other_pixels(images):
    """Another digest of the last shard in the manifest."""
    content = read_json(images)
    content["shards"][2]["sha256"] = "other"
    write_json(images, content)


@pytest.mark.parametrize("change", ["version", "weights", "images", "no version"])
def test_what_another_run_left_is_not_gone_on_with(images, tmp_path, monkeypatch, change):
    (tmp_path / "weights").write_text("other")
    again = {
        "version": {"version": "2"},
        "weights": {"weights": tmp_path / "weights"},
        "images": {"between": partial(other_pixels, images)},
        "no version": {"version": None},
    }
    found, *_ = cut_and_resume(images, tmp_path, monkeypatch, 7, **again[change])
    assert len(found.sizes) == 8


def test_batches_that_were_halved_before_the_cut_are_recorded(images, tmp_path, monkeypatch):
    class Narrow(Cut):
        def extract(self, images):
            if len(images) > 3:
                raise MemoryError
            return super().extract(images)

    with pytest.raises(KeyboardInterrupt):
        run(images, tmp_path / "cut", monkeypatch, Narrow(12, 5))
    found = run(images, tmp_path / "cut", monkeypatch, Cut())
    assert found.meta["fitted_batch_size"] == {"means": 2}


def test_maps_have_no_statistics(images, tmp_path):
    assert "statistics" not in extract(images, tmp_path, 4).meta
