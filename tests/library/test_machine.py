"""As many jobs of the mini world as CPUs and memory hold."""

import os
import subprocess
import sys

import pytest

from seesaw import machine
from seesaw.machine import fitting_cores, memory_bytes

GB = 10**9


@pytest.mark.parametrize(
    "cpus, gigabytes, cores",
    [
        (64, 512, 64),  # enough of both
        (64, 16, 10),  # 10 x 1.5 + 1
        (64, 15.9, 9),
        (8, 8, 4),
        (2, 64, 2),
        (4, 1, 2),  # never fewer than two for want of memory
        (1, 64, 1),
        (1, 1, 1),
    ],
)
def test_cores_fit_cpus_and_memory(cpus, gigabytes, cores):
    assert fitting_cores(cpus, gigabytes * GB) == cores


def test_a_container_has_the_memory_of_its_limit(monkeypatch, tmp_path):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "CGROUPS", (limit, tmp_path / "absent"))
    whole = memory_bytes()  # no such file
    assert whole == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit.write_text("max\n")
    assert memory_bytes() == whole
    limit.write_text("1000000000\n")
    assert memory_bytes() == GB
    limit.write_text(f"{2**63 - 4096}\n")  # no limit, as the first version says it
    assert memory_bytes() == whole


def test_the_command_prints_a_number_and_does_not_load_torch():
    code = "import runpy, sys; runpy.run_module('seesaw.machine', run_name='__main__')"
    code += "; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == fitting_cores(machine.cpu_count(), memory_bytes()) >= 1
