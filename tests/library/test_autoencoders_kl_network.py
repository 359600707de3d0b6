"""The convolutional network is diffusers' own, bit for bit."""

import subprocess
import sys

import pytest
import torch
from diffusers import AutoencoderKL as Trusted

from seesaw.autoencoders.kl_network import AutoencoderKL

SIZES = {
    "one stage, no layers": ((8,), 0, False),
    "two stages": ((8, 16), 1, False),
    "three stages, attention": ((8, 8, 16), 2, True),
}


def pair(widths, layers, attention):
    config = {
        "in_channels": 12,
        "out_channels": 12,
        "block_out_channels": widths,
        "latent_channels": 3,
        "layers_per_block": layers,
        "norm_num_groups": 4,
        "mid_block_add_attention": attention,
    }
    stages = len(widths)
    types = {
        "down_block_types": ("DownEncoderBlock2D",) * stages,
        "up_block_types": ("UpDecoderBlock2D",) * stages,
    }
    torch.manual_seed(1)
    trusted = Trusted(**config, **types)
    torch.manual_seed(1)
    return trusted, AutoencoderKL(**config)


@pytest.mark.parametrize("name", SIZES)
def test_parameters_have_the_names_order_and_initial_values_of_diffusers(name):
    trusted, ours = pair(*SIZES[name])
    there, here = dict(trusted.named_parameters()), dict(ours.named_parameters())
    assert list(there) == list(here)
    assert list(trusted.state_dict()) == list(ours.state_dict())
    assert all(torch.equal(there[key], here[key]) for key in there)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", SIZES)
def test_outputs_and_gradients_are_those_of_diffusers(name, training):
    trusted, ours = pair(*SIZES[name])
    side = 4 * 2 ** (len(SIZES[name][0]) - 1)
    images = torch.randn(3, 12, side, side, generator=torch.Generator().manual_seed(2))
    found = []
    for model in (trusted.train(training), ours.train(training)):
        posterior = model.encode(images).latent_dist
        decoded = model.decode(posterior.mean + posterior.logvar).sample
        decoded.square().mean().backward()
        gradients = [parameter.grad for parameter in model.parameters()]
        found.append((posterior.mean, posterior.logvar, decoded, *gradients))
    assert found[0][0].shape == (3, 3, 4, 4)
    assert found[0][2].shape == images.shape
    for there, here in zip(*found, strict=True):
        if "attention" in name:  # diffusers cuts the heads' axis otherwise
            torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(here, there)


def test_the_log_variance_is_clamped_as_there():
    trusted, ours = pair(*SIZES["two stages"])
    images = 1e4 * torch.randn(2, 12, 8, 8, generator=torch.Generator().manual_seed(3))
    for model in (trusted, ours):
        with torch.no_grad():
            model.quant_conv.weight.mul_(1e4)
    there, here = (m.encode(images).latent_dist.logvar for m in (trusted, ours))
    assert here.min() == -30
    assert here.max() == 20
    assert torch.equal(here, there)


def test_an_autoencoder_that_is_trained_here_does_without_diffusers():
    code = (
        "import sys; from seesaw.autoencoders.base import build_autoencoder; "
        "build_autoencoder('diffusers-kl', {'resolution': 8, 'widths': [8], 'norm_groups': 4}); "
        "sys.exit('diffusers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
