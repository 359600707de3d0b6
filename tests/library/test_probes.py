"""Probes: losses and counts by hand and against scikit-learn, training, evaluation, the stage."""

import json
import math

import numpy as np
import pytest
import torch
from metric_shards import shards_of
from safetensors import safe_open
from safetensors.numpy import load_file
from sklearn.metrics import average_precision_score, f1_score
from torch import nn

from seesaw.metrics import shuffled_partners
from seesaw.probes.data import TrainingSet, choose_images
from seesaw.probes.evaluate import EdgeCounts, evaluate_probe, predict
from seesaw.probes.job import Condition, probe_latents
from seesaw.probes.network import Probe, edge_loss, map_loss, stage_widths, why_undefined
from seesaw.probes.train import Training, train_probe
from seesaw.results import read_scores
from seesaw.seeds import seed_for

SIDE, GRID = 16, 4
QUICK = Training(widths=(8, 8), epochs=3, patience=3, batch_size=16, lr=1e-2)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Pool(nn.Module):
    """Latents are the colours of the image's 4 x 4 cells."""

    resolution = SIDE
    latent_shape = (3, GRID, GRID)
    spatial = True

    def encode(self, images):
        return nn.functional.avg_pool2d(images, SIDE // GRID)

    def decode(self, latents):
        return nn.functional.interpolate(latents, scale_factor=SIDE // GRID)


class Tokens(Pool):
    """The same cells as tokens without a grid."""

    latent_shape = (GRID * GRID, 3)
    spatial = False

    def encode(self, images):
        return super().encode(images).flatten(2).transpose(1, 2)


def cells(n, seed, binary=True):
    """Images of 4 x 4 cells and the maps that are their red channel."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, 3, GRID, GRID), dtype=np.uint8)
    if binary:
        small[:, 0] = np.where(small[:, 0] > 150, 255, 0)
    images = small.repeat(SIDE // GRID, axis=2).repeat(SIDE // GRID, axis=3)
    return images, np.ascontiguousarray(images[:, 0])


def training_set(folder, n=80, binary=True, maps=None, **options):
    images, own = cells(n, 1, binary)
    pool = shards_of(folder, images=images, shard_size=options.pop("shard_size", 30))
    given = shards_of(folder, map=own if maps is None else maps, shard_size=30)
    return TrainingSet(Pool(), pool, pool.ids, device="cpu", **options).use(given)


def evaluation(folder, n=50, binary=True, **options):
    images, maps = cells(n, 2, binary)
    latents = Pool().encode(torch.from_numpy(images) / 127.5 - 1).numpy()
    return shards_of(folder, latents=latents, **options), shards_of(folder, map=maps, **options)


def state(trained):
    return {key: value.numpy() for key, value in trained.probe.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=key)


# -------------------------------------------------------------------------------------------- model


def test_a_stage_per_doubling_and_the_same_width_at_the_same_resolution():
    paper = (512, 256, 128, 64)
    assert stage_widths((32, 16, 16), 256, paper) == paper
    assert stage_widths((4, 32, 32), 256, paper) == (256, 128, 64)
    assert stage_widths((4, 8, 8), 32, (32, 16, 8)) == (16, 8)


def test_the_probe_is_the_papers():
    probe = Probe(32, (512, 256, 128, 64))
    kinds = [type(m).__name__ for m in probe.modules() if not list(m.children())]
    block = ["Conv2d", "BatchNorm2d", "ReLU"]
    assert kinds == ["BatchNorm2d", *4 * ["Upsample", *block, *block], "Conv2d"]
    convolutions = [m for m in probe.modules() if isinstance(m, nn.Conv2d)]
    widths = [layer.out_channels for layer in convolutions]
    assert widths == [512, 512, 256, 256, 128, 128, 64, 64, 1]
    small = Probe(3, (8, 4))
    assert small(torch.zeros(2, 3, 4, 4)).shape == (2, 16, 16)


@pytest.mark.parametrize(
    "shape, words",
    [
        ((64, 32), "64 tokens without a grid"),
        ((4, 12, 12), "12 x 12 does not become 32 x 32 by doubling"),
        ((4, 32, 32), "32 x 32 does not become 32 x 32"),
        ((4, 8, 16), "8 x 16 does not become"),
        ((4, 64, 64), "64 x 64 does not become"),
    ],
)
def test_what_cannot_be_probed_is_said(shape, words):
    assert words in why_undefined(shape, 32)
    with pytest.raises(ValueError, match=words):
        stage_widths(shape, 32, (8, 8, 8))


def test_too_few_widths():
    with pytest.raises(ValueError, match="from 4 x 4 to 32 x 32 has 3 stages, .* lists 2; list at"):
        stage_widths((4, 4, 4), 32, (8, 8))


# ------------------------------------------------------------------------------------------- losses


def test_edge_loss_by_hand():
    logits = torch.tensor([[[0.0, math.log(3)]], [[50.0, -50.0]]])
    target = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    cross = (math.log(2) + math.log(4)) / 2
    dice = 1 - (2 * 0.5 + 1) / (1.25 + 1 + 1)
    found = edge_loss(logits, target)
    assert found[0].item() == pytest.approx(0.5 * cross + 0.5 * dice, rel=1e-6)
    assert found[1].item() == pytest.approx(0, abs=1e-6)


def test_map_loss_by_hand():
    # errors 0.1 0.3 / -0.2 0.4: L1 0.25; differences across 0.2 0.6 (mean 0.4), down 0.3 0.1 (0.2)
    error = torch.tensor([[[0.1, 0.3], [-0.2, 0.4]]])
    target = torch.full((1, 2, 2), 0.5)
    assert map_loss(torch.logit(target + error), target).item() == pytest.approx(
        0.25 + 0.5 * (0.4 + 0.2), rel=1e-5
    )


# ------------------------------------------------------------------------------ average precision


@pytest.mark.parametrize("seed", range(4))
def test_average_precision_and_f1_are_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    target = rng.random((5, 20, 30)) < 0.2
    probability = np.clip(0.3 * target + rng.random(target.shape) * 0.7, 0, 1).astype(np.float32)
    counts = EdgeCounts(bins=64)
    for rows in (slice(0, 2), slice(2, 5)):
        counts.add(probability[rows], target[rows])
    rounded = np.floor(probability * 64) / 64
    exact = average_precision_score(target.ravel(), rounded.ravel())
    assert counts.average_precision() == pytest.approx(exact, rel=1e-12)
    called = probability.ravel() >= 0.5
    assert counts.f1() == pytest.approx(f1_score(target.ravel(), called), rel=1e-12)
    fine = EdgeCounts()
    fine.add(probability, target)
    plain = average_precision_score(target.ravel(), probability.ravel())
    assert fine.average_precision() == pytest.approx(plain, abs=2e-3)


def test_average_precision_by_hand_and_where_there_is_none():
    counts = EdgeCounts()
    counts.add(np.array([0.9, 0.8, 0.7, 0.1, 1.0]), np.array([True, False, True, False, True]))
    # precisions 1, 1 and 3/4 at recalls 1/3, 2/3 and 1
    assert counts.average_precision() == pytest.approx((1 + 1 + 0.75) / 3)
    assert counts.f1() == pytest.approx(2 * 3 / (2 * 3 + 1))
    empty = EdgeCounts()
    empty.add(np.array([0.2, 0.7]), np.array([False, False]))
    assert empty.average_precision() is None
    assert empty.f1() == 0
    empty = EdgeCounts()
    empty.add(np.array([0.2]), np.array([False]))
    assert empty.f1() is None


# ----------------------------------------------------------------------------------------- training


@pytest.mark.parametrize("kind, binary, limit", [("edges", True, 0.03), ("map", False, 0.05)])
def test_a_latent_that_is_the_map_is_read_almost_perfectly(tmp_path, kind, binary, limit):
    data = training_set(tmp_path, 160, binary)
    options = Training(widths=(12, 12), epochs=9, patience=9, batch_size=16, lr=1e-2)
    trained = train_probe(data, kind, options, seed=0)
    latents, maps = evaluation(tmp_path, binary=binary)
    found = evaluate_probe(
        trained.probe, kind, latents, maps, data.mean_map(), seed=0, device="cpu"
    )
    found = {reading.variant: reading.value for reading in found}
    assert found[""] < limit
    assert found["mean"] > 4 * limit
    assert found["shuffled"] > 4 * limit
    if kind == "edges":
        assert found["ap"] > 0.99
        assert found["f1"] > 0.98
        assert found["thresholded"] < 0.01


def test_a_map_that_is_not_in_the_latent_cannot_be_read(tmp_path):
    _, unrelated = cells(200, 77)
    data = training_set(tmp_path, 200, maps=unrelated)
    trained = train_probe(data, "edges", QUICK, seed=0)
    latents, maps = evaluation(tmp_path)
    found = evaluate_probe(
        trained.probe, "edges", latents, maps, data.mean_map(), seed=0, device="cpu"
    )
    found = {reading.variant: reading.value for reading in found}
    assert found["ap"] < found["zero"] + 0.1
    assert found[""] > 0.8 * found["mean"]


def test_training_follows_its_seed_alone(tmp_path):
    data = training_set(tmp_path)
    torch.manual_seed(1)
    one = train_probe(data, "edges", QUICK, seed=3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    two = train_probe(data, "edges", QUICK, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    assert_same(state(one), state(two))
    assert one.losses == two.losses
    assert one.cut_short
    other = train_probe(data, "edges", QUICK, seed=4)
    assert other.losses != one.losses


@pytest.mark.parametrize("in_memory", [0, 16_000])  # 80 latents take 15,360 bytes, maps 20,480
def test_what_does_not_fit_into_memory_gives_the_same_bits(tmp_path, in_memory):
    whole = train_probe(training_set(tmp_path), "edges", QUICK, seed=0)
    data = training_set(tmp_path, in_memory=in_memory, shard_size=7)
    assert (data._latents is None) == (in_memory == 0)
    assert data._maps is None
    streamed = train_probe(data, "edges", QUICK, seed=0)
    assert_same(state(whole), state(streamed))
    np.testing.assert_array_equal(data.mean_map(), training_set(tmp_path).mean_map())


def test_it_stops_when_the_held_out_loss_does_not_fall_and_keeps_the_best(tmp_path, monkeypatch):
    data = training_set(tmp_path)
    script, seen = iter([3.0, 2.0, 2.5, 2.0, 2.1, 1.0]), []

    def scripted(probe, *_):
        seen.append({k: v.numpy().copy() for k, v in probe.state_dict().items()})
        return next(script)

    monkeypatch.setattr("seesaw.probes.train._held_out_loss", scripted)
    options = Training(widths=(8, 8), epochs=50, patience=3, batch_size=16, lr=1e-2)
    trained = train_probe(data, "edges", options, seed=0)
    assert trained.losses == [3.0, 2.0, 2.5, 2.0, 2.1]
    assert (trained.epochs, trained.best_epoch, trained.cut_short) == (5, 2, False)
    assert_same(state(trained), seen[1])
    assert not trained.probe.training


def test_held_out_images_are_not_trained_on(tmp_path, monkeypatch):
    data = training_set(tmp_path, 80)
    used = []
    original = TrainingSet.batches

    def spy(self, chunks):
        used.append(np.concatenate(chunks))
        return original(self, chunks)

    monkeypatch.setattr(TrainingSet, "batches", spy)
    trained = train_probe(data, "edges", QUICK, seed=0)
    assert (trained.trained_on, trained.held_out) == (72, 8)
    for train, held_out in zip(used[::2], used[1::2]):
        assert sorted(held_out) == list(range(72, 80))
        assert len(train) == len(set(train)) == 64  # four batches of 16; the rest is left out
        assert max(train) < 72
    assert list(used[0]) != list(used[2])


def test_the_mean_map(tmp_path):
    data = training_set(tmp_path, 80)
    np.testing.assert_allclose(data.mean_map(), cells(80, 1)[1].mean(0) / 255, rtol=1e-12)


def test_the_choice_of_images_follows_the_seed_and_is_nested():
    ids = [f"im{i}" for i in range(100)]
    assert choose_images(ids[::-1], 30, 0) == choose_images(ids, 60, 0)[:30]
    assert choose_images(ids, 30, 0) != choose_images(ids, 30, 1)
    assert sorted(choose_images(ids, None, 0)) == sorted(ids)


def test_training_errors_in_words(tmp_path):
    with pytest.raises(ValueError, match="at least 4 training images, got 3; raise probes.train"):
        train_probe(training_set(tmp_path, 3), "edges", QUICK, seed=0)
    wild = Training(widths=(8, 8), epochs=3, batch_size=16, lr=1e25)
    with pytest.raises(ValueError, match=r"loss is nan after epoch \d; lower probes.lr"):
        train_probe(training_set(tmp_path), "map", wild, seed=0)


# --------------------------------------------------------------------------------------- evaluation


class Known(nn.Module):
    """Says that the map is the first latent channel, enlarged."""

    def forward(self, latents):
        small = ((latents[:, :1] + 1) / 2).clamp(1e-6, 1 - 1e-6)
        return torch.logit(nn.functional.interpolate(small, scale_factor=SIDE // GRID))[:, 0]


def test_every_reading_is_its_definition(tmp_path):
    latents, _ = evaluation(tmp_path, 30, binary=False)
    _, truth = cells(30, 5)
    maps = shards_of(tmp_path, map=truth, shard_size=11)
    mean_map = np.random.default_rng(0).random((SIDE, SIDE))
    readings = evaluate_probe(Known(), "edges", latents, maps, mean_map, seed=3, device="cpu")
    found = {reading.variant: reading.value for reading in readings}
    p = predict(Known(), latents.load("latents"), "cpu").astype(np.float64)
    g = truth / 255
    partners = shuffled_partners(maps.ids, 3)
    assert found[""] == pytest.approx(np.abs(p - g).mean(), rel=1e-6)
    assert found["zero"] == pytest.approx(g.mean(), rel=1e-6)
    assert found["mean"] == pytest.approx(np.abs(mean_map - g).mean(), rel=1e-6)
    assert found["shuffled"] == pytest.approx(np.abs(p - g[partners]).mean(), rel=1e-6)
    assert found["thresholded"] == pytest.approx(((p >= 0.5) != g).mean(), rel=1e-6)
    assert found["f1"] == pytest.approx(f1_score(g.ravel() > 0.5, p.ravel() >= 0.5))
    exact = average_precision_score(g.ravel() > 0.5, p.ravel())
    assert found["ap"] == pytest.approx(exact, abs=2e-3)
    assert {reading.n for reading in readings} == {30}


def test_depth_has_no_edges_to_count(tmp_path):
    latents, maps = evaluation(tmp_path, 30, binary=False)
    zero = np.zeros((SIDE, SIDE))
    readings = evaluate_probe(Known(), "map", latents, maps, zero, seed=0, device="cpu")
    assert [r.variant for r in readings] == ["", "zero", "mean", "shuffled"]
    assert readings[0].value < 1e-3


def test_evaluation_does_not_depend_on_shards(tmp_path):
    trained = train_probe(training_set(tmp_path), "edges", QUICK, seed=0)
    mean_map = np.zeros((SIDE, SIDE))
    readings = [
        evaluate_probe(
            trained.probe,
            "edges",
            *evaluation(tmp_path, 150, shard_size=size),
            mean_map,
            seed=0,
            device="cpu",
        )
        for size in (1000, 64, 7)
    ]
    assert readings[0] == readings[1] == readings[2]


def test_predictions_do_not_depend_on_the_batch(tmp_path):
    trained = train_probe(training_set(tmp_path), "edges", QUICK, seed=0)
    latents = evaluation(tmp_path, 70)[0].load("latents")
    whole = predict(trained.probe, latents, "cpu")
    parts = [predict(trained.probe, latents[i : i + 9], "cpu") for i in range(0, 70, 9)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_without_edges_or_partners_it_says_so(tmp_path):
    latents, _ = evaluation(tmp_path, 1)
    maps = shards_of(tmp_path, map=np.zeros((1, SIDE, SIDE), np.uint8))
    zero = np.zeros((SIDE, SIDE))
    readings = evaluate_probe(Known(), "edges", latents, maps, zero, seed=0, device="cpu")
    found = {reading.variant: reading for reading in readings}
    assert found["ap"].value is None
    assert "no true map has an edge" in found["ap"].note
    assert found["shuffled"].value is None
    assert "two images" in found["shuffled"].note
    with pytest.raises(ValueError, match="hold different images"):
        evaluate_probe(
            Known(), "edges", evaluation(tmp_path, 2)[0], maps, zero, seed=0, device="cpu"
        )


# -------------------------------------------------------------------------------------------- stage


def run(folder, family="Pool", network="canny", name="canny", train_images=60):
    images, maps = cells(80, 1)
    test_images, test_maps = cells(20, 2)
    encode = {"Pool": Pool, "Tokens": Tokens}[family]().encode
    latents = encode(torch.from_numpy(test_images) / 127.5 - 1).numpy()
    out = {key: folder / f"{name}.{key}" for key in ("json", "weights", "examples")}
    condition = Condition(
        name=name,
        network=network,
        train_maps=shards_of(folder, map=maps).path,
        maps=shards_of(folder, map=test_maps).path,
        scores=out["json"],
        weights=out["weights"],
        examples=out["examples"],
    )
    probe_latents(
        autoencoder="toy",
        family=f"{__name__}:{family}",
        config={},
        weights=None,
        images=shards_of(folder, images=images).path,
        latents=shards_of(folder, latents=latents).path,
        conditions=[condition],
        train_images=train_images,
        options={"widths": [8, 8], "epochs": 3, "batch_size": 16, "lr": 1e-2},
        protocol={"crop": "none"},
        version="7",
        seed=0,
        device="cpu",
        provenance={},
    )
    return out


def test_the_stage_writes_scores_weights_and_examples(tmp_path):
    out = run(tmp_path)
    name, scores, _ = read_scores(out["json"])
    found = {score.variant: score for score in scores}
    assert name == "toy"
    assert [*found] == ["", "zero", "mean", "shuffled", "thresholded", "f1", "ap"]
    plain = found[""]
    assert (plain.metric, plain.unit, plain.higher_is_better) == ("latent-canny", "L1", False)
    assert (plain.network, plain.metric_version, plain.n) == ("canny", "7", 20)
    assert (found["ap"].unit, found["ap"].higher_is_better) == ("1", True)
    assert plain.protocol["train_images"] == 54
    assert plain.protocol["held_out_images"] == 6
    assert 1 <= plain.protocol["best_epoch"] <= plain.protocol["epochs"] <= 3
    assert plain.protocol["crop"] == "none"
    assert plain.value < found["mean"].value
    assert plain.note == "training ended by its limit of 3 epochs, not by early stopping"

    probe = Probe(3, (8, 8))
    weights = {key: torch.from_numpy(value) for key, value in load_file(out["weights"]).items()}
    probe.load_state_dict(weights)
    with safe_open(out["examples"], framework="numpy") as file:
        ids = json.loads(file.metadata()["ids"])
        maps, predictions = file.get_tensor("maps"), file.get_tensor("predictions")
    everything = [f"im{i:04d}" for i in range(20)]
    assert ids == sorted(everything, key=lambda i: seed_for(0, "example", i))[:8]
    rows = [everything.index(i) for i in ids]
    images, true = cells(20, 2)
    np.testing.assert_array_equal(maps, true[rows])
    latents = Pool().encode(torch.from_numpy(images[rows]) / 127.5 - 1).numpy()
    expected = np.floor(predict(probe.eval(), latents, "cpu") * 255 + 0.5)
    np.testing.assert_array_equal(predictions, expected.astype(np.uint8))


def test_tokens_have_no_probe_and_the_score_says_why(tmp_path):
    out = run(tmp_path, family="Tokens")
    _, (score,), _ = read_scores(out["json"])
    assert score.value is None
    assert score.n == 0
    assert "16 tokens without a grid" in score.note
    assert load_file(out["weights"]) == {}
    assert load_file(out["examples"]) == {}


def test_a_network_without_maps_cannot_be_probed_for(tmp_path):
    with pytest.raises(ValueError, match="'mini-clip' is of kind 'features'; a probe predicts"):
        run(tmp_path, network="mini-clip")
