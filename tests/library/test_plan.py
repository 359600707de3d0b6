"""The cost table: sums, what is not estimated, what is absent."""

import pandas as pd
import pytest
from small_study import CONFIG

from seesaw import plan
from seesaw.costs import Job, Study
from seesaw.external import (
    Absent,
    absent_images,
    absent_loader,
    absent_weights,
    stop_words,
)
from seesaw.plan import absent_lines, cost_table, plan_text
from seesaw.registry import PLANNED_FAMILIES

JOBS = [
    Job("pack_images", {"split": "val"}, 0, 4000, 600),
    Job("reconstruct_images", {"autoencoder": "kl"}, 1, 16000, 120),
    Job("reconstruct_images", {"autoencoder": "own"}, 1, 32000, 1),
    Job("rule_of_tomorrow", {}, 2, 8000, 60),
    Job("table9", {}, 0, 0, 0),
]
STUDY = Study(CONFIG, JOBS)


@pytest.fixture
def planned(monkeypatch):
    """A family that is announced and has no loader, whatever the registry announces."""
    monkeypatch.setitem(PLANNED_FAMILIES, "of-tomorrow", "announced for a test")
    return "of-tomorrow"


@pytest.fixture(scope="module")
def table():
    return cost_table(STUDY)


def test_the_sums(table):
    rows, total = table.iloc[:-1], table.iloc[-1]
    assert total["rule"] == "total"
    assert total["jobs"] == len(JOBS) == rows["jobs"].sum()
    assert total["gpu_hours"] == rows["gpu_hours"].sum() > 0
    assert total["kept_gb"] == pytest.approx(rows["kept_gb"].sum())
    assert total["mem_mb"] == 32000
    assert list(total[["gpu_jobs", "unestimated_hours", "unestimated_kept"]]) == [3, 2, 3]


def test_what_is_not_estimated_is_missing_not_zero(table):
    rows = table.set_index("rule")
    assert pd.isna(rows.loc["rule_of_tomorrow", "gpu_hours"])
    assert rows.loc["table9", "gpu_hours"] == 0
    assert pd.isna(rows.loc["table9", "kept_gb"])
    assert rows.loc["reconstruct_images", "unestimated_hours"] == 1


def test_the_text(table):
    text = plan_text(STUDY, table)
    line = {words.split()[0]: words for words in text.splitlines() if words.strip()}
    assert "not estimated" in line["rule_of_tomorrow"]
    assert "+" in line["reconstruct_images"]
    assert "+" in line["total"]
    assert "Estimated H100-hours" in text
    assert "Packed images of 'val': 50,000 of them, 9.8 GB." in text
    assert "2 GPU jobs are not estimated" in text
    assert "Longer than their limit, by this estimate: reconstruct_images;" in text
    assert "assumed" in text


def test_nothing_to_be_done(monkeypatch, capsys):
    monkeypatch.setattr(plan, "planned_jobs", lambda *words, **options: [])
    monkeypatch.setattr(plan, "load_study", lambda *words: Study(CONFIG))
    plan.main([])
    assert capsys.readouterr().out.startswith("Nothing to be done")


def test_hours_of_a_job_on_two_gpus(table):
    jobs = [Job("reconstruct_images", {"autoencoder": "kl"}, gpu, 1, 60) for gpu in (1, 2)]
    one, two = (cost_table(Study(CONFIG, [job])).iloc[0] for job in jobs)
    assert one["gpu_hours"] == two["gpu_hours"]
    assert one["longest_hours"] == 2 * two["longest_hours"]


def test_absent_things(tmp_path, planned):
    here = tmp_path / "here.pt"
    here.touch()
    assert absent_weights("x", {"weights": str(here)}) is None
    assert absent_weights("x", {}) is None
    assert absent_images("val", {"source": "mini"}) is None
    assert absent_images("val", {"path": str(tmp_path)}) is None
    assert absent_loader({"name": "a", "family": "diffusers-kl"}) is None
    assert absent_loader({"name": "a", "family": "my:Class"}) is None

    gone = {"weights": "gone.pt", "source": "https://there", "confidence": "a guess"}
    things = [
        absent_weights("autoencoder 'b'", gone),
        absent_weights("network 'c'", {"weights": "gone.pt"}),
        absent_images("val", {"path": str(tmp_path / "gone")}),
        absent_loader({"name": "a", "family": planned}),
    ]
    words = stop_words([*things, things[0]])
    assert "(4)" in words.splitlines()[0]
    assert "for autoencoder 'b'; get it from https://there (a guess)" in words
    assert f"{tmp_path / 'gone'}\n      this folder of the split 'val' does not exist" in words
    assert f"no loader for family {planned!r} in this version" in words
    assert words.index("gone\n") < words.index("gone.pt") < words.index("no loader")


def test_the_plan_says_what_is_absent(planned):
    entry = {"name": "far", "family": planned, "weights": "far.pt"}
    config = {**CONFIG, "autoencoders": [*CONFIG["autoencoders"], entry]}
    job = Job("reconstruct_images", {"autoencoder": "far"})
    assert absent_lines(Study(config, [job]))[1:] == [
        "  1 weights files: far.pt",
        "  1 loaders: far",
    ]
    assert absent_lines(Study(config, JOBS[1:2])) == []
    config["gfid"] = {"references": ["val", {"name": "adm", "weights": "adm.npz"}]}
    backbone = {"name": "ditdh-xl", "weights": "dit.pt", "latents": {"weights": "stat.pt"}}
    config["control"] = {"autoencoders": [{"name": "far", "backbone": backbone}, "near"]}
    jobs = [job, Job("score_gfid", {}), Job("train_control", {"autoencoder": "far"})]
    assert absent_lines(Study(config, jobs))[1:] == [
        "  4 weights files: far.pt, adm.npz, dit.pt and 1 more",
        "  1 loaders: far",
    ]
    assert isinstance(absent_loader(entry), Absent)
