"""LPIPS on VGG16 against the package ``lpips``; pixels that were never rounded, on both trunks."""

import hashlib
import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import recipe
import torch
from torchvision.models import vgg

from seesaw.networks import load_feature_network, load_network
from seesaw.networks import lpips as shared
from seesaw.networks.lpips_vgg import VGG16, vgg16_trunk

FILE = "vgg16-397923af.pth"
TAMING_MD5 = "d507d7349b931f0638a25a48a722f98a"
"""Of the heads that taming-transformers downloads (``taming/util.py``, ``MD5_MAP``)."""


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def state():
    """torchvision's layout (classifier cut to size 1), filled by the recipe."""
    kinds = {"weight": "weight:1.41421", "bias": "bias"}
    filled = {
        f"features.{name}": torch.from_numpy(
            recipe.fill(f"features.{name}", tensor.shape, kinds[name.rpartition(".")[2]])
        )
        for name, tensor in vgg.make_layers(vgg.cfgs["D"]).state_dict().items()
    }
    return {"classifier.0.weight": torch.zeros(1, 1), **filled}


@pytest.fixture(scope="module")
def file(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / FILE
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def network(file):
    return load_feature_network("lpips-vgg", file)


@pytest.fixture(scope="module")
def package(state):
    """``lpips.LPIPS(net="vgg")`` on torchvision's layers, without building the classifier."""
    import lpips

    layers = vgg.make_layers(vgg.cfgs["D"])
    layers.load_state_dict(
        {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")}
    )
    with pytest.MonkeyPatch.context() as patch:
        stub = SimpleNamespace(vgg16=lambda **_: SimpleNamespace(features=layers))
        patch.setattr(lpips.pretrained_networks, "tv", stub)
        return lpips.LPIPS(net="vgg", verbose=False)


def signed(images):
    return torch.from_numpy(np.ascontiguousarray(images)).float() / 127.5 - 1


@pytest.mark.parametrize("height, width", [(64, 64), (16, 40)])
def test_lpips_vgg_agrees_with_the_package(network, package, height, width):
    a, b = (recipe.pictures(name, 2, height, width) for name in ("input:a64", "input:b64"))
    with torch.no_grad():
        expected = package(signed(a), signed(b)).flatten().numpy()
        near = package(signed(a), 0.9 * signed(a) + 0.1 * signed(b)).flatten().numpy()
    found = network.distance(a, b)
    assert found.dtype == np.float64
    assert found.min() > 0.05
    np.testing.assert_allclose(found, expected, rtol=2e-6)
    mixed = network.distance_of_signed(signed(a), 0.9 * signed(a) + 0.1 * signed(b)).numpy()
    np.testing.assert_allclose(mixed, near, rtol=1e-4)
    assert mixed.max() < found.min()


def test_the_trunk_is_torchvisions():
    theirs = vgg.make_layers(vgg.cfgs["D"])[:-1]  # without the last pool
    assert [type(layer) for layer in vgg16_trunk()] == [type(layer) for layer in theirs]
    for ours, layer in zip(vgg16_trunk(), theirs, strict=True):
        for key in ("kernel_size", "stride", "padding"):
            same = getattr(ours, key, 0), getattr(layer, key, 0)
            assert np.array_equal(*np.broadcast_arrays(*same)), key
    last = [index for index, layer in enumerate(theirs) if isinstance(layer, torch.nn.ReLU)]
    pooled = [i - 1 for i, layer in enumerate(theirs) if isinstance(layer, torch.nn.MaxPool2d)]
    assert VGG16.taps == (*pooled, last[-1])


def test_taming_transformers_heads_are_the_packaged_ones():
    folder = importlib.util.find_spec("lpips").submodule_search_locations[0]
    heads = Path(folder, "weights", "v0.1", "vgg.pth").read_bytes()
    assert hashlib.md5(heads).hexdigest() == TAMING_MD5


def test_lpips_vgg_is_zero_for_equal_images_and_symmetric(network):
    a, b = recipe.pictures("a", 2, 24, 16), recipe.pictures("b", 2, 24, 16)
    np.testing.assert_array_equal(network.distance(a, a), 0)
    found = network.distance(a, b)
    np.testing.assert_allclose(network.distance(b, a), found, rtol=1e-12)
    singly = [network.distance(a[i : i + 1], b[i : i + 1])[0] for i in range(2)]
    np.testing.assert_allclose(singly, found, rtol=1e-5)
    assert network.meta["heads"] == "lpips v0.1 vgg"
    assert network.meta["smallest_side"] == 16


@pytest.mark.parametrize("name", ["lpips-vgg", "lpips-alex-random"])
def test_pixels_are_on_the_scale_of_uint8_and_not_rounded(name, network):
    network = network if name == "lpips-vgg" else load_network(name)
    images = [recipe.pictures(name, 2, 32, 40) for name in "ab"]
    expected = network.distance(*images)
    a, b = (torch.from_numpy(x).double() for x in images)
    np.testing.assert_array_equal(network.distance_pixels(a, b), expected)
    beyond = 1.2 * b - 25.3
    assert beyond.min() < 0
    assert beyond.max() > 255
    found = network.distance_pixels(a, beyond)
    by_hand = network.distance_of_signed(*((x.float() / 127.5 - 1) for x in (a, beyond)))
    np.testing.assert_allclose(found, by_hand.numpy(), rtol=1e-5)
    for other in (beyond.round(), beyond.clamp(0, 255)):
        assert np.abs(network.distance_pixels(a, other) / found - 1).min() > 1e-6
    half = network.distance_pixels(a / 255, b / 255)
    assert np.all(half < expected / 2), "pixels on the scale 0..1 are nearly black"
    with pytest.raises(ValueError, match=r"scale 0\.\.255, got uint8 \(2, 3, 32, 40\)"):
        network.distance_pixels(*images)
    with pytest.raises(ValueError, match="from 0 to 1; multiply by 255 and round"):
        network.distance(images[0], np.eye(32, dtype=np.float32)[None, None].repeat(3, axis=1))


def test_gradients_reach_the_images_but_not_the_trunk(network):
    a, b = (signed(recipe.pictures(name, 1, 16, 16)).requires_grad_() for name in "ab")
    network.distance_of_signed(a, b).sum().backward()
    assert float(b.grad.abs().max()) > 0
    assert all(not p.requires_grad for p in network.trunk.parameters())


def test_what_does_not_fit_is_refused_in_words(network, state, file, tmp_path, monkeypatch):
    small = np.zeros((1, 3, 15, 64), np.uint8)
    with pytest.raises(ValueError, match=r"15 x 64 pixels .* LPIPS on VGG16, .* at least 16"):
        network.distance(small, small)
    with pytest.raises(ValueError, match="needs a weights file"):
        load_network("lpips-vgg")
    with pytest.raises(FileNotFoundError, match=FILE):
        load_network("lpips-vgg", tmp_path / "absent.pth")
    with pytest.raises(ValueError, match=r"(?s)missing.*alexnet-owt-7be5be79\.pth"):
        load_network("lpips-alex", file)
    cut = {k: v for k, v in state.items() if k != "features.28.bias"}
    torch.save({**cut, "features.30.weight": torch.zeros(1)}, tmp_path / "cut.pth")
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_network("lpips-vgg", tmp_path / "cut.pth")
    for words in (
        "1 missing:\n    features.28.bias (512,)",
        "1 unexpected:\n    features.30",
        FILE,
    ):
        assert words in str(caught.value)
    # the heads of another network
    monkeypatch.setattr(shared, "read_state", lambda _: {"lin0.model.1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"vgg\.pth does not fit .*\n  4 missing"):
        load_network("lpips-vgg", file)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="pip install 'lpips>=0.1.4'"):
        load_network("lpips-vgg", file)
