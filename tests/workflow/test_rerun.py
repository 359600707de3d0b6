"""Reruns rebuild what changed and nothing else: exact job lists over the smoke world."""

import copy
import os
import re
import sys

import yaml

from seesaw.config import segment_ends

from .conftest import ROOT, SMOKE, plan, planned

CONFIG = yaml.safe_load(SMOKE.read_text())
NAMES = [entry["name"] for entry in CONFIG["autoencoders"]]
ITEMS = CONFIG["report"]["items"]
PROBED = CONFIG["probes"]["conditions"]
TEXT = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
READS = {
    body.partition(":")[0]: set(re.findall(r'"(\w+)"', stages[1]))
    for body in re.split(r"(?m)^rule ", TEXT)
    if (stages := re.search(r"scores=scores_of\(([^)*]+)\)", body))
}
"""Item -> stages whose scores it reads."""
SCORING = ["metrics", "protocols", "ifid", "probes", "gfid", "control", "diffusability"]
MODELS, SAMPLERS = CONFIG["diffusion"]["models"], CONFIG["diffusion"]["samplers"]
BY_PROTOCOLS = [
    ("score_protocols", f"{name}, ready-made") for name in CONFIG["protocols"]["autoencoders"]
]
SEGMENTS = [f"{step:07d}" for step in segment_ends(CONFIG["diffusion"])]


def presented(*stages):
    """Jobs behind scores of these stages: their tables, the items that read them, the report."""
    items = [item for item in ITEMS if READS.get(item, set()) & set(stages)]
    return [
        *(("collect_scores", stage) for stage in stages),
        *((item, "") for item in [*items, "scores", "report"]),
    ]


def generating(name, samplers=SAMPLERS):
    """Jobs behind the training of an autoencoder's diffusion models."""
    for model in MODELS:
        for sampler in (sampler["name"] for sampler in samplers):
            yield "sample_images", f"{name}, {model}, {sampler}"
            yield "extract_conditions", f"{name}@{model}@{sampler}, mini-inception"
            yield "score_gfid", f"{name}, {model}, {sampler}"
        if SAMPLERS[0] in samplers:
            yield "score_gfid_times", f"{name}, {model}"


def training(name):
    """Jobs of the training itself."""
    return [("train_diffusion", f"{name}, {m}, {step}") for m in MODELS for step in SEGMENTS]


CONTROLLED, CONDITIONS = CONFIG["control"]["autoencoders"], CONFIG["control"]["conditions"]


def controlling(name, conditions=CONDITIONS):
    """Jobs behind the training of an autoencoder's SiT, and behind its conditions."""
    for condition in conditions:
        source, network = f"{name}@control@{condition}", CONFIG["networks"][condition]["network"]
        yield "train_control", f"{name}, {condition}"
        yield "sample_control", f"{name}, {condition}"
        yield "extract_conditions", f"{source}, {network}"
        yield "extract_conditions", f"{source}, mini-inception"
        yield "extract_conditions", f"{name}@{MODELS[0]}@{SAMPLERS[0]['name']}, {network}"
        yield "score_control", f"{name}, {condition}"


FIGURE4 = [("figure4", "")] if "figure4" in ITEMS else []
PROPERTIES = [(item, "") for item in ITEMS if item == "autoencoder_properties"]
SAMPLE_GRID = [("sample_grid", "")] if "sample_grid" in ITEMS else []
DENOISED = [("ifid_figure2", "")] if "ifid_figure2" in ITEMS else []


def test_items_read_stages_that_score():
    assert set().union(*READS.values()) == set(SCORING)


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
        "extract_conditions": (n + 1) * len(networks - {"lpips-alex-random"})
        + len(PROBED)
        + n * len(MODELS) * len(SAMPLERS)
        + 3 * len(CONTROLLED) * len(CONDITIONS),
        **dict.fromkeys(
            ("train_control", "sample_control", "score_control"), len(CONTROLLED) * len(CONDITIONS)
        ),
        "train_diffusion": n * len(MODELS) * len(SEGMENTS),
        "sample_images": n * len(MODELS) * len(SAMPLERS),
        "score_gfid": n * len(MODELS) * len(SAMPLERS),
        "score_gfid_times": n * len(MODELS),
        "score_metric": n * len(CONFIG["metrics"]),
        "score_protocols": len(BY_PROTOCOLS),
        "find_neighbours": n * CONFIG["neighbours"]["parts"],
        "merge_neighbours": n,
        "score_ifid": n,
        "train_probe": n,
        "score_diffusability": n,
        "gallery": n,
        **{item: 1 for item in ITEMS if item != "gallery"},
        "collect_scores": len(SCORING),
        "scores": 1,
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
    rules = (
        "reconstruct_images", "score_ifid", "sample_images", "score_gfid_times", "sample_control",
    )  # fmt: skip
    assert plan(SMOKE, "--set-resources", *(f"{rule}:batch_size=7" for rule in rules)) == []


def test_labels_rerun_only_what_shows_them(smoke, config_with):
    path = config_with(lambda c: c["autoencoders"][0].update(training="another word"))
    assert plan(path) == sorted(presented(*SCORING))


def test_the_name_of_a_run_reruns_only_what_shows_it(smoke, config_with):
    assert plan(config_with(lambda c: c.update(name="another name"))) == sorted(presented(*SCORING))


def test_alpha_reruns_ifid_tables_and_figures(smoke, config_with):
    path = config_with(lambda c: c["ifid"]["default"].update(alpha=0.25))
    images = [("ifid_figure5", "")] if "ifid_figure5" in ITEMS else []
    assert plan(path) == sorted(
        [*(("score_ifid", name) for name in NAMES), *presented("ifid"), *images]
    )


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
        *training("newcomer"),
        *generating("newcomer"),
        ("train_probe", "newcomer"),
        ("probe_strip", ""),
        ("score_diffusability", "newcomer"),
        ("gallery", "newcomer"),
        ("ifid_figure5", ""),
        ("autoencoder_grid", ""),
        *PROPERTIES,
        *SAMPLE_GRID,
        *DENOISED,
    ]
    stages = ("metrics", "ifid", "probes", "gfid", "diffusability")
    assert plan(config_with(add)) == sorted([*chain, *presented(*stages)])


def test_a_sampler_reruns_its_samples_and_their_scores(smoke, config_with):
    guided = SAMPLERS[1:]
    path = config_with(lambda c: c["diffusion"]["samplers"][1].update(guidance=3.0))
    assert plan(path) == sorted(
        [*(job for n in NAMES for job in generating(n, guided)), *SAMPLE_GRID, *presented("gfid")]
    )


def test_times_rerun_the_scores_that_start_from_them(smoke, config_with):
    path = config_with(lambda c: c["gfid"].update(times=[0, 0.5]))
    times = [("score_gfid_times", f"{name}, {model}") for name in NAMES for model in MODELS]
    assert plan(path) == sorted([*times, *DENOISED, *presented("gfid")])


def test_the_recipe_reruns_training_and_all_behind_it(smoke, config_with):
    path = config_with(lambda c: c["diffusion"]["train"].update(lr=2.0e-3))
    jobs = [job for name in NAMES for job in (*training(name), *generating(name))]
    jobs += [job for name in CONTROLLED for job in controlling(name)]
    shown = [*FIGURE4, *SAMPLE_GRID, *DENOISED, *presented("gfid", "control")]
    assert plan(path) == sorted([*jobs, *shown])


def test_a_branch_reruns_its_samples_and_their_scores(smoke, config_with):
    path = config_with(lambda c: c["control"]["train"].update(lr=2.0e-3))
    jobs = [job for name in CONTROLLED for job in controlling(name) if "SiT" not in job[1]]
    assert plan(path) == sorted([*jobs, *FIGURE4, *presented("control")])


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
    ssim = [("score_metric", f"{name}, ssim") for name in NAMES]
    assert jobs == sorted([*ssim, *BY_PROTOCOLS, *presented("metrics", "protocols")])


def test_a_bumped_detector_reruns_its_conditions_and_their_metrics(smoke):
    jobs = plan_with_bump("NETWORKS", "canny")
    sources = ["val", "train", *NAMES]
    assert jobs == sorted(
        [
            *(("extract_conditions", f"{source}, canny") for source in sources),
            *(("score_metric", f"{name}, canny") for name in NAMES),
            *(("train_probe", name) for name in NAMES),
            ("probe_strip", ""),
            *(job for name in CONTROLLED for job in controlling(name, ["canny"])),
            *FIGURE4,
            *(("gallery", name) for name in NAMES),
            *presented("metrics", "probes", "control"),
        ]
    )


def test_a_bumped_network_of_an_image_metric_reruns_what_runs_it(smoke):
    jobs = plan_with_bump("NETWORKS", "lpips-alex-random")
    lpips = [("score_metric", f"{name}, lpips") for name in NAMES]
    losses = [("score_diffusability", name) for name in NAMES]
    assert jobs == sorted(
        [*lpips, *losses, *BY_PROTOCOLS, *presented("metrics", "protocols", "diffusability")]
    )


def test_a_bumped_loss_reruns_the_diffusability_stage(smoke):
    jobs = plan_with_bump("LOSSES", "se-loss")
    losses = [("score_diffusability", name) for name in NAMES]
    assert jobs == sorted([*losses, *presented("diffusability")])


def test_a_bumped_interpolation_reruns_ifid(smoke):
    jobs = plan_with_bump("INTERPOLATIONS", "slerp")
    ifid = [*(("score_ifid", name) for name in NAMES), ("ifid_figure5", "")]
    assert jobs == sorted([*ifid, *presented("ifid")])


def test_one_artifact_can_be_asked_for(smoke, tmp_path, config_with):
    fresh = config_with(lambda c: c.update(pathvars={"results": str(tmp_path / "results")}))
    wanted = str(tmp_path / "results/tables/table5.csv")
    rules = {rule for rule, _ in plan(fresh, wanted)}
    assert "table5" in rules
    assert not rules & {"figure2", "report", "gallery", "scenes"}
    assert not rules & {"find_neighbours", "train_diffusion", "train_probe", "train_control"}


def test_a_block_can_be_left_out_on_the_command_line(smoke, tmp_path, config_with):
    fresh = config_with(lambda c: c.update(pathvars={"results": str(tmp_path / "results")}))
    wanted, blocks = str(tmp_path / "results/figures/figure3.png"), ("diffusion", "gfid", "control")
    assert "train_diffusion" in {rule for rule, _ in plan(fresh, wanted)}
    without = plan(fresh, wanted, "--config", *(f"{block}=null" for block in blocks))
    rules = {rule for rule, _ in without}
    assert "figure3" in rules
    assert not rules & {"train_diffusion", "score_gfid", "train_control"}
