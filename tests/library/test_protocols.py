"""Protocols: what their names mean, the study's own numbers among them, official numbers."""

import importlib
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seesaw.autoencoders.base import QUANTISATIONS, quantise, to_levels, to_uint8
from seesaw.conditions import extract_conditions
from seesaw.config import load_yaml, protocol
from seesaw.ifid import Variant, score_ifid
from seesaw.metrics import fidelity
from seesaw.metrics.fidelity import decibel
from seesaw.metrics.score import score_metric
from seesaw.neighbours.search import find_neighbours
from seesaw.neighbours.table import merge_neighbours
from seesaw.networks import check_images
from seesaw.networks.lpips_alex import LpipsAlexRandom
from seesaw.protocols import (
    AXES,
    LPIPS_NETWORKS,
    NETWORKS_OF,
    PROTOCOLS,
    READY_MADE,
    Protocol,
)
from seesaw.protocols.pixels import mean_squared_error, shifted, structural_similarity
from seesaw.protocols.score import NOT_SAMPLED, score_protocols
from seesaw.protocols.study import (
    check_protocols,
    crops_of,
    derived_splits,
    lpips_players,
    own_protocol,
    protocols_for,
    protocols_of,
    sweep_of,
    variant_players,
    with_derived_splits,
)
from seesaw.reconstruct import reconstruct_images
from seesaw.registry import CROPS, NETWORKS, NetworkEntry
from seesaw.results import Score, read_scores, write_scores
from seesaw.shards import Shards, ShardWriter

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "tests/reference"
sys.path.append(str(REFERENCE))
recipe = importlib.import_module("recipe")
OFFICIAL = json.loads((REFERENCE / "psnr_ssim.json").read_text())["cases"]
COUNT, SIDE = 40, 32
TWICE = 20 * np.log10(2)


# ---------------------------------------------------------------------------------- what names mean


def test_the_schema_has_the_same_values():
    schema = load_yaml(ROOT / "workflow/schemas/config.schema.yaml")
    item = schema["properties"]["protocols"]["properties"]["scored"]["items"]
    keys = item["properties"]
    assert {axis: keys[axis]["enum"] for axis in AXES} == {a: list(v) for a, v in AXES.items()}
    assert set(keys) - set(AXES) == {"name", "like", "reference"}
    assert set(AXES["crop"]) == set(CROPS)
    assert set(AXES["resize"]) == set(NETWORKS_OF)
    quantisation = schema["properties"]["reconstruct"]["properties"]["quantisation"]
    assert quantisation["enum"] == list(QUANTISATIONS)


def test_every_preset_has_a_source_and_networks_with_its_resize():
    for preset in PROTOCOLS.values():
        assert preset.source
        network = NETWORKS[NETWORKS_OF[preset.protocol.resize]]
        assert network.options["resize"] == preset.protocol.resize
    assert len({preset.protocol for preset in PROTOCOLS.values()}) == len(PROTOCOLS)


def test_a_value_that_an_axis_lacks():
    with pytest.raises(
        ValueError, match="unknown resize 'bilinear'. Did you mean 'torch-bilinear'"
    ):
        Protocol(resize="bilinear")


def test_quantisations_are_the_authors():
    y = torch.from_numpy(np.random.default_rng(0).normal(0.5, 0.4, 200_000).astype(np.float32))
    x = 2 * y - 1
    lightningdit = torch.clamp(127.5 * x + 128.0, 0, 255).to(torch.uint8)
    rae = y.clamp(0, 1).mul(255).to(torch.uint8)
    levels = to_levels(x)
    apart = (quantise(levels, "uint8-round") - lightningdit.float()).abs()
    assert apart.max() <= 1  # rounding of float32 at halves
    assert apart.mean() < 1e-4
    apart = (quantise(levels, "uint8-floor") - rae.float()).abs()
    assert apart.max() <= 1
    assert apart.mean() < 2 * 2**-10
    assert torch.equal(quantise(levels, "float"), levels)
    assert torch.equal(quantise(levels, "clipped"), levels.clamp(0, 255))
    with pytest.raises(ValueError, match="unknown quantisation 'uint8'"):
        quantise(levels, "uint8")


@pytest.mark.parametrize("quantisation", QUANTISATIONS)
def test_whole_levels_stay(quantisation):
    ramp = torch.arange(256).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1)
    found, _ = to_uint8(ramp.float() / 127.5 - 1, quantisation)
    assert torch.equal(found.long(), ramp)


# ------------------------------------------------------------------------------------ pixel metrics


def official_pictures(name):
    """The pictures behind ``psnr_ssim.json``, scale 0..255: as floats, as LightningDiT's uint8."""
    n, size = OFFICIAL[name]["count"], OFFICIAL[name]["size"]
    a, b = (recipe.pictures(f"psnr_ssim/{name}/{k}", n, size, size) / np.float32(255) for k in "ab")
    noise = recipe.generator(0, f"psnr_ssim/{name}/n").standard_normal((n, 3, size, size))
    mixed = np.float32(0.9) * a + np.float32(0.1) * b + np.float32(0.03) * noise.astype(np.float32)
    floats = [torch.from_numpy(255 * x) for x in (a, mixed)]
    return floats, [quantise(x, "uint8-round") for x in floats]


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_official_psnr_and_ssim(name):
    floats, quantised = official_pictures(name)
    found = {
        "psnr": decibel(mean_squared_error(*quantised).numpy()),
        "ssim_float": structural_similarity(*floats, "valid"),
        "ssim_padded": structural_similarity(*quantised, "reflect"),
    }
    for key, values in found.items():
        atol = OFFICIAL[name]["atol"][key]
        np.testing.assert_allclose(values, OFFICIAL[name][key], rtol=0, atol=atol, err_msg=key)


def test_ssim_is_that_of_the_study():
    rng = np.random.default_rng(1)
    a = rng.integers(0, 256, (3, 3, 40, 27), dtype=np.uint8)
    b = np.clip(a + rng.normal(0, 40, a.shape), 0, 255).astype(np.uint8)
    pixels = torch.from_numpy(a).double()
    found = structural_similarity(pixels, torch.from_numpy(b), "valid")
    assert torch.equal(pixels, torch.from_numpy(a).double())  # left as it was
    expected = [fidelity.structural_similarity(x, y) for x, y in zip(a, b)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, its window; got \\(40, 9\\)"):
        structural_similarity(torch.zeros(1, 3, 40, 9), torch.zeros(1, 3, 40, 9), "valid")


def test_the_shifted_range_is_what_zero_mean_makes_of_images_in_0_1():
    y = torch.rand(2, 3, 40, 40, dtype=torch.float64)
    np.testing.assert_allclose(shifted(255 * y), (y + 1) * 127.5, atol=1e-12)
    other = (y + 0.1 * torch.rand_like(y)).float()
    network = LpipsAlexRandom()
    expected = network.distance_of_signed(y.float(), other)  # [0, 1] where [-1, 1] is expected
    found = network.distance_pixels(shifted(255 * y.float()), shifted(255 * other))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    right = mean_squared_error(255 * y, 255 * other)
    gain = decibel(mean_squared_error(shifted(255 * y), shifted(255 * other)).numpy())
    np.testing.assert_allclose(gain - decibel(right.numpy()), TWICE, atol=1e-9)


# ---------------------------------------------------------------------------- one whole study, tiny


class Means:
    """A feature network: means of 8 x 8 pixels, and of their squares where ``resize`` says so."""

    def __init__(self, weights=None, device="cpu", *, resize="tf1", fits=10**6):
        self.meta, self.resize, self.fits = {}, resize, fits

    def extract(self, images):
        check_images(images)
        return self.extract_pixels(torch.from_numpy(np.array(images)).float())

    def extract_pixels(self, pixels):
        if len(pixels) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        pixels = pixels / 255
        if self.resize == "antialias":
            pixels = pixels.square()
        return {"features": torch.nn.functional.avg_pool2d(pixels, 8).flatten(1).numpy()}


class Blur(torch.nn.Module):
    """Latents are the image; decoding mixes it with its mean and adds ``levels`` of 255."""

    resolution, latent_shape, spatial = SIDE, (3, SIDE, SIDE), True

    def __init__(self, *, mix=0.0, levels=0.0, spread=0.0):
        super().__init__()
        self.mix, self.levels, self.spread = mix, levels, spread
        self.stochastic = spread > 0

    def encode(self, images, noise=None):
        return images if noise is None else images + self.spread * noise

    def decode(self, latents):
        mean = latents.mean((1, 2, 3), keepdim=True)
        return latents + self.mix * (mean - latents) + self.levels / 127.5


@pytest.fixture(autouse=True)
def means(monkeypatch):
    for name, options in {
        "means": {"resize": "tf1"},
        "square-means": {"resize": "antialias"},
        "large-means": {"resize": "tf1", "fits": 3},
    }.items():
        entry = NetworkEntry(
            target=f"{__name__}:Means", version="1", kind="features", label=name, options=options
        )
        monkeypatch.setitem(NETWORKS.entries, name, entry)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("protocols") / "val/manifest.json"
    pictures = recipe.pictures("test_protocols", COUNT, SIDE, SIDE)
    with ShardWriter(path, shard_size=15, meta={"split": "val"}) as out:
        out.add([f"i{n:02d}" for n in range(COUNT)], {"images": pictures})
    return path


def features_of(images, folder, network="means"):
    path = folder / network / "manifest.json"
    if not path.exists():
        extract_conditions(
            network=network, weights=None, images=images, output=path, batch_size=128, device="cpu"
        )
    return path


def own(name="seesaw", **axes):
    return replace(PROTOCOLS[name].protocol, crop=READY_MADE, resize="own", reference="val", **axes)


def score(images, folder, protocols, config, *, swept=None, batch=(7, 16), **changes):
    """Scores by (metric, variant), and the provenance."""
    networks = changes.pop("networks", {"own": "means"})
    references = changes.pop("references", None) or {
        (network, "val"): features_of(images, folder, network) for network in networks.values()
    }
    score_protocols(
        autoencoder="ae",
        family=f"{__name__}:Blur",
        config=config,
        weights=None,
        images=images,
        protocols=protocols,
        swept=swept or {},
        networks=networks,
        network_weights=None,
        references=references,
        perceptual=changes.pop("perceptual", {"alex": ("lpips-alex-random", None)}),
        output=folder / "scores.json",
        batch_size=batch[0],
        feature_batch_size=batch[1],
        protocol={"resolution": SIDE, "evaluation": "val"},
        seed=0,
        device="cpu",
        provenance={"made": "here"},
        **changes,
    )
    _, scores, provenance = read_scores(folder / "scores.json")
    found = {(score.metric, score.variant): score for score in scores}
    assert len(found) == len(scores)
    return found, provenance


def values(found):
    return {key: score.value for key, score in found.items()}


@pytest.mark.parametrize("quantisation", QUANTISATIONS)
@pytest.mark.parametrize("posterior", ["mean", "sample"])
def test_the_runs_own_protocol_repeats_its_numbers(images, tmp_path, posterior, quantisation):
    config = {"mix": 0.2, "spread": 0.1}
    made = tmp_path / "ae/manifest.json"
    reconstruct_images(
        family=f"{__name__}:Blur", config=config, weights=None, images=images, output=made,
        batch_size=7, shard_size=15, posterior=posterior, seed=0, device="cpu",
        quantisation=quantisation,
    )  # fmt: skip
    assert Shards(made).meta["quantisation"] == quantisation
    protocol = own(posterior=posterior, quantisation=quantisation)
    found, _ = score(images, tmp_path, {"mine": protocol}, config)
    for metric, network in (
        ("psnr", None), ("ssim", None), ("lpips", "lpips-alex-random"), ("rfid", "means"),
    ):  # fmt: skip
        reads = [images, made]
        if metric == "rfid":
            reads = [features_of(path, path.parent) for path in reads]
        score_metric(
            metric=metric, autoencoder="ae", reference=reads[0], source=reads[1], network=network,
            weights=None, protocol={}, seed=0, batch_size=16, device="cpu",
            output_scores=tmp_path / "m.json", output_images=tmp_path / "m.parquet",
            provenance_extra={},
        )  # fmt: skip
        plain = next(s for s in read_scores(tmp_path / "m.json")[1] if s.variant == "")
        mine = found[metric, "mine"]
        assert mine.value == pytest.approx(plain.value, rel=1e-7, abs=1e-9), metric
        same = ("n", "unit", "higher_is_better", "metric_version", "network", "note")
        assert [getattr(mine, k) for k in same] == [getattr(plain, k) for k in same]


def test_ifid_without_strength_is_rfid_of_the_same_rounding(images, tmp_path):
    model = {"family": f"{__name__}:Blur", "config": {"mix": 0.3}, "weights": None}
    model |= {"posterior": "mean", "seed": 0, "device": "cpu"}
    made, part = tmp_path / "ae/manifest.json", tmp_path / "part.parquet"
    reconstruct_images(
        **model, images=images, output=made, batch_size=7, shard_size=15,
        quantisation="uint8-floor",
    )  # fmt: skip
    find_neighbours(
        **model, reconstructions=made, references=images, output=part, part=0, parts=1, k=1,
        batch_size=16, exclude_self=True, distances=["cosine"], sizes=["all"],
    )  # fmt: skip
    merge_neighbours(parts=[part], output=tmp_path / "neighbours.parquet", k=1)
    score_ifid(
        **model, autoencoder="ae", images=images, reconstructions=made, references=images,
        neighbours=tmp_path / "neighbours.parquet", network="means", network_weights=None,
        features=features_of(images, tmp_path), variants=[],
        default=Variant(interpolation="slerp", alpha=0.0, k=1, references="all"),
        output_scores=tmp_path / "ifid.json", output_examples=tmp_path / "examples.safetensors",
        decode_batch_size=7, feature_batch_size=16, protocol={}, reference="val", version="1",
        provenance={}, quantisation="uint8-floor",
    )  # fmt: skip
    ifid = next(s.value for s in read_scores(tmp_path / "ifid.json")[1] if s.variant == "")
    protocols = {q: own(quantisation=q) for q in QUANTISATIONS}
    found, _ = score(images, tmp_path, protocols, model["config"])
    assert ifid == pytest.approx(found["rfid", "uint8-floor"].value, rel=1e-9)
    assert ifid != pytest.approx(found["rfid", "uint8-round"].value, rel=1e-4)


def test_the_identity_has_rfid_0_whatever_the_rounding(images, tmp_path):
    swept = {
        (p := own(quantisation=q, posterior=posterior)).sweep_variant: p
        for q in AXES["quantisation"]
        for posterior in AXES["posterior"]
    }
    protocols = {name: own(name) for name in PROTOCOLS}
    found, _ = score(images, tmp_path, protocols, {}, swept=swept)
    assert len(found) == 4 * len(PROTOCOLS) + 3  # of a deterministic encoder, mean is sample
    for (metric, variant), one in found.items():
        if metric == "rfid":
            assert one.value == pytest.approx(0, abs=1e-9), variant
            assert one.protocol["posterior"] == "deterministic"
        elif metric == "lpips" and one.protocol["lpips"] == "vgg":
            assert one.value is None
            assert one.n == 0
            assert one.note == "not measured: no network plays the LPIPS of vgg"
        else:
            assert one.value == pytest.approx(
                {"psnr": 100, "ssim": 1, "lpips": 0}[metric], abs=1e-5
            )


def test_a_protocol_that_samples_says_where_nothing_was_sampled(images, tmp_path):
    protocols = {name: own(name) for name in ("seesaw", "lightningdit")}
    swept = {p.sweep_variant: p for p in (own(posterior="sample"),)}
    plain, _ = score(images, tmp_path, protocols, {"mix": 0.1}, swept=swept)
    said = {key for key, one in plain.items() if NOT_SAMPLED in one.note}
    assert said == {(metric, "lightningdit") for metric in ("rfid", "psnr", "ssim")}
    assert plain["rfid", "lightningdit"].note.startswith(plain["rfid", "seesaw"].note)
    sampled, _ = score(images, tmp_path, protocols, {"mix": 0.1, "spread": 0.1}, swept=swept)
    assert not any(NOT_SAMPLED in one.note for one in sampled.values())
    assert plain["rfid", "lightningdit"].value != sampled["rfid", "lightningdit"].value


def test_half_a_level_more_in_closed_form(images, tmp_path):
    protocols = {q: own(quantisation=q) for q in AXES["quantisation"]}
    found, _ = score(images, tmp_path, protocols, {"levels": 0.75})
    # float: every value 0.75 higher; round: 1 higher but where 255 is full; floor: no change
    assert found["psnr", "float"].value == pytest.approx(20 * np.log10(255 / 0.75), abs=1e-3)
    full = np.array([(image == 255).mean() for image in Shards(images).load("images")])
    expected = -10 * np.log10((1 - full) / 255**2)
    assert found["psnr", "uint8-round"].value == pytest.approx(expected.mean(), abs=1e-9)
    assert found["psnr", "uint8-floor"].value == 100
    assert found["rfid", "uint8-floor"].value == pytest.approx(0, abs=1e-9)
    # the means of all features move by 0.75 levels and nothing else does
    assert found["rfid", "float"].value == pytest.approx(48 * (0.75 / 255) ** 2, rel=1e-3)


def test_as_published_is_6_decibels_higher_and_has_the_same_rfid(images, tmp_path):
    protocols = {name: own(name) for name in ("ifid", "ifid-as-published")}
    found, _ = score(images, tmp_path, protocols, {"mix": 0.3, "spread": 0.2})
    gain = found["psnr", "ifid-as-published"].value - found["psnr", "ifid"].value
    assert gain == pytest.approx(TWICE, abs=1e-6)
    assert found["rfid", "ifid-as-published"].value == found["rfid", "ifid"].value
    assert found["ssim", "ifid-as-published"].value > found["ssim", "ifid"].value + 0.01
    assert found["lpips", "ifid-as-published"].value != found["lpips", "ifid"].value
    expected = {**asdict(protocols["ifid"]), "resolution": SIDE, "evaluation": "val"}
    assert found["ssim", "ifid"].protocol == expected
    assert found["rfid", "ifid"].network == "means"


def test_of_mean_mse_and_clipped_floats(images, tmp_path):
    protocols = {
        "plain": own(), "of-mean": own(psnr="of-mean-mse"), "float": own(quantisation="float"),
        "apart": own(similarity="float"), "reflect": own(ssim="reflect"),
    }  # fmt: skip
    found, _ = score(images, tmp_path, protocols, {"mix": -0.4})
    a, b = (torch.from_numpy(x) for x in (Shards(images).load("images"),) * 2)
    levels = to_levels(Blur(mix=-0.4).decode(b.float() / 127.5 - 1))
    errors = mean_squared_error(a, quantise(levels, "uint8-round")).numpy()
    assert found["psnr", "of-mean"].value == pytest.approx(float(decibel(errors.mean())), abs=1e-9)
    assert found["psnr", "of-mean"].value < found["psnr", "plain"].value
    assert found["psnr", "apart"].value == found["psnr", "plain"].value
    expected = structural_similarity(a, levels.clamp(0, 255), "valid").mean().item()
    assert found["ssim", "apart"].value == pytest.approx(expected, abs=1e-9)
    assert found["ssim", "apart"].value != found["ssim", "float"].value
    assert found["lpips", "apart"].value == found["lpips", "float"].value
    assert found["ssim", "reflect"].value != found["ssim", "plain"].value


def test_neither_batches_nor_memory_change_a_number(images, tmp_path):
    config = {"mix": 0.2, "spread": 0.1}
    protocols = {name: own(name) for name in ("seesaw", "ifid")}
    found, provenance = score(images, tmp_path, protocols, config)
    assert provenance == {"made": "here"}
    other, _ = score(images, tmp_path, protocols, config, batch=(40, 5))
    small, provenance = score(
        images, tmp_path, protocols, config, networks={"own": "large-means"},
        references={("large-means", "val"): features_of(images, tmp_path)},
    )  # fmt: skip
    assert provenance["fitted_batch_size"] == {"large-means": 2}
    for key, value in values(found).items():
        assert values(other)[key] == pytest.approx(value, rel=1e-9), key
        assert values(small)[key] == pytest.approx(value, rel=1e-9), key


def test_each_protocol_has_its_network_and_reference(images, tmp_path):
    path = tmp_path / "moments.npz"
    rows = Shards(features_of(images, tmp_path)).load("features").astype(np.float64)
    np.savez(path, mu=rows.mean(0) + 1, sigma=np.cov(rows, rowvar=False))
    networks = {"tf1": "means", "antialias": "square-means"}
    references = {(n, "val"): features_of(images, tmp_path, n) for n in networks.values()}
    protocols = {r: replace(own(), resize=r) for r in networks}
    protocols["file"] = replace(own(), resize="tf1", reference="file")
    found, _ = score(
        images, tmp_path, protocols, {"mix": 0.1}, networks=networks,
        references={**references, ("means", "file"): path},
    )  # fmt: skip
    assert found["rfid", "antialias"].network == "square-means"
    assert found["rfid", "antialias"].value != found["rfid", "tf1"].value
    # blurring moves no mean here, so the file's, 1 higher each, add 1 per feature
    moved = found["rfid", "file"].value - found["rfid", "tf1"].value
    assert moved == pytest.approx(48, rel=1e-2)
    assert "moments from a file" in found["rfid", "file"].note
    assert found["psnr", "file"].value == found["psnr", "tf1"].value


def test_a_reference_of_other_images_is_refused(images, tmp_path):
    other = tmp_path / "other/manifest.json"
    with ShardWriter(other, shard_size=15, meta={}) as out:
        out.add([f"j{n}" for n in range(9)], {"features": np.zeros((9, 48), np.float32)})
    with pytest.raises(ValueError, match="hold different images"):
        score(images, tmp_path, {"a": own()}, {}, references={("means", "val"): other})


def test_a_score_says_how_its_network_works(tmp_path):
    one = Score(
        metric="rfid", value=1.0, n=2, unit="1", higher_is_better=False, metric_version="1",
        network="square-means", protocol={"crop": "adm"},
    )  # fmt: skip
    write_scores(tmp_path / "s.json", autoencoder="ae", scores=[one], provenance={})
    found = read_scores(tmp_path / "s.json")[1][0].protocol
    assert found == {"crop": "adm", "network.resize": "antialias"}


def test_a_networks_option_does_not_hide_behind_a_choice_of_the_data(tmp_path):
    one = Score(
        metric="dino", value=1.0, n=2, unit="1", higher_is_better=True, metric_version="1",
        network="dinov2_vitb14-crop", protocol={"crop": "resize-center-crop", "resolution": 256},
    )  # fmt: skip
    write_scores(tmp_path / "s.json", autoencoder="ae", scores=[one], provenance={})
    found = read_scores(tmp_path / "s.json")[1][0].protocol
    assert found["network.crop"] == "official"
    assert found["crop"] == "resize-center-crop"


# --------------------------------------------------------------------------- what a config asks for


def study(**block):
    """A config on folders of images, as far as protocols read it."""
    return {
        "data": {
            "resolution": 256,
            "crop": "resize-center-crop",
            "evaluation": "val",
            "splits": {
                "val": {"source": "folder", "path": "a"},
                "train": {"source": "folder", "path": "b", "crop": "adm"},
            },
        },
        "networks": {
            "inception": {"network": "inception", "weights": "w.pth"},
            "lpips": {"network": "lpips-alex", "weights": "l.pth"},
        },
        "reconstruct": {"posterior": "mean"},
        "autoencoders": [{"name": "one"}, {"name": "two"}],
        "gfid": {"references": ["val", {"name": "adm-train", "weights": "m.npz"}]},
        "protocols": {"scored": list(PROTOCOLS), "sweep": ["one"], **block},
    }


def test_presets_apply_to_a_config():
    config = study()
    found = protocols_of(config)
    assert found["seesaw"] == own_protocol(config) == replace(Protocol(), reference="val")
    assert crops_of(config) == ["resize-center-crop", "adm"]
    assert derived_splits(config) == {"val-adm": {"source": "folder", "path": "a", "crop": "adm"}}
    assert derived_splits(with_derived_splits(config)) == {}
    assert list(protocols_for(config, "two", "adm")) == ["rae"]
    assert lpips_players(config) == {"alex": "lpips-alex"}
    assert variant_players(config) == {
        name: {"network": name, "weights": "w.pth"}
        for name in ("inception-bilinear", "inception-antialias", "inception-clean")
    }
    assert list(variant_players(study(sweep=[]))) == ["inception-bilinear"]
    assert protocol(config)["crop"] == "resize-center-crop"


ALEX, VGG = ({"network": f"lpips-{net}", "weights": f"{net}.pth"} for net in ("alex", "vgg"))
STAND_IN = {"network": "lpips-alex-random"}


@pytest.mark.parametrize(
    "players, expected",
    [
        ({"lpips": VGG}, {"vgg": "lpips-vgg"}),
        ({"lpips-vgg": VGG}, {"vgg": "lpips-vgg"}),
        ({"lpips-vgg": ALEX}, {"alex": "lpips-alex"}),
        ({"lpips": VGG, "lpips-vgg": ALEX}, {"vgg": "lpips-vgg", "alex": "lpips-alex"}),
        ({"lpips": STAND_IN, "lpips-vgg": VGG}, {"alex": "lpips-alex-random", "vgg": "lpips-vgg"}),
        ({"lpips": VGG, "lpips-vgg": VGG}, {"vgg": "lpips-vgg"}),
        ({}, {}),
    ],
)
def test_an_lpips_network_is_what_it_is_whatever_its_role(players, expected):
    config = study()
    config["networks"] = {"inception": config["networks"]["inception"], **players}
    assert lpips_players(config) == expected
    check_protocols(config)


def test_two_networks_that_are_the_same_lpips_are_refused():
    config = study()
    config["networks"]["lpips-vgg"] = STAND_IN
    with pytest.raises(ValueError, match="random' is LPIPS with alex, and so is 'lpips-alex'"):
        check_protocols(config)


def test_every_perceptual_network_is_one_lpips():
    known = [name for names in LPIPS_NETWORKS.values() for name in names]
    assert sorted(known) == sorted(n for n in NETWORKS if NETWORKS[n].kind == "perceptual")
    assert set(LPIPS_NETWORKS) == set(AXES["lpips"])


def test_the_sweep_is_a_product():
    config = study()
    swept = sweep_of(config)
    assert len(swept) == len(set(swept)) == 2 * 3 * 4 * 2 * 2
    assert {p.reference for p in swept} == {"val", "adm-train"}
    assert len(protocols_for(config, "one", "adm")) == 1 + len(swept) // 2
    assert "sweep adm uint8-floor clean sample ref=val" in protocols_for(config, "one", "adm")
    mine = {"name": "mine", "like": "rae", "reference": "train"}
    more = sweep_of(study(scored=["seesaw", mine]))
    # features of train are asked for by one crop and resize only
    assert {(p.crop, p.resize) for p in more if p.reference == "train"} == {("adm", "tf1")}
    assert derived_splits(study(scored=["seesaw", mine])) == derived_splits(config)


def test_a_config_that_measures_by_another_resize():
    config = study(scored=["seesaw"], sweep=[])
    config["networks"]["inception"]["network"] = "inception-clean"
    assert own_protocol(config).resize == "clean"
    assert list(variant_players(config)) == ["inception"]


def test_the_mini_world_has_neither_crops_nor_resizes():
    config = study()
    config["data"]["splits"] = {s: {"source": "mini", "count": 9} for s in ("val", "train")}
    config["networks"]["inception"] = {"network": "mini-inception"}
    found = protocols_of(config)
    assert {p.crop for p in found.values()} == {READY_MADE}
    assert {p.resize for p in found.values()} == {"own"}
    assert derived_splits(config) == variant_players(config) == {}
    assert crops_of(config) == [READY_MADE]
    assert len(sweep_of(config)) == 3 * 2 * 2
    assert found["seesaw"] == own_protocol(config)
