"""Official weights through the workflow: fetched when absent, left alone when there."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save

from seesaw.assets import LOCK_NAME, read_lock

from .conftest import ROOT, planned, snakemake

sys.path.insert(0, str(ROOT / "tests"))
from loopback import Page, serving

PATHS = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
FILE = "owner/repo/deep/model.safetensors"
LONG = {"words": "x" * 200_000}
CONTENT = save({"gain": np.array([1.0, 0.5, 0.25], np.float32).reshape(3, 1, 1)}, LONG)
OTHER = save({"gain": np.ones((3, 1, 1), np.float32)}, LONG)


class World:
    """A config with one autoencoder whose weights a server on loopback has."""

    def __init__(self, folder, server):
        self.folder, self.server = folder, server
        self.page = server.pages["/owner/repo/resolve/main/deep/model.safetensors"] = Page(CONTENT)
        self.target = folder / "results/reconstruct/gain/manifest.json"
        self.weights = folder / "weights" / FILE
        self.write()

    def write(self, names=("gain",), source=None, **assets):
        """Write the config; every name is an autoencoder with a file of its own."""
        entries = []
        for name in names:
            path = FILE if name == "gain" else f"owner/repo/{name}.safetensors"
            values = {"repo": "owner/repo", "file": path.removeprefix("owner/repo/")}
            files = {"autoencoder": {**values, "path": str(self.folder / "weights" / path)}}
            files["autoencoder"] |= source or {}
            weights = files["autoencoder"]["path"]
            family = "own_autoencoder:Gain"
            entries.append({"name": name, "family": family, "weights": weights, "files": files})
        val = {"source": "mini", "count": 4}
        config = {
            "pathvars": {"results": str(self.folder / "results")},
            "name": "gain",
            "seed": 0,
            "assets": {"folder": str(self.folder / "weights"), **assets},
            "data": {
                "resolution": 64, "crop": "resize-center-crop", "shard_size": 4,
                "splits": {"val": val}, "evaluation": "val", "reference": "val",
            },
            "networks": {},
            "autoencoders": entries,
            "reconstruct": {"posterior": "mean"},
            "metrics": ["psnr"],
            "report": {"items": ["table5"]},
        }  # fmt: skip
        self.config = self.folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(config, sort_keys=False))

    def environment(self, **more):
        """Environment of a run: the server plays the hub, and there is no token."""
        given = {"HF_ENDPOINT": self.server.url, "HF_TOKEN": "", "HF_HOME": str(self.folder)}
        given["SEESAW_OFFLINE"] = ""
        return {"PYTHONPATH": PATHS, "NO_PROXY": "127.0.0.1", **given, **more}

    def run(self, *words, code=0, **environment):
        """Run Snakemake; what it prints."""
        given = self.environment(**environment)
        return snakemake(*words, "--configfile", self.config, code=code, env=given)

    def lock(self):
        """The entries of the lock file."""
        return read_lock(self.folder / "weights" / LOCK_NAME)


@pytest.fixture
def world(tmp_path):
    with serving() as server:
        yield World(tmp_path, server)


def test_weights_are_fetched_used_and_left_alone(world):
    dead = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    assert planned(world.run("-n", world.target, **dead)) == [
        ("fetch_asset", FILE),
        ("pack_images", "val"),
        ("reconstruct_images", "gain"),
    ]
    world.run(world.target)
    assert world.weights.read_bytes() == CONTENT
    assert json.loads(world.target.read_text())["n"] == 4
    assert world.lock()[FILE]["size"] == len(CONTENT)
    log = (world.folder / f"results/logs/fetch_asset/{FILE}.log").read_text()
    assert "sha256" in log

    # there: an input like any other, which nothing makes again, not even by force
    forced = planned(world.run("-n", world.target, "--forceall"))
    assert "fetch_asset" not in {rule for rule, _ in forced}
    assert len(world.page.requests) == 1

    # gone: what is done needs it no more; what is new has it fetched, with its old time
    time_of = world.weights.stat().st_mtime_ns
    world.weights.unlink()
    assert "Nothing to be done" in world.run("-n", world.target)
    world.run(world.weights)
    assert world.weights.stat().st_mtime_ns == time_of

    # another file in its place: said before the first job, and left where it is
    world.weights.write_bytes(OTHER)
    printed = world.run(world.target, code=1)
    assert "Weights are not what they were" in printed
    assert "the lock file recorded" in printed
    assert world.weights.read_bytes() == OTHER
    assert len(world.page.requests) == 2


def test_a_file_that_a_person_put_there_is_used(world):
    world.weights.parent.mkdir(parents=True)
    world.weights.write_bytes(OTHER)
    before = world.weights.stat()
    world.run(world.target, HF_ENDPOINT="http://127.0.0.1:9")
    after = world.weights.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert world.weights.read_bytes() == OTHER
    assert world.lock()[FILE]["url"] is None
    assert not world.page.requests


def test_a_killed_download_goes_on(world):
    world.page.piece, world.page.delay = 20_000, 0.5
    words = [sys.executable, "-m", "snakemake", world.weights, "--cores", "1"]
    process = subprocess.Popen(
        [*map(str, words), "--configfile", str(world.config)],
        cwd=ROOT,
        env={**os.environ, **world.environment()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    part = world.weights.with_name(f"{world.weights.name}.part")
    end = time.monotonic() + 120
    while not (part.exists() and part.stat().st_size >= 16_000):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not world.weights.exists()
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT)
    world.page.delay = 0
    world.run("--unlock")
    world.run(world.weights, "--rerun-incomplete")
    assert world.weights.read_bytes() == CONTENT
    assert world.page.requests[-1]["Range"] == f"bytes={kept}-"
    assert not part.exists()


def test_what_cannot_be_fetched_stops_a_run_before_its_first_job(world):
    printed = world.run(world.target, code=1, SEESAW_OFFLINE="1")
    assert "Things that this run needs are not there (1)" in printed
    assert f"{world.weights}\n      for autoencoder 'gain'; get it from https://hugg" in printed
    world.write(source={"gated": "https://huggingface.co/owner/repo"})
    printed = world.run(world.target, code=1)
    assert "once the licence at https://huggingface.co/owner/repo is accepted" in printed
    assert "set HF_TOKEN" in printed
    assert not world.page.requests
    world.run(world.weights, HF_TOKEN="hf_x")
    assert world.page.requests[0]["Authorization"] == "Bearer hf_x"


def test_a_mirror_of_the_config_serves_offline_too(world):
    mirror = world.folder / "mirror"
    (mirror / FILE).parent.mkdir(parents=True)
    (mirror / FILE).write_bytes(CONTENT)
    world.write(offline=True, mirror=str(mirror))
    world.run(world.weights)
    assert world.weights.read_bytes() == CONTENT
    assert not world.page.requests


def test_downloads_at_a_time_are_limited(world):
    names = [f"n{number}" for number in range(7)]
    for name in names:
        path = f"/owner/repo/resolve/main/{name}.safetensors"
        world.server.pages[path] = Page(CONTENT, piece=20_000, delay=0.1)
    world.write(names)
    files = [world.folder / f"weights/owner/repo/{name}.safetensors" for name in names]
    world.run(*files, "--cores", "7", "--resources", "gpu=0")
    assert set(world.lock()) == {f"owner/repo/{name}.safetensors" for name in names}
    assert 2 <= world.server.busiest <= 4
