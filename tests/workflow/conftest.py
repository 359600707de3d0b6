"""The smoke world is made once, by the workflow itself; tests read it or plan on top of it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "config" / "smoke.yaml"
os.environ["SEESAW_OFFLINE"] = "1"  # no test reaches for the internet


def snakemake(*words, cwd=ROOT, code=0, timeout=900, env=None):
    """Run Snakemake in a process of its own and return all that it printed."""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, words)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            check=False,
        )
        printed = done.stdout + done.stderr
        # a person's own Snakemake in this folder may just have removed the folder of locks
        if not ("FileNotFoundError" in printed and ".snakemake/locks" in printed):
            break
    assert done.returncode == code, printed[-6000:]
    return printed


def planned(printed):
    """Jobs of a dry-run: sorted (rule, wildcards) without the collecting rule ``all``."""
    jobs, rule = [], None
    for line in printed.splitlines():
        if match := re.match(r"(?:local)?(?:rule|checkpoint) (\w+):$", line.strip()):
            if rule:
                jobs.append((rule, ""))
            rule = match[1]
        elif rule and (match := re.match(r"\s+wildcards: (.*)$", line)):
            jobs.append((rule, ", ".join(w.split("=", 1)[1] for w in match[1].split(", "))))
            rule = None
    if rule:
        jobs.append((rule, ""))
    return sorted({job for job in jobs if job[0] != "all"})


def plan(config, *words):
    """Jobs that a dry-run with this config file would run."""
    return planned(snakemake("-n", *words, "--configfile", config))


@pytest.fixture(scope="session")
def smoke():
    """The results folder of a complete smoke run."""
    snakemake("--configfile", SMOKE)
    return ROOT / "results" / "smoke"


@pytest.fixture
def config_with(tmp_path):
    """Write a changed copy of a config file: ``config_with(change, base)`` -> its path."""

    def write(change, base=SMOKE, name="config.yaml"):
        content = yaml.safe_load(Path(base).read_text())
        change(content)
        path = tmp_path / name
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write
