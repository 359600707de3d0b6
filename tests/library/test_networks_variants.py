"""Other authors' ways of the detectors and encoders, and what is no batch of images."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import recipe
import torch
from PIL import Image
from torchvision import transforms

from seesaw.networks import check_images, check_pixels, dinov2, load_network
from seesaw.networks.canny import Canny
from seesaw.networks.controlnet_resize import resized
from seesaw.networks.dpt_hybrid_midas import DptHybridMidas, midas_resized, midas_size
from seesaw.registry import NETWORKS, resolve

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ------------------------------------------------------------------------------------ the registry


VARIANTS = [n for n in NETWORKS if NETWORKS[n].options and n.rpartition("-")[0] in NETWORKS]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_says_whose_it_is_and_has_options_that_its_class_takes(name):
    entry, plain = NETWORKS[name], name.rpartition("-")[0]
    assert NETWORKS[plain].target == entry.target
    assert NETWORKS[plain].kind == entry.kind
    assert NETWORKS[plain].label != entry.label
    assert entry.source
    assert entry.licence
    assert entry.traps
    weights = None if entry.weights is None else "absent.pth"
    absent = (FileNotFoundError, "absent.pth")
    if weights is not None:
        with pytest.raises(absent[0], match=absent[1]):
            load_network(name, weights)
    else:
        assert load_network(name).meta["resize"] != load_network(plain).meta["resize"]


# ------------------------------------------------------------------------------------------- Canny


@pytest.mark.parametrize("height, width, shape", [(256, 256, (512, 512)), (40, 100, (512, 1280))])
def test_canny_512_is_that_of_the_enlarged_picture(height, width, shape):
    """controlnet_aux's steps, by hand: Lanczos to 512, Canny 100/200, no further resize."""
    images = recipe.pictures("canny", 2, height, width)
    found = load_network("canny-512").extract(images)["map"]
    assert found.shape == (2, *shape)
    for row, image in zip(found, images, strict=True):
        picture = np.ascontiguousarray(image.transpose(1, 2, 0))
        large = cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_LANCZOS4)
        np.testing.assert_array_equal(row, cv2.Canny(large, 100, 200))
    plain = load_network("canny").extract(images)["map"]
    assert 0 < (found > 0).mean() < (plain > 0).mean()


def test_canny_of_pictures_that_have_the_size_already_is_the_same():
    images = recipe.pictures("canny", 1, 512, 512)
    np.testing.assert_array_equal(resized(images, 512), images)
    np.testing.assert_array_equal(
        load_network("canny-512").extract(images)["map"],
        load_network("canny").extract(images)["map"],
    )
    with pytest.raises(ValueError, match=r"resize is 500; .* multiple of 64 \(ControlNet's is 512"):
        Canny(resize=500)


# ------------------------------------------------------------------------------------------- MiDaS


@pytest.mark.parametrize(
    "size, expected",
    [
        ((256, 256), (384, 384)),
        ((384, 384), (384, 384)),
        ((480, 640), (384, 512)),  # 0.8, not 0.6
        ((512, 256), (384, 192)),  # 0.75, not 1.5
        ((300, 500), (224, 384)),  # 0.768, not 1.28; 230.4 is rounded
        ((768, 256), (384, 128)),  # 0.5 and 1.5 are equally near: the height decides
        ((256, 768), (384, 1152)),
    ],
)
def test_midas_size_scales_as_little_as_possible(size, expected):
    assert midas_size(*size, 384) == expected


def test_midas_shows_bicubic_pixels_that_are_neither_rounded_nor_cut_off():
    image = recipe.pictures("midas", 1, 60, 48)
    image[:, :, :, 20:] = 255
    image[:, :, :, :20] = 0
    found = midas_resized(image, 96)
    assert found.dtype == np.float32
    assert found.shape == (1, 3, *midas_size(60, 48, 96))
    assert found.max() > 1.01
    assert found.min() < -1.01
    # the cubic kernel of OpenCV (a = -3/4) between pixel centres, far from the border
    scale = 48 / found.shape[3]
    row = []
    for column in range(20, found.shape[3] - 20):
        centre = (column + 0.5) * scale - 0.5
        first = int(np.floor(centre)) - 1
        weights = [cubic(centre - place) for place in range(first, first + 4)]
        row.append(sum(w * (place >= 20) for w, place in zip(weights, range(first, first + 4))))
    np.testing.assert_allclose(found[0, 0, 30, 20:-20], 2 * np.array(row) - 1, atol=1e-5)


def cubic(x, a=-0.75):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


@pytest.mark.parametrize(
    "options, words",
    [
        ({"resize": 100, "by": "midas"}, "resize is 100; by MiDaS' way .* multiple of 32"),
        ({"by": "midas"}, "resize is None; by MiDaS' way"),
        ({"resize": 96, "by": "controlnet"}, "resize is 96; .* multiple of 64"),
        ({"resize": 384, "by": "mida"}, "unknown way of resizing .*Did you mean 'midas'"),
    ],
)
def test_ways_of_midas_that_nobody_has_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        DptHybridMidas("weights.pt", **options)


# ------------------------------------------------------------------------------------------ DINOv2


class TinyDino(dinov2.Dinov2VitB14):
    width, depth, heads = 48, 2, 2


@pytest.fixture(scope="module")
def dino_file(tmp_path_factory):
    sizes = {768: 48, 2304: 144, 3072: 192}
    state = {}
    rows = json.loads((REFERENCE / "dinov2_vitb14.json").read_text())["tensors"]
    for pattern, shape, kind in rows:
        count = 2 if "{0-11}" in pattern else 1
        for index in range(count):
            key = re.sub(r"\{0-11\}", str(index), pattern)
            shape = [sizes.get(side, side) for side in shape]
            state[key] = torch.from_numpy(recipe.fill(key, shape, kind))
    path = tmp_path_factory.mktemp("dino") / "dinov2_vitb14_pretrain.pth"
    torch.save(state, path)
    return path


def seen(network, image):
    """What reaches the vision transformer."""
    caught = []
    network.run, kept = lambda pixels, _: caught.append(pixels) or torch.zeros(1, 1, 1), network.run
    try:
        network.extract(image)
    finally:
        network.run = kept
    return caught[0][0]


def test_the_crop_entry_is_the_official_evaluation_transform(dino_file):
    assert NETWORKS["dinov2_vitb14-crop"].target == "seesaw.networks.dinov2:Dinov2VitB14"
    network = TinyDino(dino_file, **NETWORKS["dinov2_vitb14-crop"].options)
    assert "centre crop 224" in network.meta["preprocessing"]
    official = transforms.Compose(
        [
            transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    check_transform(network, official)


def test_large_dinov2_is_prepared_as_dgm_eval_does(dino_file):
    """Its encoder by default; ``Dinov2VitL14`` prepares as all sizes do."""
    assert resolve(NETWORKS["dinov2_vitl14"].target).prepare is dinov2.Dinov2VitB14.prepare
    assert not NETWORKS["dinov2_vitl14"].options
    encoder = transforms.Compose(
        [
            transforms.Resize((224, 224), transforms.InterpolationMode.BICUBIC),
            transforms.ToTensor(),
            transforms.Normalize(np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])),
        ]
    )
    check_transform(TinyDino(dino_file), encoder)


def check_transform(network, transform):
    for height, width in ((256, 256), (64, 64), (300, 411)):
        image = recipe.pictures("dino", 1, height, width)
        picture = Image.fromarray(np.ascontiguousarray(image[0].transpose(1, 2, 0)))
        torch.testing.assert_close(
            seen(network, image), transform(picture).float(), atol=2e-6, rtol=0
        )


# ---------------------------------------------------------------------------------- no such images

RAMP = np.linspace(0, 1, 48).reshape(1, 3, 4, 4)


@pytest.mark.parametrize(
    "images, given, advice",
    [
        (RAMP.astype(np.float32), "float32 (1, 3, 4, 4)", "multiply by 255 and round"),
        (2 * RAMP - 1, "float64 (1, 3, 4, 4)", "multiply x + 1 by 127.5 and round"),
        (256 * RAMP - 1, "with values from -1 to 255", "round them and cut off to 0..255"),
        (RAMP * np.nan, "with values from nan", "not finite"),
        (RAMP.astype(np.int64), "int64 (1, 3, 4, 4)", "convert them to uint8"),
        (np.zeros((0, 3, 4, 4)), "float64 (0, 3, 4, 4)", "convert them to uint8"),
        (np.zeros((3, 4, 4), np.uint8), "uint8 (3, 4, 4)", "images[None]"),
        (np.zeros((2, 4, 4, 3), np.uint8), "uint8 (2, 4, 4, 3)", "transpose(0, 3, 1, 2)"),
        (np.zeros((2, 1, 4, 4), np.uint8), "uint8 (2, 1, 4, 4)", ""),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "torch.uint8 (1, 3, 4, 4)", "numpy array"),
        ([[1]], "list ()", "numpy array"),
    ],
)
def test_what_is_no_batch_of_images_is_refused_with_advice(images, given, advice):
    for refuse in (check_images, load_network("canny").extract):
        with pytest.raises(ValueError, match=r"expected uint8 RGB images \(N, 3, H, W\)") as caught:
            refuse(images)
        assert given in str(caught.value)
        assert advice in str(caught.value)


def test_batches_of_images_and_pixels_pass():
    check_images(np.zeros((2, 3, 4, 5), np.uint8))
    check_images(np.zeros((0, 3, 4, 5), np.uint8))
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        check_pixels(torch.zeros(2, 3, 4, 5, dtype=dtype))
    with pytest.raises(ValueError, match=r"torch\.int64 \(2, 3, 4, 5\); uint8 arrays go to"):
        check_pixels(torch.zeros(2, 3, 4, 5, dtype=torch.int64))
