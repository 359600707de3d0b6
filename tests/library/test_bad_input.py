"""Bad input to networks and metrics: each kind has one stated behaviour, and an error in words.

What concerns one network or metric alone is tested beside it; here is what holds for all of them.
"""

import functools
import importlib
import json
import re
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from metric_shards import faces, pair_of, readings_of, shards_of

from seesaw.conditions import extract_conditions
from seesaw.files import write_tensors
from seesaw.metrics import Options
from seesaw.metrics.drift import drift
from seesaw.metrics.faces import identity
from seesaw.metrics.fidelity import psnr, ssim
from seesaw.metrics.frechet import rfid
from seesaw.metrics.kid import kid
from seesaw.metrics.perceptual import lpips
from seesaw.metrics.score import score_metric
from seesaw.metrics.similarity import similarity
from seesaw.networks import dpt_hybrid_midas, load_network
from seesaw.networks.lpips_alex import alexnet_trunk
from seesaw.registry import METRICS, NETWORKS, ROLES
from seesaw.results import read_scores

REFERENCE = Path(__file__).parents[1] / "reference"
sys.path.append(str(REFERENCE))
recipe = importlib.import_module("recipe")
OPTIONS = Options()
FROM_FILE = [name for name in NETWORKS if NETWORKS[name].weights == "file"]
PAIRED = [name for name in METRICS if METRICS[name].reads in ("images", "conditions")]


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", autouse=True)
def _one_layout_of_dpt():
    """Made once, without memory: half a second for each of the many files that it refuses here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dpt_hybrid_midas, "DPTHybrid", functools.cache(dpt_hybrid_midas.DPTHybrid))
        yield


def score(tmp_path, metric, reference, source):
    """The stage on two sets, with a network that can play the metric's role."""
    role = METRICS[metric].role
    kinds = ROLES[role] if role else ()
    fitting = [name for name in NETWORKS if NETWORKS[name].kind in kinds]
    # those that run need no file; of the others the name alone matters
    network = next((n for n in fitting if NETWORKS[n].weights is None), (fitting or [None])[0])
    score_metric(
        metric=metric, autoencoder="kl", reference=reference.path, source=source.path,
        network=network, weights=None, protocol={}, seed=0, batch_size=2, device="cpu",
        output_scores=tmp_path / "scores.json", output_images=tmp_path / "images.parquet",
        provenance_extra={},
    )  # fmt: skip
    return {score.variant: score for score in read_scores(tmp_path / "scores.json")[1]}


# -------------------------------------------------------------------------------- values and sizes


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_looks_at_the_images_before_anything_else(name):
    """Floats in [0, 1], one channel, channels last: refused even before there are weights."""
    network = NETWORKS.load(name).__new__(NETWORKS.load(name))
    if NETWORKS[name].kind == "perceptual":
        run = functools.partial(network.distance, np.zeros((2, 3, 64, 64), np.uint8))
    else:
        run = network.extract
    good = recipe.pictures("good", 2, 64, 64)
    for wrong in (good / 255, (good / 255).astype(np.float32), good.astype(np.int16), good[:, :1],
                  good.transpose(0, 2, 3, 1), good[0]):  # fmt: skip
        with pytest.raises(ValueError, match="expected uint8 RGB images") as caught:
            run(wrong)
        assert f"got {wrong.dtype} {wrong.shape}" in str(caught.value)


def test_float_images_are_refused_by_the_stages_that_read_them(tmp_path):
    images = recipe.pictures("float", 3, 32, 32)
    floats = shards_of(tmp_path, images=(images / 255).astype(np.float32))
    with pytest.raises(ValueError, match=r"expected uint8 RGB images .*, got float32 \(3, 3, 32"):
        extract_conditions(
            network="canny", weights=None, images=floats.path, device="cpu", batch_size=3,
            output=tmp_path / "canny/manifest.json",
        )  # fmt: skip
    assert not (tmp_path / "canny/manifest.json").exists()
    for metric in ("psnr", "ssim", "lpips"):
        for pair in ((floats, floats), (shards_of(tmp_path, images=images), floats)):
            with pytest.raises(ValueError, match=r"expected .*uint8 .*float32"):
                score(tmp_path, metric, *pair)
    assert not (tmp_path / "scores.json").exists()


def test_images_stored_in_a_wrong_range_are_remarked_beside_their_psnr(tmp_path):
    """A decoder that returns [0, 1] where [-1, 1] is read, and floats cut to whole numbers."""
    images = recipe.pictures("range", 5, 32, 32)
    half = np.floor((images / 255 + 1) * 127.5 + 0.5).astype(np.uint8)
    cut = (images / 255).astype(np.uint8)
    for wrong, words in ((half, "no level below 127"), (cut, "no level above 1"), (images, "")):
        sets = shards_of(tmp_path, images=images), shards_of(tmp_path, images=wrong)
        for size in (2, 100):
            note = psnr(*sets, Options(batch_size=size)).readings[0].note
            assert words in note
            assert ("no level" in note) == bool(words)
    # bright pictures, and black ones, are no sign of it
    for pictures in (half, cut):
        sets = shards_of(tmp_path, images=pictures), shards_of(tmp_path, images=pictures)
        assert "no level" not in psnr(*sets, OPTIONS).readings[0].note


def test_maps_in_floats_and_labels_that_are_none_are_refused(tmp_path):
    """Maps in [0, 1] would otherwise differ by less than one level: a drift of 0."""
    maps = np.random.default_rng(0).random((3, 8, 8)).astype(np.float32)
    with pytest.raises(ValueError, match="expected uint8 maps, whose 0..255 .* got float32"):
        drift(*pair_of(tmp_path, "map", maps, 1 - maps), OPTIONS)
    labels = np.zeros((3, 8, 8))
    meta = {"palette": [[0, 0, 0]]}
    with pytest.raises(ValueError, match="labels are whole numbers, got float64 and float64"):
        drift(*pair_of(tmp_path, "labels", labels, labels, meta=meta), OPTIONS)
    with pytest.raises(ValueError, match="label -1 has no colour"):
        drift(
            *pair_of(tmp_path, "labels", *(labels.astype(np.int8) - n for n in (0, 1)), meta=meta),
            OPTIONS,
        )


@pytest.mark.parametrize("metric", [psnr, ssim, lpips, drift])
def test_reconstructions_of_another_size_are_refused_with_both_sizes(tmp_path, metric):
    a, b = recipe.pictures("a", 2, 32, 32), recipe.pictures("b", 2, 40, 32)
    field = "images"
    if metric is drift:
        field, a, b = "map", a[:, 0], b[:, 0]
    options = Options(network=load_network("lpips-alex-random"))
    with pytest.raises(
        ValueError, match=r"32, 32\) per image in .*40, 32\) in .* both must have the same"
    ):
        metric(*pair_of(tmp_path, field, a, b), options)


# --------------------------------------------------------------------------------- which images


@pytest.mark.parametrize("metric", PAIRED)
@pytest.mark.parametrize(
    "ids, words",
    [
        (["p", "q", "x"], "hold different images: 1 only in the first, 1 only in the second"),
        (["p", "q"], "hold different images: 1 only in the first, 0 only in the second"),
        (["p", "r", "q"], "hold the same images in different order"),
    ],
)
def test_every_metric_refuses_other_images_another_order_or_number(tmp_path, metric, ids, words):
    field = "images" if METRICS[metric].reads == "images" else "features"
    reference = shards_of(tmp_path, **{field: np.zeros((3, 4))}, ids=["p", "q", "r"])
    source = shards_of(tmp_path, **{field: np.zeros((len(ids), 4))}, ids=ids)
    with pytest.raises(ValueError, match=words) as caught:
        score(tmp_path, metric, reference, source)
    assert str(reference.path) in str(caught.value)
    assert str(source.path) in str(caught.value)
    assert not (tmp_path / "scores.json").exists()


# ------------------------------------------------------------------------------------- few images


def test_one_image_has_values_but_no_shuffled_pairs(tmp_path):
    a, b = recipe.pictures("one", 1, 32, 32), recipe.pictures("other", 1, 32, 32)
    for metric in ("psnr", "ssim", "lpips"):
        found = score(tmp_path, metric, *pair_of(tmp_path, "images", a, b))
        assert found[""].n == 1
        assert np.isfinite(found[""].value)
    meta = {"network": "canny"}
    edges = [(x[:, 0] > 128).astype(np.uint8) * 255 for x in (a, b)]
    sets = {
        "canny": pair_of(tmp_path, "map", *edges, meta=meta),
        "clip": pair_of(tmp_path, "features", np.ones((1, 3)), np.eye(3)[:1]),
        "identity": [faces(tmp_path, [1], [angle]) for angle in (0, 1)],
    }
    for metric, pair in sets.items():
        found = score(tmp_path, metric, *pair)
        assert found[""].n == found["shuffled"].n == 1
        assert np.isfinite(found[""].value)
        assert found["shuffled"].value is None
        assert found["shuffled"].note == "needs at least two images to pair"


@pytest.mark.parametrize("metric", [rfid, kid])
def test_one_image_has_no_distribution(tmp_path, metric):
    with pytest.raises(ValueError, match="at least two feature vectors"):
        metric(*pair_of(tmp_path, "features", np.ones((1, 3)), np.ones((1, 3))), OPTIONS)


def test_fewer_images_than_features_give_a_number_with_its_warning(tmp_path):
    """Two images in 50 dimensions: |m1 - m2|^2 + (s1 - s2)^2 on the line through them."""
    a, b = np.zeros((2, 2, 50))
    a[1, 0], b[:, 1], b[1, 0] = 2.0, 1.0, 6.0
    reading = rfid(*pair_of(tmp_path, "features", a, b), OPTIONS).readings[0]
    assert reading.value == pytest.approx((4 + 1) + (np.sqrt(18) - np.sqrt(2)) ** 2)
    assert "2 images for 50 feature dimensions: biased upwards" in reading.note
    assert "singular covariance" in reading.note
    same = rfid(*pair_of(tmp_path, "features", a, a), OPTIONS).readings[0]
    assert same.value == pytest.approx(0, abs=1e-12)


# ----------------------------------------------------------------------- maps, faces and embeddings


def test_images_without_an_edge_differ_by_nothing_or_by_the_edges_of_the_other(tmp_path):
    grey = np.full((3, 3, 32, 32), 90, np.uint8)
    blank = load_network("canny").extract(grey)["map"]
    edges = load_network("canny").extract(recipe.pictures("edges", 3, 32, 32))["map"]
    assert not blank.any()
    density = (edges > 0).mean()
    assert density > 0.01
    meta = {"network": "canny"}
    both = readings_of(drift(*pair_of(tmp_path, "map", blank, blank, meta=meta), OPTIONS))
    assert {variant: reading.value for variant, reading in both.items()} == {
        "": 0, "shuffled": 0, "zero": 0, "density": 0,
    }  # fmt: skip
    lost = readings_of(drift(*pair_of(tmp_path, "map", edges, blank, meta=meta), OPTIONS))
    for variant in ("", "shuffled", "zero", "density"):
        assert lost[variant].value == pytest.approx(density), variant
    found = readings_of(drift(*pair_of(tmp_path, "map", blank, edges, meta=meta), OPTIONS))
    assert found[""].value == pytest.approx(density)
    assert found["zero"].value == found["density"].value == 0


def test_constant_depth_maps_are_counted_beside_the_drift(tmp_path):
    rng = np.random.default_rng(1)
    maps = rng.integers(0, 256, (4, 8, 8), dtype=np.uint8)
    flat = maps.copy()
    flat[[1, 3]] = 0
    none, two = np.zeros(4, np.uint8), np.array([0, 1, 0, 1], np.uint8)
    reference = shards_of(tmp_path, map=maps, constant=none)
    reading = drift(reference, shards_of(tmp_path, map=flat, constant=two), OPTIONS).readings[0]
    assert reading.value == pytest.approx(maps[[1, 3]].sum() / (255 * maps.size))
    assert (
        reading.note
        == "0 maps of the reference and 2 of the reconstructions are constant: all zeros"
    )
    assert drift(reference, reference, OPTIONS).readings[0].note == ""


@pytest.mark.parametrize(
    "had, kept, n", [([1, 1, 1], [0, 1, 0], 1), ([0, 0, 1], [1, 1, 0], 0), ([0] * 3, [0] * 3, 0)]
)
def test_identity_without_faces_is_empty_and_never_nan(tmp_path, had, kept, n):
    sets = faces(tmp_path, had, np.zeros(3)), faces(tmp_path, kept, np.full(3, 0.5))
    found = score(tmp_path, "identity", *sets)
    assert found[""].n == found["shuffled"].n == n
    assert found["shuffled"].value is None
    if n:
        assert found[""].value == pytest.approx(np.cos(0.5))
    else:
        assert found[""].value is None
        assert found[""].note == "no image has a face in both the reference and the reconstruction"
    assert "NaN" not in (tmp_path / "scores.json").read_text()
    recall = score(tmp_path, "face-recall", *sets)[""]
    assert recall.n == sum(had)
    assert recall.value == (
        sum(h and k for h, k in zip(had, kept)) / sum(had) if any(had) else None
    )


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_bad_embeddings_of_faces_name_their_image(tmp_path, bad):
    good = faces(tmp_path, [1, 0, 1], np.zeros(3))
    rows = good.load("embedding")
    rows[2] = bad
    wrong = shards_of(tmp_path, found=good.load("found"), embedding=rows)
    words = "image 'im0002' is " + ("a zero vector" if bad == 0 else "NaN or infinite")
    for pair in ((good, wrong), (wrong, good)):
        with pytest.raises(ValueError, match=words):
            identity(*pair, OPTIONS)


@pytest.mark.parametrize("metric", [rfid, kid, similarity])
@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_features_that_are_not_finite_name_their_image_on_either_side(tmp_path, metric, bad):
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    wrong = x.copy()
    wrong[3, 1] = bad
    for pair in ((x, wrong), (wrong, x)):
        with pytest.raises(
            ValueError, match=r"image 'im0003' is NaN or infinite \(1 of 5 images\)"
        ):
            metric(*pair_of(tmp_path, "features", *pair), OPTIONS)


def test_a_label_beyond_the_palette_is_refused_on_either_side(tmp_path):
    a, b = np.zeros((2, 3, 4, 4), np.uint8)
    b[2, 1, 1] = 5
    meta = {"palette": [[9, 9, 9]] * 5}
    for pair in ((a, b), (b, a), (b, b)):
        with pytest.raises(
            ValueError, match="label 5 has no colour: the palette has 5 colours; rem"
        ):
            drift(*pair_of(tmp_path, "labels", *pair, meta=meta), OPTIONS)


# -------------------------------------------------------------------------------- files of weights


def rows_of(name):
    """Key -> shape of every tensor of a published file, from the reference numbers' layouts."""
    if name == "alexnet":
        shapes = {f"features.{k}": tuple(v.shape) for k, v in alexnet_trunk().state_dict().items()}
        return shapes | {"classifier.6.bias": (1000,)}
    content = json.loads((REFERENCE / f"{name}.json").read_text())
    found = {}
    for row in content if isinstance(content, list) else content["tensors"]:
        shape = next(part for part in row[1:] if isinstance(part, list) and part == [
            n for n in part if isinstance(n, int)])  # fmt: skip
        span = re.search(r"\{(\d+)-(\d+)\}", row[0])
        numbers = range(int(span[1]), int(span[2]) + 1) if span else [0]
        found |= {row[0].replace(span[0], str(n)) if span else row[0]: shape for n in numbers}
    return found


PUBLISHED = {
    "inception": ("inception_layout", "weights-inception-2015-12-05-6726825d.pth"),
    "lpips-alex": ("alexnet", "alexnet-owt-7be5be79.pth"),
    "lpips-vgg": (None, "vgg16-397923af.pth"),
    "uniformer_upernet": ("uniformer_upernet", "upernet_global_small.pth"),
    "dpt_hybrid_midas": ("dpt_hybrid_midas", "dpt_hybrid-midas-501f0c75.pt"),
    "clip_vit_b32": ("clip_vit_b32", "ViT-B-32.pt"),
    "dinov2_vitb14": ("dinov2_vitb14", "dinov2_vitb14_pretrain.pth"),
    "dinov2_vitl14": (None, "dinov2_vitl14_pretrain.pth"),
    "buffalo_s": (None, "buffalo_s.zip"),
}
"""Network -> layout of its file, where one is stored, and the file's name."""


def file_of(name):
    """The published file of a network, also of one that is the same class by another protocol."""
    for known, (_, file) in PUBLISHED.items():
        if known in NETWORKS and NETWORKS[known].target == NETWORKS[name].target:
            return file
    raise KeyError(f"enter the file of {name!r} in PUBLISHED")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Whole files in the layout of each network, of one number per tensor."""
    folder = tmp_path_factory.mktemp("published")
    made = {}
    for name, (layout, file) in PUBLISHED.items():
        if layout is not None:
            state = {k: torch.zeros(()).expand(shape) for k, shape in rows_of(layout).items()}
            made[name] = folder / file
            torch.save(state, made[name])
    return made


@pytest.mark.parametrize("name", FROM_FILE)
def test_the_file_of_another_network_names_the_one_that_is_wanted(files, name):
    """Two whole files of others: ViT-B/14's for ViT-L/14, too, whose names are the same."""
    others = [n for n in files if PUBLISHED[n][1] != file_of(name)]
    start = len(name) % len(others)
    near = ["dinov2_vitb14"] if name == "dinov2_vitl14" else others[start:] + others[:start]
    for other in near[:2]:
        with pytest.raises(ValueError, match="What is needed here is") as caught:
            load_network(name, files[other])
        said, wanted = str(caught.value).split("What is needed here is")
        assert str(files[other]) in said
        assert file_of(name) in wanted
        assert PUBLISHED[other][1] not in wanted


@pytest.mark.parametrize("name", FROM_FILE)
def test_no_file_at_all_says_which_one_and_where_to_name_it(name, tmp_path):
    with pytest.raises(ValueError, match="needs a weights file: give 'weights' in the") as caught:
        load_network(name)
    assert "rule train_network" not in str(caught.value)
    assert "give the path of" in str(caught.value)
    assert file_of(name) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="does not exist") as caught:
        load_network(name, tmp_path / "absent.pth")
    assert str(tmp_path / "absent.pth") in str(caught.value)
    assert file_of(name) in str(caught.value)


PAGE = b"\xef\xbb\xbf\n<!DOCTYPE html><html><title>Sign in</title></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 334643276\n"


@pytest.mark.parametrize("name", FROM_FILE)
def test_what_lies_where_weights_should_be_is_said(name, files, tmp_path):
    """Nothing, a web page, a pointer of git-lfs, half a file: each in the containers that occur."""
    whole = files["lpips-alex"].read_bytes()
    write_tensors(tmp_path / "whole.safetensors", {"x": np.zeros(4000, np.float32)})
    tensors = (tmp_path / "whole.safetensors").read_bytes()
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("det_500m.onnx", np.random.default_rng(0).bytes(5000))
        archive.writestr("w600k_mbf.onnx", np.random.default_rng(1).bytes(5000))
    packed = (tmp_path / "whole.zip").read_bytes()
    first, second = (".zip", ".zip") if name == "buffalo_s" else (".pth", ".safetensors")
    halves = {".zip": packed, ".pth": whole, ".safetensors": tensors}
    for suffix, content, words in (
        (first, b"", "is empty"),
        (second, PAGE, "is a web page"),
        (first, POINTER, "is a git-lfs pointer"),
        *((s, halves[s][: len(halves[s]) // 2], "cut short") for s in {first, second}),
    ):
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words) as caught:
            load_network(name, path)
        assert str(path) in str(caught.value)
        assert file_of(name) in str(caught.value)


@pytest.mark.parametrize("name", FROM_FILE)
def test_an_archive_a_folder_and_a_pack_of_something_else_are_said(name, tmp_path):
    """CLIP's file is a TorchScript archive; a folder may hold nothing; a zip may be faces."""
    script, empty, pack = tmp_path / "ViT-B-32.pt", tmp_path / "empty", tmp_path / "pack.zip"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(script))
    empty.mkdir()
    with zipfile.ZipFile(pack, "w") as archive:
        archive.writestr("readme.txt", "hello")
    words = {
        script: "is a TorchScript archive",
        empty: "is a folder without",
        pack: "ends in '.zip'",
    }
    if name == "clip_vit_b32":
        words[script] = "does not fit"
    if name == "buffalo_s":
        words = dict.fromkeys(words, r"no \.onnx file at all")
    for path, said in words.items():
        with pytest.raises(ValueError, match=said) as caught:
            load_network(name, path)
        assert str(path) in str(caught.value)
        assert file_of(name) in str(caught.value)
