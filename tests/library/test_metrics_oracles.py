"""Our metrics against torchmetrics, torch-fidelity, scikit-image and scikit-learn, live.

Where a definition is the same, the numbers are the same. Where it is not, the test says what
differs, and that the difference is of that kind: it vanishes, or has its closed form, once that one
thing is changed. LPIPS is held against its own package in test_networks.py, precision and recall
against ADM's evaluator in test_metrics_generation.py.
"""

import importlib
import json
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch_fidelity
from metric_shards import faces, pair_of, readings_of
from skimage import metrics as skimage_metrics
from sklearn import metrics as sklearn_metrics
from torch import nn
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics import functional as tm
from torchmetrics.functional.image.lpips import _NoTrainLpips
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from seesaw.metrics import Options
from seesaw.metrics.drift import drift
from seesaw.metrics.faces import face_recall, identity
from seesaw.metrics.fidelity import psnr, ssim, structural_similarity
from seesaw.metrics.frechet import frechet_distance, rfid, statistics
from seesaw.metrics.generation import inception_score, precision_recall
from seesaw.metrics.kid import kid, squared_mmd
from seesaw.metrics.perceptual import lpips
from seesaw.metrics.similarity import similarity
from seesaw.networks import load_network

REFERENCE = Path(__file__).parents[1] / "reference"
sys.path.append(str(REFERENCE))
recipe = importlib.import_module("recipe")
OPTIONS = Options()


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Given(nn.Module):
    """A feature network for torchmetrics whose images are the features themselves."""

    def __init__(self, width):
        super().__init__()
        self.num_features = width

    def forward(self, features):
        return features


def features(seed, n, d, shift=0.0, scale=1.0):
    """Correlated columns of different spread, not negative like pooled activations; float32."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * (0.2 + np.random.default_rng(99).random(d))
    x = np.abs(x + 0.5 * np.roll(x, 1, axis=1)) + shift
    return (x * scale).astype(np.float32)


def torchmetrics_frechet(a, b):
    metric = FrechetInceptionDistance(feature=Given(a.shape[1])).set_dtype(torch.float64)
    metric.update(torch.from_numpy(a), real=True)
    metric.update(torch.from_numpy(b), real=False)
    return float(metric.compute())


def fidelity_frechet(a, b):
    """torch-fidelity's, whose statistics have the dtype that NumPy gives them."""
    stats = [fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)]
    return fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]


def kid_of_torchmetrics(a, b, subsets=1, size=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # says that it keeps the features
        metric = KernelInceptionDistance(
            feature=Given(a.shape[1]), subsets=subsets, subset_size=size or len(a)
        )
    metric.update(torch.from_numpy(a), real=True)
    metric.update(torch.from_numpy(b), real=False)
    return float(metric.compute()[0])


def kid_of_fidelity(a, b, subsets=1, size=None):
    found = kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=subsets,
        kid_subset_size=size or len(a), verbose=False,
    )  # fmt: skip
    return found["kernel_inception_distance_mean"], found["kernel_inception_distance_std"]


# ---------------------------------------------------------------------------------------------- FID


@pytest.mark.parametrize("n, d", [(400, 8), (600, 96)])
def test_rfid_is_that_of_torchmetrics_and_torch_fidelity(tmp_path, n, d):
    a, b = features(0, n, d), features(1, n, d, shift=0.1)
    found = rfid(*pair_of(tmp_path, "features", a, b), OPTIONS).readings[0].value
    a, b = a.astype(np.float64), b.astype(np.float64)
    assert found > 0.01
    assert found == pytest.approx(torchmetrics_frechet(a, b), rel=1e-9)
    assert found == pytest.approx(fidelity_frechet(a, b), rel=1e-9)


def test_fewer_images_than_dimensions_where_they_add_roots_of_rounding_errors():
    """The product of the covariances has only n - 1 eigenvalues that are not 0.

    Theirs takes the rest for +-1e-17 or so and adds the roots, which are far larger: 1e-5 here. The
    truth comes from singular values of the centred features, without any covariance.
    """
    n, d = 24, 400
    a, b = (features(seed, n, d).astype(np.float64) for seed in (2, 3))
    x, y = a - a.mean(0), b - b.mean(0)
    shift = a.mean(0) - b.mean(0)
    nuclear = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    exact = shift @ shift + ((x**2).sum() + (y**2).sum() - 2 * nuclear) / (n - 1)
    ours = abs(frechet_distance(statistics(a), statistics(b)) - exact)
    theirs = [abs(other(a, b) - exact) for other in (torchmetrics_frechet, fidelity_frechet)]
    assert ours < 1e-10
    for error in theirs:
        assert 1e-8 < error < 1e-3


def test_a_large_mean_costs_torchmetrics_digits_because_it_sums_squares():
    """``sum x x^T - n m m^T`` loses what the mean has over the spread, squared; ours is centred."""
    a, b = (features(seed, 300, 6).astype(np.float64) for seed in (4, 5))
    near = frechet_distance(statistics(a), statistics(b))
    far = a + 2.0**17, b + 2.0**17
    ours = abs(frechet_distance(*map(statistics, far)) - near)
    theirs = abs(torchmetrics_frechet(*far) - near)
    assert abs(torchmetrics_frechet(a, b) - near) < 1e-9
    assert ours < 1e-9 < 1e-6 < theirs < 1e-1


def test_torch_fidelity_rounds_the_mean_of_float32_features():
    """It keeps NumPy's float32 mean; given float64 it agrees, so the features are not to blame."""
    a, b = features(6, 500, 8, shift=50.0), features(7, 500, 8, shift=50.0)
    ours = frechet_distance(statistics(a), statistics(b))
    assert ours == pytest.approx(fidelity_frechet(*map(np.float64, (a, b))), rel=1e-9)
    rounded = abs(fidelity_frechet(a, b) - ours)
    step = np.spacing(np.float32(50.0))
    gap = np.linalg.norm(statistics(a).mean - statistics(b).mean)
    assert 1e-9 < rounded < 16 * step * np.sqrt(8) * (2 * gap + step)


# ---------------------------------------------------------------------------------------------- KID


@pytest.mark.parametrize("n, d", [(50, 5), (300, 64)])
def test_kid_is_theirs_with_all_images_as_one_subset(tmp_path, n, d):
    a, b = features(8, n, d), features(9, n, d, shift=0.05)
    found = kid(*pair_of(tmp_path, "features", a, b), OPTIONS).readings[0].value
    a, b = a.astype(np.float64), b.astype(np.float64)
    assert found == pytest.approx(1000 * kid_of_torchmetrics(a, b), rel=1e-9)
    assert found == pytest.approx(1000 * kid_of_fidelity(a, b)[0], rel=1e-9)


def test_kid_of_random_subsets_scatters_about_ours():
    """Their default: the mean over random subsets, whose expectation is the value of all pairs."""
    a, b = (
        features(seed, 200, 8, shift).astype(np.float64) for seed, shift in ((10, 0), (11, 0.1))
    )
    exact = squared_mmd(a, b)
    mean, spread = kid_of_fidelity(a, b, subsets=400, size=40)
    assert 1e-9 < abs(mean - exact) < 4 * spread / np.sqrt(400)
    torch.manual_seed(0)
    theirs = kid_of_torchmetrics(a, b, subsets=400, size=40)
    assert 1e-9 < abs(theirs - exact) < 4 * spread / np.sqrt(400)


def test_kid_in_float32_loses_small_values_to_large_kernels():
    """torchmetrics computes in the dtype of the features; a mean of 30 makes kernels of 7e8."""
    a, b = features(12, 200, 16, shift=30.0), features(13, 200, 16, shift=30.0)
    exact = squared_mmd(a, b)
    wide = kid_of_torchmetrics(*map(np.float64, (a, b)))
    kernel = (30.0**2 + 1) ** 3
    assert exact == pytest.approx(wide, abs=1e-9 * kernel)
    error = abs(kid_of_torchmetrics(a, b) - exact)
    assert 1e-9 * kernel < error < 1e-5 * kernel


# -------------------------------------------------------------------------------- generated images


def logits(seed, n, d=12, classes=7):
    """Features, and the head that makes logits of them."""
    head = np.random.default_rng(seed + 1).standard_normal((d, classes))
    return features(seed, n, d).astype(np.float64), head


@pytest.mark.parametrize("splits", [1, 4])
def test_inception_score_is_torch_fidelitys_in_stored_order(splits):
    x, head = logits(14, 240)
    found = inception_score(x, head, split_size=240 // splits).value
    theirs = isc_features_to_metric(torch.from_numpy(x @ head), splits=splits, shuffle=False)
    assert found > 1.2
    assert found == pytest.approx(theirs["inception_score_mean"], rel=1e-12)


@pytest.mark.parametrize("n, splits", [(240, 4), (230, 4)])
def test_inception_score_is_torchmetrics_in_its_shuffled_order(n, splits):
    """It always shuffles; a last, smaller split counts like the others there, too."""
    x, head = logits(15, n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        metric = InceptionScore(feature=nn.Identity(), splits=splits)
    metric.update(torch.from_numpy(x @ head))
    torch.manual_seed(3)
    theirs = float(metric.compute()[0])
    torch.manual_seed(3)
    order = torch.randperm(n).numpy()
    found = inception_score(x[order], head, split_size=math.ceil(n / splits)).value
    assert found == pytest.approx(theirs, rel=1e-12)
    stored = inception_score(x, head, split_size=math.ceil(n / splits)).value
    assert stored != pytest.approx(theirs, rel=1e-6)


def test_torch_fidelity_cuts_even_splits_where_adm_leaves_a_small_one():
    """10 images in 4 splits: 2, 3, 2, 3 there; 3, 3, 3, 1 in ADM's code and ours."""
    x, head = logits(16, 10)
    theirs = isc_features_to_metric(torch.from_numpy(x @ head), splits=4, shuffle=False)
    even = [inception_score(x[i:j], head).value for i, j in ((0, 2), (2, 5), (5, 7), (7, 10))]
    assert np.mean(even) == pytest.approx(theirs["inception_score_mean"], rel=1e-12)
    small = [inception_score(x[i:j], head).value for i, j in ((0, 3), (3, 6), (6, 9), (9, 10))]
    assert small[-1] == pytest.approx(1)
    assert inception_score(x, head, split_size=3).value == pytest.approx(np.mean(small), rel=1e-12)
    assert np.mean(small) < np.mean(even)


@pytest.mark.parametrize("save_cpu_ram", [False, True])
def test_precision_and_recall_are_torch_fidelitys(save_cpu_ram):
    reference = features(17, 130, 5).astype(np.float64)
    samples = features(18, 90, 5, shift=0.15, scale=0.9).astype(np.float64)
    found = precision_recall(reference, samples)
    theirs = prc_features_to_metric(
        torch.from_numpy(samples), torch.from_numpy(reference), verbose=False,
        save_cpu_ram=save_cpu_ram, prc_batch_size=37,
    )  # fmt: skip
    assert 0.2 < found.recall != found.precision < 1
    assert found == pytest.approx((theirs["precision"], theirs["recall"]), abs=1e-6)


def prc_of_fidelity(samples, reference):
    found = prc_features_to_metric(
        torch.from_numpy(samples), torch.from_numpy(reference), verbose=False
    )
    return found["precision"], found["recall"]


def test_torch_fidelity_loses_near_distances_to_a_large_mean_in_float32():
    """It subtracts squared lengths of the features as they are; ours are centred, and float64."""
    reference = features(17, 130, 5, shift=1000.0)
    samples = features(18, 90, 5, shift=1000.15)
    found = precision_recall(reference, samples)
    wide = prc_of_fidelity(samples.astype(np.float64), reference.astype(np.float64))
    assert found == pytest.approx(wide, abs=1e-6)
    narrow = prc_of_fidelity(samples, reference)
    assert np.abs(np.subtract(narrow, wide)).max() > 0.01


def test_copies_are_in_balls_of_no_radius_there_too():
    rows = np.repeat(features(19, 2, 64, shift=1.0), 20, axis=0)
    assert prc_of_fidelity(rows, rows[::-1].copy()) == (1, 1) == precision_recall(rows, rows)


# ----------------------------------------------------------------------------------- PSNR and SSIM


def images(seed, n, height, width, noise=25):
    """Pictures and noisy copies, uint8 (n, 3, H, W)."""
    rng = np.random.default_rng(seed)
    a = recipe.pictures(f"oracles/{seed}", n, height, width)
    b = np.clip(
        a + rng.normal(0, 1, a.shape) * noise * (1 + np.arange(n))[:, None, None, None], 0, 255
    )
    return a, b.astype(np.uint8)


def test_psnr_is_theirs_per_image_and_over_all(tmp_path):
    a, b = images(20, 4, 24, 40)
    measured = psnr(*pair_of(tmp_path, "images", a, b), OPTIONS)
    column, readings = measured.per_image["value"], readings_of(measured)
    x, y = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    apart = tm.image.peak_signal_noise_ratio(
        x, y, data_range=255.0, dim=(1, 2, 3), reduction="none"
    )
    np.testing.assert_allclose(column, apart.numpy(), rtol=1e-6)  # its log of 10 is float32
    scikit = [skimage_metrics.peak_signal_noise_ratio(*p, data_range=255) for p in zip(a, b)]
    np.testing.assert_allclose(column, scikit, rtol=1e-12)
    assert readings[""].value == pytest.approx(np.mean(scikit), rel=1e-12)


def test_without_dimensions_they_take_the_decibel_of_the_mean_error(tmp_path):
    """What both say of a whole batch: our variant, below the mean of the images' own."""
    a, b = images(21, 5, 20, 20)
    readings = readings_of(psnr(*pair_of(tmp_path, "images", a, b), OPTIONS))
    whole = float(
        tm.image.peak_signal_noise_ratio(*map(torch.from_numpy, (a, b)), data_range=255.0)
    )
    assert readings["of-mean-mse"].value == pytest.approx(whole, rel=1e-6)
    scikit = skimage_metrics.peak_signal_noise_ratio(a, b, data_range=255)
    assert readings["of-mean-mse"].value == pytest.approx(scikit, rel=1e-12)
    assert readings[""].value > whole + 0.5


def test_equal_images_are_infinite_there_and_100_decibel_here(tmp_path):
    """A mean over images needs a number: the floor of the error is 1e-10."""
    a, _ = images(22, 1, 16, 16)
    with np.errstate(divide="ignore"):
        assert np.isinf(skimage_metrics.peak_signal_noise_ratio(a, a, data_range=255))
    x = torch.from_numpy(a)
    assert torch.isinf(tm.image.peak_signal_noise_ratio(x, x, data_range=255.0))
    reading = psnr(*pair_of(tmp_path, "images", a, a), OPTIONS).readings[0]
    assert reading.value == 100
    assert "1 images" in reading.note


def scikit_ssim(x, y, **options):
    return skimage_metrics.structural_similarity(
        *(image.astype(np.float64) for image in (x, y)), channel_axis=0, data_range=255,
        gaussian_weights=True, sigma=1.5, **options,
    )  # fmt: skip


@pytest.mark.parametrize("height, width", [(16, 16), (33, 70)])
def test_ssim_is_scikit_images_number(tmp_path, height, width):
    """Its mean is over the windows inside the image, as ours, with the paper's covariance."""
    a, b = images(23, 3, height, width)
    column = ssim(*pair_of(tmp_path, "images", a, b), OPTIONS).per_image["value"]
    theirs = [scikit_ssim(x, y, use_sample_covariance=False) for x, y in zip(a, b)]
    np.testing.assert_allclose(column, theirs, atol=1e-12, rtol=0)


def test_scikit_images_own_default_divides_the_covariance_by_one_less():
    """121 / 120 on each covariance is the same as a constant C2 that is smaller by that."""
    (x,), (y,) = images(24, 1, 40, 40)
    ours = structural_similarity(x, y)
    default = scikit_ssim(x, y)
    assert 1e-6 < abs(default - ours) < 1e-2
    undone = scikit_ssim(x, y, K2=0.03 * math.sqrt(121 / 120))
    assert undone == pytest.approx(ours, abs=1e-12)


def test_torchmetrics_ssim_reflects_the_border():
    """Cut off what its padding reaches and it is ours; pad as it does and ours is its."""
    a, b = images(25, 2, 24, 32)
    x, y = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    found, full = tm.image.structural_similarity_index_measure(
        x, y, data_range=255.0, reduction="none", return_full_image=True
    )
    ours = np.array([structural_similarity(*pair) for pair in zip(a, b)])
    inner = full[..., 5:-5, 5:-5].mean((1, 2, 3))
    np.testing.assert_allclose(inner.numpy(), ours, atol=1e-12, rtol=0)
    padded = [np.pad(z, ((0, 0), (0, 0), (5, 5), (5, 5)), mode="reflect") for z in (a, b)]
    reflected = [structural_similarity(*pair) for pair in zip(*padded)]
    np.testing.assert_allclose(found.numpy(), reflected, atol=1e-12, rtol=0)
    assert np.abs(found.numpy() - ours).min() > 1e-4


# -------------------------------------------------------------------------------------------- LPIPS


def torchmetrics_lpips(trunk):
    """Its LPIPS with a given AlexNet and its own copy of the heads; nothing is downloaded."""
    theirs = _NoTrainLpips(pretrained=True, net="alex", pnet_rand=True)
    for piece in (getattr(theirs.net, f"slice{i}") for i in range(1, 6)):
        piece.load_state_dict({name: trunk[name] for name in piece.state_dict()})
    return theirs


def distances(network, a, b):
    x, y = (torch.from_numpy(z).float() / 127.5 - 1 for z in (a, b))
    with torch.inference_mode():
        return network(x, y).flatten().numpy()


def test_lpips_is_torchmetrics_on_the_same_alexnet(tmp_path):
    a, b = images(26, 3, 48, 64)
    network = load_network("lpips-alex-random")
    column = lpips(*pair_of(tmp_path, "images", a, b), Options(network=network)).per_image["value"]
    theirs = distances(torchmetrics_lpips(network.trunk.state_dict()), a, b)
    assert column.min() > 1e-3
    np.testing.assert_allclose(column, theirs, rtol=1e-5)


def test_torchmetrics_epsilon_counts_where_activations_are_small():
    """It adds 1e-8 under the root, the authors 1e-10 outside it.

    Without biases, AlexNet's activations have the size of its first weights and unit vectors have
    not: ours stays, theirs shrinks, in the end with the square of that size.
    """
    a, b = images(27, 2, 48, 48)
    network = load_network("lpips-alex-random")
    before = network.distance(a, b)
    trunk = network.trunk.state_dict()
    assert not any(tensor.any() for name, tensor in trunk.items() if name.endswith("bias"))
    trunk["0.weight"].mul_(1e-7)
    np.testing.assert_allclose(network.distance(a, b), before, rtol=1e-3)
    theirs = distances(torchmetrics_lpips(trunk), a, b)
    assert theirs.max() < 0.01 * before.min()
    trunk["0.weight"].mul_(0.5)
    np.testing.assert_allclose(distances(torchmetrics_lpips(trunk), a, b), theirs / 4, rtol=0.01)


# ---------------------------------------------------------------------------------- per-image means


def test_similarity_is_torchmetrics_cosine(tmp_path):
    a, b = features(28, 40, 16), features(29, 40, 16, shift=0.2)
    measured = similarity(*pair_of(tmp_path, "features", a, b), OPTIONS)
    x, y = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    np.testing.assert_allclose(
        measured.per_image["value"], torch.cosine_similarity(x, y).numpy(), rtol=1e-12
    )
    each = tm.cosine_similarity(x, y, reduction="none").numpy()  # which it computes in float32
    np.testing.assert_allclose(measured.per_image["value"], each, rtol=1e-6)
    mean = float(tm.cosine_similarity(x, y, reduction="mean"))
    assert measured.readings[0].value == pytest.approx(mean, rel=1e-6)


def test_an_embedding_of_no_length_is_a_number_there_and_an_error_here(tmp_path):
    """PyTorch's cosine is 0 by its epsilon: a wrong extraction would pass for unrelated images."""
    a, b = features(30, 3, 4), features(31, 3, 4)
    b[1] = 0
    theirs = torch.cosine_similarity(torch.from_numpy(a), torch.from_numpy(b))
    assert theirs[1] == 0
    with pytest.raises(ValueError, match="image 'im0001' is a zero vector"):
        similarity(*pair_of(tmp_path, "features", a, b), OPTIONS)


def test_identity_is_torchmetrics_cosine_over_the_faces_in_both(tmp_path):
    rng = np.random.default_rng(32)
    had, kept = rng.random((2, 30)) < 0.7
    angles = rng.uniform(0, np.pi, (2, 30))
    reference, source = faces(tmp_path, had, angles[0]), faces(tmp_path, kept, angles[1])
    reading = identity(reference, source, OPTIONS).readings[0]
    x, y = (torch.from_numpy(s.load("embedding")[had & kept]).double() for s in (reference, source))
    assert reading.n == int((had & kept).sum()) > 5
    assert reading.value == pytest.approx(float(tm.cosine_similarity(x, y, reduction="mean")))


def test_face_recall_is_recall(tmp_path):
    rng = np.random.default_rng(33)
    had, kept = rng.random((2, 50)) < 0.6
    sets = faces(tmp_path, had, np.zeros(50)), faces(tmp_path, kept, np.zeros(50))
    reading = face_recall(*sets, OPTIONS).readings[0]
    assert reading.value == pytest.approx(sklearn_metrics.recall_score(had, kept))
    assert (~had & kept).any(), "faces that only the reconstruction has do not count"
    theirs = tm.classification.binary_recall(*map(torch.from_numpy, (kept, had.astype(int))))
    assert reading.value == pytest.approx(float(theirs))


def test_drift_is_the_mean_absolute_error_of_maps_and_of_colours(tmp_path):
    rng = np.random.default_rng(34)
    a, b = rng.integers(0, 256, (2, 6, 9, 13), dtype=np.uint8)
    found = drift(*pair_of(tmp_path, "map", a, b), OPTIONS).readings[0].value
    x, y = (torch.from_numpy(z).double() / 255 for z in (a, b))
    assert found == pytest.approx(float(tm.mean_absolute_error(x, y)), rel=1e-6)
    flat = sklearn_metrics.mean_absolute_error(a.ravel() / 255, b.ravel() / 255)
    assert found == pytest.approx(flat, rel=1e-12)
    palette = rng.integers(0, 256, (256, 3))
    meta = {"palette": palette.tolist()}
    readings = readings_of(drift(*pair_of(tmp_path, "labels", a, b, meta=meta), OPTIONS))
    colours = sklearn_metrics.mean_absolute_error(
        (palette[a] / 255).ravel(), (palette[b] / 255).ravel()
    )
    assert readings[""].value == pytest.approx(colours, rel=1e-12)
    wrong = 1 - sklearn_metrics.accuracy_score(a.ravel(), b.ravel())
    assert readings["mismatch"].value == pytest.approx(wrong, rel=1e-12)


# ------------------------------------------------------------------------------- pixels to numbers


class Pictures(torch.utils.data.Dataset):
    """Images as torch-fidelity takes them."""

    def __init__(self, images):
        self.images = torch.from_numpy(np.ascontiguousarray(images))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def test_from_pixels_to_kid_and_inception_score_as_torch_fidelity_does(tmp_path):
    """Its whole pipeline on the same file and pictures: resize, network, layer and formula."""
    layout = json.loads((REFERENCE / "inception_layout.json").read_text())
    weights = tmp_path / "weights-inception-2015-12-05-6726825d.pth"
    torch.save({k: torch.from_numpy(v) for k, v in recipe.fill_all(layout).items()}, weights)
    a, b = images(35, 4, 64, 64)
    theirs = torch_fidelity.calculate_metrics(
        input1=Pictures(a), input2=Pictures(b), feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights), isc=True, isc_splits=1, kid=True,
        kid_subsets=1, kid_subset_size=4, cuda=False, batch_size=4, verbose=False, cache=False,
        save_cpu_ram=True,
    )  # fmt: skip
    network = load_network("inception", weights)
    x, y = (network.extract(z)["features"] for z in (a, b))
    found = kid(*pair_of(tmp_path, "features", x, y), OPTIONS).readings[0].value
    assert found == pytest.approx(1000 * theirs["kernel_inception_distance_mean"], rel=1e-3)
    score = inception_score(x, network.head).value
    assert score > 1.001
    assert score == pytest.approx(theirs["inception_score_mean"], rel=1e-4)
