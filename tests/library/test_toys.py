"""Toys: closed forms of mixtures, fields and the two-point VAE, and what tiny runs report."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, stats

from seesaw.figures.style import FULL_WIDTH
from seesaw.toys import TOYS
from seesaw.toys.field import Training, sample_points, train
from seesaw.toys.isolated_modes import (
    ALL,
    DATA,
    EXACT,
    OTHER,
    REFERENCES,
    STDS,
    TRAINED,
    alone_share,
    among,
    grid_mixture,
    isolated_modes,
)
from seesaw.toys.mixture import LEVEL, OFF, Mixture, measure, neighbour_midpoints
from seesaw.toys.table import entry, over_seeds, percent
from seesaw.toys.two_point_vae import (
    RADIUS,
    SEPARATIONS,
    decode,
    kl_divergence,
    middle_share,
    posterior_means,
    reconstruction_error,
    two_point_vae,
)

TINY = Training(points=60, steps=5, width=8, layers=1)
WELL = {"seed": 3, "purpose": "test", "evaluations": 120}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def rng(seed=0):
    return np.random.default_rng(seed)


def close_share(found, expected, n):
    """Within four standard errors of a share of n points."""
    return abs(found - expected) <= 4 * np.sqrt(expected * (1 - expected) / n) + 1 / n


# ---------------------------------------------------------------------------------------- mixtures


def test_a_normalised_mixture_has_mean_0_and_variance_1():
    mixture = Mixture(rng().normal(3, 5, (7, 2)), 0.7)
    normalised = mixture.normalised()
    np.testing.assert_allclose(normalised.centre, 0, atol=1e-12)
    assert normalised.scale == pytest.approx(1)
    points, _ = normalised.draw(rng(1), 200_000)
    assert points.var(axis=0).mean() == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.02)


def test_the_grid_keeps_the_ratio_of_spacing_and_std():
    for std in STDS.values():
        mixture = grid_mixture(std)
        assert len(mixture.means) == 25
        gaps = np.diff(np.unique(mixture.means[:, 0].round(9)))
        np.testing.assert_allclose(gaps / mixture.std, 2 / std, rtol=1e-6)


def test_log_density_is_that_of_scipy():
    mixture = Mixture(rng().normal(0, 2, (4, 3)), 0.6)
    points = rng(1).normal(0, 2, (20, 3))
    parts = [stats.multivariate_normal(m, 0.36 * np.eye(3)).pdf(points) for m in mixture.means]
    np.testing.assert_allclose(mixture.log_density(points), np.log(np.mean(parts, axis=0)))


def test_tails_of_isolated_modes_in_closed_form():
    """In two dimensions a share exp(-r^2 / 2) of a Gaussian is farther than r std."""
    n = 30_000
    shares = grid_mixture(STDS["isolated"]).off(
        grid_mixture(STDS["isolated"]).draw(rng(), n)[0]
    )  # fmt: skip
    for r in (3, 4, 10):
        assert close_share(shares[f"off_{r}std"].mean(), np.exp(-(r**2) / 2), n)


@pytest.mark.parametrize("name", STDS)
def test_the_dense_region_holds_all_but_its_share(name):
    mixture, n = grid_mixture(STDS[name]), 50_000
    found = mixture.off(mixture.draw(rng(5), n)[0])["off_density"].mean()
    assert abs(found - LEVEL) < 0.003
    assert not mixture.off(mixture.means)["off_density"].any()


def test_between_connected_modes_nothing_is_off():
    """Hence the only hallucination of connected modes by distance is outside the grid."""
    connected, isolated = (grid_mixture(STDS[name]) for name in ("connected", "isolated"))
    axis = np.linspace(connected.means.min(), connected.means.max(), 60)
    inside = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    assert connected.distance(inside).max() < 3
    assert not connected.off(inside)["off_density"].any()
    axis = np.linspace(isolated.means.min(), isolated.means.max(), 60)
    inside = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    assert isolated.off(inside)["off_10std"].mean() > 0.5


# ------------------------------------------------------------------------------------ exact field


@pytest.mark.parametrize("t", [0.02, 0.3, 0.9, 1.0])
def test_exact_field_is_the_posterior_mean(t):
    """E[noise - x | x_t] by quadrature over x, in one dimension."""
    mixture = Mixture(np.array([[-1.0], [0.4], [2.0]]), 0.3)
    at = np.array([-1.3, 0.1, 0.9, 2.2])
    x = np.linspace(-4, 5, 200_001)
    prior = np.exp(mixture.log_density(x[:, None]))
    expected = []
    for value in at:
        noise = (value - (1 - t) * x) / t
        weight = prior * stats.norm.pdf(noise)
        expected.append((weight * (noise - x)).sum() / weight.sum())
    points, times = torch.from_numpy(at)[:, None], torch.full((len(at),), t, dtype=torch.float64)
    found = mixture.velocity()(points, times, torch.zeros(len(at)))
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6, atol=1e-6)


def test_exact_field_of_one_gaussian_maps_noise_linearly():
    mean, std = np.array([[0.5, -1.0]]), 0.05
    noise = sample_points(lambda x, t, y: torch.zeros_like(x), 50, 2, **WELL)
    found = sample_points(Mixture(mean, std).velocity(), 50, 2, **WELL)
    np.testing.assert_allclose(found, mean + std * noise, atol=0.02 * std)


@pytest.mark.parametrize("name", STDS)
def test_exact_field_hallucinates_at_the_rate_of_the_tails(name):
    mixture, n = grid_mixture(STDS[name]), 1500
    found = mixture.off(sample_points(mixture.velocity(), n, 2, **WELL))
    own = mixture.off(mixture.draw(rng(), 50_000)[0])
    for definition in OFF:
        assert close_share(found[definition].mean(), own[definition].mean(), n), definition
    assert found["off_10std"].sum() == 0


def test_exact_field_fills_all_modes():
    mixture = grid_mixture(STDS["isolated"])
    points = sample_points(mixture.velocity(), 2000, 2, **WELL)
    nearest = np.linalg.norm(points[:, None] - mixture.means, axis=2).argmin(axis=1)
    assert stats.chisquare(np.bincount(nearest, minlength=25)).pvalue > 1e-3


# ---------------------------------------------------------------------------------------- training


def test_a_training_learns_and_depends_on_its_seed_only():
    mixture = Mixture(np.array([[0.0, 0.0]]), 1.0)
    points, _ = mixture.draw(rng(), 400)
    points = points * [1.0, 0.3]
    training = Training(points=400, steps=150, width=32, layers=2, lr=1e-2)
    state = torch.random.get_rng_state()
    networks = [train(points, training, seed=seed, purpose="test") for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), state)
    sets = [sample_points(net, 1000, 2, seed=0, purpose="t", evaluations=40) for net in networks]
    np.testing.assert_array_equal(sets[0], sets[1])
    assert np.abs(sets[0] - sets[2]).max() > 1e-3
    np.testing.assert_allclose(sets[0].std(axis=0), points.std(axis=0), rtol=0.15)
    np.testing.assert_allclose(sets[0].mean(axis=0), points.mean(axis=0), atol=0.1)


def test_points_do_not_depend_on_how_many_are_asked_for():
    field = grid_mixture(STDS["connected"]).velocity()
    many, few = (
        sample_points(field, n, 2, seed=0, purpose="t", evaluations=10) for n in (40, 7)
    )  # fmt: skip
    np.testing.assert_allclose(many[:7], few, atol=1e-5)


def test_isolated_modes_hallucinate_more_even_with_a_tiny_model():
    training = Training(points=400, steps=150, width=32, layers=2, lr=1e-2)
    rates = {}
    for name, std in STDS.items():
        mixture = grid_mixture(std)
        points, _ = mixture.draw(rng(), training.points)
        network = train(points, training, seed=0, purpose="test")
        samples = sample_points(network, 1000, 2, seed=0, purpose="test", evaluations=40)
        rates[name] = mixture.off(samples)["off_3std"].mean()
    assert rates["isolated"] > 0.2 > 0.1 > rates["connected"]


@pytest.mark.parametrize("bad", [{"points": 1}, {"steps": 0}, {"layers": 0}, {"width": 0}])
def test_a_training_of_nothing_is_refused(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}={next(iter(bad.values()))}"):
        Training(**bad)


# --------------------------------------------------------------------------------------- midpoints


def test_midpoints_by_hand():
    points = np.array([[0.0], [1.0], [3.0]])
    np.testing.assert_array_equal(neighbour_midpoints(points), [[0.5], [0.5], [2.0]])
    np.testing.assert_array_equal(neighbour_midpoints(points, [0, 0, 1]), [[1.5], [2.0], [2.0]])
    with pytest.raises(ValueError, match="at least two groups"):
        neighbour_midpoints(points, [4, 4, 4])


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(float, (9, 2), elements=st.floats(-5, 5), unique=True), st.permutations(range(9)))
def test_midpoints_are_half_way_to_the_nearest(points, order):
    midpoints = neighbour_midpoints(points)
    for i, midpoint in enumerate(midpoints):
        others = np.delete(points, i, axis=0)
        nearest = np.linalg.norm(others - points[i], axis=1).min()
        assert 2 * np.linalg.norm(midpoint - points[i]) == pytest.approx(nearest, abs=1e-9)
    distances = np.linalg.norm(neighbour_midpoints(points[order]) - points[order], axis=1)
    expected = np.linalg.norm(midpoints - points, axis=1)[order]
    np.testing.assert_allclose(distances, expected, atol=1e-9)


@pytest.mark.parametrize("n", [25, 60, 120])
def test_a_point_alone_in_its_mode_has_its_midpoint_off(n):
    mixture, repeats = grid_mixture(STDS["isolated"]), 3000 // n
    shares = [
        mixture.off(neighbour_midpoints(mixture.draw(rng(i), n)[0]))["off_10std"].mean()
        for i in range(repeats)
    ]
    error = np.std(shares) / np.sqrt(repeats)
    assert np.mean(shares) == pytest.approx(alone_share(25, n), abs=4 * error + 1e-4)


def test_neighbours_of_other_modes_separate_and_gaussian_fits_do_not():
    found = {}
    for name, std in STDS.items():
        mixture = grid_mixture(std)
        points, modes = mixture.draw(rng(), 600)
        data, _ = mixture.draw(rng(1), 600)
        found[name] = measure(mixture, neighbour_midpoints(points, modes), data)
        floor = measure(mixture, mixture.draw(rng(2), 600)[0], data)
        within = measure(mixture, neighbour_midpoints(points), data)
        assert within["off_3std"] < 0.05  # the nearest of all points is of the same mode
        assert found[name]["wasserstein"] > floor["wasserstein"]
    assert found["isolated"]["off_3std"] == 1
    assert found["connected"]["off_3std"] < 0.02
    # 2-D Gaussian fits: nearly the same, although all of one set and none of the other is off
    assert abs(found["isolated"]["frechet"] - found["connected"]["frechet"]) < 0.1


def test_wasserstein_of_a_shift_is_the_shift():
    mixture = grid_mixture(STDS["connected"])
    data, _ = mixture.draw(rng(), 300)
    moved = measure(mixture, data + [0.3, -0.4], data)
    assert moved["wasserstein"] == pytest.approx(0.5)
    assert moved["frechet"] == pytest.approx(0.25)
    still = measure(mixture, data, data)
    assert still["wasserstein"] == 0
    assert still["frechet"] == pytest.approx(0, abs=1e-9)


# ------------------------------------------------------------------------------------ two-point VAE


@pytest.mark.parametrize("separation", SEPARATIONS)
def test_means_lie_on_the_circle(separation):
    for variance in (1.0, 0.25):
        means = posterior_means(separation, RADIUS, variance)
        np.testing.assert_allclose(np.linalg.norm(means, axis=1), RADIUS)
        gap = np.linalg.norm(means[1] - means[0])
        assert gap == pytest.approx(separation * variance**0.5)


@pytest.mark.parametrize("separation", [0.0, -1.0, 16.1])
def test_an_impossible_separation_is_refused(separation):
    with pytest.raises(ValueError, match="up to 16 standard deviations"):
        posterior_means(separation)


@pytest.mark.parametrize("variance", [1.0, 0.3])
def test_kl_divergence_is_that_of_torch(variance):
    normal = torch.distributions.Normal
    for mean in posterior_means(3.0, RADIUS, variance):
        q = normal(torch.from_numpy(mean), variance**0.5)
        expected = torch.distributions.kl_divergence(q, normal(0.0, 1.0)).sum()
        assert kl_divergence(RADIUS, variance) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("variance", [1.0, 0.3])
@pytest.mark.parametrize("separation", [0.5, 4.0, 16.0])
def test_decoder_is_the_posterior_mean(separation, variance):
    means = posterior_means(separation, RADIUS, variance)
    z = means.mean(axis=0) + rng().normal(0, 2, (50, 2))
    minus, plus = (stats.multivariate_normal(m, variance * np.eye(2)).pdf(z) for m in means)
    np.testing.assert_allclose(decode(z, means, variance), (plus - minus) / (plus + minus))
    antipodal = posterior_means(2 * RADIUS)
    np.testing.assert_allclose(decode(z, antipodal), np.tanh(z @ antipodal[1]))


@pytest.mark.parametrize("separation", SEPARATIONS)
def test_reconstruction_error_by_quadrature_and_by_sampling(separation):
    mean = separation**2 / 4
    peak, scale = mean - separation**2 / 8, 1 / np.sqrt(2 * np.pi * mean)

    def integrand(u):
        return (1 - np.tanh(u)) ** 2 * scale * np.exp(-((u - mean) ** 2) / (2 * mean))

    ends = mean + 6 * separation * np.array([-1, 1])
    expected, _ = integrate.quad(integrand, *ends, points=[0, peak, mean], limit=500)
    assert reconstruction_error(separation) == pytest.approx(expected, rel=1e-6, abs=1e-13)
    if separation > 4:
        return  # rests on latents so rare that sampling says nothing
    means, n = posterior_means(separation), 50_000
    z, images = Mixture(means, 1.0).draw(rng(), n)
    errors = np.square(decode(z, means) - (2 * images - 1))
    noise = 5 * errors.std() / np.sqrt(n) + 1e-9
    assert errors.mean() == pytest.approx(reconstruction_error(separation), abs=noise)
    for gain in (0.9, 1.1):  # no other slope of the decoder is better
        worse = np.square(np.tanh(gain * np.arctanh(decode(z, means).clip(-1 + 1e-12, 1 - 1e-12)))
                          - (2 * images - 1)).mean()  # fmt: skip
        assert worse > errors.mean() - 1e-6


@settings(max_examples=50, deadline=None)
@given(st.floats(0.05, 12), st.floats(0.01, 2))
def test_reconstruction_error_falls_with_separation(separation, more):
    near, far = reconstruction_error(separation), reconstruction_error(separation + more)
    assert 0 <= far < near <= 1


@pytest.mark.parametrize("separation", SEPARATIONS)
def test_middle_share_by_counting(separation):
    n = 100_000
    z, _ = Mixture(posterior_means(separation), 1.0).draw(rng(), n)
    assert close_share((np.abs(z[:, 0]) < separation / 6).mean(), middle_share(separation), n)


# ------------------------------------------------------------------------------------------ tables


def test_table_over_seeds():
    rows = [{"set": s, "seed": i, "points": 9, "a": a} for s, i, a in
            (("x", 0, 1.0), ("y", 0, 5.0), ("x", 1, 4.0))]  # fmt: skip
    table = over_seeds(rows, ["set"], {"a": "words", "absent": "never measured"})
    assert list(table["set"]) == ["x", "y"]
    x, y = table.iloc[0], table.iloc[1]
    assert (x["mean"], x["low"], x["high"], x["seeds"], x["points"]) == (2.5, 1, 4, 2, 9)
    assert x["sd"] == pytest.approx(np.sqrt(4.5))
    assert x["values"] == "1 4"
    assert np.isnan(y["sd"])
    assert percent(y) == "500.0%"
    assert percent(x) == "250.0 ± 212.1%"


@functools.cache
def tiny(name, seeds):
    if name == "isolated_modes":
        return isolated_modes(seeds, training=TINY, samples=80, evaluations=6)
    return two_point_vae(seeds, training=TINY, samples=80, evaluations=6, separations=(1, 8))


@pytest.mark.parametrize("name", TOYS)
def test_a_toy_reports_every_set_and_quantity_with_its_spread(name):
    toy = tiny(name, (0, 1))
    table = toy.table
    keys = ["set", "quantity", "mixture" if name == "isolated_modes" else "separation"]
    assert not table.duplicated(keys).any()
    assert np.isfinite(table[["mean", "sd", "low", "high"]]).all(axis=None)
    assert (table["seeds"] == 2).all()
    for row in table.itertuples():
        values = [float(value) for value in row.values.split()]
        assert row.mean == pytest.approx(np.mean(values), rel=1e-4, abs=1e-6)
        assert row.sd == pytest.approx(np.std(values, ddof=1), rel=1e-2, abs=1e-5)
    if name == "isolated_modes":
        sets = {DATA, EXACT, TRAINED, ALL, OTHER, *(among(n) for n in REFERENCES if n <= 60)}
        assert sets <= set(table["set"])
        for mixture in STDS:
            whole = entry(table, "off_3std", mixture=mixture, set=ALL)
            part = entry(table, "off_3std", mixture=mixture, set=among(25))
            assert part["points"] == 50
            assert whole["points"] == 60
    else:
        mse = table[table["quantity"] == "mse"]
        np.testing.assert_allclose(mse["closed_form"], [reconstruction_error(s) for s in (1, 8)])
    assert toy.figure.get_size_inches()[0] == FULL_WIDTH
    assert {"x", "y", "off_3std"} <= set(toy.points.columns)


@pytest.mark.parametrize("name", TOYS)
def test_a_seed_gives_the_same_beside_any_others(name):
    both, alone = (tiny(name, seeds).table for seeds in ((0, 1), (1,)))
    assert alone["sd"].isna().all()
    assert list(both["values"].str.split().str[1]) == list(alone["values"])


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_seeds_must_differ(name, seeds):
    with pytest.raises(ValueError, match="distinct seeds"):
        tiny(name, seeds)
