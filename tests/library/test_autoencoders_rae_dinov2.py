"""RAE and UAE of the official files, on tiny instances: names, parts, bands, statistics."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.base import build_autoencoder
from seesaw.autoencoders.rae_parts import Dinov2Encoder
from seesaw.autoencoders.uae import FrequencyModulator

SIZES = {
    "width": 12,
    "depth": 2,
    "heads": 2,
    "encoder_input": 56,
    "encoder_table": 5,
    "decoder_width": 8,
    "decoder_depth": 1,
    "decoder_heads": 2,
    "decoder_hidden": 16,
    "decoder_patch": 8,
}
TRANSFORMERS_4 = {
    "q_proj": "attention.attention.query",
    "k_proj": "attention.attention.key",
    "v_proj": "attention.attention.value",
    "o_proj": "attention.output.dense",
}


def normal(name, *shape, scale=1.0):
    seed = np.frombuffer(name.encode(), np.uint8).tolist()
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return torch.from_numpy(values.astype(np.float32))


def linear(name, out, into, *square):
    fan = into * math.prod(square)
    return {
        f"{name}.weight": normal(f"{name}.weight", out, into, *square, scale=fan**-0.5),
        f"{name}.bias": normal(f"{name}.bias", out, scale=0.1),
    }


def norm(name, dim):
    return {
        f"{name}.weight": 1 + normal(f"{name}.weight", dim, scale=0.1),
        f"{name}.bias": normal(f"{name}.bias", dim, scale=0.1),
    }


def encoder_state(version=4):
    """What an encoder file of these sizes holds, in names of transformers 4 or 5."""
    dim = SIZES["width"]
    state = {
        "embeddings.cls_token": normal("cls", 1, 1, dim),
        "embeddings.mask_token": normal("mask", 1, dim),
        "embeddings.register_tokens": normal("register", 1, 4, dim),
        "embeddings.position_embeddings": normal("position", 1, 26, dim),
        **linear("embeddings.patch_embeddings.projection", dim, 3, 14, 14),
        **norm("layernorm", dim),
    }
    for layer in range(SIZES["depth"]):
        start = f"encoder.layer.{layer}"
        for new, old in TRANSFORMERS_4.items():
            written = linear(f"{start}.{old}", dim, dim)
            if version == 5:
                written = {
                    key.replace(old, f"attention.{new}"): value for key, value in written.items()
                }
            state |= written
        for i in (1, 2):
            state |= norm(f"{start}.norm{i}", dim)
            state[f"{start}.layer_scale{i}.lambda1"] = normal(f"{start}.scale{i}", dim)
        state |= linear(f"{start}.mlp.fc1", 4 * dim, dim) | linear(f"{start}.mlp.fc2", dim, 4 * dim)
    return state


def decoder_state():
    """What a decoder file of these sizes holds."""
    dim, hidden = SIZES["decoder_width"], SIZES["decoder_hidden"]
    state = {
        "decoder_pos_embed": normal("table", 1, 17, dim),
        "trainable_cls_token": normal("class", 1, 1, dim),
        **linear("decoder_embed", dim, SIZES["width"]),
        **norm("decoder_norm", dim),
        **linear("decoder_pred", 3 * 8 * 8, dim),
    }
    for name in list(TRANSFORMERS_4.values()):
        state |= linear(f"decoder_layers.0.{name}", dim, dim)
    state |= linear("decoder_layers.0.intermediate.dense", hidden, dim)
    state |= linear("decoder_layers.0.output.dense", dim, hidden)
    state |= norm("decoder_layers.0.layernorm_before", dim)
    state |= norm("decoder_layers.0.layernorm_after", dim)
    return state


def modulator_state(prefix="freq_modulator."):
    dim = SIZES["width"]
    state = {f"band_transform.layers.{i}.weight": normal(f"mix{i}", 2, 2) for i in range(2)}
    state |= linear("denoiser.0", 2 * dim, 2 * dim, 3, 3) | linear("denoiser.2", dim, 2 * dim, 3, 3)
    return {prefix + key: value for key, value in state.items()}


def uae_state(prefix=""):
    encoder = {k: v for k, v in encoder_state().items() if not k.startswith("layernorm.")}
    state = {f"encoder.encoder.{key}": value for key, value in encoder.items()}
    state |= {f"decoder.{key}": value for key, value in decoder_state().items()}
    return {prefix + key: value for key, value in (state | modulator_state()).items()}


def statistics_state():
    return {"mean": normal("mean", 12, 4, 4), "var": normal("var", 12, 4, 4).square() + 0.1}


@pytest.fixture
def files(tmp_path):
    save_file(encoder_state(), tmp_path / "e.safetensors")
    torch.save(decoder_state(), tmp_path / "d.pt")
    torch.save(statistics_state(), tmp_path / "s.pt")
    return {
        "encoder": tmp_path / "e.safetensors",
        "decoder": tmp_path / "d.pt",
        "stats": tmp_path / "s.pt",
    }


@pytest.fixture
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def attention(state, start, x, heads):
    """Softmax attention, one head after the other."""
    q, k, v = (
        F.linear(
            x, state[f"{start}.attention.{part}.weight"], state[f"{start}.attention.{part}.bias"]
        )
        for part in ("query", "key", "value")
    )
    mixed = []
    for head in zip(*(part.chunk(heads, dim=-1) for part in (q, k, v)), strict=True):
        scores = head[0] @ head[1].transpose(1, 2) / math.sqrt(head[0].shape[-1])
        mixed.append(scores.softmax(-1) @ head[2])
    out = f"{start}.output.dense"
    return F.linear(torch.cat(mixed, -1), state[f"{out}.weight"], state[f"{out}.bias"])


def affine(state, name, x):
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def layer_norm(state, name, x, eps):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def encoded(images, state):
    """The encoder written out in the official names."""
    pixels = F.interpolate((images + 1) / 2, size=(56, 56), mode="bicubic", align_corners=False)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    project = "embeddings.patch_embeddings.projection"
    patches = F.conv2d(pixels, state[f"{project}.weight"], state[f"{project}.bias"], stride=14)
    table = state["embeddings.position_embeddings"]
    grid = F.interpolate(
        table[:, 1:].transpose(1, 2).unflatten(2, (5, 5)),
        size=(4, 4),
        mode="bicubic",
        antialias=True,
    )
    n = len(images)
    x = torch.cat(
        [
            (state["embeddings.cls_token"] + table[:, :1]).expand(n, -1, -1),
            state["embeddings.register_tokens"].expand(n, -1, -1),
            (patches + grid).flatten(2).transpose(1, 2),
        ],
        dim=1,
    )
    for i in range(SIZES["depth"]):
        start = f"encoder.layer.{i}"
        h = attention(state, f"{start}.attention", layer_norm(state, f"{start}.norm1", x, 1e-6), 2)
        x = x + state[f"{start}.layer_scale1.lambda1"] * h
        h = affine(state, f"{start}.mlp.fc1", layer_norm(state, f"{start}.norm2", x, 1e-6))
        x = x + state[f"{start}.layer_scale2.lambda1"] * affine(
            state, f"{start}.mlp.fc2", F.gelu(h)
        )
    x = F.layer_norm(x, x.shape[-1:], eps=1e-6)[:, 5:]
    return x.transpose(1, 2).unflatten(2, (4, 4))


def decoded(latents, state):
    """The decoder written out in the official names."""
    x = affine(state, "decoder_embed", latents.flatten(2).transpose(1, 2))
    x = torch.cat([state["trainable_cls_token"].expand(len(x), -1, -1), x], dim=1)
    x = x + state["decoder_pos_embed"]
    start = "decoder_layers.0"
    x = x + attention(
        state, f"{start}.attention", layer_norm(state, f"{start}.layernorm_before", x, 1e-12), 2
    )
    h = layer_norm(state, f"{start}.layernorm_after", x, 1e-12)
    h = F.gelu(affine(state, f"{start}.intermediate.dense", h))
    x = x + affine(state, f"{start}.output.dense", h)
    x = affine(state, "decoder_pred", layer_norm(state, "decoder_norm", x, 1e-12))[:, 1:]
    x = x.view(len(x), 4, 4, 8, 8, 3).permute(0, 5, 1, 3, 2, 4).reshape(len(x), 3, 32, 32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (x * std.view(3, 1, 1) + mean.view(3, 1, 1)) * 2 - 1


# -------------------------------------------------------------------------------------------- RAE


def test_encoder_and_decoder_written_out(files, images):
    rae = load_autoencoder("rae-dinov2", files, SIZES)
    assert (rae.resolution, rae.latent_shape, rae.spatial) == (32, (12, 4, 4), True)
    latents = rae.encode(images)
    torch.testing.assert_close(latents, encoded(images, encoder_state()), atol=2e-5, rtol=2e-5)
    torch.testing.assert_close(
        rae.decode(latents), decoded(latents, decoder_state()), atol=2e-5, rtol=2e-5
    )


def test_names_of_transformers_4_and_5_are_the_same_encoder(files, images):
    old = load_autoencoder("rae-dinov2", files, SIZES).encode(images)
    assert encoder_state(5).keys() != encoder_state(4).keys()
    save_file(encoder_state(5), files["encoder"])
    assert torch.equal(load_autoencoder("rae-dinov2", files, SIZES).encode(images), old)


def test_both_names_of_one_tensor_are_an_error(files):
    save_file(encoder_state(5) | encoder_state(4), files["encoder"])
    with pytest.raises(ValueError, match="16 unexpected"):
        load_autoencoder("rae-dinov2", files, SIZES)


def test_the_last_norms_affine_and_the_mask_token_have_no_effect(files, images):
    first = load_autoencoder("rae-dinov2", files, SIZES).encode(images)
    state = encoder_state()
    for key in ("layernorm.weight", "layernorm.bias", "embeddings.mask_token"):
        state[key] = state[key] + 7
    save_file(state, files["encoder"])
    assert torch.equal(load_autoencoder("rae-dinov2", files, SIZES).encode(images), first)
    mean, deviation = first.mean(1), first.std(1, unbiased=False)
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation, torch.ones_like(mean), atol=1e-3, rtol=0)


def test_the_decoders_position_table_is_the_files(files, images):
    rae = load_autoencoder("rae-dinov2", files, SIZES)
    before = rae.decode(rae.encode(images))
    state = decoder_state()
    state["decoder_pos_embed"] = state["decoder_pos_embed"].flip(1)
    torch.save(state, files["decoder"])
    again = load_autoencoder("rae-dinov2", files, SIZES)
    assert not torch.allclose(again.decode(again.encode(images)), before, atol=1e-3)


def test_statistics_normalise_each_element(files, images):
    raw = load_autoencoder("rae-dinov2", files, SIZES)
    normalised = load_autoencoder("rae-dinov2", files, {**SIZES, "latents": "normalized"})
    state = statistics_state()
    expected = (raw.encode(images) - state["mean"]) / (state["var"] + 1e-5).sqrt()
    torch.testing.assert_close(normalised.encode(images), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        normalised.decode(expected), raw.decode(raw.encode(images)), atol=1e-4, rtol=1e-4
    )


def test_without_statistics_latents_must_be_raw(files, images):
    del files["stats"]
    assert load_autoencoder("rae-dinov2", files, SIZES).encode(images).shape == (3, 12, 4, 4)
    with pytest.raises(ValueError, match="role 'stats'.*or latents: raw"):
        load_autoencoder("rae-dinov2", files, {**SIZES, "latents": "normalized"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("var"), "lacks 'var'"),
        (lambda s: s.update(var=torch.ones(12)), r"'var' .* is \(12,\), the latents are \(12, 4"),
    ],
)
def test_bad_statistics(files, change, words):
    state = statistics_state()
    change(state)
    torch.save(state, files["stats"])
    with pytest.raises(ValueError, match=words):
        load_autoencoder("rae-dinov2", files, SIZES)


@pytest.mark.parametrize(
    ("role", "state", "key", "words"),
    [
        ("encoder", encoder_state, "embeddings.cls_token", r"1 missing:\s+vit.cls_token"),
        (
            "encoder",
            encoder_state,
            "encoder.layer.1.attention.attention.key.weight",
            r"1 missing:\s+vit.blocks.1.attn.k_proj.weight \(12, 12\)",
        ),
        (
            "decoder",
            decoder_state,
            "decoder_layers.0.attention.output.dense.bias",
            r"1 missing:\s+decoder_layers.0.attention.to_out.0.bias",
        ),
        ("decoder", decoder_state, "decoder_pos_embed", r"1 missing:\s+decoder_pos_embed"),
    ],
)
def test_a_key_too_few_too_many_or_misshapen(files, role, state, key, words):
    files = {**files, role: files[role].with_suffix(".pt")}
    content = state()
    value = content.pop(key)
    torch.save(content, files[role])
    with pytest.raises(ValueError, match=words):
        load_autoencoder("rae-dinov2", files, SIZES)
    torch.save({**content, key: value[..., :2]}, files[role])
    with pytest.raises(ValueError, match="1 misshapen"):
        load_autoencoder("rae-dinov2", files, SIZES)
    torch.save({**content, key: value, "encoder.layer.9.norm": value}, files[role])
    with pytest.raises(ValueError, match=r"1 unexpected:\s+encoder\.layer\.9\.norm"):
        load_autoencoder("rae-dinov2", files, SIZES)


def test_one_file_alone_is_not_enough(files):
    with pytest.raises(ValueError, match="'decoder' is missing"):
        load_autoencoder("rae-dinov2", files["encoder"], SIZES)


def test_each_image_is_encoded_by_itself(files, images):
    rae = load_autoencoder("rae-dinov2", files, SIZES)
    latents = rae.encode(images)
    torch.testing.assert_close(rae.encode(images[1:2]), latents[1:2], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        rae.decode(latents[1:2]), rae.decode(latents)[1:2], atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"encoder_input": 60}, "multiple of 14"),
        ({"heads": 5}, "of its 5 heads"),
        ({"decoder_width": 10}, "decoder_width 10 must be a multiple of 4"),
        ({"widht": 10}, "widht"),
    ],
)
@pytest.mark.parametrize("family", ["rae-dinov2", "uae"])
def test_bad_configs(family, config, words):
    with pytest.raises(ValueError, match=words):
        build_autoencoder(family, {**SIZES, **config})


def channel_norm(grids):
    """LayerNorm over the channels of a grid, as after the encoder."""
    return F.layer_norm(grids.movedim(1, -1), grids.shape[1:2], eps=1e-6).movedim(-1, 1)


def test_positions_are_resized_with_antialiasing():
    torch.manual_seed(0)
    encoder = Dinov2Encoder(width=8, depth=0, heads=2, input_size=28, table=9)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.zero_()
        encoder.vit.pos_embed[:, 5:] = torch.randn(1, 81, 8)
    table = encoder.vit.pos_embed[:, 5:].transpose(1, 2).unflatten(2, (9, 9))
    expected = F.interpolate(table, size=(2, 2), mode="bicubic", antialias=True)
    found = encoder(torch.zeros(1, 3, 28, 28))
    torch.testing.assert_close(found, channel_norm(expected))
    aliased = F.interpolate(table, size=(2, 2), mode="bicubic")
    assert (channel_norm(aliased) - found).abs().max() > 0.1


# ----------------------------------------------------------------------------------- UAE: modulator


def identity_modulator(channels=3):
    """A modulator whose maps change nothing and whose convolutions add nothing."""
    modulator = FrequencyModulator(channels)
    with torch.no_grad():
        for parameter in modulator.parameters():
            parameter.zero_()
        for layer in modulator.band_transform.layers:
            layer.weight.copy_(torch.eye(2))
    return modulator.requires_grad_(False)


def wave(y, x, side=16):
    rows, columns = torch.meshgrid(*2 * [torch.arange(side).double()], indexing="ij")
    return torch.cos(2 * math.pi * (y * rows + x * columns) / side).float()


def test_bands_are_the_mean_and_a_disc_of_frequencies():
    modulator = identity_modulator()
    inside, outside = wave(3, 5), wave(7, 7)  # radii 5.8 and 9.9
    grids = (2 + inside + outside).expand(1, 3, 16, 16)
    bands = modulator.split(grids)
    torch.testing.assert_close(bands[:, 0], torch.full((1, 3, 16, 16), 2.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(bands[:, 1], inside.expand(1, 3, 16, 16), atol=1e-5, rtol=0)
    edge = wave(0, 8).expand(1, 3, 16, 16)  # radius 8, which still belongs to the disc
    torch.testing.assert_close(modulator(edge), edge, atol=1e-5, rtol=0)


def test_the_mean_and_194_other_frequencies_of_256_pass():
    noise = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)).expand(
        1, 3, -1, -1
    )
    passed = torch.fft.fft2(identity_modulator()(noise))[0, 0]
    ratio = (passed / torch.fft.fft2(noise)[0, 0]).abs()
    assert (ratio > 0.5).sum() == 1 + 194
    assert (ratio < 0.1).sum() == 61
    assert ratio[0, 0] == pytest.approx(1, abs=1e-5)


def test_maps_mix_bands_in_turn_before_the_convolutions():
    modulator = identity_modulator()
    first, second = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [3.0, 0.0]])
    for layer, weight in zip(modulator.band_transform.layers, (first, second), strict=True):
        layer.weight.copy_(weight)
    modulator.denoiser[2].bias.fill_(5)
    grids = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    bands = modulator.split(grids)
    mixed = torch.einsum("ij,njchw->nichw", second @ first, bands)
    torch.testing.assert_close(modulator(grids), mixed.sum(1) + 5, atol=1e-4, rtol=1e-4)


def test_the_modulator_stays_float32(tmp_path, images):
    torch.save({"model": uae_state()}, tmp_path / "w.pt")
    uae = load_autoencoder("uae", tmp_path / "w.pt", SIZES, dtype=torch.bfloat16)
    assert uae.encoder.vit.cls_token.dtype == torch.bfloat16
    stored = {k: v for k, v in uae.state_dict().items() if k.startswith("freq_modulator.")}
    assert len(stored) == 6
    for key, tensor in stored.items():
        assert torch.equal(tensor, modulator_state()[key])
    latents = uae.encode(images)
    assert latents.dtype == torch.bfloat16
    assert uae.decode(latents).dtype == torch.bfloat16
    whole = uae.float().encode(images)
    assert 0 < (whole - latents.float()).abs().max() < 0.2 * whole.std()


# --------------------------------------------------------------------------------------------- UAE


@pytest.mark.parametrize("prefix", ["", "module."])
def test_uae_is_raes_parts_and_the_modulator(tmp_path, images, prefix):
    torch.save({"model": uae_state(prefix), "step": 3}, tmp_path / "w.pt")
    uae = load_autoencoder("uae", tmp_path / "w.pt", SIZES)
    before = load_autoencoder("uae", tmp_path / "w.pt", {**SIZES, "modulator": False})
    plain = encoded(images, encoder_state())
    torch.testing.assert_close(before.encode(images), plain, atol=2e-5, rtol=2e-5)
    modulator = FrequencyModulator(12)
    modulator.load_state_dict(modulator_state(""))
    latents = uae.encode(images)
    torch.testing.assert_close(latents, modulator(plain), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        uae.decode(latents), decoded(latents, decoder_state()), atol=2e-5, rtol=2e-5
    )


def test_averaged_weights_are_taken_only_when_asked(tmp_path, images):
    averaged = {key: value * 0.5 for key, value in uae_state().items()}
    torch.save({"model": uae_state(), "ema": averaged}, tmp_path / "both.pt")
    torch.save({"ema": averaged}, tmp_path / "averaged.pt")
    torch.save({"model": uae_state()}, tmp_path / "plain.pt")
    both, plain = (
        load_autoencoder("uae", tmp_path / name, SIZES).encode(images)
        for name in ("both.pt", "plain.pt")
    )
    assert torch.equal(both, plain)
    asked, alone = (
        load_autoencoder("uae", tmp_path / name, {**SIZES, "ema": True}).encode(images)
        for name in ("both.pt", "averaged.pt")
    )
    assert torch.equal(asked, alone)
    assert not torch.allclose(asked, plain, atol=1e-2)
    with pytest.raises(ValueError, match="no state dict 'model'"):
        load_autoencoder("uae", tmp_path / "averaged.pt", SIZES)
    with pytest.raises(ValueError, match="no state dict 'ema'"):
        load_autoencoder("uae", tmp_path / "plain.pt", {**SIZES, "ema": True})


def test_version_2_has_no_modulator(tmp_path, images):
    state = {k: v for k, v in uae_state().items() if not k.startswith("freq_modulator.")}
    torch.save({"model": state}, tmp_path / "w.pt")
    uae = load_autoencoder("uae", tmp_path / "w.pt", {**SIZES, "version": 2})
    torch.testing.assert_close(
        uae.encode(images), encoded(images, encoder_state()), atol=2e-5, rtol=2e-5
    )
    with pytest.raises(ValueError, match="6 missing"):
        load_autoencoder("uae", tmp_path / "w.pt", SIZES)
    with pytest.raises(ValueError, match="version 2 of UAE has no modulator"):
        build_autoencoder("uae", {**SIZES, "version": 2, "modulator": True})
    with pytest.raises(ValueError, match="version 3 of UAE is unknown"):
        build_autoencoder("uae", {**SIZES, "version": 3})


def test_normalised_latents_of_uae_need_statistics(tmp_path, images):
    torch.save({"model": uae_state()}, tmp_path / "w.pt")
    torch.save(statistics_state(), tmp_path / "s.pt")
    config = {**SIZES, "latents": "normalized"}
    with pytest.raises(ValueError, match="role 'stats'"):
        load_autoencoder("uae", tmp_path / "w.pt", config)
    files = {"autoencoder": tmp_path / "w.pt", "stats": tmp_path / "s.pt"}
    raw, normalised = (load_autoencoder("uae", files, c).encode(images) for c in (SIZES, config))
    state = statistics_state()
    expected = (raw - state["mean"]) / (state["var"] + 1e-5).sqrt()
    torch.testing.assert_close(normalised, expected, atol=1e-4, rtol=1e-4)
