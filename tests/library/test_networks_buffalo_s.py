"""Faces by buffalo_s: InsightFace itself as the oracle, boxes by hand, and errors in words.

The official models are not here; those of ``tiny_faces`` have their names and shapes.
"""

import importlib
import logging
import socket
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny_faces

from seesaw.networks import buffalo_s, load_network
from seesaw.networks.buffalo_s import DETECTOR, OFFICIAL, RECOGNISER

sys.path.append(str(Path(__file__).parents[1] / "reference"))
recipe = importlib.import_module("recipe")

BYTES = {"detector": b"detector", "recogniser": b"recogniser"}
"""Models for tests that only read them."""

COLOURS = {8: 0, 16: 1, 32: 2}


def write_pack(folder, *, detector=None, recogniser=None):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DETECTOR).write_bytes(detector or tiny_faces.detector())
    (folder / RECOGNISER).write_bytes(recogniser or tiny_faces.recogniser())
    return folder


@pytest.fixture(scope="module")
def packages():
    why = "faces by buffalo_s need the packages insightface, onnxruntime and onnx"
    for name in ("onnx", "onnxruntime", "insightface"):
        pytest.importorskip(name, reason=why)


@pytest.fixture(scope="module")
def pack(packages, tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack") / "buffalo_s")


@pytest.fixture(scope="module")
def network(pack):
    return load_network("buffalo_s", pack)


def canvas(*squares, height=640, width=640, ground=0):
    """An RGB image ``(3, H, W)`` with full squares: ``(stride, row, column)`` of its cell."""
    image = np.full((3, height, width), ground, np.uint8)
    for stride, row, column in squares:
        y, x = row * stride, column * stride
        image[:, y : y + stride, x : x + stride] = 0
        image[COLOURS[stride], y : y + stride, x : x + stride] = 255
    return image


def expected_box(stride, row, column):
    left, up, right, down = tiny_faces.REACH[0] * stride
    y, x = row * stride, column * stride
    return [x - left, y - up, x + right, y + down]


def scenes(count, height, width, seed):
    """Textures with squares of random colours and places, in any size of image."""
    rng = np.random.default_rng(seed)
    images = recipe.pictures(f"faces:{seed}", count, height, width) // 2
    for image in images:
        for _ in range(rng.integers(0, 4)):
            side = int(rng.integers(max(4, height // 12), max(6, height // 4)))
            y, x = rng.integers(0, height - side), rng.integers(0, width - side)
            image[:, y : y + side, x : x + side] = 0
            image[rng.integers(3), y : y + side, x : x + side] = 255
    return images


# ------------------------------------------------------------------------ InsightFace's own words


@pytest.mark.parametrize("height, width", [(256, 256), (64, 64), (200, 320)])
def test_faces_are_those_of_insightface(packages, tmp_path, monkeypatch, height, width):
    from insightface.app import FaceAnalysis

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    detector = tiny_faces.detector(noise=0.3)
    folder = write_pack(tmp_path / "buffalo_s", detector=detector)
    oracle = FaceAnalysis(
        str(folder),
        allowed_modules=["detection", "recognition"],
        providers=["CPUExecutionProvider"],
    )
    oracle.prepare(ctx_id=0, det_thresh=0.5, det_size=(640, 640))
    images = scenes(8, height, width, seed=height)
    ours = load_network("buffalo_s", folder).extract(images)
    many = 0
    for row, image in enumerate(images):
        faces = oracle.get(np.ascontiguousarray(image[::-1].transpose(1, 2, 0)))
        many += len(faces) > 1
        assert ours["found"][row] == bool(faces)
        if not faces:
            assert ours["score"][row] == 0
            assert not ours["box"][row].any()
            assert not ours["embedding"][row].any()
            continue
        face = max(faces, key=lambda f: (f.bbox[2] - f.bbox[0]) * (f.bbox[3] - f.bbox[1]))
        np.testing.assert_allclose(ours["box"][row], face.bbox, rtol=1e-6, atol=1e-4)
        np.testing.assert_allclose(ours["score"][row], face.det_score, rtol=1e-6)
        np.testing.assert_allclose(ours["embedding"][row], face.normed_embedding, atol=1e-6)
    assert many > 1
    assert 0 < ours["found"].sum() < len(images)


# ------------------------------------------------------------------------------------- by hand


@pytest.mark.parametrize("stride, row, column", [(8, 30, 20), (16, 12, 30), (32, 9, 5)])
def test_a_box_is_decoded_from_the_sure_anchor_and_the_other_is_suppressed(
    network, stride, row, column
):
    found = network.extract(canvas((stride, row, column))[None])
    assert found["found"].tolist() == [1]
    np.testing.assert_allclose(found["box"][0], expected_box(stride, row, column), atol=1e-3)
    full, none = (255 - 127.5) / 128, -127.5 / 128
    logit = 20 * full - 20 * none + tiny_faces.SURENESS[0] - 40
    np.testing.assert_allclose(found["score"][0], 1 / (1 + np.exp(-logit)), rtol=1e-5)
    faces, _ = network.detector.detect(canvas((stride, row, column)).transpose(1, 2, 0)[..., ::-1])
    assert len(faces) == 1


@pytest.mark.parametrize("height, width", [(320, 640), (640, 320), (320, 320)])
def test_boxes_are_in_pixels_of_the_image(network, height, width):
    """Smaller images are enlarged until they fill 640; what is drawn as blocks stays so inside."""
    scale = 640 / max(height, width)
    image = np.zeros((3, height, width), np.uint8)
    side = int(32 / scale)
    y, x = 3 * side, 4 * side
    image[2, y - 2 : y + side + 2, x - 2 : x + side + 2] = 255
    box = network.extract(image[None])["box"][0]
    np.testing.assert_allclose(box, np.array(expected_box(32, 3, 4)) / scale, atol=1e-3)


def test_of_two_faces_the_larger_one_counts_not_the_central_one(network):
    """InsightFace's default takes off the squared distance from the middle of the image."""
    central, large = (8, 40, 40), (16, 4, 4)
    image = canvas(central, large)
    pixels = image.transpose(1, 2, 0)[..., ::-1]
    faces, _ = network.detector.detect(pixels)
    assert len(faces) == 2
    favoured, _ = network.detector.detect(pixels, max_num=1)
    np.testing.assert_allclose(favoured[0, :4], expected_box(*central), atol=1e-3)
    box = network.extract(image[None])["box"][0]
    np.testing.assert_allclose(box, expected_box(*large), atol=1e-3)


def test_the_size_decides_not_the_score(network):
    image = canvas((8, 40, 40), (16, 4, 4))
    image[1, 64:80, 64:80] = 254
    faces, _ = network.detector.detect(image.transpose(1, 2, 0)[..., ::-1])
    assert faces[0, 4] > faces[1, 4]
    box = network.extract(image[None])["box"][0]
    np.testing.assert_allclose(box, expected_box(16, 4, 4), atol=1e-3)


def test_largest_of_equal_boxes_is_the_first():
    boxes = np.array([[0, 0, 2, 2, 0.9], [5, 5, 9, 6, 0.8], [0, 0, 1, 1, 1.0]])
    assert buffalo_s.largest(boxes) == 0
    assert buffalo_s.largest(boxes[::-1]) == 1


def test_the_embedding_is_that_of_the_aligned_crop_in_rgb(packages, tmp_path):
    """Landmarks that are the template at scale 2: every second pixel is the crop, exactly."""
    folder = write_pack(
        tmp_path / "pack", detector=tiny_faces.detector(landmarks=tiny_faces.points(2.0))
    )
    rng = np.random.default_rng(0)
    image = canvas((8, 40, 40)) // 1
    texture = np.kron(rng.integers(0, 150, (3, 40, 40)), np.ones((1, 16, 16)))
    image = np.where(image.any(0), image, texture).astype(np.uint8)
    found = load_network("buffalo_s", folder).extract(image[None])
    assert found["found"].all()
    start = 40 * 8 - 2 * 56
    crop = image[:, start : start + 224 : 2, start : start + 224 : 2]
    pooled = ((crop - 127.5) / 127.5).reshape(3, 7, 16, 7, 16).mean((2, 4))
    expected = pooled.ravel() @ tiny_faces.matrix()
    np.testing.assert_allclose(
        found["embedding"][0], expected / np.linalg.norm(expected), atol=2e-4
    )
    swapped = pooled[::-1].ravel() @ tiny_faces.matrix()
    assert np.abs(found["embedding"][0] - swapped / np.linalg.norm(swapped)).max() > 0.05


def test_an_image_without_a_face_has_zeros(network):
    images = np.stack([canvas(ground=level) for level in (0, 127, 255)])
    fields = network.extract(images)
    assert {name: array.dtype for name, array in fields.items()} == {
        "found": np.uint8,
        "score": np.float32,
        "box": np.float32,
        "embedding": np.float32,
    }
    assert fields["embedding"].shape == (3, 512)
    assert not any(array.any() for array in fields.values())


@pytest.mark.parametrize("batch, together", [("free", True), ("one", False), ("built-in", False)])
def test_results_do_not_depend_on_the_batch(packages, tmp_path, batch, together):
    folder = write_pack(tmp_path, recogniser=tiny_faces.recogniser(batch=batch))
    network = load_network("buffalo_s", folder)
    assert network.batches is together
    images = scenes(6, 128, 160, seed=5)
    whole = network.extract(images)
    assert 2 <= whole["found"].sum() < 6
    lengths = np.linalg.norm(whole["embedding"], axis=1)
    np.testing.assert_allclose(lengths, whole["found"], atol=1e-6)
    for row in range(len(images)):
        alone = network.extract(images[row : row + 1])
        for field in ("found", "score", "box"):
            np.testing.assert_array_equal(alone[field][0], whole[field][row])
        np.testing.assert_allclose(alone["embedding"][0], whole["embedding"][row], atol=1e-6)
    assert len(network.extract(images[:0])["found"]) == 0


def test_other_images_are_refused(network):
    for images in (np.zeros((1, 3, 64, 64), np.float32), np.zeros((1, 1, 64, 64), np.uint8)):
        with pytest.raises(ValueError, match="expected uint8 RGB images"):
            network.extract(images)


def test_an_embedding_of_no_length_is_an_error():
    np.testing.assert_allclose(buffalo_s.unit(np.array([[3.0, 4.0]])), [[0.6, 0.8]])
    for broken in (0.0, np.nan, np.inf):
        with pytest.raises(RuntimeError, match="zero or not finite"):
            buffalo_s.unit(np.array([[3.0, 4.0], [broken, 0.0]]))


# ------------------------------------------------------------------------------------- the pack


def zipped(pack, path, inside=""):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in OFFICIAL:
            archive.write(pack / file, f"{inside}{file}")
        archive.writestr(f"{inside}genderage.onnx", b"another model")
    return path


def test_folder_and_zip_nested_or_not_are_the_same(tmp_path):
    pack = write_pack(tmp_path / "buffalo_s", **BYTES)
    write_pack(tmp_path / "deep" / "buffalo_s" / "buffalo_s", **BYTES)
    zipped(pack, tmp_path / "flat.zip")
    zipped(pack, tmp_path / "nested.zip", "buffalo_s/")
    zipped(pack, tmp_path / "dotted.zip", "./buffalo_s/")
    before = sorted(tmp_path.rglob("*"))
    for name in ("buffalo_s", "deep", "flat.zip", "nested.zip", "dotted.zip"):
        contents = buffalo_s.read_pack(tmp_path / name)
        assert contents == {DETECTOR: b"detector", RECOGNISER: b"recogniser"}
    assert sorted(tmp_path.rglob("*")) == before


def test_a_zip_runs_like_its_folder_and_nothing_is_written_or_fetched(pack, tmp_path, monkeypatch):
    def connect(*_):
        raise AssertionError("something tried to reach the network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = zipped(pack, tmp_path / "buffalo_s.zip", "buffalo_s/")
    image = canvas((8, 30, 20))[None]
    expected = load_network("buffalo_s", pack).extract(image)
    assert expected["found"].all()
    for name, array in load_network("buffalo_s", path).extract(image).items():
        np.testing.assert_array_equal(array, expected[name])
    for absent in ("buffalo_s", tmp_path / "buffalo_s"):
        with pytest.raises(FileNotFoundError):
            load_network("buffalo_s", absent)
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_missing_or_another_pack_is_said(tmp_path):
    def words(path, error=ValueError):
        with pytest.raises(error) as caught:
            buffalo_s.read_pack(path)
        said = str(caught.value)
        assert "buffalo_s.zip (https://github.com/deepinsight/insightface/releases/" in said
        assert "non-commercial" in said
        assert str(path) in said
        return said

    assert "does not exist" in words(tmp_path / "absent.zip", FileNotFoundError)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert f"lacks {DETECTOR} and {RECOGNISER}" in words(empty)
    assert "no .onnx file at all" in words(empty)
    half = tmp_path / "half"
    half.mkdir()
    (half / DETECTOR).write_bytes(b"detector")
    said = words(half)
    assert f"lacks {RECOGNISER}" in said
    assert "cut short" in said
    (half / RECOGNISER).write_bytes(b"")
    assert "is empty" in words(half)
    (half / RECOGNISER).write_bytes(b"<!DOCTYPE html><html>Not found</html>")
    assert "is a web page" in words(half)
    large = tmp_path / "buffalo_l"
    large.mkdir()
    for name in ("det_10g.onnx", "w600k_r50.onnx"):
        (large / name).write_bytes(b"model")
    said = words(large)
    assert "another pack" in said
    assert "det_10g.onnx, w600k_r50.onnx" in said
    twice = write_pack(tmp_path / "twice" / "a", **BYTES).parent
    write_pack(twice / "b", **BYTES)
    assert "holds the pack 2 times, in a, b" in words(twice)
    apart = write_pack(tmp_path / "apart" / "a", **BYTES).parent
    (apart / "b").mkdir()
    (apart / "a" / RECOGNISER).rename(apart / "b" / RECOGNISER)
    assert "in different folders" in words(apart)


def test_a_zip_that_is_none_or_was_cut_short_is_said(tmp_path):
    noise = np.random.default_rng(0).bytes(20000)
    pack = write_pack(tmp_path / "pack", detector=noise, recogniser=noise)
    whole = zipped(pack, tmp_path / "whole.zip").read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    page = b"<html>Sign in</html>"
    for content, words in (
        (b"", "is empty"),
        (page, "is a web page"),
        (b"GIF89a", "is no zip file, or was cut short"),
        (whole[: len(whole) // 2], "is no zip file, or was cut short"),
        (bytes(damaged), "is no zip file, or was cut short"),
    ):
        path = tmp_path / "buffalo_s.zip"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            load_network("buffalo_s", path)


def test_a_model_that_is_another_or_cut_short_is_said(packages, tmp_path):
    detector, recogniser = tiny_faces.detector(), tiny_faces.recogniser()
    for number, (models, words) in enumerate(
        (
            ({"detector": detector[:-100]}, f"{DETECTOR} of .* is no ONNX model, or was cut short"),
            ({"detector": b"\x08\x08"}, f"{DETECTOR} of .* is no ONNX model, or was cut short"),
            ({"recogniser": recogniser[:-9]}, f"{RECOGNISER} of .* is no ONNX model, or was cut"),
            ({"detector": recogniser}, f"{DETECTOR} of .* is another model: .*112, 112"),
            ({"detector": tiny_faces.detector(outputs=6)}, f"{DETECTOR} of .* is another model"),
            ({"detector": tiny_faces.detector(side=320)}, r"another model: .*3, 320, 320\]"),
            ({"recogniser": detector}, f"{RECOGNISER} of .* is another model: .* 9 output"),
            ({"recogniser": tiny_faces.recogniser(width=256)}, r"another model: .*\[1, 256\]"),
            ({"recogniser": tiny_faces.recogniser(normalises=True)}, "normalises its input itself"),
        )
    ):
        folder = write_pack(tmp_path / str(number), **models)
        with pytest.raises(ValueError, match=words) as caught:
            load_network("buffalo_s", folder)
        assert "What is needed here is buffalo_s.zip" in str(caught.value)
    with pytest.raises(ValueError, match="needs a weights file"):
        load_network("buffalo_s")


def test_meta_has_licence_source_and_whether_it_is_the_released_pack(pack, caplog, monkeypatch):
    import hashlib

    with caplog.at_level(logging.WARNING):
        meta = load_network("buffalo_s", pack).meta
    assert "is not the released file" in caplog.text
    assert meta["official"] is False
    assert "non-commercial" in meta["licence"]
    assert meta["source"].endswith("/buffalo_s.zip")
    assert meta["detector_input"] == [640, 640]
    assert meta["implementation"].startswith("insightface 2.")
    digests = {file: hashlib.sha256((pack / file).read_bytes()).hexdigest() for file in OFFICIAL}
    assert meta["sha256"] == digests
    monkeypatch.setattr(buffalo_s, "OFFICIAL", digests)
    caplog.clear()
    assert load_network("buffalo_s", pack).meta["official"] is True
    assert "released" not in caplog.text


# ----------------------------------------------------------------------------------- the device


def test_cuda_is_used_or_an_error():
    gpu = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    (name, options), fallback = buffalo_s.providers_for("cuda:1", gpu)
    assert (name, fallback) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options["device_id"] == "1"
    assert options["use_tf32"] == "0"
    assert buffalo_s.providers_for("cuda", gpu)[0][1]["device_id"] == "0"
    assert buffalo_s.providers_for("cpu", gpu) == ["CPUExecutionProvider"]
    with pytest.raises(RuntimeError, match="no CUDA: it has CPUExecutionProvider.*onnxruntime-gpu"):
        buffalo_s.providers_for("cuda", ["CPUExecutionProvider"])
    with pytest.raises(ValueError, match="not on 'mps'"):
        buffalo_s.providers_for("mps", ["CoreMLExecutionProvider", "CPUExecutionProvider"])


def test_a_session_that_fell_back_to_the_cpu_is_an_error():
    class Session:
        def get_providers(self):
            return ["CPUExecutionProvider"]

    buffalo_s.require_provider(Session(), "CPUExecutionProvider")
    with pytest.raises(RuntimeError, match="asked for CUDAExecutionProvider, but took CPU"):
        buffalo_s.require_provider(Session(), "CUDAExecutionProvider")


def test_no_gpu_build_of_onnxruntime_is_an_error_on_cuda(pack):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(RuntimeError, match="this onnxruntime has no CUDA"):
        load_network("buffalo_s", pack, "cuda")


def test_a_missing_or_old_package_is_said(pack, monkeypatch):
    monkeypatch.setattr(buffalo_s, "version", lambda name: "0.7.3")
    with pytest.raises(RuntimeError, match="needs insightface 2, but 0.7.3 is installed"):
        load_network("buffalo_s", pack)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "insightface.model_zoo.scrfd", None)
    with pytest.raises(RuntimeError, match="needs the packages insightface"):
        load_network("buffalo_s", pack)
