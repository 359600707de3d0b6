"""Inception Score, precision and recall: closed forms, properties, the official code's numbers."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seesaw.metrics import generation
from seesaw.metrics.generation import (
    PrecisionRecall,
    class_probabilities,
    inception_score,
    precision_recall,
    split_note,
    split_score,
)
from seesaw.networks import head_of, load_network

REFERENCE = Path(__file__).parents[1] / "reference"
sys.path.append(str(REFERENCE))
recipe = importlib.import_module("recipe")
OFFICIAL = json.loads((REFERENCE / "adm_evaluator.json").read_text())["cases"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def features(key, shape, shift=0.0, scale=1.0):
    """The features behind ``adm_evaluator.json``, float32."""
    rng, (n, d) = recipe.generator(0, key), shape
    x = rng.standard_normal((n, d)) * (0.5 + rng.random(d))
    x = x + 0.5 * np.roll(x, 1, axis=1) + shift * rng.standard_normal(d)
    return (x * scale).astype(np.float32)


def normal(key, shape, shift, scale):
    return (recipe.generator(0, key).standard_normal(tuple(shape)) * scale + shift).astype("f4")


def slow_precision_recall(reference, samples, k):
    """The definition, one pair at a time."""

    def distance(x, y):
        return float(((x.astype(np.float64) - y) ** 2).sum())

    def radius(rows, i):
        others = [distance(rows[i], rows[j]) for j in range(len(rows)) if j != i]
        return sorted(others)[k - 1]

    def share(inside, balls):
        radii = [radius(balls, j) for j in range(len(balls))]
        found = [any(distance(x, y) <= r for y, r in zip(balls, radii)) for x in inside]
        return np.mean(found)

    return share(samples, reference), share(reference, samples)


# --------------------------------------------------------------------------------- official numbers


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_official_precision_and_recall(name):
    case = OFFICIAL[name]
    reference, samples = (features(**case["inputs"][key]) for key in ("ref", "sample"))
    found = precision_recall(reference, samples)
    assert found == (case["precision"], case["recall"])
    assert found == (case["precision_fp16"], case["recall_fp16"])
    for key, rows in (("radii_ref", reference), ("radii_sample", samples)):
        radii = generation._radii(generation._Rows(rows, rows.mean(0), "cpu"), 3)[::25]
        np.testing.assert_allclose(radii.numpy(), case[key], rtol=0, atol=case["atol"]["radii"])


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_official_inception_score(name):
    case = OFFICIAL[name]
    found = inception_score(
        features(**case["inputs"]["sample"]),
        normal(**case["inputs"]["W"]),
        split_size=case["split_size"],
    )
    tolerance = case["atol"]["inception_score"]
    assert found.value == pytest.approx(case["inception_score"], rel=0, abs=tolerance)


# ------------------------------------------------------------------------------------ closed forms


def test_certain_and_balanced_classes_score_their_number():
    one_hot = np.eye(7)[np.arange(70) % 7]
    assert split_score(one_hot) == pytest.approx(7, rel=1e-12)
    assert inception_score(60 * one_hot, np.eye(7), split_size=35).value == pytest.approx(7)


def test_equal_rows_score_one():
    assert split_score(np.full((9, 4), 0.25)) == pytest.approx(1, rel=1e-12)
    assert inception_score(np.ones((9, 3)), np.ones((3, 5))).value == pytest.approx(1, rel=1e-12)


def test_two_classes_by_hand():
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    mean = [0.55, 0.45]
    kl = [sum(q * np.log(q / m) for q, m in zip(row, mean)) for row in p]
    assert split_score(p) == pytest.approx(np.exp(sum(kl) / 2), rel=1e-12)


def test_splits_are_consecutive_and_a_smaller_last_one_counts_as_much():
    x, head = normal("x", (50, 6), 0, 2), normal("head", (6, 4), 0, 1)
    parts = [split_score(class_probabilities(x[i : i + 20], head)) for i in (0, 20, 40)]
    found = inception_score(x, head, split_size=20)
    assert found.value == pytest.approx(np.mean(parts), rel=1e-12)
    assert found.note == "2 splits of 20 images and one of 10"
    assert found.n == 50


def test_precision_and_recall_of_a_line():
    # with k = 1 the balls of 0, 1, 2, ... have radius 1 and cover [-1, 10]
    line = np.arange(10.0)[:, None]
    inside, outside = np.array([[-1.0], [4.5], [10.0]]), np.array([[-1.01], [10.01], [50.0]])
    assert precision_recall(line, inside, k=1).precision == 1
    assert precision_recall(line, outside, k=1).precision == 0
    # the samples' balls: -1 and 4.5 reach 5.5, 10 reaches 5.5: they cover [-6.5, 15.5]
    assert precision_recall(line, inside, k=1).recall == 1
    # -1.01 and 10.01 reach 11.02 far, 50 reaches 39.99: all of the line is covered, though no
    # sample lies in it
    assert precision_recall(line, outside, k=1) == PrecisionRecall(precision=0, recall=1)


def test_a_set_against_itself_and_against_one_far_away():
    x = normal("x", (90, 8), 0, 1)
    assert precision_recall(x, x) == (1, 1)
    assert precision_recall(x, x + 1000) == (0, 0)


def test_dropped_modes_cost_recall_and_noise_costs_precision():
    rng = np.random.default_rng(0)
    modes = rng.normal(size=(4, 5)) * 50
    draw = rng.normal(size=(400, 5))
    full = modes[np.arange(400) % 4] + draw
    half = modes[np.arange(300) % 2] + rng.normal(size=(300, 5))
    precision, recall = precision_recall(full, half)
    assert precision > 0.85
    assert 0.4 < recall <= 0.5
    noisy = np.concatenate([half, rng.normal(size=(100, 5)) * 50])
    assert precision_recall(full, noisy).precision == pytest.approx(0.75 * precision, abs=0.01)


def test_copies_are_inside_balls_without_a_radius():
    x = np.repeat(normal("x", (1, 2048), 3.0, 1.0), 12, axis=0)
    x[6:] += 5
    assert precision_recall(x, x[::-1].copy()) == (1, 1)
    assert precision_recall(x, x[:6]) == (1, 0.5)


# --------------------------------------------------------------------------------------- properties


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    n=st.integers(4, 20),
    m=st.integers(4, 20),
    k=st.integers(1, 3),
    tile=st.integers(1, 9),
)
def test_tiles_give_what_the_definition_gives(seed, n, m, k, tile):
    rng = np.random.default_rng(seed)
    reference, samples = rng.normal(size=(n, 3)), rng.normal(size=(m, 3)) * 1.5
    before, generation.TILE = generation.TILE, tile
    try:
        found = precision_recall(reference, samples, k=k)
    finally:
        generation.TILE = before
    assert found == pytest.approx(slow_precision_recall(reference, samples, k))


def test_swapped_sets_swap_the_two():
    a, b = features("a", (80, 6)), features("b", (60, 6), shift=0.5)
    precision, recall = precision_recall(a, b)
    assert precision_recall(b, a) == (recall, precision)
    assert 0 < precision != recall < 1


def test_moving_far_away_changes_nothing():
    a, b = features("a", (80, 6)).astype(np.float64), features("b", (60, 6)).astype(np.float64)
    assert precision_recall(a + 1e6, b + 1e6) == precision_recall(a, b)


def test_the_score_lies_between_one_and_the_number_of_classes():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = rng.dirichlet(np.full(5, 0.3), size=30)
        assert 1 <= split_score(p) <= 5


def test_no_block_is_larger_than_a_tile(monkeypatch):
    shapes = []

    def spy(x, y, original=generation._distances):
        shapes.append((len(x), len(y)))
        return original(x, y)

    monkeypatch.setattr(generation, "TILE", 64)
    monkeypatch.setattr(generation, "_distances", spy)
    precision_recall(features("a", (300, 4)), features("b", (500, 4)))
    assert max(max(shape) for shape in shapes) == 64
    # 5 x 8 tiles between the sets, and half of those within each
    assert len(shapes) == 40 + 15 + 36


# ------------------------------------------------------------------------------- words and networks


def test_what_is_small_is_said():
    few = inception_score(normal("x", (30, 6), 0, 1), normal("h", (6, 3), 0, 1))
    assert "one split of 30 images instead of splits of 5000: biased downwards" in few.note
    assert split_note(5000) == split_note(50_000) == ""


def test_without_a_head_there_is_no_score():
    reading = inception_score(np.zeros((8, 3)), None)
    assert reading.value is None
    assert reading.n == 8
    assert "no classifier" in reading.note


def test_errors_in_words():
    x = np.zeros((8, 3))
    with pytest.raises(ValueError, match=r"head \(D, classes\) are needed, got \(8, 3\)"):
        inception_score(x, np.zeros((4, 2)))
    with pytest.raises(ValueError, match="NaN or infinity"):
        inception_score(x + np.nan, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="got 0 images"):
        inception_score(x[:0], np.zeros((3, 2)))
    with pytest.raises(ValueError, match="rows sum to 1"):
        split_score(np.full((3, 3), 0.5))
    with pytest.raises(ValueError, match="each set needs more than 3 images .* samples has 3"):
        precision_recall(x, x[:3])
    with pytest.raises(ValueError, match="of one length"):
        precision_recall(x, x[:, :2])
    with pytest.raises(ValueError, match="NaN or infinity"):
        precision_recall(x, np.where(np.arange(8)[:, None] == 5, np.inf, x))


def test_the_logits_of_inception_are_features_times_head(tmp_path):
    layout = json.loads((REFERENCE / "inception_layout.json").read_text())
    state = {name: torch.from_numpy(array) for name, array in recipe.fill_all(layout).items()}
    torch.save(state, tmp_path / "weights.pth")
    network = load_network("inception", tmp_path / "weights.pth")
    found = network.extract(recipe.pictures("input:64", 1, 64, 64))
    head = head_of(network)
    assert head.shape == (2048, 1008)
    assert head.dtype == np.float32
    np.testing.assert_allclose(found["features"] @ head, found["logits"], atol=1e-4, rtol=0)


def test_the_logits_of_mini_inception_are_features_times_head_and_a_bias():
    from seesaw.mini.inception import CLASS_FIELD, Classifier, MiniInception, field_logits
    from seesaw.mini.training import save_state, seeded

    with seeded(0):
        network = MiniInception(save_state(Classifier()))
    found = network.extract(recipe.pictures("mini", 3, 32, 32))
    head = head_of(network)
    assert head.shape == (64, 10)
    bias = field_logits(network.model.head.bias[None], CLASS_FIELD).numpy()
    np.testing.assert_allclose(found["features"] @ head + bias, found["logits"], atol=1e-5)


def test_networks_without_a_classifier_have_no_head():
    assert head_of(load_network("canny")) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_says_the_same():
    a, b = features("a", (5000, 32)), features("b", (6000, 32), scale=0.9)
    assert precision_recall(a, b, device="cuda") == precision_recall(a, b)
