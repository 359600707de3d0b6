"""The list of published autoencoders: complete, sizes those of the architectures, plannable."""

from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seesaw.autoencoders.base import OPTIONS, build_autoencoder
from seesaw.catalogue import read_registry
from seesaw.config import check_config, load_yaml, resolve_autoencoder
from seesaw.costs.flops import autoencoder_flops, sit_shape
from seesaw.registry import FAMILIES

ROOT = Path(__file__).parents[2]
SCHEMA = load_yaml(ROOT / "workflow/schemas/config.schema.yaml")
REGISTRY = read_registry()
ENTRIES, ARCHITECTURES = REGISTRY["autoencoders"], REGISTRY["architectures"]
WITHOUT_WEIGHTS = ["e2e-vae"]
KNOWN = [name for name in ENTRIES if name not in WITHOUT_WEIGHTS]
POOL = {name: resolve_autoencoder(name, REGISTRY) for name in KNOWN}
NOT_MEASURED = {"eq-vae-ema", "detok-bb", "uae-v2", "sd-vae-ft-mse", "fluxae"}
LOADABLE = [name for name, entry in ARCHITECTURES.items() if entry["family"] in FAMILIES]


def rows_of(paper):
    named = [entry["published"].get(paper) for entry in ENTRIES.values()]
    return [name for name in named if name]


def test_every_row_of_the_papers_has_its_entry():
    assert len(rows_of("seesaw")) == len(set(rows_of("seesaw"))) == 33
    assert len(set(rows_of("ifid"))) == 14
    assert {name for name in rows_of("ifid") if rows_of("ifid").count(name) > 1} == {"EQ-VAE"}
    assert len(rows_of("diffusability")) == 3
    assert len(ENTRIES) == 47 + 1  # and the SD-VAE as its authors publish it


def test_the_papers_config_lists_what_they_measured():
    config = load_yaml(ROOT / "config/config.yaml")
    assert set(config["autoencoders"]) == set(POOL) - NOT_MEASURED
    assert "no public weights found" in ENTRIES["e2e-vae"]["confidence"]["note"]


def test_the_whole_list_fits_the_schema():
    config = load_yaml(ROOT / "config/config.yaml")
    check_config({**config, "autoencoders": list(POOL.values())}, SCHEMA)


@pytest.mark.parametrize("name", KNOWN)
def test_an_entry_is_whole(name):
    entry = POOL[name]
    assert set(entry) >= {"group", "family", "training", "latent_shape", "patch_size", "weights"}
    assert set(entry) >= {"parameters", "source", "published", "confidence", "files"}
    assert entry["source"].startswith("https://huggingface.co/")
    assert entry["family"] in FAMILIES
    assert all(flops > 1e10 for flops in autoencoder_flops(entry))
    tokens, channels = sit_shape(entry)
    other = {"softvq-l-64": 64, "maetok-b-128": 128, "ltx-video-ae": 64}
    assert tokens == other.get(name, 256)
    assert tokens * channels == torch.Size(entry["latent_shape"]).numel()


@pytest.mark.parametrize("name", LOADABLE)
def test_sizes_of_the_architectures(name):
    entry = ARCHITECTURES[name]
    config = {key: value for key, value in entry["config"].items() if key not in OPTIONS}
    with torch.device("meta"):
        model = build_autoencoder(entry["family"], config)
    assert list(model.latent_shape) == entry["latent_shape"]
    assert model.resolution == 256
    assert sum(p.numel() for p in model.parameters()) == entry["parameters"]


@pytest.mark.parametrize("name", LOADABLE)
def test_operations_of_the_architectures(name):
    """What the modules do with one image, as torch counts it; nothing is computed on meta."""
    entry = ARCHITECTURES[name]
    config = {key: value for key, value in entry["config"].items() if key not in OPTIONS}
    with torch.device("meta"), torch.no_grad():
        model = build_autoencoder(entry["family"], config).eval()
        with FlopCounterMode(display=False) as encoding:
            latents = model.posterior(torch.zeros(1, 3, 256, 256))[0]
        with FlopCounterMode(display=False) as decoding:
            model.render(latents)
    counted = [encoding.get_total_flops(), decoding.get_total_flops()]
    assert tuple(latents.shape[1:]) == tuple(entry["latent_shape"])
    assert autoencoder_flops(entry) == pytest.approx(counted, rel=0.04)
