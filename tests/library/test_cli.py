"""The command seesaw: lists without torch, checks weights files, says in words what is wrong."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from seesaw import cli
from seesaw.autoencoders.check import check_autoencoder, photograph
from seesaw.catalogue import read_registry

ENTRIES = read_registry()["autoencoders"]
CLASS = """
import torch
from torch import nn
from torch.nn import functional as F
from seesaw.autoencoders import Autoencoder

class Pooled(Autoencoder):
    "Averages of 4 x 4 pixels, times a learned gain."
    resolution, latent_shape, spatial, on_meta = 32, (3, 8, 8), True, True

    def __init__(self, worst=0.0):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))
        self.worst = worst

    def posterior(self, images):
        return F.avg_pool2d(images, 4) * self.gain, None

    def render(self, latents):
        return F.interpolate(latents / self.gain, scale_factor=4.0) + self.worst
"""


@pytest.fixture
def pooled(tmp_path, monkeypatch):
    """A class of one's own, and a file of its weights."""
    (tmp_path / "pooled.py").write_text(CLASS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    save_file({"gain": torch.tensor([2.0])}, tmp_path / "gain.safetensors")
    save_file({"gian": torch.tensor([2.0])}, tmp_path / "other.safetensors")
    yield "pooled:Pooled"
    sys.modules.pop("pooled", None)


def run(capsys, *words):
    """Exit code, what was printed, what was said on stderr."""
    code = cli.main([str(word) for word in words])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    return code, printed.out, printed.err


def test_listing_imports_no_torch():
    code = (
        "import sys; from seesaw.cli import main; code = main(['autoencoders']); "
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["name", "group", "latent"]
    assert [line.split()[0] for line in lines[2 : 2 + len(ENTRIES)]] == list(ENTRIES)
    starts = {
        line.index(ENTRIES[line.split()[0]]["group"], 20) for line in lines[2 : 2 + len(ENTRIES)]
    }
    assert len(starts) == 1  # aligned


def test_the_list_as_json_and_csv(capsys):
    _, printed, _ = run(capsys, "autoencoders", "--json")
    rows = json.loads(printed)
    assert [row["name"] for row in rows] == list(ENTRIES)
    _, printed, _ = run(capsys, "autoencoders", "--csv")
    table = list(csv.DictReader(io.StringIO(printed)))
    assert [row["licence"] for row in table] == [e["licence"] for e in ENTRIES.values()]
    assert table[0]["parameters"] == str(rows[0]["parameters"]) == "70293955"
    _, printed, _ = run(capsys, "autoencoders", "--group", "sd", "--json")
    assert [row["name"] for row in json.loads(printed)] == ["sd3.5-vae", "sd-vae-ft-mse"]


def test_show(capsys):
    _, printed, _ = run(capsys, "autoencoders", "show", "dmvae")
    shown = yaml.safe_load(printed)
    assert shown["files"]["autoencoder"]["path"] == "weights/sen-ye/dmvae/vae.pt"
    assert shown["latent_shape"] == [256, 32]
    assert len(shown["traps"]) == len(ENTRIES["dmvae"]["traps"])
    _, printed, _ = run(capsys, "autoencoders", "show", "dmvae", "--json")
    assert json.loads(printed) == shown
    _, printed, _ = run(capsys, "autoencoders", "show", "e2e-vae")
    assert yaml.safe_load(printed)["files"] == {}


def test_check_by_hand(pooled, capsys, tmp_path):
    """An image of 4 x 4 squares of one colour comes back as it went in."""
    levels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    squares = levels.repeat(4, axis=0).repeat(4, axis=1)
    Image.fromarray(squares).save(tmp_path / "squares.png")
    code, printed, _ = run(
        capsys, "autoencoders", "check", pooled, "--weights", "gain.safetensors",
        "--image", "squares.png", "--output", "pair.png", "--json",
    )  # fmt: skip
    found = json.loads(printed)
    assert code == 0
    assert found["psnr"] == 100
    assert found["latent_shape"] == [3, 8, 8]
    values = 2 * (levels / 127.5 - 1)  # the gain in the file is 2
    np.testing.assert_allclose(found["latents"]["mean"], values.mean(), atol=1e-5)
    np.testing.assert_allclose(found["latents"]["std"], values.std(), rtol=1e-5)
    np.testing.assert_allclose(found["latents"]["low"], values.min(), rtol=1e-5)
    np.testing.assert_allclose(found["latents"]["high"], values.max(), rtol=1e-5)
    assert found["normalized"] is None
    assert found["parameters"] == 1
    pair = np.asarray(Image.open(tmp_path / "pair.png"))
    np.testing.assert_array_equal(pair, np.concatenate([squares, squares], axis=1))


def test_check_of_something_worse(pooled):
    """A constant error of 51 of 255 levels is a PSNR of 20 log10(5); grey is not clipped by it."""
    checked = check_autoencoder(
        pooled, None, image=_grey(), config={"worst": 0.4, "normalization": {"mean": 1, "scale": 3}}
    )
    assert checked.psnr == pytest.approx(20 * np.log10(5))
    assert checked.clipped == 0
    assert checked.normalized.mean == pytest.approx(3 * (checked.latents.mean - 1), rel=1e-5)
    assert checked.normalized.std == pytest.approx(3 * checked.latents.std, abs=1e-6)
    same = check_autoencoder(
        pooled,
        None,
        image=_grey(),
        config={"normalization": {"mean": 1, "scale": 3}, "latents": "normalized"},
    )
    assert same.latents.mean == pytest.approx(checked.latents.mean, abs=1e-5)
    assert same.normalized.mean == pytest.approx(checked.normalized.mean, abs=1e-5)
    assert same.psnr == 100
    with pytest.raises(ValueError, match="NaN or infinity in the reconstruction of 'pooled:Pool"):
        check_autoencoder(pooled, None, image=_grey(), config={"worst": float("nan")})


def _grey():
    Image.fromarray(np.full((40, 50, 3), 100, np.uint8)).save("grey.png")
    return "grey.png"


def test_check_in_words(pooled, capsys):
    code, printed, _ = run(
        capsys, "autoencoders", "check", pooled, "--weights", "autoencoder=gain.safetensors"
    )
    assert code == 0
    for words in ("every key in its place", "gain.safetensors", "dB on this image", "3 x 8 x 8",
                  "no statistics", "1 parameters", "peak memory"):  # fmt: skip
        assert words in printed
    assert photograph().is_file()


def test_published_numbers_stand_beside(pooled, capsys):
    checked = check_autoencoder(pooled, "gain.safetensors", image=_grey())
    lines = cli._numbers(checked, ENTRIES["uae"]["published"])
    assert "PSNR 29.588 dB, SSIM 0.8789, rFID 0.193, means over a whole data set" in lines[-2]


WRONG = {
    "name": (["check", "vtp-s"], "unknown autoencoder 'vtp-s'. Did you mean 'vtp_s'?"),
    "show": (["show", "vtp-s"], "unknown autoencoder 'vtp-s'. Did you mean 'vtp_s'?"),
    "not found": (["check", "e2e-vae"], "'e2e-vae' cannot be checked: no public weights found"),
    "absent": (
        ["check", "flux-vae"],
        "once the licence at https://huggingface.co/black-forest-labs/FLUX.1-dev is accepted",
    ),
    "one of several": (
        ["check", "rae_dinov2_reconstruction", "--weights", "decoder=gain.safetensors"],
        "weights/facebook/dinov2-with-registers-base/model.safetensors",
    ),
    "role": (
        ["check", "vtp_s", "--weights", "decoder=gain.safetensors"],
        "'vtp_s' has no file in the role 'decoder'; give ROLE=FILE, the roles are autoencoder, st",
    ),
    "role twice": (
        ["check", "vtp_s", "--weights", "gain.safetensors", "--weights", "gain.safetensors"],
        "the role 'autoencoder' is given twice",
    ),
    "file": (["check", "vtp_s", "--weights", "gone.pt"], "gone.pt does not exist"),
    "image": (
        ["check", "pooled:Pooled", "--image", "gone.png"],
        "--image gone.png does not exist",
    ),
    "other weights": (
        ["check", "pooled:Pooled", "--weights", "other.safetensors"],
        "1 missing:\n    gain (1,)\n  1 unexpected:\n    gian (1,)",
    ),
    "no image": (
        ["check", "pooled:Pooled", "--image", "gain.safetensors"],
        "gain.safetensors cannot be read as an image",
    ),
    "no module": (["check", "nowhere:Class"], "cannot import 'nowhere'"),
    "group": (["--group", "vtpp"], "unknown group 'vtpp'"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_mistakes_get_words(mistake, pooled, capsys):
    words, said = WRONG[mistake]
    code, printed, error = run(capsys, "autoencoders", *words)
    assert code == cli.WRONG
    assert error.startswith("seesaw: ")
    assert said in error
    assert printed == ""


def test_no_command_is_a_mistake(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == cli.WRONG


def test_fetching_puts_every_file_at_its_place(tmp_path, monkeypatch, capsys):
    mirror = tmp_path / "mirror"
    named = read_registry()["autoencoders"]["vavae_f16d32"]["files"]
    for file in named.values():
        path = mirror / file["repo"] / file["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"a": torch.zeros(3)}, path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEESAW_OFFLINE", raising=False)
    assert cli.main(["fetch", "vavae_f16d32", "--mirror", str(mirror)]) == 0
    assert capsys.readouterr().out.count(": there") == len(named) == 2
    for file in named.values():
        assert (tmp_path / "weights" / file["repo"] / file["file"]).is_file()
    recorded = json.loads((tmp_path / "weights/assets.lock.json").read_text())
    assert f"{file['repo']}/{file['file']}" in str(recorded)


def test_fetching_what_cannot_be_fetched(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fetch", "flux-vae", "--offline"]) == 2
    assert "accept its licence first at https://huggingface.co/" in capsys.readouterr().err
    assert cli.main(["fetch", "e2e-vae"]) == 2
    assert "no public weights found" in capsys.readouterr().err
    assert cli.main(["fetch", "vtp-s"]) == 2
    assert "Did you mean 'vtp_s'?" in capsys.readouterr().err
