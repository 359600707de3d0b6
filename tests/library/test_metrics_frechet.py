"""rFID and KID: closed forms, properties, official numbers, other implementations."""

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_shards import readings_of, shards_of

from seesaw.metrics import Options
from seesaw.metrics import frechet as frechet_module
from seesaw.metrics import kid as kid_module
from seesaw.metrics.frechet import (
    BLOCK,
    ENOUGH,
    FEW,
    PAIRED,
    FrechetTo,
    Moments,
    Statistics,
    _congruent,
    _root,
    bias_note,
    bias_of,
    expected_bias,
    frechet_distance,
    rfid,
    statistics,
    statistics_of,
)
from seesaw.metrics.kid import kid, squared_mmd

REFERENCE = Path(__file__).parents[1] / "reference"
sys.path.append(str(REFERENCE))
recipe = importlib.import_module("recipe")
OFFICIAL = json.loads((REFERENCE / "frechet.json").read_text())["cases"]


def features(key, shape, shift=0.0, scale=1.0, duplicate_half=False, dtype="float64"):
    """The features behind ``frechet.json``: scaled columns, half of the left neighbour, a shift."""
    rng, (n, d) = recipe.generator(0, key), shape
    x = rng.standard_normal((n, d)) * (0.5 + rng.random(d))
    x = x + 0.5 * np.roll(x, 1, axis=1) + shift * rng.standard_normal(d)
    if duplicate_half:
        x[:, d // 2 :] = x[:, : d // 2]
    return (x * scale).astype(dtype)


def random_features(seed, n, d, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + shift


def sqrtm_distance(a, b):
    """The textbook formula, with SciPy's matrix square root."""
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance).real
    shift = a.mean - b.mean
    return shift @ shift + np.trace(a.covariance + b.covariance - 2 * root)


# --------------------------------------------------------------------------------- official numbers


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_official_numbers(name):
    case = OFFICIAL[name]
    a, b = (statistics(features(**case["inputs"][key])) for key in ("x1", "x2"))
    distance = frechet_distance(a, b)
    for other in ("exact", "official", "torch_fidelity"):
        assert distance == pytest.approx(case[other], rel=0, abs=case["atol"][other])
    assert np.trace(a.covariance) == pytest.approx(case["trace1"], abs=case["atol"]["trace1"])
    shift = a.mean - b.mean
    # the official code keeps the mean of float32 features in float32
    slack = 1e-5 if "float32" in name else case["atol"]["mean_term"]
    assert shift @ shift == pytest.approx(case["mean_term"], rel=0, abs=slack)


# ------------------------------------------------------------------------------------ closed forms


@given(st.lists(st.tuples(st.floats(0.01, 9), st.floats(0.01, 9)), min_size=1, max_size=8))
def test_diagonal_covariances(variances):
    a, b = np.array(variances).T
    zero = np.zeros(len(a))
    distance = frechet_distance(Statistics(99, zero, np.diag(a)), Statistics(99, zero, np.diag(b)))
    assert distance == pytest.approx(((np.sqrt(a) - np.sqrt(b)) ** 2).sum(), abs=1e-9)


def test_equal_covariances_leave_the_means():
    x = random_features(0, 300, 12)
    shift = np.linspace(-2, 1, 12)
    distance = frechet_distance(statistics(x), statistics(x + shift))
    assert distance == pytest.approx(shift @ shift, rel=1e-10)


def transported(seed, d, decades):
    """Statistics that decay over so many decades, their image under a map, and the distance.

    ``T`` is symmetric and positive, so it is the optimal transport between Gaussians with the
    covariances ``S`` and ``T S T``: their distance is ``tr (T - 1) S (T - 1)``.
    """
    rng = np.random.default_rng(seed)
    turn, other = (np.linalg.qr(rng.standard_normal((d, d))).Q for _ in range(2))
    covariance = (turn * 10.0 ** -np.linspace(0, decades, d)) @ turn.T
    change = (other * rng.uniform(-0.5, 0.5, d)) @ other.T
    change = (change + change.T) / 2
    image = (np.eye(d) + change) @ covariance @ (np.eye(d) + change)
    zero = np.zeros(d)
    pair = [Statistics(9 * d, zero, (s + s.T) / 2) for s in (covariance, image)]
    return *pair, np.trace(change @ covariance @ change)


@pytest.mark.parametrize("decades, digits", [(1, 1e-13), (4, 1e-11), (7, 1e-9), (10, 1e-7)])
def test_the_distance_of_an_optimal_transport_by_either_root(decades, digits, monkeypatch):
    a, b, expected = transported(decades, 200, decades)
    size = np.trace(a.covariance) + np.trace(b.covariance)
    by_cholesky = frechet_distance(a, b)
    assert by_cholesky == pytest.approx(expected, rel=0, abs=digits * size)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=0, abs=digits * size)
    monkeypatch.setattr(frechet_module, "cholesky", refuse)
    assert frechet_distance(a, b) == pytest.approx(by_cholesky, rel=0, abs=2 * digits * size)


def refuse(*_, **__):
    raise np.linalg.LinAlgError("not positive definite")


def test_scaling_by_c_in_one_dimension():
    x = random_features(1, 50, 1)
    sigma = x.std(ddof=1)
    distance = frechet_distance(statistics(x - x.mean()), statistics(3 * (x - x.mean())))
    assert distance == pytest.approx((2 * sigma) ** 2, rel=1e-10)


def test_statistics_are_numpys():
    x = random_features(2, 3000, 7, shift=5).astype(np.float32)
    found = statistics(x)
    assert found.n == 3000
    assert found.covariance.dtype == np.float64
    np.testing.assert_allclose(found.mean, x.astype(np.float64).mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x.astype(np.float64), rowvar=False))


@pytest.mark.parametrize("n, m", [(80, 90), (80, 9), (9, 80), (9, 8)])
def test_one_reference_for_many(n, m):
    reference = statistics(random_features(0, n, 12))
    to = FrechetTo(reference)
    for seed in (1, 2):
        other = statistics(random_features(seed, m, 12, 0.5))
        assert to.distance(other) == frechet_distance(reference, other)


def test_both_roots_give_the_same(monkeypatch):
    a, b = statistics(random_features(0, 90, 12)), statistics(random_features(1, 90, 12))
    by_cholesky = frechet_distance(a, b)
    monkeypatch.setattr("seesaw.metrics.frechet.FAR", 2.0)
    assert frechet_distance(a, b) == pytest.approx(by_cholesky, rel=1e-11)
    assert frechet_distance(a, b) != by_cholesky  # it was another way


# --------------------------------------------------------------------------------------- properties


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(2, 40), m=st.integers(2, 40), d=st.integers(1, 24))
def test_distance_to_itself_symmetry_and_the_textbook(seed, n, m, d):
    a, b = statistics(random_features(seed, n, d)), statistics(random_features(seed + 1, m, d, 1.0))
    size = np.trace(a.covariance) + np.trace(b.covariance)
    assert 0 <= frechet_distance(a, a) <= 1e-6 * size
    distance = frechet_distance(a, b)
    assert distance == pytest.approx(frechet_distance(b, a), rel=1e-6, abs=1e-6 * size)
    if min(n, m) > d + 4:
        assert distance == pytest.approx(sqrtm_distance(a, b), rel=1e-6, abs=1e-6 * size)


@pytest.mark.parametrize("n, m", [(10, 12), (10, 200), (200, 10)])
def test_fewer_images_than_dimensions_agrees_with_the_singular_values(n, m):
    x, y = random_features(3, n, 40), random_features(4, m, 40)
    x0, y0 = x - x.mean(0), y - y.mean(0)
    nuclear = np.linalg.svd(x0 @ y0.T, compute_uv=False).sum() / np.sqrt((n - 1) * (m - 1))
    a, b = statistics(x), statistics(y)
    shift = a.mean - b.mean
    expected = shift @ shift + np.trace(a.covariance + b.covariance) - 2 * nuclear
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-11)


def test_a_root_is_triangular_where_it_can_be_and_has_the_rank_otherwise(monkeypatch):
    full = statistics(random_features(20, 400, 30)).covariance
    root = _root(full)
    np.testing.assert_array_equal(root, np.triu(root))
    np.testing.assert_allclose(root.T @ root, full, rtol=0, atol=1e-14 * np.trace(full))
    x = random_features(21, 400, 30)
    copied, constant, sums = x.copy(), x.copy(), x.copy()
    copied[:, 7] = copied[:, 3]
    constant[:, 5] = 4.0
    sums[:, -1] = sums[:, :-1].sum(axis=1)
    few = x[:12]
    for features_, rank in ((copied, 29), (constant, 29), (sums, 29), (few, 11), (0 * x, 0)):
        covariance = np.cov(features_, rowvar=False)
        root = _root(covariance)
        assert root.shape == (rank, 30)
        gap = np.abs(root.T @ root - covariance).max()
        assert gap <= 1e-13 * np.trace(covariance)
    # variances over twelve decades are no loss of rank
    scales = 10.0 ** -np.linspace(0, 6, 30)
    assert _root(np.cov(x * scales, rowvar=False)).shape == (30, 30)
    monkeypatch.setattr(np.linalg, "eigh", refuse)
    _root(full)
    with pytest.raises(np.linalg.LinAlgError):
        _root(np.cov(copied, rowvar=False))


def test_constant_features_have_the_distance_of_their_means():
    x = np.ones((50, 3))
    other = statistics(random_features(24, 60, 3))
    assert frechet_distance(statistics(x), statistics(x + 2)) == pytest.approx(12)
    shift = other.mean - 1
    expected = shift @ shift + np.trace(other.covariance)
    assert frechet_distance(statistics(x), other) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(other, statistics(x)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (9, 9), (5, 9)])
def test_a_triangular_root_gives_the_same_product(shape):
    rng = np.random.default_rng(22)
    covariance = statistics(random_features(23, 50, shape[1])).covariance
    before = covariance.copy()
    for root in (rng.standard_normal(shape), np.triu(rng.standard_normal(shape))):
        lower = np.tril(_congruent(root, covariance))
        expected = np.tril(root @ covariance @ root.T)
        np.testing.assert_allclose(lower, expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    np.testing.assert_array_equal(covariance, before)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 2500), max_size=6))
def test_how_features_are_cut_changes_no_bit(cuts):
    x = features("cut", (2500, 5), shift=3.0, dtype="float32")
    moments = Moments(5)
    for part in np.split(x, sorted(cuts)):
        moments.add(part)
    found, whole = moments.statistics(), statistics(x)
    np.testing.assert_array_equal(found.mean, whole.mean)
    np.testing.assert_array_equal(found.covariance, whole.covariance)


@pytest.mark.parametrize("n, cut", [(2500, 700), (2500, BLOCK), (60, 10), (60, 0), (80, 70)])
def test_merged_moments_are_those_of_all(n, cut):
    x = random_features(5, n, 64, shift=100.0)
    left, right = Moments(64), Moments(64)
    left.add(x[:cut])
    right.add(x[cut:])
    before = right.statistics()
    left.merge(right)
    found, whole = left.statistics(), statistics(x)
    assert found.n == n
    np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-13)
    np.testing.assert_allclose(found.covariance, whole.covariance, rtol=1e-10, atol=1e-10)
    assert (found.rows is None) == (whole.rows is None) == (n >= 64)
    assert frechet_distance(found, whole) < 1e-7 * np.trace(whole.covariance)
    np.testing.assert_array_equal(right.statistics().covariance, before.covariance)


def test_a_large_mean_costs_no_digits():
    x = random_features(6, 2000, 4)
    near, far = statistics(x), statistics(x + 1e6)
    np.testing.assert_allclose(far.covariance, near.covariance, rtol=1e-7, atol=1e-7)


def test_rfid_sees_no_pairing_and_no_shard_size(tmp_path):
    a, b = random_features(7, 600, 8), random_features(8, 600, 8, 0.5)
    order = np.random.default_rng(0).permutation(600)
    plain = rfid(shards_of(tmp_path, features=a), shards_of(tmp_path, features=b), Options())
    cut = rfid(
        shards_of(tmp_path, features=a, shard_size=7),
        shards_of(tmp_path, features=b, shard_size=100),
        Options(batch_size=13),
    )
    assert plain.readings == cut.readings
    assert plain.readings[0].value == frechet_distance(statistics(a), statistics(b))
    assert plain.per_image == {}
    repaired = rfid(
        shards_of(tmp_path, features=a), shards_of(tmp_path, features=b[order]), Options()
    )
    assert repaired.readings[0].value == pytest.approx(plain.readings[0].value, rel=1e-12)


def test_rfid_says_when_it_is_biased(tmp_path):
    a = shards_of(tmp_path, features=random_features(0, 30, 8).astype(np.float32))
    reading = rfid(a, a, Options()).readings[0]
    assert reading.n == 30
    assert reading.value < 1e-9
    expected = expected_bias(statistics_of(a).covariance, 30, 30)
    assert reading.note == bias_note(30, 8, expected) + PAIRED
    assert "30 images for 8 feature dimensions" in reading.note
    assert f"one distribution would have about {expected:.2g})" in reading.note
    assert "singular" in bias_note(8, 8)
    assert bias_note(80, 8) == ""
    few = statistics_of(shards_of(tmp_path, features=random_features(0, 15, 8)))
    assert "about" not in bias_of(few, few)  # a first-order estimate would be wrong
    assert "biased upwards" in bias_of(few, few)
    # moments of a file are of very many images: only the other set has a bias
    found = statistics_of(a)
    endless = Statistics(0, found.mean, found.covariance)
    words = bias_note(30, 8, expected_bias(found.covariance, 30))
    assert bias_of(endless, found) == words != bias_of(found, found)


@pytest.mark.parametrize("per_dimension, low", [(10, 0.92), (4, 0.85), (2, 0.75)])
@pytest.mark.parametrize("variances", [np.ones(64), np.exp(-np.arange(64) / 10)])
@pytest.mark.parametrize("endless", [False, True])
def test_the_expected_bias_is_that_of_samples(variances, per_dimension, low, endless):
    rng, n = np.random.default_rng(0), per_dimension * 64
    true = Statistics(0, np.zeros(64), np.diag(variances))

    def drawn():
        return statistics(rng.standard_normal((n, 64)) * np.sqrt(variances))

    pairs = [(true if endless else drawn(), drawn()) for _ in range(12)]
    simulated = np.mean([frechet_distance(a, b) for a, b in pairs])
    m = None if endless else n
    # of the true covariance within 8% (3% or more of it are the simulation's), of a sample's less
    assert expected_bias(true.covariance, n, m) == pytest.approx(simulated, rel=0.08)
    estimates = [expected_bias(a.covariance, n, m) for a, _ in pairs]
    assert low < np.mean(estimates) / simulated < 1.06


@pytest.mark.parametrize("per_dimension", [1, 5, 20])
def test_the_smaller_side_decides_about_the_remark(per_dimension):
    """As much distance from few reference images as from few samples."""
    rng, few, many = np.random.default_rng(0), per_dimension * 64 + 6, 6400
    small = [statistics(rng.standard_normal((few, 64))) for _ in range(6)]
    large = statistics(rng.standard_normal((many, 64)))
    distance = np.mean([frechet_distance(a, large) for a in small])
    for which, pair in (("reference images", (small[0], large)), ("images", (large, small[0]))):
        note = bias_of(*pair)
        if per_dimension > ENOUGH:
            assert note == ""
            continue
        assert note.startswith(f"{few} {which} for 64 feature dimensions: biased upwards")
        if per_dimension < FEW:
            assert distance > 15
            assert "about" not in note  # a first-order estimate would be wrong
        else:
            told = float(re.search(r"about ([\d.]+)\)", note)[1])
            assert told == pytest.approx(distance, rel=0.1)
    # a file of moments does not know its n: taken for endless, on whichever side
    unknown = Statistics(0, large.mean, large.covariance)
    assert bias_of(unknown, large) == bias_of(large, unknown) == bias_of(unknown, unknown) == ""
    assert (bias_of(small[0], unknown) == "") == (per_dimension > ENOUGH)


def test_the_expected_bias_in_closed_form():
    # one dimension: variance l of the mean, (l / 2) / (n - 1) of the deviation
    assert expected_bias(np.array([[4.0]]), 11) == pytest.approx(4 / 11 + 2 / 10)
    # equal variances: d / n + (d^2 / 2 + d / 2) / 2 / (n - 1), a half for each of two sets
    expected = 3 * (1 / 9 + 1 / 5) + 3 * (1 / 8 + 1 / 4)
    assert expected_bias(np.eye(3), 9, 5) == pytest.approx(expected)
    # dimensions that never vary add nothing
    assert expected_bias(np.diag([1.0, 1, 1, 0, 0]), 9, 5) == pytest.approx(expected)


# ------------------------------------------------------------------------------------------- errors


def test_bad_features_are_errors_in_words(tmp_path):
    x = random_features(0, 20, 3)
    x[13, 1] = np.nan
    with pytest.raises(ValueError, match=r"feature vector of image 'im0013' is NaN or infinite"):
        statistics_of(shards_of(tmp_path, features=x, shard_size=6))
    with pytest.raises(ValueError, match="NaN or infinity"):
        statistics(x)
    with pytest.raises(ValueError, match="at least two feature vectors, got 1"):
        statistics(x[:1])
    with pytest.raises(ValueError, match=r"\(n, d\), got \(3,\)"):
        statistics(x[0])
    with pytest.raises(ValueError, match="length 3 and 2"):
        frechet_distance(statistics(x[:5]), statistics(x[:5, :2]))
    with pytest.raises(ValueError, match=r"expected feature vectors \(k, 3\)"):
        Moments(3).add(x[:, :2])
    with pytest.raises(ValueError, match="cannot merge"):
        Moments(3).merge(Moments(2))
    broken = Statistics(9, np.zeros(1), np.full((1, 1), np.inf))
    with pytest.raises(ValueError, match="NaN or infinity"):
        frechet_distance(broken, broken)


# ---------------------------------------------------------------------------------------------- KID


def loop_mmd(a, b):
    """The definition, one pair at a time."""
    n, m, d = len(a), len(b), a.shape[1]

    def kernel(x, y):
        return (x @ y / d + 1) ** 3

    within_a = sum(kernel(a[i], a[j]) for i in range(n) for j in range(n) if i != j)
    within_b = sum(kernel(b[i], b[j]) for i in range(m) for j in range(m) if i != j)
    between = sum(kernel(x, y) for x in a for y in b)
    return within_a / (n * (n - 1)) + within_b / (m * (m - 1)) - 2 * between / (n * m)


@pytest.mark.parametrize(
    "n, m, block", [(2, 2, 1024), (9, 6, 1024), (9, 6, 2), (9, 6, 3), (8, 8, 4)]
)
def test_kid_is_its_definition(monkeypatch, n, m, block):
    monkeypatch.setattr(kid_module, "BLOCK", block)
    a, b = random_features(0, n, 5), random_features(1, m, 5, 0.3)
    assert squared_mmd(a, b) == pytest.approx(loop_mmd(a, b), rel=1e-11)
    assert squared_mmd(b, a) == pytest.approx(squared_mmd(a, b), rel=1e-12)


@pytest.mark.parametrize("name", ["d64", "d2048_float32"])
def test_kid_is_torchmetrics_on_one_subset_of_everything(name):
    case = json.loads((REFERENCE / "kid.json").read_text())["cases"][name]
    a, b = (features(**case["inputs"][key]) for key in ("x1", "x2"))
    assert squared_mmd(a, b) == pytest.approx(case["squared_mmd"], rel=1e-9)


def test_kid_is_unbiased():
    rng = np.random.default_rng(0)
    values = [squared_mmd(*rng.standard_normal((2, 20, 4))) for _ in range(400)]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error
    assert min(values) < 0


def test_kid_reads_shards(tmp_path):
    a = random_features(0, 30, 5).astype(np.float32)
    b = random_features(1, 30, 5).astype(np.float32)
    one = kid(shards_of(tmp_path, features=a), shards_of(tmp_path, features=b), Options())
    cut = kid(
        shards_of(tmp_path, features=a, shard_size=4),
        shards_of(tmp_path, features=b, shard_size=11),
        Options(batch_size=3),
    )
    assert one.readings == cut.readings
    assert readings_of(one)[""].value == pytest.approx(1000 * loop_mmd(*map(np.float64, (a, b))))
    with pytest.raises(ValueError, match="at least two feature vectors"):
        squared_mmd(a[:1], b)
    b[3, 0] = np.inf
    with pytest.raises(ValueError, match="reconstruction of image 'im0003'"):
        kid(shards_of(tmp_path, features=a), shards_of(tmp_path, features=b), Options())
