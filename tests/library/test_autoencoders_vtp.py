"""VTP on tiny instances: rotation in bfloat16, written out, names, statistics."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.base import build_autoencoder
from seesaw.autoencoders.vtp import VTP, Rope, rotate

SIZES = {"width": 128, "depth": 2, "resolution": 32, "patch": 8, "channels": 6}
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


def normal(name, *shape, scale=1.0):
    seed = np.frombuffer(name.encode(), np.uint8).tolist()
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return torch.from_numpy(values.astype(np.float32))


def linear(name, out, into, *square, bias=True):
    state = {f"{name}.weight": normal(f"{name}.w", out, into, *square)}
    state[f"{name}.weight"] /= math.sqrt(into * math.prod(square))
    return state | ({f"{name}.bias": normal(f"{name}.b", out, scale=0.1)} if bias else {})


def official_state():
    """What a file of these sizes holds, without its text tower."""
    dim, hidden = 128, 344  # 2/3 of 512 is 341, and 344 the next multiple of 8
    periods = torch.tensor([100 ** (i / 16) for i in range(16)]).bfloat16()
    state = {
        "trunk.cls_token": normal("class", 1, 1, dim),
        "trunk.mask_token": normal("mask", 1, dim),
        **linear("trunk.patch_embed.proj", dim, 3, 8, 8),
        "trunk.norm.weight": 1 + normal("norm", dim, scale=0.1),
        **linear("trunk.feature_bottleneck", 6, dim, bias=False),
        **linear("pixel_decoder.proj_in", dim, 6, 1, 1),
        "pixel_decoder.norm.weight": 1 + normal("norm w", dim, scale=0.1),
        "pixel_decoder.norm.bias": normal("norm b", dim, scale=0.1),
        **linear("pixel_decoder.proj_out", 192, dim, 1, 1),
    }
    for part in ("trunk", "pixel_decoder"):
        state[f"{part}.rope_embed.periods"] = periods.clone()
        for i in range(2):
            start = f"{part}.blocks.{i}"
            for n in ("norm1", "norm2"):
                state[f"{start}.{n}.weight"] = 1 + normal(f"{start}.{n}", dim, scale=0.1)
                if part == "pixel_decoder":
                    state[f"{start}.{n}.bias"] = normal(f"{start}.{n} b", dim, scale=0.1)
            state |= linear(f"{start}.attn.qkv", 3 * dim, dim)
            state |= linear(f"{start}.attn.proj", dim, dim)
            for name, out, into in (("w1", hidden, dim), ("w2", hidden, dim), ("w3", dim, hidden)):
                state |= linear(f"{start}.mlp.{name}", out, into)
    return state


def text_tower():
    """Some of what the files hold beside the autoencoder."""
    names = [
        "logit_scale",
        "positional_embedding",
        "text_projection",
        "visual_proj.weight",
        "token_embedding.weight",
        "ln_final.bias",
        "text_transformer.resblocks.0.attn.in_proj_weight",
    ]
    return {name: torch.ones(3) for name in names}


@pytest.fixture
def file(tmp_path):
    save_file(official_state() | text_tower(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def blocks(state, part, x, norm):
    """The blocks of one side written out in the official names, one patch and head at a time."""

    def affine(name, x):
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    periods = state[f"{part}.rope_embed.periods"]
    side, before = 4, x.shape[1] - 16
    for i in range(2):
        start = f"{part}.blocks.{i}"
        q, k, v = affine(f"{start}.attn.qkv", norm(f"{start}.norm1", x)).chunk(3, dim=-1)
        q, k = q.bfloat16(), k.bfloat16()
        for patch in range(16):
            places = torch.tensor([patch // side, patch % side]).bfloat16() + 0.5
            places = 2 * (places / side) - 1
            angles = torch.cat([2 * math.pi * place / periods for place in places])
            cosine, sine = angles.cos(), angles.sin()
            for vectors in (q, k):
                for head in (0, 64):
                    a = vectors[:, before + patch, head : head + 32].clone()
                    b = vectors[:, before + patch, head + 32 : head + 64].clone()
                    vectors[:, before + patch, head : head + 32] = a * cosine - b * sine
                    vectors[:, before + patch, head + 32 : head + 64] = b * cosine + a * sine
        q, k = q.float(), k.float()
        mixed = [
            (a @ b.transpose(1, 2) / 8).softmax(-1) @ c
            for a, b, c in zip(q.split(64, -1), k.split(64, -1), v.split(64, -1), strict=True)
        ]
        x = x + affine(f"{start}.attn.proj", torch.cat(mixed, -1))
        h = norm(f"{start}.norm2", x)
        h = F.silu(affine(f"{start}.mlp.w1", h)) * affine(f"{start}.mlp.w2", h)
        x = x + affine(f"{start}.mlp.w3", h)
    return x


def encoded(images, state):
    """The encoder written out in the official names."""

    def norm(name, x):
        return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * state[f"{name}.weight"]

    pixels = ((images + 1) / 2 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
    project = "trunk.patch_embed.proj"
    x = F.conv2d(pixels, state[f"{project}.weight"], state[f"{project}.bias"], stride=8)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state["trunk.cls_token"].expand(len(x), -1, -1), x], dim=1)
    x = norm("trunk.norm", blocks(state, "trunk", x, norm))[:, 1:]
    return (x @ state["trunk.feature_bottleneck.weight"].T).transpose(1, 2).unflatten(2, (4, 4))


def decoded(latents, state):
    """The decoder written out in the official names."""

    def norm(name, x):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return F.layer_norm(x, (128,), weight, bias, 1e-6)

    def project(name, x):
        return F.linear(x, state[f"{name}.weight"][:, :, 0, 0], state[f"{name}.bias"])

    x = project("pixel_decoder.proj_in", latents.flatten(2).transpose(1, 2))
    x = norm("pixel_decoder.norm", blocks(state, "pixel_decoder", x, norm))
    x = project("pixel_decoder.proj_out", x).view(len(x), 4, 4, 3, 8, 8)
    x = x.permute(0, 3, 1, 4, 2, 5).reshape(len(x), 3, 32, 32)
    return (x * STD.view(3, 1, 1) + MEAN.view(3, 1, 1)) * 2 - 1


def mean_difference(a, b):
    return (a - b).abs().mean().item()


# ---------------------------------------------------------------------------------------- the model


def test_encoder_and_decoder_written_out(file, images):
    vtp = load_autoencoder("vtp", file, SIZES)
    assert (vtp.resolution, vtp.latent_shape, vtp.spatial) == (32, (6, 4, 4), True)
    state = official_state()
    latents = vtp.encode(images)
    # roundings to bfloat16 that fall on the other side make single values differ by more
    assert mean_difference(latents, encoded(images, state)) < 1e-4
    assert mean_difference(vtp.decode(latents), decoded(latents, state)) < 1e-4


def test_rotation_in_float32_would_be_noticed(file, images, monkeypatch):
    vtp = load_autoencoder("vtp", file, SIZES)
    latents = vtp.encode(images)

    def wide(self, rows, columns):
        return tuple(part.float() for part in Rope.forward(self, rows, columns))

    class Wide(Rope):
        forward = wide

    monkeypatch.setattr(vtp.trunk.rope_embed, "__class__", Wide)
    # angles as rounded as before, queries and keys not
    assert mean_difference(vtp.encode(images), latents) > 5e-4


@pytest.mark.parametrize("change", ["half", "double", "bfloat16"])
def test_periods_stay_bfloat16_whatever_the_weights_become(file, images, change):
    vtp = load_autoencoder("vtp", file, SIZES)
    latents = vtp.encode(images)
    periods = vtp.trunk.rope_embed.periods.clone()
    getattr(vtp, change)()
    assert vtp.trunk.cls_token.dtype == getattr(
        torch, {"half": "float16", "double": "float64"}.get(change, change)
    )
    for part in (vtp.trunk, vtp.pixel_decoder):
        assert part.rope_embed.periods.dtype == torch.bfloat16
        assert torch.equal(part.rope_embed.periods, periods)
    changed = vtp.encode(images)
    assert changed.dtype == vtp.trunk.cls_token.dtype
    assert (changed - latents).abs().max() < 0.2 * latents.std()
    assert torch.isfinite(vtp.decode(changed)).all()


def test_periods_of_a_float32_file_are_rounded(file, images):
    latents = load_autoencoder("vtp", file, SIZES).encode(images)
    state = {key: value.float() for key, value in official_state().items()}
    save_file(state, file)
    vtp = load_autoencoder("vtp", file, SIZES)
    assert vtp.trunk.rope_embed.periods.dtype == torch.bfloat16
    assert torch.equal(vtp.encode(images), latents)


def test_initial_periods_are_those_of_the_files():
    assert torch.equal(Rope().periods, official_state()["trunk.rope_embed.periods"])


def test_turning_keeps_lengths_and_depends_on_the_offset_only():
    cosine, sine = (part.double() for part in Rope()(1, 8))
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 1, 1, 64, generator=generator).double() for _ in range(2))
    turned_q, turned_k = (rotate(x.expand(1, 1, 8, 64), cosine, sine)[0, 0] for x in (q, k))
    lengths = turned_q.norm(dim=-1)
    torch.testing.assert_close(lengths, q.norm().expand(8), atol=0.02, rtol=0.01)
    scores = turned_q @ turned_k.T
    for offset in range(-7, 8):
        diagonal = scores.diagonal(offset)
        assert (diagonal - diagonal.mean()).abs().max() < 0.5  # angles are bfloat16
    assert scores.std() > 2


def test_tokens_before_the_patches_do_not_turn_but_are_rounded():
    cosine, sine = Rope()(2, 2)
    vectors = torch.randn(1, 1, 5, 64, generator=torch.Generator().manual_seed(0))
    turned = rotate(vectors, cosine, sine)
    assert turned.dtype == torch.float32
    assert torch.equal(turned[:, :, 0], vectors[:, :, 0].bfloat16().float())
    assert (turned[:, :, 1:] - vectors[:, :, 1:]).abs().max() > 0.5


def test_larger_grids_give_larger_images(file, images):
    vtp = load_autoencoder("vtp", file, SIZES)
    latents = vtp.encode(images)
    assert vtp.decode(latents[:, :, :2, :2]).shape == (3, 3, 16, 16)
    assert vtp.decode(latents.repeat(1, 1, 2, 2)).shape == (3, 3, 64, 64)


def test_each_image_is_encoded_by_itself(file, images):
    vtp = load_autoencoder("vtp", file, SIZES)
    latents = vtp.encode(images)
    assert mean_difference(vtp.encode(images[1:2]), latents[1:2]) < 1e-4
    assert mean_difference(vtp.decode(latents[1:2]), vtp.decode(latents)[1:2]) < 1e-4


@pytest.mark.parametrize(
    ("width", "depth", "parameters"),
    [(384, 12, 43232640), (768, 12, 171399168), (1024, 24, 607133952)],
)
def test_published_sizes(width, depth, parameters):
    with torch.device("meta"):
        vtp = VTP(width=width, depth=depth)
    assert sum(parameter.numel() for parameter in vtp.parameters()) == parameters
    assert vtp.latent_shape == (64, 16, 16)


# ---------------------------------------------------------------------------------------- the files


def test_the_text_tower_is_dropped_and_nothing_else(file):
    save_file(official_state() | text_tower() | {"text_proj": torch.ones(2)}, file)
    with pytest.raises(ValueError, match=r"1 unexpected:\s+text_proj \(2,\)") as caught:
        load_autoencoder("vtp", file, SIZES)
    assert "missing" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    ["trunk.mask_token", "trunk.rope_embed.periods", "pixel_decoder.blocks.1.mlp.w3.bias"],
)
def test_a_key_too_few_or_misshapen_is_named(file, key):
    state = official_state()
    value = state.pop(key)
    save_file(state, file)
    with pytest.raises(ValueError, match=rf"1 missing:\s+{key}"):
        load_autoencoder("vtp", file, SIZES)
    save_file({**state, key: value[..., 1:].clone()}, file)
    with pytest.raises(ValueError, match=rf"1 misshapen:\s+{key}"):
        load_autoencoder("vtp", file, SIZES)


def test_statistics_normalise_each_channel(tmp_path, file, images):
    mean, deviation = normal("mean", 1, 6, 1, 1), normal("std", 1, 6, 1, 1).abs() + 0.5
    torch.save({"mean": mean, "std": deviation}, tmp_path / "s.pt")
    files = {"autoencoder": file, "stats": tmp_path / "s.pt"}
    raw = load_autoencoder("vtp", files, SIZES)
    normalised = load_autoencoder("vtp", files, {**SIZES, "latents": "normalized"})
    expected = (raw.encode(images) - mean) / deviation
    torch.testing.assert_close(normalised.encode(images), expected, atol=1e-5, rtol=1e-5)
    assert mean_difference(normalised.decode(expected), raw.decode(raw.encode(images))) < 1e-4
    with pytest.raises(ValueError, match="role 'stats'"):
        load_autoencoder("vtp", file, {**SIZES, "latents": "normalized"})
    torch.save({"mean": mean, "var": deviation}, tmp_path / "s.pt")
    with pytest.raises(ValueError, match="must hold 'mean' and 'std' with 6 values each"):
        load_autoencoder("vtp", files, SIZES)


@pytest.mark.parametrize(
    ("config", "words"),
    [({"width": 100}, "multiple of 64"), ({"resolution": 30}, "of patch 8"), ({"dep": 1}, "dep")],
)
def test_bad_configs(config, words):
    with pytest.raises(ValueError, match=words):
        build_autoencoder("vtp", {**SIZES, **config})
