"""Entries of the pool: what follows from a folder or the study, and what a person must say."""

import copy
import inspect
import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from diffusers import AutoencoderKL

from seesaw import cli
from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.base import build_autoencoder
from seesaw.config import load_yaml
from seesaw.config_checks import check_config
from seesaw.costs.flops import autoencoder_flops
from seesaw.entries import MOST_TOKENS, check_entries, completed, with_architecture
from seesaw.published_autoencoders import resolve_autoencoders
from seesaw.registry import FAMILIES, unknown

ROOT = Path(__file__).parents[2]
SCHEMA = load_yaml(ROOT / "workflow/schemas/config.schema.yaml")
REGISTRY = load_yaml(ROOT / "config/autoencoders.yaml")


def resolved(config):
    pool = resolve_autoencoders(config["autoencoders"], REGISTRY)
    return {**config, "autoencoders": pool}


# ------------------------------------------------------------------------------- what families need


@pytest.mark.parametrize("family", FAMILIES)
def test_the_registry_knows_what_a_class_cannot_do_without(family):
    parameters = inspect.signature(FAMILIES.load(family)).parameters.values()
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind in kinds]
    assert list(FAMILIES[family].needs) == needed


@pytest.mark.parametrize(
    "family, config, words",
    [
        (
            "vtp",
            {"width": 384},
            r"autoencoders.a.config: the family 'vtp' needs 'depth'; .*vtp_s, ",
        ),
        ("vtp", {}, "needs 'width' and 'depth'; give the key there, or say what it is like: vtp_s"),
        ("ldm-kl", {"resolution": 64}, "the family 'ldm-kl' needs 'official'; .*vavae_f16d32"),
    ],
)
def test_what_is_missing_is_said_before_any_job(family, config, words):
    entry = {"name": "a", "family": family, "config": config, "weights": "gone.pt"}
    with pytest.raises(ValueError, match=words):
        check_entries({"data": {"resolution": 64}, "autoencoders": [entry]})


def test_a_class_says_it_too():
    with pytest.raises(ValueError, match="'vtp' needs 'width' and 'depth'; give the key under 'co"):
        build_autoencoder("vtp", {})
    with pytest.raises(ValueError, match="'diffusers-kl' does not take 'resolutoin'; it takes res"):
        build_autoencoder("diffusers-kl", {"resolutoin": 32})


def test_the_resolution_is_that_of_the_study_unless_said():
    entry = {"name": "a", "family": "rae"}
    assert completed(entry, 64)["config"] == {"resolution": 64}
    assert completed({**entry, "config": {"resolution": 32}}, 64)["config"] == {"resolution": 32}
    own = {"name": "a", "family": "my_module:MyAutoencoder"}
    assert completed(own, 64) == own
    published = resolve_autoencoders(["vtp_s", "softvq-l-64"], REGISTRY)
    assert [completed(each, 256) for each in published] == published


# ------------------------------------------------------------------------------------ latent shapes


@pytest.mark.parametrize(
    "family, config",
    [
        ("diffusers-kl", {"resolution": 32, "patch": 4, "widths": [8, 16], "norm_groups": 4}),
        ("diffusers-kl", {"resolution": 64, "latent_channels": 3, "norm_groups": 4, "widths": [8]}),
        ("tokenizer-1d", {"resolution": 32, "width": 16, "depth": 1}),
        ("tokenizer-1d", {"resolution": 32, "width": 16, "depth": 1, "tokens": 5, "channels": 3}),
    ],
)
def test_the_shape_of_a_latent_follows_from_the_config(family, config):
    entry = completed({"name": "a", "family": family, "config": config}, 32)
    assert tuple(entry["latent_shape"]) == build_autoencoder(family, config).latent_shape


def test_the_shapes_of_published_ones_follow_too():
    pool = resolve_autoencoders(list(REGISTRY["autoencoders"]), REGISTRY)
    counted = 0
    for entry in pool:
        bare = {key: value for key, value in entry.items() if key != "latent_shape"}
        if entry["family"] in ("diffusers-kl", "ldm-kl"):
            assert completed(bare, 256)["latent_shape"] == entry["latent_shape"], entry["name"]
            counted += 1
    assert counted > 20


def test_another_shape_than_follows_is_refused():
    entry = {"name": "a", "family": "tokenizer-1d", "latent_shape": [16, 9]}
    with pytest.raises(ValueError, match=r"a.latent_shape: \[16, 9\] is given.* makes \[16, 8\]"):
        completed(entry, 32)


# ------------------------------------------------------------------------------- diffusers' folders


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=3,
        norm_num_groups=4,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.5,
        shift_factor=0.25,
        sample_size=999,
    ).eval()


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def change(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@torch.no_grad()
@pytest.mark.parametrize("name", ["", "diffusion_pytorch_model.safetensors"])
def test_a_folder_of_diffusers_is_enough(model, folder, name):
    entry = completed({"name": "a", "family": "diffusers-kl", "weights": str(folder / name)}, 32)
    assert entry["config"]["resolution"] == 32
    assert entry["latent_shape"] == [3, 16, 16]
    assert completed(entry, 32) == entry
    loaded = load_autoencoder(entry["family"], entry["weights"], entry["config"])
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    expected = model.encode(images).latent_dist.mean
    torch.testing.assert_close(loaded.encode(images), expected, rtol=1e-4, atol=1e-5)
    latents = torch.randn(2, 3, 16, 16)
    expected = model.decode(latents).sample
    torch.testing.assert_close(loaded.decode(latents), expected, rtol=1e-4, atol=1e-5)
    assert [part.unique().item() for part in loaded.normalization] == [0.25, 0.5]
    same = load_autoencoder("diffusers-kl", folder / name, {"resolution": 32})
    torch.testing.assert_close(same.decode(latents), loaded.decode(latents))


def test_a_folder_that_is_not_there_yet_is_not_guessed_at():
    entry = {"name": "a", "family": "diffusers-kl", "weights": "not there yet"}
    assert completed(entry, 256) == {**entry, "config": {"resolution": 256}}
    assert autoencoder_flops(completed(entry, 256)) is None
    sized = {**entry, "latent_shape": [4, 32, 32]}
    assert completed(sized, 256)["latent_shape"] == [4, 32, 32]
    spoken = {**entry, "config": {"widths": [8, 16]}}
    assert completed(spoken, 256)["latent_shape"] == [4, 128, 128]
    assert autoencoder_flops(completed(spoken, 256)) is not None


def test_what_a_folder_may_hold(folder):
    change(folder, of_a_later_diffusers=True)
    assert "of_a_later_diffusers" not in with_architecture("diffusers-kl", {}, folder)["official"]
    said = {"widths": [8]}
    assert with_architecture("diffusers-kl", said, folder) == said
    assert with_architecture("ldm-kl", {}, folder) == {}
    assert with_architecture("diffusers-kl", {}, folder.parent / "not there yet") == {}
    by_role = with_architecture("diffusers-kl", {}, {"autoencoder": str(folder)})
    assert by_role == with_architecture("diffusers-kl", {}, folder)
    change(folder, _class_name="AutoencoderDC")
    words = r"autoencoders.a.weights: .*config.json is of class AutoencoderDC; the family 'diffus"
    with pytest.raises(ValueError, match=words):
        completed({"name": "a", "family": "diffusers-kl", "weights": str(folder)}, 32)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is not valid JSON"):
        with_architecture("diffusers-kl", {}, folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="vae has no config.json, where the architecture of diffu"):
        with_architecture("diffusers-kl", {}, folder)
    file = folder / "diffusion_pytorch_model.safetensors"
    assert with_architecture("diffusers-kl", {}, file) == {}
    (folder / "config.json").write_text('{"model_type": "bert"}')  # somebody else's
    assert with_architecture("diffusers-kl", {}, file) == {}


def test_the_command_checks_a_folder(folder, capsys):
    words = ["autoencoders", "check", "diffusers-kl", "--weights", str(folder)]
    assert cli.main([*words, "--resolution", "64", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["latent_shape"] == [3, 32, 32]
    assert cli.main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["latent_shape"] == [3, 128, 128]
    (folder / "config.json").unlink()
    assert cli.main(words) == cli.WRONG
    assert "has no config.json" in capsys.readouterr().err
    assert cli.main(["autoencoders", "check", "ldm-kl"]) == cli.WRONG
    assert "'ldm-kl' needs 'official'" in capsys.readouterr().err


def test_a_name_stands_once_among_the_valid_ones(capsys):
    assert str(unknown("thing", "x", ["b", "a", "b"])).endswith("Valid: a, b")
    assert cli.main(["autoencoders", "check", "svgg"]) == cli.WRONG
    valid = capsys.readouterr().err.strip().partition("Valid: ")[2].split(", ")
    assert {"svg", "dmvae", "diffusers-kl", "vtp_s"} <= set(valid)
    assert len(valid) == len(set(valid))


# ------------------------------------------------------------------------------------------- tokens


def diffused(*entries, **block):
    return {"data": {"resolution": 256}, "diffusion": block, "autoencoders": list(entries)}


CLASS = {"name": "mine", "family": "my_module:MyAutoencoder"}
F8 = {"block_out_channels": [128, 256, 512, 512]}
MANY = {
    "a class": (
        {**CLASS, "latent_shape": [4, 32, 32]},
        r"autoencoders.mine: latent 4x32x32 gives 1,024 tokens at patch 1, .* have 256; "
        r"say patch_size: 2 \(256 tokens, as published f8 do\) or patch_size: 1$",
    ),
    "larger": (
        {**CLASS, "latent_shape": [4, 64, 64]},
        r"4,096 tokens at patch 1.* say patch_size: 4 \(256 tokens\) or patch_size: 1$",
    ),
    "by its architecture": (
        {"name": "mine", "family": "diffusers-kl", "config": {"official": F8}},
        "latent 4x32x32 gives 1,024 tokens",
    ),
    "of an unknown shape": (
        CLASS,
        "a diffusion model is trained on it .* Say patch_size .* or lat",
    ),
}


@pytest.mark.parametrize("case", MANY)
def test_many_tokens_are_nobodys_silent_choice(case):
    entry, words = MANY[case]
    with pytest.raises(ValueError, match=words):
        check_entries(diffused(entry))
    with pytest.raises(ValueError, match=words):
        check_entries(diffused(entry, autoencoders=["mine"]))
    for patch in (1, 2):
        check_entries(diffused({**entry, "patch_size": patch}))
    check_entries(diffused(entry, {**entry, "name": "other", "patch_size": 1}, autoencoders=[]))
    check_entries(diffused({**entry, "duplicate_of": "other"}))
    check_entries({**diffused(entry), "diffusion": {"autoencoders": ["other"]}})


@pytest.mark.parametrize("shape", [[32, 16, 16], [1024, 8], [4, 8, 8]])
def test_few_tokens_and_tokens_without_a_grid_need_no_word(shape):
    assert len(shape) == 2 or shape[1] * shape[2] <= MOST_TOKENS
    check_entries(diffused({**CLASS, "latent_shape": shape}))


# ------------------------------------------------------------------------------ config/compare.yaml


def test_the_comparison_is_on_the_papers_images_networks_and_metrics():
    ours, papers = (load_yaml(ROOT / "config" / name) for name in ("compare.yaml", "config.yaml"))
    for block in ("data", "networks", "metrics"):
        assert ours[block] == papers[block], block
    assert ours["protocols"]["scored"] == ["seesaw", "lightningdit"]
    assert ours["ifid"]["default"] == papers["ifid"]["default"]
    shown = re.search(r"```yaml\n(autoencoders:.*?)```", (ROOT / "README.md").read_text(), re.S)
    listed = yaml.safe_load(shown.group(1))["autoencoders"]
    there = copy.deepcopy(ours["autoencoders"])
    there[-1].pop("patch_size")
    assert listed == there


def test_its_commented_example_is_valid():
    text = (ROOT / "config/compare.yaml").read_text()
    before, start, example = text.partition("# diffusion:")
    config = yaml.safe_load(before + re.sub(r"^# ", "", start + example, flags=re.M))
    assert {"diffusion", "gfid"} <= set(config)
    config["report"]["items"] += ["generation", "figure1", "sample_grid"]
    check_config(resolved(config), SCHEMA)
    del config["autoencoders"][-1]["patch_size"]
    with pytest.raises(ValueError, match=r"mine-diffusers: a diffusion model is trained on it"):
        check_config(resolved(config), SCHEMA)
