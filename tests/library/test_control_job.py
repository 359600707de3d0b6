"""The control stage: frozen models seen alike, resumable training, samples, scores, words."""

import importlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from backbone_fill import SMALL, fill_backbone
from torch import nn

from seesaw.conditions import extract_conditions
from seesaw.control.branch import load_branch, read_notes, save_branch, state_sha256
from seesaw.control.frozen import FrozenModel, load_frozen, read_statistics
from seesaw.control.job import (
    ControlRecipe,
    HintMaps,
    Learner,
    new_branch,
    train_branch,
    train_control,
    unfinished_of,
)
from seesaw.control.sample import choose_images, sample_control
from seesaw.control.score import score_control
from seesaw.diffusion.backbones import load_backbone
from seesaw.diffusion.grids import lightningdit_times, rae_times
from seesaw.diffusion.sample import sample_latents
from seesaw.diffusion.samplers import Sampler
from seesaw.diffusion.sit import SiT
from seesaw.results import read_scores
from seesaw.shards import Shards, ShardWriter

recipe = importlib.import_module("recipe")
SIDE = 16
NAMES = sorted(SMALL)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def numbers(key, *shape):
    return recipe.generator(0, key).standard_normal(shape)


def maps_like(n, key="maps"):
    return (recipe.generator(0, key).random((n, SIDE, SIDE)) > 0.7).astype(np.uint8) * 255


def write(path, ids, meta=None, **fields):
    with ShardWriter(path, shard_size=5, meta=dict(meta or {})) as writer:
        writer.add(ids, fields)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Twelve images with labels and edge maps."""
    folder = tmp_path_factory.mktemp("world")
    ids = [f"image-{i:02d}" for i in range(12)]
    pixels = recipe.generator(0, "pixels").integers(0, 256, (12, 3, SIDE, SIDE)).astype(np.uint8)
    write(folder / "images/manifest.json", ids, images=pixels)
    pd.DataFrame({"label": np.arange(12) % 3}).to_parquet(folder / "images/index.parquet")
    maps = folder / "maps/manifest.json"
    write(maps, ids, {"network": "canny"}, map=maps_like(12))
    return folder


def autoencoder_of(channels):
    return {
        "family": "diffusers-kl",
        "config": {
            "resolution": SIDE,
            "patch": 4,
            "widths": [8],
            "layers": 0,
            "norm_groups": 4,
            "latent_channels": channels,
        },
    }


def published(folder, name):
    """A small backbone of the published kind and its statistics, as files."""
    torch.save(fill_backbone(load_backbone(name, config=SMALL[name])).state_dict(), folder / "b.pt")
    channels, side, _ = shape = SMALL[name]["latent_shape"]
    if name == "ditdh-xl":
        torch.save({"mean": torch.zeros(shape), "var": torch.full(shape, 0.25)}, folder / "s.pt")
    else:
        stats = {
            "mean": torch.zeros(1, channels, 1, 1),
            "std": torch.full((1, channels, 1, 1), 0.5),
        }
        torch.save(stats, folder / "s.pt")
    return {
        "name": name,
        "weights": folder / "b.pt",
        "latents": folder / "s.pt",
        "config": SMALL[name],
        "points": 5,
    }


def own(folder):
    """A SiT with weights that predict something, in a state file as training writes it."""
    args = {"latent_shape": [4, 4, 4], "size": "SiT-Ti", "num_classes": 3, "time_shift": 1.5}
    torch.manual_seed(1)
    model = SiT(**args)
    for value in model.parameters():
        nn.init.normal_(value, std=0.05)
    model.bn.running_mean.fill_(0.3)
    state = {"model": {}, "ema": model.state_dict(), "opt": {}, "steps": 1, "args": args}
    torch.save(state, folder / "sit.pt")
    return {
        "name": "SiT-Ti",
        "weights": folder / "sit.pt",
        "sampler": {"mode": "sde", "steps": 4, "guidance": 1.5},
    }


def backbone_options(folder, name):
    return own(folder) if name == "SiT-Ti" else published(folder, name)


def job(world, backbone, channels, output, **changes):
    return {
        "backbone": backbone,
        **autoencoder_of(channels),
        "weights": None,
        "images": world / "images/manifest.json",
        "index": world / "images/index.parquet",
        "maps": world / "maps/manifest.json",
        "posterior": "mean",
        "recipe": {"steps": 2, "batch_size": 4, "accumulate": 2, "lr": 1e-2},
        "depth": None,
        "output": output,
        "seed": 0,
        "device": "cpu",
        **changes,
    }


# ------------------------------------------------------------------------------------ closed forms


class Point(nn.Module):
    """The exact velocity field between noise and a single point."""

    latent_shape, num_classes = (2, 3, 3), 5

    def __init__(self, data_at):
        super().__init__()
        self.data_at = data_at

    def forward(self, x, t, y):
        towards = (self.centre() - x) / (1 - t if self.data_at else t).view(-1, 1, 1, 1)
        return towards if self.data_at else -towards

    @staticmethod
    def centre():
        return torch.arange(18.0).view(2, 3, 3) / 10


@pytest.mark.parametrize("data_at", [0, 1])
@pytest.mark.parametrize("shift", [0.3, 1.0, 4.0])
def test_samples_reach_the_data_wherever_in_time_it_lies(data_at, shift):
    point = Point(data_at)
    frozen = FrozenModel(
        "point",
        point,
        Sampler(mode="ode", steps=6),
        normalise=lambda z: (z - 5) / 2,
        denormalise=lambda x: x * 2 + 5,
        shift_time=lambda t: shift * t / (1 + (shift - 1) * t),
    )
    labels = torch.zeros(3, dtype=torch.int64)
    found = sample_latents(
        frozen, labels, list("abc"), frozen.sampler, seed=0, velocity=frozen.velocity(point)
    )
    expected = (Point.centre() * 2 + 5).expand(3, -1, -1, -1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(frozen.normalise(found)[0], Point.centre(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("points", [None, 7])
def test_published_grids_are_kept(name, points, tmp_path):
    options = published(tmp_path, name)
    frozen = load_frozen(**{**options, "points": points})
    times = frozen.sampler.times(frozen.shift_time)
    if name == "ditdh-xl":
        expected = rae_times(points or 50, latent_shape=SMALL[name]["latent_shape"])
    else:
        expected = [1 - t for t in lightningdit_times(points or 250)]
    np.testing.assert_allclose(times.numpy(), expected, atol=1e-12)
    z = torch.from_numpy(numbers("z", 2, *frozen.latent_shape)).float()
    torch.testing.assert_close(frozen.denormalise(frozen.normalise(z)), z)
    torch.testing.assert_close(frozen.normalise(z), z * 2, atol=1e-3, rtol=1e-4)


def test_a_sit_keeps_its_own_ways(tmp_path):
    frozen = load_frozen(**own(tmp_path))
    assert frozen.sampler == Sampler(mode="sde", steps=4, guidance=1.5)
    assert frozen.velocity(frozen.backbone) is frozen.backbone
    assert float(frozen.shift_time(torch.tensor(0.5))) == pytest.approx(0.75 / 1.25)
    z = torch.full((1, 4, 4, 4), 1.3)
    torch.testing.assert_close(frozen.normalise(z), torch.ones_like(z), atol=1e-4, rtol=0)


def test_latent_statistics_of_both_kinds(tmp_path):
    path = tmp_path / "stats.pt"
    torch.save({"mean": torch.tensor([1.0, 2.0]), "std": torch.tensor([3.0, 4.0])}, path)
    mean, scale = read_statistics(path, (2, 3, 3))
    assert mean[:, 1, 2].tolist() == [1, 2]
    assert scale[:, 0, 0].tolist() == [3, 4]
    var = torch.arange(1.0, 19).view(2, 3, 3)
    torch.save({"mean": torch.zeros(2, 3, 3), "var": var}, path)
    torch.testing.assert_close(read_statistics(path, (2, 3, 3))[1], (var + 1e-5).sqrt())
    with pytest.raises(ValueError, match=r"statistics of shape \(2, 3, 3\), latents are \(4, 3"):
        read_statistics(path, (4, 3, 3))
    torch.save({"latents_scale": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="holds latents_scale; latent statistics are 'mean'"):
        read_statistics(path, (2, 3, 3))
    torch.save({"mean": torch.zeros(2), "std": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="a scale that is not positive"):
        read_statistics(path, (2, 3, 3))
    path.write_text("no tensors")
    with pytest.raises(ValueError, match="no file of latent statistics"):
        read_statistics(path, (2, 3, 3))
    with pytest.raises(FileNotFoundError):
        read_statistics(tmp_path / "absent.pt", (2, 3, 3))


@pytest.fixture
def scored(world, tmp_path):
    """Scores of maps that are known: the samples' are the hints of the next image, or zero."""
    ids = Shards(world / "maps/manifest.json").ids
    hints = maps_like(12)
    some = ids[2:10]
    found = {"map": np.roll(hints, -1, axis=0)[2:10]}
    features = numbers("features", 12, 3).astype(np.float32)
    control = new_branch(load_frozen(**own(tmp_path)), SIDE, seed=0)
    save_branch(control, tmp_path / "branch.safetensors", {"lr": 1e-5, "backbone": "SiT-Ti"})

    def score(network="canny", plain=True):
        plain_maps = write(
            tmp_path / "plain/manifest.json", ids, {"network": "canny"}, map=np.zeros_like(hints)
        )
        plain_features = write(tmp_path / "pf/manifest.json", ids, features=features + 1)
        score_control(
            autoencoder="kl",
            condition="canny",
            network="canny",
            branch=tmp_path / "branch.safetensors",
            hints=world / "maps/manifest.json",
            maps=write(tmp_path / "found/manifest.json", some, {"network": network}, **found),
            plain_maps=plain_maps if plain else None,
            feature_network="mini-inception",
            features=write(tmp_path / "f/manifest.json", some, features=features[2:10]),
            real_features=write(tmp_path / "rf/manifest.json", ids, features=features),
            plain_features=plain_features if plain else None,
            output=tmp_path / "scores.json",
            protocol={"crop": "c"},
            version="7",
            seed=0,
            provenance={},
        )
        return {(s.metric, s.variant): s for s in read_scores(tmp_path / "scores.json")[1]}

    return score


def test_scores_and_their_baselines_in_closed_form(scored):
    scores = scored()
    hints = maps_like(12)[2:10] / 255
    found = np.roll(maps_like(12), -1, axis=0)[2:10] / 255
    value = scores["control-l1", "canny"]
    assert value.value == pytest.approx(np.abs(hints - found).mean())
    assert (value.n, value.unit, value.network, value.metric_version) == (8, "L1", "canny", "7")
    assert value.protocol == {"crop": "c", "condition": "canny", "lr": 1e-5, "backbone": "SiT-Ti"}
    assert scores["control-l1", "canny zero"].value == pytest.approx(hints.mean())
    assert scores["control-l1", "canny uncontrolled"].value == pytest.approx(hints.mean())
    pairs = np.abs(hints[:, None] - found[None]).mean((2, 3))
    chance = scores["control-l1", "canny shuffled"].value
    assert pairs[~np.eye(8, dtype=bool)].min() < chance < pairs[~np.eye(8, dtype=bool)].max()
    assert scores["control-fid", "canny"].value == pytest.approx(0, abs=1e-6)
    assert scores["control-fid", "canny uncontrolled"].value == pytest.approx(3, rel=1e-5)
    assert scores["control-fid", "canny"].network == "mini-inception"
    assert not any(score.higher_is_better for score in scores.values())


def test_scores_without_plain_samples(scored):
    names = {name for name in scored(plain=False) if "uncontrolled" in name[1]}
    assert not names
    with pytest.raises(ValueError, match="extract both with the same network"):
        scored(network="mini-depth")


# -------------------------------------------------------------------------------------- properties


@pytest.mark.parametrize("name", ["SiT-Ti", *NAMES])
def test_train_sample_score_from_end_to_end(name, world, tmp_path):
    """Published layouts at a small size, and our own: the same code for all."""
    backbone = backbone_options(tmp_path, name)
    channels = 4 if name == "SiT-Ti" else SMALL[name]["latent_shape"][0]
    torch.manual_seed(0)  # the autoencoder has no weights file: its initial weights
    output = tmp_path / "branch.safetensors"
    options = job(world, backbone, channels, output)
    train_control(**options)
    notes = read_notes(output)
    assert (notes["steps"], notes["lr"], notes["backbone"]) == (2, 1e-2, name)
    assert notes["copied blocks"] == ("2 of 4" if name == "SiT-Ti" else "1 of 3")
    assert notes["epochs"] == round(2 * 4 / 12, 3)
    frozen = load_frozen(**backbone)
    before = state_sha256(frozen.backbone)
    control = load_branch(output, frozen.backbone)
    assert control.after[0].weight.any()
    assert state_sha256(control.backbone) == before

    def samples(folder, batch_size, count=None):
        torch.manual_seed(0)
        drop = ("posterior", "recipe", "depth", "output")
        kept = {key: value for key, value in options.items() if key not in drop}
        path = tmp_path / folder / "manifest.json"
        sample_control(
            branch=output,
            output=path,
            count=count,
            batch_size=batch_size,
            shard_size=5,
            version="1",
            **kept,
        )
        return Shards(path)

    together = samples("together", 12)
    apart = samples("apart", 5)
    assert together.ids == apart.ids == Shards(world / "images/manifest.json").ids
    difference = together.load("images").astype(int) - apart.load("images").astype(int)
    assert abs(difference).max() <= 1
    few = samples("few", 4, count=5)
    assert len(few) == 5
    shared = together.take(few.ids, ["images"])["images"].astype(int)
    assert abs(shared - few.load("images").astype(int)).max() <= 1
    extract_conditions(
        network="canny",
        weights=None,
        images=few.path,
        output=tmp_path / "found/manifest.json",
        batch_size=4,
        device="cpu",
    )
    assert Shards(tmp_path / "found/manifest.json").ids == few.ids


def test_the_hint_changes_the_sample(world, tmp_path):
    """A branch with weights listens; the noise and labels are the same in both."""
    backbone = own(tmp_path)
    frozen = load_frozen(**backbone)
    control = new_branch(frozen, SIDE, seed=0)
    for layer in (control.before, *control.after):
        nn.init.normal_(layer.weight, std=0.3)
    save_branch(control, tmp_path / "branch.safetensors")
    ids = Shards(world / "maps/manifest.json").ids
    turned = write(tmp_path / "turned/manifest.json", ids, map=255 - maps_like(12))
    found = []
    for index, maps in enumerate((world / "maps/manifest.json", turned)):
        torch.manual_seed(0)
        options = job(world, backbone, 4, "", maps=maps)
        for key in ("posterior", "recipe", "depth", "output"):
            del options[key]
        path = tmp_path / str(index) / "manifest.json"
        branch = tmp_path / "branch.safetensors"
        sample_control(
            branch=branch,
            output=path,
            count=4,
            batch_size=4,
            shard_size=5,
            version="1",
            **options,
        )
        found.append(Shards(path).load("images").astype(int))
    assert abs(found[0] - found[1]).max() > 5


class Latents:
    """Latents that are numbers of their row; asked too often, it dies like a killed job."""

    shape, device = (4, 4, 4), torch.device("cpu")

    def __init__(self, calls=10**9):
        self.values = torch.from_numpy(numbers("latents", 12, 4, 4, 4)).float()
        self.calls = calls

    def __len__(self):
        return 12

    def batch(self, rows, noise):
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return self.values[rows] + 0.1 * noise


def trained(folder, world, latents, *, seed=0, inputs=("a",), **changes):
    """A branch after 24 steps (or what ``changes`` say) and its losses."""
    folder.mkdir(exist_ok=True)
    frozen = load_frozen(**published(folder, "lightningdit-xl/1"))
    control = new_branch(frozen, SIDE, seed=seed)
    losses = train_branch(
        control=control,
        frozen=frozen,
        latents=latents,
        labels=torch.arange(12) % 3,
        hints=HintMaps(Shards(world / "maps/manifest.json")),
        recipe=ControlRecipe(**{"steps": 24, "batch_size": 4, "lr": 3e-3, **changes}),
        seed=seed,
        output=folder / "branch.safetensors",
        inputs=list(inputs),
        save_seconds=0.0,
    )
    return control.branch_state(), losses


def same(a, b):
    return all(torch.equal(a[key], b[key]) for key in a)


def test_a_killed_job_resumes_with_the_identical_result(world, tmp_path, caplog):
    state, losses = trained(tmp_path / "whole", world, Latents())
    for calls in (15, 7):
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "cut", world, Latents(calls))
    assert unfinished_of(tmp_path / "cut/branch.safetensors").exists()
    with caplog.at_level("INFO"):
        again, others = trained(tmp_path / "cut", world, Latents())
    assert "going on at step 22, where a run was cut off" in caplog.text
    assert same(state, again)
    assert others == losses
    assert [step for step, _ in losses] == [20, 24]


def test_what_another_recipe_or_other_data_left_is_not_used(world, tmp_path, caplog):
    def killed():
        with pytest.raises(KeyboardInterrupt):
            trained(tmp_path / "a", world, Latents(3))

    state, _ = trained(tmp_path / "whole", world, Latents(), steps=4)
    for changes in ({"steps": 4}, {"steps": 4, "lr": 1e-3}, {"steps": 4, "inputs": ("b",)}):
        killed()
        caplog.clear()
        found, _ = trained(tmp_path / "a", world, Latents(), **changes)
        assert "of another recipe and is not used" in caplog.text
        assert same(state, found) == ("lr" not in changes)
    unfinished_of(tmp_path / "a/branch.safetensors").write_bytes(b"cut")
    caplog.clear()
    trained(tmp_path / "a", world, Latents(), steps=1)
    assert "cannot be read and is not used" in caplog.text


def test_accumulating_changes_rounding_only(world, tmp_path):
    whole, losses = trained(tmp_path / "a", world, Latents(), steps=5)
    parts, others = trained(tmp_path / "b", world, Latents(), steps=5, accumulate=4)
    assert others[0][1] == pytest.approx(losses[0][1], rel=1e-5)
    moved = trained(tmp_path / "c", world, Latents(), steps=5, seed=1)[0]
    name = "after.0.weight"
    torch.testing.assert_close(parts[name], whole[name], atol=2e-4, rtol=0)
    assert (moved[name] - whole[name]).abs().max() > 2e-3


def test_the_gradient_is_clipped_and_the_rate_is_constant(world, tmp_path):
    frozen = load_frozen(**own(tmp_path))
    control = new_branch(frozen, SIDE, seed=0)
    learner = Learner(control, frozen, ControlRecipe(steps=2, batch_size=4, clip=1e-3, lr=1e-4), 0)
    hints = HintMaps(Shards(world / "maps/manifest.json"))
    for _ in range(2):
        learner.train_step(Latents(), torch.arange(12) % 3, hints, np.arange(4))
        norm = torch.stack([p.grad.norm() for p in learner.weights]).norm()
        assert float(norm) == pytest.approx(1e-3, rel=1e-3)
        assert learner.optimiser.param_groups[0]["lr"] == 1e-4


def test_hints_are_the_same_from_memory_and_from_files(world):
    maps = Shards(world / "maps/manifest.json")
    rows = np.array([7, 2, 7])
    held, read = (HintMaps(maps, in_memory=size).batch(rows, "cpu") for size in (10**9, 0))
    assert torch.equal(held, read)
    assert held.shape == (3, 1, SIDE, SIDE)
    assert torch.equal(held[0, 0], torch.from_numpy(maps_like(12)[7] / 255).float())


def test_images_are_chosen_by_the_seed_and_stay_in_order():
    ids = [f"{i:03d}" for i in range(50)]
    chosen = choose_images(ids, 10, 0)
    assert chosen == sorted(chosen)
    assert len(chosen) == 10
    assert set(chosen) <= set(choose_images(ids[::-1], 20, 0))
    assert chosen != choose_images(ids, 10, 1)
    assert choose_images(ids, None, 0) == choose_images(ids, 99, 0) == ids


# ------------------------------------------------------------------------------------------- words


def test_what_does_not_fit_is_refused_in_words(world, tmp_path):
    with pytest.raises(ValueError, match="a batch of 32 cannot be cut into 5 equal parts"):
        ControlRecipe(steps=1, accumulate=5)
    with pytest.raises(ValueError, match="taken for a SiT trained here, which needs its state and"):
        load_frozen("lightningdit", "w.pt")
    with pytest.raises(ValueError, match="'ditdh-xl' needs the statistics of its latents"):
        load_frozen("ditdh-xl", None)
    options = job(world, own(tmp_path), 6, tmp_path / "branch.safetensors")
    with pytest.raises(
        ValueError, match=r"latents of shape \(4, 4, 4\), the autoencoder makes \(6"
    ):
        train_control(**options)
    ids = [f"x{i}" for i in range(12)]
    other = write(tmp_path / "other/manifest.json", ids, map=maps_like(12))
    options = job(world, own(tmp_path), 4, tmp_path / "branch.safetensors", maps=other)
    with pytest.raises(ValueError, match="hold different images"):
        train_control(**options)
    for fields in ({"features": np.zeros((12, 3))}, {"map": np.zeros((12, 4, 6), np.uint8)}):
        wrong = Shards(write(tmp_path / "wrong/manifest.json", ids, **fields))
        with pytest.raises(ValueError, match="hints are square maps"):
            HintMaps(wrong)
    options = job(world, own(tmp_path), 4, tmp_path / "branch.safetensors")
    options["recipe"] = {"steps": 3, "batch_size": 4, "lr": 1e20}
    with pytest.raises(ValueError, match=r"the loss is .*; lower control.train.lr"):
        train_control(**options)
    assert not (tmp_path / "branch.safetensors").exists()


def test_notes_survive_a_file_without_any(tmp_path):
    control = new_branch(load_frozen(**own(tmp_path)), SIDE, seed=0)
    save_branch(control, tmp_path / "b.safetensors")
    assert read_notes(tmp_path / "b.safetensors") == {}
    assert json.dumps(read_notes(Path(tmp_path / "b.safetensors"))) == "{}"
