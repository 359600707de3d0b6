"""PSNR, SSIM, MS-SSIM, LPIPS, drift, faces and similarity: closed forms, properties, oracles."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_shards import binary_maps, faces, pair_of, readings_of, shards_of

from seesaw.metrics import Options, shuffled_partners
from seesaw.metrics.drift import drift, map_distance, palette_distance
from seesaw.metrics.faces import face_recall, identity
from seesaw.metrics.fidelity import (
    SCALES,
    decibel,
    mean_squared_error,
    ms_ssim,
    multi_scale_similarity,
    psnr,
    ssim,
    stack_similarity,
    structural_similarity,
)
from seesaw.metrics.pairs import equal_batches, paired_batches
from seesaw.metrics.perceptual import lpips
from seesaw.metrics.score import check_finite
from seesaw.metrics.similarity import similarity

REFERENCE = Path(__file__).parents[1] / "reference"
sys.path.append(str(REFERENCE))
recipe = importlib.import_module("recipe")
OFFICIAL = json.loads((REFERENCE / "psnr_ssim.json").read_text())["cases"]
MS_SSIM = json.loads((REFERENCE / "ms_ssim.json").read_text())
OPTIONS = Options()


def random_images(seed, n, size, noise=30):
    """Pictures with structure and noisy copies of them, uint8 (n, 3, size, size)."""
    rng = np.random.default_rng(seed)
    a = recipe.pictures(f"test_metrics/{seed}", n, size, size)
    b = np.clip(a + rng.normal(0, noise, a.shape), 0, 255).astype(np.uint8)
    return a, b


# ------------------------------------------------------------------------------------ PSNR and SSIM


def official_pictures(name):
    """The pictures behind ``psnr_ssim.json``, float32 in about [0, 1], and as uint8."""
    n, size = OFFICIAL[name]["count"], OFFICIAL[name]["size"]
    a, b = (recipe.pictures(f"psnr_ssim/{name}/{k}", n, size, size) / np.float32(255) for k in "ab")
    noise = recipe.generator(0, f"psnr_ssim/{name}/n").standard_normal((n, 3, size, size))
    mixed = np.float32(0.9) * a + np.float32(0.1) * b + np.float32(0.03) * noise.astype(np.float32)
    quantised = [np.clip(127.5 * (2 * x - 1) + 128, 0, 255).astype(np.uint8) for x in (a, mixed)]
    return (a, mixed), quantised


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_official_psnr_and_ssim(tmp_path, name):
    (a, mixed), quantised = official_pictures(name)
    padded = [np.pad(x, ((0, 0), (0, 0), (5, 5), (5, 5)), mode="reflect") for x in quantised]
    found = {
        "psnr": psnr(*pair_of(tmp_path, "images", *quantised), OPTIONS).per_image["value"],
        # torchmetrics' windows are the valid ones of the padded image
        "ssim_padded": ssim(*pair_of(tmp_path, "images", *padded), OPTIONS).per_image["value"],
        "ssim_float": [stack_similarity(255 * x, 255 * y) for x, y in zip(a, mixed)],
    }
    for key, values in found.items():
        atol = OFFICIAL[name]["atol"][key]
        np.testing.assert_allclose(values, OFFICIAL[name][key], rtol=0, atol=atol, err_msg=key)


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 11, 11), (1, 97, 43), (3, 42, 75)])
def test_ssim_is_scikit_images(shape):
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(shape[1])
    a = rng.integers(0, 256, shape, dtype=np.uint8)
    b = np.clip(a + rng.normal(0, 40, shape), 0, 255).astype(np.uint8)
    # scikit-image pads and then crops to the same valid windows
    _, full = metrics.structural_similarity(
        *(x.astype(np.float64) for x in (a, b)), channel_axis=0, data_range=255, full=True,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )  # fmt: skip
    expected = full[:, 5:-5, 5:-5].mean()
    assert structural_similarity(a, b) == pytest.approx(expected, abs=1e-12)
    assert structural_similarity(b, a) == pytest.approx(expected, abs=1e-12)


def test_ssim_of_constant_images_is_the_luminance_term():
    a, b = np.full((3, 20, 20), 100, np.uint8), np.full((3, 20, 20), 150, np.uint8)
    c1 = 2.55**2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert structural_similarity(a, b) == pytest.approx(expected, abs=1e-9)
    assert structural_similarity(a, a) == pytest.approx(1.0, abs=1e-12)


def test_psnr_closed_forms(tmp_path):
    a = np.full((3, 3, 8, 8), 100, np.uint8)
    b = a.copy()
    b[1] += 5
    b[2, 0] -= 10
    expected = [100.0, 20 * np.log10(255 / 5), 20 * np.log10(255 / np.sqrt(100 / 3))]
    measured = psnr(*pair_of(tmp_path, "images", a, b), OPTIONS)
    np.testing.assert_allclose(measured.per_image["value"], expected, rtol=1e-12)
    readings = readings_of(measured)
    assert readings[""].value == pytest.approx(np.mean(expected))
    assert readings[""].note == "1 images with (almost) no error count as 100 dB"
    mean_mse = (0 + 25 + 100 / 3) / 3 / 255**2
    assert readings["of-mean-mse"].value == pytest.approx(-10 * np.log10(mean_mse))


def test_decibels_are_capped_at_100():
    size = np.arange(1, 256)
    np.testing.assert_allclose(decibel((size / 255) ** 2), 20 * np.log10(255 / size), atol=1e-12)
    # nothing, one level in one value of a 256-px image, one level in three values of it
    step = 1 / (3 * 256**2 * 255**2)
    found = decibel(np.array([0, step, 3 * step]))
    np.testing.assert_allclose(found, [100, 100, -10 * np.log10(3 * step)])
    assert found[2] < 97


def test_differences_of_unsigned_bytes_do_not_wrap():
    a, b = np.zeros((1, 3, 300, 300), np.uint8), np.full((1, 3, 300, 300), 255, np.uint8)
    assert mean_squared_error(a, b)[0] == mean_squared_error(b, a)[0] == 1.0


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_batches_and_shards_change_no_bit(tmp_path, metric):
    a, b = random_images(0, 7, 16)
    plain = metric(*pair_of(tmp_path, "images", a, b), OPTIONS)
    cut = metric(
        shards_of(tmp_path, images=a, shard_size=3),
        shards_of(tmp_path, images=b, shard_size=2),
        Options(batch_size=4),
    )
    assert plain.readings == cut.readings
    np.testing.assert_array_equal(plain.per_image["value"], cut.per_image["value"])


def test_bad_images_are_errors_in_words(tmp_path):
    a, b = random_images(1, 2, 10)
    with pytest.raises(ValueError, match="at least 11 x 11 pixels"):
        ssim(*pair_of(tmp_path, "images", a, b), OPTIONS)
    with pytest.raises(ValueError, match="expected two uint8 arrays"):
        psnr(*pair_of(tmp_path, "images", a / 255, b / 255), OPTIONS)
    with pytest.raises(ValueError, match=r"\(3, 10, 10\) per image .* \(3, 9, 10\)"):
        psnr(*pair_of(tmp_path, "images", a, b[:, :, 1:]), OPTIONS)


# ---------------------------------------------------------------------------------------- MS-SSIM


def ms_ssim_pictures(name):
    """The pictures behind ``ms_ssim.json``."""
    case = MS_SSIM["cases"][name]
    size = case["count"], case["height"], case["width"]
    a, other = (
        recipe.pictures(f"ms_ssim/{name}{k}", *size).astype(np.int64) for k in ("", "/other")
    )
    return a.astype(np.uint8), ((3 * a + other) // 4).astype(np.uint8)


@pytest.mark.parametrize("name", sorted(MS_SSIM["cases"]))
def test_official_ms_ssim(tmp_path, name):
    found = ms_ssim(*pair_of(tmp_path, "images", *ms_ssim_pictures(name)), OPTIONS)
    expected = MS_SSIM["cases"][name]["ms_ssim"]
    np.testing.assert_allclose(found.per_image["value"], expected, rtol=0, atol=MS_SSIM["atol"])
    assert found.readings[0].value == pytest.approx(np.mean(expected), abs=MS_SSIM["atol"])


def test_ms_ssim_is_torchmetrics_where_the_coarsest_scale_agrees():
    """Shuffled inside blocks of 16 pixels, images are the same at the coarsest scale.

    There alone torchmetrics counts windows over a reflected border. It averages over channels
    before it multiplies the scales, so each channel is an image here; and no side is ever odd.
    """
    oracle = pytest.importorskip("torchmetrics.functional.image.ssim")
    torch = importlib.import_module("torch")
    a = recipe.pictures("ms_ssim/blocks", 1, 192, 176)[0]
    blocks = a.reshape(3, 12, 16, 11, 16).transpose(0, 1, 3, 2, 4).reshape(3, 12, 11, 256).copy()
    blocks[..., 200:] = np.random.default_rng(0).permuted(blocks[..., 200:], axis=-1)
    b = blocks.reshape(3, 12, 11, 16, 16).transpose(0, 1, 3, 2, 4).reshape(a.shape)
    x, y = (torch.from_numpy(image)[:, None].double() for image in (a, b))
    expected = oracle.multiscale_structural_similarity_index_measure(
        x, y, data_range=255.0, sigma=1.5, normalize="relu", reduction="none"
    ).numpy()
    found = [multi_scale_similarity(p[None], q[None]) for p, q in zip(a, b, strict=True)]
    assert 0.3 < expected.min() < expected.max() < 0.99
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert multi_scale_similarity(a, b) == pytest.approx(np.mean(found), abs=1e-12)


def test_ms_ssim_closed_forms():
    a = recipe.pictures("ms_ssim/closed", 1, 161, 176)[0]
    assert multi_scale_similarity(a, a) == pytest.approx(1.0, abs=1e-12)
    # the structure of a negative is opposed: negative similarities count as 0
    assert multi_scale_similarity(a, 255 - a) == 0.0
    # of constant images only the luminance of the coarsest scale is left; 176 / 16 = 11: one window
    x, y = np.full((1, 176, 176), 100, np.uint8), np.full((1, 176, 176), 150, np.uint8)
    c1 = 2.55**2
    luminance = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert multi_scale_similarity(x, y) == pytest.approx(luminance ** SCALES[-1], abs=1e-9)


def test_ms_ssim_sees_no_batch_and_no_shard(tmp_path):
    a, b = random_images(5, 3, 176)
    plain = ms_ssim(*pair_of(tmp_path, "images", a, b), OPTIONS)
    cut = ms_ssim(
        shards_of(tmp_path, images=a, shard_size=2),
        shards_of(tmp_path, images=b, shard_size=1),
        Options(batch_size=2),
    )
    assert plain.readings == cut.readings
    worse = np.clip(a + np.random.default_rng(1).normal(0, 90, a.shape), 0, 255).astype(np.uint8)
    lower = ms_ssim(*pair_of(tmp_path, "images", a, worse), OPTIONS)
    assert (lower.per_image["value"] < plain.per_image["value"]).all()


def test_ms_ssim_of_small_images_is_an_error_in_words(tmp_path):
    a, b = random_images(1, 2, 160)
    with pytest.raises(ValueError, match=r"more than 160 pixels a side.* got \(3, 160, 160\)"):
        ms_ssim(*pair_of(tmp_path, "images", a, b), OPTIONS)
    with pytest.raises(ValueError, match="expected two uint8 arrays"):
        multi_scale_similarity(a[0] / 255, b[0] / 255)


# ---------------------------------------------------------------------------------------- pairing


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12))
def test_pairs_of_differently_cut_sets(tmp_path_factory, left, right, size):
    folder = tmp_path_factory.mktemp("p")
    x = np.arange(10)
    a, b = shards_of(folder, x=x, shard_size=left), shards_of(folder, x=-x, shard_size=right)
    pairs = list(paired_batches(a, b, ["x"], size))
    assert [len(p[0]) for p in pairs[:-1]] == [min(size, 10)] * (len(pairs) - 1)
    np.testing.assert_array_equal(np.concatenate([p[0]["x"] for p in pairs]), x)
    np.testing.assert_array_equal(np.concatenate([p[1]["x"] for p in pairs]), -x)
    assert [i for batch in equal_batches(a, ["x"], size) for i in batch.ids] == a.ids


def test_sets_of_different_images_are_not_paired(tmp_path):
    a = shards_of(tmp_path, x=np.zeros(3), ids=["p", "q", "r"])
    for ids, words in ((["p", "r", "q"], "has image 'q' where"), (["p", "q"], "holds 3 images")):
        b = shards_of(tmp_path, x=np.zeros(len(ids)), ids=ids)
        with pytest.raises(ValueError, match=words):
            list(paired_batches(a, b, ["x"], 2))


# ------------------------------------------------------------------------------------------ LPIPS


class MeanDifference:
    def distance(self, a, b):
        return np.abs(a.astype(np.float32) - b).mean(axis=(1, 2, 3))


def test_lpips_is_the_networks_distance(tmp_path):
    a, b = random_images(2, 5, 16)
    sets = pair_of(tmp_path, "images", a, b)
    measured = lpips(*sets, Options(batch_size=2, network=MeanDifference()))
    expected = np.abs(a.astype(float) - b).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(measured.per_image["value"], expected, rtol=1e-6)
    assert measured.readings[0].value == pytest.approx(expected.mean(), rel=1e-6)
    with pytest.raises(ValueError, match="kind 'perceptual'"):
        lpips(*sets, OPTIONS)


# ------------------------------------------------------------------------------------------ drift


def test_drift_of_complementary_maps(tmp_path):
    a = binary_maps(0)
    meta = {"network": "canny"}
    readings = readings_of(drift(*pair_of(tmp_path, "map", a, 255 - a, meta=meta), OPTIONS))
    assert readings[""].value == 1.0
    density = (a > 0).mean()
    assert readings["zero"].value == readings["density"].value == pytest.approx(density)
    same = readings_of(drift(*pair_of(tmp_path, "map", a, a, meta=meta), OPTIONS))
    assert same[""].value == 0.0
    assert same["shuffled"].value == pytest.approx(2 * density * (1 - density), abs=0.05)
    depth = drift(*pair_of(tmp_path, "map", a, a, meta={"network": "mini-depth"}), OPTIONS)
    assert set(readings_of(depth)) == {"", "shuffled", "zero"}


def test_map_distance_is_the_mean_difference():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 5, 9, 7), dtype=np.uint8)
    expected = np.abs(a / 255 - b / 255).mean(axis=(1, 2))
    np.testing.assert_allclose(map_distance(a, b), expected, rtol=1e-12)


def test_drift_depends_on_the_pairing_but_marginals_do_not(tmp_path):
    """Seesaw Proposition 5.4: the same set of reconstructions, another coupling."""
    a = binary_maps(1)
    order = np.roll(np.arange(6), 1)
    matched = drift(*pair_of(tmp_path, "map", a, a), OPTIONS).readings[0].value
    repaired = drift(*pair_of(tmp_path, "map", a, a[order]), OPTIONS).readings[0].value
    assert matched == 0.0
    assert repaired > 0.3


def test_shuffled_drift_follows_the_shuffled_partners(tmp_path):
    a, b = binary_maps(2, 9), binary_maps(3, 9)
    reference = shards_of(tmp_path, map=a, shard_size=4)
    source = shards_of(tmp_path, map=b, shard_size=5)
    shuffled = readings_of(drift(reference, source, Options(seed=3, batch_size=2)))["shuffled"]
    partners = shuffled_partners(reference.ids, 3)
    assert shuffled.value == np.mean(map_distance(a, b[partners]))
    assert shuffled.n == 9


def test_drift_of_labels_is_that_of_their_colours(tmp_path):
    rng = np.random.default_rng(4)
    palette = rng.integers(0, 256, (5, 3))
    a, b = rng.integers(0, 5, (2, 6, 8, 10), dtype=np.uint8)
    meta = {"palette": palette.tolist()}
    measured = drift(*pair_of(tmp_path, "labels", a, b, meta=meta), Options(batch_size=4))
    colours = palette / 255
    expected = np.abs(colours[a] - colours[b]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(measured.per_image["value"], expected, rtol=1e-12)
    readings = readings_of(measured)
    assert readings["zero"].value == pytest.approx(colours[a].mean())
    assert readings["mismatch"].value == pytest.approx((a != b).mean())
    np.testing.assert_array_equal(measured.per_image["mismatch"], (a != b).mean(axis=(1, 2)))


def test_drift_does_not_depend_on_how_it_is_read(tmp_path):
    a, b = binary_maps(5, 11), binary_maps(6, 11)
    plain = drift(*pair_of(tmp_path, "map", a, b), OPTIONS)
    cut = drift(
        shards_of(tmp_path, map=a, shard_size=2),
        shards_of(tmp_path, map=b, shard_size=7),
        Options(batch_size=3),
    )
    assert plain.readings == cut.readings
    np.testing.assert_array_equal(plain.per_image["value"], cut.per_image["value"])


def test_bad_maps_are_errors_in_words(tmp_path):
    a = np.array([[[0, 7]]], np.uint8)
    with pytest.raises(ValueError, match="label 7 has no colour: the palette has 2 colours"):
        palette_distance(np.zeros((2, 3), np.uint8))(a, a)
    with pytest.raises(ValueError, match="no 'palette' of RGB colours"):
        drift(*pair_of(tmp_path, "labels", a, a), OPTIONS)
    with pytest.raises(ValueError, match="neither 'map' nor 'labels' but features"):
        drift(*pair_of(tmp_path, "features", a, a), OPTIONS)
    reference = shards_of(tmp_path, map=a, meta={"network": "canny"})
    source = shards_of(tmp_path, map=a, meta={"network": "mini-depth"})
    with pytest.raises(ValueError, match="network 'canny', .* with 'mini-depth'"):
        drift(reference, source, OPTIONS)
    alone = readings_of(drift(*pair_of(tmp_path, "map", a, a), OPTIONS))["shuffled"]
    assert alone.value is None
    assert "at least two images" in alone.note


# ---------------------------------------------------------------------------- faces and similarity


def test_identity_counts_images_with_a_face_in_both(tmp_path):
    reference = faces(tmp_path, [1, 1, 0, 1, 1], [0, 0, 0, 0, 0])
    source = faces(tmp_path, [1, 0, 1, 1, 1], [0, 0, 0, np.pi / 3, np.pi / 2], shard_size=2)
    measured = identity(reference, source, OPTIONS)
    readings = readings_of(measured)
    assert readings[""].n == 3
    assert readings[""].value == pytest.approx((1 + 0.5 + 0) / 3, abs=1e-6)
    # all reference faces are alike, so the pairing changes nothing here
    assert readings["shuffled"].value == pytest.approx(readings[""].value, abs=1e-6)
    column = measured.per_image["value"]
    np.testing.assert_array_equal(np.ma.getmaskarray(column), [False, True, True, False, False])
    np.testing.assert_allclose(column.compressed(), [1, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize("n, words", [(1, "mean over 1 face;"), (19, "19 faces;"), (20, "")])
def test_identity_over_a_few_faces_says_so(tmp_path, n, words):
    some = faces(tmp_path, [0] + [1] * n, np.zeros(n + 1))
    reading = identity(some, some, OPTIONS).readings[0]
    assert (reading.value, reading.n) == (pytest.approx(1), n)
    assert words in reading.note
    assert ("left out of correlations" in reading.note) == bool(words)


def test_face_recall_is_a_share_of_the_reference_faces(tmp_path):
    reference = faces(tmp_path, [1, 1, 0, 1, 1], np.zeros(5))
    source = faces(tmp_path, [1, 0, 1, 1, 1], np.zeros(5))
    measured = face_recall(reference, source, OPTIONS)
    assert (measured.readings[0].value, measured.readings[0].n) == (0.75, 4)
    assert measured.per_image["value"].tolist() == [1, 0, None, 1, 1]


@pytest.mark.parametrize("metric", [identity, face_recall])
def test_no_face_anywhere_is_a_missing_value_not_an_error(tmp_path, metric):
    nobody = faces(tmp_path, [0, 0, 0], np.zeros(3))
    measured = metric(nobody, nobody, OPTIONS)
    assert {r.value for r in measured.readings} == {None}
    assert all("face" in r.note and r.n == 0 for r in measured.readings)
    check_finite("identity", measured, nobody.ids)


def test_cosines_of_known_vectors(tmp_path):
    a = np.array([[1, 0], [3, 4], [0, 2]], np.float32)
    b = np.array([[5, 0], [4, 3], [1, 0]], np.float32)
    reference = shards_of(tmp_path, features=a, shard_size=2)
    measured = similarity(reference, shards_of(tmp_path, features=b), Options(seed=1))
    np.testing.assert_allclose(measured.per_image["value"], [1, 24 / 25, 0], atol=1e-15)
    partners = shuffled_partners(reference.ids, 1)
    unit = b[partners] / np.linalg.norm(b[partners], axis=1, keepdims=True)
    expected = (a / np.linalg.norm(a, axis=1, keepdims=True) * unit).sum(1).mean()
    assert readings_of(measured)["shuffled"].value == pytest.approx(expected, abs=1e-6)


def test_bad_embeddings_name_their_image(tmp_path):
    good, bad, zero = np.ones((3, 4)), np.ones((3, 4)), np.ones((3, 4))
    bad[1, 2], zero[2] = np.nan, 0
    with pytest.raises(ValueError, match="reconstruction of image 'im0001' is NaN"):
        similarity(*pair_of(tmp_path, "features", good, bad), OPTIONS)
    with pytest.raises(ValueError, match="image 'im0002' is a zero vector"):
        similarity(*pair_of(tmp_path, "features", good, zero), OPTIONS)
    with pytest.raises(ValueError, match="cannot compare embeddings"):
        similarity(*pair_of(tmp_path, "features", good, good[:, :2]), OPTIONS)
