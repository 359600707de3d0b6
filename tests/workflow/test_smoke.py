"""What a complete run says, read from its files."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from seesaw.metrics.frechet import frechet_distance, statistics
from seesaw.shards import Shards

from .conftest import SMOKE

CONFIG = yaml.safe_load(SMOKE.read_text())
NAMES = [entry["name"] for entry in CONFIG["autoencoders"]]


@pytest.fixture(scope="module")
def scores(smoke):
    table = pd.read_csv(smoke / "tables/scores.csv", keep_default_na=False, na_values={"value": ""})
    return table.set_index(["autoencoder", "metric", "variant"])


def test_every_autoencoder_has_every_metric(scores):
    for name in NAMES:
        for metric in [*CONFIG["metrics"], "spatial", "ifid"]:
            row = scores.loc[(name, metric, "")]
            # so short a training may keep no face at all: then identity is undefined, n = 0
            assert row["n"] > 0 or metric == "identity"
            assert np.isfinite(row["value"]) == (row["n"] > 0)


def test_every_autoencoder_has_every_loss_or_a_reason(scores, smoke):
    table = pd.read_csv(smoke / "tables/diffusability_losses.csv").set_index("Autoencoder")
    for name in NAMES:
        for loss in CONFIG["diffusability"]["losses"]:
            row = scores.loc[(name, loss, "")]
            defined = name != "tok1d" or loss == "gmm-loss"
            assert row["n"] == (CONFIG["diffusability"]["images"] if defined else 0)
            assert np.isfinite(row["value"]) == defined
            assert row["note"] == ("" if defined else "undefined: 1-D tokens have no grid")
    assert table.loc["tok1d", "SE loss [L1]"] == "undefined"
    assert (
        float(table.loc["kl-f4c4", "SE loss [L1]"])
        == scores.loc[("kl-f4c4", "se-loss", ""), "value"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_ifid_at_alpha_0_is_rfid_to_the_last_digit(smoke, name):
    ifid = json.loads((smoke / "ifid" / name / "scores.json").read_text())["scores"]
    zero = next(score for score in ifid if " alpha=0 " in score["variant"])
    rfid = json.loads((smoke / "metrics" / name / "rfid.json").read_text())["scores"][0]
    assert zero["value"] == rfid["value"]
    half = next(score for score in ifid if score["variant"] == "")
    assert half["value"] > 0
    assert half["value"] != rfid["value"]


@pytest.mark.parametrize("name", NAMES)
def test_gfid_at_time_0_is_rfid_to_the_last_digit(smoke, name):
    times = json.loads((smoke / "gfid" / name / "SiT-Ti/times.json").read_text())["scores"]
    zero = next(score for score in times if score["variant"] == "SiT-Ti t=0")
    rfid = json.loads((smoke / "metrics" / name / "rfid.json").read_text())["scores"][0]
    assert zero["value"] == rfid["value"]
    noised = next(score for score in times if score["variant"] == "SiT-Ti t=0.4")
    assert 0 < noised["value"] != rfid["value"]


def test_gfid_from_the_features_on_disk(smoke, scores):
    name = NAMES[0]
    features = [
        Shards(smoke / f"conditions/{source}/mini-inception/manifest.json").load("features")
        for source in ("val", f"{name}@SiT-Ti@plain")
    ]
    plain = scores.loc[(name, "gfid", ""), "value"]
    assert frechet_distance(*map(statistics, features)) == plain
    assert scores.loc[(name, "gfid", "SiT-Ti plain ref=val"), "value"] == plain
    assert scores.loc[(name, "gfid", "SiT-Ti guided ref=val"), "value"] != plain


def test_every_autoencoder_has_scores_of_its_samples(scores):
    for name in NAMES:
        for metric in ("gfid", "gkid", "inception-score", "precision", "recall"):
            row = scores.loc[(name, metric, "")]
            assert row["n"] == CONFIG["data"]["splits"]["val"]["count"]
            assert row["network"] == "mini-inception"
        for metric in ("precision", "recall"):
            assert 0 <= scores.loc[(name, metric, ""), "value"] <= 1
        assert scores.loc[(name, "inception-score", ""), "value"] >= 1
        for variant in ("SiT-Ti", "SiT-Ti unshifted"):
            # 12 steps hardly move a model that starts at velocity zero: the loss is about 2
            assert 1 < scores.loc[(name, "diffusion-loss", variant), "value"] < 3


def test_samples_are_images_of_the_evaluation_ids(smoke):
    for name in NAMES:
        samples = Shards(smoke / f"diffusion/{name}/SiT-Ti/samples/plain/manifest.json")
        assert samples.ids == Shards(smoke / "data/val/manifest.json").ids
        assert samples.meta["sampler"]["mode"] == "sde"
        assert samples.load("images").std() > 1


def test_protocols_stand_beside_the_runs_own(scores, smoke):
    for metric in ("rfid", "psnr", "ssim", "lpips"):
        own, same = (scores.loc[("kl-f4c4", metric, variant)] for variant in ("", "seesaw"))
        assert same["value"] == pytest.approx(own["value"], rel=1e-6), metric
        assert same["n"] == own["n"]
    floored = scores.loc[("kl-f4c4", "lpips", "floored")]
    assert floored["n"] == 0  # nobody plays LPIPS with VGG16 here
    assert np.isnan(floored["value"])
    table = pd.read_csv(smoke / "tables/protocol_sweep.csv")
    assert (table["Autoencoder"] == "kl-f4c4").sum() == 6  # three roundings, mean and sample
    assert len(pd.read_csv(smoke / "tables/protocols.csv")) == 3


def test_a_score_carries_its_origin(scores):
    for column in ("metric_version", "protocol", "seesaw", "seed", "unit", "weights_sha256"):
        assert (scores[column].astype(str) != "").all(), column
    rfid = scores.loc[(NAMES[0], "rfid", "")]
    assert rfid["network"] == "mini-inception"
    assert "crop=ready-made" in rfid["protocol"]
    assert "posterior=mean" in rfid["protocol"]


def test_no_official_name_stands_over_a_mini_number(smoke):
    header = pd.read_csv(smoke / "tables/table5.csv", nrows=0).columns
    for word in ("rFID", "CLIP", "DINO", "Depth", "Seg", "LPIPS"):
        named = [column for column in header if column.startswith(word)]
        assert named, word
        assert all("mini-" in column or "random" in column for column in named), named


def test_baselines_stand_beside_drift(scores):
    for name in NAMES:
        for metric in ("canny", "depth", "segmentation", "spatial"):
            drift = scores.loc[(name, metric, ""), "value"]
            assert 0 <= drift <= scores.loc[(name, metric, "shuffled"), "value"]
            assert scores.loc[(name, metric, "zero"), "value"] > 0
        density = scores.loc[(name, "canny", "density"), "value"]
        assert density == scores.loc[(name, "canny", "zero"), "value"]
        assert 0 <= scores.loc[(name, "segmentation", "mismatch"), "value"] <= 1


def test_probes_read_grids_and_say_why_not_tokens(smoke, scores):
    for name in NAMES:
        grid = len(Shards(smoke / f"reconstruct/{name}/manifest.json").fields["latents"]["shape"])
        for metric in ("latent-canny", "latent-depth"):
            row = scores.loc[(name, metric, "")]
            if grid == 2:
                assert np.isnan(row["value"])
                assert "without a grid" in row["note"]
                continue
            assert 0 < row["value"] < 1
            zero = scores.loc[(name, metric, "zero"), "value"]
            drift = metric.removeprefix("latent-")
            assert zero == pytest.approx(scores.loc[(name, drift, "zero"), "value"], rel=1e-6)
        assert grid == 2 or scores.loc[(name, "latent-canny", "ap"), "value"] > 0


def test_latents_of_both_kinds_pass_every_stage(smoke):
    shapes = {
        name: len(Shards(smoke / f"reconstruct/{name}/manifest.json").fields["latents"]["shape"])
        for name in NAMES
    }
    assert set(shapes.values()) == {2, 3}


def test_rfid_from_the_features_on_disk(smoke):
    name = NAMES[0]
    features = [
        Shards(smoke / f"conditions/{source}/mini-inception/manifest.json").load("features")
        for source in ("val", name)
    ]
    stored = json.loads((smoke / f"metrics/{name}/rfid.json").read_text())["scores"][0]["value"]
    assert frechet_distance(*map(statistics, features)) == stored


def test_per_image_tables_average_to_the_score(smoke, scores):
    for metric in ("psnr", "ssim", "canny", "clip"):
        table = pd.read_parquet(smoke / f"metrics/{NAMES[0]}/{metric}.parquet")
        value = scores.loc[(NAMES[0], metric, ""), "value"]
        assert table["value"].mean() == pytest.approx(value, abs=1e-9)
        assert table["id"].is_unique


def test_correlations_say_how_sure_they_are(smoke):
    table = pd.read_csv(smoke / "tables/correlations.csv")
    assert {"n", "low", "high", "p"} <= set(table.columns)
    measured = table.dropna(subset=["value"])
    assert len(measured) > 20
    assert (measured["n"] >= 3).all()
    assert measured["p"].between(0, 1).all()
    assert table.loc[table["value"].isna(), "note"].notna().all()


def test_the_report_stands_alone(smoke):
    page = (smoke / "report/index.html").read_text()
    assert "mini-inception" in page
    assert page.count("data:image/png;base64,") >= 5
    assert 'src="http' not in page
    for item in CONFIG["report"]["items"]:
        assert item in page


def test_no_temporary_file_is_left(smoke):
    assert list(smoke.rglob(".*.part*")) == []
