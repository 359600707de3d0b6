"""ImageNet's val from its official archive, through Snakemake."""

import json
import os
import sys

import pandas as pd
import pytest

from .conftest import ROOT, plan, snakemake

sys.path.insert(0, str(ROOT / "tests"))
from tiny_imagenet import VAL, VAL_LABELS, build_devkit, lay_val, meta_mat


@pytest.fixture
def world(config_with, tmp_path):
    """Two configs, with the number of images and without, and the folder of the archive."""
    folder = lay_val("tar", tmp_path / "in", build_devkit(tmp_path / "kit", meta_mat()))
    val = {"source": "imagenet", "split": "val", "path": str(folder)}

    def change(split):
        def changed(config):
            config["pathvars"]["results"] = str(tmp_path / "results")
            config["data"]["splits"]["val"] = split
            config["report"]["items"].remove("scenes")

        return changed

    few = config_with(change({**val, "images": VAL}), name="few.yaml")
    return few, config_with(change(val), name="all.yaml"), folder


def test_imagenet_is_packed_by_the_rule(world, tmp_path):
    few, whole, folder = world
    target = tmp_path / "results/data/val/manifest.json"
    printed = snakemake(target, "--configfile", whole, code=1)
    assert "holds 11 images, but ImageNet's val has 50,000" in printed
    assert not target.exists()
    snakemake(target, "--configfile", few)
    assert json.loads(target.read_text())["n"] == VAL
    assert list(pd.read_parquet(target.with_name("index.parquet"))["label"]) == VAL_LABELS
    assert plan(few, target) == []
    archive = folder / "ILSVRC2012_img_val.tar"
    os.utime(archive, (1, 1))
    assert plan(few, target) == [("pack_images", "val")]
    archive.unlink()
    assert plan(few, target) == [("pack_images", "val")]
    printed = snakemake(target, "--configfile", few, code=1)
    assert "are not there (1)" in printed
    assert "https://image-net.org/download-images.php" in printed
