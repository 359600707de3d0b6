"""Reruns rebuild what changed and nothing else: exact job lists over the smoke world."""

import copy
import os
import sys

import yaml

from .conftest import ROOT, SMOKE, plan, planned

CONFIG = yaml.safe_load(SMOKE.read_text())
NAMES = [entry["name"] for entry in CONFIG["autoencoders"]]
ITEMS = CONFIG["report"]["items"]
PROBED = CONFIG["probes"]["conditions"]
FROM_SCORES = [item for item in ITEMS if item in (
    "table2", "table5", "ifid_table4", "ifid_table5", "correlations", "diffusability_losses",
    "figure2", "figure3", "figure5", "figure6", "figure7", "figure8", "figure9",
)]  # fmt: skip
PRESENTED = [("collect_scores", ""), *((item, "") for item in FROM_SCORES), ("report", "")]


def test_nothing_to_do(smoke):
    assert plan(SMOKE) == []


def test_the_plan_of_a_fresh_world_is_complete(smoke, config_with, tmp_path):
    fresh = config_with(lambda c: c.update(pathvars={"results": str(tmp_path / "results")}))
    jobs = plan(fresh)
    count = {rule: sum(job[0] == rule for job in jobs) for rule in {job[0] for job in jobs}}
    n = len(NAMES)
    networks = {player["network"] for player in CONFIG["networks"].values()}
    trained = {name for name in networks if name.startswith("mini-")}
    assert count == {
        "pack_images": 2,
        "train_network": len(trained),
        "train_autoencoder": n,
        "reconstruct_images": n,
        "extract_conditions": (n + 1) * len(networks - {"lpips-alex-random"}) + len(PROBED),
        "score_metric": n * len(CONFIG["metrics"]),
        "find_neighbours": n * CONFIG["neighbours"]["parts"],
        "merge_neighbours": n,
        "score_ifid": n,
        "train_probe": n,
        "score_diffusability": n,
        "gallery": n,
        **{item: 1 for item in ITEMS if item != "gallery"},
        "collect_scores": 1,
        "report": 1,
    }


def test_a_touched_script_or_a_checkout_reruns_nothing(smoke):
    script = ROOT / "workflow/scripts/score_metric.py"
    before = script.stat()
    try:
        script.touch()
        assert plan(SMOKE) == []
    finally:
        os.utime(script, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_threads_and_batch_sizes_rerun_nothing(smoke):
    words = ("--set-resources", "reconstruct_images:batch_size=7", "score_ifid:batch_size=9")
    assert plan(SMOKE, *words) == []


def test_labels_rerun_only_what_shows_them(smoke, config_with):
    path = config_with(lambda c: c["autoencoders"][0].update(training="another word"))
    assert plan(path) == sorted(PRESENTED)


def test_the_name_of_a_run_reruns_only_what_shows_it(smoke, config_with):
    assert plan(config_with(lambda c: c.update(name="another name"))) == sorted(PRESENTED)


def test_alpha_reruns_ifid_tables_and_figures(smoke, config_with):
    path = config_with(lambda c: c["ifid"]["default"].update(alpha=0.25))
    images = [("ifid_figure5", "")] if "ifid_figure5" in ITEMS else []
    assert plan(path) == sorted([*(("score_ifid", name) for name in NAMES), *PRESENTED, *images])


def test_a_new_autoencoder_runs_its_own_chain_only(smoke, config_with):
    def add(config):
        entry = copy.deepcopy(config["autoencoders"][0])
        entry["name"] = "newcomer"
        config["autoencoders"].append(entry)

    networks = {player["network"] for player in CONFIG["networks"].values()}
    chain = [
        ("train_autoencoder", "newcomer"),
        ("reconstruct_images", "newcomer"),
        *(("extract_conditions", f"newcomer, {n}") for n in networks - {"lpips-alex-random"}),
        *(("score_metric", f"newcomer, {metric}") for metric in CONFIG["metrics"]),
        ("find_neighbours", "newcomer, 0"),
        ("merge_neighbours", "newcomer"),
        ("score_ifid", "newcomer"),
        ("train_probe", "newcomer"),
        ("probe_strip", ""),
        ("score_diffusability", "newcomer"),
        ("gallery", "newcomer"),
        ("ifid_figure5", ""),
        ("autoencoder_grid", ""),
    ]
    assert plan(config_with(add)) == sorted([*chain, *PRESENTED])


BUMP = """
import dataclasses, sys
import seesaw.registry as registry
name, entry = {name!r}, registry.{registry}
entry.entries[name] = dataclasses.replace(entry[name], version="bumped")
from snakemake.cli import main
main({words!r})
"""


def plan_with_bump(registry, name):
    import subprocess

    words = ["-n", "--cores", "2", "--configfile", str(SMOKE)]
    code = BUMP.format(registry=registry, name=name, words=words)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return planned(done.stdout + done.stderr)


def test_a_bumped_metric_reruns_its_dependants_only(smoke):
    jobs = plan_with_bump("METRICS", "ssim")
    assert jobs == sorted([*(("score_metric", f"{name}, ssim") for name in NAMES), *PRESENTED])


def test_a_bumped_detector_reruns_its_conditions_and_their_metrics(smoke):
    jobs = plan_with_bump("NETWORKS", "canny")
    sources = ["val", "train", *NAMES]
    assert jobs == sorted(
        [
            *(("extract_conditions", f"{source}, canny") for source in sources),
            *(("score_metric", f"{name}, canny") for name in NAMES),
            *(("train_probe", name) for name in NAMES),
            ("probe_strip", ""),
            *(("gallery", name) for name in NAMES),
            *PRESENTED,
        ]
    )


def test_a_bumped_network_of_an_image_metric_reruns_what_runs_it(smoke):
    jobs = plan_with_bump("NETWORKS", "lpips-alex-random")
    lpips = [("score_metric", f"{name}, lpips") for name in NAMES]
    losses = [("score_diffusability", name) for name in NAMES]
    assert jobs == sorted([*lpips, *losses, *PRESENTED])


def test_a_bumped_loss_reruns_the_diffusability_stage(smoke):
    jobs = plan_with_bump("LOSSES", "se-loss")
    assert jobs == sorted([*(("score_diffusability", name) for name in NAMES), *PRESENTED])


def test_a_bumped_interpolation_reruns_ifid(smoke):
    jobs = plan_with_bump("INTERPOLATIONS", "slerp")
    ifid = [*(("score_ifid", name) for name in NAMES), ("ifid_figure5", "")]
    assert jobs == sorted([*ifid, *PRESENTED])


def test_one_artifact_can_be_asked_for(smoke, tmp_path, config_with):
    fresh = config_with(lambda c: c.update(pathvars={"results": str(tmp_path / "results")}))
    wanted = str(tmp_path / "results/tables/table5.csv")
    rules = {rule for rule, _ in plan(fresh, wanted)}
    assert "table5" in rules
    assert not rules & {"figure2", "report", "gallery", "scenes"}
