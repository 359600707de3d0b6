"""Diffusion backbones: official layouts and numbers, a second implementation, samplers."""

import copy
import importlib
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from backbone_fill import SMALL, fill_backbone
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from seesaw.autoencoders.weights import save_weights
from seesaw.diffusion.backbones import load_backbone
from seesaw.diffusion.backbones.layers import RotaryTable, rotate, sincos_2d, unpatchify
from seesaw.diffusion.grids import euler, lightningdit_times, rae_times
from seesaw.registry import BACKBONES

REFERENCE = Path(__file__).parents[1] / "reference"
recipe = importlib.import_module("recipe")
OFFICIAL = json.loads((REFERENCE / "backbones.json").read_text())
NUMBERS = np.load(REFERENCE / "backbones.npz")
NAMES = sorted(OFFICIAL)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def layout(name):
    """Every key of the official layout: shape and fill. ``{0-27}`` stands for each block."""
    rows = {}
    for key, shape, kind in OFFICIAL[name]["tensors"]:
        numbers = re.search(r"\{(\d+)-(\d+)\}", key)
        if numbers is None:
            rows[key] = (tuple(shape), kind)
            continue
        for index in range(int(numbers[1]), int(numbers[2]) + 1):
            rows[key.replace(numbers[0], str(index))] = (tuple(shape), kind)
    return rows


def full_size(name):
    """The published size, without memory for its weights."""
    with torch.device("meta"):
        return BACKBONES.load(name)(**BACKBONES[name].config)


def small(name, **config):
    return fill_backbone(load_backbone(name, config={**SMALL[name], **config}))


def inputs(name, count=3):
    shape = (count, *SMALL[name]["latent_shape"])
    x = torch.from_numpy(recipe.generator(0, "small").standard_normal(shape)).float()
    return x, torch.tensor([0.25, 0.8, 0.5])[:count], torch.tensor([7, 10, 0])[:count]


# --------------------------------------------------------------------------------- official numbers


@pytest.mark.parametrize("name, count", [("lightningdit-xl/1", 351), ("ditdh-xl", 382)])
def test_the_published_size_has_the_official_keys_and_shapes(name, count):
    ours = {key: tuple(tensor.shape) for key, tensor in full_size(name).state_dict().items()}
    assert ours == {key: shape for key, (shape, _) in layout(name).items()}
    assert len(ours) == count


@pytest.mark.parametrize("head_width, step", [(72, 17), (128, 37)])
def test_rotary_tables_have_the_official_bits(head_width, step):
    cosines, sines = RotaryTable(head_width, 16)()
    np.testing.assert_array_equal(cosines[::step], NUMBERS[f"rotary_{head_width}_cos"])
    np.testing.assert_array_equal(sines[::step], NUMBERS[f"rotary_{head_width}_sin"])


def test_positions_have_the_official_bits():
    np.testing.assert_array_equal(sincos_2d(1152, 16).float()[::17, ::9], NUMBERS["positions"])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_official_velocity_at_full_size(name):
    backbone, rows, prefix = full_size(name), layout(name), name.partition("-")[0]
    own = load_backbone(name, config={"depth": 2}).state_dict()
    state = {
        key: own[key] if kind == "literal" else torch.from_numpy(recipe.fill(key, shape, kind))
        for key, (shape, kind) in rows.items()
    }
    backbone.load_state_dict(state, strict=True, assign=True)
    shape = (2, *backbone.latent_shape)
    x = torch.from_numpy(recipe.generator(0, "input:x_t").standard_normal(shape)).float()
    with torch.no_grad():
        velocity = backbone.eval()(x, torch.tensor([0.25, 0.8]), torch.tensor([7, 1000])).numpy()
    kept = {
        "velocity": velocity[:, :, ::4, ::4],
        "velocity_c8": velocity[:, ::32, ::4, ::4],
        "channel_mean": velocity.mean((2, 3)),
    }
    for key, atol in OFFICIAL[name]["atol"].items():
        expected = NUMBERS[f"{prefix}_{key.removesuffix('_c8')}"]
        np.testing.assert_allclose(kept[key], expected, atol=atol, rtol=0)


# ----------------------------------------------------------------------- a second implementation


def numpy_backbone(name, state, config, x, t, y):
    """The velocity by plain float64 numpy, token by token where that is simple."""
    s = {key: tensor.numpy().astype(np.float64) for key, tensor in state.items()}
    x, t, y = x.numpy().astype(np.float64), t.numpy().astype(np.float64), y.numpy()
    side = config["latent_shape"][1]

    def linear(v, key):
        return v @ s[f"{key}.weight"].reshape(len(s[f"{key}.weight"]), -1).T + s[f"{key}.bias"]

    def silu(v):
        return v / (1 + np.exp(-v))

    def norm(v, key):
        return v / np.sqrt((v**2).mean(-1, keepdims=True) + 1e-6) * s[f"{key}.weight"]

    def turn(v):
        """Complex pairs times exp(i position rate); first half of a head rows, then columns."""
        half = v.shape[-1] // 2
        rates = 10000.0 ** (-np.arange(half // 2) / (half / 2))
        row, column = np.divmod(np.arange(side * side), side)
        angles = np.concatenate([row[:, None] * rates, column[:, None] * rates], axis=1)
        pairs = (v[..., ::2] + 1j * v[..., 1::2]) * np.exp(1j * angles)
        return np.stack([pairs.real, pairs.imag], axis=-1).reshape(v.shape)

    def block(v, c, key, heads):
        c = c if c.ndim == 3 else c[:, None]
        parts = np.split(linear(silu(c), f"{key}.adaLN_modulation.1"), 6, axis=-1)
        h = norm(v, f"{key}.norm1") * (1 + parts[1]) + parts[0]
        q, k, w = np.split(linear(h, f"{key}.attn.qkv"), 3, axis=-1)
        mixed, d = np.empty_like(v), v.shape[-1] // heads
        for head in range(heads):
            at = np.s_[..., head * d : (head + 1) * d]
            weights = np.exp(turn(q[at]) @ turn(k[at]).transpose(0, 2, 1) / math.sqrt(d))
            mixed[at] = weights / weights.sum(-1, keepdims=True) @ w[at]
        v = v + parts[2] * linear(mixed, f"{key}.attn.proj")
        h = norm(v, f"{key}.norm2") * (1 + parts[4]) + parts[3]
        gate, value = np.split(linear(h, f"{key}.mlp.w12"), 2, axis=-1)
        return v + parts[5] * linear(silu(gate) * value, f"{key}.mlp.w3")

    def last(v, c):
        c = c if c.ndim == 3 else c[:, None]
        shift, scale = np.split(linear(silu(c), "final_layer.adaLN_modulation.1"), 2, axis=-1)
        v = linear(norm(v, "final_layer.norm_final") * (1 + scale) + shift, "final_layer.linear")
        return v.transpose(0, 2, 1).reshape(x.shape)

    def time(angles):
        return linear(silu(linear(angles, "t_embedder.mlp.0")), "t_embedder.mlp.2")

    cells = x.reshape(*x.shape[:2], -1).transpose(0, 2, 1)
    label = s["y_embedder.embedding_table.weight"][y]
    if name == "lightningdit-xl/1":
        angles = t[:, None] * 10000.0 ** (-np.arange(128) / 128)
        c = time(np.concatenate([np.cos(angles), np.sin(angles)], axis=1)) + label
        tokens = linear(cells, "x_embedder.proj") + s["pos_embed"]
        for index in range(config["depth"]):
            tokens = block(tokens, c, f"blocks.{index}", config["heads"])
        return last(tokens, c)
    angles = 2 * np.pi * t[:, None] * s["t_embedder.W"]
    when = time(np.concatenate([np.sin(angles), np.cos(angles)], axis=1))
    tokens = linear(cells, "s_embedder.proj") + s["pos_embed"]
    for index in range(config["depth"]):
        tokens = block(tokens, silu(when + label), f"blocks.{index}", config["heads"])
    each, wide = (
        linear(silu(when[:, None] + tokens), "s_projector"),
        linear(cells, "x_embedder.proj"),
    )
    for index in range(config["depth"], config["depth"] + config["head_depth"]):
        wide = block(wide, each, f"blocks.{index}", config["head_heads"])
    return last(wide, each)


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_plain_numpy(name):
    backbone, (x, t, y) = small(name), inputs(name)
    expected = numpy_backbone(name, backbone.state_dict(), SMALL[name], x, t, y)
    with torch.no_grad():
        velocity = backbone(x, t, y).numpy()
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(velocity, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_small_sizes_keep_their_numbers(name):
    """Regression: made by this implementation when it agreed with the official one at full size."""
    with torch.no_grad():
        velocity = small(name)(*inputs(name)).numpy()
    expected = NUMBERS[f"{name.partition('-')[0]}_small"]
    np.testing.assert_allclose(velocity, expected, atol=1e-5, rtol=0)


# -------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("name", NAMES)
def test_a_velocity_does_not_depend_on_the_rest_of_the_batch(name):
    backbone, (x, t, y) = small(name), inputs(name)
    with torch.no_grad():
        together, alone = backbone(x, t, y), backbone(x[1:2], t[1:2], y[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_matters(name):
    """A dropped tensor would have no gradient; labels that are absent have none."""
    backbone, (x, t, y) = small(name).requires_grad_(True), inputs(name)
    backbone(x, t, y).square().sum().backward()
    silent = [key for key, value in backbone.named_parameters() if not value.grad.abs().sum() > 0]
    assert silent == []
    table = backbone.y_embedder.embedding_table.weight.grad.abs().sum(1)
    assert sorted(table.nonzero().flatten().tolist()) == [0, 7, 10]


@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_rotary_products_depend_on_the_distance_only(row, column, down, right):
    """q at a, k at b: the product is that of the positions moved by the same steps."""
    table, side = RotaryTable(8, 8)(), 8
    q, k = torch.from_numpy(recipe.generator(0, "rotary").standard_normal((2, 8)))
    everywhere = [rotate(v.expand(side * side, 8), table) for v in (q, k)]
    a, b = row * side + column, 2 * side + 1
    moved = down * side + right
    before = everywhere[0][a] @ everywhere[1][b]
    after = everywhere[0][a + moved] @ everywhere[1][b + moved]
    assert after.item() == pytest.approx(before.item(), abs=1e-5)
    assert everywhere[0].norm(dim=1).numpy() == pytest.approx(q.norm().item(), rel=1e-5)


@pytest.mark.parametrize("patch_size", [1, 2])
def test_patches_return_to_their_places(patch_size):
    """Values channels last in a patch, patches row by row: written out."""
    p, side, channels = patch_size, 3, 2
    values = torch.arange(side * side * p * p * channels).reshape(1, side * side, -1)
    image = unpatchify(values, side, p)
    assert image.shape == (1, channels, side * p, side * p)
    for channel, row, column in np.ndindex(*image.shape[1:]):
        patch = (row // p) * side + column // p
        place = ((row % p) * p + column % p) * channels + channel
        assert image[0, channel, row, column] == values[0, patch, place]


def test_lightningdit_in_patches():
    backbone = small("lightningdit-xl/1", patch_size=2, latent_shape=(4, 8, 8))
    assert backbone.token_grid == (4, 4)
    x = torch.from_numpy(recipe.generator(0, "patches").standard_normal((1, 4, 8, 8))).float()
    tokens, _ = backbone.embed(x, torch.tensor([0.5]), torch.tensor([1]))
    weight, bias = backbone.x_embedder.proj.weight, backbone.x_embedder.proj.bias
    cells = F.pixel_unshuffle(x, 2).flatten(2).transpose(1, 2)
    by_hand = cells @ weight.flatten(1).T + bias + backbone.pos_embed
    torch.testing.assert_close(tokens, by_hand, atol=1e-5, rtol=0)
    assert backbone(x, torch.tensor([0.5]), torch.tensor([1])).shape == x.shape


@pytest.mark.parametrize("name", NAMES)
def test_initial_weights_predict_zero(name):
    backbone = load_backbone(name, config=SMALL[name])
    assert not backbone.training
    assert not any(value.requires_grad for value in backbone.parameters())
    assert torch.equal(backbone(*inputs(name)), torch.zeros(3, *SMALL[name]["latent_shape"]))


def test_training_times():
    """Logit-normal quartiles at sigmoid(+-0.6745); RAE's are shifted and end at shift(0.999)."""
    quartiles = torch.tensor([0.25, 0.5, 0.75])
    plain = 1 / (1 + np.exp([0.6745, 0.0, -0.6745]))
    for name in NAMES:
        backbone = load_backbone(name, config={**SMALL[name], "latent_shape": (64, 16, 16)})
        times = backbone.draw_times(40000, torch.Generator().manual_seed(0))
        assert times.dtype == torch.float32
        shift = 2.0 if name == "ditdh-xl" else 1.0
        expected = shift * plain / (1 + (shift - 1) * plain)
        np.testing.assert_allclose(times.quantile(quartiles).numpy(), expected, atol=0.01)
        again = backbone.draw_times(40000, torch.Generator().manual_seed(0))
        assert torch.equal(times, again)


# ----------------------------------------------------------------------------------- weights files


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("container", ["safetensors", "plain", "ema", "training"])
def test_files_of_every_container_load(name, container, tmp_path):
    backbone = small(name)
    state = backbone.state_dict()
    path = tmp_path / ("w.safetensors" if container == "safetensors" else "w.pt")
    other = {key: torch.zeros_like(tensor) for key, tensor in state.items()}
    if container == "safetensors":
        save_weights(backbone, path)
    else:
        content = {"ema": {"ema": state}, "training": {"model": other, "ema": state}}
        torch.save(content.get(container, state), path)
    loaded = load_backbone(name, path, SMALL[name])
    assert not any(value.requires_grad for value in loaded.parameters())
    for key, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[key]), key
    assert torch.equal(loaded(*inputs(name)), backbone(*inputs(name)))


def test_half_precision_files_become_float32(tmp_path):
    state = small("ditdh-xl").half().state_dict()
    torch.save(state, tmp_path / "half.pt")
    loaded = load_backbone("ditdh-xl", tmp_path / "half.pt", SMALL["ditdh-xl"])
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    assert torch.equal(loaded.s_projector.weight, state["s_projector.weight"].float())


def test_the_head_bears_official_names_and_is_no_part_of_the_stream():
    backbone = small("ditdh-xl")
    assert (len(backbone.blocks), len(backbone.head)) == (3, 2)
    for one in (backbone, copy.deepcopy(backbone)):
        keys = set(one.state_dict())
        assert not any(key.startswith("head.") for key in keys)
        assert {key.split(".")[1] for key in keys if key.startswith("blocks.")} == set("01234")
        state = {key: tensor + 1 for key, tensor in one.state_dict().items()}
        one.load_state_dict(state)
        assert torch.equal(one.head[1].attn.proj.bias, state["blocks.4.attn.proj.bias"])
    held = torch.nn.ModuleDict({"inside": backbone})
    assert "inside.blocks.3.norm1.weight" in held.state_dict()
    held.load_state_dict(held.state_dict())


def test_errors_in_words(tmp_path):
    name, config = "ditdh-xl", SMALL["ditdh-xl"]
    with pytest.raises(ValueError, match="Did you mean 'ditdh-xl'"):
        load_backbone("ditdh-xxl")
    with pytest.raises(ValueError, match="does not take 'hidden_size'; it takes latent_shape"):
        load_backbone(name, config={"hidden_size": 3})
    with pytest.raises(FileNotFoundError, match="absent.pt does not exist"):
        load_backbone(name, tmp_path / "absent.pt", config)
    state = small(name).state_dict()
    state["blocks.9.norm1.weight"] = state.pop("blocks.4.norm1.weight")
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_backbone(name, tmp_path / "other.pt", config)
    assert "blocks.4.norm1.weight (48,)" in str(caught.value)
    assert "blocks.9.norm1.weight (48,)" in str(caught.value)
    for change, words in [
        ({"latent_shape": (16, 6)}, "takes latents"),
        ({"latent_shape": (6, 4, 5)}, "takes latents"),
        ({"width": 30, "heads": 4}, "must be a multiple of 4"),
        ({"heads": 3}, "3 heads do not divide width 32"),
        ({"heads": 16}, "width is a multiple of 4, got 2"),
        ({"head_width": 32}, "must not be as wide"),
    ]:
        with pytest.raises(ValueError, match=words):
            load_backbone(name, config={**config, **change})


# ---------------------------------------------------------------------------------------- samplers


def gaussian_velocity(labels, *, data_at, spread=0.5):
    """The exact velocity where the data are normal with mean ``0.5 (y mod 5) - 1``."""
    mean = (0.5 * (torch.tensor(labels) % 5) - 1).view(-1, 1, 1, 1)

    def velocity(x, t):
        a, b = (t, 1 - t) if data_at else (1 - t, t)
        surprise = (x - a * mean) / (a**2 * spread**2 + b**2)
        data, noise = mean + a * spread**2 * surprise, b * surprise
        return data - noise if data_at else noise - data

    return velocity


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "name, times, key, data_at",
    [
        ("lightningdit", lightningdit_times(), "lightningdit_250", 1),
        ("ditdh", rae_times(), "rae_50", 0),
    ],
)
def test_official_samplers(name, times, key, data_at, dtype):
    np.testing.assert_allclose(times, NUMBERS[f"{name}_times"], atol=1e-6, rtol=0)
    x = recipe.generator(0, f"backbone_samplers/{key}/x1").standard_normal((4, 2, 4, 4))
    x = torch.from_numpy(x.astype(np.float32)).to(dtype)
    found = euler(gaussian_velocity([7, 1, 999, 4], data_at=data_at), x, times)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, NUMBERS[f"{name}_sample"], atol=1e-5, rtol=0)


def test_grids_count_points_and_run_from_noise_to_data():
    forward, backward = lightningdit_times(), rae_times()
    assert (len(forward), len(backward)) == (250, 50)
    assert (forward[0], forward[-1], backward[0]) == (0, 1, 1)
    shift = math.sqrt(768 * 16 * 16 / 4096)
    assert backward[-1] == pytest.approx(shift * 0.001 / (1 + (shift - 1) * 0.001))
    assert sorted(forward) == forward
    assert sorted(backward, reverse=True) == backward
    assert rae_times(3, latent_shape=(16, 16, 16))[1] == pytest.approx(1 - 0.999 / 2)
    with pytest.raises(ValueError, match="at least 2 points"):
        lightningdit_times(1)


@given(st.integers(1, 40))
@settings(deadline=None)
def test_euler_in_closed_form(steps):
    """dx/dt = -x: a factor 1 - h per step; a constant velocity is integrated exactly."""
    times = [index / steps for index in range(steps + 1)]
    x = torch.ones(2, 3, dtype=torch.float64)
    decayed = euler(lambda x, t: -x, x, times)
    np.testing.assert_allclose(decayed, (1 - 1 / steps) ** steps, rtol=1e-12, atol=1e-12)
    moved = euler(lambda x, t: torch.full_like(x, 2.0).float(), x, times[::-1])
    np.testing.assert_allclose(moved, -1.0, rtol=1e-12)
    assert moved.dtype == torch.float64
