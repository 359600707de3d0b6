"""Checks of the paper's claims: closed forms, and that a claim which is wrong is found out."""

import itertools

import cv2
import numpy as np
import pandas as pd
import pytest

from seesaw.figures.style import COLUMN_WIDTH
from seesaw.metrics.frechet import frechet_distance, statistics
from seesaw.theory import (
    CLAIMS,
    canny_chance,
    equation_6,
    latents,
    projectors,
    proposition_5_4,
    theorem_5_2,
)
from seesaw.theory.claim import COLUMNS, check, run_claim, table_of, theory
from seesaw.theory.images import edges, scenes

SMALLER = {
    "theorem_5_2": {
        "IMAGES": 100,
        "DRAWS": 400,
        "ENCODERS": (latents.Blocks(4, 8), latents.Blocks(16, 3)),
        "NOISY": (latents.Blocks(4, noise=0.05),),
    },
    "proposition_5_4": {"IMAGES": 120},
    "equation_6": {
        "IMAGES": 24,
        "CANNY_IMAGES": 96,
        "NOISE": (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0),
        "SIDES": (32, 64),
    },
    "canny_chance": {
        "IMAGES": 60,
        "RESOLUTIONS": (64,),
        "PAIRS": 60,
        "STRENGTHS": {"blur": (1.0, 10.0), "blocks": (8, 64), "noise": (64,)},
    },
}
MODULES = {
    "theorem_5_2": theorem_5_2,
    "proposition_5_4": proposition_5_4,
    "equation_6": equation_6,
    "canny_chance": canny_chance,
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    for name, sizes in SMALLER.items():
        for constant, value in sizes.items():
            monkeypatch.setattr(MODULES[name], constant, value)


@pytest.fixture(scope="module")
def images():
    return scenes(48, 32, seed=3)


# ------------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(
    "relation, found, holds",
    [
        ("=", 1.1, True), ("=", 1.2, False), ("=", 0.8, False),
        ("<=", 0.0, True), ("<=", 1.1, True), ("<=", 1.2, False),
        (">=", 9.0, True), (">=", 0.9, True), (">=", 0.8, False),
        ("<", 0.8, True), ("<", 0.95, False),
        (">", 1.2, True), (">", 1.05, False),
        ("differs", 1.2, True), ("differs", 0.8, True), ("differs", 1.05, False),
    ],
)  # fmt: skip
def test_a_check_holds_by_its_relation(relation, found, holds):
    row = check("c", "s", found=found, expected=1, relation=relation, tolerance=0.15, n=2)
    assert row["holds"] is holds
    assert tuple(row) == COLUMNS


@pytest.mark.parametrize("relation", ["=", "<=", ">=", "<", ">", "differs"])
def test_what_is_no_number_never_holds(relation):
    for found, expected in ((np.nan, 1), (1, np.nan)):
        row = check("c", "s", found=found, expected=expected, relation=relation, n=1)
        assert row["holds"] is False


@pytest.mark.parametrize("tolerance", [-1, np.nan])
def test_a_tolerance_must_be_one(tolerance):
    with pytest.raises(ValueError, match="at least 0"):
        check("c", "s", found=1, expected=1, tolerance=tolerance, n=1)


def test_unknown_names_are_named():
    with pytest.raises(ValueError, match="unknown relation '=='"):
        check("c", "s", found=1, expected=1, relation="==", n=1)
    with pytest.raises(ValueError, match="Did you mean 'theorem_5_2'"):
        run_claim("theorem_5.2", seed=0)


def test_the_target_fails_and_names_what_does_not_hold(tmp_path):
    good = check("one is one", "here", found=1, expected=1, n=1)
    bad = check("one is two", "there", found=1, expected=2, tolerance=0.5, n=7)
    tables = {"first": table_of([good]), "second": table_of([good, good])}
    assert list(theory(tables)["theory"]) == ["first", "second", "second"]
    table_of([good, bad]).to_csv(tmp_path / "t.csv", index=False)
    tables["second"] = pd.read_csv(tmp_path / "t.csv")
    with pytest.raises(ValueError, match=r"(?s)1 of 3 .*second: one is two \(there\): found 1, "):
        theory(tables)
    tables["second"] = table_of([good, good]).assign(holds=["True", None])
    with pytest.raises(ValueError, match="2 of 3"):
        theory(tables)


def test_nothing_checked_is_no_success():
    with pytest.raises(ValueError, match="second"):
        theory(
            {"first": table_of([check("c", "s", found=1, expected=1, n=1)]), "second": table_of([])}
        )
    with pytest.raises(ValueError, match="any claim"):
        theory({})


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_and_says_so(name):
    claim = run_claim(name, seed=1)
    assert theory({name: claim.table})["holds"].all()
    assert claim.figure.get_size_inches()[0] == COLUMN_WIDTH
    assert len(claim.points)
    assert "nan" not in claim.caption


def test_the_same_seed_gives_the_same_table():
    tables = [run_claim("proposition_5_4", seed=seed).table for seed in (1, 1, 2)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert (tables[0]["found"] != tables[2]["found"]).any()


# -------------------------------------------------------------------------------------- theorem 5.2


def test_pairs_are_counted():
    conditions = np.array([[0.0], [0.0], [1.0]])
    pairs = latents.pairs_of(conditions, np.array([5, 6, 6]))
    np.testing.assert_allclose(pairs.weights, [2 / 3, 1 / 3])
    np.testing.assert_allclose(pairs.conditional, [[0.5, 0.5], [0, 1]])
    np.testing.assert_array_equal(pairs.latents, [[5], [6]])
    # distances of condition c to what latent z decodes to
    distances = np.array([[1.0, 3.0], [7.0, 5.0]])
    assert latents.alignment_error(pairs, distances) == pytest.approx((1 + 3 + 5) / 3)
    wrong = latents.misfit(pairs, 1.0)
    np.testing.assert_allclose(wrong, [[1 / 3, 2 / 3]] * 2)
    np.testing.assert_array_equal(latents.best_latents(distances), [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="3 conditions"):
        latents.pairs_of(conditions, np.arange(2))


@pytest.mark.parametrize("seed", range(5))
def test_equality_is_one_of_the_joint_distribution(seed):
    """Any conditions, any latents, any decoder; but only if pairs are kept."""
    rng = np.random.default_rng(seed)
    conditions = rng.integers(4, size=(60, 1)).astype(float)
    codes_of = rng.integers(6, size=60)
    decoded = rng.random(6)  # the condition of D(z)
    drift = np.abs(conditions[:, 0] - decoded[codes_of]).mean()

    def error(codes):
        pairs = latents.pairs_of(conditions, codes)
        distances = np.abs(pairs.conditions - decoded[pairs.latents[:, 0]])
        best = latents.best_latents(distances)
        backbone = rng.dirichlet(np.ones(distances.shape[1]), len(distances))
        least = latents.alignment_error(pairs, distances, best)
        assert least <= latents.alignment_error(pairs, distances, backbone)
        return latents.alignment_error(pairs, distances)

    assert error(codes_of) == pytest.approx(drift, abs=1e-14)
    assert abs(error(np.roll(codes_of, 1)) - drift) > 1e-3


def test_sampling_agrees_with_the_table(images):
    """Without noise the sampled value is the exact one; a backbone paired wrongly is not."""

    class Rolled(latents.Blocks):
        def mean(self, images):
            return np.roll(super().mean(images), 1, axis=0)

    exact, wrong = latents.Blocks(8, 4), Rolled(8, 4)
    conditions = theorem_5_2.project("quadrant tones", images)
    decoded = theorem_5_2.project("quadrant tones", exact.decode(exact.mean(images)))
    drift = np.abs(conditions - decoded).mean()
    options = {"draws": 2000, "rng": np.random.default_rng(0)}
    for sample in (theorem_5_2.sampled_alignment, theorem_5_2.sampled_drift):
        value, error = sample(exact, "quadrant tones", images, **options)
        assert abs(value - drift) <= 4 * error
        assert error < 0.01
    value, error = theorem_5_2.sampled_alignment(wrong, "quadrant tones", images, **options)
    assert abs(value - drift) > 10 * error


def test_a_wrong_pairing_is_found_out(monkeypatch):
    true_pairs = latents.pairs_of

    def mixed_up(conditions, codes):
        return true_pairs(conditions, np.roll(codes, 1, axis=0))

    monkeypatch.setattr(theorem_5_2, "pairs_of", mixed_up)
    table = run_claim("theorem_5_2", seed=1).table
    equal = table["claim"] == "alignment error at the perfect fit equals drift"
    assert not table[equal & table["setting"].str.contains("blocks of 4")]["holds"].any()
    with pytest.raises(ValueError, match="equals drift"):
        theory({"theorem_5_2": table})


# ---------------------------------------------------------------------------------- proposition 5.4


def test_moments_of_all_permutations():
    distances = np.random.default_rng(0).random((5, 5))
    values = [
        distances[np.arange(5), list(order)].mean() for order in itertools.permutations(range(5))
    ]
    mean, deviation = proposition_5_4.permutation_moments(distances)
    assert mean == pytest.approx(np.mean(values), abs=1e-14)
    assert deviation == pytest.approx(np.std(values), abs=1e-14)
    for wrong in (np.zeros((1, 1)), np.zeros((2, 3))):
        with pytest.raises(ValueError, match="square"):
            proposition_5_4.permutation_moments(wrong)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_is_permuted(share):
    permutation, part = proposition_5_4.permute_share(50, share, np.random.default_rng(0))
    assert len(part) == round(50 * share)
    np.testing.assert_array_equal(np.sort(permutation), np.arange(50))
    assert set(np.flatnonzero(permutation != np.arange(50))) <= set(part)


def test_pair_distances(images):
    maps = edges(images[:6])
    found = proposition_5_4.pair_distances(maps)
    for a, b in itertools.product(range(6), repeat=2):
        assert found[a, b] == pytest.approx((maps[a] != maps[b]).mean(), abs=1e-14)


def test_features_see_what_is_in_an_image(images):
    """Means and deviations by hand, so that a distance of 0 is not one of blind features."""
    found = proposition_5_4.features(images).reshape(-1, 4, 4, 4)
    cell = images[5, :, 8:16, 24:32] / 255
    np.testing.assert_allclose(found[5, :3, 1, 3], cell.mean(axis=(1, 2)))
    assert found[5, 3, 1, 3] == pytest.approx(cell.mean(axis=0).std(), abs=1e-7)
    other = images.copy()
    other[0] = 255 - other[0]
    a, b = (statistics(proposition_5_4.features(x)) for x in (images, other))
    assert frechet_distance(a, b) > 1e-4 * np.trace(a.covariance)


def test_another_marginal_is_found_out(monkeypatch):
    """Images drawn with replacement have not the marginal of the images."""

    def with_replacement(n, share, rng):
        return rng.integers(n, size=n), np.arange(n)

    monkeypatch.setattr(proposition_5_4, "permute_share", with_replacement)
    table = run_claim("proposition_5_4", seed=1).table
    zero = table["claim"] == "same images in another order: Frechet distance 0"
    random = table["setting"].str.contains("permuted")
    assert not table[zero & random]["holds"].any()
    assert table[zero & ~random]["holds"].all()


def test_drift_off_chance_is_found_out(monkeypatch):
    """A permutation that keeps most images in place has the marginal, but is not at chance."""

    def lazy(n, share, rng):
        permutation = np.arange(n)
        permutation[:2] = [1, 0]
        return permutation, np.arange(n)

    monkeypatch.setattr(proposition_5_4, "permute_share", lazy)
    table = run_claim("proposition_5_4", seed=1).table
    random = table["setting"].str.contains("permuted")
    chance = table["claim"] == "drift of a random order is at chance level"
    assert not table[chance & random]["holds"].any()
    assert table[~chance & random]["holds"].all()


# --------------------------------------------------------------------------------------- equation 6


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_lipschitz_constant_is_the_norm_of_the_matrix(sigma):
    """The gradient as a dense matrix, column by column."""
    side = 6
    across, down = projectors.transfer(side, sigma)
    columns = []
    for channel, row, column in itertools.product(range(3), range(side), range(side)):
        grey = np.zeros((side, side))
        grey[row, column] = projectors.GREY[channel]
        spectrum = np.fft.fft2(grey)
        columns.append(
            np.concatenate([np.fft.ifft2(spectrum * t).real.ravel() for t in (across, down)])
        )
    norm = np.linalg.norm(np.array(columns).T, 2)
    # root mean squares: the image has three times as many values as the map
    projector = projectors.SoftEdges(sigma)
    assert projector.lipschitz(side) == pytest.approx(np.sqrt(3) * norm, rel=1e-12)
    soft = projectors.SoftEdges(sigma, slope=8)
    assert soft.lipschitz(side) == pytest.approx(2 * projector.lipschitz(side))


def test_the_transfer_is_a_central_difference_across_and_down():
    across, down = projectors.transfer(8, 0.0)
    image = np.random.default_rng(0).random((8, 8))
    for transfer, axis in ((across, 1), (down, 0)):
        found = np.fft.ifft2(np.fft.fft2(image) * transfer).real
        wanted = (np.roll(image, -1, axis) - np.roll(image, 1, axis)) / 2
        np.testing.assert_allclose(found, wanted, atol=1e-14)


@pytest.mark.parametrize("projector", equation_6.PROJECTORS, ids=lambda p: p.name)
def test_the_bound_holds_for_any_pair(projector):
    rng = np.random.default_rng(0)
    a = rng.random((20, 3, 16, 16))
    for scale in (1e-6, 1e-2, 1.0):
        b = a + scale * rng.standard_normal(a.shape)
        drift = projectors.rms(projector(a) - projector(b))
        assert (drift <= projector.lipschitz(16) * projectors.rms(a - b)).all()
        assert (np.abs(projector(a) - projector(b)).mean(axis=(1, 2)) <= drift).all()


def test_a_constant_that_is_too_small_is_found_out(monkeypatch):
    true_gains = projectors.gains
    monkeypatch.setattr(equation_6, "CANNY_IMAGES", 4)
    monkeypatch.setattr(projectors, "gains", lambda side, sigma: 0.1 * true_gains(side, sigma))
    table = run_claim("equation_6", seed=1).table
    smallest = table["claim"].str.startswith("L is the smallest")
    bound = table["claim"].str.startswith("drift is at most")
    assert not table[smallest]["holds"].any()
    assert not table[bound]["holds"].all()


def test_fine_canny_is_canny(images):
    for image in images[:8]:
        grey = cv2.cvtColor(np.ascontiguousarray(image.transpose(1, 2, 0)), cv2.COLOR_RGB2GRAY)
        wanted = cv2.Canny(grey, 100, 200) > 0
        assert wanted.any()
        np.testing.assert_array_equal(projectors.fine_canny(grey, steps=1), wanted)
        # between whole grey levels nothing changes but the resolution of the gradients
        np.testing.assert_array_equal(projectors.fine_canny(grey, steps=32), wanted)


@pytest.mark.parametrize("side", [32, 64])
def test_a_hair_trigger_is_one(side):
    before, after = projectors.hair_trigger(side)
    changed = np.argwhere((before != after).any(axis=2))
    assert len(changed) == 1
    assert np.abs(after.astype(int) - before).max() == 1
    assert not cv2.Canny(before, 100, 200).any()
    assert (cv2.Canny(after, 100, 200) > 0).mean() > 0.1
    with pytest.raises(ValueError, match="at least 32"):
        projectors.hair_trigger(31)


# ------------------------------------------------------------------------------------- canny chance


def test_chance_by_enumeration():
    for a, b in ((0.1, 0.1), (0.2, 0.7)):
        outcomes = itertools.product(((0, 1 - a), (1, a)), ((0, 1 - b), (1, b)))
        wanted = sum(p * q * abs(x - y) for (x, p), (y, q) in outcomes)
        assert canny_chance.chance_level(a, b) == pytest.approx(wanted)
    assert canny_chance.chance_level(0.11) == pytest.approx(0.1958)
    for density in (0.0, 0.03, 0.11, 0.5):
        level = canny_chance.chance_level(density)
        assert canny_chance.density_at_chance(level) == pytest.approx(density)
    with pytest.raises(ValueError, match="share in 0..1"):
        canny_chance.chance_level(0.2, 1.2)
    with pytest.raises(ValueError, match="0..0.5"):
        canny_chance.density_at_chance(0.6)


def test_level_of_all_pairs_by_brute_force():
    rng = np.random.default_rng(0)
    maps = rng.random((7, 5, 6)) < rng.random((5, 6))
    pairs = [(a != b).mean() for a, b in itertools.combinations(maps, 2)]
    assert canny_chance.pair_level(maps) == pytest.approx(np.mean(pairs), abs=1e-14)
    with pytest.raises(ValueError, match="two maps"):
        canny_chance.pair_level(maps[:1])


def test_scattering_keeps_densities():
    maps = np.zeros((40, 10, 10), bool)
    maps[:, :3] = True
    loose = canny_chance.scattered(maps, np.random.default_rng(0))
    np.testing.assert_array_equal(loose.sum(axis=(1, 2)), 30)
    assert canny_chance.pair_level(maps) == pytest.approx(0, abs=1e-15)
    assert canny_chance.pair_level(loose) == pytest.approx(0.42, abs=0.01)


def test_tolerance_of_scattered_pairs_is_four_deviations():
    rng = np.random.default_rng(0)
    maps = rng.random((6, 5, 8)) < rng.random((6, 1, 1))
    values = [canny_chance.pair_level(canny_chance.scattered(maps, rng)) for _ in range(1500)]
    densities = maps.reshape(6, -1).mean(axis=1)
    wanted = 4 * np.std(values)
    assert canny_chance._scatter_tolerance(densities, 40) == pytest.approx(wanted, rel=0.1)


def test_dependent_maps_are_found_out(monkeypatch):
    """Maps that stay where they are do not pass for scattered ones."""
    monkeypatch.setattr(canny_chance, "scattered", lambda maps, rng: maps)
    table = run_claim("canny_chance", seed=1).table
    assert not table[
        table["claim"] == "with scattered pixels they are at the chance of their densities"
    ]["holds"].any()
