"""Networks with official counterparts: numbers of official code, and errors in words."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from seesaw.networks import load_network

REFERENCE = Path(__file__).parents[1] / "reference"
sys.path.append(str(REFERENCE))
recipe = importlib.import_module("recipe")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ---------------------------------------------------------------------------------------- Canny


@pytest.mark.parametrize("case", ["im0", "im1", "im2"])
def test_canny_has_the_bits_of_controlnets_annotator(case):
    stored = np.load(REFERENCE / "canny.npz")
    height, width = stored["shapes"][int(case[-1])]
    images = recipe.pictures(f"canny/{case}/{case}", 1, height, width)
    expected = np.unpackbits(stored[case])[: height * width].reshape(1, height, width) * 255
    edges = load_network("canny").extract(images)["map"]
    assert edges.dtype == np.uint8
    assert expected.any()
    np.testing.assert_array_equal(edges, expected)


def test_canny_does_not_depend_on_the_batch_and_refuses_other_images():
    canny = load_network("canny")
    images = recipe.pictures("batch", 3, 32, 40)
    whole = canny.extract(images)["map"]
    assert whole.shape == (3, 32, 40)
    for index in range(3):
        np.testing.assert_array_equal(
            whole[index], canny.extract(images[index : index + 1])["map"][0]
        )
    with pytest.raises(ValueError, match="expected uint8 RGB images"):
        canny.extract(images.astype(np.float32))
    with pytest.raises(ValueError, match="expected uint8 RGB images"):
        canny.extract(images[:, :1])


# -------------------------------------------------------------------------------------- Inception


@pytest.fixture(scope="module")
def inception_state():
    layout = json.loads((REFERENCE / "inception_layout.json").read_text())
    return {name: torch.from_numpy(array) for name, array in recipe.fill_all(layout).items()}


@pytest.fixture(scope="module")
def inception(inception_state, tmp_path_factory):
    """As the released file: without the counters that an old torch did not write."""
    path = tmp_path_factory.mktemp("inception") / "weights-inception-2015-12-05-6726825d.pth"
    torch.save(
        {k: v for k, v in inception_state.items() if not k.endswith("num_batches_tracked")}, path
    )
    return load_network("inception", path)


@pytest.mark.parametrize("name, height, width", [("64", 64, 64), ("512", 512, 400)])
def test_inception_agrees_with_torch_fidelity(inception, name, height, width):
    stored = np.load(REFERENCE / "inception.npz")
    found = inception.extract(recipe.pictures(f"input:{name}", 1, height, width))
    assert found["features"].shape == (1, 2048)
    assert found["logits"].shape == (1, 1008)
    assert found["features"].dtype == found["logits"].dtype == np.float32
    np.testing.assert_allclose(found["features"], stored[f"features_{name}"], atol=2e-4, rtol=0)
    np.testing.assert_allclose(found["logits"], stored[f"logits_{name}"], atol=2e-4, rtol=0)


def test_inception_says_what_is_wrong_with_a_weights_file(inception_state, tmp_path):
    with pytest.raises(ValueError, match=r"needs a weights file"):
        load_network("inception")
    absent = tmp_path / "absent.pth"
    with pytest.raises(FileNotFoundError, match="weights-inception-2015-12-05-6726825d.pth"):
        load_network("inception", absent)
    state = dict(inception_state)
    state["head.weight"] = state.pop("fc.weight")
    state["fc.bias"] = state["fc.bias"][:1000]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_network("inception", tmp_path / "other.pth")
    for words in (
        "1 missing:\n    fc.weight (1008, 2048)",
        "1 unexpected:\n    head.weight",
        "fc.bias (1000,), expected (1008,)",
        "weights-inception-2015-12-05-6726825d.pth",
    ):
        assert words in str(caught.value)


# ------------------------------------------------------------------------------------ checkpoints


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "is a web page"),
        (b"PK\x03\x04 cut short", "cannot be read"),
    ],
)
@pytest.mark.parametrize(
    "network, file",
    [
        ("inception", "weights-inception-2015-12-05-6726825d.pth"),
        ("lpips-alex", "alexnet-owt-7be5be79.pth"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named_with_what_is_needed(
    tmp_path, network, file, content, words
):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        load_network(network, path)
    assert str(path) in str(caught.value)
    assert file in str(caught.value)


# ------------------------------------------------------------------------------------------ LPIPS


@pytest.fixture(scope="module")
def alexnet_file(tmp_path_factory):
    """An AlexNet file in torchvision's layout, filled by the recipe (classifier cut to size 1)."""
    from seesaw.networks.lpips_alex import alexnet_trunk

    state = {"classifier.1.weight": torch.zeros(1, 1)}
    for name, tensor in alexnet_trunk().state_dict().items():
        kind = "bias" if name.endswith("bias") else "weight:1.41421"
        state[f"features.{name}"] = torch.from_numpy(
            recipe.fill(f"features.{name}", tensor.shape, kind)
        )
    path = tmp_path_factory.mktemp("alexnet") / "alexnet-owt-7be5be79.pth"
    torch.save(state, path)
    return path


@pytest.mark.parametrize("size, count, atol", [(64, 4, 3e-6), (256, 3, 4e-6)])
def test_lpips_agrees_with_the_official_package(alexnet_file, size, count, atol):
    stored = np.load(REFERENCE / "lpips_alex.npz")
    lpips = load_network("lpips-alex", alexnet_file)
    a = recipe.pictures(f"input:a{size}", count, size, size)
    b = recipe.pictures(f"input:b{size}", count, size, size)
    found = lpips.distance(a, b)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, stored[f"packaged_distance_{size}"], atol=atol, rtol=0)
    a, b = (torch.from_numpy(x).float() / 127.5 - 1 for x in (a, b))
    near = lpips.distance_of_signed(a, 0.9 * a + 0.1 * b).numpy()
    np.testing.assert_allclose(near, stored[f"packaged_distance_mix_{size}"], atol=6e-8, rtol=0)


@pytest.mark.parametrize("size", [32, 48])
def test_lpips_on_a_random_alexnet_is_the_package_with_that_trunk(size):
    """Against the package itself, on small images too, where few activations are left."""
    import lpips as package

    ours = load_network("lpips-alex-random")
    theirs = package.LPIPS(pretrained=True, pnet_rand=True, net="alex", verbose=False)
    trunk = ours.trunk.state_dict()
    for piece in (getattr(theirs.net, f"slice{i}") for i in range(1, 6)):
        piece.load_state_dict({name: trunk[name] for name in piece.state_dict()})
    a, b = (recipe.pictures(f"{name}", 3, size, size) for name in "ab")
    with torch.no_grad():
        expected = theirs(*(torch.from_numpy(x).float() / 127.5 - 1 for x in (a, b))).flatten()
    np.testing.assert_allclose(ours.distance(a, b), expected.numpy(), atol=1e-6, rtol=0)


def test_random_lpips_is_fixed_and_orders_distortions():
    lpips = load_network("lpips-alex-random")
    weight = lpips.trunk.state_dict()["0.weight"].double()
    assert float(weight.std()) == pytest.approx(np.sqrt(2 / 363), rel=0.02)
    expected = np.random.Generator(np.random.PCG64(0)).standard_normal(3) * np.sqrt(2 / 363)
    np.testing.assert_allclose(weight.flatten()[:3].numpy(), expected, rtol=1e-6)
    images = recipe.pictures("noisy", 8, 32, 32)
    noise = np.random.default_rng(0).standard_normal(images.shape)
    found = [
        lpips.distance(images, np.clip(images + s * noise, 0, 255).astype(np.uint8)).mean()
        for s in (0, 4, 16, 64)
    ]
    assert found[0] == 0
    assert np.all(np.diff(found) > 0)
    assert lpips.distance(images, images[::-1].copy()).mean() > found[1]


def test_lpips_is_symmetric_and_does_not_depend_on_the_batch():
    lpips = load_network("lpips-alex-random")
    a, b = recipe.pictures("a", 4, 32, 40), recipe.pictures("b", 4, 32, 40)
    found = lpips.distance(a, b)
    np.testing.assert_allclose(lpips.distance(b, a), found, rtol=1e-12)
    singly = [lpips.distance(a[i : i + 1], b[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(singly, found, rtol=1e-5)


def test_lpips_refuses_what_it_cannot_compare(alexnet_file, tmp_path):
    lpips = load_network("lpips-alex-random")
    small = np.zeros((1, 3, 30, 64), np.uint8)
    assert (
        lpips.distance(np.zeros((1, 3, 31, 31), np.uint8), np.zeros((1, 3, 31, 31), np.uint8)) == 0
    )
    with pytest.raises(ValueError, match="30 x 64 pixels are too few"):
        lpips.distance(small, small)
    with pytest.raises(ValueError, match="of one shape"):
        lpips.distance(np.zeros((1, 3, 32, 32), np.uint8), np.zeros((2, 3, 32, 32), np.uint8))
    with pytest.raises(ValueError, match="has no weights"):
        load_network("lpips-alex-random", alexnet_file)
    state = torch.load(alexnet_file, weights_only=True)
    del state["features.10.bias"]
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(ValueError, match=r"1 missing:\s+features\.10\.bias"):
        load_network("lpips-alex", tmp_path / "cut.pth")
