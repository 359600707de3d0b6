"""Extraction: fields, order and shards follow the images; batches change nothing.

Statistics of features are kept beside them, and are those of the vectors.
"""

import cv2
import numpy as np
import pytest

from seesaw import conditions
from seesaw.conditions import extract_conditions
from seesaw.metrics import Options
from seesaw.metrics.frechet import rfid, statistics, statistics_of, to_arrays
from seesaw.shards import Shards, ShardWriter


@pytest.fixture
def images(tmp_path):
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (25, 3, 4, 4), np.uint8)
    pixels = coarse.repeat(8, axis=2).repeat(8, axis=3)
    with ShardWriter(tmp_path / "val/manifest.json", shard_size=10, meta={}) as out:
        out.add([f"i{n:02d}" for n in range(25)], {"images": pixels})
    return tmp_path / "val/manifest.json"


def extract(images, tmp_path, batch_size, network="canny"):
    output = tmp_path / f"{network}-{batch_size}" / "manifest.json"
    extract_conditions(
        network=network,
        weights=None,
        images=images,
        output=output,
        batch_size=batch_size,
        device="cpu",
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


def test_maps_have_no_statistics(images, tmp_path):
    assert "statistics" not in extract(images, tmp_path, 4).meta
