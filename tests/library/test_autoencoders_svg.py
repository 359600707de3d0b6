"""SVG and SVG-T2I: what its parts compute, what its files may hold, and what is refused."""

import numpy as np
import pytest
import timm
import torch
from timm.layers import apply_rot_embed_cat
from timm.models.eva import checkpoint_filter_fn

from seesaw.autoencoders import dinov3, load_autoencoder
from seesaw.autoencoders.svg import SVG, MixedRotary, RotaryResidual, match
from seesaw.autoencoders.weights import load_weights, save_weights

SIZES = {"width": 16, "depth": 2, "heads": 2}
TINY = {
    "resolution": 64,
    "encoder": SIZES,
    "residual_encoder": SIZES,
    "residual_channels": 3,
    "widths": (4, 4, 4, 4, 8),
    "norm_groups": 2,
}
KINDS = ("learned", "rotary", "none")
IMAGES = 2 * torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) - 1
UNUSED = {
    "mask_token": (1, 3, 1),
    "encoder.mask_token": (1, 16),
    "norm_vit.weight": (35,),
    "norm_vit.bias": (35,),
    "extra_vit.head.weight": (10, 16),
    "extra_vit.head.bias": (10,),
    "extra_vit.freqs_t_x": (64,),
    "extra_vit.freqs_t_y": (64,),
    "loss.logvar": (),
    "loss.discriminator.main.0.weight": (4, 3, 4, 4),
}


def tiny(**config):
    """A tiny autoencoder whose tensors all matter."""
    torch.manual_seed(1)
    model = SVG(**{**TINY, **config}).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "gamma" in name:
                parameter.fill_(0.7)
            elif parameter.ndim < 2 or "token" in name or "pos_embedding" in name:
                parameter += 0.3 * torch.randn_like(parameter)
    return model


def checkpoint(folder, model, *, without=(), **changed):
    """A file like the authors' with the weights of ``model``."""
    state = {**model.state_dict(), **{key: torch.ones(shape) for key, shape in UNUSED.items()}}
    state = {key: value.clone() for key, value in state.items() if not key.startswith(without)}
    state |= changed
    torch.save({"state_dict": state, "epoch": 40, "callbacks": {"best": 0.1}}, folder / "svg.ckpt")
    return folder / "svg.ckpt"


def encoder_file(folder, model, **changed):
    """A file like Meta's."""
    state = {key: value.clone() for key, value in model.encoder.state_dict().items()}
    torch.save({**state, "mask_token": torch.ones(1, 16), **changed}, folder / "dinov3.pth")
    return folder / "dinov3.pth"


def load(weights, **config):
    return load_autoencoder("seesaw.autoencoders.svg:SVG", weights, {**TINY, **config})


@torch.inference_mode()
def test_the_residual_takes_the_moments_of_the_tokens():
    rng = np.random.default_rng(0)
    tokens, residual = rng.normal(2, 3, (2, 10, 7)), rng.normal(-1, 0.1, (2, 10, 3))
    matched = match(torch.tensor(residual), torch.tensor(tokens)).numpy()
    for one, own, other in zip(matched, residual, tokens, strict=True):
        scale = other.std(0, ddof=1).mean() / (own.std(0, ddof=1).mean() + 1e-6)
        want = (own - own.mean()) * scale + other.mean()
        np.testing.assert_allclose(one, want, rtol=1e-4, atol=1e-5)
        pooled = one.std(0, ddof=1).mean()
        assert np.isclose(pooled, other.std(0, ddof=1).mean(), rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("residual", KINDS)
def test_an_image_by_itself_or_in_a_batch(residual):
    model = tiny(residual=residual)
    one_by_one = torch.cat([model.encode(image[None]) for image in IMAGES])
    torch.testing.assert_close(model.encode(IMAGES), one_by_one, atol=1e-5, rtol=1e-5)
    model.residual_statistics = "batch"
    joint = model.encode(IMAGES)
    torch.testing.assert_close(model.encode(IMAGES[:1]), one_by_one[:1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(joint[:, :16], one_by_one[:, :16], atol=1e-5, rtol=1e-5)
    if residual != "none":
        assert (joint[:, 16:] - one_by_one[:, 16:]).abs().max() > 1e-3
        pooled, tokens = joint[:, 16:].mean(), joint[:, :16].mean()
        torch.testing.assert_close(pooled, tokens, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_encoder_is_timms_with_the_official_keys():
    ours = tiny().encoder
    state = ours.state_dict()
    assert "storage_tokens" in state
    assert "blocks.1.attn.qkv.bias_mask" in state
    theirs = timm.create_model(
        "vit_small_plus_patch16_dinov3_qkvb",
        num_classes=0,
        embed_dim=16,
        depth=2,
        num_heads=2,
    ).eval()
    theirs.load_state_dict(checkpoint_filter_fn(dict(state), theirs))
    images = IMAGES[:, :, :48]  # not square
    want = theirs.forward_features(images)[:, 5:]
    torch.testing.assert_close(dinov3.patch_tokens(ours, images), want, atol=1e-6, rtol=1e-6)


@torch.inference_mode()
def test_the_bias_of_the_keys_is_masked_and_the_periods_count():
    model = tiny().encoder
    want = dinov3.patch_tokens(model, IMAGES)
    layer = model.blocks[0].attn.qkv
    layer.bias[16:32] += 5
    torch.testing.assert_close(dinov3.patch_tokens(model, IMAGES), want, atol=0, rtol=0)
    layer.bias_mask.fill_(1)
    assert (dinov3.patch_tokens(model, IMAGES) - want).abs().max() > 1e-3
    layer.bias_mask[16:32] = 0
    model.rope.periods *= 3
    assert (dinov3.patch_tokens(model, IMAGES) - want).abs().max() > 1e-3


def test_the_periods_stay_in_float32():
    model = tiny().encoder
    model.rope.periods[0] = 1 / 3
    kept = model.rope.periods.clone()
    assert torch.equal(model.to(torch.bfloat16).rope.periods, kept)
    assert model.patch_embed.proj.weight.dtype == torch.bfloat16
    assert "rope_embed.periods" in model.state_dict()


@torch.inference_mode()
def test_mixed_rotation_turns_pairs_by_column_and_row():
    rotary = MixedRotary(16, 3, 2)
    queries = torch.randn(1, 2, 15, 8, generator=torch.Generator().manual_seed(0))
    angles = rotary.get_embed((3, 5))
    assert angles.shape == (3, 2, 15, 16)
    frequencies = rotary.freqs.view(2, 3, 2, 4)
    for layer in range(3):
        turned = torch.view_as_complex(
            apply_rot_embed_cat(queries, angles[layer]).unflatten(3, (4, 2))
        )
        for head, row, column in ((0, 0, 0), (1, 2, 1), (0, 1, 4)):
            pairs = torch.view_as_complex(queries[0, head, 5 * row + column].view(4, 2))
            along, down = frequencies[:, layer, head]
            want = pairs * torch.exp(1j * (column * along + row * down))
            torch.testing.assert_close(turned[0, head, 5 * row + column], want)


@torch.inference_mode()
def test_the_rotary_residual_knows_places_only_by_their_differences():
    torch.manual_seed(0)
    model = RotaryResidual(channels=3, **SIZES).eval()
    assert {"freqs", "cls_token", "blocks.1.gamma_2", "heads.2.bias"} <= set(model.state_dict())
    flat = model(torch.ones(1, 3, 48, 80))
    assert flat.shape == (1, 15, 3)
    torch.testing.assert_close(flat, flat[:, :1].expand_as(flat), atol=1e-6, rtol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("residual", KINDS)
def test_files_are_read_and_extras_dropped(tmp_path, residual):
    model = tiny(residual=residual)
    loaded = load(checkpoint(tmp_path, model), residual=residual)
    assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))
    channels = 16 if residual == "none" else 19
    assert loaded.latent_shape == (channels, 4, 4)
    latents = loaded.encode(IMAGES)
    torch.testing.assert_close(latents, model.encode(IMAGES), atol=1e-5, rtol=1e-5)
    assert loaded.decode(latents).shape == (3, 3, 64, 64)
    assert loaded.decode(latents[:, :, :3, :2]).shape == (3, 3, 48, 32)
    save_weights(loaded, tmp_path / "again.safetensors")
    again = load(tmp_path / "again.safetensors", residual=residual, dtype="bfloat16")
    assert again.encode(IMAGES[:1]).dtype == torch.bfloat16
    assert (again.encode(IMAGES[:1]).float() - latents[:1]).abs().mean() < 0.1 * latents.std()


@torch.inference_mode()
def test_the_encoder_may_lie_in_its_own_file(tmp_path):
    model, other = tiny(), tiny()
    main = checkpoint(tmp_path, model, without=("encoder.",))
    with pytest.raises(ValueError, match=r"holds no encoder\.\*.*lvd1689m.*role 'encoder'"):
        load_weights(other, main)
    loaded = load({"autoencoder": main, "encoder": encoder_file(tmp_path, model)})
    latents = model.encode(IMAGES)
    torch.testing.assert_close(loaded.encode(IMAGES), latents, atol=1e-5, rtol=1e-5)
    save_weights(loaded, tmp_path / "all.safetensors")
    torch.testing.assert_close(load(tmp_path / "all.safetensors").encode(IMAGES), latents)

    other.encoder.norm.bias.data += 1
    both = {"autoencoder": checkpoint(tmp_path, model), "encoder": encoder_file(tmp_path, other)}
    torch.testing.assert_close(load(both).encode(IMAGES), latents, atol=1e-5, rtol=1e-5)
    both["encoder"] = encoder_file(tmp_path, model, surplus=torch.ones(2))
    with pytest.raises(ValueError, match=r"1 unexpected:\s+surplus \(2,\)"):
        load_weights(other, both)
    part = checkpoint(tmp_path, model, without=("encoder.blocks.1.ls2",))
    with pytest.raises(ValueError, match=r"1 missing:\s+encoder\.blocks\.1\.ls2\.gamma \(16,\)"):
        load_weights(other, part)


def test_keys_are_named_as_the_authors_do(tmp_path):
    model = tiny(residual="rotary")
    state = model.state_dict()
    for key in (
        "encoder.blocks.0.attn.qkv.bias_mask",
        "encoder.rope_embed.periods",
        "extra_vit.freqs",
        "extra_vit.blocks.1.gamma_1",
        "decoder.up.4.attn.2.proj_out.weight",
        "decoder.mid.attn_1.norm.bias",
    ):
        name = key.replace(".", r"\.")
        with pytest.raises(ValueError, match=rf"1 missing:\s+{name} "):
            load_weights(model, checkpoint(tmp_path, model, without=(key,)))
        twice = torch.cat(2 * [state[key]])
        with pytest.raises(ValueError, match=rf"1 misshapen:\s+{name} "):
            load_weights(model, checkpoint(tmp_path, model, **{key: twice}))
    with pytest.raises(ValueError, match=r"1 unexpected:\s+decoder\.conv_norm_out\.bias \(4,\)"):
        load_weights(
            model, checkpoint(tmp_path, model, **{"decoder.conv_norm_out.bias": torch.zeros(4)})
        )


@torch.inference_mode()
@pytest.mark.parametrize(("residual", "attention"), [("rotary", False), ("none", True)])
def test_ambiguous_files_decide_and_clear_ones_do_not(tmp_path, residual, attention):
    model = tiny(residual=residual, attention=attention)
    path = checkpoint(tmp_path, model, without=() if residual == "rotary" else ("extra_vit.",))
    loaded = load(path, residual="file", attention=None)
    latents = model.encode(IMAGES)
    torch.testing.assert_close(loaded.encode(IMAGES), latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loaded.decode(latents), model.decode(latents), atol=1e-4, rtol=1e-4)
    other = "none" if residual == "rotary" else "rotary"
    for config in ({"residual": residual, "attention": not attention}, {"residual": other}):
        with pytest.raises(ValueError, match="does not fit this model"):
            load_weights(tiny(**{"attention": attention, **config}), path)


@torch.inference_mode()
def test_a_file_that_decides_must_still_be_whole(tmp_path):
    model = tiny(residual="rotary")
    for key in ("decoder.up.4.attn.0.q.weight", "extra_vit.heads.2.bias", "decoder.conv_in.bias"):
        ambiguous = SVG(**TINY, residual="file", attention=None)
        with pytest.raises(ValueError, match=r"1 missing:\s+" + key.replace(".", r"\.")):
            load_weights(ambiguous, checkpoint(tmp_path, model, without=(key,)))


def statistics(folder, **values):
    torch.save(values, folder / "stats.pt")
    return folder / "stats.pt"


@torch.inference_mode()
def test_statistics_per_channel_or_of_the_last_layer(tmp_path):
    model = tiny()
    mean, std = torch.randn(1, 1, 19), torch.rand(1, 1, 19) + 0.5
    files = {
        "autoencoder": checkpoint(tmp_path, model),
        "stats": statistics(tmp_path, dinov3_sp_mean=mean, dinov3_sp_std=std),
    }
    loaded = load(files, latents="normalized")
    raw = model.encode(IMAGES)
    want = (raw - mean.view(19, 1, 1)) / std.view(19, 1, 1)
    torch.testing.assert_close(loaded.encode(IMAGES), want, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(loaded.decode(want), model.decode(raw), atol=1e-4, rtol=1e-4)

    model = tiny(residual="rotary")
    mean, std = torch.randn(2, 16), torch.rand(2, 16) + 0.5
    files = {
        "autoencoder": checkpoint(tmp_path, model),
        "stats": statistics(tmp_path, mean=mean, std=std),
    }
    normal = load(files, residual="rotary", latents="normalized").encode(IMAGES)
    raw = model.encode(IMAGES)
    want = (raw[:, :16] - mean[1].view(16, 1, 1)) / std[1].view(16, 1, 1)
    torch.testing.assert_close(normal[:, :16], want, atol=1e-4, rtol=1e-4)
    want = (raw[:, 16:] - mean[1].mean()) / std[1].mean()
    torch.testing.assert_close(normal[:, 16:], want, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match=r"mean \(2, 16\).*must hold dinov3_sp_mean"):
        tiny().statistics({"mean": mean, "std": std})


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="'rotaty'. Did you mean 'rotary'"):
        SVG(residual="rotaty")
    with pytest.raises(ValueError, match="residual_statistics 'images'"):
        SVG(residual_statistics="images")
    with pytest.raises(ValueError, match="250 is not a multiple"):
        SVG(resolution=250)
    model = tiny(residual="rotary")
    for shape in ((2, 3, 64, 48), (2, 3, 32, 32), (2, 1, 64, 64)):
        with pytest.raises(ValueError, match="float RGB"):
            model.encode(torch.zeros(shape))
    with pytest.raises(ValueError, match="it takes floats"):
        model.decode(torch.zeros(1, 16, 4, 4))
