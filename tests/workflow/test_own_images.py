"""A person's photographs and a person's autoencoder, through Snakemake."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from seesaw.shards import Shards

from .conftest import ROOT, snakemake

sys.path.insert(0, str(ROOT / "tests"))
from photos import build_photo_folder

HERE = {"PYTHONPATH": str(Path(__file__).parent)}
RESOLUTION = 64


def write_config(folder, smoke, **changes):
    config = {
        "pathvars": {"results": str(folder / "results")},
        "name": "photographs",
        "seed": 0,
        "data": {
            "resolution": RESOLUTION,
            "crop": "resize-center-crop",
            "shard_size": 64,
            "splits": {
                "val": {"source": "folder", "path": str(folder / "val")},
                "train": {"source": "folder", "path": str(folder / "train")},
            },
            "evaluation": "val",
            "reference": "train",
        },
        "networks": {
            "canny": {"network": "canny"},
            "lpips": {"network": "lpips-alex-random"},
            "inception": {
                "network": "mini-inception",
                "weights": str(smoke / "networks/mini-inception/weights.safetensors"),
            },
        },
        "autoencoders": [
            {"name": "halve", "family": "own_autoencoder:Halve", "config": {"resolution": 64}},
            {"name": "identity", "family": "own_autoencoder:Identity"},
        ],
        "reconstruct": {"posterior": "mean"},
        "metrics": ["psnr", "ssim", "lpips", "rfid", "kid", "canny"],
        "neighbours": {"k": 3, "distances": ["cosine"], "references": ["all"], "parts": 1},
        "ifid": {
            "default": {"interpolation": "slerp", "alpha": 0.5, "k": 3, "references": "all"},
            "alphas": [0],
        },
        "report": {"items": ["table5", "correlations", "gallery", "autoencoder_grid"]},
        **changes,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def run(smoke, tmp_path_factory):
    folder = tmp_path_factory.mktemp("my photographs")
    build_photo_folder(folder / "val", count=150, seed=0)
    build_photo_folder(folder / "train", count=200, seed=1)
    snakemake("--configfile", write_config(folder, smoke), env=HERE)
    return folder / "results"


@pytest.fixture(scope="module")
def scores(run):
    table = pd.read_csv(run / "tables/scores.csv", keep_default_na=False, na_values={"value": ""})
    return table.set_index(["autoencoder", "metric", "variant"])["value"]


def test_the_photographs_are_many_and_various(run):
    images = Shards(run / "data/val/manifest.json")
    assert len(images) == 150
    assert images.fields["images"]["shape"] == [3, 64, 64]
    suffixes = {Path(image_id).suffix for image_id in images.ids}
    assert {".jpg", ".png"} <= {suffix.lower() for suffix in suffixes}


def test_what_loses_nothing_is_called_perfect(scores):
    perfect = scores["identity"]
    assert perfect["psnr", ""] == 100
    assert perfect["ssim", ""] == pytest.approx(1, abs=1e-12)
    for metric in ("lpips", "rfid", "canny"):
        assert perfect[metric, ""] == pytest.approx(0, abs=1e-6), metric
    assert perfect["canny", "shuffled"] > 0.05


def test_what_loses_something_is_not(scores):
    lossy = scores["halve"]
    assert 15 < lossy["psnr", ""] < 40
    assert 0.4 < lossy["ssim", ""] < 1
    for metric in ("lpips", "rfid", "canny"):
        assert lossy[metric, ""] > 0, metric
    assert lossy["canny", ""] < lossy["canny", "shuffled"]
    assert lossy["ifid", ""] > lossy["rfid", ""]


@pytest.mark.parametrize("name", ["halve", "identity"])
def test_ifid_at_alpha_0_is_rfid(scores, name):
    assert scores[name, "ifid", "slerp alpha=0 k=3 n=all"] == scores[name, "rfid", ""]


def test_psnr_by_hand(run, scores):
    a = Shards(run / "data/val/manifest.json").load("images").astype(float)
    b = Shards(run / "reconstruct/halve/manifest.json").load("images").astype(float)
    by_hand = 20 * np.log10(255 / np.sqrt(((a - b) ** 2).mean((1, 2, 3))))
    assert scores["halve", "psnr", ""] == pytest.approx(by_hand.mean(), abs=1e-9)


def test_the_class_is_part_of_the_plan(run, smoke, tmp_path):
    """Editing the person's class reruns what rests on it."""
    folder = run.parent
    edited = tmp_path / "own_autoencoder.py"
    text = (Path(__file__).parent / "own_autoencoder.py").read_text()
    edited.write_text(text.replace("* 16) / 16", "* 8) / 8"))
    config = folder / "config.yaml"
    assert "Nothing to be done" in snakemake("-n", "--configfile", config, env=HERE)
    printed = snakemake("-n", "--configfile", config, env={"PYTHONPATH": str(tmp_path)})
    assert "reconstruct_images" in printed
    assert "pack_images" not in printed


def failing(smoke, folder, code=1, target=(), **changes):
    folder.mkdir(exist_ok=True)
    return snakemake(
        *target, "--configfile", write_config(folder, smoke, **changes), env=HERE, code=code
    )


def one(name, family, **more):
    return {"autoencoders": [{"name": name, "family": family, **more}]}


def test_bad_autoencoders_get_words_and_leave_nothing(run, smoke, tmp_path):
    """Runs on the photographs that are packed already: only the autoencoder is wrong."""
    page = tmp_path / "weights.safetensors"
    page.write_text("<!DOCTYPE html><html>Sign in</html>")
    small = tmp_path / "small.safetensors"
    import torch
    from safetensors.torch import save_file

    save_file({"encoder.conv_in.weight": torch.zeros(2, 2)}, small)
    kl = {"config": {"resolution": 64, "patch": 4, "widths": [16], "norm_groups": 4}}
    cases = [
        (one("broken", "own_autoencoder:Broken"), "NaN or infinity in the reconstruction"),
        (
            one("size", "own_autoencoder:Halve", config={"resolution": 32}),
            "takes images of 32 x 32",
        ),
        (one("page", "diffusers-kl", weights=str(page), **kl), "web page"),
        (one("small", "diffusers-kl", weights=str(small), **kl), "missing"),
        (one("nobody", "own_autoencoder:Nobody"), "unknown object in module own_autoencoder"),
        (one("gone", "diffusers-kl", weights=str(tmp_path / "gone.pt"), **kl), "are not there"),
        (one("module", "not_installed_here:Thing"), "not_installed_here"),
    ]
    for changes, words in cases:
        name = changes["autoencoders"][0]["name"]
        folder = tmp_path / name
        shutil.copytree(run / "data", folder / "results/data")
        for split in ("val", "train"):
            (folder / split).symlink_to(run.parent / split)
        target = folder / f"results/reconstruct/{name}/manifest.json"
        printed = failing(smoke, folder, target=[target], **changes)
        assert words in printed, (name, printed[-3000:])
        assert not target.exists(), name


@pytest.mark.parametrize(
    "prepare, words",
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: (folder / "val").mkdir(), "no image"),
        (
            lambda folder: (
                (folder / "val").mkdir(),
                (folder / "val/a.jpg").write_bytes(b"not an image"),
                (folder / "val/b.png").write_bytes(b""),
            ),
            "a.jpg",
        ),
    ],
    ids=["missing folder", "empty folder", "not images"],
)
def test_bad_folders_get_words_and_leave_nothing(smoke, tmp_path, prepare, words):
    prepare(tmp_path)
    target = tmp_path / "results/data/val/manifest.json"
    printed = failing(smoke, tmp_path, target=[target])
    assert words in printed, printed[-3000:]
    assert str(tmp_path) in printed
    assert not target.exists()


def test_the_report_is_there(run):
    assert (run / "report/index.html").stat().st_size > 10_000
    assert json.loads((run / "data/val/manifest.json").read_text())["n"] == 150
