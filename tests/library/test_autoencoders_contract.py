"""What every published architecture owes its callers, whatever its family.

Shapes and refusals at full size without tensors (device ``meta``), values on tiny instances, and a
round trip of one image of 256 pixels of each family.
"""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from published_tiny import pixels, tiny_config, tiny_published

from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.base import OPTIONS, build_autoencoder
from seesaw.config import load_yaml
from seesaw.published_autoencoders import published_autoencoder
from seesaw.registry import FAMILIES

ROOT = Path(__file__).parents[2]
REGISTRY = load_yaml(ROOT / "config/autoencoders.yaml")["architectures"]
ARCHITECTURES = [name for name, entry in REGISTRY.items() if entry["family"] in FAMILIES]
CLAMPED = ("qwenimage-kl",)
"""Families whose published decoder clamps to [-1, 1] itself."""

TOLERANCE = {"atol": 2e-4, "rtol": 2e-4}
BFLOAT16_SHARE = 0.1
"""Of a latent's or an image's deviation: how far bfloat16 may take it, in the root mean square."""


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@functools.cache
def whole_of(architecture):
    published = published_autoencoder(architecture)
    config = {key: v for key, v in published["config"].items() if key not in OPTIONS}
    with torch.device("meta"):
        return build_autoencoder(published["family"], config).eval()


@pytest.fixture
def whole(architecture):
    """The architecture at full size, without tensors."""
    return whole_of(architecture)


@pytest.fixture
def autoencoder(architecture):
    return tiny_published(architecture)


def meta(*shape, dtype=torch.float32):
    return torch.empty(shape, dtype=dtype, device="meta")


def test_sizes_are_those_of_the_registry_and_of_the_authors_code(architecture, whole):
    entry = REGISTRY[architecture]
    assert whole.resolution == 256
    if "latent_shape" in entry:
        assert list(whole.latent_shape) == entry["latent_shape"]
    reference = ROOT / f"tests/reference/autoencoders/{architecture}.json"
    if reference.is_file():
        described = json.loads(reference.read_text())
        _, *steps = described["arrays"]["latent"]["steps"]
        with np.load(reference.with_suffix(".npz")) as stored:
            thinned = stored["latent"].shape[1:]
        assert thinned == tuple(
            -(-size // step) for size, step in zip(whole.latent_shape, steps, strict=True)
        )
    if "parameters" in entry:
        held = sum(parameter.numel() for parameter in whole.parameters())
        assert held == pytest.approx(entry["parameters"], rel=0.01)


@torch.inference_mode()
def test_shapes_at_full_size(whole):
    latents = whole.encode(meta(2, 3, 256, 256))
    assert latents.shape == (2, *whole.latent_shape)
    assert whole.spatial == (latents.ndim == 4)
    assert whole.decode(latents).shape == (2, 3, 256, 256)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1, 3, 256, 256), torch.uint8),
        ((1, 3, 256, 256), torch.int64),
        ((1, 3, 256, 240), torch.float32),
        ((1, 3, 512, 512), torch.float32),
        ((1, 3, 64, 64), torch.float32),
        ((1, 1, 256, 256), torch.float32),
        ((1, 4, 256, 256), torch.float32),
        ((1, 256, 256, 3), torch.float32),
        ((3, 256, 256), torch.float32),
    ],
)
def test_other_images_are_refused_in_words(whole, shape, dtype):
    with pytest.raises(ValueError, match=r"float RGB in \[-1, 1\], \(N, 3, 256, 256\)") as caught:
        whole.encode(meta(*shape, dtype=dtype))
    assert f"{shape} of {dtype}" in str(caught.value)


def test_other_latents_are_refused_in_words(whole):
    first, *rest = whole.latent_shape
    shapes = [(1, first + 1, *rest), (1, first), (first, *rest), (1, 2, first, *rest)]
    if whole.spatial:
        shapes.append((1, first * rest[0] * rest[1]))
    else:
        shapes.append((1, rest[0], first))
    if not whole.resizable:
        shapes.append((1, first, *(size + 1 for size in rest)))
    for shape in shapes:
        with pytest.raises(ValueError, match="was given latents") as caught:
            whole.decode(meta(*shape))
        assert str(shape) in str(caught.value)
        assert ", ".join(map(str, whole.latent_shape)) in str(caught.value)
    with pytest.raises(ValueError, match=r"torch\.int64; it takes floats"):
        whole.decode(meta(1, *whole.latent_shape, dtype=torch.int64))


@torch.inference_mode()
def test_images_do_not_influence_each_other(autoencoder):
    images = pixels(4)
    latents = autoencoder.encode(images)
    decoded = autoencoder.decode(latents)
    assert latents.std(0).mean() > 1e-3
    assert decoded.std(0).mean() > 1e-3
    alone = torch.cat([autoencoder.encode(image[None]) for image in images])
    torch.testing.assert_close(alone, latents, **TOLERANCE)
    alone = torch.cat([autoencoder.decode(latent[None]) for latent in latents])
    torch.testing.assert_close(alone, decoded, **TOLERANCE)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(autoencoder.encode(images[order]), latents[order], **TOLERANCE)
    torch.testing.assert_close(autoencoder.decode(latents[order]), decoded[order], **TOLERANCE)
    torch.testing.assert_close(autoencoder.encode(images), latents)  # nothing is remembered


@torch.inference_mode()
def test_noise_matters_where_there_is_a_posterior(autoencoder):
    images = pixels(2)
    mean, log_variance = autoencoder.posterior(images)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(autoencoder.encode(images), mean)
    sample = autoencoder.encode(images, noise)
    assert autoencoder.stochastic == (log_variance is not None)
    if autoencoder.stochastic:
        assert log_variance.shape == mean.shape
        torch.testing.assert_close(sample, mean + (log_variance / 2).exp() * noise, **TOLERANCE)
        assert (sample - mean).abs().max() > 0.01
    else:
        assert torch.equal(sample, mean)


@torch.inference_mode()
def test_images_are_taken_and_given_around_minus_one_to_one(architecture, autoencoder):
    """The dtype of the images does not matter, and decoders clamp only where the authors' does."""
    images = pixels(2)
    latents = autoencoder.encode(images)
    torch.testing.assert_close(autoencoder.encode(images.double()), latents)
    decoded = autoencoder.decode(latents)
    torch.testing.assert_close(autoencoder.decode(latents.double()), decoded)
    assert latents.dtype == decoded.dtype == torch.float32
    assert decoded.shape == images.shape
    for parameter in autoencoder.parameters():
        parameter.mul_(2)
    loud = autoencoder.decode(100 * latents).abs().max()
    if REGISTRY[architecture]["family"] in CLAMPED:
        assert loud == 1
    else:
        assert loud > 1


@torch.inference_mode()
def test_normalised_latents(architecture, autoencoder):
    images = pixels(2)
    raw = autoencoder.encode(images)
    decoded = autoencoder.decode(raw)
    channels = raw.shape[1] if autoencoder.spatial else raw.shape[2]
    mean = [0.25 + 0.5 * channel for channel in range(channels)]
    statistics = {"mean": mean, "scale": 2.0}
    normal = tiny_published(architecture, latents="normalized", normalization=statistics)
    shift = torch.tensor(mean).view(-1, 1, 1) if autoencoder.spatial else torch.tensor(mean)
    torch.testing.assert_close(normal.encode(images), (raw - shift) * 2, **TOLERANCE)
    torch.testing.assert_close(normal.decode((raw - shift) * 2), decoded, atol=1e-3, rtol=1e-3)
    missing = tiny_published(architecture, latents="normalized")
    if missing.normalization is None:
        with pytest.raises(ValueError, match="statistics.*normalization"):
            missing.encode(images)


@torch.inference_mode()
def test_moves_between_dtypes(autoencoder):
    images = pixels(2)
    latents = autoencoder.encode(images)
    decoded = autoencoder.decode(latents)
    keys = list(autoencoder.state_dict())
    autoencoder.to(torch.float64)
    again = autoencoder.encode(images)
    assert again.dtype == autoencoder.decode(again).dtype == torch.float64
    torch.testing.assert_close(again.float(), latents, **TOLERANCE)
    autoencoder.to(torch.float32).to(torch.bfloat16)
    rounded = autoencoder.encode(images)
    shown = autoencoder.decode(latents)
    assert rounded.dtype == shown.dtype == torch.bfloat16
    assert (rounded - latents).square().mean().sqrt() < BFLOAT16_SHARE * latents.std()
    assert (shown - decoded).square().mean().sqrt() < BFLOAT16_SHARE * decoded.std()
    assert list(autoencoder.state_dict()) == keys


@torch.inference_mode()
def test_moves_without_tensors(autoencoder):
    autoencoder.to("meta")
    latents = autoencoder.encode(pixels(2).to("meta"))
    assert latents.is_meta
    assert autoencoder.decode(latents).shape == (2, 3, 32, 32)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@torch.inference_mode()
def test_moves_to_the_gpu_and_back(autoencoder, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    images = pixels(2)
    latents = autoencoder.encode(images)
    decoded = autoencoder.decode(latents)
    autoencoder.to("cuda")
    there = autoencoder.encode(images.cuda())
    shown = autoencoder.decode(latents.cuda())
    assert there.is_cuda
    assert shown.is_cuda
    torch.testing.assert_close(there.cpu(), latents, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(shown.cpu(), decoded, atol=2e-3, rtol=2e-3)
    autoencoder.to("cpu")
    torch.testing.assert_close(autoencoder.encode(images), latents)


@torch.inference_mode()
def test_saved_weights_come_back(architecture, autoencoder, tmp_path):
    """The file of an instance, loaded on ``meta`` where the family allows it, computes the same."""
    parts = autoencoder.parts()
    files = {}
    layouts = autoencoder.layouts
    for role, part in parts.items():
        entry = (layouts[role].ema_entry if autoencoder.ema else None) or layouts[role].entry
        state = {key: value.clone() for key, value in part.state_dict().items()}
        files[role] = tmp_path / f"{role}.pt"
        torch.save({entry: state} if entry else state, files[role])
    loaded = load_autoencoder(architecture, files, tiny_config(architecture))
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))
    images = pixels(2)
    latents = autoencoder.encode(images)
    torch.testing.assert_close(loaded.encode(images), latents, **TOLERANCE)
    torch.testing.assert_close(loaded.decode(latents), autoencoder.decode(latents), **TOLERANCE)


ROUND_TRIPS = [
    pytest.param(name, marks=() if name in ("vtp_s", "detok_bb") else pytest.mark.slow)
    for name in {REGISTRY[name]["family"]: name for name in ARCHITECTURES}.values()
]


@pytest.mark.parametrize("name", ROUND_TRIPS)
@torch.inference_mode()
def test_a_round_trip_of_256_pixels(name):
    autoencoder = load_autoencoder(name, None, {"latents": "raw"})
    latents = autoencoder.encode(pixels(1, 256))
    decoded = autoencoder.decode(latents)
    assert latents.shape == (1, *autoencoder.latent_shape)
    assert decoded.shape == (1, 3, 256, 256)
    assert latents.isfinite().all()
    assert decoded.isfinite().all()
