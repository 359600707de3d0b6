"""Training of a SiT: the same weights however it is cut, killed or shared out."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_autoencoder import CLASSES, Own, Tiny, write_images

from seesaw.autoencoders.base import encode_uint8
from seesaw.diffusion import train
from seesaw.diffusion.job import train_diffusion
from seesaw.diffusion.latents import TrainingLatents, epochs, read_labels
from seesaw.diffusion.sample import labels_for
from seesaw.diffusion.sit import SiT
from seesaw.diffusion.train import (
    Draws,
    Learner,
    Recipe,
    batch_normalise,
    load_sit,
    losses_of,
    read_state,
    train_segment,
    unfinished_of,
    write_state,
)
from seesaw.shards import Shards

HERE = Path(__file__).parent
MODEL = {"latent_shape": [2, 4, 4], "size": "SiT-Ti", "patch_size": 2, "num_classes": CLASSES}
MODEL["time_shift"] = 0.5
RECIPE = Recipe(steps=22, batch_size=4, lr=1e-3, warm_up=2, ema=0.9)
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Given:
    """Latents that are given, instead of an autoencoder's."""

    def __init__(self, latents):
        self.latents, self.shape, self.device = latents, tuple(latents.shape[1:]), CPU

    def __len__(self):
        return len(self.latents)

    def batch(self, rows, noise):
        return self.latents[rows]


def normal(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


LATENTS = Given(2 * normal((10, 2, 4, 4)) + 1)
LABELS = np.arange(10) % CLASSES


def segment(output, stop=None, **options):
    """A segment of the training on :data:`LATENTS`; its state."""
    known = {"model": MODEL, "latents": LATENTS, "labels": LABELS, "recipe": RECIPE, "seed": 0}
    options = {**known, **options}
    train_segment(stop=stop or options["recipe"].steps, output=output, **options)
    return read_state(output)


def same(a, b):
    """Whether two states are equal to the last bit, the optimiser's included."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The state of a training in one piece, and its file."""
    path = tmp_path_factory.mktemp("whole") / "step.pt"
    return segment(path), path


# --------------------------------------------------------------------------------- the same weights


def test_the_same_seed_gives_the_same_file(whole, tmp_path):
    segment(tmp_path / "another-name.pt")
    assert (tmp_path / "another-name.pt").read_bytes() == whole[1].read_bytes()
    other = segment(tmp_path / "other.pt", seed=1)
    assert not same(other["model"], whole[0]["model"])
    assert other["losses"] != whole[0]["losses"]


def test_segments_end_where_one_run_does(whole, tmp_path):
    first = segment(tmp_path / "a.pt", stop=7)
    assert (first["steps"], first["losses"], len(first["recent"])) == (7, [], 7)
    segment(tmp_path / "b.pt", stop=15, start=tmp_path / "a.pt")
    last = segment(tmp_path / "c.pt", start=tmp_path / "b.pt")
    assert same(last, whole[0])
    assert [step for step, _ in losses_of(tmp_path / "c.pt")] == [20]


def test_segments_by_muon(whole, tmp_path):
    recipe = Recipe(**{**vars(RECIPE), "matrix_lr": 1e-2})
    straight = segment(tmp_path / "whole.pt", recipe=recipe)
    segment(tmp_path / "a.pt", stop=7, recipe=recipe)
    assert same(segment(tmp_path / "b.pt", start=tmp_path / "a.pt", recipe=recipe), straight)
    by_adam, by_muon = whole[0]["model"], straight["model"]
    assert all(not torch.equal(by_adam[k], v) for k, v in by_muon.items() if k.endswith("weight"))
    trained = len(whole[0]["opt"]["state"])
    assert len(straight["opt"]["state"]) + len(straight["muon"]["state"]) == trained
    with pytest.raises(ValueError, match="has no 'muon': it was trained with other optimisers"):
        segment(tmp_path / "c.pt", start=whole[1], stop=30, recipe=recipe)


KILLED = """
import sys
sys.path[:0] = [{folder!r}]
import torch
torch.set_num_threads(1)
import test_diffusion_train as tests
tests.segment({output!r}, save_seconds=0)
"""


def test_a_killed_segment_ends_where_one_run_does(whole, tmp_path, caplog):
    output = tmp_path / "step.pt"
    code = KILLED.format(folder=str(HERE), output=str(output))
    process = subprocess.Popen([sys.executable, "-c", code])
    end = time.monotonic() + 120
    while not unfinished_of(output).exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not output.exists()
    unfinished_of(output).with_name(f".{unfinished_of(output).stem}.1.part.pt").write_text("half")
    reached = read_state(unfinished_of(output))["steps"]
    assert 0 < reached < RECIPE.steps
    with caplog.at_level("INFO"):
        assert same(segment(output), whole[0])
    assert f"going on at step {reached}, where a run was cut off" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["step.pt"]


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": Recipe(**{**vars(RECIPE), "lr": 2e-3})},
        {"seed": 1},
        {"data": "another autoencoder"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_an_unfinished_state_of_another_training_is_not_used(whole, tmp_path, caplog, other):
    output = tmp_path / "step.pt"
    segment(tmp_path / "half.pt", stop=5, **other)
    (tmp_path / "half.pt").rename(unfinished_of(output))
    assert same(segment(output), whole[0])
    assert "is of another recipe or other latents and is not used" in caplog.text
    assert not unfinished_of(output).exists()


def test_an_unfinished_state_that_is_cut_is_not_used(whole, tmp_path, caplog):
    output = tmp_path / "step.pt"
    unfinished_of(output).write_bytes(whole[1].read_bytes()[:9999])
    assert same(segment(output), whole[0])
    assert "cannot be read and is not used" in caplog.text


def test_several_processes_train_as_one(tmp_path):
    images, index = write_images(tmp_path)
    job = {
        "family": "tiny_autoencoder:Tiny",
        "config": {"spread": 0.5},
        "weights": None,
        "images": images,
        "index": index,
        "size": "SiT-Ti",
        "patch_size": 1,
        "posterior": "sample",
        "recipe": {"steps": 24, "batch_size": 8, "lr": 1e-3, "ema": 0.9},
        "seed": 0,
        "time_shift_dimensions": 48,
    }
    train_diffusion(
        {**job, "stop": 24, "start": None, "output": tmp_path / "one.pt"}, devices=0, device="cpu"
    )
    half = {**job, "stop": 13, "start": None, "output": tmp_path / "half.pt"}
    train_diffusion(half, devices=2, device="cpu")
    rest = {**job, "stop": 24, "start": tmp_path / "half.pt", "output": tmp_path / "two.pt"}
    train_diffusion(rest, devices=1, device="cpu")  # the losses of all processes were saved
    one, two = (read_state(tmp_path / f"{name}.pt") for name in ("one", "two"))
    assert one["args"]["time_shift"] == 1
    assert one["args"]["num_classes"] == CLASSES
    assert [step for step, _ in one["losses"]] == [step for step, _ in two["losses"]] == [20]
    assert two["losses"][0][1] == pytest.approx(one["losses"][0][1], rel=1e-6)
    recent = torch.stack(one["recent"])
    torch.testing.assert_close(torch.stack(two["recent"]), recent, atol=0, rtol=1e-5)
    for key, tensor in one["ema"].items():
        torch.testing.assert_close(two["ema"][key], tensor, atol=1e-3, rtol=0, msg=key)
    mean = two["model"]["bn.running_mean"]
    torch.testing.assert_close(mean, one["model"]["bn.running_mean"], atol=1e-6, rtol=1e-6)


def test_states_that_do_not_fit(whole, tmp_path):
    with pytest.raises(ValueError, match="step.pt is at step 22, this segment ends at step 20"):
        segment(tmp_path / "x.pt", stop=20, start=whole[1])
    with pytest.raises(ValueError, match="the state is of a model .*SiT-Ti.* wanted is"):
        segment(tmp_path / "x.pt", start=whole[1], stop=30, model={**MODEL, "time_shift": 1.0})
    write_state(tmp_path / "weights.pt", {"model": {}})
    with pytest.raises(ValueError, match="weights.pt is no training state; delete it and rerun"):
        segment(tmp_path / "x.pt", start=tmp_path / "weights.pt")
    assert not (tmp_path / "x.pt").exists()


# ------------------------------------------------------------------------------------- what is done


def test_a_step_by_hand(monkeypatch):
    """Plain AdamW on the formula of the loss, without the foreach and fused forms."""
    recipe = Recipe(steps=9, batch_size=4, lr=1e-3, warm_up=4, clip=0.05, label_dropout=0.5)
    learner = Learner(MODEL, recipe, 0, CPU)
    model = SiT(**MODEL).train()
    model.load_state_dict(learner.model.state_dict())
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, betas=(0.9, 0.999), weight_decay=0.0, foreach=False)
    rows = epochs(10, 4, 0)
    for step in range(3):
        batch = next(rows)
        learner.train_step(LATENTS, LABELS, batch)
        draws = Draws(0, step, 4, (2, 4, 4), CPU, slice(0, 4))
        x = model.bn(LATENTS.latents[batch])
        y = torch.where(draws.dropped < 0.5, CLASSES, torch.from_numpy(LABELS[batch]))
        t = 0.5 * draws.t / (1 - 0.5 * draws.t)
        at = t[:, None, None, None]
        found = model((1 - at) * x + at * draws.noise, t, y)
        loss = (found - (draws.noise - x)).square().mean()
        model.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(weights, 0.05)
        assert norm > 0.05
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * (step + 1) / 4
        optimiser.step()
        assert float(learner._recent[-1]) == pytest.approx(loss.item(), rel=1e-5)
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(learner.model.state_dict()[key], tensor, atol=1e-5, rtol=1e-5)


def test_the_average_warms_up_and_copies_running_statistics():
    recipe = Recipe(steps=40, batch_size=4, lr=1e-2, ema=0.3)
    learner = Learner(MODEL, recipe, 0, CPU)
    expected = {k: v.clone() for k, v in learner.model.state_dict().items()}
    rows, decays = epochs(10, 4, 0), []
    for step in range(6):
        learner.train_step(LATENTS, LABELS, next(rows))
        decays.append(min(0.3, (1 + step) / (10 + step)))
        for key, tensor in learner.model.state_dict().items():
            if key.startswith("bn."):
                expected[key] = tensor
            else:
                expected[key] = decays[-1] * expected[key] + (1 - decays[-1]) * tensor
    assert decays[0] == 0.1
    assert decays[-1] == 0.3
    for key, tensor in learner.ema.state_dict().items():
        torch.testing.assert_close(tensor, expected[key], atol=1e-6, rtol=1e-5)
    assert learner.ema.bn.num_batches_tracked == 6
    assert torch.equal(learner.ema.bn.running_var, learner.model.bn.running_var)
    assert not torch.equal(learner.ema.final_layer.linear.weight, expected["pos_embed"])


def test_the_averaged_model_is_what_is_sampled(whole):
    model = load_sit(whole[1])
    assert not model.training
    assert same(dict(model.state_dict()), whole[0]["ema"])
    assert not same(whole[0]["ema"], whole[0]["model"])


def test_the_loss_falls(tmp_path):
    """One image per class: easy to learn by heart."""
    recipe = Recipe(steps=60, batch_size=6, lr=3e-3, warm_up=5, decay="cosine", label_dropout=0.0)
    latents = Given(3 * normal((3, 2, 4, 4)))
    state = segment(tmp_path / "x.pt", recipe=recipe, latents=latents, labels=np.arange(3), seed=3)
    losses = [loss for _, loss in state["losses"]]
    assert len(losses) == 3
    assert losses[-1] < 0.8 * losses[0]


def test_rates():
    warm = Recipe(steps=100, warm_up=4)
    assert [warm.rate(step) for step in (0, 1, 3, 4, 99)] == [0.25, 0.5, 1, 1, 1]
    cosine = Recipe(steps=100, warm_up=20, decay="cosine")
    assert [cosine.rate(step) for step in (9, 20, 60, 100)] == pytest.approx([0.5, 1, 0.5, 0])
    assert Recipe(steps=100).rate(0) == 1


@pytest.mark.parametrize("steps", [3, 20])
def test_a_loss_that_is_not_finite_stops_a_run_and_leaves_no_state(tmp_path, steps):
    broken = Given(torch.full((10, 2, 4, 4), torch.nan))
    recipe = Recipe(**{**vars(RECIPE), "steps": steps})
    with pytest.raises(ValueError, match=rf"the loss is nan at step {steps}; lower 'lr'"):
        segment(tmp_path / "x.pt", latents=broken, recipe=recipe)
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------- random numbers


def test_draws_follow_seed_and_step_and_are_shared_out():
    def draws(step=3, share=slice(0, 8), seed=0):
        return vars(Draws(seed, step, 8, (2, 3, 3), CPU, share))

    both = draws()
    halves = [draws(share=s) for s in (slice(0, 4), slice(4, 8))]
    for key, value in both.items():
        assert torch.equal(torch.cat([half[key] for half in halves]), value)
        assert not torch.equal(draws(step=4)[key], value)
        assert not torch.equal(draws(seed=1)[key], value)
    assert not torch.equal(both["noise"], both["posterior"])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_labels_that_is_dropped(monkeypatch, share):
    seen = []

    def spy(network, x, t, y, noise):
        seen.append(y)
        return sum(p.sum() for p in network.parameters()) * 0 + x.mean((1, 2, 3))

    monkeypatch.setattr(train, "velocity_loss", spy)
    recipe = Recipe(steps=9, batch_size=500, label_dropout=share)
    learner, rows = Learner(MODEL, recipe, 0, CPU), epochs(10, 500, 0)
    drawn = [next(rows) for _ in range(3)]
    for batch in drawn:
        learner.train_step(LATENTS, LABELS, batch)
    found, true = torch.cat(seen), torch.from_numpy(LABELS[np.concatenate(drawn)])
    dropped = found == CLASSES
    assert float(dropped.float().mean()) == pytest.approx(share, abs=0.04)
    assert torch.equal(found[~dropped], true[~dropped])


def test_every_image_once_per_epoch():
    rows = epochs(10, 4, 0)
    order = np.concatenate([next(rows) for _ in range(15)]).reshape(6, 10)
    assert (np.sort(order, axis=1) == np.arange(10)).all()
    assert len({tuple(epoch) for epoch in order}) == 6
    late = epochs(10, 4, 0, start=7)
    np.testing.assert_array_equal(np.concatenate([next(late), next(late)]), order.ravel()[28:36])
    assert len(next(epochs(3, 8, 0))) == 8


# -------------------------------------------------------------------------------------- the latents


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    manifest, index = write_images(tmp_path_factory.mktemp("packed"))
    return Shards(manifest), index


@pytest.mark.parametrize("spread, posterior", [(0.0, "sample"), (0.5, "mean"), (0.5, "sample")])
def test_latents_that_are_kept_are_those_encoded_when_needed(packed, spread, posterior):
    images, _ = packed
    kept, again = (
        TrainingLatents(Tiny(spread), images, posterior=posterior, in_memory=size)
        for size in (10**6, 0)
    )
    assert kept._kept is not None
    assert again._kept is None
    rows, noise = np.array([33, 2, 2, 17]), normal((4, 3, 4, 4))
    torch.testing.assert_close(kept.batch(rows, noise), again.batch(rows, noise))
    ids = [images.ids[row] for row in rows]
    pixels = torch.from_numpy(images.take(ids, ["images"])["images"])
    mean = encode_uint8(Tiny(), pixels)
    sampled = spread and posterior == "sample"
    expected = mean + 0.5 * noise if sampled else mean
    torch.testing.assert_close(kept.batch(rows, noise), expected)
    assert (kept.shape, len(kept)) == ((3, 4, 4), 40)


def test_a_class_that_only_measures_can_be_trained_on(packed):
    latents = TrainingLatents(Own(), packed[0], posterior="sample")
    assert latents._kept is None
    noise = normal((2, 3, 4, 4))
    mean = TrainingLatents(Own(), packed[0], posterior="mean")
    assert mean._kept is not None
    difference = latents.batch([0, 39], noise) - mean.batch([0, 39], noise)
    torch.testing.assert_close(difference, 0.5 * noise, atol=1e-5, rtol=1e-5)


def test_encoding_goes_on_with_smaller_batches(packed, caplog):
    class Narrow(Tiny):
        def posterior(self, images):
            if len(images) > 5:
                raise MemoryError("no room")
            return super().posterior(images)

    found = TrainingLatents(Narrow(), packed[0], posterior="mean")
    expected = TrainingLatents(Tiny(), packed[0], posterior="mean")
    torch.testing.assert_close(found._kept[0], expected._kept[0])
    assert "encoding: 16 images at a time do not fit into memory" in caplog.text


def test_labels(packed, tmp_path):
    labels, classes = read_labels(packed[1])
    assert classes == CLASSES
    assert labels.tolist() == [i % CLASSES for i in range(40)]
    _, flat = write_images(tmp_path, unlabelled=True)
    labels, classes = read_labels(flat)
    assert (set(labels.tolist()), classes) == ({0}, 0)


def test_labels_for_a_model(packed, tmp_path):
    def model(classes):
        return SiT((2, 4, 4), size="SiT-Ti", num_classes=classes)

    assert labels_for(model(7), packed[1]).tolist() == [i % CLASSES for i in range(40)]
    _, flat = write_images(tmp_path, unlabelled=True)
    with pytest.raises(ValueError, match="no image of .* has a label"):
        labels_for(model(7), flat)
    for fewer in (CLASSES - 1, 1):
        with pytest.raises(ValueError, match=f"labels up to 2, the model was trained on {fewer}"):
            labels_for(model(fewer), packed[1])


def test_statistics_of_a_batch_that_is_shared_out(monkeypatch):
    """Two processes that know each other's sums normalise as one."""
    import torch.distributed as dist

    z = 3 * normal((6, 2, 4, 4)) + 1
    expected = SiT(**MODEL)
    normalised = batch_normalise(expected, z)
    sums = iter([z.double().sum((0, 2, 3)), None])

    def all_reduce(tensor):
        total = next(sums)
        mean = z.double().mean((0, 2, 3)).view(1, -1, 1, 1)
        tensor.copy_(total if total is not None else (z.double() - mean).square().sum((0, 2, 3)))

    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    model = SiT(**MODEL)
    torch.testing.assert_close(batch_normalise(model, z[:3], train.World(0, 2)), normalised[:3])
    torch.testing.assert_close(model.bn.running_var, expected.bn.running_var)
    assert math.isclose(float(normalised.mean()), 0, abs_tol=1e-6)
