"""DM-VAE: what its parts compute, what its files may hold, and what is refused."""

import pytest
import torch
from torch.nn import functional as F

from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.dmvae import DMVAE
from seesaw.autoencoders.weights import load_weights

TINY = {
    "resolution": 48,
    "latent_channels": 5,
    "encoder": {"width": 16, "depth": 2, "heads": 2},
    "widths": (4, 4, 4, 8),
    "norm_groups": 2,
}
IMAGES = 2 * torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(0)) - 1


def tiny(seed=1):
    """A tiny autoencoder whose tensors all matter."""
    torch.manual_seed(seed)
    model = DMVAE(**TINY).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gamma" in name:
                parameter.fill_(0.7)
            elif parameter.ndim < 2 or "token" in name:
                parameter += 0.3 * torch.randn_like(parameter)
    return model


def checkpoint(folder, averaged, plain, **changed):
    """A file like the authors'."""
    torch.save(
        {
            "vae_wo_ddp": plain.state_dict(),
            "vae_ema": {**averaged.state_dict(), **changed},
            "disc_wo_ddp": {"weight": torch.ones(2)},
            "optimizer_vae": {"state": {}},
        },
        folder / "vae.pt",
    )
    return folder / "vae.pt"


def load(path, **config):
    return load_autoencoder("dmvae", path, {**TINY, **config})


@torch.inference_mode()
def test_averaged_weights_unless_the_plain_ones_are_asked_for(tmp_path):
    averaged, plain = tiny(1), tiny(2)
    path = checkpoint(tmp_path, averaged, plain)
    latents = averaged.encode(IMAGES)
    assert latents.shape == (3, 9, 5)
    loaded = load(path)
    torch.testing.assert_close(loaded.encode(IMAGES), latents, atol=1e-5, rtol=1e-5)
    decoded = averaged.decode(latents)
    torch.testing.assert_close(loaded.decode(latents), decoded, atol=1e-4, rtol=1e-4)
    other = load(path, ema=False).encode(IMAGES)
    torch.testing.assert_close(other, plain.encode(IMAGES), atol=1e-5, rtol=1e-5)
    assert (other - latents).abs().max() > 1e-2
    half = load(path, dtype="bfloat16")
    assert half.encode(IMAGES).dtype == torch.bfloat16
    assert (half.encode(IMAGES).float() - latents).abs().mean() < 0.1 * latents.std()


@torch.inference_mode()
def test_latents_are_patch_tokens_in_raster_order():
    model = tiny()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    tokens = model.encoder.model.forward_features(((IMAGES + 1) / 2 - mean) / deviation)
    assert tokens.shape == (3, 10, 16)
    first, last = model.bottle_neck.mlp[0], model.bottle_neck.mlp[2]
    want = last(F.silu(first(tokens[:, 1:])))
    torch.testing.assert_close(model.encode(IMAGES), want, atol=1e-5, rtol=1e-5)
    grid = torch.empty(3, 5, 3, 3)
    for row in range(3):
        for column in range(3):
            grid[:, :, row, column] = want[:, 3 * row + column]
    torch.testing.assert_close(model.decode(want), model.decoder(grid), atol=1e-5, rtol=1e-5)
    assert (model.decoder(grid.transpose(2, 3)) - model.decoder(grid)).abs().max() > 1e-3


@torch.inference_mode()
def test_the_decoder_doubles_before_its_first_convolution():
    model = tiny()
    double, convolution = model.decoder.conv_in
    grid = torch.randn(1, 5, 3, 3)
    want = F.conv2d(
        grid.repeat_interleave(2, 2).repeat_interleave(2, 3),
        double.conv.weight,
        double.conv.bias,
        padding=1,
    )
    torch.testing.assert_close(double(grid), want)
    assert convolution(want).shape == (1, 8, 6, 6)


@torch.inference_mode()
def test_the_pixel_scales_of_the_file_count(tmp_path):
    model = tiny()
    scale = {"encoder.scale.mean": torch.full((1, 3, 1, 1), 0.1)}
    loaded = load(checkpoint(tmp_path, model, model, **scale))
    model.encoder.scale.mean.fill_(0.1)
    torch.testing.assert_close(loaded.encode(IMAGES), model.encode(IMAGES), atol=1e-5, rtol=1e-5)
    assert (model.encode(IMAGES) - tiny().encode(IMAGES)).abs().max() > 1e-3


@torch.inference_mode()
def test_normalised_latents(tmp_path):
    model = tiny()
    path = checkpoint(tmp_path, model, model)
    raw = model.encode(IMAGES)
    loaded = load(path, latents="normalized")
    want = (raw - 0.0685) * 0.1763
    torch.testing.assert_close(loaded.encode(IMAGES), want, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loaded.decode(want), model.decode(raw), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "key",
    ["encoder.de_scale.std", "decoder.conv_in.0.conv.bias", "decoder.up.0.block.0.norm1.bias"],
)
def test_a_key_is_named_as_the_authors_do(tmp_path, key):
    model = tiny()
    state = model.state_dict()
    lacking = {k: v for k, v in state.items() if k != key}
    torch.save({"vae_ema": lacking, "vae_wo_ddp": state}, tmp_path / "vae.pt")
    name = key.replace(".", r"\.")
    with pytest.raises(ValueError, match=rf"1 missing:\s+{name} "):
        load_weights(model, tmp_path / "vae.pt")
    changed = {**state, key: torch.zeros(7), "encoder.model.head.bias": torch.zeros(2)}
    torch.save({"vae_ema": changed, "vae_wo_ddp": state}, tmp_path / "vae.pt")
    with pytest.raises(ValueError, match=rf"1 misshapen:\s+{name} \(7,\)") as caught:
        load_weights(model, tmp_path / "vae.pt")
    assert "1 unexpected:\n    encoder.model.head.bias (2,)" in str(caught.value)


def test_bad_input_is_refused(tmp_path):
    with pytest.raises(ValueError, match="250 is not a multiple"):
        DMVAE(resolution=250)
    torch.save({"vae_wo_ddp": tiny().state_dict(), "optimizer_vae": {}}, tmp_path / "vae.pt")
    with pytest.raises(ValueError, match="no state dict 'vae_ema'"):
        load_weights(tiny(), tmp_path / "vae.pt")
    with pytest.raises(ValueError, match="float RGB"):
        tiny().encode(torch.zeros(1, 3, 48, 64))
    with pytest.raises(ValueError, match="it takes floats"):
        tiny().decode(torch.zeros(1, 5, 3, 3))
