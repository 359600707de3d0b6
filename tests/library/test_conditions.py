"""Extraction: fields, order and shards follow the images; batches change nothing."""

import cv2
import numpy as np
import pytest

from seesaw.conditions import extract_conditions
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
