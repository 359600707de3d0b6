import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from seesaw.stats import (
    METHODS,
    Comparison,
    Correlation,
    bca_interval,
    bootstrap_interval,
    compare_dependent,
    correlate,
    fisher_interval,
    kendall,
    leave_one_out,
    one_per_family,
    partial,
    pearson,
    permutation_p,
    smallest_detectable,
    spearman,
)

FINITE = st.integers(-40, 40).map(float)
SCIPY = {
    "pearson": scipy.stats.pearsonr,
    "spearman": scipy.stats.spearmanr,
    "kendall": scipy.stats.kendalltau,
}
TRUTH = {  # of a normal sample with Pearson's correlation r
    "pearson": lambda r: r,
    "spearman": lambda r: 6 / np.pi * np.arcsin(r / 2),
    "kendall": lambda r: 2 / np.pi * np.arcsin(r),
}
FAMILIES = ["va", "sd", "sd", "repa", "repa", "repa", "repa", "vavae", "rae", "dc", "dc", "sd"]


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
        assert kendall(x, y) == pytest.approx(scipy.stats.kendalltau(x, y).statistic, abs=1e-12)

    def test_ties_get_average_ranks(self):
        x, y = [1, 2, 2, 3, 3, 3], [1, 1, 2, 5, 2, 4]
        assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)

    def test_closed_forms(self):
        # 1 - 6 sum d^2 / (n (n^2 - 1)) with one swap of neighbours: d^2 sums to 2
        assert spearman([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]) == pytest.approx(1 - 12 / 120)
        # 9 of 10 pairs agree
        assert kendall([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]) == pytest.approx(0.8)
        # tau-b: 4 pairs agree, none disagrees; 5 are untied in x, 4 in y, of 6
        assert kendall([1, 2, 3, 3], [1, 1, 2, 2]) == pytest.approx(4 / np.sqrt(5 * 4))
        # vectors (-1, 0, 1) and (-1, 1, 0): cosine 1/2
        assert pearson([1, 2, 3], [0, 2, 1]) == pytest.approx(0.5)
        assert pearson([1, 2, 3, 4], [2, 4, 6, 8]) == 1.0

    def test_tiny_spread_on_a_large_offset_is_not_lost(self):
        x, y = sample(12, 0.7)
        assert pearson(1e3 + 1e-6 * x, 1e-200 * y) == pytest.approx(pearson(x, y), abs=1e-6)

    @pytest.mark.parametrize("function", [pearson, spearman, kendall])
    def test_constant_column_has_none(self, function):
        assert function([0.1, 0.1, 0.1], [1, 2, 3]) is None
        assert function([1], [2]) is None

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.tuples(FINITE, FINITE), min_size=3, max_size=9))
    def test_symmetric_and_odd(self, pairs):
        x, y = np.array(pairs).T
        for function in (pearson, spearman, kendall):
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
        assert kendall(np.exp(x), y**3) == pytest.approx(kendall(x, y), abs=1e-12)


class TestBootstrap:
    def test_agrees_with_scipy(self):
        x, y = sample(20, 0.6, seed=3)
        ours = bootstrap_interval(x, y, "pearson", resamples=20_000)
        reference = scipy.stats.bootstrap(
            (x, y), lambda a, b, axis: _rowwise(a, b), paired=True, method="percentile",
            n_resamples=20_000, rng=np.random.default_rng(1),
        ).confidence_interval  # fmt: skip
        assert ours == pytest.approx((reference.low, reference.high), abs=0.02)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("interval", [bootstrap_interval, bca_interval])
    def test_covers_about_as_often_as_it_says(self, method, interval):
        hits = 0
        for seed in range(150):
            x, y = sample(40, 0.6, seed=1000 + seed)
            low, high = interval(x, y, method, seed=seed, resamples=400)
            hits += low <= TRUTH[method](0.6) <= high
        assert 0.87 <= hits / 150 <= 0.99  # 3 standard errors around 0.93

    @pytest.mark.parametrize("method", METHODS)
    def test_every_resample_has_its_own_ranks(self, method):
        # the same resamples, one by one, with the reference's correlation
        x, y = np.round(sample(9, 0.4, seed=4), 1)
        drawn = np.random.default_rng(5).integers(0, 9, (400, 9))
        found = [SCIPY[method](x[i], y[i]).statistic for i in drawn]
        expected = np.quantile(found, [0.025, 0.975])
        ours = bootstrap_interval(x, y, method, seed=5, resamples=400)
        assert ours == pytest.approx(tuple(expected), abs=1e-9)

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


def _taus(a, b):
    i, j = np.triu_indices(a.shape[-1], 1)
    a, b = np.sign(a[..., i] - a[..., j]), np.sign(b[..., i] - b[..., j])
    return (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))


def _rank_rowwise(a, b):
    return _rowwise(scipy.stats.rankdata(a, axis=-1), scipy.stats.rankdata(b, axis=-1))


ROWWISE = {"pearson": _rowwise, "spearman": _rank_rowwise, "kendall": _taus}


class TestPermutation:
    @pytest.mark.parametrize("n", [3, 4, 5, 6])
    def test_perfect_order_is_two_of_all(self, n):
        order = np.arange(n)
        assert permutation_p(order, order) == pytest.approx(2 / np.prod(np.arange(1.0, n + 1)))

    @pytest.mark.parametrize("method", METHODS)
    def test_exact_equals_enumeration_by_hand(self, method):
        x, y = [1.0, 2.5, 2.5, 4.0, 7.0], [2.0, 1.0, 5.0, 5.0, 6.0]
        function = SCIPY[method]
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

    @pytest.mark.parametrize("n", [4, 6, 8])
    def test_exact_kendall_is_scipys(self, n):
        x, y = sample(n, 0.5, seed=n)
        reference = scipy.stats.kendalltau(x, y, method="exact").pvalue
        assert permutation_p(x, y, "kendall") == pytest.approx(reference, abs=1e-12)

    def test_monte_carlo_kendall_approaches_the_exact_one(self):
        x, y = sample(12, 0.4, seed=6)
        exact = scipy.stats.kendalltau(x, y, method="exact").pvalue
        ours = permutation_p(x, y, "kendall")
        assert abs(ours - exact) < 4 * np.sqrt(exact * (1 - exact) / 20_000)

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("y", [[1, 2, 4, 7, 11], [1, 2, 2, 3, 3]])
    def test_exact_has_exactly_its_level(self, method, y):
        # of all 120 orders, as many have p <= level as the level says, at every attainable level
        x = [0.3, 1.0, 1.5, 4.0, 4.5]
        found = np.array([permutation_p(x, order, method) for order in itertools.permutations(y)])
        for level in np.unique(found):
            assert np.mean(found <= level + 1e-9) == pytest.approx(level)

    def test_monte_carlo_follows_theory_and_is_never_zero(self):
        x, y = sample(30, 0.45, seed=2)
        theory = scipy.stats.pearsonr(x, y).pvalue
        assert permutation_p(x, y, "pearson") == pytest.approx(theory, rel=0.25)
        assert permutation_p(np.arange(30), np.arange(30)) == pytest.approx(1 / 20_001)

    @pytest.mark.parametrize(
        "n, method", [(7, "spearman"), (14, "pearson"), (14, "spearman"), (14, "kendall")]
    )
    def test_uniform_when_unrelated(self, n, method):
        found = [
            permutation_p(*sample(n, seed=seed), method, seed=seed, permutations=199)
            for seed in range(200)
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
    @pytest.mark.parametrize("method", METHODS)
    def test_undefined_says_why(self, x, y, words, method):
        found = correlate(x, y, method)
        assert found.value is found.low is found.high is found.p is None
        assert words in found.note

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("n", [6, 12])
    def test_order_of_autoencoders_changes_nothing(self, n, method):
        x, y = sample(n, 0.3)
        order = np.random.default_rng(9).permutation(n)
        assert correlate(x, y, method) == correlate(x[order], y[order], method)

    @pytest.mark.parametrize("n", [7, 15])
    def test_kendall(self, n):
        x, y = sample(n, 0.6, seed=n)
        found = correlate(x, y, "kendall")
        assert found.value == pytest.approx(scipy.stats.kendalltau(x, y).statistic)
        assert found.p == pytest.approx(scipy.stats.kendalltau(x, y).pvalue, rel=0.5)
        assert -1 <= found.low < found.value < found.high <= 1
        assert found.p_method == ("exact" if n == 7 else "Monte Carlo")

    def test_seeded(self):
        x, y = sample(12, 0.5)
        assert correlate(x, y, seed=1) == correlate(x, y, seed=1)
        assert correlate(x, y, seed=1).low != correlate(x, y, seed=2).low

    @settings(deadline=None, max_examples=20)
    @given(st.lists(st.tuples(FINITE, FINITE), max_size=6), st.sampled_from(METHODS))
    def test_never_nan_and_always_explained(self, pairs, method):
        x, y = np.array(pairs).reshape(-1, 2).T
        found = correlate(x, y, method)
        assert isinstance(found, Correlation)
        numbers = [found.value, found.low, found.high, found.p]
        assert all(number is None or np.isfinite(number) for number in numbers)
        assert found.value is not None or found.note
        assert found.value is None or 0 < found.p <= 1

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="valid: pearson, spearman, kendall"):
            correlate([1, 2, 3], [1, 2, 3], "tau")
        with pytest.raises(ValueError, match="one length"):
            correlate([1, 2, 3], [1, 2])


class TestFisher:
    def test_pearson_is_scipys(self):
        x, y = sample(12, 0.7, seed=2)
        reference = scipy.stats.pearsonr(x, y).confidence_interval(0.9)
        ours = fisher_interval(pearson(x, y), 12, level=0.9)
        assert ours == pytest.approx((reference.low, reference.high), abs=1e-12)

    @pytest.mark.parametrize(
        "method, variance", [("pearson", 1 / 25), ("spearman", 1.125 / 25), ("kendall", 0.437 / 24)]
    )
    def test_closed_form(self, method, variance):
        # artanh(0.5) = ln(3) / 2
        low, high = fisher_interval(0.5, 28, method)
        half = 1.959963985 * np.sqrt(variance)
        assert low == pytest.approx(np.tanh(np.log(3) / 2 - half), abs=1e-9)
        assert high == pytest.approx(np.tanh(np.log(3) / 2 + half), abs=1e-9)

    @pytest.mark.parametrize("method", METHODS)
    def test_covers_as_often_as_it_says(self, method):
        x, noise = np.random.default_rng(0).normal(size=(2, 2000, 20))
        found = [fisher_interval(v, 20, method) for v in ROWWISE[method](x, 0.6 * x + 0.8 * noise)]
        hits = [low <= TRUTH[method](0.6) <= high for low, high in found]
        assert 0.925 <= np.mean(hits) <= 0.965  # 3 standard errors around 0.94 to 0.95

    @pytest.mark.parametrize("method", METHODS)
    def test_none_where_there_is_none(self, method):
        few = 4 if method == "kendall" else 3
        assert fisher_interval(0.5, few, method) is None
        assert fisher_interval(0.5, few + 1, method) is not None
        assert fisher_interval(None, 20, method) is None
        assert fisher_interval(float("nan"), 20, method) is None
        assert fisher_interval(1.0, 20, method) is None
        assert fisher_interval(-1.0 + 1e-16, 20, method) is None

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match=r"lies in \[-1, 1\], got 1.5"):
            fisher_interval(1.5, 20)
        with pytest.raises(ValueError, match="level must lie between 0 and 1, got 95"):
            fisher_interval(0.5, 20, level=95)
        with pytest.raises(ValueError, match="valid: pearson, spearman, kendall"):
            fisher_interval(0.5, 20, "distance")


class TestBCa:
    @pytest.mark.parametrize("method", METHODS)
    def test_agrees_with_scipy(self, method):
        x, y = sample(16, 0.7, seed=3)
        x, y = x[np.argsort(x)], y[np.argsort(x)]  # so that both draw the same resamples
        ours = bca_interval(x, y, method, seed=1, resamples=5000)
        reference = scipy.stats.bootstrap(
            (x, y), lambda a, b, axis: np.round(ROWWISE[method](a, b), 12), paired=True,
            method="BCa", n_resamples=5000, rng=np.random.default_rng(1),
        ).confidence_interval  # fmt: skip
        assert ours == pytest.approx((reference.low, reference.high), abs=1e-6)

    def test_differs_from_percentile_in_the_skewed_direction(self):
        # Pearson's bootstrap is skewed and biased away from 0: BCa moves both ends toward 0
        x, y = sample(20, 0.8, seed=1)
        plain, ours = bootstrap_interval(x, y, "pearson"), bca_interval(x, y, "pearson")
        assert ours[0] < plain[0] - 0.01
        assert ours[1] < plain[1]

    @pytest.mark.parametrize("method", METHODS)
    def test_is_percentile_where_the_distribution_is_symmetric(self, method):
        # mirrored in x: no bias, no skew
        half = np.arange(1.0, 9.0)
        x, y = np.r_[half, -half], np.r_[half % 3, half % 3] + np.r_[half, half] / 10
        plain = bootstrap_interval(x, y, method, resamples=20_000)
        ours = bca_interval(x, y, method, resamples=20_000)
        assert ours == pytest.approx(plain, abs=0.03)
        assert ours[0] == pytest.approx(-ours[1], abs=0.03)

    def test_perfect_correlation_has_no_width(self):
        x = np.arange(8.0)
        for method in METHODS:
            assert bca_interval(x, 2 * x + 1, method) == pytest.approx((1, 1), abs=1e-12)

    @pytest.mark.parametrize("method", METHODS)
    def test_copies_in_one_cluster_are_no_evidence(self, method):
        x, y = sample(10, 0.5, seed=8)
        copies = [np.repeat(v, 5) for v in (x, y)]
        # labels whose order is that of x, so that the same resamples are drawn
        labels = np.repeat([f"ae{i}" for i in scipy.stats.rankdata(x).astype(int) + 10], 5)
        alone = bca_interval(x, y, method)
        assert bca_interval(*copies, method, clusters=labels) == pytest.approx(alone, abs=1e-9)
        naive = bca_interval(*copies, method)
        assert naive[1] - naive[0] < 0.7 * (alone[1] - alone[0])

    def test_families_cover_where_single_autoencoders_do_not(self):
        rng = np.random.default_rng(11)
        of = np.repeat(np.arange(12), 3)
        alone, whole = 0, 0
        for seed in range(100):
            x, y = np.sqrt(0.9) * rng.normal(size=(2, 12))[:, of]
            x, y = np.array([x, y]) + np.sqrt(0.1) * rng.normal(size=(2, 36))
            low, high = bca_interval(x, y, seed=seed, resamples=500)
            alone += low <= 0 <= high
            low, high = bca_interval(x, y, seed=seed, resamples=500, clusters=of)
            whole += low <= 0 <= high
        assert alone / 100 < 0.82
        assert whole / 100 > 0.87

    @pytest.mark.parametrize("method", METHODS)
    def test_order_and_missing_pairs_change_nothing(self, method):
        x, y = sample(12, 0.3, seed=12)
        order = np.random.default_rng(9).permutation(12)
        families = np.array(FAMILIES)
        for clusters, moved in ((None, None), (families, families[order])):
            whole = bca_interval(x, y, method, clusters=clusters)
            assert whole is not None
            assert bca_interval(x[order], y[order], method, clusters=moved) == whole
            holed = None if clusters is None else [*FAMILIES, "new"]
            found = bca_interval([*x, None], [*y, 1], method, clusters=holed)
            assert found == whole

    @pytest.mark.parametrize(
        "x, y, clusters",
        [
            ([1, 2], [2, 1], None),
            ([], [], None),
            ([1, 1, 1, 1], [1, 2, 3, 4], None),
            ([1, 2, 3, 4], [1, 3, 2, 4], ["a", "a", "b", "b"]),
            ([0, 0, 1], [0, 1, 0], None),  # too few resamples have a correlation
        ],
    )
    def test_none_where_there_is_none(self, x, y, clusters):
        for method in METHODS:
            assert bca_interval(x, y, method, clusters=clusters) is None

    def test_none_if_all_resamples_lie_on_one_side(self):
        x, y = sample(8, 0.5)
        for method in METHODS:
            assert bca_interval(x, y, method, resamples=1) is None

    def test_bad_arguments(self):
        x, y = sample(5)
        with pytest.raises(ValueError, match="a label for each of 5 values, got 2"):
            bca_interval(x, y, clusters=["a", "b"])
        with pytest.raises(ValueError, match=r"values \[1, 3\] have no label"):
            bca_interval(x, y, clusters=["a", None, "b", np.nan, "c"])
        with pytest.raises(ValueError, match="valid: pearson, spearman, kendall"):
            bca_interval(x, y, "tau")
        with pytest.raises(ValueError, match="level"):
            bca_interval(x, y, level=1.0)


class TestLeaveOneOut:
    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("n", [4, 9, 33])
    def test_equals_brute_force(self, n, method):
        x, y = sample(n, 0.6, seed=n)
        every = [SCIPY[method](np.delete(x, i), np.delete(y, i)).statistic for i in range(n)]
        found = leave_one_out(x, y, method)
        assert (found.low, found.high) == pytest.approx((min(every), max(every)), abs=1e-12)
        assert every[found.low_without] == pytest.approx(min(every))
        assert every[found.high_without] == pytest.approx(max(every))
        assert found.note == ""

    def test_finds_the_outlier(self):
        # without (9, -9) the rest is a line; places count the missing one
        found = leave_one_out([1, 2, None, 3, 9, 4], [1, 2, 5, 3, -9, 4], "pearson")
        assert found.high == pytest.approx(1)
        assert found.high_without == 4
        assert found.note == "1 of 6 pairs left out: a value is missing"

    def test_the_only_odd_value_cannot_be_left_out(self):
        found = leave_one_out([0, 0, 0, 0, 1], [1, 2, 3, 4, 5])
        assert "1 of 5 pairs cannot be left out" in found.note
        assert np.isfinite([found.low, found.high]).all()

    @pytest.mark.parametrize("x", [[], [1, 2, 3], [2, 2, 2, 2, 2], [1, 2, 3, np.nan]])
    def test_none_where_there_is_none(self, x):
        for method in METHODS:
            assert leave_one_out(x, np.arange(len(x)), method) is None

    def test_order_changes_only_the_places(self):
        x, y = sample(9, 0.2, seed=2)
        one, other = leave_one_out(x, y, "pearson"), leave_one_out(x[::-1], y[::-1], "pearson")
        assert (one.low, one.high) == (other.low, other.high)
        assert (one.low_without, one.high_without) == (
            8 - other.low_without,
            8 - other.high_without,
        )

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="valid: pearson, spearman, kendall"):
            leave_one_out([1, 2, 3, 4], [1, 2, 3, 4], "tau")


class TestFamilies:
    def test_means_in_the_order_of_names(self):
        means, names = one_per_family([1, 2, 3, 5, None], ["sd", "rae", "sd", "rae", "va"])
        assert names == ["rae", "sd", "va"]
        assert means == pytest.approx([3.5, 2, np.nan], nan_ok=True)

    def test_columns_share_their_rows(self):
        means, names = one_per_family([[1, 10], [3, None], [5, 6]], ["a", "a", "b"])
        assert names == ["a", "b"]
        assert means.tolist() == [[1, 10], [5, 6]]

    def test_a_family_without_value_is_counted_as_missing(self):
        x, names = one_per_family([1, 2, 4, None, None], ["a", "b", "c", "d", "d"])
        y, _ = one_per_family([1, 3, 2, 4, 5], ["a", "b", "c", "d", "d"])
        found = correlate(x, y)
        assert found.n == 3
        assert "1 of 4 pairs left out" in found.note

    def test_order_changes_nothing(self):
        values = np.random.default_rng(0).normal(size=12) * 10.0 ** np.arange(-6, 6)
        order = np.random.default_rng(1).permutation(12)
        one, names = one_per_family(values, FAMILIES)
        other, others = one_per_family(values[order], np.array(FAMILIES)[order])
        assert one.tolist() == other.tolist()
        assert names == others

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="a label for each of 3 values, got 2"):
            one_per_family([1, 2, 3], ["a", "b"])
        with pytest.raises(ValueError, match="one of its own"):
            one_per_family([1, 2], ["a", None])
        with pytest.raises(ValueError, match="shape"):
            one_per_family(1.0, ["a"])


class TestSmallestDetectable:
    @pytest.mark.parametrize("n, rho", [(783, 0.1), (85, 0.3), (28, 0.5)])
    def test_sample_sizes_of_the_textbooks(self, n, rho):
        # Cohen (1992), A power primer, Table 2: 80% power at the two-sided 5% level
        assert smallest_detectable(n) == pytest.approx(rho, rel=0.02)

    def test_is_what_a_test_finds_in_so_many_cases(self):
        r, n, times = smallest_detectable(20), 20, 4000
        x, noise = np.random.default_rng(3).normal(size=(2, times, n))
        value = (_unit(x) * _unit(r * x + np.sqrt(1 - r**2) * noise)).sum(1)
        found = np.abs(np.arctanh(value)) * np.sqrt(n - 3) > 1.96
        assert found.mean() == pytest.approx(0.8, abs=0.035)

    def test_falls_with_n_and_grows_with_what_is_asked(self):
        found = [smallest_detectable(n) for n in (4, 6, 13, 33, 1000)]
        assert found == sorted(found, reverse=True)
        assert smallest_detectable(13, power=0.9) > smallest_detectable(13)
        assert smallest_detectable(13, level=0.01) > smallest_detectable(13)

    def test_bad_input(self):
        assert smallest_detectable(3) is None
        assert smallest_detectable(0) is None
        with pytest.raises(ValueError, match="level must lie between 0 and 1, got 5"):
            smallest_detectable(20, level=5)
        with pytest.raises(ValueError, match="power must be above the level"):
            smallest_detectable(20, power=0.01)


def _unit(rows):
    rows = rows - rows.mean(1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def exactly(matrix, n, seed=0):
    """Vectors (k, n) whose sample correlations are those of ``matrix`` (k, k)."""
    rows = np.random.default_rng(seed).normal(size=(len(matrix), n))
    rows -= rows.mean(1, keepdims=True)
    white = np.linalg.solve(np.linalg.cholesky(rows @ rows.T), rows)
    return np.linalg.cholesky(np.array(matrix)) @ white


class TestCompareDependent:
    @pytest.mark.parametrize(
        "first, second, between, n, t, p",
        [
            # Silver, Hittner and May (2006), Applied Psychological Measurement 30:152-153
            (0.3, 0.4, 0.5, 100, -1.0767, 0.2843),
            # spouses' understanding and healthy dieting, as computed by r.test of R's psych
            (-0.11, 0.06, 0.41, 187, -2.15, 0.033),
        ],
    )
    def test_published_examples(self, first, second, between, n, t, p):
        matrix = [[1, between, first], [between, 1, second], [first, second, 1]]
        found = compare_dependent(*exactly(matrix, n))
        assert (found.first, found.second) == pytest.approx((first, second), abs=1e-12)
        assert found.between == pytest.approx(between, abs=1e-12)
        assert found.n == n
        assert found.t == pytest.approx(t, abs=0.005 if n == 187 else 5e-5)
        assert found.p == pytest.approx(p, abs=0.001 if n == 187 else 5e-5)

    @pytest.mark.parametrize("n", [6, 13, 33])
    def test_is_steigers_formula(self, n):
        # Steiger's (1980) eq. 7, with the determinant taken by numpy
        x, y = sample(n, 0.5, seed=n)
        z = x + y + sample(n, seed=n + 1)[0]
        r = np.corrcoef([x, y, z])
        mean = (r[0, 2] + r[1, 2]) / 2
        scale = (n - 1) * (1 + r[0, 1])
        scale /= 2 * (n - 1) / (n - 3) * np.linalg.det(r) + mean**2 * (1 - r[0, 1]) ** 3
        t = (r[0, 2] - r[1, 2]) * np.sqrt(scale)
        found = compare_dependent(x, y, z)
        assert found.t == pytest.approx(t, abs=1e-9)
        assert found.p == pytest.approx(2 * scipy.stats.t.sf(abs(t), n - 3), abs=1e-12)

    @pytest.mark.parametrize("method, n", [("pearson", 8), ("pearson", 20), ("spearman", 20)])
    def test_keeps_its_level(self, method, n):
        root = np.linalg.cholesky([[1, 0.3, 0.6], [0.3, 1, 0.6], [0.6, 0.6, 1]])
        rng = np.random.default_rng(n)
        found = [compare_dependent(*(root @ rng.normal(size=(3, n))), method).p for _ in range(300)]
        assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.038)  # 3 std. errors

    def test_finds_the_better_metric(self):
        x, y = sample(33, 0.0, seed=5)
        target = 0.9 * x + 0.3 * sample(33, seed=6)[0]
        for method in ("pearson", "spearman"):
            found = compare_dependent(x, y, target, method)
            assert found.t > 0
            assert found.p < 0.001

    def test_antisymmetric_and_independent_of_order(self):
        x, y = sample(12, 0.4, seed=7)
        target = x + sample(12, seed=8)[0]
        one, other = compare_dependent(x, y, target), compare_dependent(y, x, target)
        assert one.t == pytest.approx(-other.t, abs=1e-12)
        assert (one.first, one.second, one.p) == pytest.approx((other.second, other.first, other.p))
        assert compare_dependent(x[::-1], y[::-1], target[::-1]) == one

    def test_spearman_sees_only_order(self):
        x, y = sample(12, 0.4, seed=7)
        target = x + sample(12, seed=8)[0]
        one = compare_dependent(x, y, target, "spearman")
        assert compare_dependent(np.exp(x), y**3, target, "spearman") == one

    def test_missing_rows_are_counted(self):
        x, y = sample(9, 0.4, seed=7)
        target = x + y + sample(9, seed=8)[0]
        whole = compare_dependent(x, y, target)
        holed = compare_dependent([*x, None, 1, 2], [*y, 1, None, 2], [*target, 1, 2, np.inf])
        assert (holed.t, holed.n) == (whole.t, 9)
        assert holed.note == "3 of 12 autoencoders left out: a value is missing"

    @pytest.mark.parametrize(
        "first, second, target, words",
        [
            ([1, 2, 4], [1, 3, 2], [2, 1, 3], "3 of the 4 autoencoders"),
            ([], [], [], "0 of the 4 autoencoders"),
            ([1, 1, 1, 1, 1], [1, 3, 2, 5, 4], [2, 1, 3, 4, 5], "equal"),
            ([1, 3, 2, 5, 4], [2, 6, 4, 10, 8], [2, 1, 3, 4, 5], "same up to sign"),
            ([1, 3, 2, 5, 4], [-1, -3, -2, -5, -4], [2, 1, 3, 4, 5], "same up to sign"),
        ],
    )
    def test_undefined_says_why(self, first, second, target, words):
        found = compare_dependent(first, second, target)
        assert found.t is found.p is None
        assert words in found.note

    def test_opposite_signs_ask_for_orientation(self):
        x, y = sample(20, 0.0, seed=1)
        found = compare_dependent(x, -y, x + y)
        assert found.t is not None
        assert "opposite signs" in found.note

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.tuples(FINITE, FINITE, FINITE), max_size=7))
    def test_never_nan_and_always_explained(self, rows):
        first, second, target = np.array(rows).reshape(-1, 3).T
        for method in ("pearson", "spearman"):
            found = compare_dependent(first, second, target, method)
            assert isinstance(found, Comparison)
            numbers = [found.first, found.second, found.between, found.t, found.p]
            assert all(number is None or np.isfinite(number) for number in numbers)
            assert found.t is not None or found.note

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="valid: pearson, spearman$"):
            compare_dependent([1, 2], [1, 2], [1, 2], "kendall")
        with pytest.raises(ValueError, match="one length"):
            compare_dependent([1, 2], [1, 2], [1, 2, 3])


class TestPartial:
    @pytest.mark.parametrize("method", ["pearson", "spearman"])
    @pytest.mark.parametrize("n", [5, 12, 33])
    def test_closed_form_of_one_control(self, n, method):
        x, y = sample(n, 0.5, seed=n)
        z = x - y + sample(n, seed=n + 1)[0]
        xy, xz, yz = (SCIPY[method](*pair).statistic for pair in ((x, y), (x, z), (y, z)))
        expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
        found = partial(x, y, z, method)
        assert found.value == pytest.approx(expected, abs=1e-9)
        t = abs(expected) * np.sqrt((n - 3) / (1 - expected**2))
        assert found.p == pytest.approx(2 * scipy.stats.t.sf(t, n - 3), abs=1e-9)
        assert (found.low, found.high) == fisher_interval(found.value, n - 1, method)
        assert (found.n, found.p_method, found.method) == (n, "t", method)

    def test_p_is_that_of_the_regression(self):
        # t of x in the least-squares fit of y on x, z1, z2
        rng = np.random.default_rng(4)
        z = rng.normal(size=(15, 2))
        x, y = z @ [1, 2] + rng.normal(size=15), z @ [2, -1] + rng.normal(size=15)
        design = np.column_stack([np.ones(15), x, z])
        fit, rest = np.linalg.lstsq(design, y)[:2]
        error = np.sqrt(rest[0] / 11 * np.linalg.inv(design.T @ design)[1, 1])
        expected = 2 * scipy.stats.t.sf(abs(fit[1]) / error, 11)
        assert partial(x, y, z, "pearson").p == pytest.approx(expected, abs=1e-9)

    def test_several_controls_by_the_inverse_matrix(self):
        rng = np.random.default_rng(5)
        rows = np.tril(rng.normal(size=(4, 4))) @ rng.normal(size=(4, 20))
        inverse = np.linalg.inv(np.corrcoef(rows))
        expected = -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
        found = partial(rows[0], rows[1], rows[2:].T, "pearson")
        assert found.value == pytest.approx(expected, abs=1e-9)
        twice = partial(rows[0], rows[1], rows[[2, 3, 2]].T, "pearson")
        assert (twice.value, twice.p) == pytest.approx((found.value, found.p), abs=1e-9)

    @pytest.mark.parametrize("method", ["pearson", "spearman"])
    def test_what_the_control_explains_is_gone(self, method):
        rng = np.random.default_rng(6)
        z, e, f = rng.normal(size=(3, 200))
        assert correlate(z + 0.5 * e, z + 0.5 * f, method).value > 0.6
        assert abs(partial(z + 0.5 * e, z + 0.5 * f, z, method).value) < 0.2

    @pytest.mark.parametrize("method, n", [("pearson", 6), ("pearson", 15), ("spearman", 15)])
    def test_keeps_its_level(self, method, n):
        rng = np.random.default_rng(n)
        below = 0
        for _ in range(300):
            z, e, f = rng.normal(size=(3, n))
            below += partial(z + e, z + f, z, method).p <= 0.05
        assert below / 300 == pytest.approx(0.05, abs=0.038)  # 3 standard errors

    def test_order_and_missing_rows(self):
        x, y = sample(9, 0.4, seed=7)
        z = x + sample(9, seed=8)[0]
        whole = partial(x, y, z)
        assert partial(x[::-1], y[::-1], z[::-1]) == whole
        holed = partial([*x, 1], [*y, 1], [*z, None])
        assert (holed.value, holed.p, holed.n) == (whole.value, whole.p, 9)
        assert holed.note == "1 of 10 autoencoders left out: a value is missing"

    @pytest.mark.parametrize(
        "x, y, z, words",
        [
            ([1, 2, 4], [1, 3, 2], [2, 1, 3], "3 of the 4 autoencoders"),
            ([], [], [], "0 of the 4 autoencoders"),
            ([1, 3, 2, 5, 4], [2, 1, 3, 4, 5], [7, 7, 7, 7, 7], "equal"),
            ([1, 3, 2, 5, 4], [2, 1, 3, 4, 5], [2, 6, 4, 10, 8], "determine one"),
        ],
    )
    @pytest.mark.parametrize("method", ["pearson", "spearman"])
    def test_undefined_says_why(self, x, y, z, words, method):
        found = partial(x, y, z, method)
        assert found.value is found.low is found.high is found.p is None
        assert words in found.note

    def test_few_or_perfect_says_what_is_missing(self):
        found = partial([1, 3, 2, 5], [2, 1, 3, 4], [1, 1, 2, 5], "pearson")
        assert found.p is not None
        assert found.note == "no interval: it takes 5 autoencoders"
        z = np.array([1.0, 2, 2, 5, 1, 0])
        x = np.array([1.0, 3, 2, 5, 4, 0])
        found = partial(x, 2 * x + z, z, "pearson")
        assert found.value == pytest.approx(1)
        assert found.p is found.low is None
        assert "perfect" in found.note

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.tuples(FINITE, FINITE, FINITE), max_size=7))
    def test_never_nan_and_always_explained(self, rows):
        x, y, z = np.array(rows).reshape(-1, 3).T
        for method in ("pearson", "spearman"):
            found = partial(x, y, z, method)
            numbers = [found.value, found.low, found.high, found.p]
            assert all(number is None or np.isfinite(number) for number in numbers)
            assert None not in numbers or found.note

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="valid: pearson, spearman$"):
            partial([1, 2], [1, 2], [1, 2], "kendall")
        with pytest.raises(ValueError, match="controls"):
            partial([1, 2, 3, 4], [1, 2, 4, 3], [1, 2])
