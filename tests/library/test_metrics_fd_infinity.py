"""FD-infinity: known Gaussians, the authors' procedure, properties, few images."""

import numpy as np
import pytest
import scipy.linalg
from metric_shards import readings_of, shards_of

from seesaw.metrics import Options
from seesaw.metrics.fd_infinity import Line, fd_infinity, fit, subset_sizes, subset_statistics
from seesaw.metrics.frechet import frechet_distance, statistics
from seesaw.metrics.score import check_finite
from seesaw.registry import METRICS
from seesaw.seeds import shuffled

D = 16
VARIANCES = np.exp(-np.arange(D) / 4)


def gaussian(seed, n, variances=VARIANCES, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, len(variances))) * np.sqrt(variances) + shift


def true_distance(a, b, shift):
    """Of Gaussians with diagonal covariances a and b, ``shift`` apart in every dimension."""
    return len(a) * shift**2 + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()


def measure(folder, a, b, seed=0, **kwargs):
    sets = shards_of(folder, features=a, **kwargs), shards_of(folder, features=b, **kwargs)
    return readings_of(fd_infinity(*sets, Options(seed=seed)))


# ------------------------------------------------------------------------------------ closed forms


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_closer_to_the_truth_than_the_distance_of_all(tmp_path, shift):
    """Independent sets of known Gaussians: the bias of n images is almost gone."""
    other = VARIANCES * 1.5
    truth, n = true_distance(VARIANCES, other, shift), 200
    plain, found, whole = [], [], []
    for seed in range(40):
        a, b = gaussian(seed, n), gaussian(100 + seed, n, other, shift)
        readings = measure(tmp_path, a, b)
        plain.append(frechet_distance(statistics(a), statistics(b)))
        found.append(readings[""].value)
        whole.append(readings["reference=whole"].value)
    bias = np.mean(plain) - truth
    assert bias > 0.08
    assert abs(np.mean(found) - truth) < 0.3 * bias
    # the authors' way takes away the source's part of the bias only
    assert 0.25 * bias < np.mean(whole) - truth < 0.75 * bias


def test_a_perfect_autoencoder_has_zero_where_the_authors_line_ends_below(tmp_path):
    a = gaussian(0, 400)
    readings = measure(tmp_path, a, a)
    assert readings[""].value == pytest.approx(0, abs=1e-6)
    assert readings["reference=whole"].value < -0.01
    assert frechet_distance(statistics(a), statistics(a)) < 1e-6


def test_a_line_in_one_over_n_is_followed_to_its_end():
    sizes = [50, 70, 100, 400]
    line = fit(sizes, [3 + 20 / n for n in sizes])
    assert (line.end, line.slope, line.r2) == pytest.approx((3, 20, 1))
    assert fit(sizes, [2.0] * 4) == Line(2.0, 0.0, None)
    noisy = np.array([3.4, 3.3, 3.1, 3.05])
    slope, end = np.polyfit(1 / np.array(sizes), noisy, 1)
    line = fit(sizes, noisy)
    assert (line.end, line.slope) == pytest.approx((end, slope))
    assert line.r2 == pytest.approx(np.corrcoef(1 / np.array(sizes), noisy)[0, 1] ** 2)


# ------------------------------------------------------------------------- the authors' procedure


def test_the_whole_reference_is_the_authors_procedure(tmp_path):
    """The steps of FID_IS_infinity and dgm-eval, on our subsets: np.cov, sqrtm, polyfit."""
    a, b = gaussian(1, 400), gaussian(2, 400, shift=0.1)
    found = measure(tmp_path, a, b, seed=3)
    ids = [f"im{i:04d}" for i in range(400)]
    order = shuffled(ids, 3, "fd-infinity")
    sizes = np.linspace(max(min(5000, 400 // 10), 2 * D), 400, 15).astype("int32")
    ends = {}
    for variant in ("", "reference=whole"):
        distances = []
        for size in sizes:
            y = b[order[:size]]
            x = a if variant else a[order[:size]]
            s1, s2 = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
            shift = x.mean(0) - y.mean(0)
            root = scipy.linalg.sqrtm(s1 @ s2).real
            distances.append(shift @ shift + np.trace(s1 + s2 - 2 * root))
        ends[variant] = np.polyfit(1 / sizes, distances, 1)[1]
    for variant, end in ends.items():
        assert found[variant].value == pytest.approx(end, rel=1e-6, abs=1e-8)


def test_sizes_are_the_authors_where_images_are_many():
    for n, d in ((50_000, 2048), (50_000, 1024), (10_000, 64), (2000, 64)):
        expected = np.linspace(min(5000, max(n // 10, 2)), n, 15).astype("int32")
        assert subset_sizes(n, d) == expected.tolist()
    assert subset_sizes(10_000, 2048)[0] == 4096  # a tenth would be fewer images than dimensions
    for n, d in ((64, 16), (30, 1), (8192, 2048)):
        sizes = subset_sizes(n, d)
        assert len(set(sizes)) == 15
        assert sizes[0] >= 2 * d
        assert sizes[-1] == n >= 2 * sizes[0]
        assert subset_sizes(n - 1, d) == []


# --------------------------------------------------------------------------------------- properties


def test_neither_order_nor_shards_change_a_bit(tmp_path):
    a, b = gaussian(1, 90), gaussian(2, 90)
    ids = [f"im{i:04d}" for i in range(90)]
    plain = measure(tmp_path, a, b, ids=ids)
    assert measure(tmp_path, a, b, ids=ids, shard_size=7) == plain
    order = np.random.default_rng(0).permutation(90)
    turned = measure(tmp_path, a[order], b[order], ids=[ids[i] for i in order])
    assert turned[""] == plain[""]
    whole = "reference=whole"  # the reference itself is added up in stored order
    assert turned[whole].value == pytest.approx(plain[whole].value, rel=1e-10)
    assert measure(tmp_path, a, b, ids=ids, seed=1)[""].value != plain[""].value


def test_subsets_are_nested_and_added_up_once():
    x = gaussian(0, 3000).astype(np.float32)
    order = np.random.default_rng(1).permutation(3000)
    for size, found in zip((40, 1500, 3000), subset_statistics(x, order, (40, 1500, 3000))):
        expected = statistics(x[order[:size]])
        assert found.n == size
        np.testing.assert_array_equal(found.mean, expected.mean)
        np.testing.assert_array_equal(found.covariance, expected.covariance)


def test_the_note_says_what_was_done(tmp_path):
    readings = measure(tmp_path, gaussian(1, 160), gaussian(2, 160))
    words = readings[""].note
    assert words.startswith(
        "line through 15 nested subsets of both sets, the same images, 32 to 160, R^2 0.9"
    )
    assert "of the reconstructions" in readings["reference=whole"].note
    sizes = subset_sizes(160, D)
    order = shuffled([f"im{i:04d}" for i in range(160)], 0, "fd-infinity")
    sets = (subset_statistics(gaussian(seed, 160), order, sizes) for seed in (1, 2))
    line = fit(sizes, [frechet_distance(x, y) for x, y in zip(*sets)])
    assert readings[""].value == line.end
    assert words.endswith(f"R^2 {line.r2:.4f}; at 160 images it is {line.slope / 160:+.3g} off")
    assert METRICS.load("fd-infinity") is fd_infinity


# -------------------------------------------------------------------------------------- bad input


def test_too_few_images_are_undefined_in_words(tmp_path):
    a = shards_of(tmp_path, features=gaussian(0, 63))
    measured = fd_infinity(a, a, Options())
    for reading in measured.readings:
        assert (reading.value, reading.n) == (None, 63)
        assert reading.note == (
            "undefined: 63 images for 16 feature dimensions; the line needs at least 64"
        )
    check_finite("fd-infinity", measured, a.ids)


def test_bad_features_are_errors_in_words(tmp_path):
    a, b = gaussian(0, 70), gaussian(1, 70)
    with pytest.raises(ValueError, match="hold different images"):
        fd_infinity(
            shards_of(tmp_path, features=a), shards_of(tmp_path, features=b[:69]), Options()
        )
    with pytest.raises(ValueError, match="length 16 and 9 cannot be compared"):
        fd_infinity(
            shards_of(tmp_path, features=a), shards_of(tmp_path, features=b[:, :9]), Options()
        )
    b[11, 2] = np.inf
    with pytest.raises(ValueError, match="reconstruction's features of image 'im0011' is NaN or"):
        measure(tmp_path, a, b)


def test_singular_features_stay_real(tmp_path):
    """Half of the dimensions repeat the others, and one never varies."""
    a, b = (np.tile(gaussian(seed, 90)[:, :8], 2) for seed in (0, 1))
    a[:, 3] = b[:, 3] = 1.0
    for reading in measure(tmp_path, a, b).values():
        assert isinstance(reading.value, float)
        assert np.isfinite(reading.value)
