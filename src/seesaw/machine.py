"""How many jobs fit on this machine: ``python -m seesaw.machine`` prints it for ``make demo``.

Torch-free and quick. Snakemake's ``--cores all`` looks at the CPUs only, not at the memory.
"""

import os
import sys
from pathlib import Path

CORE_BYTES = 1.5e9
"""Memory of one job of the mini world, at most (the table in the README)."""

SPARE_BYTES = 1e9
"""What is left to the system and to Snakemake itself."""

CGROUPS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where the limit of a container stands, by the second and by the first version of cgroups."""


def cpu_count() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_bytes() -> int:
    """Memory of this machine in bytes, or of its container where that is less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in CGROUPS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        limits += [int(text)] if text.isdigit() else []  # "max": no limit
    return min(limits)


def fitting_cores(cpus: int, memory: float) -> int:
    """Jobs of the mini world at a time: one per CPU, as many as the memory holds, at least two.

    Two is what the mini world was measured with; a machine of one CPU gets one.

    Args:
        cpus: of the machine.
        memory: of the machine, in bytes.
    """
    return min(cpus, max(2, int((memory - SPARE_BYTES) // CORE_BYTES)))


if __name__ == "__main__":
    sys.stdout.write(f"{fitting_cores(cpu_count(), memory_bytes())}\n")
