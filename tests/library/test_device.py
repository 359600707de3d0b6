"""Devices: no two jobs on one GPU, a dead job frees its own."""

import logging
import os
import subprocess
import sys
import tempfile
import time

import pytest

from seesaw import device
from seesaw.device import claim_device, lease, unused_gpus, visible_devices

WORKER = """
import os, sys, time
from pathlib import Path
from seesaw.device import lease
folder, markers, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
for device in lease(["0", "1", "2", "3"], count, folder):
    file = os.open(markers / device, os.O_CREAT | os.O_EXCL)  # fails if somebody is there
    os.close(file)
    time.sleep(0.05)
    os.unlink(markers / device)
"""


def test_forty_jobs_on_four_devices_never_meet(tmp_path):
    markers = tmp_path / "markers"
    markers.mkdir()
    words = [sys.executable, "-c", WORKER, str(tmp_path / "locks"), str(markers)]
    waiting = [[*words, "2" if job % 5 == 0 else "1"] for job in range(40)]
    running = []
    while waiting or running:
        while waiting and len(running) < 8:
            running.append(subprocess.Popen(waiting.pop(), stderr=subprocess.PIPE, text=True))
        done = [job for job in running if job.poll() is not None]
        for job in done:
            assert job.returncode == 0, job.stderr.read()
        running = [job for job in running if job not in done]
        time.sleep(0.01)


def test_a_killed_holder_frees_its_device(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from seesaw.device import lease; "
        "print(lease(['7'], 1, Path(sys.argv[1])), flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert b"7" in holder.stdout.readline()
    holder.kill()
    holder.wait()
    start = time.monotonic()
    assert lease(["7"], 1, tmp_path) == ["7"]
    assert time.monotonic() - start < 5


def test_too_few_devices_is_said(tmp_path):
    with pytest.raises(RuntimeError, match=r"2 GPU\(s\) asked for, this host offers 0; use"):
        lease(["0"], 2, tmp_path)
    with pytest.raises(RuntimeError, match="offers none"):
        lease([], 1, tmp_path)


@pytest.mark.parametrize(
    "preset, devices", [("2,5", ["2", "5"]), ("", []), ("-1", []), (" 3 ", ["3"])]
)
def test_a_preset_is_respected(monkeypatch, preset, devices):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", preset)
    assert visible_devices() == devices


def listing(folder, monkeypatch, words):
    """A program ``nvidia-smi`` that does what ``words`` say, and no preset."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{words}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_driver_that_does_not_answer_has_no_devices(tmp_path, monkeypatch):
    listing(tmp_path, monkeypatch, "exec sleep 30")
    monkeypatch.setattr(device, "LISTING_SECONDS", 0.2)
    assert visible_devices() == []
    listing(tmp_path, monkeypatch, "echo 'GPU 0: broken'; exit 9")
    assert visible_devices() == []


def test_gpus_that_a_run_leaves_idle_are_told_of(tmp_path, monkeypatch):
    listing(tmp_path, monkeypatch, "for i in 0 1 2 3; do echo GPU $i: H100; done")
    told = unused_gpus(0, [0, 1, 0])
    assert told.startswith(
        "This machine has 4 GPUs and none is used; add --resources gpu=4 (or, if"
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert unused_gpus(0, [2]).startswith(
        "This machine has 1 GPU and none is used; add --resources gpu=1 (or, if"
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert unused_gpus(0, [2]) is None


@pytest.mark.parametrize("limit, asked", [(1, [1]), (None, [1]), (0, [0, 0]), (0, [])])
def test_nothing_is_told_of_where_gpus_are_used_or_not_asked_for(
    tmp_path, monkeypatch, limit, asked
):
    listing(tmp_path, monkeypatch, f"touch {tmp_path}/was-asked; echo GPU 0: H100")
    assert unused_gpus(limit, asked) is None
    assert not (tmp_path / "was-asked").exists()  # the driver is not even asked


def test_cpu_mode_hides_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert claim_device(0) == "cpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


COLLECTING = """
import atexit, gc, sys
from seesaw.device import claim_device

atexit.register(lambda: print("frozen at the end:", gc.get_freeze_count() > 40_000))
claim_device(0)
before = gc.get_stats()[0]["collections"]
many = [[] for _ in range(40_000)]
print("collected meanwhile:", gc.get_stats()[0]["collections"] - before)
sys.exit(3)
"""


def test_a_job_spends_little_on_collecting_garbage():
    done = subprocess.run([sys.executable, "-c", COLLECTING], capture_output=True, text=True)
    meanwhile, at_the_end = done.stdout.splitlines()
    assert meanwhile in ("collected meanwhile: 0", "collected meanwhile: 1")  # 57 as Python has it
    assert at_the_end == "frozen at the end: True"
    assert done.returncode == 3


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Set variables for a claim that computes on the CPU, with lock files of its own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def set_variables(**variables):
        for name in ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {"SEESAW_DEVICE": "cpu", **variables}.items():
            monkeypatch.setenv(name, value)

    return set_variables


def claimed(caplog, gpu=1):
    """Ids that a claim sets, and its line in the log."""
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert claim_device(gpu) == "cpu"
    assert len(caplog.messages) == 1
    return os.environ["CUDA_VISIBLE_DEVICES"], caplog.messages[0]


def test_a_claim_leases_of_the_preset_devices_only(environment, caplog):
    environment(CUDA_VISIBLE_DEVICES="3,5")
    first, line = claimed(caplog)
    assert line == f"device: cpu, as SEESAW_DEVICE says; holds index {first} (leased)"
    environment(CUDA_VISIBLE_DEVICES="3,5")
    second, _ = claimed(caplog)
    assert {first, second} == {"3", "5"}


def test_two_devices_for_one_job(environment, caplog):
    environment(CUDA_VISIBLE_DEVICES="0,1,2")
    assert claimed(caplog, gpu=2)[0] == "0,1"
    environment(CUDA_VISIBLE_DEVICES="1")
    with pytest.raises(RuntimeError, match=r"2 GPU\(s\) asked for, this host offers 1"):
        claim_device(2)


@pytest.mark.parametrize("variable", ["SLURM_JOB_GPUS", "SLURM_STEP_GPUS"])
def test_what_slurm_gave_is_taken_as_it_is(environment, caplog, tmp_path, variable):
    given = {variable: "6", "SLURM_JOB_ID": "17", "CUDA_VISIBLE_DEVICES": "2"}
    for _ in range(2):  # no lease: two jobs of a cgroup both know their device as index 2
        environment(**given)
        index, line = claimed(caplog)
        assert index == "2"
        assert line.endswith("holds index 2 (given by SLURM job 17)")
    assert list(tmp_path.iterdir()) == []


def test_jobs_inside_one_allocation_share_it_out(environment, caplog):
    given = {"SLURM_JOB_GPUS": "4,5", "SLURM_JOB_ID": "17", "CUDA_VISIBLE_DEVICES": "0,1"}
    held = set()
    for _ in range(2):
        environment(**given)
        index, line = claimed(caplog)
        held.add(index)
        assert line.endswith("(leased in SLURM job 17)")
    assert held == {"0", "1"}
    environment(**given | {"SLURM_JOB_ID": "18"})  # another allocation counts from 0 again
    assert claimed(caplog)[0] == "0"


@pytest.mark.parametrize("visible", [{}, {"CUDA_VISIBLE_DEVICES": ""}])
def test_a_slurm_job_without_its_gpu_says_so(environment, visible):
    environment(SLURM_JOB_GPUS="", SLURM_JOB_ID="17", **visible)
    with pytest.raises(RuntimeError, match=r"1 GPU\(s\) asked for, SLURM job 17 was given none"):
        claim_device(1)


def test_cpu_mode_says_so_and_holds_nothing(environment, caplog, tmp_path):
    environment(CUDA_VISIBLE_DEVICES="0,1", SEESAW_DEVICE="")
    assert claimed(caplog, gpu=0) == ("", "device: cpu")
    assert list(tmp_path.iterdir()) == []


def test_no_device_but_cpu_can_be_forced(environment):
    environment(SEESAW_DEVICE="cuda:1")
    with pytest.raises(ValueError, match="SEESAW_DEVICE is 'cuda:1'; it can be 'cpu'"):
        claim_device(1)


def test_a_gpu_that_torch_cannot_use_is_said(environment):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    environment(CUDA_VISIBLE_DEVICES="0", SEESAW_DEVICE="")
    with pytest.raises(RuntimeError, match=r"torch .* sees none; run with --resources gpu=0"):
        claim_device(1)
