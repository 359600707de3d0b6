"""The published numbers need nothing of a study, and never start one."""

import shutil

import pandas as pd
import pytest

from seesaw.files import write_csv
from seesaw.published.tables import TABLES

from .conftest import ROOT, planned, snakemake

SCORE = {
    "autoencoder": "uae", "group": "UAE", "training": "", "metric": "psnr", "variant": "",
    "value": 28.2569, "n": 50_000, "unit": "dB", "higher_is_better": True, "network": "",
    "protocol": (
        "data=any name; crop=resize-center-crop; resolution=256; evaluation_set=imagenet val, "
        "50000 images; quantisation=uint8-round; posterior=mean"
    ),
    "note": "", "duplicate_of": "",
}  # fmt: skip


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The workflow and the published numbers, without results."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("config", "envs", "profiles", "workflow", "src", "resources"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", folder)
    return folder


def verdicts(clone):
    return pd.read_csv(clone / "results/tables/reproduction.csv")["verdict"].value_counts()


def test_published_plans_nothing_of_the_study(clone):
    jobs = planned(snakemake("-n", "published", cwd=clone))
    assert {name for rule, name in jobs if rule == "published_table"} == set(TABLES)
    assert {rule.split("_")[0] for rule, _ in jobs} == {"published", "reproduction"}


def test_reproduction_reads_scores_that_are_there_and_never_makes_them(clone):
    table = "results/tables/reproduction.csv"
    snakemake(table, cwd=clone)
    assert set(verdicts(clone).index) == {"not run"}
    assert "Nothing can be compared yet" in (clone / table).with_suffix(".html").read_text()
    assert not (clone / "results/tables/scores.csv").exists()
    assert planned(snakemake("-n", table, cwd=clone)) == []

    write_csv(clone / "results/tables/scores.csv", pd.DataFrame([SCORE]))
    assert planned(snakemake("-n", table, cwd=clone)) == [("reproduction", "")]
    snakemake(table, cwd=clone)
    assert verdicts(clone)["same"] == 1
    assert planned(snakemake("-n", table, cwd=clone)) == []

    other = pd.DataFrame([{**SCORE, "value": 20.0}])
    write_csv(clone / "results/tables/scores.csv", other)
    assert planned(snakemake("-n", table, cwd=clone)) == [("reproduction", "")]


def test_a_run_of_another_folder_reads_its_own_scores(clone):
    table = "results/mini/tables/reproduction.csv"
    own = clone / "results/mini/tables/scores.csv"
    write_csv(own, pd.DataFrame([{**SCORE, "protocol": "data=mini world; resolution=32"}]))
    snakemake(table, "--configfile", "config/mini.yaml", cwd=clone)
    found = pd.read_csv(clone / table)
    assert found["verdict"].value_counts().to_dict() == {
        "not run": len(found) - 1,
        "other protocol": 1,
    }
