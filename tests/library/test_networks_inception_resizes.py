"""Inception by four authors' resizes: their numbers, their own code, closed forms, pixels."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import recipe
import torch
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from seesaw.networks import load_network
from seesaw.networks.fid_resize import RESIZES, clean, pillow_bicubic
from seesaw.networks.inception import Inception
from seesaw.registry import NETWORKS

REFERENCE = Path(__file__).parents[1] / "reference"
STORED = np.load(REFERENCE / "inception.npz")
NAMES = {
    "inception": "tf1",
    "inception-bilinear": "torch-bilinear",
    "inception-antialias": "antialias",
    "inception-clean": "clean",
}
SIZES = {"64": (64, 64), "256": (256, 256), "512": (512, 400)}
ATOL = 2e-4


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Under pytorch-fid's name, and without the counters."""
    layout = json.loads((REFERENCE / "inception_layout.json").read_text())
    state = {name: torch.from_numpy(array) for name, array in recipe.fill_all(layout).items()}
    path = tmp_path_factory.mktemp("inception") / "pt_inception-2015-12-05-6726825d.pth"
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, path)
    return path


@pytest.fixture(scope="module")
def networks(weights):
    return {name: load_network(name, weights) for name in NAMES}


def picture(size):
    return recipe.pictures(f"input:{size}", 1, *SIZES[size])


def close(found, expected, atol=ATOL):
    np.testing.assert_allclose(found, expected, atol=atol, rtol=0)


# ------------------------------------------------------------------------------ official numbers


@pytest.mark.parametrize("size", SIZES)
def test_two_of_them_have_the_numbers_of_torch_fidelity_and_of_pytorch_fid(networks, size):
    images = picture(size)
    for name, prefix in (("inception", ""), ("inception-bilinear", "bilinear_")):
        found = networks[name].extract(images)
        close(found["features"], STORED[f"{prefix}features_{size}"])
        close(found["logits"], found["features"] @ networks[name].head, 1e-5)
    assert np.abs(STORED[f"features_{size}"] - STORED[f"bilinear_features_{size}"]).max() > 0.05


def test_tf1_has_the_bits_of_torch_fidelity(networks):
    images = picture("256")
    network = networks["inception"].network
    features, logits = FeatureExtractorInceptionV3.forward(network, torch.from_numpy(images))
    found = networks["inception"].extract(images)
    np.testing.assert_array_equal(found["features"], features.numpy())
    np.testing.assert_array_equal(found["logits"], logits.numpy())


def test_antialias_is_torchmetrics_own_network(networks):
    """On a picture that is enlarged and on one that is reduced."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    ours = networks["inception-antialias"]
    file = io.BytesIO()
    torch.save(ours.network.state_dict(), file)
    file.seek(0)
    theirs = FrechetInceptionDistance(feature_extractor_weights_path=file).inception
    for size in ("64", "512"):
        images = picture(size)
        with torch.no_grad():
            expected = theirs(torch.from_numpy(images)).numpy()
        close(ours.extract(images)["features"], expected, 2e-5)


def pillow(channels):
    """clean-fid's resize of float (N, 3, H, W), channel by channel, by Pillow itself."""
    out = np.empty((*channels.shape[:2], 299, 299), np.float32)
    for row, image in zip(out, channels, strict=True):
        for made, channel in zip(row, image, strict=True):
            plane = Image.fromarray(np.ascontiguousarray(channel, np.float32))
            assert plane.mode == "F"
            made[:] = np.asarray(plane.resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255)
    return out


@pytest.mark.parametrize(
    "height, width, atol",
    [(64, 64, 0), (256, 256, 0), (299, 299, 0), (512, 512, 0), (512, 400, 4e-5), (31, 600, 4e-5)],
)
def test_clean_is_pillows_bicubic_on_floats(height, width, atol):
    images = recipe.pictures("clean", 2, height, width).astype(np.float32)
    images[1] += np.random.default_rng(0).normal(0, 40, images[1].shape)
    expected = (pillow(images) - 128) / 128
    found = clean(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, atol=atol / 128, rtol=0)
    assert found.min() == -1, "something was cut off"


def test_clean_is_the_network_on_pillows_image(networks):
    ours = networks["inception-clean"]
    images = picture("64")
    prepared = torch.from_numpy((pillow(images) - 128) / 128)
    with torch.no_grad():
        features, _ = ours.network(prepared)
    np.testing.assert_array_equal(ours.extract(images)["features"], features.numpy())


# ---------------------------------------------------------------------------------- closed forms


def test_pillows_weights_by_hand():
    """Twofold: the kernel at 1/4, 3/4, 5/4 and 7/4 for a = -1/2; the border's are scaled to 1."""
    near = np.array([0.8671875, 0.2265625, -0.0703125, -0.0234375])
    weights = pillow_bicubic(8, 16).numpy()
    np.testing.assert_allclose(weights[7, 2:6], near[[2, 0, 1, 3]], atol=1e-15)
    np.testing.assert_allclose(weights[8, 2:6], near[[3, 1, 0, 2]], atol=1e-15)
    np.testing.assert_allclose(weights[0, :2], near[[0, 2]] / near[[0, 2]].sum(), atol=1e-15)
    for sides in ((8, 16), (600, 299), (299, 299), (31, 299)):
        np.testing.assert_allclose(pillow_bicubic(*sides).sum(1), 1, atol=1e-14)
    np.testing.assert_array_equal(pillow_bicubic(299, 299), np.eye(299))


@pytest.mark.parametrize("name", RESIZES)
def test_grey_stays_grey_and_is_scaled_as_said(name):
    prepare = RESIZES[name].prepare
    for level in (0.0, 100.25, 255.0):
        scaled = 2 * level / 255 - 1 if name == "torch-bilinear" else (level - 128) / 128
        found = prepare(torch.full((1, 3, 40, 50), level)).numpy()
        assert found.shape == (1, 3, 299, 299)
        np.testing.assert_allclose(found, scaled, atol=1e-6)


def test_on_a_ramp_each_lies_where_it_says():
    """A ramp that is enlarged by 299 / 100: TensorFlow 1 starts at the corner, torch half in."""
    ramp = torch.arange(100.0).view(1, 1, 1, 100).expand(1, 3, 100, 100)
    step = 100 / 299
    at = np.arange(100, 200)
    corner = (at * step - 128) / 128
    centre = (at + 0.5) * step - 0.5
    rows = {name: RESIZES[name].prepare(ramp)[0, 0, 150, at].numpy() for name in RESIZES}
    np.testing.assert_allclose(rows["tf1"], corner, atol=1e-6)
    np.testing.assert_allclose(rows["antialias"], (centre - 128) / 128, atol=1e-6)
    np.testing.assert_allclose(rows["torch-bilinear"], 2 * centre / 255 - 1, atol=1e-6)
    np.testing.assert_allclose(rows["clean"], (centre - 128) / 128, atol=1e-6)


def test_only_two_of_them_antialias():
    """Stripes of one pixel at a third of their width: seen one by one, or as grey."""
    stripes = torch.zeros(1, 3, 32, 3 * 299)
    stripes[..., ::2] = 255
    for name, resize in RESIZES.items():
        seen = resize.prepare(stripes)[..., 5:-5]
        contrast = float(seen.max() - seen.min()) / 2
        if name in ("antialias", "clean"):
            assert 0 < contrast < 0.2, name
            assert float(seen.mean()) == pytest.approx(-0.5 / 128, abs=2e-3)
        else:
            assert contrast == pytest.approx(1 if name == "torch-bilinear" else 255 / 256)


# ---------------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_give_the_same_bits_as_uint8(networks, name):
    """In any type and memory layout: the recipe's pictures have their channels last in memory."""
    network = networks[name]
    images = recipe.pictures("pixels", 1, 32, 40)
    expected = network.extract(images)
    found = network.extract_pixels(torch.from_numpy(images).double())
    for field in ("features", "logits"):
        assert found[field].dtype == np.float32
        np.testing.assert_array_equal(found[field], expected[field])


def test_pixels_need_be_neither_whole_nor_in_range(networks):
    """They are not rounded, and not cut off: both move the features."""
    network = networks["inception-bilinear"]
    pixels = torch.from_numpy(recipe.pictures("pixels", 1, 32, 40)).float()
    pixels = 1.2 * pixels - 25.3
    assert pixels.min() < 0
    assert pixels.max() > 255
    found = network.extract_pixels(pixels)["features"]
    for other in (pixels.round(), pixels.clamp(0, 255)):
        assert np.abs(network.extract_pixels(other)["features"] - found).max() > 1e-4
    pixels.requires_grad_()
    np.testing.assert_array_equal(network.extract_pixels(pixels)["features"], found)


def test_other_pixels_are_refused(networks):
    network = networks["inception"]
    images = np.zeros((1, 3, 32, 32), np.uint8)
    for pixels, given in (
        (torch.from_numpy(images), r"torch\.uint8 \(1, 3, 32, 32\)"),
        (torch.zeros(3, 32, 32), r"torch\.float32 \(3, 32, 32\)"),
        (torch.zeros(1, 1, 32, 32), r"torch\.float32 \(1, 1, 32, 32\)"),
        (images.astype(np.float32), r"float32 \(1, 3, 32, 32\)"),
        (None, r"NoneType \(\)"),
    ):
        with pytest.raises(ValueError, match=rf"expected a float tensor .* 0\.\.255, got {given}"):
            network.extract_pixels(pixels)
    with pytest.raises(ValueError, match="from 0 to 1; multiply by 255 and round"):
        network.extract(np.linspace(0, 1, 3072, dtype=np.float32).reshape(1, 3, 32, 32))


# ---------------------------------------------------------------------------- names and weights


def test_every_resize_has_a_name_and_says_itself(networks):
    assert {options["resize"] for options in (NETWORKS[n].options for n in list(NAMES)[1:])} == (
        set(RESIZES) - {"tf1"}
    )
    for name, resize in NAMES.items():
        assert networks[name].resize is RESIZES[resize]
        for key, words in (("resize", "resize"), ("normalisation", "normalisation")):
            assert networks[name].meta[key] == getattr(RESIZES[resize], words)
    assert len({network.meta["resize"] for network in networks.values()}) == 4


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"unknown resize .* 'cleen'. Did you mean 'clean'"):
        Inception(None, resize="cleen")
    for name in NAMES:
        with pytest.raises(ValueError, match="needs a weights file"):
            load_network(name)
    with pytest.raises(FileNotFoundError, match=r"or pt_inception-2015-12-05-6726825d\.pth"):
        load_network("inception-clean", tmp_path / "absent.pth")
