"""Reconstruction: the border between uint8 images and autoencoders."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from scipy import stats

from seesaw.autoencoder_properties import autoencoder_properties
from seesaw.autoencoders.base import to_uint8
from seesaw.files import read_json
from seesaw.reconstruct import reconstruct_images
from seesaw.shards import Shards, ShardWriter


class Shift(torch.nn.Module):
    """Adds ``amount`` (in [-1, 1] units), with a posterior of spread ``spread``."""

    resolution, latent_shape, spatial, stochastic = 8, (3, 8, 8), True, True

    def __init__(self, amount=0.0, spread=0.0, poison=None, poison_latents=None):
        super().__init__()
        self.amount, self.spread, self.poison = amount, spread, poison
        self.poison_latents = poison_latents
        self.parameter = torch.nn.Parameter(torch.zeros(5))

    def encode(self, images, noise=None):
        if self.poison_latents is not None:
            images[images.mean((1, 2, 3)) > self.poison_latents] = torch.inf
        return images if noise is None else images + self.spread * noise

    def decode(self, latents):
        out = latents + self.amount
        if self.poison is not None:
            out[out.mean((1, 2, 3)) > self.poison] = torch.nan
        return out


class Cut(Shift):
    """Decodes so many batches and stops; what it decodes depends on the batch that it came in."""

    left, sizes = 0, []

    def decode(self, latents):
        if len(Cut.sizes) == Cut.left:
            raise KeyboardInterrupt
        Cut.sizes.append(len(latents))
        return super().decode(latents) + len(latents) / 20


class NoModule:
    """A person's class without torch: channels of 2 x 2 means as tokens, which it cannot undo."""

    resolution, latent_shape = 8, (16, 3)

    def encode(self, images):
        means = torch.nn.functional.avg_pool2d(images, 2)
        return means.flatten(2).transpose(1, 2)

    def decode(self, latents):
        coarse = latents.transpose(1, 2).reshape(-1, 3, 4, 4)
        return torch.nn.functional.interpolate(coarse, scale_factor=2)


@pytest.fixture
def images(tmp_path):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (23, 3, 8, 8), np.uint8)
    with ShardWriter(tmp_path / "val/manifest.json", shard_size=10, meta={"split": "val"}) as out:
        out.add([f"i{n:02d}" for n in range(23)], {"images": pixels})
    return tmp_path / "val/manifest.json"


def run(
    images, tmp_path, *, batch_size=4, shard_size=10, posterior="mean", name="out", seed=0,
    family="Shift", version=None, **config,
):  # fmt: skip
    output = tmp_path / name / "manifest.json"
    reconstruct_images(
        family=f"{__name__}:{family}",
        config=config,
        weights=None,
        images=images,
        output=output,
        output_speed=tmp_path / name / "speed.json",
        batch_size=batch_size,
        shard_size=shard_size,
        posterior=posterior,
        seed=seed,
        device="cpu",
        version=version,
    )
    return Shards(output)


def test_identity_is_exact_for_every_level(images, tmp_path):
    found = run(images, tmp_path)
    np.testing.assert_array_equal(found.load("images"), Shards(images).load("images"))
    assert found.ids == Shards(images).ids
    assert not found.load("clipped").any()
    ramp = torch.arange(256).reshape(1, 1, 16, 16).repeat(1, 3, 1, 1)
    back, _ = to_uint8(ramp.float() / 127.5 - 1)
    assert (back.long() == ramp).all()


def test_halves_round_up_and_overflow_is_clamped_and_counted():
    levels = torch.tensor([-3.0, 0.4, 0.5, 254.5, 255.0, 300.0]).reshape(1, 1, 2, 3)
    found, clipped = to_uint8((levels - 127.5) / 127.5)
    assert found.flatten().tolist() == [0, 0, 1, 255, 255, 255]
    assert clipped.tolist() == [pytest.approx(2 / 6)]


def test_meta_says_what_was_done(images, tmp_path):
    meta = run(images, tmp_path, amount=0.5).meta
    assert meta["parameters"] == 5
    assert meta["posterior"] == "mean"
    assert meta["latent_shape"] == [3, 8, 8]
    assert 0.2 < meta["clipped_share"] < 0.3
    assert meta["latents"]["std"] == pytest.approx(0.577, abs=0.05)


@pytest.mark.parametrize(("family", "channel"), [("Shift", 1), ("NoModule", 2)])
def test_meta_describes_the_latents_as_stored(images, tmp_path, family, channel):
    found = run(images, tmp_path, family=family)
    latents, meta = found.load("latents").astype(np.float64), found.meta["latents"]
    others = tuple(axis for axis in range(latents.ndim) if axis != channel)
    np.testing.assert_allclose(meta["channel_mean"], latents.mean(others), rtol=1e-10)
    np.testing.assert_allclose(meta["channel_std"], latents.std(others), rtol=1e-10)
    kurtosis = stats.kurtosis(np.moveaxis(latents, channel, 0).reshape(3, -1), axis=1)
    np.testing.assert_allclose(meta["channel_excess_kurtosis"], kurtosis, rtol=1e-10)
    assert meta["excess_kurtosis"] == pytest.approx(stats.kurtosis(latents, axis=None))
    assert meta["std"] == pytest.approx(latents.std(), rel=1e-12)
    assert (meta["numbers"], meta["not_finite"]) == (latents.size, 0)


def test_speed_is_beside_the_manifest_and_not_in_it(images, tmp_path):
    a, b = (run(images, tmp_path, name=name, batch_size=4) for name in "ab")
    assert a.path.read_bytes() == b.path.read_bytes()
    found = read_json(tmp_path / "a/speed.json")
    assert found["dtype"] == "float32"
    for step in ("encode", "decode"):
        # 23 images in shards of 10 by 4: of 4, 4, 2, 4, 4, 2, 3 the first of each size is left out
        assert (found[step]["images"], found[step]["batch_size"]) == (14, 4)
        assert found[step]["images_per_second"] == 14 / found[step]["seconds"] > 0
    assert found["peak_bytes"] > 1e7


def test_a_class_that_is_no_module_is_measured_as_far_as_it_goes(images, tmp_path):
    found = run(images, tmp_path, family="NoModule", batch_size=23)
    entry = {"family": "mine", "manifest": read_json(found.path)}
    entry["speed"] = read_json(tmp_path / "out/speed.json")
    row = autoencoder_properties({"own": entry}).iloc[0]
    assert row["Parameters"] == row["Dtype"] == "not measured"
    assert row["Latent shape"] == "16 x 3"
    assert row["Compression (numbers of the image / of the latent)"] == 4
    assert row["Encoding [images/s]"] > 0
    assert row["n images"] == 23


def run_until(monkeypatch, batches, images, tmp_path, **options):
    """A run of :class:`Cut`; sizes of the batches that it decoded."""
    monkeypatch.setattr(Cut, "left", batches)
    monkeypatch.setattr(Cut, "sizes", [])
    stops = batches < 7
    with pytest.raises(KeyboardInterrupt) if stops else nullcontext():
        run(images, tmp_path, family="Cut", **{"version": "1", **options})
    return Cut.sizes


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "speed.json"}


SIZES = [4, 4, 2, 4, 4, 2, 3]  # of 23 images in shards of 10


@pytest.mark.parametrize(
    ("cut", "shard_size", "done"), [(0, 10, 0), (2, 10, 0), (3, 10, 3), (5, 10, 3), (6, 10, 6),
                                    (3, 7, 1), (4, 7, 4), (6, 9, 5)]
)  # fmt: skip
@pytest.mark.parametrize("posterior", ["mean", "sample"])
def test_a_run_that_was_cut_off_goes_on(
    images, tmp_path, monkeypatch, posterior, cut, shard_size, done
):
    options = {"posterior": posterior, "shard_size": shard_size, "spread": 0.3, "amount": 0.1}
    world = (images, tmp_path)
    assert run_until(monkeypatch, 99, *world, name="whole", **options) == SIZES
    run_until(monkeypatch, cut, *world, name="cut", **options)
    assert not list((tmp_path / "cut").glob("*manifest.json"))
    assert run_until(monkeypatch, 99, *world, name="cut", **options) == SIZES[done:]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    timed = read_json(tmp_path / "cut/speed.json")["decode"]
    assert timed["images"] <= sum(SIZES[done:])


def test_speed_where_the_run_was_cut_off_at_the_very_end(images, tmp_path, monkeypatch):
    """All shards are there, the manifest is not: the last three images are timed, not written."""
    run_until(monkeypatch, 99, images, tmp_path, name="whole")
    with monkeypatch.context() as patch:
        patch.setattr("seesaw.shards.write_manifest", full)
        with pytest.raises(OSError, match="full"):
            run_until(patch, 99, images, tmp_path, name="cut")
    assert run_until(monkeypatch, 99, images, tmp_path, name="cut") == [3]
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert read_json(tmp_path / "cut/speed.json")["decode"]["images"] == 3


def full(*words):
    raise OSError("disk full")


@pytest.mark.parametrize(
    "change",
    [{"version": "2"}, {"version": None}, {"seed": 1}, {"amount": 0.1}, {"posterior": "sample"}],
)
def test_what_another_run_left_is_not_gone_on_with(images, tmp_path, monkeypatch, change):
    run_until(monkeypatch, 6, images, tmp_path)
    assert run_until(monkeypatch, 99, images, tmp_path, **change) == SIZES


@pytest.mark.parametrize("posterior", ["mean", "sample"])
def test_batches_change_nothing(images, tmp_path, posterior):
    a = run(images, tmp_path, name="a", posterior=posterior, spread=0.3)
    b = run(
        images, tmp_path, name="b", posterior=posterior, spread=0.3, batch_size=23, shard_size=7
    )
    assert a.meta == b.meta
    for field in ("images", "latents", "clipped"):
        np.testing.assert_array_equal(a.load(field), b.load(field))


def test_a_sample_depends_on_seed_and_id(images, tmp_path):
    mean = run(images, tmp_path, name="mean", spread=0.3).load("latents")
    one = run(images, tmp_path, name="one", posterior="sample", spread=0.3).load("latents")
    two = run(images, tmp_path, name="two", posterior="sample", spread=0.3, seed=1).load("latents")
    noise = (one - mean) / 0.3
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert not np.allclose(one, two)


def test_nan_stops_the_job_and_names_the_images(images, tmp_path):
    with pytest.raises(ValueError, match="NaN or infinity in the reconstruction.*'i"):
        run(images, tmp_path, poison=-0.5)
    assert not (tmp_path / "out/manifest.json").exists()


def test_latents_that_are_not_finite_stop_the_job_and_are_named(images, tmp_path):
    pixels = Shards(images).load("images") / 127.5 - 1
    bright = Shards(images).ids[int(pixels.mean((1, 2, 3)).argmax())]
    second = np.sort(pixels.mean((1, 2, 3)))[-2]
    with pytest.raises(ValueError, match=f"NaN or infinity in the latent of 1 of .*'{bright}'"):
        run(images, tmp_path, poison_latents=float(second) + 1e-6)
    assert list((tmp_path / "out").glob("*.json")) == []


def test_another_resolution_is_refused(images, tmp_path, monkeypatch):
    monkeypatch.setattr(Shift, "resolution", 16)
    with pytest.raises(ValueError, match="takes images of 16 x 16 pixels.*has 8 x 8"):
        run(images, tmp_path)


def test_latents_of_another_shape_are_refused(images, tmp_path, monkeypatch):
    monkeypatch.setattr(Shift, "latent_shape", (4, 4, 4))
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\), latent_shape says \(4, 4, 4\)"):
        run(images, tmp_path)
