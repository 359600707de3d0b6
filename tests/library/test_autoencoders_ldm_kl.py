"""Family ldm-kl: the layout of the latent-diffusion code, its files, its statistics."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.base import build_autoencoder
from seesaw.autoencoders.ldm_keys import ldm_key
from seesaw.autoencoders.ldm_kl import LdmKL
from seesaw.autoencoders.weights import save_weights

OFFICIAL = {
    "block_out_channels": [8, 8, 16],
    "layers_per_block": 2,
    "latent_channels": 3,
    "norm_num_groups": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 2 + ["AttnDownEncoderBlock2D"],
    "up_block_types": ["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * 2,
}
CONFIG = {"resolution": 32, "official": OFFICIAL}
LEVELS = 3


def filled(seed=0, **changes):
    """A tiny state dict in the official layout, filled with noise."""
    model = LdmKL(resolution=32, official={**OFFICIAL, **changes})
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, value in model.parts()["autoencoder"].state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        if key.endswith("weight") and value.ndim == 1:
            state[key] = 1 + 0.1 * noise
        else:
            state[key] = noise * (0.05 if value.ndim == 1 else value[0].numel() ** -0.5)
    return state


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


# ----------------------------------------------------------- the authors' formulas, from their keys


class Official:
    """The latent-diffusion network as functions of a state dict with its authors' keys."""

    def __init__(self, state):
        self.state = state

    def conv(self, x, name, **options):
        return F.conv2d(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"], **options)

    def norm(self, x, name):
        return F.group_norm(
            x, 4, self.state[f"{name}.weight"], self.state[f"{name}.bias"], eps=1e-6
        )

    def block(self, x, name):
        h = self.conv(F.silu(self.norm(x, f"{name}.norm1")), f"{name}.conv1", padding=1)
        h = self.conv(F.silu(self.norm(h, f"{name}.norm2")), f"{name}.conv2", padding=1)
        if f"{name}.nin_shortcut.weight" in self.state:
            x = self.conv(x, f"{name}.nin_shortcut")
        return x + h

    def attention(self, x, name):
        if f"{name}.q.weight" not in self.state:
            return x
        h = self.norm(x, f"{name}.norm")
        q, k, v = (self.conv(h, f"{name}.{part}").flatten(2) for part in "qkv")
        weights = (q.transpose(1, 2) @ k * x.shape[1] ** -0.5).softmax(-1)
        return x + self.conv((v @ weights.transpose(1, 2)).view_as(x), f"{name}.proj_out")

    def middle(self, x, name):
        x = self.attention(self.block(x, f"{name}.mid.block_1"), f"{name}.mid.attn_1")
        return self.block(x, f"{name}.mid.block_2")

    def encode(self, x):
        h = self.conv(x, "encoder.conv_in", padding=1)
        for level in range(LEVELS):
            for i in range(2):
                h = self.block(h, f"encoder.down.{level}.block.{i}")
                h = self.attention(h, f"encoder.down.{level}.attn.{i}")
            if level < LEVELS - 1:
                h = self.conv(
                    F.pad(h, (0, 1, 0, 1)), f"encoder.down.{level}.downsample.conv", stride=2
                )
        h = F.silu(self.norm(self.middle(h, "encoder"), "encoder.norm_out"))
        mean, log_variance = self.conv(
            self.conv(h, "encoder.conv_out", padding=1), "quant_conv"
        ).chunk(2, 1)
        return mean, log_variance.clamp(-30, 20)

    def decode(self, z):
        h = self.conv(self.conv(z, "post_quant_conv"), "decoder.conv_in", padding=1)
        h = self.middle(h, "decoder")
        for level in reversed(range(LEVELS)):
            for i in range(3):
                h = self.block(h, f"decoder.up.{level}.block.{i}")
                h = self.attention(h, f"decoder.up.{level}.attn.{i}")
            if level > 0:
                h = F.interpolate(h, scale_factor=2.0)
                h = self.conv(h, f"decoder.up.{level}.upsample.conv", padding=1)
        return self.conv(F.silu(self.norm(h, "decoder.norm_out")), "decoder.conv_out", padding=1)


def test_computes_what_the_official_formulas_compute(tmp_path, images):
    state = filled()
    torch.save(state, tmp_path / "w.pt")
    autoencoder = load_autoencoder("ldm-kl", tmp_path / "w.pt", CONFIG)
    mean, log_variance = Official(state).encode(images)
    found = autoencoder.posterior(images)
    torch.testing.assert_close(found[0], mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1], log_variance, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        autoencoder.decode(mean), Official(state).decode(mean), atol=1e-5, rtol=1e-5
    )
    assert mean.std() > 0.1
    assert autoencoder.latent_shape == mean.shape[1:]


# ------------------------------------------------------------------------------------------ layout


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("encoder.down_blocks.4.attentions.1.to_q.weight", "encoder.down.4.attn.1.q.weight"),
        ("decoder.up_blocks.0.attentions.2.to_out.0.bias", "decoder.up.4.attn.2.proj_out.bias"),
        (
            "decoder.up_blocks.3.resnets.0.conv_shortcut.bias",
            "decoder.up.1.block.0.nin_shortcut.bias",
        ),
        ("decoder.up_blocks.1.upsamplers.0.conv.weight", "decoder.up.3.upsample.conv.weight"),
        ("encoder.down_blocks.0.downsamplers.0.conv.bias", "encoder.down.0.downsample.conv.bias"),
        ("encoder.mid_block.attentions.0.group_norm.bias", "encoder.mid.attn_1.norm.bias"),
        ("decoder.mid_block.resnets.1.norm2.weight", "decoder.mid.block_2.norm2.weight"),
        ("decoder.conv_norm_out.weight", "decoder.norm_out.weight"),
        ("mid_block.resnets.0.conv1.weight", "mid.block_1.conv1.weight"),
        ("quant_conv.weight", "quant_conv.weight"),
    ],
)
def test_official_names(ours, theirs):
    assert ldm_key(ours, levels=5) == theirs


def test_the_published_f16_layout_has_its_342_keys():
    with torch.device("meta"):
        model = build_autoencoder(
            "ldm-kl",
            {
                "official": {
                    "block_out_channels": [128, 128, 256, 256, 512],
                    "layers_per_block": 2,
                    "latent_channels": 32,
                    "down_block_types": ["DownEncoderBlock2D"] * 4 + ["AttnDownEncoderBlock2D"],
                    "up_block_types": ["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * 4,
                }
            },
        )
    state = model.parts()["autoencoder"].state_dict()
    assert len(state) == 342
    assert sum(".attn" in key for key in state) == 70  # 50 at the deepest level, 20 in the middle
    assert state["decoder.up.4.attn.2.proj_out.weight"].shape == (512, 512, 1, 1)
    assert state["decoder.up.3.block.0.nin_shortcut.weight"].shape == (256, 512, 1, 1)
    assert not any("_blocks" in key or "resnets" in key for key in state)


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors"])
def test_files_flat_and_wrapped_with_what_the_training_left(tmp_path, images, suffix):
    from safetensors.torch import save_file

    state, path = filled(), tmp_path / f"w{suffix}"
    extras = {
        "loss.logvar": torch.zeros(()),
        "loss.discriminator.main.3.num_batches_tracked": torch.zeros((), dtype=torch.int64),
        "foundation_model.model.cls_token": torch.zeros(1, 1, 8),
        "linear_proj.weight": torch.zeros(8, 3, 1, 1),
    }
    if suffix == ".safetensors":
        save_file(state, path)
    elif suffix == ".pt":
        torch.save({**state, **extras}, path)
    else:
        torch.save(
            {
                "state_dict": {**extras, **state},
                "epoch": 49,
                "callbacks": {},
                "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
            },
            path,
        )
    autoencoder = load_autoencoder("ldm-kl", path, CONFIG)
    mean, _ = Official(state).encode(images)
    torch.testing.assert_close(autoencoder.encode(images), mean, atol=1e-5, rtol=1e-5)


def test_saved_weights_are_an_official_file(tmp_path):
    from safetensors.torch import load_file

    state = filled()
    torch.save(state, tmp_path / "w.pt")
    save_weights(load_autoencoder("ldm-kl", tmp_path / "w.pt", CONFIG), tmp_path / "s.safetensors")
    saved = load_file(tmp_path / "s.safetensors")
    assert saved.keys() == state.keys()
    assert all(torch.equal(saved[key], state[key]) for key in state)


def test_the_same_network_as_diffusers_kl(tmp_path, images):
    torch.save(filled(), tmp_path / "w.pt")
    ours = load_autoencoder("ldm-kl", tmp_path / "w.pt", CONFIG)
    other = build_autoencoder("diffusers-kl", CONFIG).eval()
    values = zip(other.model.parameters(), ours.model.parameters(), strict=True)
    with torch.no_grad():
        for target, source in values:
            target.copy_(source)
        assert torch.allclose(other.encode(images), ours.encode(images), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda state: state.pop("encoder.down.2.attn.0.q.weight"),
            r"1 missing:\n +encoder\.down\.2\.attn\.0\.q\.weight \(16, 16, 1, 1\)",
        ),
        (
            lambda state: state.update({"decoder.up.0.attn.0.q.bias": torch.zeros(8)}),
            r"1 unexpected:\n +decoder\.up\.0\.attn\.0\.q\.bias",
        ),
        (
            lambda state: state.update({"decoder.conv_norm_out.bias": torch.zeros(8)}),
            r"1 unexpected:\n +decoder\.conv_norm_out\.bias",
        ),
        (
            lambda state: state.update({"encoder.mid.attn_1.k.weight": torch.zeros(16, 16)}),
            r"1 misshapen:\n +encoder\.mid\.attn_1\.k\.weight \(16, 16\), expected \(16, 16, 1, 1",
        ),
        (
            lambda state: state.update({"linear_proj.bias": torch.zeros(3)}),
            r"1 unexpected:\n +linear_proj\.bias",
        ),
        (
            lambda state: state.update({"lossless.weight": torch.zeros(3)}),
            r"1 unexpected:\n +lossless\.weight",
        ),
    ],
)
def test_what_does_not_fit_has_its_official_name(tmp_path, change, words):
    state = filled()
    change(state)
    torch.save({"state_dict": state}, tmp_path / "w.ckpt")
    with pytest.raises(ValueError, match=words):
        load_autoencoder("ldm-kl", tmp_path / "w.ckpt", CONFIG)


def test_six_levels_do_not_take_the_weights_of_three(tmp_path):
    """The released iFID configs have one level too many, and fill it with noise unnoticed."""
    torch.save(filled(), tmp_path / "w.pt")
    deeper = {
        **OFFICIAL,
        "block_out_channels": [8, 8, 16, 16],
        "down_block_types": ["DownEncoderBlock2D", *OFFICIAL["down_block_types"]],
        "up_block_types": [*OFFICIAL["up_block_types"], "UpDecoderBlock2D"],
    }
    with pytest.raises(ValueError, match=r"94 missing:\n +encoder\.down\.2\.downsample"):
        load_autoencoder("ldm-kl", tmp_path / "w.pt", {"resolution": 32, "official": deeper})


# -------------------------------------------------------------------------------------- statistics

MEAN, SPREAD = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([2.0, 0.25, 4.0])


def with_statistics(tmp_path, statistics, config=CONFIG):
    torch.save(filled(), tmp_path / "w.pt")
    torch.save(statistics, tmp_path / "stats.pt")
    files = {"autoencoder": tmp_path / "w.pt", "stats": tmp_path / "stats.pt"}
    return load_autoencoder("ldm-kl", files, {**config, "latents": "normalized"})


@pytest.mark.parametrize(
    ("statistics", "scale"),
    [
        ({"mean": MEAN.view(1, 3, 1, 1), "std": SPREAD.view(1, 3, 1, 1)}, 1 / SPREAD),
        ({"latents_bias": MEAN, "latents_scale": SPREAD.view(1, 3, 1, 1)}, SPREAD),
    ],
)
def test_statistics_of_both_publishers(tmp_path, images, statistics, scale):
    normalized = with_statistics(tmp_path, statistics)
    raw = load_autoencoder("ldm-kl", tmp_path / "w.pt", CONFIG)
    latents = raw.encode(images)
    wanted = (latents - MEAN.view(3, 1, 1)) * scale.view(3, 1, 1)
    torch.testing.assert_close(normalized.encode(images), wanted)
    torch.testing.assert_close(normalized.decode(wanted), raw.decode(latents), atol=1e-4, rtol=1e-4)
    mean, log_variance = raw.posterior(images)
    noise = torch.ones_like(mean)
    sampled = normalized.encode(images, noise=noise)
    torch.testing.assert_close(
        sampled, (mean + (log_variance / 2).exp() - MEAN.view(3, 1, 1)) * scale.view(3, 1, 1)
    )


@pytest.mark.parametrize(
    ("statistics", "words"),
    [
        ({"mean": MEAN, "var": SPREAD}, r"\{mean, std\} or .*holds mean, var"),
        ({"mean": MEAN, "std": SPREAD, "more": SPREAD}, "holds mean, more, std"),
        ({"mean": MEAN[:2], "std": SPREAD}, r"mean .* \(2,\).* 3 channels"),
        ({"mean": MEAN, "std": SPREAD * torch.tensor([1, 0, 1])}, "std .* not positive"),
        ({"mean": MEAN * torch.nan, "std": SPREAD}, "NaN"),
    ],
)
def test_bad_statistics(tmp_path, statistics, words):
    with pytest.raises(ValueError, match=words):
        with_statistics(tmp_path, statistics)


def test_normalized_latents_need_statistics(tmp_path):
    torch.save(filled(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match="no statistics"):
        load_autoencoder("ldm-kl", tmp_path / "w.pt", {**CONFIG, "latents": "normalized"})


# --------------------------------------------------------------------------------- loaded models


@pytest.mark.parametrize("quant", itertools.product([True, False], repeat=2))
def test_with_and_without_the_outer_convolutions(tmp_path, images, quant):
    changes = dict(zip(("use_quant_conv", "use_post_quant_conv"), quant, strict=True))
    state = filled(**changes)
    assert (("quant_conv.weight" in state), ("post_quant_conv.weight" in state)) == quant
    torch.save(state, tmp_path / "w.pt")
    official = {**OFFICIAL, **changes}
    autoencoder = load_autoencoder(
        "ldm-kl", tmp_path / "w.pt", {"resolution": 32, "official": official}
    )
    state.setdefault("quant_conv.weight", torch.eye(6)[:, :, None, None])
    state.setdefault("post_quant_conv.weight", torch.eye(3)[:, :, None, None])
    state.setdefault("quant_conv.bias", torch.zeros(6))
    state.setdefault("post_quant_conv.bias", torch.zeros(3))
    mean, _ = Official(state).encode(images)
    torch.testing.assert_close(autoencoder.encode(images), mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        autoencoder.decode(mean), Official(state).decode(mean), atol=1e-5, rtol=1e-5
    )


def test_batches_dtypes_and_repeats(tmp_path, images):
    torch.save(filled(), tmp_path / "w.pt")
    autoencoder = load_autoencoder("ldm-kl", tmp_path / "w.pt", CONFIG)
    latents = autoencoder.encode(images)
    apart = torch.cat([autoencoder.encode(image[None]) for image in images])
    torch.testing.assert_close(latents, apart, atol=1e-5, rtol=1e-5)
    assert torch.equal(latents, autoencoder.encode(images))
    half = load_autoencoder("ldm-kl", tmp_path / "w.pt", CONFIG, dtype=torch.bfloat16)
    found = half.encode(images)
    assert found.dtype == torch.bfloat16
    assert 0 < (found.float() - latents).abs().mean() < 0.02 * latents.std()
    half_again = load_autoencoder("ldm-kl", tmp_path / "w.pt", CONFIG).to(torch.bfloat16)
    assert torch.equal(half_again.encode(images), found)
    assert autoencoder.decode(latents[:, :, :5, :5]).shape == (2, 3, 20, 20)
