"""The cost table: sums, what is not estimated, what is absent."""

import pandas as pd
import pytest
from small_study import CONFIG

from seesaw import plan
from seesaw.costs.study import Job, Study
from seesaw.external import (
    absent_images,
    absent_weights,
    stop_words,
    with_weights,
)
from seesaw.plan import absent_lines, cost_table, plan_text

JOBS = [
    Job("pack_images", {"split": "val"}, 0, 4000, 600),
    Job("reconstruct_images", {"autoencoder": "kl"}, 1, 16000, 1),
    Job("reconstruct_images", {"autoencoder": "own"}, 1, 32000, 120),
    Job("extract_conditions", {"source": "train", "network": "inception"}, 1, 16000, 60),
    Job("extract_conditions", {"source": "kl", "network": "inception"}, 1, 16000, 1),
    Job("rule_of_tomorrow", {}, 2, 8000, 60),
    Job("table9", {}, 0, 0, 0),
]
STUDY = Study(CONFIG, JOBS)


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
    assert list(total[["gpu_jobs", "unestimated_hours", "unestimated_kept"]]) == [5, 2, 3]


def test_what_is_not_estimated_is_missing_not_zero(table):
    rows = table.set_index("rule")
    assert pd.isna(rows.loc["rule_of_tomorrow", "gpu_hours"])
    assert rows.loc["table9", "gpu_hours"] == 0
    assert pd.isna(rows.loc["table9", "kept_gb"])
    assert rows.loc["reconstruct_images", "unestimated_hours"] == 1


def test_each_job_has_a_limit_of_its_own(table):
    """Features of train take 14 minutes of 60, those of kl's reconstructions 33 seconds of 60."""
    rows = table.set_index("rule")
    columns = ["longest_hours", "runtime_hours", "late"]
    seconds = 1_281_167 / 1500
    assert rows.loc["extract_conditions", columns].tolist() == [seconds / 3600, 1.0, 0]
    assert rows.loc["reconstruct_images", ["runtime_hours", "late"]].tolist() == [1 / 60, 1]
    assert rows.loc["total", "late"] == 1


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


def test_absent_things(tmp_path):
    here = tmp_path / "here.pt"
    here.touch()
    assert absent_weights("x", {"weights": str(here)}) == []
    assert absent_weights("x", {}) == []
    assert absent_images("val", {"source": "mini"}) is None
    assert absent_images("val", {"path": str(tmp_path)}) is None
    imagenet = {"source": "imagenet", "split": "val", "path": str(tmp_path)}
    absent = absent_images("test", imagenet)
    assert (absent.kind, absent.what) == ("images", f"{tmp_path} (val of ImageNet)")
    assert "for the split 'test': " in absent.words
    assert f"{tmp_path}/ILSVRC2012_img_val.tar" in absent.words

    gone = {"weights": "gone.pt", "source": "https://there", "confidence": "a guess"}
    things = [
        *absent_weights("autoencoder 'b'", gone),
        *absent_weights("network 'c'", {"weights": "gone.pt"}),
        absent_images("val", {"path": str(tmp_path / "gone")}),
    ]
    words = stop_words([*things, things[0]])
    assert "(3)" in words.splitlines()[0]
    assert "for autoencoder 'b'; get it from https://there (a guess)" in words
    assert f"{tmp_path / 'gone'}\n      this folder of the split 'val' does not exist" in words
    assert words.index("gone\n") < words.index("gone.pt")


def test_absent_files_by_role(tmp_path):
    here = tmp_path / "here.pt"
    here.touch()
    files = {
        "encoder": {"path": str(here), "repo": "a/b", "file": "here.pt"},
        "decoder": {"path": "x/gone.pt", "repo": "a/b", "file": "gone.pt", "revision": "1f"},
        "stats": {"path": "y/gone.pt", "url": "https://c/gone.pt", "gated": "https://c/licence"},
    }
    weights = {role: file["path"] for role, file in files.items()}
    entry = {"weights": weights, "files": files, "source": "nowhere", "confidence": "guess: so"}
    decoder, stats = absent_weights("autoencoder 'b'", entry)
    assert decoder.what == "x/gone.pt"
    assert decoder.words == (
        "for autoencoder 'b'; get it from https://huggingface.co/a/b/blob/1f/gone.pt (guess: so)"
    )
    assert "https://c/gone.pt, once the licence at https://c/licence is accepted" in stats.words


def test_weights_by_role_for_a_stage():
    model = {"family": "rae-dinov2", "config": {}, "roles": ["encoder", "decoder"]}
    together = with_weights(model, ["e.pt", "d.pt"])
    assert together["weights"] == {"encoder": "e.pt", "decoder": "d.pt"}
    assert set(together) == {"family", "config", "weights"}
    assert with_weights(model, [])["weights"] is None
    one = {"family": "diffusers-kl", "config": {}}
    assert with_weights(one, "x.pt")["weights"] == "x.pt"
    assert with_weights(one, [])["weights"] is None
    with pytest.raises(ValueError, match="argument"):
        with_weights(model, ["e.pt"])


def test_the_plan_says_what_is_absent():
    entry = {"name": "far", "family": "diffusers-kl", "weights": "far.pt"}
    config = {**CONFIG, "autoencoders": [*CONFIG["autoencoders"], entry]}
    job = Job("reconstruct_images", {"autoencoder": "far"})
    assert absent_lines(Study(config, [job]))[1:] == ["  1 weights files: far.pt"]
    assert absent_lines(Study(config, JOBS[1:2])) == []
    config["gfid"] = {"references": ["val", {"name": "adm", "weights": "adm.npz"}]}
    backbone = {"name": "ditdh-xl", "weights": "dit.pt", "latents": {"weights": "stat.pt"}}
    config["control"] = {"autoencoders": [{"name": "far", "backbone": backbone}, "near"]}
    jobs = [job, Job("score_gfid", {}), Job("train_control", {"autoencoder": "far"})]
    assert absent_lines(Study(config, jobs))[1:] == [
        "  4 weights files: far.pt, adm.npz, dit.pt and 1 more",
    ]
