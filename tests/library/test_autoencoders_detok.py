"""l-DeTok: the rotation as published, averaged weights, statistics beside them."""

import math
import pickle

import numpy as np
import pytest
import torch

from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.detok import DeTok, SwiGLU, grid_rotation
from seesaw.autoencoders.vit import rotate

TINY = {"resolution": 32, "patch": 8, "channels": 3, "width": 16, "depth": 2, "heads": 2}
NAME = "detok-BB-gamm3.0-m0.7"


def scrambled(module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.eval().requires_grad_(False)


def pixels(count=2):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(9)) * 2 - 1


@pytest.fixture
def plain():
    return scrambled(DeTok(**TINY), seed=1)


@pytest.fixture
def averaged():
    return scrambled(DeTok(**TINY), seed=2)


@pytest.fixture
def checkpoint(plain, averaged, tmp_path):
    path = tmp_path / f"{NAME}.pth"
    content = {"model": plain.state_dict(), "model_ema": averaged.state_dict(), "epoch": 3}
    torch.save(content, path)
    return path


def statistics(folder, mean, deviation, name=NAME):
    path = folder / "stats.pkl"
    path.write_bytes(pickle.dumps({name: {"mean": mean, "std": deviation}}))
    return path


def test_the_published_size_and_keys():
    with torch.device("meta"):
        published = DeTok()
    assert published.latent_shape == (16, 16, 16)
    assert len(published.state_dict()) == 257
    assert sum(parameter.numel() for parameter in published.parameters()) == 171_712_628


def test_rotation_is_the_published_formula():
    cos, sin = (table.double() for table in grid_rotation(16, 64))
    for token, channel in [(0, 5), (17, 0), (100, 15), (100, 16), (255, 31), (255, 32), (38, 63)]:
        place = (token // 16 if channel < 32 else token % 16) / 15
        angle = 2 * math.pi * place * 7 * 1e4 ** (-(channel % 16) / 15)
        assert cos[token, channel] == pytest.approx(math.cos(angle), abs=1e-5)
        assert sin[token, channel] == pytest.approx(math.sin(angle), abs=1e-5)


def test_channels_of_a_pair_turn_by_their_own_angles():
    """Frequencies are doubled in a row (f1 f2 f1 f2), the rotation pairs neighbours."""
    rotation = grid_rotation(2, 8)
    vectors = torch.randn(1, 1, 4, 8, generator=torch.Generator().manual_seed(0))
    got = rotate(vectors, rotation)[0, 0]
    fast, slow = 2 * math.pi * 7.0, 2 * math.pi * 7e-4
    angles = [
        [fast * y, slow * y, fast * y, slow * y, fast * x, slow * x, fast * x, slow * x]
        for y in (0.0, 1.0)
        for x in (0.0, 1.0)
    ]
    for token in range(4):
        for first in range(0, 8, 2):
            a, b = vectors[0, 0, token, first : first + 2].tolist()
            one, other = angles[token][first : first + 2]
            wanted = [
                a * math.cos(one) - b * math.sin(one),
                b * math.cos(other) + a * math.sin(other),
            ]
            assert got[token, first : first + 2].tolist() == pytest.approx(wanted, abs=1e-4)


def test_the_perceptron_gates_with_its_first_half():
    perceptron = scrambled(SwiGLU(6))
    assert perceptron.w12.out_features == 32
    values = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    first, second = perceptron.w12(values).split(16, -1)
    wanted = perceptron.w3(first * torch.sigmoid(first) * second)
    torch.testing.assert_close(perceptron(values), wanted)


def test_pixels_are_ordered_row_column_colour_before_the_last_convolution(plain):
    decoder = plain.decoder
    decoder.ffn[1].weight.zero_()
    decoder.ffn[1].bias.copy_(torch.arange(192.0))
    decoder.conv_out.weight.zero_()
    decoder.conv_out.weight[:, :, 1, 1] = torch.eye(3)
    decoder.conv_out.bias.zero_()
    image = plain.decode(torch.zeros(1, 3, 4, 4))
    row, column, colour = 5, 2, 1
    assert image[0, colour, 8 + row, 16 + column] == row * 24 + column * 3 + colour
    before = image
    decoder.mask_token += 1  # of the masked training
    assert torch.equal(plain.decode(torch.zeros(1, 3, 4, 4)), before)


def test_moments_are_cut_into_mean_and_log_variance(plain):
    moments = plain.encoder(pixels())
    mean, log_variance = plain.posterior(pixels())
    assert mean.shape == log_variance.shape == (2, 3, 4, 4)
    torch.testing.assert_close(mean[1, 2, 3, 1], moments[1, 13, 2])
    torch.testing.assert_close(log_variance[1, 2, 3, 1], moments[1, 13, 5])
    noise = torch.ones_like(mean)
    torch.testing.assert_close(
        plain.encode(pixels(), noise), mean + (log_variance / 2).exp(), atol=1e-5, rtol=1e-5
    )
    plain.encoder.latent_head.bias[3:] = 100
    assert plain.posterior(pixels())[1].max() == 20


def test_averaged_weights_unless_told_otherwise(checkpoint, plain, averaged):
    torch.testing.assert_close(
        load_autoencoder("detok", checkpoint, TINY).encode(pixels()), averaged.encode(pixels())
    )
    other = load_autoencoder("detok", checkpoint, {**TINY, "ema": False})
    torch.testing.assert_close(other.encode(pixels()), plain.encode(pixels()))
    assert not torch.allclose(plain.encode(pixels()), averaged.encode(pixels()))


def test_a_file_without_the_average_is_refused(plain, tmp_path):
    torch.save({"model": plain.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="no state dict 'model_ema'.*option ema"):
        load_autoencoder("detok", tmp_path / "w.pth", TINY)
    assert load_autoencoder("detok", tmp_path / "w.pth", {**TINY, "ema": False}).stochastic


@pytest.mark.parametrize("kind", ["numpy", "torch", "row", "number", "numpy number"])
def test_statistics(checkpoint, averaged, tmp_path, kind):
    mean, deviation = np.float32([0.5, -1, 2]), np.float32([2, 0.25, 1])
    given = {
        "numpy": (mean, deviation),
        "torch": (torch.from_numpy(mean), torch.from_numpy(deviation)),
        "row": (mean[None, None], deviation[None, None]),
        "number": (0.5, 2.0),
        "numpy number": (mean[0], deviation[0]),
    }[kind]
    files = {"autoencoder": checkpoint, "stats": statistics(tmp_path, *given)}
    loaded = load_autoencoder("detok", files, {**TINY, "latents": "normalized"})
    raw = averaged.encode(pixels())
    if "number" in kind:
        wanted = (raw - 0.5) / 2
    else:
        wanted = (raw - torch.from_numpy(mean)[:, None, None]) / torch.from_numpy(deviation)[
            :, None, None
        ]
    torch.testing.assert_close(loaded.encode(pixels()), wanted)
    torch.testing.assert_close(loaded.decode(wanted), averaged.decode(raw), atol=1e-4, rtol=1e-4)


def test_statistics_that_do_not_fit(checkpoint, tmp_path):
    def files(*given, name=NAME):
        return {"autoencoder": checkpoint, "stats": statistics(tmp_path, *given, name=name)}

    with pytest.raises(ValueError, match=r"a number or 3 of each; the file has .*\(4,\)"):
        load_autoencoder("detok", files(np.zeros(4), np.ones(4)), TINY)
    with pytest.raises(ValueError, match="'another'.*no state dict 'detok-BB"):
        load_autoencoder("detok", files(np.zeros(3), np.ones(3), name="another"), TINY)
    with pytest.raises(ValueError, match="role 'stats'"):
        load_autoencoder("detok", checkpoint, {**TINY, "latents": "normalized"})


def test_keys_that_do_not_belong_are_named(averaged, tmp_path):
    state = averaged.state_dict()
    del state["decoder.mask_token"]  # of no effect, but published
    state["decoder.extra"] = torch.ones(2)
    state["decoder.conv_out.bias"] = torch.ones(4)
    torch.save({"model_ema": state}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_autoencoder("detok", tmp_path / "w.pth", TINY)
    for words in (
        "1 missing:\n    decoder.mask_token (1, 1, 16)",
        "1 unexpected:\n    decoder.extra (2,)",
        "decoder.conv_out.bias (4,), expected (3,)",
    ):
        assert words in str(caught.value)


def test_bfloat16_turns_by_exact_angles(averaged):
    """Tables in bfloat16 would be off by up to 2^-8 of 2 pi 7 turns."""
    queries = torch.randn(1, 2, 16, 8, generator=torch.Generator().manual_seed(0))
    rotation = grid_rotation(4, 8)
    rounded = rotate(queries.bfloat16(), rotation)
    assert rounded.dtype == torch.bfloat16
    exact = rotate(queries.bfloat16().float(), rotation)
    assert torch.equal(rounded, exact.bfloat16())
    wide = averaged.encode(pixels())
    averaged.to(torch.bfloat16)
    torch.testing.assert_close(averaged.encode(pixels()).float(), wide, atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"resolution": 30}, "not a multiple of patch 8"), ({"heads": 3}, "3 heads do not cut")],
)
def test_sizes_that_do_not_fit(changes, words):
    with pytest.raises(ValueError, match=words):
        DeTok(**{**TINY, **changes})
