"""Through profiles/slurm on a real SLURM of one node: devices, retries, and the way back."""

import os
import re
import subprocess
import sys
from datetime import datetime
from itertools import combinations

import pytest
import yaml

from .conftest import ROOT, SMOKE, planned, snakemake
from .one_node_slurm import ask, missing, one_node_slurm

PROFILE = ROOT / "profiles/slurm"
DEFAULT = ROOT / "profiles/default/config.yaml"
HUNGRY = ROOT / "tests/workflow/out_of_memory/Snakefile"

# A job of each of the seven kinds that measure and train the mini world, two levels deep, and one
# that asks for no GPU. Longer ones (probes) claim their device in the same way, which
# test_a_claim_of_devices_reaches_the_log sees to.
REMADE = {
    "networks/mini-clip/weights.safetensors": "train_network",
    "autoencoders/se-f4c4/weights.safetensors": "train_autoencoder",
    "reconstruct/tok1d/manifest.json": "reconstruct_images",
    "neighbours/tok1d/part-0.parquet": "find_neighbours",
    "conditions/kl-f4c4/mini-depth/manifest.json": "extract_conditions",
    "metrics/kl-f4c4/lpips.json": "score_metric",
    "ifid/kl-f4c4/scores.json": "score_ifid",
    "conditions/kl-f4c4/canny/manifest.json": "extract_conditions",
}
ON_CPU = ("/canny/",)
GPU_KINDS = {rule for target, rule in REMADE.items() if not any(w in target for w in ON_CPU)}

slurm = pytest.mark.skipif(
    bool(missing()),
    reason=f"no SLURM here: {', '.join(missing())} missing (apt-get install slurm-wlm munge)",
)


def test_what_the_default_profile_says_matters_on_a_cluster_too():
    """--workflow-profile replaces profiles/default, so everything but its GPUs stands twice."""
    default, cluster = (
        yaml.safe_load(path.read_text()) for path in (DEFAULT, PROFILE / "config.yaml")
    )
    assert set(default) == {key for key in default if key in cluster} | {"resources"}
    assert all(cluster[key] == default[key] for key in default if key != "resources")
    # a limit of what jobs ask several of would cut them down; downloads ask one each
    assert set(cluster.get("resources", {})) <= {"download"}
    partitions = yaml.safe_load((ROOT / cluster["slurm-partition-config"]).read_text())
    assert any(limits.get("max_gpu", 0) > 0 for limits in partitions["partitions"].values())


def test_memory_grows_with_each_attempt():
    asked = [
        line.strip()
        for file in sorted((ROOT / "workflow/rules").glob("*.smk"))
        for line in file.read_text().splitlines()
        if line.strip().startswith("mem_mb=")
    ]
    assert len(asked) > 5
    inline = [line for line in asked if line != "mem_mb=get_packing_memory,"]
    assert all("* attempt" in line for line in inline), inline
    common = (ROOT / "workflow/rules/common/inputs.smk").read_text()
    function = common[common.index("def get_packing_memory") :]
    assert "attempt * " in function[: function.index("\n\n\n")]
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    assert "* attempt" in profile["default-resources"]["mem_mb"]
    assert profile["retries"] >= 1


def test_the_gpus_of_a_job_are_asked_of_one_node():
    """--gpus=4 alone may be split; and nothing here may ask for more CPUs than a small node has."""
    defaults = yaml.safe_load((PROFILE / "config.yaml").read_text())["default-resources"]
    assert defaults["nodes"] == 1
    assert 1 <= defaults["cpus_per_gpu"] <= 2


def test_a_claim_of_devices_reaches_the_log():
    """The script of every rule that may ask for a GPU claims it, and configures its log before."""
    scripts = {}
    for file in sorted((ROOT / "workflow/rules").glob("*.smk")):
        for rule in re.split(r"^rule ", file.read_text(), flags=re.MULTILINE)[1:]:
            if re.search(r"^ +gpu=", rule, re.MULTILINE):
                name = rule.partition(":")[0]
                scripts[name] = (ROOT / f"workflow/scripts/{name}.py").read_text()
    assert set(scripts) >= GPU_KINDS
    for name, text in scripts.items():
        assert 0 < text.find("configure_logging(snakemake") < text.find("claim_device(snake"), name


def through_slurm(cluster, *words, cwd=ROOT):
    """Run Snakemake with the profile on the cluster, its slow first look made quick."""
    words = ["--workflow-profile", PROFILE, "--slurm-init-seconds-before-status-checks", 2, *words]
    words += ["--slurm-partition-config", PROFILE / "partitions.yaml", "--latency-wait", 5]
    words = [sys.executable, "-m", "snakemake", *words]
    return subprocess.Popen(
        list(map(str, words)),
        cwd=cwd,
        env={**cluster, "SEESAW_DEVICE": "cpu", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with one_node_slurm(tmp_path_factory.mktemp("slurm") / "c", gpus=4) as env:
        yield env


@pytest.fixture(scope="module")
def world(smoke, tmp_path_factory):
    """The smoke world in a folder of its own, without what is to be made through SLURM."""
    folder = tmp_path_factory.mktemp("world")
    config = yaml.safe_load(SMOKE.read_text())
    config["pathvars"]["results"] = str(folder / "results")
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    subprocess.run(["cp", "-a", str(smoke), str(folder / "results")], check=True)
    for target in REMADE:
        (folder / "results" / target).unlink()
    return path, folder / "results"


@pytest.fixture(scope="module")
def hungry(cluster, tmp_path_factory):
    """Snakemake with a job that is killed for memory once; it runs beside the other run."""
    folder = tmp_path_factory.mktemp("hungry")
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{cluster['PATH']}"
    words = ["hungry.txt", "--directory", folder, "--snakefile", HUNGRY]
    process = through_slurm({**cluster, "PATH": path}, *words)
    yield process, folder
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def remade(cluster, world, hungry):
    """What the run printed and, per GPU job, its log line and its times according to SLURM."""
    config, results = world
    logs = results / "logs"
    for log in logs.rglob("*.log"):
        log.unlink()
    targets = [results / target for target in REMADE]
    process = through_slurm(cluster, *targets, "--configfile", config)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == 0, printed[-8000:]
    jobs = []
    for log in sorted(logs.rglob("*.log")):
        for line in log.read_text().splitlines():
            if "seesaw.device: device:" in line:
                jobs.append((log.parent.name, line, *times(cluster, line)))
    return printed, jobs


def shown_of(cluster, line):
    """What SLURM knows of the job that a log line names, or None where it names none."""
    match = re.search(r"SLURM job (\d+)", line)
    return match and ask(["scontrol", "show", "job", match[1]], cluster)


def times(cluster, line):
    """Start and end of the SLURM job that a log line names."""
    shown = shown_of(cluster, line)
    if shown is None:
        return None, None
    found = [re.search(rf"{word}Time=(\S+)", shown)[1] for word in ("Start", "End")]
    return tuple(map(datetime.fromisoformat, found))


@slurm
def test_every_kind_of_gpu_job_holds_one_device(remade, world):
    _, jobs = remade
    on_gpu = [job for job in jobs if "SLURM job" in job[1]]
    assert {rule for rule, *_ in on_gpu} == GPU_KINDS
    assert len(on_gpu) == len(REMADE) - len(ON_CPU)
    for _, line, *_ in on_gpu:
        assert re.search(r"holds index [0-3] \(given by SLURM job \d+\)$", line), line
    on_cpu = [line for _, line, *_ in jobs if "SLURM job" not in line]
    assert len(on_cpu) == len(ON_CPU)
    assert all(line.endswith("device: cpu") for line in on_cpu)


@slurm
def test_a_gpu_job_has_one_node_and_cpus_for_its_gpu(remade, cluster):
    """As the profile's default resources say."""
    _, jobs = remade
    shown = [shown_of(cluster, line) for _, line, *_ in jobs if "SLURM job" in line]
    assert len(shown) >= 7
    for words in shown:
        assert "NumNodes=1 NumCPUs=2 NumTasks=1" in words, words
        assert re.search(r"TresPerJob=gres[:/]gpu:1\s", words), words


@slurm
def test_no_device_is_shared_at_any_time(remade):
    _, jobs = remade
    held = [
        (re.search(r"index (\d)", line)[1], start, end)
        for _, line, start, end in jobs
        if start is not None
    ]
    assert len(held) >= 7
    together = [(a, b) for a, b in combinations(held, 2) if a[1] < b[2] and b[1] < a[2]]
    assert together, "no two jobs ran at the same time: this run says nothing"
    assert all(a[0] != b[0] for a, b in together)


@slurm
def test_results_are_those_of_the_local_run(remade, world, smoke):
    _, results = world
    for target in REMADE:
        made, original = results / target, smoke / target
        assert made.exists()
        if made.name in ("manifest.json", "weights.safetensors"):
            assert made.read_bytes() == original.read_bytes(), target


@slurm
def test_back_on_this_machine_nothing_reruns(remade, world):
    config, results = world
    targets = [results / target for target in REMADE]
    assert "Nothing to be done" in snakemake("-n", *targets, "--configfile", config)
    # and the plan can tell: another seed would make again what SLURM made
    changed = yaml.safe_load(config.read_text()) | {"seed": 1}
    other = config.with_name("other.yaml")
    other.write_text(yaml.safe_dump(changed, sort_keys=False))
    rerun = {rule for rule, _ in planned(snakemake("-n", *targets, "--configfile", other))}
    assert GPU_KINDS - {"extract_conditions"} <= rerun


@slurm
def test_a_job_killed_for_memory_gets_more(hungry, remade):
    process, folder = hungry
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed[-8000:]
    assert (folder / "hungry.txt").exists()
    attempts = (folder / "attempts.txt").read_text().splitlines()
    assert attempts == ["attempt 1 with 600 MB", "attempt 2 with 1200 MB"]
    logs = "".join(log.read_text() for log in (folder / ".snakemake").rglob("slurm_logs/**/*.log"))
    assert "exceeded memory limit" in logs
