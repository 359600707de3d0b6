"""Samplers: the official code's samples, Gaussian data in closed form, noise per image."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from seesaw.diffusion.sample import NoiseStream, sample_latents
from seesaw.diffusion.samplers import Sampler, sample, score_from_velocity
from seesaw.diffusion.sit import SiT

REFERENCE = Path(__file__).parents[1] / "reference"
recipe = importlib.import_module("recipe")
OFFICIAL = json.loads((REFERENCE / "samplers.json").read_text())
NUMBERS = np.load(REFERENCE / "samplers.npz")
NULL = 1000


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(key, shape, dtype):
    return torch.from_numpy(recipe.generator(0, key).standard_normal(tuple(shape)).astype(dtype))


def shift_by(shift):
    return lambda t: shift * t / (1 + (shift - 1) * t)


def unshifted(t):
    return t


def velocity_of(x, t, y):
    """Of data that are normal around a mean by label, standard deviation 0.5."""
    t = t.view(-1, *[1] * (x.ndim - 1))
    mean = torch.where(y == NULL, 0.0, 0.5 * (y % 5) - 1).to(x.dtype).view(t.shape)
    centred, variance = x - (1 - t) * mean, (1 - t) ** 2 * 0.25 + t**2
    return t * centred / variance - (mean + (1 - t) * 0.25 * centred / variance)


# --------------------------------------------------------------------------------- official numbers


@pytest.mark.parametrize("name, case", OFFICIAL.items())
def test_official_samples(name, case):
    options = {key: case[key] for key in ("mode", "steps", "guidance")}
    sampler = Sampler(interval=tuple(case["interval"]), **options)
    times = sampler.times(shift_by(case["shift"]))
    np.testing.assert_allclose(times[::7], NUMBERS[f"{name}/times"], rtol=0, atol=1e-15)
    shape = (4, 2, 4, 4)
    noise = normal(f"samplers/{name}/noise", (sampler.noises, *shape), "float64")
    found = sample(
        velocity_of,
        normal(f"samplers/{name}/x1", shape, case["dtype"]),
        torch.tensor(case["y"]),
        times,
        sampler,
        noise=lambda step: noise[step],
        null=NULL,
    )
    assert found.dtype == torch.float64
    # the field is float32: another order of its operations may round differently
    atol = 1e-12 if case["dtype"] == "float64" else 1e-5
    np.testing.assert_allclose(found, NUMBERS[f"{name}/result"], rtol=0, atol=atol)


# ------------------------------------------------------------------------------------ closed forms


MEAN = torch.tensor([0.7, -1.2, 0.1], dtype=torch.float64)
ROOT = torch.tensor([[0.8, 0.0, 0.0], [0.5, 0.6, 0.0], [-0.3, 0.2, 0.4]], dtype=torch.float64)
COVARIANCE = ROOT @ ROOT.T


def gaussian(x, t, y):
    """Exact velocity ``E[noise - data | x]`` of normal data of full covariance; rows of ``x``."""
    t = float(t[0])
    mixed = (1 - t) ** 2 * COVARIANCE + t**2 * torch.eye(3, dtype=torch.float64)
    white = torch.linalg.solve(mixed, (x.double() - (1 - t) * MEAN).T).T
    return t * white - (MEAN + (1 - t) * white @ COVARIANCE)


def drawn(sampler, count=20_000, velocity=gaussian, start=None, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 3, generator=generator, dtype=dtype)
    if start is not None:
        data = MEAN + torch.randn(count, 3, generator=generator, dtype=dtype) @ ROOT.T
        x = (1 - start) * data + start * x
    times = sampler.times(shift_by(1.5), 1.0 if start is None else start)
    return sample(
        velocity,
        x,
        torch.zeros(count, dtype=torch.int64),
        times,
        sampler,
        noise=lambda step: torch.randn(count, 3, generator=generator, dtype=dtype),
        null=NULL,
    )


@pytest.mark.parametrize("start", [None, 0.3, 0.7])
@pytest.mark.parametrize("mode, steps", [("sde", 200), ("ode", 200), ("heun", 40)])
def test_gaussian_data_are_sampled_with_their_mean_and_covariance(mode, steps, start):
    found = drawn(Sampler(mode=mode, steps=steps), start=start)
    deviation = COVARIANCE.diagonal().sqrt()
    # Monte-Carlo errors of 20,000 are 0.007 standard deviations and 0.01 of a covariance; the rest
    # is for the steps
    assert ((found.mean(0) - MEAN) / deviation).abs().max() < 0.03
    error = (torch.cov(found.T) - COVARIANCE) / torch.outer(deviation, deviation)
    assert error.abs().max() < 0.04


@pytest.mark.parametrize("mode, order", [("ode", 1), ("heun", 2)])
def test_errors_shrink_with_the_order_of_the_method(mode, order):
    exact = drawn(Sampler(mode="heun", steps=400), count=200)
    coarse, fine = (
        (drawn(Sampler(mode=mode, steps=steps), count=200) - exact).abs().max()
        for steps in (20, 40)
    )
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.35)


def test_score_of_a_gaussian():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for t in (0.2, 0.6, 1.0):
        mixed = (1 - t) ** 2 * COVARIANCE + t**2 * torch.eye(3, dtype=torch.float64)
        score = -torch.linalg.solve(mixed, (x - (1 - t) * MEAN).T).T
        found = score_from_velocity(gaussian(x, torch.tensor([t], dtype=torch.float64), None), x, t)
        torch.testing.assert_close(found, score, atol=1e-10, rtol=1e-10)


# ------------------------------------------------------------------------------------------- grids


def test_grids_run_from_noise_to_data():
    sde, ode = Sampler(mode="sde", steps=5), Sampler(mode="ode", steps=5)
    np.testing.assert_allclose(sde.times(unshifted), [1, 0.76, 0.52, 0.28, 0.04, 0], atol=1e-15)
    np.testing.assert_allclose(ode.times(unshifted), [1, 0.8, 0.6, 0.4, 0.2, 0], atol=1e-15)
    np.testing.assert_allclose(sde.times(shift_by(3.0))[:2], [1, 0.904762], atol=1e-6)
    assert (sde.noises, ode.noises) == (4, 0)
    assert (sde.evaluations, ode.evaluations) == (5, 5)
    assert Sampler(mode="heun", steps=5).evaluations == 9
    assert Sampler(mode="ode", steps=5, guidance=2.0).evaluations == 10


@pytest.mark.parametrize("start, rest", [(0.7, [0.52, 0.28, 0.04, 0]), (0.28, [0.04, 0])])
def test_a_later_start_takes_the_points_below_it(start, rest):
    times = Sampler(mode="sde", steps=5).times(unshifted, start)
    np.testing.assert_allclose(times, [start, *rest], atol=1e-15)


def test_a_start_below_the_last_noisy_time_is_one_step_without_noise():
    sampler = Sampler(mode="sde", steps=5)
    times = sampler.times(unshifted, 0.02)
    assert times.tolist() == [0.02, 0.0]
    x = torch.ones(1, 3, dtype=torch.float64)
    found = sample(gaussian, x, torch.zeros(1, dtype=torch.int64), times, sampler)
    drift = gaussian(x, torch.tensor([0.02]), None)
    drift = drift - 0.02 * score_from_velocity(drift, x, 0.02)
    torch.testing.assert_close(found, x - 0.02 * drift)


# ---------------------------------------------------------------------------------------- guidance


def by_label(seen):
    """A field that differs by label, which notes times and labels."""

    def velocity(x, t, y):
        seen.append((round(float(t[0]), 6), y.tolist()))
        return x * (1 + y.view(-1, 1) / 10)

    return velocity


def integrate(sampler, seen=None):
    x = torch.ones(2, 3, dtype=torch.float64)
    y = torch.tensor([1, 2])
    field = by_label([] if seen is None else seen)
    return sample(
        field, x, y, sampler.times(unshifted), sampler, noise=lambda step: x * 0.1, null=7
    )


@pytest.mark.parametrize("mode", ["sde", "ode", "heun"])
def test_guidance_of_one_is_none(mode):
    plain, one = Sampler(mode=mode, steps=4), Sampler(mode=mode, steps=4, guidance=1.0)
    almost = Sampler(mode=mode, steps=4, guidance=1 + 1e-9)
    assert torch.equal(integrate(plain), integrate(one))
    torch.testing.assert_close(integrate(almost), integrate(plain), atol=1e-7, rtol=0)
    outside = Sampler(mode=mode, steps=4, guidance=3.0, interval=(0.0, 0.0))
    assert torch.equal(integrate(outside), integrate(plain))
    assert not torch.allclose(
        integrate(Sampler(mode=mode, steps=4, guidance=3.0)), integrate(plain)
    )


def test_guidance_acts_inside_its_interval_only():
    seen = []
    integrate(Sampler(mode="ode", steps=5, guidance=2.0, interval=(0.4, 0.8)), seen)
    assert seen == [
        (1.0, [1, 2]),
        (0.8, [1, 2, 7, 7]),
        (0.6, [1, 2, 7, 7]),
        (0.4, [1, 2, 7, 7]),
        (0.2, [1, 2]),
    ]


def test_guided_velocity_by_hand():
    sampler = Sampler(mode="ode", steps=2, guidance=3.0)
    x = torch.ones(1, 1, dtype=torch.float64)
    found = sample(by_label([]), x, torch.tensor([1]), torch.tensor([1.0, 0.5]), sampler, null=7)
    # without 1.7, with label 1.1: 1.7 + 3 (1.1 - 1.7) = -0.1
    assert float(found) == pytest.approx(1 + 0.5 * 0.1)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_only_the_network_of_a_sampler_sees_its_precision(precision):
    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before, seen = [switch.allow_tf32 for switch in switches], []

    def velocity(x, t, y):
        seen.append([switch.allow_tf32 for switch in switches])
        if len(seen) == 3:
            raise RuntimeError("out of memory")
        return x

    sampler = Sampler(mode="ode", steps=4, precision=precision)
    x, y = torch.ones(1, 3), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(RuntimeError):
        sample(velocity, x, y, sampler.times(unshifted), sampler)
    assert seen == [[precision == "tf32"] * 2] * 3
    assert [switch.allow_tf32 for switch in switches] == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="TF32 is of GPUs")
def test_tf32_moves_the_network_only_a_little():
    torch.manual_seed(0)
    weight = torch.randn(512, 512, device="cuda") / 512**0.5
    x, y = torch.randn(8, 512, device="cuda"), torch.zeros(8, dtype=torch.int64, device="cuda")
    ways = [Sampler(mode="ode", steps=4, precision=name) for name in ("fp32", "tf32")]
    exact, fast = (
        sample(lambda x, t, y: x @ weight, x, y, way.times(unshifted), way) for way in ways
    )
    assert 0 < float((fast - exact).abs().max()) < 1e-2


# --------------------------------------------------------------------------------- errors in words


@pytest.mark.parametrize(
    "config, words",
    [
        ({"mode": "dde"}, "unknown sampler mode 'dde'. Did you mean 'sde'? Valid: heun, ode, sde"),
        ({"steps": 1}, "a sampler needs at least 2 steps, got 1"),
        ({"precision": "bf16"}, "unknown sampler precision 'bf16'"),
        ({"guidance": 0.5}, "guidance is a scale of at least 1 in an interval within [0, 1], got"),
        ({"interval": (0.6, 0.2)}, "got 1.0 in [0.6, 0.2]"),
        ({"interval": (0.6, 1.2)}, "got 1.0 in [0.6, 1.2]"),
    ],
)
def test_settings_that_mean_nothing(config, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Sampler(**config)


def test_what_is_missing_is_named():
    x, y = torch.ones(1, 3), torch.zeros(1, dtype=torch.int64)
    sde, guided = Sampler(mode="sde", steps=4), Sampler(mode="ode", steps=4, guidance=2.0)
    with pytest.raises(ValueError, match="an SDE needs noise"):
        sample(gaussian, x, y, sde.times(unshifted), sde)
    with pytest.raises(ValueError, match="guidance needs 'null'"):
        sample(gaussian, x, y, guided.times(unshifted), guided)
    model = SiT((4, 4, 4), size="SiT-Ti", num_classes=3)
    with pytest.raises(ValueError, match=r"a start at t = 0.5, below 1, needs latents"):
        sample_latents(model, y, ["a"], sde, seed=0, start=0.5)


# ---------------------------------------------------------------------------------- noise per image


def stream(ids, arrays=3, seed=0, purpose="diffusion"):
    with NoiseStream((2, 3), seed=seed, purpose=purpose, ids=ids, arrays=arrays) as noise:
        return np.stack([noise.next() for _ in range(arrays)], axis=1)


def test_noise_of_an_image_is_its_own():
    ids = [f"image {i}" for i in range(21)]
    whole = stream(ids)
    np.testing.assert_array_equal(np.concatenate([stream(ids[:4]), stream(ids[4:])]), whole)
    np.testing.assert_array_equal(stream(ids[::-1])[::-1], whole)
    np.testing.assert_array_equal(stream(ids, arrays=2), whole[:, :2])
    assert not np.array_equal(stream(ids, seed=1), whole)
    assert not np.array_equal(stream(ids, purpose="other"), whole)
    assert len(np.unique(whole)) == whole.size
    assert abs(stream([str(i) for i in range(500)]).std() - 1) < 0.03


def test_noise_that_was_not_announced():
    with NoiseStream((2,), seed=0, purpose="x", ids=["a"], arrays=1) as noise:
        noise.next()
        with pytest.raises(ValueError, match="used up; announce more arrays"):
            noise.next()


@pytest.fixture(scope="module")
def model():
    """A small model whose velocity depends on everything."""
    torch.manual_seed(0)
    model = SiT((4, 6, 6), size="SiT-Ti", num_classes=5, patch_size=2, time_shift=0.7)
    for part in (*model.blocks, model.final_layer):
        torch.nn.init.normal_(part.adaLN_modulation[1].weight, std=0.05)
    torch.nn.init.normal_(model.final_layer.linear.weight, std=0.05)
    model.bn.running_mean.copy_(torch.tensor([1.0, -2.0, 0.0, 3.0]))
    model.bn.running_var.copy_(torch.tensor([1.0, 4.0, 0.25, 9.0]))
    return model.eval().requires_grad_(False)


SAMPLERS = [
    Sampler(mode="sde", steps=4),
    Sampler(mode="ode", steps=4, guidance=2.0, interval=(0.1, 0.9)),
    Sampler(mode="heun", steps=3),
]


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: s.mode)
@pytest.mark.parametrize("start", [1.0, 0.5])
def test_a_sample_depends_on_its_image_only(model, sampler, start):
    ids, labels = [f"i{i}" for i in range(6)], torch.tensor([0, 1, 2, 3, 4, 5])
    latents = torch.randn(6, 4, 6, 6, generator=torch.Generator().manual_seed(1))

    def draw(rows, seed=0):
        some = [ids[row] for row in rows]
        return sample_latents(
            model, labels[rows], some, sampler, seed=seed, latents=latents[rows], start=start
        )

    whole = draw([0, 1, 2, 3, 4, 5])
    assert whole.dtype == torch.float32
    parts = torch.cat([draw([0]), draw([1, 2, 3, 4]), draw([5])])
    torch.testing.assert_close(parts, whole, atol=2e-5, rtol=1e-5)
    order = [3, 0, 5, 1, 4, 2]
    torch.testing.assert_close(draw(order), whole[order], atol=2e-5, rtol=1e-5)
    assert (draw([0, 1, 2, 3, 4, 5], seed=1) - whole).abs().mean() > 0.1


def test_samples_without_a_trained_velocity_are_denormalised_noise():
    """Velocity zero: the ODE leaves the noise alone, in the latents' own mean and scale."""
    model = SiT((4, 6, 6), size="SiT-Ti", num_classes=5).eval()
    model.bn.running_mean.fill_(3.0)
    model.bn.running_var.fill_(4.0)
    found = sample_latents(
        model, torch.zeros(2, dtype=torch.int64), ["a", "b"], Sampler(mode="ode", steps=3), seed=0
    )
    with NoiseStream((4, 6, 6), seed=0, purpose="diffusion", ids=["a", "b"], arrays=1) as noise:
        torch.testing.assert_close(found, torch.from_numpy(noise.next()) * 2 + 3)


def test_another_velocity_can_be_integrated(model):
    y = torch.tensor([1, 2])
    plain = sample_latents(model, y, ["a", "b"], SAMPLERS[0], seed=0)
    same = sample_latents(model, y, ["a", "b"], SAMPLERS[0], seed=0, velocity=lambda *a: model(*a))
    other = sample_latents(
        model, y, ["a", "b"], SAMPLERS[0], seed=0, velocity=lambda *a: 1.1 * model(*a)
    )
    assert torch.equal(plain, same)
    assert not torch.allclose(plain, other)
