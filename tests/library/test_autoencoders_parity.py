"""Every published architecture computes what its authors' code computes.

Weights files in the official layout are filled by the recipe; the authors' code has run on the same
files (tests/reference/README.md). Tolerances are those measured for the authors' code itself.
"""

import hashlib
import shutil

import numpy as np
import pytest
import torch
from official import (
    ARCHITECTURES,
    expected,
    images,
    in_official_range,
    layout,
    official_files,
    plane_waves,
    tensors,
    thinned,
)

from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.weights import read_content
from seesaw.published_autoencoders import published_autoencoder
from seesaw.registry import FAMILIES

VQ = ("softvq_l64", "maetok_b128")
VQ_STATISTICS = (0.125, 1 / 0.75)
"""Given to the authors' constructors for the reference; released values lie beside the files."""

DROPPED = ("layernorm.weight", "layernorm.bias")
"""In RAE's encoder file, but not in the authors' model."""

LOADED = [
    name
    for name in ARCHITECTURES
    if (published_autoencoder(name) or {"family": None})["family"] in FAMILIES
]


def check(name, array, values):
    """Both tolerances of an array hold."""
    rule = layout(name)["arrays"][array]
    stored = expected(name)[array]
    difference = np.abs(thinned(values, name, array)[: len(stored)] - stored[: len(values)])
    largest, mean = difference.max(), difference.mean()
    print(f"{name} {array}: max {largest:.1e}, mean {mean:.1e}")  # noqa: T201
    assert largest <= rule["tolerance_max"]
    assert mean <= rule["tolerance_mean"]


def raw_name(name):
    """The authors' RAE returns normalised latents."""
    return "latent_raw" if "latent_raw" in layout(name)["arrays"] else "latent"


def normalised_name(name):
    return "latent" if "latent_raw" in layout(name)["arrays"] else "latent_normalized"


def test_the_reference_is_complete():
    assert len(ARCHITECTURES) == 21
    for name in ARCHITECTURES:
        assert {"latent", "image"} <= set(expected(name)) & set(layout(name)["arrays"])


@pytest.mark.parametrize("name", ["svg_t2i_p", "ldm_f16d16", "vtp_s"])
def test_the_recipe_gives_the_tensors_of_the_reference(name):
    described = layout(name)
    for file in described["files"]:
        digest = hashlib.sha256()
        for key, value in tensors(name, file["tensors"], prefix=file["name_prefix"]).items():
            digest.update(key.encode())
            digest.update((value.float() if value.is_floating_point() else value).numpy().tobytes())
        assert digest.hexdigest() == described["sha256"]["tensors"][file["role"]]
    given = described["input"]
    pictures = plane_waves(given["batch"], given["size"])
    assert hashlib.sha256(pictures.tobytes()).hexdigest() == described["sha256"]["images_uint8"]


@pytest.mark.parametrize("name", LOADED)
def test_the_authors_numbers(name, tmp_path):
    # one test per architecture: writing and reading files of gigabytes is most of the work
    files = official_files(name, tmp_path)
    autoencoder = load_autoencoder(name, files, {"latents": "raw"})
    with torch.inference_mode():
        latents_and_images_are_the_authors(name, autoencoder)
        if normalised_name(name) in layout(name)["arrays"]:
            normalised_latents_are_the_authors(name, autoencoder)
    numbers = sum(np.prod(row[1], dtype=int) for row in layout(name)["files"][0]["tensors"])
    if numbers < 1e8:  # the tests of the families do this on small files
        a_key_too_few_or_too_many_is_named(name, files, tmp_path / "w.pt")
    shutil.rmtree(tmp_path)


def latents_and_images_are_the_authors(name, autoencoder):
    pixels = images(name)
    mean, log_variance = autoencoder.posterior(pixels)
    latents = torch.cat([autoencoder.encode(image[None]) for image in pixels])
    torch.testing.assert_close(latents, mean, atol=1e-3, rtol=1e-3)
    assert tuple(latents.shape[1:]) == tuple(autoencoder.latent_shape)
    check(name, raw_name(name), latents)
    if "logvar" in layout(name)["arrays"]:
        assert autoencoder.stochastic
        check(name, "logvar", log_variance.expand_as(latents))
    check(name, "image", in_official_range(name, autoencoder.decode(latents)))
    if "latent_batch2" in layout(name)["arrays"]:
        autoencoder.residual_statistics = "batch"
        check(name, "latent_batch2", autoencoder.encode(pixels))
        autoencoder.residual_statistics = "image"


def normalised_latents_are_the_authors(name, autoencoder):
    if name in VQ:
        autoencoder.normalization = VQ_STATISTICS
    pixels = images(name)[:1]
    raw = autoencoder.encode(pixels)
    plain = autoencoder.decode(raw)
    autoencoder.latents = "normalized"
    normalised = autoencoder.encode(pixels)
    again = autoencoder.decode(normalised)
    torch.testing.assert_close(again, plain, atol=1e-3, rtol=1e-3)
    if autoencoder.spatial and expected(name)[normalised_name(name)].ndim == 3:
        normalised = normalised.flatten(2).transpose(1, 2)
    check(name, normalised_name(name), normalised)
    assert not torch.equal(normalised.flatten(), raw.flatten())


def a_key_too_few_or_too_many_is_named(name, files, path):
    role = next(iter(files))
    content = read_content(files[role])
    state = content
    for entry in layout(name)["files"][0]["entry"]:
        state = state[entry]
    rows = layout(name)["files"][0]["tensors"]
    lacking = [row[0] for row in rows if row[3] != "literal" and row[0] not in DROPPED][-1]
    value = state.pop(lacking)
    torch.save(content, path)
    with pytest.raises(ValueError, match="1 missing") as caught:
        load_autoencoder(name, {**files, role: path})
    assert caught.value.args[0].count("(") < 30
    state[lacking], state["never.heard.of"] = value, torch.zeros(3)
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"1 unexpected:\s+never\.heard\.of \(3,\)"):
        load_autoencoder(name, {**files, role: path})
    state[lacking] = value.flatten()[:1]
    del state["never.heard.of"]
    torch.save(content, path)
    with pytest.raises(ValueError, match="1 misshapen"):
        load_autoencoder(name, {**files, role: path})
