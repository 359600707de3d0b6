"""UniFormer-UPerNet: ControlNet's numbers, its protocol in closed form, errors in words."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import recipe
import torch

from seesaw.metrics.drift import palette_distance
from seesaw.networks import load_network
from seesaw.networks.uniformer_upernet import (
    PALETTE,
    SCALE,
    WEIGHTS_FILE,
    Segmentor,
    UniformerUpernet,
    full_size,
    resized_shape,
)

REFERENCE = Path(__file__).parents[1] / "reference"
OFFICIAL = json.loads((REFERENCE / "uniformer_upernet.json").read_text())
SMALL = tuple(OFFICIAL["small"]["scale"])


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def layout():
    """Rows of every tensor of the official file; ``{0-7}`` stands for each number."""
    rows = []
    for key, shape, dtype, kind in OFFICIAL["tensors"]:
        span = re.search(r"\{(\d+)-(\d+)\}", key)
        numbers = range(int(span[1]), int(span[2]) + 1) if span else [0]
        keys = [key.replace(span[0], str(n)) if span else key for n in numbers]
        rows += [(name, shape, dtype, kind) for name in keys]
    return rows


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A file as ControlNet publishes it, filled by the recipe."""
    state = {name: torch.from_numpy(array) for name, array in recipe.fill_all(layout()).items()}
    path = tmp_path_factory.mktemp("uniformer") / WEIGHTS_FILE
    torch.save({"meta": {"CLASSES": ("wall", "building")}, "state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def small(file):
    """The network, with images resized to 64 and not to 512 pixels."""
    return UniformerUpernet(file, scale=SMALL)


@pytest.fixture(scope="module")
def unswapped(file):
    return UniformerUpernet(file, scale=SMALL, swap_channels=False)


def logits_of(network, images):
    """Logits of the head, and at the size of the images."""
    with torch.inference_mode():
        pixels = network.pixels(images)
        head = network.model(pixels)
        return head.numpy(), full_size(head, pixels.shape[-2:], images.shape[-2:]).numpy()


def assert_same_labels(found, expected, logits):
    """The same labels but where the two best classes are equal within the tolerance."""
    assert found.dtype == np.uint8
    second, first = np.sort(logits, axis=1)[:, -2:].transpose(1, 0, 2, 3)
    close = first - second < 2 * OFFICIAL["atol"]
    assert close.mean() < 0.01
    np.testing.assert_array_equal(found[~close], expected[~close])


def assert_agrees(network, images, case, steps, atol):
    """Logits, labels and colours are those of ControlNet's annotator."""
    stored = np.load(REFERENCE / "uniformer_upernet.npz")
    head, logits = logits_of(network, images)
    labels = network.extract(images)["labels"]
    for name, found in (("head", head), ("logits", logits)):
        expected = stored[f"{case}/{name}"]
        kept = found[(slice(None), *(slice(None, None, step) for step in steps[name]))]
        assert np.abs(expected).max() > 1
        np.testing.assert_allclose(kept, expected, atol=atol, rtol=0)
    assert_same_labels(labels, stored[f"{case}/labels"].reshape(labels.shape), logits)
    colours = np.array(network.meta["palette"], np.uint8)[stored[f"{case}/labels"]]
    kept = colours[..., ::8, ::8, :]
    np.testing.assert_array_equal(kept, stored[f"{case}/colours"])


SMALL_STEPS = {"head": (10, 4, 4), "logits": (10, 8, 8)}
SMALL_ATOL = OFFICIAL["small"]["atol"]
"""Below what another epsilon of the BatchNorms (1e-4) or of the patches' LayerNorm (6e-5) does."""


@pytest.mark.parametrize("name", list(OFFICIAL["small"]["shapes"]))
def test_it_agrees_with_controlnets_annotator(small, name):
    height, width = OFFICIAL["small"]["shapes"][name]
    images = recipe.pictures(f"input:{name}", 1, height, width)
    assert_agrees(small, images, name, SMALL_STEPS, SMALL_ATOL)


def test_without_the_swap_it_is_the_annotator_given_what_it_expects(unswapped, small):
    images = recipe.pictures("input:square", 1, 32, 32)
    assert_agrees(unswapped, images, "square-unswapped", SMALL_STEPS, SMALL_ATOL)
    np.testing.assert_array_equal(
        unswapped.extract(images[:, ::-1])["labels"], small.extract(images)["labels"]
    )
    changed = unswapped.extract(images)["labels"] != small.extract(images)["labels"]
    assert changed.mean() > 0.05


@pytest.mark.slow
def test_it_agrees_with_controlnets_annotator_at_its_own_size(file):
    network = load_network("uniformer_upernet", file)
    images = recipe.pictures("input:256", 2, 256, 256)
    steps = {"head": (15, 16, 16), "logits": (15, 32, 32)}
    assert_agrees(network, images, "full", steps, OFFICIAL["atol"])


# --------------------------------------------------------------------------------------- protocol


def test_pixels_are_resized_by_opencv_swapped_and_normalised(small, unswapped):
    """In the order of the trained network: its red gets ImageNet's red mean, whatever it sees."""
    images = recipe.pictures("resize", 3, 40, 24)
    resized = np.stack([cv2.resize(i.transpose(1, 2, 0), (64, 107)) for i in images])
    red = (resized[..., 0] - 123.675) / 58.395
    green = (resized[..., 1] - 116.28) / 57.12
    blue = (resized[..., 2] - 103.53) / 57.375
    straight = np.stack([red, green, blue], 1)
    np.testing.assert_allclose(unswapped.pixels(images).numpy(), straight, atol=1e-6)
    resized = resized[..., ::-1]
    red, blue = (resized[..., 0] - 123.675) / 58.395, (resized[..., 2] - 103.53) / 57.375
    swapped = np.stack([red, green, blue], 1)
    np.testing.assert_allclose(small.pixels(images).numpy(), swapped, atol=1e-6)


@pytest.mark.parametrize(
    "shape, expected",
    [
        ((256, 256), (512, 512)),
        ((512, 512), (512, 512)),
        ((1024, 1024), (512, 512)),
        ((300, 400), (512, 683)),
        ((100, 1000), (205, 2048)),
    ],
)
def test_images_are_resized_to_the_scale_of_the_test_pipeline(shape, expected):
    assert resized_shape(shape) == expected
    assert resized_shape(shape[::-1]) == expected[::-1]
    assert resized_shape(shape, SCALE[::-1]) == expected


def test_logits_are_resized_in_two_steps():
    """Up to what the network saw, then down: a class that fills one cell of four, by hand."""
    head = torch.tensor([[[[1.0, 0.0]]]])
    up = torch.tensor([1.0, 0.75, 0.25, 0.0])
    np.testing.assert_allclose(full_size(head, (1, 4), (1, 4)).flatten(), up)
    half = (up[0::2] + up[1::2]) / 2
    np.testing.assert_allclose(full_size(head, (1, 4), (1, 2)).flatten(), half)


@pytest.mark.parametrize("label", [0, 37, 149])
def test_a_classifier_that_sees_nothing_gives_its_largest_bias(small, label):
    layer = small.model.decode_head.conv_seg
    kept = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
        layer.bias[label] = 1
    labels = small.extract(recipe.pictures("bias", 2, 32, 32))["labels"]
    layer.load_state_dict(kept)
    np.testing.assert_array_equal(labels, np.full((2, 32, 32), label, np.uint8))


def test_logits_that_are_not_finite_are_an_error_and_no_label(small):
    bias = small.model.decode_head.conv_seg.bias
    kept = bias.detach().clone()
    with torch.no_grad():
        bias[3] = float("nan")
    with pytest.raises(ValueError, match="uniformer_upernet computed NaN or infinite values"):
        small.extract(recipe.pictures("bias", 2, 32, 32))
    with torch.no_grad():
        bias.copy_(kept)


def test_the_palette_has_ade20ks_colours():
    assert len(PALETTE) == 150
    assert (PALETTE[0], PALETTE[2], PALETTE[149]) == ((120, 120, 120), (6, 230, 230), (92, 0, 255))
    same = [(a, b) for a in range(150) for b in range(a) if PALETTE[a] == PALETTE[b]]
    assert same == [(48, 6)]
    distance = palette_distance(np.array(PALETTE, np.uint8))
    ones = np.ones((1, 2, 2), np.int64)
    pairs = [
        distance(a * ones, b * ones)[0] for a in range(150) for b in range(a) if (a, b) != (48, 6)
    ]
    assert np.mean(pairs) == pytest.approx(0.468, abs=5e-4)


def test_labels_do_not_depend_on_the_batch(small):
    images = recipe.pictures("batch", 3, 32, 48)
    whole = small.extract(images)["labels"]
    assert whole.shape == (3, 32, 48)
    assert whole.dtype == np.uint8
    head, logits = logits_of(small, images)
    alone = logits_of(small, images[2:])[0]
    np.testing.assert_allclose(head[2:], alone, atol=SMALL_ATOL, rtol=0)
    parts = [small.extract(part)["labels"] for part in (images[2:], images[:2])]
    order = [2, 0, 1]
    assert_same_labels(np.concatenate(parts), whole[order], logits[order])
    assert small.extract(images[:0])["labels"].shape == (0, 32, 48)


# ----------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "images", [np.zeros((1, 3, 64, 64), np.float32), np.zeros((1, 1, 64, 64), np.uint8)]
)
def test_it_refuses_what_is_not_uint8_rgb(small, images):
    with pytest.raises(ValueError, match="expected uint8 RGB images"):
        small.extract(images)


def test_it_refuses_images_that_are_too_narrow(small):
    with pytest.raises(ValueError, match=r"10 x 1000 pixels are too narrow.* 20 x 2048"):
        resized_shape((10, 1000))
    with pytest.raises(ValueError, match="at least 32"):
        small.extract(np.zeros((1, 3, 20, 200), np.uint8))


def test_the_official_layout_is_ours_with_the_auxiliary_head():
    with torch.device("meta"):
        ours = Segmentor().state_dict()
    official = {name: tuple(shape) for name, shape, *_ in layout()}
    unused = [name for name in official if name.startswith("auxiliary_head.")]
    assert len(unused) == 8
    assert {name: tuple(tensor.shape) for name, tensor in ours.items()} == {
        name: shape for name, shape in official.items() if name not in unused
    }


def test_it_says_what_is_wrong_with_a_weights_file(tmp_path):
    with torch.device("meta"):
        shapes = Segmentor().state_dict()
    state = {name: torch.zeros((), dtype=t.dtype).expand(t.shape) for name, t in shapes.items()}
    state["backbone.head.weight"] = state.pop("backbone.norm4.weight")
    state["decode_head.conv_seg.bias"] = torch.zeros(19)
    other = tmp_path / "other.pth"
    torch.save({"meta": {}, "state_dict": state}, other)
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_network("uniformer_upernet", other)
    for words in (
        "1 missing:\n    backbone.norm4.weight (512,)",
        "1 unexpected:\n    backbone.head.weight",
        "decode_head.conv_seg.bias (19,), expected (150,)",
        WEIGHTS_FILE,
    ):
        assert words in str(caught.value)
    half = tmp_path / "half.pth"
    half.write_bytes(other.read_bytes()[: other.stat().st_size // 2])
    page = tmp_path / "page.pth"
    page.write_text("<!DOCTYPE html><html>Sign in</html>")
    for path, words in ((half, "was cut short"), (page, "is a web page")):
        with pytest.raises(ValueError, match=words) as caught:
            load_network("uniformer_upernet", path)
        assert str(path) in str(caught.value)
        assert "huggingface.co/lllyasviel/ControlNet" in str(caught.value)


def test_it_says_which_file_is_missing(tmp_path):
    with pytest.raises(ValueError, match="needs a weights file"):
        load_network("uniformer_upernet")
    with pytest.raises(ValueError, match=f"give the path of {WEIGHTS_FILE}"):
        UniformerUpernet(None)
    with pytest.raises(FileNotFoundError, match=WEIGHTS_FILE):
        load_network("uniformer_upernet", tmp_path / "absent.pth")
