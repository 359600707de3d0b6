"""MiDaS' DPT-Hybrid: official numbers, both layouts of its file, stretching, sizes, errors."""

import copy
import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import recipe
import torch

from seesaw.files import write_tensors
from seesaw.networks import load_network
from seesaw.networks.dpt_hybrid_midas import (
    CLASSIFIER,
    DptHybridMidas,
    midas_resized,
    official_state,
    resized,
    stretched,
)
from seesaw.registry import NETWORKS

REFERENCE = Path(__file__).parents[1] / "reference"
SPEC = json.loads((REFERENCE / "dpt_hybrid_midas.json").read_text())
STORED = np.load(REFERENCE / "dpt_hybrid_midas.npz")
FLIPPED = 2e-3
"""Share of pixels whose level may differ by one: twice the official code's own in float64."""


def numbered(name):
    """``a.{0-2}.b`` -> ``a.0.b``, ``a.1.b``, ``a.2.b``; ``{2-0}`` counts down."""
    found = re.search(r"\{(\d+)-(\d+)\}", name)
    if not found:
        return [name]
    first, last = map(int, found.groups())
    step = 1 if last >= first else -1
    return [name.replace(found[0], str(i)) for i in range(first, last + step, step)]


def rows():
    """Official name, transformers' names (three of a qkv, none of the classifier), shape, fill."""
    for name, theirs, shape, kind in SPEC["tensors"]:
        theirs = [theirs] if isinstance(theirs, str) else theirs or []
        columns = [numbered(pattern) for pattern in theirs]
        for index, official in enumerate(numbered(name)):
            yield official, [column[index] for column in columns], shape, kind


ROWS = list(rows())


def filled():
    return {name: torch.from_numpy(recipe.fill(name, s, kind)) for name, _, s, kind in ROWS}


def flat_state():
    """A state dict in the official layout, each tensor of one value: its file is small."""
    return {
        name: torch.tensor(float(i)).expand(shape) for i, (name, _, shape, _) in enumerate(ROWS)
    }


def in_transformers_layout(state):
    out = {}
    for name, theirs, _, _ in ROWS:
        if theirs:
            parts = state[name].chunk(len(theirs))
            out.update(zip(theirs, parts, strict=True))
    return out


def save(state, path):
    torch.save(state, path)
    return path


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Filled by the recipe after loading, to spare writing half a gigabyte."""
    folder = tmp_path_factory.mktemp("midas")
    network = load_network(
        "dpt_hybrid_midas", save(flat_state(), folder / "dpt_hybrid-midas-501f0c75.pt")
    )
    network.model.load_state_dict(official_state(filled()), assign=True)
    return network


def check_levels(found, expected):
    """Equal but for single levels in a few pixels."""
    apart = np.abs(found.astype(int) - expected)
    assert apart.max() <= 1
    assert (apart > 0).mean() < FLIPPED


# ------------------------------------------------------------------------------------ the numbers


def test_depth_and_map_agree_with_controlnets_annotator(network):
    image = recipe.pictures("input:256", 1, 256, 256)
    depth = network.depth(image)
    assert depth.dtype == np.float32
    assert depth.shape == (1, 256, 256)
    atol = SPEC["atol"]["depth_256"]
    np.testing.assert_allclose(depth[:, ::8, ::8], STORED["depth_256"][:1], atol=atol, rtol=0)
    maps, constant = stretched(torch.from_numpy(depth))
    assert constant.tolist() == [0]
    check_levels(maps.numpy()[:, ::4, ::4], STORED["map_256"][:1])


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["official", "in a training checkpoint", "transformers"])
def test_whole_files_of_every_layout_give_the_official_numbers(layout, tmp_path):
    path, state = tmp_path / "dpt_hybrid-midas-501f0c75.pt", filled()
    if layout == "transformers":
        path = tmp_path / "model.safetensors"
        write_tensors(path, {k: v.numpy() for k, v in in_transformers_layout(state).items()})
    elif layout == "official":
        save(state, path)
    else:
        save({"model": state, "optimizer": {"state": {}, "param_groups": []}, "epoch": 3}, path)
    del state
    network = load_network("dpt_hybrid_midas", path)
    path.unlink()
    images = recipe.pictures("input:256", 2, 256, 256)
    found = network.extract(images)
    check_levels(found["map"][:, ::4, ::4], STORED["map_256"])
    for name, size, step in (("depth_256", 256, 8), ("depth_384", 384, 12)):
        images = recipe.pictures(f"input:{size}", len(STORED[name]), size, size)
        depth = network.depth(images)[:, ::step, ::step]
        np.testing.assert_allclose(depth, STORED[name], atol=SPEC["atol"][name], rtol=0)


# --------------------------------------------------------------------------------- what it extracts


def test_a_map_does_not_depend_on_its_batch_but_for_float_noise(network):
    images = recipe.pictures("batch", 3, 32, 96)
    whole = network.extract(images)
    assert {k: (str(a.dtype), a.shape) for k, a in whole.items()} == {
        "map": ("uint8", (3, 32, 96)),
        "constant": ("uint8", (3,)),
    }
    np.testing.assert_array_equal(whole["map"].min((1, 2)), 0)
    np.testing.assert_array_equal(whole["map"].max((1, 2)), 255)
    for rows in ([0], [2, 1]):
        check_levels(network.extract(images[rows])["map"], whole["map"][rows])
    depth = network.depth(images)
    np.testing.assert_array_equal(stretched(torch.from_numpy(depth))[0].numpy(), whole["map"])


def test_a_depth_without_any_relief_gives_zeros_and_is_recorded(network):
    last = network.model.scratch["output_conv"][4]
    weight, bias = last.weight.clone(), last.bias.clone()
    try:
        last.weight.zero_()
        last.bias.fill_(3.0)
        found = network.extract(recipe.pictures("flat", 2, 32, 32))
        assert found["constant"].tolist() == [1, 1]
        assert not found["map"].any()
    finally:
        last.weight.copy_(weight)
        last.bias.copy_(bias)
    grey = np.full((1, 3, 64, 64), 128, np.uint8)
    found = network.extract(grey)
    assert found["constant"].tolist() == [0], "borders and positions leave relief in a grey image"
    np.testing.assert_array_equal(found["map"], network.extract(grey)["map"])


def test_with_resize_the_network_sees_what_controlnet_shows_it(network):
    """Sides by hand: 40 x 100 at 64 is 64 x 160, rounded (half to even) to 64 x 128."""
    network = copy.copy(network)
    network.resize = 64
    image = recipe.pictures("small", 1, 40, 100)
    shown = cv2.resize(image[0].transpose(1, 2, 0), (128, 64), interpolation=cv2.INTER_LANCZOS4)
    np.testing.assert_array_equal(resized(image, 64)[0], shown.transpose(2, 0, 1))
    found = network.extract(image)["map"]
    network.resize = None
    seen = network.extract(shown.transpose(2, 0, 1)[None])["map"][0]
    np.testing.assert_array_equal(
        found[0], cv2.resize(seen, (100, 40), interpolation=cv2.INTER_LINEAR)
    )


def test_by_midas_way_the_depth_is_resized_and_then_stretched(network):
    """A picture that it enlarges: in by OpenCV's bicubic, out by torch's, as ``run.py``."""
    network = copy.copy(network)
    network.resize, network.by = 96, "midas"
    image = recipe.pictures("small", 1, 64, 48)
    shown = torch.from_numpy(midas_resized(image, 96))
    assert shown.shape == (1, 3, 96, 64), "1.5 is nearer to 1 than 2; 72 is rounded"
    with torch.inference_mode():
        depth = network.model(shown)
    np.testing.assert_array_equal(network.depth(image), depth.numpy())
    resized_depth = torch.nn.functional.interpolate(
        depth[:, None], size=(64, 48), mode="bicubic", align_corners=False
    )
    levels, _ = stretched(resized_depth[:, 0])
    found = network.extract(image)
    np.testing.assert_array_equal(found["map"], levels.numpy())
    assert found["map"].min() == 0
    assert found["map"].max() == 255


@pytest.mark.slow
def test_by_midas_way_a_picture_of_384_px_is_the_official_input(network):
    network = copy.copy(network)
    options = NETWORKS["dpt_hybrid_midas-384"].options
    network.resize, network.by = options["resize"], options["by"]
    depth = network.depth(recipe.pictures("input:384", 1, 384, 384))[:, ::12, ::12]
    np.testing.assert_allclose(depth, STORED["depth_384"], atol=SPEC["atol"]["depth_384"], rtol=0)


def test_resizing_downwards_averages_areas():
    image = recipe.pictures("large", 1, 128, 192)
    mean = image.reshape(1, 3, 64, 2, 96, 2).mean((3, 5))
    small = resized(image, 64)
    assert small.shape == (1, 3, 64, 128), "96 lies between 64 and 128; numpy rounds 1.5 to 2"
    square = resized(image[..., :128], 64)
    assert np.abs(square - mean[..., :64]).max() <= 0.5
    np.testing.assert_array_equal(resized(square, 64), square)


@pytest.mark.parametrize("resize", [0, -64, 32, 100, 383])
def test_resize_is_a_multiple_of_64(resize):
    with pytest.raises(ValueError, match=f"resize is {resize}; it can be a positive multiple"):
        DptHybridMidas("weights.pt", resize=resize)


def test_other_images_are_refused(network):
    for size in ((250, 256), (256, 16), (0, 32)):
        with pytest.raises(ValueError, match=f"multiples of 32, got {size[0]} x {size[1]}"):
            network.extract(np.zeros((1, 3, *size), np.uint8))
    with pytest.raises(ValueError, match="expected uint8 RGB images"):
        network.extract(np.zeros((1, 3, 32, 32), np.float32))
    with pytest.raises(ValueError, match="expected uint8 RGB images"):
        network.extract(np.zeros((1, 32, 32, 3), np.uint8))


# --------------------------------------------------------------------------------------- stretching


def test_levels_are_cut_off_and_not_rounded():
    """By hand: 2, 3 and 4 are levels 0, 127.5 and 255; any shift and scale gives the same."""
    ramp = torch.tensor([[[2.0, 3.0], [4.0, 2.5]]])
    for scale, shift in ((1, 0), (8, 16), (0.25, -1)):
        maps, constant = stretched(ramp * scale + shift)
        assert maps.dtype == constant.dtype == torch.uint8
        assert maps.tolist() == [[[0, 127], [255, 63]]]
        assert constant.tolist() == [0]


def test_each_map_is_stretched_by_itself_and_a_constant_one_is_zeros():
    ramp = torch.arange(64.0).view(1, 8, 8)
    depth = torch.cat([ramp, torch.full((1, 8, 8), 7.5), 5 * ramp, torch.zeros(1, 8, 8)])
    maps, constant = stretched(depth)
    assert constant.tolist() == [0, 1, 0, 1]
    assert not maps[[1, 3]].any()
    expected = np.arange(64) * 255 // 63
    for row in (0, 2):
        check_levels(maps[row].flatten().numpy(), expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_depth_that_is_not_finite_is_an_error(bad):
    depth = torch.rand(3, 4, 4)
    depth[1, 2, 2] = bad
    with pytest.raises(ValueError, match="NaN or infinite values for image 1 of a batch"):
        stretched(depth)


# -------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("layout", ["official", "no classifier", "checkpoint", "transformers"])
def test_every_tensor_of_every_layout_arrives_in_its_place(layout, tmp_path):
    state = flat_state()
    path = tmp_path / "weights.pt"
    kept = {k: v for k, v in state.items() if k not in CLASSIFIER}
    if layout == "transformers":
        theirs = in_transformers_layout(state)
        assert len(theirs) == len(kept) + 2 * 12 * 2, "12 blocks, weight and bias, 3 for 1"
        save(theirs, path)
    elif layout == "checkpoint":
        save({"optimizer": {"state": {}, "param_groups": []}, "model": state}, path)
    else:
        save(state if layout == "official" else kept, path)
    found = load_network("dpt_hybrid_midas", path).model.state_dict()
    assert set(found) == set(kept)
    for name, tensor in found.items():
        assert tensor.shape == kept[name].shape
        assert tensor.flatten()[[0, -1]].tolist() == kept[name].flatten()[[0, -1]].tolist(), name


def test_query_key_and_value_are_joined_in_this_order():
    name = "dpt.encoder.layer.3.attention.attention."
    parts = {f"{name}{part}.bias": torch.randn(4) for part in ("value", "query", "key")}
    found = official_state(parts)
    assert list(found) == ["pretrained.model.blocks.3.attn.qkv.bias"]
    expected = torch.cat([parts[f"{name}{part}.bias"] for part in ("query", "key", "value")])
    torch.testing.assert_close(next(iter(found.values())), expected, rtol=0, atol=0)


def test_a_file_that_does_not_fit_is_named_with_what_is_needed(tmp_path):
    state = flat_state()
    state["pretrained.model.head_dist.weight"] = state.pop("scratch.layer3_rn.weight")
    state["pretrained.model.cls_token"] = torch.zeros(1, 1, 1024)
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_network("dpt_hybrid_midas", save(state, tmp_path / "other.pt"))
    for words in (
        "1 missing:\n    scratch.layer3_rn.weight (256, 768, 3, 3)",
        "1 unexpected:\n    pretrained.model.head_dist.weight",
        "pretrained.model.cls_token (1, 1, 1024), expected (1, 1, 768)",
        "dpt_hybrid-midas-501f0c75.pt",
        "Intel/dpt-hybrid-midas",
    ):
        assert words in str(caught.value)
    theirs = in_transformers_layout(flat_state())
    del theirs["dpt.encoder.layer.5.attention.attention.key.bias"]
    with pytest.raises(ValueError, match=r"1 missing:\s+pretrained\.model\.blocks\.5\.attn\.qkv"):
        load_network("dpt_hybrid_midas", save(theirs, tmp_path / "theirs.bin"))


def test_a_missing_or_broken_file_is_an_error_in_words(tmp_path):
    with pytest.raises(ValueError, match="needs a weights file"):
        load_network("dpt_hybrid_midas")
    with pytest.raises(ValueError, match=r"give the path of dpt_hybrid-midas-501f0c75\.pt"):
        DptHybridMidas(None)
    with pytest.raises(FileNotFoundError, match=r"dpt_hybrid-midas-501f0c75\.pt"):
        load_network("dpt_hybrid_midas", tmp_path / "absent.pt")
    state = flat_state()
    state["pretrained.model.pos_embed"] = torch.zeros(1, 577, 768)
    whole = save(state, tmp_path / "half.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut short") as caught:
        load_network("dpt_hybrid_midas", tmp_path / "half.pt")
    assert "dpt_hybrid-midas-501f0c75.pt" in str(caught.value)
