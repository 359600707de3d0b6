"""Statistics of latents: known distributions, any batches, numpy and scipy."""

import numpy as np
import pytest
from scipy import stats

from seesaw.latent_statistics import BLOCK, CACHED, LatentStatistics, pooled

MIDPOINTS = (np.arange(40_000) + 0.5) / 40_000


def summary(latents, batches=None):
    """Statistics of float32 latents ``(N, ...)``, given in batches of these sizes."""
    statistics = LatentStatistics(latents.shape[1:])
    at = 0
    for size in batches or [len(latents)]:
        statistics.add(latents[at : at + size])
        at += size
    assert at == len(latents)
    return statistics.summary()


def grid(*channels):
    """Channels of 40,000 numbers as 100 latents ``(C, 20, 20)``."""
    stacked = np.stack([np.asarray(channel).reshape(100, 20, 20) for channel in channels], axis=1)
    return stacked.astype(np.float32)


def drawn(shape, seed=0):
    """Skewed numbers with heavy tails, each channel (axis 1) with its own mean and spread."""
    rng = np.random.default_rng(seed)
    values = rng.gamma(0.7, size=shape) * rng.choice([-1, 2], size=shape)
    channels = (1, shape[1], *[1] * (len(shape) - 2))
    return (values * rng.uniform(0.1, 5, channels) + rng.normal(0, 3, channels)).astype(np.float32)


class TestClosedForm:
    @pytest.mark.parametrize(
        ("distribution", "std", "kurtosis", "within"),
        [
            (stats.uniform(-1, 2), 3**-0.5, -1.2, 1e-6),
            (stats.norm(), 1, 0, 5e-3),
            (stats.laplace(), 2**0.5, 3, 3e-2),
            (stats.bernoulli(0.5), 0.5, -2, 1e-12),
        ],
        ids=["uniform", "Gaussian", "Laplace", "two points"],
    )
    def test_known_distributions(self, distribution, std, kurtosis, within):
        shuffled = np.random.default_rng(0).permutation(distribution.ppf(MIDPOINTS))
        found = summary(grid(5 + 3 * shuffled))
        assert found["mean"] == pytest.approx(5 + 3 * distribution.mean(), abs=1e-6)
        assert found["std"] == pytest.approx(3 * std, rel=max(within, 1e-7))
        assert found["excess_kurtosis"] == pytest.approx(kurtosis, abs=within)
        assert found["numbers"] == 40_000

    def test_channels_of_unequal_spread_are_heavy_tailed_together(self):
        """Half the numbers +-a, half +-b: m4 / m2^2 = 2 (a^4 + b^4) / (a^2 + b^2)^2."""
        signs = np.tile([-1, 1], 20_000)
        found = summary(grid(signs, 3 * signs))
        assert found["channel_std"] == [1, 3]
        assert found["channel_excess_kurtosis"] == [-2, -2]
        assert found["excess_kurtosis"] == pytest.approx(2 * 82 / 100 - 3, abs=1e-12)

    @pytest.mark.parametrize("value", [0.1, -1e-30, 123456.789, 0])
    def test_a_constant_channel_has_no_kurtosis(self, value):
        found = summary(grid(np.full(40_000, value), MIDPOINTS))
        assert found["channel_std"][0] == 0
        assert found["channel_mean"][0] == np.float32(value)
        assert found["channel_excess_kurtosis"][0] is None
        assert found["channel_excess_kurtosis"][1] == pytest.approx(-1.2, abs=1e-6)
        assert found["excess_kurtosis"] is not None

    def test_constant_latents_have_none_at_all(self):
        found = summary(np.full((70, 3, 5), 0.1, np.float32))
        assert (found["std"], found["excess_kurtosis"]) == (0, None)

    def test_one_image(self):
        found = summary(np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2))
        assert found["channel_mean"] == [1.5, 5.5]
        assert found["mean"] == 3.5


@pytest.mark.parametrize("shape", [(4, 5, 6), (9, 3), (1, 4, 4), (7, 1), (6, 1, 1)], ids=str)
class TestProperties:
    def test_batches_change_no_bit(self, shape):
        n = 2 * BLOCK + 37
        latents = drawn((n, *shape))
        whole = summary(latents)
        rng = np.random.default_rng(1)
        cuts = np.diff(np.unique([0, *rng.integers(1, n, 25), n])).tolist()
        for batches in ([1] * n, cuts, [BLOCK, BLOCK, 37], [n - 1, 1]):
            assert summary(latents, batches) == whole

    def test_order_changes_the_last_digits_at_most(self, shape):
        latents = drawn((150, *shape))
        found, other = summary(latents), summary(latents[::-1])
        for key in found:
            np.testing.assert_allclose(found[key], other[key], rtol=1e-11, atol=1e-11)

    def test_numpy_and_scipy_agree(self, shape):
        latents = drawn((100, *shape))
        found, exact = summary(latents), latents.astype(np.float64)
        channels = np.moveaxis(exact, 2 if len(shape) == 2 else 1, 0)
        channels = channels.reshape(len(channels), -1)
        for prefix, values in (("", exact.ravel()), ("channel_", channels)):
            want = {
                "mean": values.mean(-1),
                "std": values.std(-1),
                "excess_kurtosis": stats.kurtosis(values, axis=-1, fisher=True, bias=True),
            }
            for key, value in want.items():
                np.testing.assert_allclose(found[prefix + key], value, rtol=1e-11, atol=1e-11)


def test_chunks_of_large_latents_change_no_bit(monkeypatch):
    latents = drawn((20, 8, 32, 32))
    assert 1 < CACHED // (32 * 32) < 20 * 8
    whole = summary(latents)
    for cached in (1, 10**9):
        monkeypatch.setattr("seesaw.latent_statistics.CACHED", cached)
        assert summary(latents) == whole


def test_a_large_mean_cancels_nothing():
    """Sums of powers would lose 16 digits here: (1e6)^4 beside a spread of 1."""
    latents = (1e6 + drawn((90, 3, 8, 8))).astype(np.float32)
    found, exact = summary(latents), latents.astype(np.float64)
    assert found["std"] == pytest.approx(exact.std(), rel=1e-12)
    assert found["excess_kurtosis"] == pytest.approx(stats.kurtosis(exact, axis=None), rel=1e-9)


def test_groups_of_unequal_size_are_pooled():
    values = drawn((1, 60))[0].astype(np.float64)
    groups = [values[:3], values[3:4], values[4:]]
    parts = [
        [len(g), g.mean(), *(((g - g.mean()) ** power).sum() for power in (2, 3, 4))]
        for g in groups
    ]
    whole = values - values.mean()
    want = [60, values.mean(), *((whole**power).sum() for power in (2, 3, 4))]
    np.testing.assert_allclose(pooled(np.transpose(parts)), want, rtol=1e-12)


def test_numbers_that_are_not_finite_are_counted():
    latents = drawn((2 * BLOCK + 5, 4, 3, 3))
    latents[3, 0, 0] = np.nan
    latents[BLOCK, 2, 1, 1] = np.inf
    latents[-1, 3, 0, 0] = -np.inf
    found = summary(latents, [BLOCK, BLOCK, 5])
    assert found["not_finite"] == 5
    assert found["numbers"] == latents.size
    assert all(found[key] is None for key in found if key not in ("numbers", "not_finite"))
    assert summary(np.full((2, 3, 4), 3e38, np.float32))["not_finite"] == 0


def test_what_it_refuses():
    statistics = LatentStatistics((4, 8, 8))
    with pytest.raises(ValueError, match="no image was added"):
        statistics.summary()
    for latents in (np.zeros((2, 4, 8, 8)), np.zeros((2, 8, 8, 4), np.float32)):
        with pytest.raises(ValueError, match=r"they take float32, \(N, 4, 8, 8\)"):
            statistics.add(latents)
