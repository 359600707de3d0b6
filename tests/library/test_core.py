"""Versions, provenance, progress: what every stage leans on."""

import logging
import os
import sys

import pandas as pd
import pytest

from seesaw import progress as progress_module
from seesaw.config import segment_recipe
from seesaw.files import write_json
from seesaw.metrics.collect import collect_scores, merge_scores
from seesaw.progress import progress
from seesaw.registry import METRICS, resolve
from seesaw.results import Score, provenance, read_scores, write_scores
from seesaw.versions import code_hash, family_version, stage_version


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules, ``one`` importing ``two``, and one that nobody imports."""
    folder = tmp_path / "somepackage"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text("from somepackage import two\n\nA = two.B\n")
    (folder / "two.py").write_text("B = 1\n")
    (folder / "other.py").write_text("C = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    def hash_now():
        from seesaw import versions

        for function in (versions.code_hash, versions._source, versions._imports):
            function.cache_clear()
        return code_hash("somepackage.one", package="somepackage")

    yield folder, hash_now
    for name in [name for name in sys.modules if name.startswith("somepackage")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    "file, text, changes",
    [
        ("two.py", "# a comment\nB = 1\n", False),
        ("two.py", "B = 2\n", True),
        ("one.py", "from somepackage import two\n\nA = two.B + 1\n", True),
        ("other.py", "C = 2\n", False),
    ],
)
def test_a_hash_follows_the_code_that_is_reached(package, file, text, changes):
    folder, hash_now = package
    before = hash_now()
    (folder / file).write_text(text)
    assert (hash_now() != before) is changes


def test_versions_of_families(package):
    assert family_version("diffusers-kl") == "1"
    assert len(family_version("somepackage.one:Anything")) == 16
    with pytest.raises(ValueError, match="'nowhere' cannot be found"):
        family_version("nowhere:Thing")
    with pytest.raises(ValueError, match="unknown stage 'metric'. Did you mean 'metrics'"):
        stage_version("metric")


@pytest.mark.parametrize(
    "target, words",
    [
        ("no-colon", "not of the form"),
        ("nowhere_at_all:Thing", "cannot import 'nowhere_at_all'.*PYTHONPATH"),
        ("seesaw.seeds:seed_fro", "unknown object in module seesaw.seeds.*'seed_for'"),
    ],
)
def test_targets_that_lead_nowhere(target, words):
    with pytest.raises(ValueError, match=words):
        resolve(target)


def test_registry_suggests():
    with pytest.raises(ValueError, match=r"unknown metric 'psn'. Did you mean 'psnr'\? Valid: "):
        METRICS["psn"]


def score(**changes):
    values = {
        "metric": "psnr",
        "value": 20.5,
        "n": 10,
        "unit": "dB",
        "higher_is_better": True,
        "metric_version": "1",
        **changes,
    }
    return Score(**values)


def test_scores_round_trip_with_their_origin(tmp_path):
    path = tmp_path / "a.json"
    scores = [
        score(),
        score(variant="x", value=None, note="undefined here", protocol={"crop": "c"}),
    ]
    write_scores(path, autoencoder="ae", scores=scores, provenance=provenance(seed=3))
    name, back, origin = read_scores(path)
    assert (name, back) == ("ae", scores)
    assert origin["seed"] == 3
    assert origin["seesaw"]
    assert "numpy" in origin["libraries"]


def test_nan_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_scores(
            tmp_path / "a.json", autoencoder="a", scores=[score(value=float("nan"))], provenance={}
        )
    assert not list(tmp_path.iterdir())


def test_collected_scores_and_spatial(tmp_path):
    paths, values = [], {"canny": 0.1, "depth": 0.2, "segmentation": 0.6}
    for metric, value in values.items():
        for variant, factor in (("", 1), ("shuffled", 2)):
            paths.append(tmp_path / f"{metric}{variant}.json")
            row = score(
                metric=metric,
                variant=variant,
                value=value * factor,
                network=metric,
                protocol={"crop": "adm", "network.resize": len(metric)},
            )
            write_scores(paths[-1], autoencoder="ae", scores=[row], provenance=provenance(seed=1))
    write_json(tmp_path / "manifest.json", {"meta": {"weights_sha256": "abc"}})
    labels = {"name": "ae", "group": "", "training": "t", "duplicate_of": ""}
    collect_scores(
        scores=paths,
        manifests=[tmp_path / "manifest.json"],
        autoencoders=[labels],
        data="here",
        output=tmp_path / "scores.csv",
    )
    table = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)
    spatial = table[table["metric"] == "spatial"].set_index("variant")
    assert spatial.loc["", "value"] == pytest.approx(0.3)
    assert spatial.loc["shuffled", "value"] == pytest.approx(0.6)
    assert spatial.loc["", "network"] == "canny + depth + segmentation"
    assert set(spatial["protocol"]) == {"data=here; crop=adm"}
    assert "network.resize=5" in table[table["metric"] == "canny"]["protocol"].iloc[0]
    assert set(table["weights_sha256"]) == {"abc"}
    assert set(table["group"]) == {"ae"}


def test_a_score_says_the_posterior_that_its_reconstructions_have(tmp_path):
    names = {"plain": "deterministic", "kl": "sample", "old": None}
    for name, posterior in names.items():
        asked = {"crop": "adm", "posterior": "sample"}
        rows = [
            score(protocol=asked),
            score(variant="ours", protocol={**asked, "posterior": "mean"}),  # of the protocols
            score(variant="other", protocol={}),
        ]
        write_scores(tmp_path / f"{name}.json", autoencoder=name, scores=rows, provenance={})
        meta = {} if posterior is None else {"posterior": posterior}
        write_json(tmp_path / name / "manifest.json", {"meta": meta})
    collect_scores(
        scores=[tmp_path / f"{name}.json" for name in names],
        manifests=[tmp_path / name / "manifest.json" for name in names],
        autoencoders=[
            {"name": name, "group": "", "training": "", "duplicate_of": ""} for name in names
        ],
        data="here",
        output=tmp_path / "scores.csv",
    )
    table = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)
    found = table.set_index(["autoencoder", "variant"])["protocol"]
    assert found["plain", ""] == "data=here; crop=adm; posterior=deterministic"
    assert found["plain", "ours"] == found["plain", ""]
    assert found["kl", ""] == "data=here; crop=adm; posterior=sample"
    assert found["kl", "ours"] == "data=here; crop=adm; posterior=mean"
    assert found["old", ""] == found["kl", ""]
    assert set(found[:, "other"]) == {"data=here"}


def test_spatial_needs_all_three(tmp_path):
    write_scores(
        tmp_path / "c.json", autoencoder="ae", scores=[score(metric="canny")], provenance={}
    )
    write_json(tmp_path / "manifest.json", {"meta": {}})
    collect_scores(
        scores=[tmp_path / "c.json"],
        manifests=[tmp_path / "manifest.json"],
        autoencoders=[{"name": "ae", "group": "g", "training": "", "duplicate_of": ""}],
        data="here",
        output=tmp_path / "scores.csv",
    )
    assert list(pd.read_csv(tmp_path / "scores.csv")["metric"]) == ["canny"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(
            os, name, lambda *a, real=real, name=name: (calls.append(name), real(*a))
        )
    write_json(tmp_path / "a.json", 1)
    assert calls == ["fsync", "replace"]


def test_stages_are_merged_in_the_order_of_the_config(tmp_path):
    (tmp_path / "a.csv").write_text("autoencoder,metric,value\ny,psnr,1.10\nx,psnr,\n")
    (tmp_path / "b.csv").write_text("autoencoder,metric,value\nx,ifid,NA\n")
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    merge_scores(scores=paths, autoencoders=["x", "y"], output=tmp_path / "c.csv")
    expected = "autoencoder,metric,value\nx,psnr,\nx,ifid,NA\ny,psnr,1.10\n"
    assert (tmp_path / "c.csv").read_text() == expected
    with pytest.raises(ValueError, match="no scores to collect"):
        merge_scores(scores=[], autoencoders=["x"], output=tmp_path / "c.csv")


def test_heartbeats_say_how_far(caplog, monkeypatch):
    monkeypatch.setattr(progress_module, "HEARTBEAT_SECONDS", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO):
        assert list(progress(range(3), total=3, what="counting")) == [0, 1, 2]
    assert "counting: 1/3 steps" in caplog.messages[0]
    assert caplog.messages[-1].startswith("counting: 3 steps in")


def test_broken_json_names_the_file(tmp_path):
    from seesaw.files import read_json

    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="a.json is not valid JSON.*rerun"):
        read_json(tmp_path / "a.json")


def test_a_longer_training_goes_on_unless_its_rate_decays():
    train = {"steps": 100, "batch_size": 8}
    assert segment_recipe({"train": train}) == {"batch_size": 8}
    constant = {**train, "decay": "none"}
    assert segment_recipe({"train": constant}) == {"batch_size": 8, "decay": "none"}
    assert segment_recipe({"train": {**train, "decay": "cosine"}})["steps"] == 100
    assert segment_recipe({}) == {}
