"""A folder of diffusers as a person's autoencoder: it names no resolution and no architecture."""

import pytest
import torch
from diffusers import AutoencoderKL

from seesaw.shards import Shards

from .conftest import snakemake

TARGET = "results/reconstruct/mine/manifest.json"


@pytest.fixture
def study(tmp_path, config_with):
    """A config of a few scenes and that folder; its results lie beside it."""
    torch.manual_seed(0)
    model = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
    )
    model.save_pretrained(tmp_path / "vae")

    def write(**entry):
        def change(config):
            few = {"source": "mini", "count": 12}
            config["pathvars"] = {"results": str(tmp_path / "results")}
            config["data"] |= {"splits": {"val": few, "train": few}}
            config["networks"] = {"canny": {"network": "canny"}}
            config["metrics"] = ["psnr"]
            mine = {"name": "mine", "family": "diffusers-kl", "weights": str(tmp_path / "vae")}
            config["autoencoders"] = [{**mine, **entry}]
            config["report"] = {"items": ["table5"]}
            kept = "pathvars name seed data networks autoencoders reconstruct metrics report"
            for block in set(config) - {*kept.split()}:
                del config[block]

        return config_with(change)

    return write


def test_it_is_measured(study, tmp_path):
    snakemake(tmp_path / TARGET, "--configfile", study())
    made = Shards(tmp_path / TARGET)
    assert len(made) == 12
    assert made.fields["images"]["shape"] == [3, 32, 32]
    assert "Nothing to be done" in snakemake("-n", tmp_path / TARGET, "--configfile", study())


def test_another_latent_shape_is_refused_before_any_job(study):
    printed = snakemake("-n", "--configfile", study(latent_shape=[4, 8, 8]), code=1)
    assert "mine.latent_shape: [4, 8, 8] is given, its architecture makes [4, 16, 16]" in printed
    assert "Traceback" not in printed
