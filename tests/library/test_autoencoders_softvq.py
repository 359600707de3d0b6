"""SoftVQ-VAE: its transformer is timm's, its quantiser the formula, its folder read and checked."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.continuous_tokenizer import ToPixel
from seesaw.autoencoders.softvq import SoftQuantizer, SoftVQ

TINY = {
    "resolution": 32,
    "patch": 8,
    "tokens": 6,
    "channels": 4,
    "width": 16,
    "depth": 2,
    "heads": 2,
    "codebooks": 2,
    "codes": 10,
}
CONFIG = {
    "image_size": 32,
    "enc_patch_size": 8,
    "dec_patch_size": 8,
    "num_latent_tokens": 6,
    "codebook_embed_dim": 4,
    "num_codebooks": 2,
    "codebook_size": 10,
    "tau": 0.07,
    "encoder_model": "vit_large_patch14_dinov2.lvd142m",
    "enc_pretrained": True,
    "vq_mean": 0.25,
    "vq_std": 0.5,
}


def scrambled(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.eval().requires_grad_(False)


def pixels(count=2):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(9)) * 2 - 1


@pytest.fixture
def autoencoder():
    return scrambled(SoftVQ(**TINY))


@pytest.fixture
def folder(autoencoder, tmp_path):
    """The published folder, with keys of the training."""
    extras = {
        "repa_model.blocks.0.norm1.weight": torch.ones(3),
        "projection.0.weight": torch.ones(2, 2),
        "scale.mean": torch.ones(1, 3, 1, 1),
        "de_scale.std": torch.ones(1, 3, 1, 1),
    }
    save_file({**autoencoder.state_dict(), **extras}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def test_the_published_size_and_keys():
    with torch.device("meta"):
        published = SoftVQ()
    assert published.latent_shape == (64, 32)
    assert len(published.state_dict()) == 696
    assert sum(parameter.numel() for parameter in published.parameters()) == 608_924_448


def test_encoder_is_timms_transformer_with_tokens_behind(autoencoder):
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=16,
        depth=2,
        num_heads=2,
        init_values=1.0,
        num_classes=0,
    ).eval()
    encoder = autoencoder.encoder
    model.load_state_dict(encoder.model.state_dict(), strict=True)
    with torch.no_grad():
        tokens = model._pos_embed(model.patch_embed(pixels()))
        latents = (encoder.latent_tokens + encoder.latent_pos_embed).expand(2, -1, -1)
        wanted = model.norm(model.blocks(torch.cat([tokens, latents], 1)))[:, -6:]
    torch.testing.assert_close(encoder(pixels()), wanted)


def test_decoder_is_timms_transformer_over_mask_tokens(autoencoder):
    model = timm.models.vision_transformer.VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=16,
        depth=2,
        num_heads=2,
        init_values=1.0,
        num_classes=0,
    ).eval()
    decoder = autoencoder.decoder
    model.load_state_dict(decoder.model.state_dict(), strict=True)
    latents = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        masks = model._pos_embed(decoder.mask_token.expand(2, 16, -1))
        tokens = autoencoder.post_quant_conv(latents) + decoder.latent_pos_embed
        tokens = model.norm(model.blocks(torch.cat([masks, tokens], 1)))[:, 1:17]
        values = decoder.to_pixel.model(tokens)  # (row, column, colour) within a patch
    patches = values.view(2, 4, 4, 8, 8, 3)
    wanted = torch.einsum("nhwpqc->nchpwq", patches).reshape(2, 3, 32, 32)
    torch.testing.assert_close(autoencoder.decode(latents), wanted)


def test_pixels_of_a_patch_are_ordered_row_column_colour():
    to_pixel = ToPixel(2, patch=4)
    with torch.no_grad():
        to_pixel.model.weight.zero_()
        to_pixel.model.bias.copy_(torch.arange(48.0))
        image = to_pixel(torch.zeros(1, 4, 2))
    row, column, colour = 3, 2, 1
    assert image.shape == (1, 3, 8, 8)
    assert image[0, colour, row, 4 + column] == row * 12 + column * 3 + colour


def test_the_quantiser_is_the_formula():
    quantizer = scrambled(SoftQuantizer(codebooks=2, codes=10, channels=4, temperature=0.07))
    tokens = torch.randn(3, 6, 4, generator=torch.Generator().manual_seed(2))
    got = quantizer(tokens)
    for n in range(3):
        for t in range(6):
            codes = F.normalize(quantizer.embedding[t // 3].double(), dim=-1)
            token = tokens[n, t].double()
            weights = ((codes @ token) / token.norm() / 0.07).softmax(0)
            torch.testing.assert_close(got[n, t].double(), weights @ codes, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(quantizer(7 * tokens), got)
    assert got.norm(dim=-1).max() <= 1 + 1e-6
    quantizer.temperature = 1e-4
    nearest = F.normalize(quantizer.embedding, dim=-1)
    cosines = torch.stack([quantizer(tokens)[:, t] @ nearest[t // 3].T for t in range(6)])
    torch.testing.assert_close(cosines.amax(-1), torch.ones(6, 3))


def test_the_folder_gives_weights_and_statistics(autoencoder, folder):
    loaded = load_autoencoder("softvq", folder, {**TINY, "latents": "normalized"})
    raw = autoencoder.encode(pixels())
    torch.testing.assert_close(loaded.encode(pixels()), (raw - 0.25) / 0.5)
    torch.testing.assert_close(loaded.decode((raw - 0.25) / 0.5), autoencoder.decode(raw))
    same = load_autoencoder("softvq", folder / "model.safetensors", TINY)
    torch.testing.assert_close(same.encode(pixels()), raw)


def test_statistics_in_words_and_of_the_file_must_agree(autoencoder, folder):
    config = {**TINY, "latents": "normalized", "normalization": {"mean": 0.25, "scale": 2.00001}}
    raw = autoencoder.encode(pixels())
    loaded = load_autoencoder("softvq", folder, config)
    torch.testing.assert_close(loaded.encode(pixels()), (raw - 0.25) * 2, rtol=1e-4, atol=1e-4)
    config["normalization"] = {"mean": [0.25, 0.25, 0.25, 0.5], "scale": 2.0}
    with pytest.raises(ValueError, match=r"vq_mean 0\.25 and vq_std 0\.5.*mean 0\.25 and scale 2;"):
        load_autoencoder("softvq", folder, config)
    (folder / "config.json").unlink()
    loaded = load_autoencoder("softvq", folder, config)
    shift = torch.tensor(config["normalization"]["mean"])
    torch.testing.assert_close(loaded.encode(pixels()), (raw - shift) * 2)


def test_without_its_config_the_statistics_are_missing(folder):
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json \(vq_mean, vq_std\).*normalization"):
        load_autoencoder("softvq", folder, {**TINY, "latents": "normalized"})
    assert load_autoencoder("softvq", folder, TINY).normalization is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_codebooks": 1}, "num_codebooks 1, while codebooks is 2 here"),
        ({"tau": 0.1}, "tau 0.1, while temperature is 0.07"),
        ({"codebook_l2_norm": False}, "codebook_l2_norm False"),
        ({"to_pixel": "conv"}, "to_pixel 'conv'"),
        ({"use_rope": True}, "use_rope True"),
        ({"vq_std": 0.0}, "deviation above 0"),
        ({"vq_mean": None}, "finite"),
        ({"vq_mean": float("nan")}, "finite"),
    ],
)
def test_a_config_of_another_model_is_refused(folder, changes, words):
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    with pytest.raises(ValueError, match=words) as caught:
        load_autoencoder("softvq", folder, TINY)
    assert str(folder / "config.json") in str(caught.value)


def test_the_config_of_the_published_training_is_accepted(tmp_path):
    with torch.device("meta"):
        published = SoftVQ()
    config = {
        "image_size": 256,
        "codebook_embed_dim": 32,
        "enc_type": "vit",
        "dec_type": "vit",
        "encoder_model": "vit_large_patch14_dinov2.lvd142m",
        "decoder_model": "vit_large_patch14_dinov2.lvd142m",
        "num_latent_tokens": 64,
        "codebook_size": 8192,
        "num_codebooks": 4,
        "tau": 0.07,
        "repa": True,
    }
    published.read_hub_config(config, tmp_path)
    assert published.normalization is None
    with pytest.raises(ValueError, match="vit_base_patch14_dinov2"):
        published.read_hub_config({**config, "encoder_model": "vit_base_patch14_dinov2"}, tmp_path)


def test_keys_that_do_not_belong_are_named(autoencoder, folder):
    state = autoencoder.state_dict()
    del state["decoder.model.patch_embed.proj.bias"]  # of no effect, but published
    state["loss.weight"] = torch.ones(2)
    state["quant_conv.bias"] = torch.ones(5)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_autoencoder("softvq", folder, TINY)
    for words in (
        "1 missing:\n    decoder.model.patch_embed.proj.bias (16,)",
        "1 unexpected:\n    loss.weight (2,)",
        "quant_conv.bias (5,), expected (4,)",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resolution": 30}, "not a multiple of patch 8"),
        ({"heads": 3}, "3 heads do not divide width 16"),
        ({"codebooks": 4}, "4 codebooks do not divide 6 tokens"),
    ],
)
def test_sizes_that_do_not_fit(changes, words):
    with pytest.raises(ValueError, match=words):
        SoftVQ(**{**TINY, **changes})
