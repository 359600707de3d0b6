"""The mini world's images: determinism, truth that fits the pixels, and the caption."""

import numpy as np
import pytest

from seesaw.mini import drawing, scenes
from seesaw.mini.scenes import CLASSES, FIELDS, LABELS, PALETTE, VOCABULARY, MiniScenes

N = 300


def make(split="train", count=N, resolution=32, seed=0):
    config = {"source": "mini", "count": count}
    return MiniScenes(config, split=split, resolution=resolution, crop="adm", seed=seed)


@pytest.fixture(scope="module")
def source():
    return make()


@pytest.fixture(scope="module")
def truth(source):
    return source.render(range(N))


def test_fields_and_types(truth):
    expected = {
        "images": ("uint8", (N, 3, 32, 32)),
        "depth": ("uint8", (N, 32, 32)),
        "labels": ("uint8", (N, 32, 32)),
        "face_box": ("float32", (N, 4)),
        "face_found": ("uint8", (N,)),
        "identity": ("int16", (N,)),
        "attributes": ("uint8", (N, len(FIELDS))),
    }
    assert {key: (str(a.dtype), a.shape) for key, a in truth.items()} == expected


def test_index_agrees_with_the_rendered_truth(source, truth):
    index = source.index()
    assert list(index.columns) == ["id", "label", "path", "caption"]
    assert index["id"].is_monotonic_increasing
    assert index["id"].is_unique
    assert index["id"][0] == "train-0000000"
    assert list(index["caption"]) == [scenes.caption(row) for row in truth["attributes"]]
    words = [VOCABULARY[number] for number in truth["attributes"][:, list(FIELDS).index("class")]]
    assert [CLASSES[label] for label in index["label"]] == words
    for label, labels in zip(index["label"], truth["labels"]):
        assert (labels == label + 1).any(), "the nearest object is never wholly hidden"


@pytest.mark.parametrize("rows", [[7], [299, 7, 7, 0], range(100, 164)])
def test_an_image_does_not_depend_on_its_batch(source, truth, rows):
    part = source.render(rows)
    for key, array in part.items():
        np.testing.assert_array_equal(array, truth[key][list(rows)], err_msg=key)


def test_an_image_does_not_depend_on_count_or_chunk(truth, monkeypatch):
    monkeypatch.setattr(scenes, "_CHUNK_PIXELS", 3 * 32 * 32)
    part = make(count=10).render(range(10))
    for key, array in part.items():
        np.testing.assert_array_equal(array, truth[key][:10], err_msg=key)


@pytest.mark.parametrize("other", [{"split": "val"}, {"seed": 1}])
def test_another_split_or_seed_is_another_draw(truth, other):
    images = make(**other).render(range(20))["images"]
    same = (images == truth["images"][:20]).all((1, 2, 3))
    assert not same.any()


def test_every_class_background_and_word_occurs():
    attributes = make(count=2000).render(range(2000))["attributes"]
    assert set(np.unique(attributes)) == set(range(len(VOCABULARY)))
    start = 0
    for column, words in zip(attributes.T, FIELDS.values(), strict=True):
        assert column.min() >= start
        assert column.max() < start + len(words)
        start += len(words)
    labels = attributes[:, list(FIELDS).index("class")]
    assert np.unique(labels, return_counts=True)[1].min() > 140, "classes are about equally common"


def test_faces_lie_in_their_boxes(truth):
    found = truth["face_found"].astype(bool)
    assert 0.25 < found.mean() < 0.45
    np.testing.assert_array_equal(found, truth["identity"] >= 0)
    np.testing.assert_array_equal(found, (truth["labels"] == LABELS.index("face")).any((1, 2)))
    assert (truth["face_box"][~found] == 0).all()
    for labels, (x0, y0, x1, y1) in zip(truth["labels"][found], truth["face_box"][found]):
        y, x = np.nonzero(labels == LABELS.index("face"))
        assert x0 - 1.5 <= x.min()
        assert x.max() + 1 <= x1 + 1.5
        assert y0 - 1.5 <= y.min()
        assert y.max() + 1 <= y1 + 1.5
        assert len(x) > 0.4 * (x1 - x0) * (y1 - y0)
        assert 0 <= x0 < x1 <= 32
        assert 0 <= y0 < y1 <= 32


def test_the_same_persons_live_in_both_splits():
    shares = [
        np.bincount(
            make(split=split, resolution=16, count=1600).render(range(1600))["identity"] + 1
        )
        for split in ("train", "val")
    ]
    for counts in shares:
        assert len(counts) == scenes.PERSONS + 1
        assert counts.min() > 3


def test_persons_differ_from_one_another():
    persons = scenes.draw_persons()
    rows = np.column_stack([values.reshape(scenes.PERSONS, -1) for values in persons.values()])
    assert len(np.unique(rows, axis=0)) == scenes.PERSONS


def test_nearness_orders_faces_objects_and_ground(truth):
    depth, labels = truth["depth"].astype(float), truth["labels"]
    ground, face = labels == 0, labels == LABELS.index("face")
    assert depth[ground].max() < depth[~ground].min()
    assert depth[face].min() > depth[~face].max() - 30
    assert depth[face].mean() > depth[~face & ~ground].mean() + 50
    spread = [d[g].max() - d[g].min() for d, g in zip(depth, ground)]
    assert min(spread) > 8, "the ground is a slope, never constant"


def test_nearer_objects_hide_farther_ones():
    n = 400
    uniforms = np.random.default_rng(0).random((n, 96))
    p = scenes.scene_parameters(uniforms)
    for near, far in ((0, 1), (1, 2)):
        assert (p["near"][:, near] > p["near"][:, far] - 0.05).all()
        assert (p["radius"][:, near] >= p["radius"][:, far]).all()


def test_the_scene_is_the_same_at_another_resolution():
    small, large = make(count=40), make(count=40, resolution=64)
    a, b = small.render(range(40)), large.render(range(40))
    np.testing.assert_array_equal(a["attributes"], b["attributes"])
    np.testing.assert_allclose(2 * a["face_box"], b["face_box"], rtol=1e-6)
    shrunk = b["images"].reshape(40, 3, 32, 2, 32, 2).mean((3, 5))
    difference = np.abs(shrunk - a["images"]).mean()
    others = np.abs(shrunk - np.roll(a["images"], 1, 0)).mean()
    assert difference < 6
    assert others > 30


def test_images_use_the_range_and_are_textured(truth):
    images = truth["images"].astype(float)
    assert images.mean() > 60
    assert images.mean() < 190
    assert images.std((1, 2, 3)).min() > 8
    fine = np.abs(np.diff(images, axis=3)).mean((1, 2, 3))
    assert fine.min() > 2, "even a plain ground has fine texture"


@pytest.mark.parametrize("name", list(drawing.SHAPES))
def test_shapes_fit_their_radius_and_have_a_sane_distance(name):
    axis = np.linspace(-2, 2, 401)
    x, y = np.meshgrid(axis, axis)
    distance = drawing.SHAPES[name](x, y)
    inside = distance < 0
    area = inside.sum() * 0.01**2
    assert 0.7 < area < 3.2
    assert np.hypot(x, y)[inside].max() < 1.36
    slope = np.hypot(*np.gradient(distance, 0.01))
    edge = np.abs(distance) < 0.05
    assert 0.6 < np.median(slope[edge]) < 1.1, "anti-aliasing needs a distance in true units"


def test_palette_and_names_belong_together():
    assert PALETTE.shape == (12, 3)
    assert len(LABELS) == 12
    assert len(np.unique(PALETTE, axis=0)) == 12
    assert len(set(VOCABULARY)) == len(VOCABULARY) <= 256


def test_caption_reads_as_a_sentence():
    words = ("two", "orange", "star", "upper-left", "checks", "sand", "with-ring", "with-face")
    numbers = [VOCABULARY.index(word) for word in words]
    assert scenes.caption(numbers) == (
        "two objects, an orange star with ring, upper left, on sand checks, with face"
    )


@pytest.mark.parametrize(
    "config, resolution, words",
    [
        ({"source": "mini"}, 32, "needs 'count'"),
        ({"source": "mini", "count": 0}, 32, "at least 1, got 0"),
        ({"source": "mini", "count": 5, "path": "x"}, 32, "takes 'count' only, got 'path'"),
        ({"source": "mini", "count": 5}, 8, "at least 16 pixels, got 8"),
    ],
)
def test_bad_configs_are_named(config, resolution, words):
    with pytest.raises(ValueError, match=words):
        MiniScenes(config, split="train", resolution=resolution, crop="adm", seed=0)
