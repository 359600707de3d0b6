"""The registry of published autoencoders: strict, whole, and resolved into entries of a pool."""

import copy
import inspect
import logging
import re
import types

import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoencoderKL, AutoencoderKLCogVideoX, AutoencoderKLQwenImage
from safetensors.torch import save_file

from seesaw.autoencoder_page import autoencoders_page
from seesaw.autoencoders import Autoencoder, load_autoencoder
from seesaw.catalogue import (
    ROOT,
    SCHEMA,
    check_registry,
    list_autoencoders,
    read_registry,
    short_licence,
    show_autoencoder,
)
from seesaw.config import load_yaml
from seesaw.config_checks import check_config
from seesaw.control.frozen import FrozenModel
from seesaw.files import sha256_of
from seesaw.published_autoencoders import (
    WEIGHT_ROLES,
    published_autoencoder,
    published_names,
    resolve_autoencoder,
    resolve_autoencoders,
)

REGISTRY = read_registry()
RULES = load_yaml(ROOT / SCHEMA)
ENTRIES, ARCHITECTURES = REGISTRY["autoencoders"], REGISTRY["architectures"]
FOUND = [name for name, entry in ENTRIES.items() if entry["files"]]


def changed(path, value):
    """The registry with one value replaced, or added."""
    registry = copy.deepcopy(REGISTRY)
    node = registry
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return registry


A, E = "architectures", "autoencoders"
MISTAKES = {
    "key of an entry": (
        [E, "vtp_s", "licens"],
        "MIT",
        r"yaml, autoencoders.vtp_s: unknown key 'licens'. Did you mean 'licence'\?",
    ),
    "section": (["autoencoder"], {}, r"top level: unknown key 'autoencoder'. Did you mean 'auto"),
    "family": (
        [A, "ltx", "family"],
        "ltx-lk",
        r"architectures.ltx: unknown family 'ltx-lk'. Did you mean 'ltx-kl'\?",
    ),
    "architecture": (
        [E, "dmvae", "architecture"],
        "dm-vae",
        r"autoencoders.dmvae: unknown architecture 'dm-vae'. Did you mean 'dmvae'\?",
    ),
    "role": (
        [E, "dmvae", "files", "statistics"],
        {"repo": "a/b", "file": "c.pt", "status": "seen"},
        r"autoencoders.dmvae.files: unknown key 'statistics'. Did you mean 'stats'\?",
    ),
    "no main file": (
        [E, "dmvae", "files"],
        {"encoder": {"repo": "a/b", "file": "c.pt", "status": "seen"}},
        "there must be a file 'autoencoder', or files 'encoder' and 'decoder', not optional",
    ),
    "container": (
        [E, "vtp_s", "container"],
        "lightning",
        "a file of the container 'lightning' ends in .ckpt, not like 'model.safetensors'",
    ),
    "status": ([E, "vtp_s", "files", "stats", "status"], "sure", "'sure' is not one of"),
    "hash": ([E, "vtp_s", "files", "stats", "sha256"], "abc", "'abc' does not match"),
    "two places": (
        [E, "vtp_s", "files", "stats", "repo"],
        "a/b",
        r"autoencoders.vtp_s.files.stats: .* is not valid under any of the given schemas",
    ),
    "numbers without a source": (
        [E, "dmvae", "published"],
        {"rfid": 0.5},
        "'source' is a dependency of 'rfid'",
    ),
    "constants": (
        [E, "qwenimage-vae", "normalization", "mean"],
        [0.0] * 4,
        "autoencoders.qwenimage-vae.normalization.mean: 4 numbers for 16 channels",
    ),
    "unknown original": (
        [E, "fluxae", "duplicate_of"],
        "fluxvae",
        r"fluxae.duplicate_of: unknown autoencoder 'fluxvae'. Did you mean 'flux-vae'\?",
    ),
    "its own original": (
        [E, "fluxae", "duplicate_of"],
        "fluxae",
        "'fluxae' is this entry or a duplicate itself",
    ),
    "copy of a copy": (
        [E, "e2e-invae", "duplicate_of"],
        "e2e-vavae-hf",
        "'e2e-vavae-hf' is this entry or a duplicate itself",
    ),
    "weights that nobody found": (
        [E, "e2e-vae", "architecture"],
        "ldm_f16d32",
        "it has an architecture but no files",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_words(mistake):
    path, value, words = MISTAKES[mistake]
    with pytest.raises(ValueError, match=words) as caught:
        check_registry(changed(path, value), RULES)
    assert str(caught.value).startswith("config/autoencoders.yaml, ")


@pytest.mark.parametrize("key", ["architecture", "patch_size", "container"])
def test_an_entry_with_files_says_what_they_are(key):
    registry = copy.deepcopy(REGISTRY)
    del registry["autoencoders"]["dmvae"][key]
    with pytest.raises(ValueError, match=f"an entry with files needs the key '{key}'"):
        check_registry(registry, RULES)


def test_a_registry_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="does not exist: the list of published autoencoders is"):
        read_registry(tmp_path)


def described(node, path=""):
    for key, value in node.get("properties", {}).items():
        yield f"{path}.{key}", "description" in value or "enum" in value
        yield from described(value, f"{path}.{key}")
        for inner in ("items", "additionalProperties"):
            if isinstance(value.get(inner), dict):
                yield from described(value[inner], f"{path}.{key}")


def test_every_key_is_described():
    found = dict(described(RULES)) | dict(described(RULES["$defs"]["file"], "file"))
    assert len(found) > 40
    assert [key for key, has in found.items() if not has and key != "file.status"] == []


# ------------------------------------------------------------------------------------ its contents


def test_published_constants_are_those_of_diffusers():
    def default(cls, name):
        return inspect.signature(cls.__init__).parameters[name].default

    def constants(name):
        return published_autoencoder(name)["config"]["normalization"]

    qwen = constants("qwenimage-vae")
    assert qwen["mean"] == list(default(AutoencoderKLQwenImage, "latents_mean"))
    deviations = np.float64(default(AutoencoderKLQwenImage, "latents_std"))
    np.testing.assert_allclose(1 / np.float64(qwen["scale"]), deviations, rtol=1e-6)
    assert constants("cogvideox-ae")["scale"] == default(AutoencoderKLCogVideoX, "scaling_factor")
    for name in ("sd-vae-ft-mse", "eq-vae", "eq-vae-ema"):
        assert constants(name) == {"mean": 0, "scale": default(AutoencoderKL, "scaling_factor")}
    assert constants("flux-vae") == constants("fluxae") == {"mean": 0.1159, "scale": 0.3611}
    assert constants("sd3.5-vae") == {"mean": 0.0609, "scale": 1.5305}
    assert constants("dmvae") == {"mean": 0.0685, "scale": 0.1763}


def test_one_place_is_one_file():
    places = {}
    for name in FOUND:
        for file in resolve_autoencoder(name, REGISTRY)["files"].values():
            source = {k: file.get(k) for k in ("repo", "file", "revision", "url")}
            assert places.setdefault(file["path"], source) == source
            assert file["path"].startswith(f"weights/{file.get('repo', '')}")
            assert file["licence"]
    shared = {"ae.safetensors": 2, "4057cbaa.pth": 4, "dist.pt": 3, "stats.pkl": 2}
    files = sum(len(ENTRIES[name]["files"]) for name in FOUND)
    assert len(places) == files - sum(count - 1 for count in shared.values())


def test_gated_files_say_where_to_accept():
    gated = {
        (name, role)
        for name in FOUND
        for role, file in resolve_autoencoder(name, REGISTRY)["files"].items()
        if "gated" in file
    }
    svg = {(name, "encoder") for name in FOUND if name.startswith("svg")}
    others = {("flux-vae", "autoencoder"), ("fluxae", "autoencoder"), ("sd3.5-vae", "config")}
    assert gated == svg | others | {("sd3.5-vae", "autoencoder")}


def test_no_architecture_is_there_for_nothing():
    used = {entry.get("architecture") for entry in ENTRIES.values()} - {None}
    assert used == set(ARCHITECTURES)


# -------------------------------------------------------------------------------------- resolution


def test_one_file_is_a_path_and_several_are_a_mapping():
    one = resolve_autoencoder("vavae_f16d32", REGISTRY)
    folder = "weights/hustvl/vavae-imagenet256-f16d32-dinov2"
    assert one["weights"] == f"{folder}/vavae-imagenet256-f16d32-dinov2.pt"
    assert one["files"]["stats"]["path"] == f"{folder}/latents_stats.pt"
    assert one["source"].endswith("/blob/main/vavae-imagenet256-f16d32-dinov2.pt")
    assert one["confidence"].startswith("seen: ")
    several = resolve_autoencoder("rae_dinov2_reconstruction", REGISTRY)
    assert list(several["weights"]) == ["encoder", "decoder", "stats"]
    assert several["config"]["latents"] == "normalized"
    assert several["source"].endswith("ViTXL_n08/model.pt")


def test_optional_files_come_only_with_normalized_latents():
    registry = changed(["autoencoders", "vtp_s", "options", "latents"], "normalized")
    weights = resolve_autoencoder("vtp_s", registry)["weights"]
    assert weights["stats"] == (
        "weights/raw.githubusercontent.com/MiniMax-AI/VTP/main/generation/latent_stats/vtp_s/"
        "latents_stats.pt"
    )
    assert weights["autoencoder"] == resolve_autoencoder("vtp_s", REGISTRY)["weights"]
    for name in FOUND:
        found = resolve_autoencoder(name, registry)["weights"]
        assert isinstance(found, str) or set(found) <= set(WEIGHT_ROLES)


def test_options_and_constants_go_into_the_config():
    dmvae = published_autoencoder("dmvae")["config"]
    assert (dmvae["ema"], dmvae["latents"]) == (True, "raw")
    assert published_autoencoder("uae-stage2")["config"]["ema"] is False
    registry = changed(["autoencoders", "vtp_s", "config"], {"depth": 3, "channels": 8})
    config = resolve_autoencoder("vtp_s", registry)["config"]
    assert config == {"width": 384, "depth": 3, "channels": 8, "latents": "raw"}


def test_what_a_name_stands_for():
    assert set(published_names()) == {*ENTRIES, *ARCHITECTURES}
    assert published_autoencoder("vtp_b")["family"] == "vtp"
    assert published_autoencoder("ldm_f8d4")["config"]["official"]["latent_channels"] == 4
    assert published_autoencoder("never-heard-of") is None
    for name in FOUND:
        resolved = resolve_autoencoder(name, REGISTRY)
        assert published_autoencoder(name) == {k: resolved[k] for k in ("family", "config")}
    with pytest.raises(ValueError, match="'e2e-vae' cannot be built: no public weights found"):
        load_autoencoder("e2e-vae")


def test_weights_that_nobody_found_never_break_a_run(caplog):
    with caplog.at_level(logging.WARNING):
        pool = resolve_autoencoders(["sdvae", "e2e-vae", "vtp_s"], REGISTRY)
    assert [entry["name"] for entry in pool] == ["sdvae", "vtp_s"]
    assert "autoencoder 'e2e-vae' is left out: no public weights found" in caplog.text


def test_a_copy_counts_itself_without_its_original():
    both = resolve_autoencoders(["flux-vae", "fluxae"], REGISTRY)
    assert both[1]["duplicate_of"] == "flux-vae"
    (alone,) = resolve_autoencoders(["fluxae"], REGISTRY)
    assert "duplicate_of" not in alone


def test_a_published_one_with_other_options_or_weights():
    half, own, raw = resolve_autoencoders(
        [
            {"name": "half", "like": "vavae_f16d32", "config": {"dtype": "bfloat16"}},
            {"name": "own", "like": "vavae_f16d32", "weights": "my.pt"},
            {"name": "raw", "like": "rae_dinov2_reconstruction", "config": {"latents": "raw"}},
        ],
        REGISTRY,
    )
    plain = resolve_autoencoder("vavae_f16d32", REGISTRY)
    assert half["config"] == {**plain["config"], "dtype": "bfloat16"}
    assert (half["name"], half["weights"]) == ("half", plain["weights"])
    assert own["weights"] == "my.pt"
    assert not {"files", "source", "published"} & set(own)
    assert raw["config"]["latents"] == "raw"
    normal = {"name": "n", "like": "vavae_f16d32", "config": {"latents": "normalized"}}
    assert set(resolve_autoencoders([normal], REGISTRY)[0]["weights"]) == {"autoencoder", "stats"}
    for name, words in (("vavae", "Did you mean 'vavae'"), ("e2e-vae", "no public weights found")):
        item = {"name": "x", "like": "vavaee" if name == "vavae" else name}
        with pytest.raises(ValueError, match=f"config, autoencoders.x, like: .*{words}"):
            resolve_autoencoders([item], REGISTRY)


def test_a_config_may_give_weights_by_role():
    schema = load_yaml(ROOT / "workflow/schemas/config.schema.yaml")
    config = load_yaml(ROOT / "config/config.yaml")
    own = {"name": "own", "family": "vtp", "weights": {"autoencoder": "a.pt", "stats": "b.pt"}}
    own["config"] = {"width": 384, "depth": 12}
    for block in ("control", "diffusion", "gfid", "probes", "protocols"):
        config.pop(block)
    check_config({**config, "autoencoders": [own]}, schema)
    wrong = {**own, "weights": {"autoencodr": "a.pt"}}
    with pytest.raises(ValueError, match="own: unknown role 'autoencodr'. Did you mean 'autoenc"):
        check_config({**config, "autoencoders": [wrong]}, schema)
    train = {"objective": "reconstruction", "steps": 1, "init": "own"}
    tuned = {"name": "tuned", "family": "diffusers-kl", "train": train}
    with pytest.raises(ValueError, match="'init' is 'own', whose weights lie in several files"):
        check_config({**config, "autoencoders": [own, tuned]}, schema)


def test_the_hash_of_files_by_role(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("one")
    b.write_text("two")
    found = sha256_of({"encoder": a, "decoder": b})
    assert found == sha256_of({"decoder": str(b), "encoder": str(a)})
    assert found != sha256_of({"encoder": b, "decoder": a})
    assert len(found) == len(sha256_of(a)) == 64
    b.write_text("three")
    assert found != sha256_of({"encoder": a, "decoder": b})


def test_a_published_backbone_wants_raw_latents():
    def same(x):
        return x

    def check(name, **attributes):
        backbone = types.SimpleNamespace(latent_shape=(2, 4, 4))
        model = FrozenModel(name, backbone, None, normalise=same, denormalise=same, shift_time=same)
        model.check_fit(types.SimpleNamespace(latent_shape=(2, 4, 4), **attributes))

    check("ditdh-xl", latents="raw")
    check("ditdh-xl")
    check("SiT-B", latents="normalized")
    with pytest.raises(ValueError, match="ditdh-xl normalises latents itself, .*latents: raw"):
        check("ditdh-xl", latents="normalized")


# --------------------------------------------------------------------------------- list and page


def test_the_list():
    rows = {row.name: row for row in list_autoencoders(REGISTRY)}
    assert list(rows) == list(ENTRIES)
    assert (rows["vtp_s"].latent, rows["vtp_s"].factor) == ("64x16x16", "f16")
    assert (rows["ltx-video-ae"].factor, rows["softvq-l-64"].factor) == ("f32", "1d")
    assert (rows["e2e-vae"].confidence, rows["e2e-vae"].weights) == ("not found", "none public")
    assert (rows["flux-vae"].gated, rows["svg"].gated, rows["vtp_s"].gated) == (
        "yes",
        "encoder",
        "",
    )
    assert rows["fluxae"].duplicate_of == "flux-vae"
    group = list_autoencoders(REGISTRY, group="vtp")
    assert [row.name for row in group] == ["vtp_s", "vtp_b", "vtp_l"]
    with pytest.raises(ValueError, match="unknown group 'VTPP'. Did you mean 'VTP'"):
        list_autoencoders(REGISTRY, group="VTPP")


def test_the_list_says_what_is_present(tmp_path):
    def state(name):
        (row,) = (r for r in list_autoencoders(REGISTRY, folder=tmp_path) if r.name == name)
        return row.weights

    name = "rae_dinov2_reconstruction"
    assert state(name) == state("vtp_s") == "absent"
    *first, last = resolve_autoencoder(name, REGISTRY)["weights"].values()
    for path in first:
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    assert state(name) == "in part"
    (tmp_path / last).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / last).touch()
    assert state(name) == "present"
    assert state("vtp_s") == "absent"
    shown = show_autoencoder(name, REGISTRY, folder=tmp_path)
    assert [file["present"] for file in shown["files"].values()] == [True] * 3
    assert shown["files"]["decoder"]["source"].startswith("https://huggingface.co/nyu-visionx/")


def test_licences_are_short_in_the_list():
    assert short_licence("MIT") == "MIT"
    assert short_licence("MIT (code); another") == "MIT*"
    assert short_licence("none stated; DINOv3 License") == "none stated*"


@pytest.fixture(scope="module")
def page():
    return autoencoders_page(REGISTRY, "note")


def test_the_page_shows_every_autoencoder(page):
    rows = dict(re.findall(r"^\| `([^`]+)`(.*)\|$", page, re.M))
    assert list(rows) == list(ENTRIES)
    assert rows["vavae_f16d32"].split("|")[5:8] == [" 0.43 / 0.28 ", " 24.48 ", " 8.57 "]
    assert rows["eq-vae"].split("|")[5:7] == [" / 0.82 ", " / 25.95 "]
    for name, entry in ENTRIES.items():
        part = page[page.index(f"### `{name}`\n") :].split("\n### ")[0]
        assert entry["confidence"]["note"] in part
        assert entry["licence"] in part
        assert all(trap in part for trap in entry.get("traps", []))
        assert all(file["status"] in part for file in entry["files"].values())
    assert "normalized latents: (z - 0.0609) * 1.5305" in page


def test_your_own_in_ten_lines(page, tmp_path, monkeypatch):
    """The page's own example: the code runs, loads strictly, and its config is valid."""
    code = re.search(r"```python\n(from torch import nn.*?)```", page, re.S).group(1)
    lines = [line for line in code.splitlines() if line and not line.startswith(("from", "class"))]
    assert len(lines) <= 10
    (tmp_path / "my_autoencoder.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    entry = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.S).group(1))["autoencoders"][0]
    config = load_yaml(ROOT / "config/config.yaml")
    for block in ("control", "diffusion", "gfid", "probes", "protocols"):
        config.pop(block)
    check_config(
        {**config, "autoencoders": [entry]}, load_yaml(ROOT / "workflow/schemas/config.schema.yaml")
    )
    torch.manual_seed(0)
    made = load_autoencoder(entry["family"])
    assert isinstance(made, Autoencoder)
    save_file(
        {key: value.contiguous() for key, value in made.state_dict().items()},
        tmp_path / "w.safetensors",
    )
    loaded = load_autoencoder(entry["family"], tmp_path / "w.safetensors")
    images = torch.rand(2, 3, 256, 256) * 2 - 1
    latents = loaded.encode(images)
    assert tuple(latents.shape) == (2, 4, 32, 32)
    torch.testing.assert_close(loaded.decode(latents), made.decode(made.encode(images)))
    save_file({"encoder.weight": torch.zeros(4, 3, 8, 8)}, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"3 missing:\s+encoder\.bias"):
        load_autoencoder(entry["family"], tmp_path / "w.safetensors")
