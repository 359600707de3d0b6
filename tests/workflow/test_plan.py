"""The papers' plan: made without any file; a run stops before its first job and says what to do."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import pandas as pd
import pytest
import yaml
from PIL import Image

from seesaw.costs.rules import COSTS

from .conftest import ROOT, planned, snakemake
from .test_layout import RULES

POOL = yaml.safe_load((ROOT / "config/config.yaml").read_text())["autoencoders"]
MINI = {"source": "mini", "count": 20}
GPU_RULES = [name for name, body in RULES.items() if re.search(r"^\s+gpu=", body, re.M)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What git holds of the workflow, and nothing else: no results, no data, no weights."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("config", "profiles", "workflow", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


@pytest.fixture(scope="module")
def papers(clone):
    """The jobs of the papers' plan, as a dry-run prints them."""
    start = time.monotonic()
    printed = snakemake("-n", "--resources", "gpu=4", cwd=clone)
    assert time.monotonic() - start < 60
    return planned(printed)


def test_the_whole_study_is_planned_without_any_file(papers, clone):
    assert [name for rule, name in papers if rule == "reconstruct_images"] == sorted(POOL)
    assert len(papers) > 500
    assert {"pack_images", "score_ifid", "report"} <= {rule for rule, _ in papers}
    assert not (clone / "results").exists()


def test_protocols_plan_their_crop_and_their_networks(papers):
    assert [name for rule, name in papers if rule == "pack_images"] == ["train", "val", "val-adm"]
    found = {name for rule, name in papers if rule == "extract_conditions"}
    inceptions = {"inception", *(f"inception-{x}" for x in ("bilinear", "antialias", "clean"))}
    wanted = {f"{split}, {name}" for split in ("val", "val-adm") for name in inceptions}
    # of the reconstructions features are kept by the study's own network only
    assert {name for name in found if "inception-" in name or "val-adm" in name} | {
        "val, inception"
    } == wanted
    crops = {name.split(", ")[1] for rule, name in papers if rule == "score_protocols"}
    assert crops == {"resize-center-crop", "adm"}


def test_ones_own_next_to_published_ones_is_planned_without_any_file(clone):
    words = ["-n", "--resources", "gpu=4", "--configfile", "config/compare.yaml"]
    jobs = planned(snakemake(*words, cwd=clone))
    names = ["mine", "mine-diffusers", "sd-vae-ft-mse"]
    for rule in ("reconstruct_images", "score_ifid"):
        assert [name for found, name in jobs if found == rule] == names
    assert len([rule for rule, _ in jobs if rule == "score_protocols"]) == len(names)
    assert not (clone / "results").exists()
    targets = [f"results/compare/reconstruct/{name}/manifest.json" for name in names[:2]]
    printed = snakemake(*targets, *words[1:], cwd=clone, code=1)
    for path in ("weights/my-vavae.pt", "weights/my-vae"):
        assert f"  {path}\n      for autoencoder 'mine" in printed


def test_one_artifact_is_planned(clone):
    jobs = planned(snakemake("-n", "results/tables/table5.csv", cwd=clone))
    assert [rule for rule, _ in jobs if rule.startswith("table")] == ["table5"]
    assert len([rule for rule, _ in jobs if rule == "reconstruct_images"]) == len(POOL)


def test_a_run_stops_before_its_first_job_and_says_what_to_do(clone):
    printed = snakemake("--resources", "gpu=4", cwd=clone, code=1)
    words = printed[printed.index("Things that this run needs are not there") :]
    assert "data/imagenet (train of ImageNet)\n      for the split 'train': data/image" in words
    assert "data/imagenet/ILSVRC2012_img_train.tar" in words
    assert "https://image-net.org/download-images.php" in words
    assert "https://huggingface.co/datasets/ILSVRC/imagenet-1k" in words
    assert "weights/REPA-E/e2e-flux-vae/diffusion_pytorch_model.safetensors" in words
    assert "get it from https://huggingface.co/REPA-E/e2e-flux-vae/blob/main/diffusion" in words
    assert "weights/nyu-visionx/RAE-collections/decoders/" in words
    assert "once the licence at https://huggingface.co/black-forest-labs/FLUX.1-dev is" in words
    assert "get it from https://download.pytorch.org/models/alexnet-owt-7be5be79.pth" in words
    assert not (clone / "results").exists()


def test_a_run_names_what_its_own_jobs_need_and_no_more(clone):
    target = "results/reconstruct/eq-vae/manifest.json"
    printed = snakemake(target, cwd=clone, code=1)
    assert "are not there (2)." in printed
    assert "data/imagenet (val of ImageNet)" in printed
    assert "train of ImageNet" not in printed
    assert "weights/zelaki/eq-vae/" in printed
    assert "flux" not in printed


def test_without_hooks_it_stops_too(clone):
    target = "results/reconstruct/eq-vae/manifest.json"
    printed = snakemake(target, "--no-hooks", cwd=clone, code=1)
    assert "are not there" in printed
    assert not (clone / "results").exists()
    assert len(planned(snakemake("-n", target, "--no-hooks", cwd=clone))) == 2


def test_images_in_the_home_folder_are_inputs(config_with, tmp_path):
    home, results = tmp_path / "home", tmp_path / "results"
    (home / "photos").mkdir(parents=True)
    (home / "net/train/n01440764").mkdir(parents=True)

    def change(config):
        config["pathvars"]["results"] = str(results)
        config["data"]["splits"] = {
            "val": {"source": "folder", "path": "~/photos"},
            "train": {"source": "imagenet", "path": "~/net", "split": "train"},
        }
        config["report"]["items"] = ["table5"]

    targets = [results / f"data/{split}/manifest.json" for split in ("val", "train")]
    printed = snakemake(
        "-n", *targets, "--configfile", config_with(change), env={"HOME": str(home)}
    )
    assert f"input: {home}/photos" in printed
    assert f"input: {home}/net" in printed


def test_an_image_that_comes_deep_in_a_folder_is_packed(config_with, tmp_path):
    deep = tmp_path / "photos/nest/a/b"
    deep.mkdir(parents=True)
    Image.new("RGB", (32, 32), "red").save(deep / "1.png")

    def change(config):
        config["pathvars"]["results"] = str(tmp_path / "results")
        config["data"]["splits"]["val"] = {"source": "folder", "path": str(tmp_path / "photos")}
        config["report"]["items"] = ["table5"]

    words = (tmp_path / "results/data/val/manifest.json", "--configfile", config_with(change))
    snakemake(*words)
    assert planned(snakemake("-n", *words)) == []
    Image.new("RGB", (32, 32), "blue").save(deep / "2.png")
    assert planned(snakemake("-n", *words)) == [("pack_images", "val")]


@pytest.fixture
def measured(config_with, tmp_path):
    """A config with one autoencoder from a file, as if measured already: its results lie there."""
    weights = tmp_path / "vae.safetensors"

    def change(config):
        config["pathvars"]["results"] = str(tmp_path / "results")
        config["data"]["splits"] = {"val": MINI, "train": MINI}
        config["data"]["reference"] = "val"
        config["networks"] = {"canny": {"network": "canny"}}
        config["metrics"] = ["psnr", "canny"]
        config["autoencoders"] = [config["autoencoders"][0]]
        config["autoencoders"][0].update(name="vae", weights=str(weights))
        del config["autoencoders"][0]["train"]
        for block in (
            "control",
            "ifid",
            "neighbours",
            "probes",
            "diffusability",
            "diffusion",
            "gfid",
            "protocols",
        ):
            del config[block]
        config["report"]["items"] = ["table5"]

    made = ["data/val/manifest.json", "data/val/index.parquet", "reconstruct/vae/manifest.json"]
    for age, path in zip((30, 30, 20), made):
        path = tmp_path / "results" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    weights.touch()
    os.utime(weights, (time.time() - 40,) * 2)
    return config_with(change), weights, tmp_path / "results" / made[-1]


def test_weights_that_are_there_are_inputs_with_a_time(measured):
    config, weights, target = measured
    dry = ("-n", target, "--configfile", config)
    assert "Nothing to be done" in snakemake(*dry)
    weights.touch()
    printed = snakemake(*dry)
    assert planned(printed) == [("reconstruct_images", "vae")]
    assert f"Updated input files: {weights}" in printed


def test_what_is_done_already_needs_its_inputs_no_more(measured):
    config, weights, target = measured
    weights.unlink()
    other = target.parents[2] / "data/train/manifest.json"
    printed = snakemake(other, target, "--rerun-triggers", "mtime", "--configfile", config)
    assert "are not there" not in printed
    assert json.loads(other.read_text())["n"] == MINI["count"]
    assert target.stat().st_size == 0


def test_a_run_on_this_machine_says_that_its_gpus_are_idle(measured):
    config, weights, target = measured
    touched = (target, "--touch", "--configfile", config)  # a run that does no work
    two = {"CUDA_VISIBLE_DEVICES": "0,1"}
    told = "This machine has 2 GPUs and none is used; add --resources gpu=2"
    weights.touch()
    assert told in snakemake(*touched, env=two)
    weights.touch()
    none_asked = ("--set-resources", "reconstruct_images:gpu=0")
    assert told not in snakemake(*touched, *none_asked, env=two)
    # nor where no job is left to do
    assert told not in snakemake(target, "--configfile", config, env=two)


def test_some_rules_want_a_gpu():
    assert len(GPU_RULES) >= 7
    scripts = {name: (ROOT / f"workflow/scripts/{name}.py").read_text() for name in RULES}
    assert {name for name, text in scripts.items() if "claim_device" in text} == set(GPU_RULES)


@pytest.mark.parametrize("name", GPU_RULES)
def test_a_rule_that_wants_a_gpu_says_for_how_long_and_with_how_much_memory(name):
    for resource in ("gpu", "runtime", "mem_mb"):
        assert re.search(rf"^\s+{resource}=", RULES[name], re.M), resource
    assert name in COSTS, "say in seesaw.costs what a job of it costs"


def test_the_cost_table(clone, papers, tmp_path):
    output = tmp_path / "plan.csv"
    done = subprocess.run(
        [sys.executable, "-m", "seesaw.plan", "--output", str(output)],
        cwd=clone,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "Plan of 'ImageNet 256'. Estimated" in done.stdout
    absent = "2 sets of images: data/imagenet (train of ImageNet), data/imagenet (val of ImageNet)"
    assert absent in done.stdout
    table = pd.read_csv(output)
    rules, total = table.iloc[:-1].set_index("rule"), table.iloc[-1]
    counts = pd.Series([rule for rule, _ in papers]).value_counts()
    assert rules["jobs"].to_dict() == counts.to_dict()
    assert total["jobs"] == len(papers)
    assert total["gpu_hours"] == pytest.approx(rules["gpu_hours"].sum())
    assert total["kept_gb"] == pytest.approx(rules["kept_gb"].sum())
    assert (rules.loc[rules["gpu_jobs"] > 0, "gpu_hours"] > 0).all()
    assert total["unestimated_hours"] == 0
    assert total["late"] == 0, rules.index[rules["late"] > 0]
    assert "Longer than their limit" not in done.stdout
    assert not (clone / "results").exists()


def test_a_plan_that_cannot_be_made_says_why(clone):
    done = subprocess.run(
        [sys.executable, "-m", "seesaw.plan", "results/tables/table99.csv"],
        cwd=clone,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "No rule to produce results/tables/table99.csv" in done.stderr
    assert "Traceback" not in done.stderr
