"""A job killed in the middle of any stage: the rerun completes, no half file is taken for whole."""

import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
import yaml

from .conftest import ROOT, SMOKE, snakemake

NAME = yaml.safe_load(SMOKE.read_text())["autoencoders"][-1]["name"]
STAGES = {
    "data": "data/val/manifest.json",
    "autoencoders": f"autoencoders/{NAME}/weights.safetensors",
    "reconstruct": f"reconstruct/{NAME}/manifest.json",
    "conditions": f"conditions/{NAME}/mini-depth/manifest.json",
    "metrics": f"metrics/{NAME}/kid.json",
    "neighbours": f"neighbours/{NAME}/part-0.parquet",
    "ifid": f"ifid/{NAME}/scores.json",
    "diffusion": f"diffusion/{NAME}/SiT-Ti/step0000012.pt",
    "samples": f"diffusion/{NAME}/SiT-Ti/samples/plain/manifest.json",
    "gfid": f"gfid/{NAME}/SiT-Ti/times.json",
}


def jobs_of(session):
    """Pids of the script processes of one Snakemake run, by its session."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                words = open(f"/proc/{entry.name}/cmdline").read().split("\0")
            except OSError:
                continue
            if any(".snakemake/scripts/" in word for word in words) and in_session(entry, session):
                found.append(int(entry.name))
    return found


def in_session(entry, session):
    try:
        return os.getsid(int(entry.name)) == session
    except ProcessLookupError:
        return False


@pytest.fixture
def world(smoke, tmp_path):
    """A copy of the smoke world in a folder of its own, as Snakemake sees it up to date."""
    config = yaml.safe_load(SMOKE.read_text())
    config["pathvars"]["results"] = str(tmp_path / "results")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    subprocess.run(["cp", "-a", str(smoke), str(tmp_path / "results")], check=True)
    return path, tmp_path / "results"


def kill_after(delay, target, config):
    """Start Snakemake, wait for its job, and kill both ``delay`` seconds later."""
    snakemake("--unlock", "--configfile", config)
    words = [sys.executable, "-m", "snakemake", str(target), "--cores", "2"]
    words += ["--rerun-triggers", "mtime", "--configfile", str(config)]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    end = time.monotonic() + 120
    while not (jobs := jobs_of(process.pid)) and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(delay)
    for pid in [process.pid, *jobs]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds the job's process in /proc")
@pytest.mark.parametrize("stage", STAGES)
def test_killed_jobs_are_done_again(world, smoke, stage):
    config, results = world
    target = results / STAGES[stage]
    target.unlink()
    for delay in (0.8, 0.3, 0.05):  # shorter where the job is quicker than that
        kill_after(delay, target, config)
        if not target.exists():
            break
        target.unlink()
    else:
        pytest.fail(f"the job of stage {stage} could not be caught while it ran")
    snakemake("--unlock", "--configfile", config)
    snakemake(target, "--rerun-triggers", "mtime", "--configfile", config)
    assert target.exists()
    original = smoke / STAGES[stage]
    if target.suffix == ".parquet":
        pd.testing.assert_frame_equal(pd.read_parquet(target), pd.read_parquet(original))
    elif target.suffix in (".safetensors", ".pt") or target.name == "manifest.json":
        assert target.read_bytes() == original.read_bytes()
    assert list(results.rglob(".*.part*")) == []


def test_a_training_that_two_devices_share(world, smoke, tmp_path):
    """Two processes, one per device (here they compute on the CPU), end where one does."""
    config, results = world
    content = yaml.safe_load(config.read_text())
    content["diffusion"]["gpus"] = 2
    config.write_text(yaml.safe_dump(content, sort_keys=False))
    target = results / STAGES["diffusion"]
    target.unlink()
    words = ("--resources", "gpu=2", "--rerun-triggers", "mtime", "--configfile", config)
    environment = {"SEESAW_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": "0,1", "TMPDIR": str(tmp_path)}
    snakemake(target, *words, env=environment)
    log = (results / f"logs/train_diffusion/{NAME}_SiT-Ti_0000012.log").read_text()
    assert "holds index 0, 1 (leased)" in log
    assert f"SiT-Ti on {NAME}: " in log
    two, one = (
        torch.load(path, weights_only=True) for path in (target, smoke / STAGES["diffusion"])
    )
    assert two["steps"] == one["steps"]
    torch.testing.assert_close(two["recent"], one["recent"], atol=0, rtol=1e-4)
    assert not all(torch.equal(two["ema"][key], one["ema"][key]) for key in one["ema"])
