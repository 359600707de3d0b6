"""Families qwenimage-kl, cogvideox-kl, ltx-kl: video autoencoders on single frames; config.json."""

import json

import diffusers
import pytest
import torch
from published_tiny import TINY
from safetensors.torch import save_file

from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.base import build_autoencoder
from seesaw.autoencoders.one_frame import fold_time

QWEN, COG, LTX = (TINY[name]["official"] for name in ("qwenimage-kl", "cogvideox-kl", "ltx-kl"))
KL = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "latent_channels": 3,
    "norm_num_groups": 4,
}
TINY = {  # family -> diffusers class, its arguments, shape of the latent of 32 pixels
    "qwenimage-kl": (
        "AutoencoderKLQwenImage",
        QWEN,
        (3, 16, 16),
    ),
    "cogvideox-kl": ("AutoencoderKLCogVideoX", COG, (3, 16, 16)),
    "ltx-kl": ("AutoencoderKLLTXVideo", LTX, (5, 4, 4)),
    "diffusers-kl": ("AutoencoderKL", KL, (3, 16, 16)),
}
VIDEO = [name for name in TINY if name != "diffusers-kl"]


def reference(family):
    """The library's model, filled with noise."""
    name, official, _ = TINY[family]
    model, generator = getattr(diffusers, name)(**official), torch.Generator().manual_seed(0)
    state = {}
    for key, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=generator)
        gain = key.endswith(("gamma", "std")) or (value.ndim == 1 and key.endswith("weight"))
        scale = 0.1 if value.ndim < 2 or gain else value[0].numel() ** -0.5
        state[key] = noise * scale + float(gain)
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def loaded(family, folder, config=None, *, model=None, **options):
    """The family's autoencoder from a folder with the weights, and ``config.json`` if given."""
    save_file(
        (model or reference(family)).state_dict(), folder / "diffusion_pytorch_model.safetensors"
    )
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    arguments = {"resolution": 32, "official": TINY[family][1], **options}
    return load_autoencoder(family, folder, arguments)


@pytest.fixture(params=VIDEO)
def family(request):
    return request.param


@pytest.fixture
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_one_frame_of_the_librarys_video(family, tmp_path, images):
    model, autoencoder = reference(family), loaded(family, tmp_path)
    distribution = model.encode(images[:, :, None]).latent_dist
    mean, log_variance = autoencoder.posterior(images)
    assert mean.shape[1:] == autoencoder.latent_shape == TINY[family][2]
    near = {"atol": 2e-5, "rtol": 2e-5}
    torch.testing.assert_close(mean, distribution.mean[:, :, 0], **near)
    torch.testing.assert_close(log_variance, distribution.logvar[:, :, 0], **near)
    decoded = model.decode(distribution.mean).sample
    assert decoded.shape == (3, 3, 1, 32, 32)
    found = autoencoder.decode(distribution.mean[:, :, 0])
    torch.testing.assert_close(found, decoded[:, :, 0], atol=1e-4, rtol=1e-4)
    noise = torch.randn(mean.shape, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(
        autoencoder.encode(images, noise), mean + (log_variance / 2).exp() * noise
    )


def test_images_do_not_influence_each_other_nor_later_calls(family, tmp_path, images):
    autoencoder = loaded(family, tmp_path)
    latents = autoencoder.encode(images)
    decoded = autoencoder.decode(latents)
    for i in (2, 0, 1):
        one = autoencoder.encode(images[i : i + 1])
        torch.testing.assert_close(one, latents[i : i + 1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            autoencoder.decode(one), decoded[i : i + 1], atol=1e-4, rtol=1e-4
        )
    assert torch.equal(autoencoder.encode(images), latents)
    assert (latents[0] - latents[1]).abs().mean() > 0.01


def test_other_grids_and_half_precision(family, tmp_path, images):
    autoencoder = loaded(family, tmp_path)
    factor = 32 // autoencoder.latent_shape[1]
    grid = torch.zeros(1, autoencoder.latent_shape[0], 6, 6)
    assert autoencoder.decode(grid).shape == (1, 3, 6 * factor, 6 * factor)
    latents = autoencoder.encode(images)
    autoencoder.to(torch.bfloat16)
    half = autoencoder.encode(images)
    assert half.dtype == torch.bfloat16
    assert 0 < (half.float() - latents).abs().mean() < 0.03 * latents.std()
    assert autoencoder.decode(half).dtype == torch.bfloat16


@pytest.mark.parametrize("name", TINY)
def test_no_tensor_outside_the_file(name):
    """What lets a model be built without memory and take the file's tensors as its own."""
    with torch.device("meta"):
        autoencoder = build_autoencoder(name, {"resolution": 32, "official": TINY[name][1]})
    held = {key for key, _ in autoencoder.named_buffers()}
    held |= {key for key, _ in autoencoder.named_parameters()}
    assert held == set(autoencoder.state_dict())


def test_one_frame_takes_a_third_of_the_operations(family, images):
    from torch.utils.flop_counter import FlopCounterMode

    def operations(encode, decode, pixels, latents):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            encode(pixels)
            decode(latents)
        return counter.get_total_flops()

    model, latents = reference(family), torch.zeros(1, *TINY[family][2])
    autoencoder = build_autoencoder(family, {"resolution": 32, "official": TINY[family][1]})
    folded = operations(autoencoder.encode, autoencoder.decode, images[:1], latents)
    whole = operations(model.encode, model.decode, images[:1, :, None], latents[:, :, None])
    assert 0.3 < folded / whole < 0.5


def test_several_frames_still_go_the_librarys_way(family):
    frames = torch.rand(1, 3, 9, 32, 32, generator=torch.Generator().manual_seed(3)) * 2 - 1
    model = reference(family)
    mean = model.encode(frames).latent_dist.mean
    decoded = model.decode(mean).sample
    fold_time(model)
    torch.testing.assert_close(model.encode(frames).latent_dist.mean, mean, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.decode(mean).sample, decoded, atol=1e-4, rtol=1e-4)


def test_qwen_clamps_its_images(tmp_path):
    autoencoder = loaded("qwenimage-kl", tmp_path)
    decoded = autoencoder.decode(torch.full((1, 3, 16, 16), 30.0))
    assert decoded.abs().max() == 1


def test_ltx_has_its_statistics_in_the_file(tmp_path, images):
    model = reference("ltx-kl")
    raw = loaded("ltx-kl", tmp_path)
    normalized = loaded("ltx-kl", tmp_path, latents="normalized")
    mean, std = (getattr(model, f"latents_{part}")[:, None, None] for part in ("mean", "std"))
    latents = raw.encode(images)
    wanted = (latents - mean) / std
    assert mean.std() > 0.01
    torch.testing.assert_close(normalized.encode(images), wanted)
    torch.testing.assert_close(normalized.decode(wanted), raw.decode(latents))
    official = {**LTX, "scaling_factor": 0.5}
    halved = loaded("ltx-kl", tmp_path, latents="normalized", official=official)
    torch.testing.assert_close(halved.encode(images), wanted / 2)
    with pytest.raises(ValueError, match=r"scaling_factor is 0\.5 there and 1\.0 here"):
        loaded("ltx-kl", tmp_path, {"_class_name": "AutoencoderKLLTXVideo", "scaling_factor": 0.5})


def test_statistics_of_the_librarys_class_where_nobody_gave_any(tmp_path, images):
    given = loaded("cogvideox-kl", tmp_path, normalization={"mean": 1.0, "scale": 2.0})
    assert given.normalization == (1.0, 2.0)
    autoencoder = loaded("cogvideox-kl", tmp_path, latents="normalized")
    mean, _ = autoencoder.posterior(images)
    torch.testing.assert_close(autoencoder.encode(images), mean * 1.15258426)
    qwen = loaded("qwenimage-kl", tmp_path)
    torch.testing.assert_close(qwen.normalization[0].flatten(), torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(qwen.normalization[1].flatten(), torch.tensor([1, 0.5, 0.25]))
    official = {**LTX, "scaling_factor": 3.0}
    ltx = {"official": official, "normalization": {"mean": 1.0, "scale": 2.0}}
    assert loaded("ltx-kl", tmp_path, **ltx).normalization == (1.0, 2.0)


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("qwenimage-kl", {"resolution": 33, "official": QWEN}, "not a multiple of 2"),
        ("ltx-kl", {"resolution": 36, "official": LTX}, "not a multiple of 8"),
        ("cogvideox-kl", {"official": {"latent_chanels": 3}}, "latent_chanels"),
        ("cogvideox-kl", {"size": 3}, "does not take 'size'"),
    ],
)
def test_bad_configs(name, config, words):
    with pytest.raises(ValueError, match=words):
        build_autoencoder(name, config)


def test_wrong_keys_and_images_are_named(family, tmp_path, images):
    state = reference(family).state_dict()
    key = "encoder.conv_in.conv.weight" if family != "qwenimage-kl" else "encoder.conv_in.weight"
    save_file(
        {name: value for name, value in state.items() if name != key}, tmp_path / "w.safetensors"
    )
    config = {"resolution": 32, "official": TINY[family][1]}
    with pytest.raises(ValueError, match=f"1 missing:\n +{key}"):
        load_autoencoder(family, tmp_path / "w.safetensors", config)
    autoencoder = build_autoencoder(family, config)
    with pytest.raises(ValueError, match=r"\(N, 3, 32, 32\)"):
        autoencoder.encode(images[:, :, :, :24])
    with pytest.raises(ValueError, match="was given latents"):
        autoencoder.decode(torch.zeros(1, 9, 4, 4))


# ------------------------------------------------------------------------------------- config.json


@pytest.mark.parametrize("name", TINY)
def test_a_folder_as_the_library_saves_it(name, tmp_path, images):
    model = reference(name)
    model.save_pretrained(tmp_path)
    config = {"resolution": 32, "official": TINY[name][1]}
    autoencoder = load_autoencoder(name, tmp_path, config)
    file = load_autoencoder(name, tmp_path / "diffusion_pytorch_model.safetensors", config)
    assert torch.equal(autoencoder.encode(images), file.encode(images))


@pytest.mark.parametrize(
    ("found", "mean", "scale"),
    [
        ({"scaling_factor": 0.5}, 0, 0.5),
        ({"scaling_factor": 1.5, "shift_factor": 0.25}, 0.25, 1.5),
        ({"scaling_factor": 1.5, "shift_factor": None, "latents_mean": None}, 0, 1.5),
        (
            {"scaling_factor": 9, "latents_mean": [1, 2, 3], "latents_std": [1, 2, 4]},
            [1, 2, 3],
            [1, 0.5, 0.25],
        ),
    ],
)
@pytest.mark.parametrize("name", ["diffusers-kl", "qwenimage-kl"])
def test_statistics_from_the_folder(tmp_path, images, found, mean, scale, name):
    found = {"_class_name": TINY[name][0], **found}
    raw = loaded(name, tmp_path, found)
    normalized = loaded(name, tmp_path, found, latents="normalized")
    mean, scale = (torch.tensor(part).view(-1, 1, 1) for part in (mean, scale))
    latents = raw.encode(images)
    torch.testing.assert_close(normalized.encode(images), (latents - mean) * scale)


def test_statistics_of_both_must_agree(tmp_path):
    found = {"_class_name": "AutoencoderKL", "scaling_factor": 0.18215}
    close = {"mean": 0.0, "scale": 0.182151}
    assert loaded("diffusers-kl", tmp_path, found, normalization=close).normalization[1] == 0.182151
    with pytest.raises(ValueError, match=r"config\.json gives .* scale 0\.18215, .* 0\.3611"):
        loaded("diffusers-kl", tmp_path, found, normalization={"mean": 0.0, "scale": 0.3611})
    apart = {"mean": [0.1, 0.2, 0.3], "scale": 0.18215}
    with pytest.raises(ValueError, match=r"the mean 0, .* \(0\.1, 0\.2, 0\.3, \.\.\.\)"):
        loaded("diffusers-kl", tmp_path, found, normalization=apart)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"norm_num_groups": 8}, "norm_num_groups is 8 there and 4 here"),
        ({"act_fn": "relu", "layers_per_block": 1}, "act_fn is relu there and silu here"),
        ({"block_out_channels": [8, 32]}, r"\[8, 32\] there and \[8, 16\] here"),
        ({"_class_name": "AutoencoderKLWan"}, "AutoencoderKLWan.*went into AutoencoderKL;"),
        ({"latents_mean": [1, 2], "latents_std": [1, 2]}, "2 channels; these latents have 3"),
    ],
)
def test_another_network_in_the_folder(tmp_path, found, words):
    with pytest.raises(ValueError, match=words):
        loaded("diffusers-kl", tmp_path, {"_class_name": "AutoencoderKL", **found})


def test_what_no_network_depends_on_may_differ(tmp_path):
    found = {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.4.2",
        "sample_size": 9,
        "force_upcast": False,
        "of_a_later_version": 3,
    }
    assert loaded("diffusers-kl", tmp_path, found).normalization is None
    foreign = {"norm_num_groups": 8, "scaling_factor": 2.0}  # no config of diffusers
    assert loaded("diffusers-kl", tmp_path, foreign).normalization is None
