"""The list of published autoencoders: complete, sizes those of the architectures, plannable."""

from pathlib import Path

import pytest
import torch

from seesaw.autoencoders.diffusers_kl import DiffusersKL
from seesaw.config import check_config, load_yaml, resolve_autoencoders
from seesaw.costs import autoencoder_flops, sit_shape, transformer_flops
from seesaw.registry import FAMILIES, PLANNED_FAMILIES

ROOT = Path(__file__).parents[2]
SCHEMA = load_yaml(ROOT / "workflow/schemas/config.schema.yaml")
REGISTRY = load_yaml(ROOT / "config/autoencoders.yaml")
POOL = {
    entry["name"]: entry
    for entry in resolve_autoencoders(
        [name for name in REGISTRY if not name.startswith(".") and name != "architectures"],
        REGISTRY,
    )
}
WITHOUT_WEIGHTS = ["e2e-vae"]
KNOWN = [name for name in POOL if name not in WITHOUT_WEIGHTS]
KL = [name for name in KNOWN if POOL[name]["family"] in ("diffusers-kl", "ldm-kl")]
PATCHES = 2 * 256 * 768  # operations of cutting an image into 16 x 16 patches, per channel


def rows_of(paper):
    named = [entry["published"].get(paper) for entry in POOL.values()]
    return [name for name in named if name]


def test_every_row_of_the_papers_has_its_entry():
    assert len(rows_of("seesaw")) == len(set(rows_of("seesaw"))) == 33
    assert len(set(rows_of("ifid"))) == 14
    assert {name for name in rows_of("ifid") if rows_of("ifid").count(name) > 1} == {"EQ-VAE"}


def test_the_papers_config_lists_what_has_weights():
    config = load_yaml(ROOT / "config/config.yaml")
    left_out = {*WITHOUT_WEIGHTS, "eq-vae-ema", "sd-vae-ft-mse"}
    assert set(config["autoencoders"]) == set(POOL) - left_out
    assert "no public weights found" in POOL["e2e-vae"]["confidence"]


def test_the_whole_list_fits_the_schema():
    config = load_yaml(ROOT / "config/config.yaml")
    check_config({**config, "autoencoders": list(POOL.values())}, SCHEMA)


@pytest.mark.parametrize("name", KNOWN)
def test_an_entry_is_whole(name):
    entry = POOL[name]
    assert set(entry) >= {"group", "family", "training", "latent_shape", "patch_size", "weights"}
    assert set(entry) >= {"parameters", "source", "published", "confidence"}
    assert entry["weights"].startswith(f"weights/{name}/")
    assert entry["source"].startswith("https://huggingface.co/")
    assert (entry["family"] in FAMILIES) != (entry["family"] in PLANNED_FAMILIES)
    assert all(flops > 1e10 for flops in autoencoder_flops(entry))
    tokens, channels = sit_shape(entry)
    assert tokens == {"softvq-l-64": 64, "maetok-b-128": 128}.get(name, 256)
    assert tokens * channels == torch.Size(entry["latent_shape"]).numel()


@pytest.mark.parametrize("name", KL)
def test_sizes_of_the_kl_families(name):
    entry = POOL[name]
    with torch.device("meta"):
        model = DiffusersKL(**entry["config"])
    assert list(model.latent_shape) == entry["latent_shape"]
    assert sum(p.numel() for p in model.parameters()) == entry["parameters"]


TRANSFORMERS = {  # width, depth, tokens of the encoder, tokens of the decoder
    "vtp_s": (384, 12, 257, 256),
    "vtp_b": (768, 12, 257, 256),
    "vtp_l": (1024, 24, 257, 256),
    "detok-bb-decoder_ft": (768, 12, 256, 256),
    "softvq-l-64": (1024, 24, 257 + 64, 257 + 64),
    "maetok-b-128": (768, 12, 257 + 128, 256 + 128),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_operations_of_transformers(name):
    """Blocks with an MLP of 8 (or three matrices of 8/3) width^2, and the patches; to 3%."""
    width, depth, *lengths = TRANSFORMERS[name]
    counted = [
        transformer_flops(tokens=tokens, width=width, depth=depth) + PATCHES * width
        for tokens in lengths
    ]
    assert autoencoder_flops(POOL[name]) == pytest.approx(counted, rel=0.03)
