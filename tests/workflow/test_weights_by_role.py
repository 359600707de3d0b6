"""An autoencoder whose weights lie in several files: inputs of its jobs, each in its role."""

import os

import pytest
import torch
from safetensors.torch import save_file

from seesaw.files import read_json, sha256_of

from .conftest import ROOT, planned, snakemake

MINI = {"source": "mini", "count": 6}
CLASS = """
from torch import nn
from torch.nn import functional as F
from seesaw.autoencoders import Autoencoder
from seesaw.autoencoders.weights import Layout


class Halves(Autoencoder):
    resolution, latent_shape, spatial = RESOLUTION, (3, RESOLUTION // 4, RESOLUTION // 4), True
    layouts = {"encoder": Layout(), "decoder": Layout(), "stats": Layout(optional=True)}

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

    def parts(self):
        return {"encoder": self.first, "decoder": self.second}

    def posterior(self, images):
        return self.first(F.avg_pool2d(images, 4)), None

    def render(self, latents):
        return F.interpolate(self.second(latents), scale_factor=4.0)

    def statistics(self, state):
        return state["mean"], state["scale"]
"""


def write(path, gain):
    save_file({"weight": gain * torch.eye(3)[:, :, None, None], "bias": torch.zeros(3)}, path)


@pytest.fixture
def halves(config_with, tmp_path):
    """Config, files by role, and the environment in which the class is found."""
    files = {role: tmp_path / f"{role}.safetensors" for role in ("encoder", "decoder", "stats")}

    def change(config):
        config["pathvars"]["results"] = str(tmp_path / "results")
        config["data"]["splits"] = {"val": MINI, "train": MINI}
        config["data"]["reference"] = "val"
        config["networks"] = {"canny": {"network": "canny"}}
        config["metrics"] = ["psnr", "canny"]
        config["autoencoders"] = [
            {
                "name": "halves",
                "family": "halves:Halves",
                "config": {"latents": "normalized"},
                "weights": {role: str(path) for role, path in files.items()},
            }
        ]
        for block in (
            "control",
            "ifid",
            "neighbours",
            "probes",
            "diffusability",
            "diffusion",
            "gfid",
            "protocols",
        ):
            del config[block]
        config["report"]["items"] = ["table5"]
        code = CLASS.replace("RESOLUTION", str(config["data"]["resolution"]))
        (tmp_path / "halves.py").write_text(code)

    path = config_with(change)
    environment = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT / "src")])}
    return path, files, environment, tmp_path / "results/reconstruct/halves/manifest.json"


def test_every_file_is_an_input_in_its_role(halves):
    config, files, environment, target = halves
    write(files["encoder"], 2.0)
    write(files["decoder"], 0.5)
    words = (target, "--configfile", config)
    said = snakemake(*words, env=environment, code=1)
    assert "weights files, each to be put at its place (1):" in said
    assert f"{files['stats']}\n      for autoencoder 'halves'" in said

    save_file({"mean": torch.ones(1), "scale": torch.tensor([3.0])}, files["stats"])
    snakemake(*words, env=environment)
    meta = read_json(target)["meta"]
    assert meta["weights_sha256"] == sha256_of(files)
    assert meta["latent_shape"][0] == 3
    # raw latents are twice the pixels' averages, so within [-2, 2]; normalized, (z - 1) * 3
    raw_mean, raw_std = meta["latents"]["mean"] / 3 + 1, meta["latents"]["std"] / 3
    assert abs(raw_mean) < 2
    assert 0.1 < raw_std < 2
    assert snakemake("-n", *words, env=environment).count("Nothing to be done") == 1

    write(files["decoder"], 0.25)
    printed = snakemake("-n", *words, env=environment)
    assert planned(printed) == [("reconstruct_images", "halves")]
