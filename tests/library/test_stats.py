import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from seesaw.stats import (
    Correlation,
    bootstrap_interval,
    correlate,
    pearson,
    permutation_p,
    spearman,
)

FINITE = st.integers(-40, 40).map(float)


def sample(n, rho=0.0, seed=0):
    rng = np.random.default_rng(seed)
    x, noise = rng.normal(size=(2, n))
    return x, rho * x + np.sqrt(1 - rho**2) * noise


class TestValues:
    @pytest.mark.parametrize("n", [3, 6, 33, 200])
    def test_agree_with_scipy(self, n):
        x, y = sample(n, 0.5, seed=n)
        assert pearson(x, y) == pytest.approx(scipy.stats.pearsonr(x, y).statistic, abs=1e-12)
        assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)

    def test_ties_get_average_ranks(self):
        x, y = [1, 2, 2, 3, 3, 3], [1, 1, 2, 5, 2, 4]
        assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)

    def test_closed_forms(self):
        # 1 - 6 sum d^2 / (n (n^2 - 1)) with one swap of neighbours: d^2 sums to 2
        assert spearman([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]) == pytest.approx(1 - 12 / 120)
        # vectors (-1, 0, 1) and (-1, 1, 0): cosine 1/2
        assert pearson([1, 2, 3], [0, 2, 1]) == pytest.approx(0.5)
        assert pearson([1, 2, 3, 4], [2, 4, 6, 8]) == 1.0

    def test_tiny_spread_on_a_large_offset_is_not_lost(self):
        x, y = sample(12, 0.7)
        assert pearson(1e3 + 1e-6 * x, 1e-200 * y) == pytest.approx(pearson(x, y), abs=1e-6)

    @pytest.mark.parametrize("function", [pearson, spearman])
    def test_constant_column_has_none(self, function):
        assert function([0.1, 0.1, 0.1], [1, 2, 3]) is None
        assert function([1], [2]) is None

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.tuples(FINITE, FINITE), min_size=3, max_size=9))
    def test_symmetric_and_odd(self, pairs):
        x, y = np.array(pairs).T
        for function in (pearson, spearman):
            value = function(x, y)
            if value is None:
                assert np.ptp(x) == 0 or np.ptp(y) == 0
                continue
            assert function(y, x) == pytest.approx(value, abs=1e-12)
            assert function(-x, y) == pytest.approx(-value, abs=1e-12)
            assert -1 <= value <= 1

    def test_spearman_sees_only_order(self):
        x, y = sample(15, 0.4)
        assert spearman(np.exp(x), y**3) == pytest.approx(spearman(x, y), abs=1e-12)


class TestBootstrap:
    def test_agrees_with_scipy(self):
        x, y = sample(20, 0.6, seed=3)
        ours = bootstrap_interval(x, y, "pearson", resamples=20_000)
        reference = scipy.stats.bootstrap(
            (x, y), lambda a, b, axis: _rowwise(a, b), paired=True, method="percentile",
            n_resamples=20_000, rng=np.random.default_rng(1),
        ).confidence_interval  # fmt: skip
        assert ours == pytest.approx((reference.low, reference.high), abs=0.02)

    @pytest.mark.parametrize("method", ["pearson", "spearman"])
    def test_covers_about_as_often_as_it_says(self, method):
        # rho of a normal sample with correlation r: 6/pi asin(r/2)
        r = 0.6
        truth = r if method == "pearson" else 6 / np.pi * np.arcsin(r / 2)
        hits = 0
        for seed in range(150):
            x, y = sample(40, r, seed=1000 + seed)
            low, high = bootstrap_interval(x, y, method, seed=seed, resamples=600)
            hits += low <= truth <= high
        assert 0.87 <= hits / 150 <= 0.99  # 3 standard errors around 0.93

    def test_perfect_correlation_has_no_width(self):
        assert bootstrap_interval([1, 2, 3, 4], [1, 4, 9, 16]) == pytest.approx((1, 1), abs=1e-12)

    def test_degenerate_resamples_are_dropped(self):
        # with one odd value of three, 9 of 27 resamples are constant in x
        interval = bootstrap_interval([0, 0, 1], [0, 1, 2])
        assert interval is not None
        assert np.isfinite(interval).all()

    def test_mostly_degenerate_has_none(self):
        x = [0.0] * 2 + [1.0]
        y = [0.0, 1.0, 0.0]
        # both columns must keep their odd value: 6 of 27 resamples
        assert bootstrap_interval(x, y) is None
        found = correlate(x, y)
        assert (found.low, found.high) == (None, None)
        assert "no interval" in found.note
        assert found.value == pytest.approx(-0.5)

    def test_wider_with_fewer_pairs(self):
        few, many = (bootstrap_interval(*sample(n, 0.5, seed=1)) for n in (8, 200))
        assert few[1] - few[0] > 2 * (many[1] - many[0])


def _rowwise(a, b):
    a = a - a.mean(-1, keepdims=True)
    b = b - b.mean(-1, keepdims=True)
    return (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))


class TestPermutation:
    @pytest.mark.parametrize("n", [3, 4, 5, 6])
    def test_perfect_order_is_two_of_all(self, n):
        order = np.arange(n)
        assert permutation_p(order, order) == pytest.approx(2 / np.prod(np.arange(1.0, n + 1)))

    @pytest.mark.parametrize("method", ["pearson", "spearman"])
    def test_exact_equals_enumeration_by_hand(self, method):
        x, y = [1.0, 2.5, 2.5, 4.0, 7.0], [2.0, 1.0, 5.0, 5.0, 6.0]
        function = {"pearson": scipy.stats.pearsonr, "spearman": scipy.stats.spearmanr}[method]
        observed = abs(function(x, y).statistic)
        count = sum(
            abs(function(x, shuffled).statistic) >= observed - 1e-9
            for shuffled in itertools.permutations(y)
        )
        assert permutation_p(x, y, method) == pytest.approx(count / 120)

    def test_exact_agrees_with_scipy(self):
        x, y = sample(5, 0.5, seed=5)
        reference = scipy.stats.permutation_test(
            (x,), lambda a: scipy.stats.spearmanr(a, y).statistic, permutation_type="pairings",
            n_resamples=np.inf,
        )  # fmt: skip
        assert permutation_p(x, y) == pytest.approx(reference.pvalue, abs=1e-9)

    def test_monte_carlo_follows_theory_and_is_never_zero(self):
        x, y = sample(30, 0.45, seed=2)
        theory = scipy.stats.pearsonr(x, y).pvalue
        assert permutation_p(x, y, "pearson") == pytest.approx(theory, rel=0.25)
        assert permutation_p(np.arange(30), np.arange(30)) == pytest.approx(1 / 20_001)

    @pytest.mark.parametrize("n", [7, 14])
    def test_uniform_when_unrelated(self, n):
        found = [
            permutation_p(*sample(n, seed=seed), seed=seed, permutations=999) for seed in range(200)
        ]
        assert scipy.stats.kstest(found, "uniform").pvalue > 0.01
        assert np.mean(np.array(found) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


class TestCorrelate:
    def test_missing_pairs_are_left_out_and_counted(self):
        x, y = sample(10, 0.8)
        whole = correlate(x[2:], y[2:])
        x[0], y[1] = np.nan, np.inf
        holed = correlate(x, y)
        assert (holed.value, holed.p, holed.n) == (whole.value, whole.p, 8)
        assert holed.note == "2 of 10 pairs left out: a value is missing"
        assert holed.p_method == "exact"

    def test_none_counts_as_missing(self):
        assert correlate([1, None, 2, 3], [1, 2, 3, 4]).n == 3

    @pytest.mark.parametrize(
        "x, y, words",
        [
            ([1, 2], [3, 4], "2 of the 3 pairs"),
            ([], [], "0 of the 3 pairs"),
            ([1, 1, 1, 1], [1, 2, 3, 4], "equal"),
            ([1, 2, np.nan], [1, 2, 3], "2 of the 3 pairs"),
        ],
    )
    @pytest.mark.parametrize("method", ["pearson", "spearman"])
    def test_undefined_says_why(self, x, y, words, method):
        found = correlate(x, y, method)
        assert found.value is found.low is found.high is found.p is None
        assert words in found.note

    @pytest.mark.parametrize("n", [6, 12])
    def test_order_of_autoencoders_changes_nothing(self, n):
        x, y = sample(n, 0.3)
        order = np.random.default_rng(9).permutation(n)
        assert correlate(x, y) == correlate(x[order], y[order])

    def test_seeded(self):
        x, y = sample(12, 0.5)
        assert correlate(x, y, seed=1) == correlate(x, y, seed=1)
        assert correlate(x, y, seed=1).low != correlate(x, y, seed=2).low

    @settings(deadline=None, max_examples=30)
    @given(
        st.lists(st.tuples(FINITE, FINITE), max_size=6), st.sampled_from(["pearson", "spearman"])
    )
    def test_never_nan_and_always_explained(self, pairs, method):
        x, y = np.array(pairs).reshape(-1, 2).T
        found = correlate(x, y, method)
        assert isinstance(found, Correlation)
        numbers = [found.value, found.low, found.high, found.p]
        assert all(number is None or np.isfinite(number) for number in numbers)
        assert found.value is not None or found.note
        assert found.value is None or 0 < found.p <= 1

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="valid: pearson, spearman"):
            correlate([1, 2, 3], [1, 2, 3], "kendall")
        with pytest.raises(ValueError, match="one length"):
            correlate([1, 2, 3], [1, 2])
