"""MAETok: rotation by learned frequencies, modulated latent tokens, keys of the training."""

import json

import pytest
import torch
from safetensors.torch import save_file

from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.maetok import MAETok, modulate
from seesaw.autoencoders.vit import rotate

TINY = {
    "resolution": 32,
    "patch": 8,
    "tokens": 5,
    "channels": 3,
    "width": 16,
    "depth": 2,
    "heads": 2,
}


def scrambled(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.eval().requires_grad_(False)


def pixels(count=2):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(9)) * 2 - 1


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def autoencoder():
    return scrambled(MAETok(**TINY))


def test_the_published_size_and_keys(tmp_path):
    with torch.device("meta"):
        published = MAETok()
    assert published.latent_shape == (128, 32)
    assert len(published.state_dict()) == 316
    assert sum(parameter.numel() for parameter in published.parameters()) == 173_891_360
    config = {
        "image_size": 256,
        "codebook_embed_dim": 32,
        "encoder_model": "vit_base_patch14_dinov2.lvd142m",
        "decoder_model": "vit_base_patch14_dinov2_movqv2",
        "num_latent_tokens": 128,
        "use_ape": False,
        "use_rope": True,
        "rope_mixed": True,
        "dec_cls_token": False,
        "vq_mean": 0.5,
        "vq_std": 2.0,
    }
    published.read_hub_config(config, tmp_path)
    assert published.normalization == (0.5, 0.5)
    for changes, words in [
        ({"rope_mixed": False}, "rope_mixed False"),
        ({"decoder_model": "vit_base_patch14_dinov2"}, "movqv2"),
        ({"dec_cls_token": True}, "dec_cls_token True"),
    ]:
        with pytest.raises(ValueError, match=words):
            published.read_hub_config({**config, **changes}, tmp_path)


def test_rotation_multiplies_complex_pairs(autoencoder):
    """Against complex numbers: pair k of a head turns by x f_x + y f_y, other tokens by nothing."""
    encoder = autoencoder.encoder
    queries = noise(2, 2, 1 + 16 + 5, 8)
    for layer, rotation in enumerate(encoder.rotations()):
        got = torch.view_as_complex(rotate(queries, rotation).unflatten(-1, (4, 2)))
        given = torch.view_as_complex(queries.unflatten(-1, (4, 2)))
        frequencies = encoder.freqs[:, layer].view(2, 2, 4)
        assert torch.equal(got[:, :, 0], given[:, :, 0])
        assert torch.equal(got[:, :, 17:], given[:, :, 17:])
        for place in range(16):
            angle = place % 4 * frequencies[0] + place // 4 * frequencies[1]
            wanted = given[:, :, 1 + place] * torch.polar(torch.ones(2, 4), angle)
            torch.testing.assert_close(got[:, :, 1 + place], wanted)


def test_only_latent_tokens_are_modulated():
    tokens, shift, scale = noise(2, 7, 4), noise(2, 3, 4), noise(2, 3, 4) + 2
    got = modulate(tokens, shift, scale)
    assert torch.equal(got[:, :4], tokens[:, :4])
    assert torch.equal(got[:, 4:], tokens[:, 4:] * scale + shift)


def test_a_modulated_block_is_the_formula(autoencoder):
    block = autoencoder.decoder.model.blocks[0]
    tokens, latents = noise(2, 16 + 5, 16), noise(2, 5, 3)
    rotation = autoencoder.decoder.mixed_rotations(heads=2, before=0, after=5)[0]
    linear = block.adaLN_modulation[1]
    shift_a, scale_a, shift_m, scale_m = linear(torch.nn.functional.silu(latents)).split(16, -1)

    def norm(values):
        centred = values - values.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    inner = norm(tokens)
    inner[:, 16:] = inner[:, 16:] * scale_a + shift_a
    wanted = tokens + block.attn(inner, rotation)
    inner = norm(wanted)
    inner[:, 16:] = inner[:, 16:] * scale_m + shift_m
    wanted = wanted + block.mlp(inner)
    torch.testing.assert_close(block(tokens, rotation, latents), wanted, atol=1e-5, rtol=1e-5)


def patches_of(images):
    return images.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)


def test_the_decoder_knows_places_by_rotation_alone(autoencoder):
    latents = noise(2, 5, 3)
    patches = patches_of(autoencoder.decode(latents))
    assert (patches - patches[:, :1]).abs().amax((0, 2, 3, 4))[1:].min() > 1e-3
    before = autoencoder.decode(latents)
    autoencoder.decoder.model.pos_embed += 1
    assert torch.equal(autoencoder.decode(latents), before)
    autoencoder.decoder.freqs.zero_()
    patches = patches_of(autoencoder.decode(latents))
    torch.testing.assert_close(patches, patches[:, :1].expand_as(patches))


def test_the_encoder_has_rotation_and_a_table_of_places(autoencoder):
    before = autoencoder.encode(pixels())
    autoencoder.encoder.mask_token += 1  # of the masked training
    assert torch.equal(autoencoder.encode(pixels()), before)
    autoencoder.encoder.freqs *= 1.5
    turned = autoencoder.encode(pixels())
    assert (turned - before).abs().max() > 1e-3
    autoencoder.encoder.model.pos_embed[:, 1:] = 0
    assert (autoencoder.encode(pixels()) - turned).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_frequencies_stay_exact_in_narrow_dtypes(autoencoder, dtype):
    exact = autoencoder.encoder.freqs.clone()
    wide = autoencoder.encode(pixels())
    autoencoder.to(dtype)
    assert torch.equal(autoencoder.encoder.freqs, exact)
    assert autoencoder.encoder.latent_tokens.dtype == dtype
    latents = autoencoder.encode(pixels())
    assert latents.dtype == dtype
    assert autoencoder.decode(latents).dtype == dtype
    torch.testing.assert_close(latents.float(), wide, atol=0.05, rtol=0.05)
    autoencoder.to(torch.float64)
    assert autoencoder.encoder.freqs.dtype == torch.float64
    assert autoencoder.encode(pixels()).dtype == torch.float64


def test_keys_of_the_training_are_dropped_and_no_others(autoencoder, tmp_path):
    extras = [
        "repa_model.cls_token",
        "projection.0.weight",
        "scale.mean",
        "de_scale.std",
        "decoder_hog.mask_token",
        "decoder_dino.mask_token",
        "decoder_clip.mask_token",
        "post_quant_conv_hog.weight",
        "to_pixel_clip.bias",
        "hog_generator.weight_x",
        "clip_model.pos_embed",
    ]
    state = {**autoencoder.state_dict(), **{key: torch.ones(2) for key in extras}}
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"vq_mean": 0.0, "vq_std": 4.0}))
    loaded = load_autoencoder("maetok", tmp_path, {**TINY, "latents": "normalized"})
    raw = autoencoder.encode(pixels())
    torch.testing.assert_close(loaded.encode(pixels()), raw / 4)
    torch.testing.assert_close(loaded.decode(raw / 4), autoencoder.decode(raw))
    state["decoder_other.mask_token"] = torch.ones(2)
    del state["encoder.freqs_t_x"], state["encoder.mask_token"]
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_autoencoder("maetok", tmp_path, TINY)
    assert "2 missing:\n    encoder." in str(caught.value)
    assert "1 unexpected:\n    decoder_other.mask_token (2,)" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"resolution": 30}, "not a multiple of patch 8"), ({"heads": 3}, "3 heads do not cut")],
)
def test_sizes_that_do_not_fit(changes, words):
    with pytest.raises(ValueError, match=words):
        MAETok(**{**TINY, **changes})
