"""The benchmark of autoencoders: its settings, its arithmetic, its table."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from published_tiny import TINY

from seesaw.autoencoders.ldm_kl import LdmKL
from seesaw.autoencoders.one_frame import LTXKL

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
benchmark = importlib.import_module("autoencoders")
CPU = torch.device("cpu")
OFFICIAL = {"block_out_channels": [8, 16], "latent_channels": 3, "norm_num_groups": 4}


@pytest.fixture
def tiny(monkeypatch):
    """Every name stands for a tiny autoencoder."""

    def load(name, weights, config, *, device):
        torch.manual_seed(0)
        model = LdmKL(resolution=32, official=OFFICIAL)
        return model.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    monkeypatch.setattr(benchmark, "load_autoencoder", load)


def rows(*words):
    given = benchmark.parsed(
        ["--device", "cpu", "--architectures", "ldm_f8d4", "--images", "2", *words]
    )
    return list(benchmark.rows_of("ldm_f8d4", given, CPU))


def test_settings_and_their_differences(tiny):
    found = rows("--authors-batch", "3", "--batch-sizes", "2", "3")
    settings = [(row["dtype"], row["layout"], row["batch"]) for row in found]
    assert settings[:2] == [("fp32", "contiguous", 3), ("fp32", "contiguous", 2)]
    assert len(settings) == len(set(settings)) == 8
    assert found[0]["speedup_encode"] == found[0]["speedup_decode"] == 1
    assert "psnr" not in found[0]
    by_setting = dict(zip(settings, found, strict=True))
    exact = by_setting["fp32", "channels-last", 2]
    half = by_setting["bf16", "contiguous", 2]
    assert exact["latent_max"] < 1e-4
    assert exact["psnr"] > 80
    assert 1e-4 < half["latent_mean"] < 0.05 * half["latent_std"]
    assert 20 < half["psnr"] < 70
    assert all(row["encode"] > 0 and row["gigabytes"] > 0 for row in found)
    for row in found:
        assert benchmark.line(row, (1e9, 2e9)).count("|") == benchmark.HEAD.split("\n")[0].count(
            "|"
        )


def test_differences_by_hand():
    latents, images = torch.zeros(1, 4), torch.zeros(1, 3, 2, 2)
    shifted = latents + torch.tensor([0, 0, 0, 0.4]), images + 0.2
    row = benchmark.differences(shifted, (latents, images))
    assert row["latent_max"] == pytest.approx(0.4)
    assert row["latent_mean"] == pytest.approx(0.1)
    assert [row["image_max"], row["image_mean"]] == pytest.approx([0.2, 0.2])
    assert row["psnr"] == pytest.approx(20)  # 2 / 0.2 is 20 dB
    saturated = benchmark.differences((latents, images + 9), (latents, images + 5))
    assert saturated["psnr"] == float("inf")


def test_filled_weights_keep_the_size_of_activations():
    model = LTXKL(resolution=32, **TINY["ltx-kl"]).eval()
    benchmark.fill(model)
    latents, images = benchmark.round_trip(model, CPU)
    assert 0.1 < latents.std() < 10
    assert 0.1 < images.std() < 10
    before = {key: value.clone() for key, value in model.state_dict().items()}
    benchmark.fill(model)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_the_command_line(tiny, tmp_path, monkeypatch, capsys):
    words = ["--architectures", "ldm_f8d4", "--images", "1", "--batch-sizes", "1"]
    words += ["--authors-batch", "1", "--layouts", "contiguous", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["autoencoders.py", *words, "--json", f"{tmp_path}/b.json"])
    benchmark.main()
    printed = capsys.readouterr().out.splitlines()
    assert "random weights" in printed[0]
    assert len(printed) == 4 + 2
    kept = json.loads((tmp_path / "b.json").read_text())
    assert [row["dtype"] for row in kept["rows"]] == ["fp32", "bf16"]
    assert len(benchmark.parsed(["--device", "cpu"]).architectures) == benchmark.SMALL
    with pytest.raises(SystemExit):
        benchmark.parsed(["--architectures", "ldm_f8d4", "flux_vae", "--weights", "w.pt"])
    roles = ["--weights", "autoencoder=w.pt", "stats=s.pt"]
    given = benchmark.parsed(["--architectures", "ldm_f8d4", *roles])
    assert given.weights == {"autoencoder": "w.pt", "stats": "s.pt"}
