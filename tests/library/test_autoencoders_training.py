"""Objectives against their formulas, and training."""

import numpy as np
import pytest
import torch
from torch import nn

from seesaw.autoencoders import objectives
from seesaw.autoencoders.base import Autoencoder
from seesaw.autoencoders.tokenizer_1d import Tokenizer1D
from seesaw.autoencoders.train import _optimisers, image_batches, rate, train_autoencoder
from seesaw.autoencoders.transforms import rescale, rotate
from seesaw.autoencoders.weights import save_weights
from seesaw.shards import Shards, ShardWriter


class Pooling(Autoencoder):
    """4 x 4 means out, nearest neighbour back in: commutes with rotations, linear, resizable."""

    resolution, latent_shape, spatial, resizable = 16, (3, 4, 4), True, True

    def __init__(self, gain: float = 1.0, log_variance: float | None = None) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain))
        self.log_variance = log_variance
        self.stochastic = log_variance is not None
        self.seen: list[int] = []

    def posterior(self, images):
        mean = self.gain * nn.functional.avg_pool2d(images, 4)
        self.seen.append(images.shape[-1])
        if self.log_variance is None:
            return mean, None
        return mean, torch.full_like(mean, self.log_variance)

    def decode(self, latents):
        return latents.repeat_interleave(4, -1).repeat_interleave(4, -2)


class Teacher:
    """A 2 x 2 grid of tokens: the means of the image's quarters, through a fixed matrix."""

    dim, grid = 5, 2

    def __init__(self) -> None:
        self.matrix = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))

    def tokens(self, images):
        quarters = nn.functional.adaptive_avg_pool2d(images, 2)
        return quarters.flatten(2).transpose(1, 2) @ self.matrix


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(8, 3, 16, 16, generator=generator(1)) * 2 - 1


@pytest.fixture
def blocks():
    """Images that 4 x 4 pooling keeps whole."""
    return Pooling().decode(torch.rand(8, 3, 4, 4, generator=generator(1)) * 2 - 1)


def test_reconstruction_is_zero_for_a_perfect_autoencoder(blocks):
    losses = objectives.Reconstruction(Pooling(), gradient=1.0)(blocks, generator())
    assert losses["loss"].item() == pytest.approx(0, abs=1e-6)


def test_pixel_terms_follow_their_formulas():
    a, b = torch.rand(2, 4, 3, 6, 6, generator=generator(2)).double()
    d = (a - b).numpy()

    def value(**weights):
        options = {"l1": 0.0, "mse": 0.0, "gradient": 0.0, **weights}
        return objectives.Reconstruction(Pooling(), **options).difference(a, b).item()

    assert value(l1=2.0) == pytest.approx(2 * np.abs(d).mean())
    assert value(mse=3.0) == pytest.approx(3 * (d**2).mean())
    across, down = np.abs(np.diff(d, axis=3)).mean(), np.abs(np.diff(d, axis=2)).mean()
    assert value(gradient=0.5) == pytest.approx(0.5 * (across + down))


def test_kl_is_the_closed_form_per_pixel_value(images):
    autoencoder = Pooling(log_variance=-1.0)
    objective = objectives.Reconstruction(autoencoder, kl_weight=0.3)
    losses = objective(images, generator())
    mean, log_variance = autoencoder.posterior(images)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
    divergence = torch.distributions.kl_divergence(posterior, prior).sum()
    assert losses["kl"].item() == pytest.approx(0.3 * divergence.item() / images.numel(), rel=1e-5)
    assert losses["loss"].item() == pytest.approx((losses["kl"] + losses["pixel"]).item())


def test_noise_comes_from_the_generator_alone(images):
    objective = objectives.Reconstruction(Pooling(log_variance=0.0), latent_noise=0.5)
    first = objective(images, generator(5))["loss"]
    torch.manual_seed(99)
    assert torch.equal(objective(images, generator(5))["loss"], first)
    assert not torch.equal(objective(images, generator(6))["loss"], first)


def test_latent_noise_has_its_spread():
    autoencoder = Pooling(gain=0.0)
    objective = objectives.Reconstruction(autoencoder, latent_noise=0.8)
    latents, _ = objective.encode(torch.zeros(4000, 3, 16, 16), generator())
    assert latents.square().mean().sqrt().item() == pytest.approx(0.8, rel=0.05)
    per_image = latents.flatten(1).std(1)
    assert per_image.std() > 0.3  # |N(0, 0.8^2)| per image, not one spread for all


def test_equivariance_draws_transforms_and_low_resolution(images):
    autoencoder = Pooling()
    objective = objectives.Equivariance(autoencoder)
    decoded = []
    autoencoder.decode = lambda z: decoded.append(z.shape[-1]) or Pooling.decode(autoencoder, z)
    draws = generator(0)
    for _ in range(400):
        objective(images, draws)
    assert set(decoded) == {1, 2, 3, 4}
    small_input = np.mean([side < 16 for side in autoencoder.seen])
    assert small_input == pytest.approx(0.125, abs=0.05)  # (1 - 0.5) x 0.25
    assert np.mean([side < 4 for side in decoded]) == pytest.approx(0.625, abs=0.08)
    assert set(autoencoder.seen) <= {4, 8, 12, 16}


def test_equivariance_is_zero_only_if_the_latent_turns_with_the_image():
    constant = torch.rand(8, 3, 1, 1, generator=generator(1)).expand(8, 3, 16, 16)
    objective = objectives.Equivariance(Pooling(), probability=1.0)
    assert objective(constant, generator())["loss"].item() == pytest.approx(0, abs=1e-6)
    half = constant.clone()
    half[..., :8] = 0  # left half dark: any turn matters
    turned = objective(half, generator())["loss"].item()
    autoencoder = Pooling()
    autoencoder.decode = lambda z: Pooling.decode(autoencoder, rotate(z, 1))
    broken = objectives.Equivariance(autoencoder, probability=1.0)(half, generator())["loss"].item()
    assert broken > turned + 0.1


def test_scale_equivariance_follows_its_formula(images):
    autoencoder = Pooling(gain=0.7)
    objective = objectives.ScaleEquivariance(autoencoder, weight=0.25, scales=[2])
    losses = objective(images, generator())
    latents = autoencoder.encode(images)
    full = objective.difference(autoencoder.decode(latents), images)
    small = objective.difference(autoencoder.decode(rescale(latents, 2)), rescale(images, 8))
    assert losses["pixel"].item() == pytest.approx(full.item())
    assert losses["scale"].item() == pytest.approx(0.25 * small.item())
    assert losses["loss"].item() == pytest.approx((full + 0.25 * small).item())


@pytest.mark.parametrize("scales", [[3], [1], []])
def test_scales_must_divide_the_grid(scales):
    with pytest.raises(ValueError, match="divide the latent grid 4"):
        objectives.ScaleEquivariance(Pooling(), scales=scales)


def test_alignment_follows_its_formula(images):
    autoencoder, teacher = Pooling(), Teacher()
    objective = objectives.Alignment(autoencoder, teacher, adaptive=False, weight=2.0)
    losses = objective(images, generator())
    z = nn.functional.avg_pool2d(autoencoder.encode(images), 2).flatten(2).transpose(1, 2)
    f = teacher.tokens(images)
    cosine = nn.functional.cosine_similarity
    zz = cosine(z[:, :, None], z[:, None], dim=-1)
    ff = cosine(f[:, :, None], f[:, None], dim=-1)
    matrix = ((zz - ff).abs() - 0.25).clamp_min(0).mean()
    marginal = (1 - 0.5 - cosine(objective.project(z), f, dim=-1)).clamp_min(0).mean()
    assert losses["align"].item() == pytest.approx(2 * (matrix + marginal).item(), rel=1e-5)
    assert matrix > 0
    assert marginal > 0


def test_adaptive_alignment_balances_the_gradients(images):
    autoencoder = Pooling()
    objective = objectives.Alignment(autoencoder, Teacher(), weight=0.1)
    latents, losses = objective.encode(images, generator())
    pixel = objective.difference(autoencoder.decode(latents), images)
    pull = torch.autograd.grad(pixel, latents)[0].norm()
    push = torch.autograd.grad(objective.misalignment(latents, images), latents)[0].norm()
    losses = objective(images, generator())
    plain = objective.misalignment(autoencoder.encode(images), images)
    assert losses["align"].item() == pytest.approx(0.1 * (pull / push * plain).item(), rel=1e-2)


def test_alignment_trains_its_projector_but_not_the_teacher():
    objective = objectives.Alignment(Pooling(), Teacher())
    assert {name for name, _ in objective.named_parameters()} == {
        "autoencoder.gain",
        "project.weight",
    }


def test_masked_hides_the_share_that_it_was_told():
    torch.manual_seed(0)
    tokenizer = Tokenizer1D(32, tokens=4, channels=2, width=16, depth=1)
    shares = []
    plain = tokenizer.posterior

    def spy(images, hidden=None):
        shares.append(hidden.float().mean(1))
        return plain(images, hidden)

    tokenizer.posterior = spy
    objective = objectives.Masked(tokenizer, ratio=[0.25, 0.75])
    objective(torch.zeros(300, 3, 32, 32), generator())["loss"].backward()
    share = shares[0]
    assert share.min() >= 0.25
    assert share.max() <= 0.75
    assert share.mean().item() == pytest.approx(0.5, abs=0.03)
    assert share.std() > 0.1
    assert tokenizer.mask_token.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda ae: objectives.Equivariance(ae), "convolutional"),
        (lambda ae: objectives.ScaleEquivariance(ae), "convolutional"),
        (lambda ae: objectives.Alignment(ae, Teacher()), "compares grids"),
        (lambda ae: objectives.Masked(Pooling()), "hides patches"),
        (lambda ae: objectives.Masked(ae, ratio=[0.5, 0.2]), "least <= greatest"),
        (lambda ae: objectives.Alignment(Pooling(), None), "needs a teacher"),
    ],
)
def test_objectives_refuse_what_they_cannot_train(build, words):
    tokenizer = Tokenizer1D(32, tokens=4, channels=2, width=16, depth=1)
    with pytest.raises(ValueError, match=words):
        build(tokenizer)


def test_transforms_agree_with_array_operations(images):
    assert np.array_equal(rotate(images, 1).numpy(), np.rot90(images.numpy(), 1, (2, 3)))
    halved = images.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    torch.testing.assert_close(rescale(images, 8), halved)


# --- training -----------------------------------------------------------------------------------


def pack(folder, shard_size, n=60, side=16):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (n, 3, 4, 4), np.uint8)
    images = colours.repeat(side // 4, 2).repeat(side // 4, 3)
    with ShardWriter(folder / "manifest.json", shard_size=shard_size, meta={}) as writer:
        writer.add([f"i{row:03d}" for row in range(n)], {"images": images})
    return Shards(folder / "manifest.json")


@pytest.fixture
def packed(tmp_path):
    return pack(tmp_path / "images", 16)


def arguments(packed, **changes):
    return {
        "family": "diffusers-kl",
        "config": {"resolution": 16, "patch": 4, "widths": [16], "norm_groups": 4},
        "objective": "reconstruction",
        "options": {},
        "images": packed,
        "steps": 40,
        "batch_size": 8,
        "lr": 3e-3,
        "seed": 0,
        **changes,
    }


def error_of(autoencoder, packed):
    images = torch.from_numpy(packed.load("images")).float() / 127.5 - 1
    with torch.inference_mode():
        return (autoencoder.decode(autoencoder.encode(images)) - images).square().mean().item()


def test_training_reconstructs_better_and_says_what_it_did(packed):
    short, _ = train_autoencoder(**arguments(packed, steps=1))
    autoencoder, summary = train_autoencoder(**arguments(packed))
    assert error_of(autoencoder, packed) < 0.7 * error_of(short, packed)
    assert summary["steps"] == 40
    assert summary["parameters"] == sum(p.numel() for p in autoencoder.parameters())
    assert summary["losses"].keys() == {"loss", "pixel", "kl"}
    assert summary["images_per_second"] > 0
    assert not autoencoder.training


def test_training_is_reproducible_and_follows_the_seed(packed):
    first = train_autoencoder(**arguments(packed, steps=3))[0].state_dict()
    torch.manual_seed(1234)
    again = train_autoencoder(**arguments(packed, steps=3))[0].state_dict()
    other = train_autoencoder(**arguments(packed, steps=3, seed=1))[0].state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_batches_depend_on_neither_shard_size_nor_how_they_are_read(tmp_path, monkeypatch):
    options = {"steps": 12, "batch_size": 25, "seed": 3}
    large, small = pack(tmp_path / "a", 60), pack(tmp_path / "b", 7)
    wanted = list(image_batches(large, **options))
    assert len(wanted) == 12
    monkeypatch.setattr("seesaw.autoencoders.train.IN_MEMORY_BYTES", 0)
    got = list(image_batches(small, **options))
    assert all(np.array_equal(a, b) for a, b in zip(wanted, got, strict=True))


def test_an_epoch_shows_every_image_once(packed):
    batches = list(image_batches(packed, steps=4, batch_size=15, seed=0))
    seen = np.concatenate(batches)
    everything = packed.load("images")
    assert sorted(image.tobytes() for image in seen) == sorted(i.tobytes() for i in everything)
    assert not np.array_equal(seen, everything)


def test_rate_warms_up_and_falls_to_zero():
    rates = [rate(step, 100) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(rates) == 1.0
    assert all(a >= b for a, b in zip(rates[5:], rates[6:], strict=False))
    assert rates[-1] < 1e-2
    assert rate(0, 1) == 1.0


TOKENS = {"resolution": 16, "patch": 8, "tokens": 4, "channels": 4, "width": 16, "depth": 1}


def test_muon_trains_in_fewer_steps_and_is_reproducible(packed):
    adam, _ = train_autoencoder(**arguments(packed))
    muon, _ = train_autoencoder(**arguments(packed, matrix_lr=0.05))
    again, _ = train_autoencoder(**arguments(packed, matrix_lr=0.05))
    assert error_of(muon, packed) < 0.8 * error_of(adam, packed)
    first, second = muon.state_dict(), again.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_every_parameter_has_one_optimiser_and_learned_tokens_have_adamw():
    named = dict(Tokenizer1D(**TOKENS).named_parameters())
    adam, muon = (
        {id(p) for group in optimiser.param_groups for p in group["params"]}
        for optimiser in _optimisers(list(named.values()), 1e-3, 1e-2)
    )
    assert not adam & muon
    assert adam | muon == {id(parameter) for parameter in named.values()}
    for name, parameter in named.items():
        matrix = name.endswith("weight") and parameter.ndim == 2
        assert (id(parameter) in muon) == matrix, name
    assert len(_optimisers(list(named.values()), 1e-3, None)) == 1


def test_fine_tuning_starts_from_init(packed, tmp_path):
    trained, _ = train_autoencoder(**arguments(packed))
    save_weights(trained, tmp_path / "w.safetensors")
    tuned, _ = train_autoencoder(
        **arguments(packed, steps=1, lr=1e-6, init=tmp_path / "w.safetensors")
    )
    assert error_of(tuned, packed) == pytest.approx(error_of(trained, packed), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objective": "reconstructoin"}, "Did you mean 'reconstruction'"),
        ({"options": {"kl_wieght": 1}}, "does not take 'kl_wieght'.*kl_weight"),
        ({"config": {"resolution": 32, "patch": 4}}, "32 x 32.*has 16 x 16"),
        ({"family": "torch.nn:Identity", "config": {}}, "no posterior"),
        ({"lr": 1e30, "steps": 5}, "loss is .* at step .* lower 'lr'"),
    ],
)
def test_training_errors_in_words(packed, changes, words):
    with pytest.raises(ValueError, match=words):
        train_autoencoder(**arguments(packed, **changes))


def test_options_of_a_derived_objective_and_of_its_base(packed):
    options = {"weight": 0.5, "scales": [2], "mse": 2.0}
    _, summary = train_autoencoder(
        **arguments(packed, objective="scale-equivariance", options=options, steps=2)
    )
    assert summary["losses"].keys() == {"loss", "pixel", "kl", "scale"}
