"""Families: the contract, the layouts, determinism."""

import numpy as np
import pytest
import torch
from torch import nn

from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.base import build_autoencoder
from seesaw.autoencoders.diffusers_kl import DiffusersKL
from seesaw.autoencoders.rae import RAE
from seesaw.autoencoders.tokenizer_1d import Tokenizer1D
from seesaw.autoencoders.vit import Block, patchify, unpatchify
from seesaw.autoencoders.weights import load_weights, save_weights
from seesaw.shards import Shards, ShardWriter


class Encoder(nn.Module):
    """A stand-in for a feature network: 16 tokens of 6 channels from 8 x 8 patches."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.embed = nn.Linear(3 * 8 * 8, 6)

    def forward(self, images):
        return self.scale * self.embed(patchify(images, 8)) + 3.0


class Coarse(Encoder):
    """A stand-in whose 4 tokens do not tile a side of 31 pixels."""

    def forward(self, images):
        return super().forward(images[..., :16, :16])


class Teacher:
    """A loaded network as the RAE expects it."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.model = Encoder()


ENCODER = f"{__name__}:Encoder"

FAMILIES = {
    "kl": ("diffusers-kl", {"resolution": 32, "patch": 4, "widths": [16], "norm_groups": 4}),
    "kl-f8": ("diffusers-kl", {"resolution": 32, "patch": 4, "widths": [8, 16], "norm_groups": 4}),
    "kl-f2": (
        "diffusers-kl",
        {"resolution": 32, "widths": [8, 16], "norm_groups": 4, "latent_channels": 3},
    ),
    "rae": ("rae", {"resolution": 32, "encoder": ENCODER, "width": 16, "depth": 1}),
    "tok": (
        "tokenizer-1d",
        {"resolution": 32, "tokens": 5, "channels": 3, "width": 16, "depth": 1},
    ),
    "tok-kl": (
        "tokenizer-1d",
        {
            "resolution": 32,
            "tokens": 5,
            "channels": 3,
            "width": 16,
            "depth": 1,
            "variational": True,
        },
    ),
}
SHAPES = {
    "kl": (4, 8, 8),
    "kl-f8": (4, 4, 4),
    "kl-f2": (3, 16, 16),
    "rae": (6, 4, 4),
    "tok": (5, 3),
    "tok-kl": (5, 3),
}


@pytest.fixture(params=FAMILIES)
def name(request):
    return request.param


@pytest.fixture
def autoencoder(name):
    torch.manual_seed(0)
    return build_autoencoder(*FAMILIES[name]).eval().requires_grad_(False)


@pytest.fixture
def images():
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_contract(name, autoencoder, images):
    latents = autoencoder.encode(images)
    assert autoencoder.latent_shape == SHAPES[name]
    assert latents.shape == (6, *SHAPES[name])
    assert autoencoder.decode(latents).shape == images.shape
    assert autoencoder.spatial == (len(SHAPES[name]) == 3)
    assert latents.std() > 0


def test_images_do_not_influence_each_other(autoencoder, images):
    together = autoencoder.encode(images)
    apart = torch.cat([autoencoder.encode(image[None]) for image in images])
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        autoencoder.decode(together)[2:3], autoencoder.decode(together[2:3]), atol=1e-5, rtol=1e-5
    )


def test_noise_is_scaled_by_the_posterior_deviation(autoencoder, images):
    mean, log_variance = autoencoder.posterior(images)
    assert torch.equal(autoencoder.encode(images), mean)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(2))
    sample = autoencoder.encode(images, noise=noise)
    if autoencoder.stochastic:
        torch.testing.assert_close(sample - mean, (log_variance / 2).exp() * noise)
    else:
        assert log_variance is None
        assert torch.equal(sample, mean)


def test_weights_round_trip_through_load_autoencoder(name, autoencoder, images, tmp_path):
    for parameter in autoencoder.parameters():
        parameter.add_(0.01)
    save_weights(autoencoder, tmp_path / "w.safetensors")
    family, config = FAMILIES[name]
    again = load_autoencoder(family, tmp_path / "w.safetensors", config)
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())
    latents = autoencoder.encode(images)
    torch.testing.assert_close(again.encode(images), latents)
    torch.testing.assert_close(again.decode(latents), autoencoder.decode(latents))


@pytest.mark.parametrize(
    ("family", "config", "words"),
    [
        ("diffusers-kl", {"resolution": 30, "patch": 4}, "not a multiple of 4"),
        ("diffusers-kl", {"resolution": 32, "widths": [12], "norm_groups": 5}, "does not divide"),
        ("diffusers-kl", {"resolution": 32, "official": {"in_channels": 4}}, "RGB"),
        ("diffusers-kl", {"resolution": 32, "official": {"latent_chanels": 4}}, "latent_chanels"),
        ("diffusers-kl", {}, "resolution"),
        ("tokenizer-1d", {"resolution": 30}, "not a multiple of patch 8"),
        ("tokenizer-1d", {"resolution": 32, "width": 30}, "do not divide"),
        ("rae", {"resolution": 31, "encoder": f"{__name__}:Coarse"}, r"\(1, 4, 6\)"),
        ("rae", {"resolution": 32, "encoder": "torch.nn:Identity"}, "must return"),
    ],
)
def test_bad_configs(family, config, words):
    with pytest.raises(ValueError, match=words):
        build_autoencoder(family, config)


def tiny_official(**changes):
    from diffusers import AutoencoderKL

    official = {
        "block_out_channels": (8, 16),
        "layers_per_block": 2,
        "latent_channels": 4,
        "norm_num_groups": 4,
        **changes,
    }
    torch.manual_seed(4)
    reference = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        **official,
    )
    return official, reference.eval()


@pytest.mark.parametrize("attention", [True, False])
def test_official_config_reproduces_diffusers(tmp_path, images, attention):
    official, reference = tiny_official(mid_block_add_attention=attention)
    reference.save_pretrained(tmp_path)
    autoencoder = load_autoencoder(
        "diffusers-kl",
        tmp_path / "diffusion_pytorch_model.safetensors",
        {"resolution": 32, "official": official},
    )
    with torch.no_grad():
        distribution = reference.encode(images).latent_dist
        torch.testing.assert_close(autoencoder.encode(images), distribution.mode())
        torch.testing.assert_close(
            autoencoder.decode(distribution.mode()), reference.decode(distribution.mode()).sample
        )
        noise = torch.ones_like(distribution.mean)
        assert torch.allclose(
            autoencoder.encode(images, noise), distribution.mean + distribution.std
        )


@pytest.mark.parametrize("convolutions", [True, False])
def test_attention_keys_of_older_diffusers_files(tmp_path, images, convolutions):
    official, reference = tiny_official()
    old = {}
    for key, value in reference.state_dict().items():
        for modern, name in [("to_q", "query"), ("to_k", "key"), ("to_v", "value")]:
            key = key.replace(f"attentions.0.{modern}.", f"attentions.0.{name}.")
        key = key.replace("attentions.0.to_out.0.", "attentions.0.proj_attn.")
        if convolutions and ".attentions.0." in key and value.ndim == 2:
            value = value[:, :, None, None]
        old[key] = value
    torch.save(old, tmp_path / "old.bin")
    autoencoder = load_autoencoder(
        "diffusers-kl", tmp_path / "old.bin", {"resolution": 32, "official": official}
    )
    with torch.no_grad():
        torch.testing.assert_close(
            autoencoder.encode(images), reference.encode(images).latent_dist.mode()
        )


def test_sd_vae_layout_has_the_published_size():
    official = {
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "latent_channels": 4,
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.4.2",
        "sample_size": 256,
        "act_fn": "silu",
    }
    with torch.device("meta"):
        autoencoder = DiffusersKL(256, official=official)
    assert autoencoder.latent_shape == (4, 32, 32)
    assert sum(p.numel() for p in autoencoder.parameters()) == 83_653_863
    keys = autoencoder.parts()["autoencoder"].state_dict().keys()
    assert len(keys) == 248
    assert "encoder.conv_in.weight" in keys


def test_kl_decoder_takes_other_grids(images):
    autoencoder = build_autoencoder(*FAMILIES["kl"])
    assert autoencoder.resizable
    assert autoencoder.decode(torch.zeros(1, 4, 5, 5)).shape == (1, 3, 20, 20)


def test_patches_and_back(images):
    patches = patchify(images, 8)
    assert patches.shape == (6, 16, 192)
    assert torch.equal(unpatchify(patches, 8), images)
    one_patch = images[:, :, 8:16, 16:24].flatten(1)
    assert torch.equal(patches[:, 6].sort().values, one_patch.sort().values)


def test_a_block_mixes_tokens():
    torch.manual_seed(0)
    block = Block(8, heads=2)
    tokens = torch.randn(2, 5, 8)
    assert block(tokens).shape == tokens.shape
    changed = tokens.clone()
    changed[:, 4] *= torch.linspace(-1, 1, 8)
    assert not torch.allclose(block(tokens)[:, 0], block(changed)[:, 0])


def test_hidden_patches_do_not_reach_the_latent(images):
    torch.manual_seed(0)
    tokenizer = Tokenizer1D(32, tokens=5, channels=3, width=16, depth=2)
    hidden = torch.zeros(6, tokenizer.patches, dtype=torch.bool)
    hidden[:, 3] = True
    changed = images.clone()
    changed[:, :, :8, 24:] *= -1
    with torch.no_grad():
        assert torch.equal(
            tokenizer.posterior(images, hidden)[0], tokenizer.posterior(changed, hidden)[0]
        )
        assert not torch.allclose(tokenizer.encode(images), tokenizer.encode(changed))
        assert not torch.allclose(tokenizer.encode(images), tokenizer.posterior(images, hidden)[0])


@pytest.fixture
def packed(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), np.uint8)
    with ShardWriter(tmp_path / "images/manifest.json", shard_size=16, meta={}) as writer:
        writer.add([f"image-{i}" for i in range(40)], {"images": images})
    return Shards(tmp_path / "images/manifest.json")


def test_rae_takes_the_teachers_weights_and_normalises(packed):
    rae, teacher = RAE(32, encoder=ENCODER, width=16, depth=1), Teacher()
    rae.prepare(teacher, packed)
    images = torch.from_numpy(packed.load("images")).float() / 127.5 - 1
    latents = rae.encode(images)
    tokens = teacher.model(images)
    wanted = (tokens - tokens.mean((0, 1))) / tokens.std((0, 1), correction=0)
    wanted = wanted.transpose(1, 2).reshape(40, 6, 4, 4)
    torch.testing.assert_close(latents, wanted, atol=1e-3, rtol=1e-3)
    rae.train()
    assert not rae.encoder.training
    trained = {name for name, p in rae.named_parameters() if p.requires_grad}
    assert trained
    assert not any(name.startswith("encoder.") for name in trained)


def test_rae_needs_a_fitting_teacher(packed):
    rae = RAE(32, encoder=ENCODER)
    with pytest.raises(ValueError, match="needs the trained network"):
        rae.prepare(None, packed)
    teacher = Teacher()
    teacher.model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="does not fit"):
        rae.prepare(teacher, packed)


def test_rae_is_self_contained(packed, tmp_path):
    rae, teacher = RAE(32, encoder=ENCODER, width=16, depth=1), Teacher()
    rae.prepare(teacher, packed)
    save_weights(rae, tmp_path / "rae.safetensors")
    fresh = RAE(32, encoder=ENCODER, width=16, depth=1)
    load_weights(fresh, tmp_path / "rae.safetensors")
    image = torch.zeros(1, 3, 32, 32)
    assert torch.equal(fresh.encode(image), rae.encode(image))


def test_dtype_and_compile_are_options_of_every_family(images):
    config = {"resolution": 32, "widths": (8, 16), "norm_groups": 4}
    plain, half, compiled = (
        seeded_load(config | more) for more in ({}, {"dtype": "bfloat16"}, {"compile": True})
    )
    pixels = torch.rand(2, 3, 32, 32) * 2 - 1
    latents = plain.encode(pixels)
    assert half.encode(pixels).dtype == torch.bfloat16
    torch.testing.assert_close(half.encode(pixels).float(), latents, atol=0.05, rtol=0.05)
    assert half.decode(latents).dtype == torch.bfloat16
    assert hasattr(compiled.posterior, "_torchdynamo_orig_callable")
    assert not hasattr(plain.posterior, "_torchdynamo_orig_callable")
    for options, words in (({"dtype": "int8"}, "value of dtype"), ({"latents": "x"}, "latents")):
        with pytest.raises(ValueError, match=words):
            load_autoencoder("diffusers-kl", None, config | options)


def seeded_load(config):
    torch.manual_seed(0)
    return load_autoencoder("diffusers-kl", None, config)


def test_statistics_turn_raw_latents_into_normalised_ones():
    config = {"resolution": 32, "widths": (8, 16), "norm_groups": 4}
    raw = seeded_load(config)
    statistics = {"mean": [1.0, 2.0, 3.0, 4.0], "scale": 2.0}
    normal = seeded_load(config | {"latents": "normalized", "normalization": statistics})
    pixels = torch.rand(2, 3, 32, 32) * 2 - 1
    latents = raw.encode(pixels)
    mean = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(-1, 1, 1)
    torch.testing.assert_close(normal.encode(pixels), (latents - mean) * 2)
    torch.testing.assert_close(normal.decode((latents - mean) * 2), raw.decode(latents))
    with pytest.raises(ValueError, match="has no statistics of its latents"):
        seeded_load(config | {"latents": "normalized"}).encode(pixels)


def test_images_and_latents_of_another_shape_are_refused():
    autoencoder = seeded_load({"resolution": 32, "widths": (8, 16), "norm_groups": 4})
    for bad in (torch.zeros(1, 3, 32, 64), torch.zeros(3, 32, 32), torch.zeros(1, 1, 32, 32)):
        with pytest.raises(ValueError, match=r"takes float RGB in \[-1, 1\], \(N, 3, 32, 32\)"):
            autoencoder.encode(bad)
    with pytest.raises(ValueError, match="uint8"):
        autoencoder.encode(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match="was given latents"):
        autoencoder.decode(torch.zeros(1, 5, 16, 16))
