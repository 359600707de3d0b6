"""Devices: no two jobs on one GPU, a dead job frees its own."""

import os
import subprocess
import sys
import time

import pytest

from seesaw.device import claim_device, lease, visible_devices

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


def test_cpu_mode_hides_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert claim_device(0) == "cpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
