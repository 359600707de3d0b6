"""SiT: the official layout and numbers, its BatchNorm in training, released checkpoints."""

import argparse
import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from seesaw.diffusion.backbones import load_backbone
from seesaw.diffusion.backbones.layers import sincos_2d
from seesaw.diffusion.sit import SiT, sincos_1d
from seesaw.diffusion.sizes import SIZES, time_shift_of
from seesaw.diffusion.train import World, batch_normalise, load_sit, read_state, velocity_loss
from seesaw.registry import BACKBONES

REFERENCE = Path(__file__).parents[1] / "reference"
recipe = importlib.import_module("recipe")
OFFICIAL = json.loads((REFERENCE / "sit.json").read_text())
NUMBERS = np.load(REFERENCE / "sit.npz")
SLOW = ["sit-b/1", "sit-xl/2"]
TINY = {"size": "SiT-Ti", "num_classes": 10}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def layout(name):
    """Every key of the official layout: shape and fill. ``{0-11}`` stands for each block."""
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
    kind, _, patch = name.partition("/")
    config = {"latent_shape": OFFICIAL[name]["latent_shape"], "patch_size": int(patch.strip("d"))}
    with torch.device("meta"):
        return SiT(
            size=f"SiT-{kind.removeprefix('sit-').upper()}",
            time_shift=OFFICIAL[name]["time_shift"],
            **config,
        )


def positions(name):
    """The position table as computed."""
    official = OFFICIAL[name]
    width = layout(name)["pos_embed"][0][-1]
    shape = official["latent_shape"]
    if len(shape) == 2:
        return sincos_1d(width, shape[0])[None].float()
    return sincos_2d(width, shape[1] // int(name[-1]))[None].float()


def filled(name):
    """The published size, filled by the recipe."""
    model, batches = full_size(name), OFFICIAL[name]["bn.num_batches_tracked"]
    state = {"pos_embed": positions(name), "bn.num_batches_tracked": torch.tensor(batches)}
    for key, (shape, kind) in layout(name).items():
        if key not in state:
            state[key] = torch.from_numpy(recipe.fill(key, shape, kind))
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def normal(key, shape, scale=1.0, shift=0.0):
    values = recipe.generator(0, key).standard_normal(tuple(shape)) * scale + shift
    return torch.from_numpy(values.astype("float32"))


# --------------------------------------------------------------------------------- official numbers


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_published_size_has_the_official_keys_and_shapes(name):
    ours = {key: tuple(tensor.shape) for key, tensor in full_size(name).state_dict().items()}
    assert ours == {key: shape for key, (shape, _) in layout(name).items()}
    assert len(ours) == (295 if "xl" in name else 135)


@pytest.mark.parametrize(
    "name", ["sit-b/2", "sit-b/1d", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)]
)
def test_official_numbers(name):
    """The velocity of the image without a label, and the loss of the first, in both modes."""
    official, model = OFFICIAL[name], filled(name)
    shape = (len(official["y"]), *official["latent_shape"])
    x_t, noise = normal("input:x_t", shape), normal("input:noise", shape)
    z = normal("input:z", shape, 1.7, 0.3)
    y, t = torch.tensor(official["y"]), torch.tensor(official["t"])
    shifted = model.shift_time(torch.tensor(official["t_raw"]))
    x_eval = model.normalise(z)
    x_train = batch_normalise(model, z)
    at = shifted.view(-1, *[1] * (z.ndim - 1))
    noised = [torch.lerp(x, noise, at)[:1] for x in (x_eval, x_train)]
    with torch.no_grad():
        found = model(
            torch.cat([x_t[1:2], *noised]),
            torch.stack([t[1], shifted[0], shifted[0]]),
            torch.stack([y[1], y[0], y[0]]),
        )
    losses = [(v - (noise - x)[0]).square().mean() for v, x in zip(found[1:], (x_eval, x_train))]
    ours = {
        "velocity": (found[0].flatten()[::37], 1),
        "eval_model_output": (found[1].flatten()[::37], 0),
        "eval_loss": (losses[0], 0),
        "eval_shifted_t": (shifted, slice(None)),
        "bntrain_loss": (losses[1], 0),
        "bntrain_running_mean": (model.bn.running_mean, slice(None)),
        "bntrain_running_var": (model.bn.running_var, slice(None)),
    }
    for key, atol in official["atol"].items():
        value, row = ours.pop(key)
        expected = NUMBERS[f"{name}/{key}"][row]
        np.testing.assert_allclose(value.numpy(), expected, atol=atol, rtol=0, err_msg=key)
    assert not ours
    assert model.bn.num_batches_tracked == official["bn.num_batches_tracked"] + 1


# --------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("shape", [(5, 4, 6, 6), (5, 7, 4)])
def test_training_normalises_as_batch_norm_does(shape):
    z = normal("z", shape, 3.0, -2.0)
    model = SiT(shape[1:], **TINY)
    theirs = SiT(shape[1:], **TINY).bn.train()
    expected = theirs(z) if len(shape) == 4 else theirs(z.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(batch_normalise(model, z), expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(model.bn.running_mean, theirs.running_mean, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(model.bn.running_var, theirs.running_var, atol=1e-7, rtol=1e-6)
    assert model.bn.num_batches_tracked == 1


@pytest.mark.parametrize("shape", [(4, 6, 6), (7, 4)])
def test_denormalised_is_raw_again(shape):
    model = SiT(shape, **TINY).eval()
    model.bn.running_mean.copy_(torch.arange(4.0))
    model.bn.running_var.copy_(torch.arange(1.0, 5.0))
    z = normal("z", (3, *shape), 2.0, 1.0)
    torch.testing.assert_close(model.denormalise(model.normalise(z)), z, atol=1e-3, rtol=1e-3)


def test_an_untrained_model_predicts_zero_and_a_loss_of_known_size():
    model = SiT((4, 6, 6), **TINY).eval()
    x, noise = normal("x", (64, 4, 6, 6)), normal("noise", (64, 4, 6, 6))
    t, y = torch.rand(64), torch.arange(64) % 11
    with torch.no_grad():
        assert not model(x, t, y).any()
        loss = velocity_loss(model, x, t, y, noise)
    torch.testing.assert_close(loss, (noise - x).square().flatten(1).mean(1))
    assert loss.mean() == pytest.approx(2, abs=0.1)  # the variances of noise and data


def test_time_shift():
    assert time_shift_of((4, 32, 32)) == 1
    assert time_shift_of((768, 16, 16)) == pytest.approx(6.928203, abs=1e-6)
    assert time_shift_of((16, 4, 4), 256) == 1
    t = torch.tensor([0.0, 0.5, 1.0])
    assert SiT((4, 6, 6), time_shift=3.0, **TINY).shift_time(t).tolist() == [0, 0.75, 1]
    assert SiT((4, 6, 6), **TINY).time_shift == pytest.approx((144 / 4096) ** 0.5)


@pytest.mark.parametrize(
    "shape, config, words",
    [
        ((4, 6, 6), {"size": "SiT-M"}, "unknown SiT size 'SiT-M'. Did you mean 'SiT-"),
        ((4, 6, 6), {"patch_size": 4}, r"H a multiple of 4, or tokens \(T, C\); got \(4, 6, 6\)"),
        ((4, 6, 8), {}, r"got \(4, 6, 8\)"),
        ((7, 4), {"patch_size": 2}, r"1-D tokens \(7, 4\) take patch_size 1, got 2"),
    ],
)
def test_errors_in_words(shape, config, words):
    with pytest.raises(ValueError, match=words):
        SiT(shape, **{**TINY, **config})


def test_a_share_of_a_batch():
    assert World(1, 2).share(6) == slice(3, 6)
    with pytest.raises(ValueError, match="a batch of 7 cannot be shared equally by 2 devices"):
        World(0, 2).share(7)


# ----------------------------------------------------------------------------- released checkpoints


SMALL = {"latent_shape": (4, 6, 6), "size": "SiT-Ti", "num_classes": 10, "time_shift": 0.5}


def released(path, **args):
    """A file as the iFID paper's code writes it: the averaged weights differ from the others."""
    model, averaged = SiT(patch_size=2, **SMALL), SiT(patch_size=2, **SMALL)
    torch.nn.init.normal_(averaged.final_layer.linear.weight)
    averaged.bn.num_batches_tracked.fill_(1000)
    content = {
        "model": model.state_dict(),
        "ema": averaged.state_dict(),
        "opt": torch.optim.AdamW(model.parameters()).state_dict(),
        "args": argparse.Namespace(model="SiT-Ti/2", lr=1e-4, **args),
        "steps": 400_000,
    }
    torch.save(content, path)
    return averaged


def test_a_released_checkpoint_loads_its_averaged_weights(tmp_path):
    averaged = released(tmp_path / "0400000.pt")
    ours = load_backbone("sit-b/2", tmp_path / "0400000.pt", SMALL)
    assert not ours.training
    assert ours.time_shift == 0.5
    state = ours.state_dict()
    assert list(state) == list(averaged.state_dict())
    for key, tensor in averaged.state_dict().items():
        assert torch.equal(state[key], tensor), key
        assert state[key].dtype == tensor.dtype
    x, t, y = normal("x", (2, 4, 6, 6)), torch.tensor([0.3, 0.7]), torch.tensor([1, 10])
    with torch.no_grad():
        assert torch.equal(ours(x, t, y), averaged.eval()(x, t, y))


def test_a_released_checkpoint_of_another_size_is_refused(tmp_path):
    released(tmp_path / "0400000.pt")
    with pytest.raises(ValueError, match="does not fit this model"):
        load_backbone("sit-b/2", tmp_path / "0400000.pt", {**SMALL, "latent_shape": (8, 6, 6)})


class Runs:
    """An object that would make a file if it were unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_other_python_objects_are_read_over(tmp_path):
    released(tmp_path / "0400000.pt", transform=Runs(tmp_path / "trap"))
    load_backbone("sit-b/2", tmp_path / "0400000.pt", SMALL)
    assert not (tmp_path / "trap").exists()


def test_a_released_checkpoint_is_no_state_of_ours(tmp_path):
    released(tmp_path / "0400000.pt")
    with pytest.raises(ValueError, match="load_backbone"):
        load_sit(tmp_path / "0400000.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "0400000.pt").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"cut.pt is no training state .*rerun train_diffusion"):
        read_state(tmp_path / "cut.pt")
    with pytest.raises(FileNotFoundError):
        read_state(tmp_path / "none.pt")


@pytest.mark.parametrize("size", ["b", "l", "xl"])
@pytest.mark.parametrize("patch_size", [1, 2])
def test_registered_names_are_the_published_sizes(size, patch_size):
    with torch.device("meta"):
        name = f"sit-{size}/{patch_size}"
        model = BACKBONES.load(name)(**BACKBONES[name].config)
    assert len(model.blocks) == SIZES[f"SiT-{size.upper()}"].depth
    assert model.token_grid == (16, 16)
    assert model.num_classes == 1000
