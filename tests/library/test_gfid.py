"""gFID and gFID(t): what they are at their ends, references, samples, batches, memory."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tiny_autoencoder import CLASSES, Tiny, write_images

from seesaw import gfid, gfid_times
from seesaw.diffusion.sample import sample_images, sample_latents
from seesaw.diffusion.samplers import Sampler
from seesaw.diffusion.sit import SiT
from seesaw.diffusion.train import velocity_loss, write_state
from seesaw.gfid import read_moments, score_gfid, shuffled
from seesaw.gfid_times import Denoiser, score_gfid_times
from seesaw.metrics.frechet import frechet_distance, statistics, statistics_of
from seesaw.metrics.generation import inception_score, precision_recall
from seesaw.metrics.kid import squared_mmd
from seesaw.reconstruct import decode_batch, reconstruct_images
from seesaw.seeds import generator_for, normal_per_image
from seesaw.shards import Shards, ShardWriter

COUNT, D = 40, 5
SDE = Sampler(mode="sde", steps=4)
HEAD = np.random.default_rng(5).normal(size=(D, 4)).astype(np.float32)
COMMON = {
    "autoencoder": "tiny",
    "network": "means",
    "network_weights": None,
    "protocol": {"crop": "none"},
    "version": "1",
    "seed": 0,
    "provenance": {"seed": 0},
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Means:
    """Features without a network: mean colours and two contrasts of an image, float32."""

    meta: dict = {}
    head = HEAD

    def __init__(self, weights=None, device="cpu"):
        self.sizes = []

    def extract(self, images):
        self.sizes.append(len(images))
        x = torch.from_numpy(images).float() / 255
        means, half = x.mean((2, 3)), x.mean(1)
        contrasts = torch.stack([half[:, :4].mean((1, 2)), half[:, :, :4].std((1, 2))], 1)
        return {"features": torch.cat([means, contrasts], 1).numpy()}


@pytest.fixture(autouse=True)
def _network(monkeypatch):
    for module in (gfid, gfid_times):
        monkeypatch.setattr(
            module, "load_network", lambda name, weights, device: Means(weights, device)
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Packed images, their reconstructions, the features of both, and an untrained SiT."""
    folder = tmp_path_factory.mktemp("world")
    manifest, _ = write_images(folder / "data", COUNT)
    reconstruct_images(
        family="tiny_autoencoder:Tiny",
        config={},
        weights=None,
        images=manifest,
        output=folder / "reconstruct/manifest.json",
        batch_size=7,
        shard_size=16,
        posterior="mean",
        seed=0,
        device="cpu",
    )
    for name in ("data", "reconstruct"):
        extract(folder / name / "manifest.json", folder / f"{name}-features/manifest.json")
    config = {"latent_shape": [3, 4, 4], "size": "SiT-Ti", "num_classes": CLASSES}
    torch.manual_seed(0)
    sit = SiT(**config)
    torch.nn.init.normal_(sit.final_layer.linear.weight, std=0.05)
    state = sit.state_dict()
    content = {"model": state, "ema": state, "opt": {}, "steps": 0, "args": config}
    write_state(folder / "sit.pt", content)
    return folder


def extract(images, output):
    """The stage ``conditions`` with the network above, in batches of 9."""
    source, network = Shards(images), Means()
    with ShardWriter(output, shard_size=16, meta={}) as writer:
        for batch in source.batches(["images"], 9):
            writer.add(batch.ids, network.extract(batch["images"]))
    return output


def draw(world, output, sampler=SDE, batch_size=11, seed=0, **options):
    sample_images(
        checkpoint=world / "sit.pt",
        family="tiny_autoencoder:Tiny",
        config={},
        weights=None,
        images=world / "data/manifest.json",
        index=world / "data/index.parquet",
        sampler=sampler,
        output=output / "manifest.json",
        batch_size=batch_size,
        shard_size=16,
        version="1",
        seed=seed,
        device="cpu",
        **options,
    )
    return Shards(output / "manifest.json")


def times_of(world, output, times, **options):
    """Scores of gFID(t): variant -> score."""
    known = {
        "model_name": "SiT-Ti",
        "checkpoint": world / "sit.pt",
        "family": "tiny_autoencoder:Tiny",
        "config": {},
        "weights": None,
        "reconstructions": world / "reconstruct/manifest.json",
        "index": world / "data/index.parquet",
        "images": world / "data/manifest.json",
        "output_examples": output.with_suffix(".safetensors"),
        "features": world / "data-features/manifest.json",
        "sampler": SDE,
        "decode_batch_size": 7,
        "feature_batch_size": 9,
        "device": "cpu",
    }
    score_gfid_times(**{**COMMON, **known, **options}, times=times, output=output)
    content = json.loads(output.read_text())
    return {s["variant"]: s for s in content["scores"]}, content["provenance"]


@pytest.fixture(scope="module")
def samples(world):
    """Samples and their features."""
    folder = world / "samples"
    drawn = draw(world, folder)
    return drawn, extract(folder / "manifest.json", world / "samples-features/manifest.json")


def gfid_of(world, samples, output, **options):
    """Scores of the samples: (metric, variant) -> score."""
    known = {
        "name": "SiT-Ti plain",
        "samples": samples[1],
        "references": {"val": world / "data-features/manifest.json"},
        "evaluation": "val",
        "plain": True,
    }
    score_gfid(**{**COMMON, **known, **options}, output=output)
    content = json.loads(output.read_text())
    assert content["autoencoder"] == "tiny"
    keys = [(s["metric"], s["variant"]) for s in content["scores"]]
    assert len(set(keys)) == len(keys)
    return dict(zip(keys, content["scores"], strict=True))


# ------------------------------------------------------------------------------------------ gFID(t)


def test_gfid_at_time_0_is_rfid_to_the_last_digit(world, tmp_path):
    scores, _ = times_of(world, tmp_path / "times.json", [0, 0.4])
    features = [
        Shards(world / f"{name}-features/manifest.json").load("features")
        for name in ("data", "reconstruct")
    ]
    assert scores["SiT-Ti t=0"]["value"] == frechet_distance(*map(statistics, features))
    assert scores["SiT-Ti t=0.4"]["value"] != scores["SiT-Ti t=0"]["value"]
    assert scores["SiT-Ti t=0.4"]["n"] == COUNT
    assert scores["SiT-Ti t=0.4"]["protocol"]["t"] == 0.4
    assert scores["SiT-Ti t=0.4"]["metric"] == "gfid-t"


def test_what_is_decoded_is_quantised_as_reconstructions_are(world, samples, tmp_path):
    floored = tmp_path / "floored/manifest.json"
    reconstruct_images(
        family="tiny_autoencoder:Tiny", config={}, weights=None, output=floored,
        images=world / "data/manifest.json", batch_size=7, shard_size=16, posterior="mean", seed=0,
        device="cpu", quantisation="uint8-floor",
    )  # fmt: skip
    found = Shards(extract(floored, tmp_path / "floored-features/manifest.json")).load("features")
    real = Shards(world / "data-features/manifest.json").load("features")
    scores, _ = times_of(world, tmp_path / "times.json", [0], quantisation="uint8-floor")
    assert scores["SiT-Ti t=0"]["value"] == frechet_distance(statistics(real), statistics(found))
    rounded = samples[0].load("images").astype(int)
    cut = rounded - draw(world, tmp_path / "samples", quantisation="uint8-floor").load("images")
    assert set(np.unique(cut)) == {0, 1}
    assert 0.3 < cut[(rounded > 0) & (rounded < 255)].mean() < 0.6


def denoiser(world, sampler=SDE, decode=None):
    from functools import partial

    from seesaw.diffusion.train import load_sit

    labels = {f"image-{i:04d}": i % CLASSES for i in range(COUNT)}
    return Denoiser(
        model=load_sit(world / "sit.pt"),
        decode=decode or partial(decode_batch, Tiny()),
        extract=Means().extract,
        labels=labels,
        sampler=sampler,
        seed=0,
        device="cpu",
    )


@pytest.mark.parametrize("mode", ["sde", "ode"])
def test_gfid_at_time_1_is_that_of_the_samples(world, tmp_path, mode):
    """At t = 1 nothing is left of the image: what is denoised are the samples themselves."""
    sampler = Sampler(mode=mode, steps=4)
    found = draw(world, tmp_path / mode, sampler)
    features = extract(tmp_path / mode / "manifest.json", tmp_path / f"{mode}-f/manifest.json")
    source = Shards(world / "reconstruct/manifest.json")
    kept = tmp_path / "kept/manifest.json"
    denoiser(world, sampler).write_features(kept, source, 1.0, 7, 9, resume="x")
    moments = statistics_of(Shards(kept))
    expected = statistics(Shards(features).load("features"))
    np.testing.assert_allclose(moments.mean, expected.mean, rtol=1e-4)
    real = statistics(Shards(world / "data-features/manifest.json").load("features"))
    gfid_1, gfid_samples = (frechet_distance(real, s) for s in (moments, expected))
    assert gfid_1 == pytest.approx(gfid_samples, rel=1e-3)
    assert gfid_1 > 10 * frechet_distance(moments, expected)
    assert found.ids == source.ids


def test_little_noise_changes_little(world, tmp_path):
    scores, _ = times_of(world, tmp_path / "times.json", [0, 0.001, 0.2, 0.9])
    zero, little, some, much = (scores[f"SiT-Ti t={t}"]["value"] for t in ("0", 0.001, 0.2, 0.9))
    assert abs(little - zero) < abs(some - zero) < abs(much - zero)


def test_batches_do_not_matter(world, tmp_path):
    plain, _ = times_of(world, tmp_path / "a.json", [0.3])
    other, _ = times_of(
        world, tmp_path / "b.json", [0.3], decode_batch_size=3, feature_batch_size=2
    )
    assert set(plain) == set(other) == {"SiT-Ti t=0.3", "SiT-Ti", "SiT-Ti unshifted"}
    for variant in plain:
        assert other[variant]["value"] == pytest.approx(plain[variant]["value"], rel=1e-4)


def test_a_batch_that_does_not_fit_is_halved_and_that_is_recorded(world, tmp_path, monkeypatch):
    whole, provenance = times_of(world, tmp_path / "a.json", [0.3])
    assert provenance == COMMON["provenance"]
    real = sample_latents

    def narrow(model, labels, ids, *args, **options):
        if len(ids) > 4:
            raise MemoryError("no room")
        return real(model, labels, ids, *args, **options)

    monkeypatch.setattr(gfid_times, "sample_latents", narrow)
    halved, provenance = times_of(world, tmp_path / "b.json", [0.3])
    assert provenance["fitted_batch_size"] == {"denoising": 4}
    variant = "SiT-Ti t=0.3"
    assert halved[variant]["value"] == pytest.approx(whole[variant]["value"], rel=1e-4)


class Stop(BaseException):
    """As final as a signal."""


def stop_after(count, real):
    """``real``, which can be called ``count`` times, and a list of the ids of its calls."""
    calls = []

    def function(*args, **options):
        if len(calls) == count:
            raise Stop
        calls.append(args)
        return real(*args, **options)

    return function, calls


@pytest.mark.parametrize("count", [2, 4, 8])
def test_times_go_on_where_they_were_cut_off(world, tmp_path, monkeypatch, count):
    """40 images in shards of 16: 3, 3 and 2 batches for each time, and the examples."""
    times, output = [0.2, 0.5], tmp_path / "cut.json"
    whole, _ = times_of(world, tmp_path / "whole.json", times)
    assert not (tmp_path / "whole.unfinished").exists()
    real = gfid_times.sample_latents
    stopping, _ = stop_after(count, real)
    monkeypatch.setattr(gfid_times, "sample_latents", stopping)
    with pytest.raises(Stop):
        times_of(world, output, times)
    assert not output.exists()
    counting, calls = stop_after(1000, real)
    monkeypatch.setattr(gfid_times, "sample_latents", counting)
    found, _ = times_of(world, output, times)
    assert len(calls) == {2: 16, 4: 13, 8: 8}[count] + 3
    assert found == whole
    cut, uncut = (load_file(tmp_path / f"{name}.safetensors") for name in ("cut", "whole"))
    assert all((cut[field] == uncut[field]).all() for field in uncut)
    assert not (tmp_path / "cut.unfinished").exists()


@pytest.mark.parametrize("shifted", [True, False])
def test_diffusion_loss_by_hand(world, shifted):
    source = Shards(world / "reconstruct/manifest.json")
    tested = denoiser(world)
    latents = torch.from_numpy(source.load("latents"))
    x = tested.model.normalise(latents)
    losses = []
    for draw_index in range(4):
        t = torch.tensor(
            [generator_for(0, "loss-t", i).random(4)[draw_index] for i in source.ids]
        ).float()
        noise = normal_per_image(
            (3, 4, 4), seed=0, purpose=f"loss-noise-{draw_index}", ids=source.ids
        )
        t = tested.model.shift_time(t) if shifted else t
        y = torch.arange(COUNT) % CLASSES
        with torch.no_grad():
            losses.append(velocity_loss(tested.model, x, t, y, torch.from_numpy(noise)))
    expected = torch.stack(losses).double().mean().item()
    for batch_size in (5, 64):
        loss = tested.loss(source, batch_size, shifted=shifted)
        assert loss == pytest.approx(expected, rel=1e-5)


def test_times_outside_are_refused(world, tmp_path):
    for times in ([1.0], [-0.1, 0]):
        with pytest.raises(ValueError, match=r"takes t in \[0, 1\), got"):
            times_of(world, tmp_path / "x.json", times)


# ------------------------------------------------------------------------------------------ samples


def test_samples_do_not_depend_on_batches(world, samples, tmp_path):
    plain = samples[0].load("images").astype(int)
    other = draw(world, tmp_path / "a", batch_size=40).load("images").astype(int)
    assert abs(other - plain).max() <= 1  # rounding of floats may move a level
    assert (other == plain).mean() > 0.999
    assert draw(world, tmp_path / "b", seed=1).load("images").astype(int).std() > 1
    assert (draw(world, tmp_path / "c", seed=1).load("images") != plain).mean() > 0.5


def test_a_sample_keeps_id_and_label(world, samples, monkeypatch):
    """Samples of a label are guided by it: their latents are those of ``sample_latents``."""
    shards = samples[0]
    assert shards.ids == Shards(world / "data/manifest.json").ids
    assert shards.meta["sampler"]["interval"] == [0.0, 1.0]
    assert "fitted_batch_size" not in shards.meta
    tested, rows = denoiser(world), [37, 5]
    y = torch.tensor([row % CLASSES for row in rows])
    latents = sample_latents(tested.model, y, [shards.ids[row] for row in rows], SDE, seed=0)
    pixels, _ = decode_batch(Tiny(), latents, ["a", "b"])
    assert abs(pixels.astype(int) - shards.load("images")[rows]).max() <= 1


def test_sampling_goes_on_with_smaller_batches(world, samples, tmp_path, monkeypatch):
    import seesaw.diffusion.sample as module

    real = module.sample_latents

    def narrow(model, labels, ids, *args, **options):
        if len(ids) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        return real(model, labels, ids, *args, **options)

    monkeypatch.setattr(module, "sample_latents", narrow)
    found = draw(world, tmp_path / "narrow")
    assert found.meta["fitted_batch_size"] == {"sampling": 3}
    difference = found.load("images").astype(int) - samples[0].load("images")
    assert abs(difference).max() <= 1


def test_sampling_goes_on_where_it_was_cut_off(world, samples, tmp_path, monkeypatch):
    """40 images in shards of 16, batches of 11: a cut in the third keeps the first shard."""
    import seesaw.diffusion.sample as module

    real = module.sample_latents
    for other, todo in (({}, 3), ({"seed": 1}, 5)):
        folder = tmp_path / f"cut{todo}"
        monkeypatch.setattr(module, "sample_latents", stop_after(3, real)[0])
        with pytest.raises(Stop):
            draw(world, folder, **other)
        assert not (folder / "manifest.json").exists()
        counting, calls = stop_after(1000, real)
        monkeypatch.setattr(module, "sample_latents", counting)
        found = draw(world, folder)
        assert len(calls) == todo
        assert found.shards == samples[0].shards  # digests of the bytes
        assert not (folder / "unfinished.json").exists()


# -------------------------------------------------------------------------------- scores of samples


def test_scores_of_samples_are_those_of_their_features(world, samples, tmp_path):
    scores = gfid_of(world, samples, tmp_path / "scores.json")
    real = Shards(world / "data-features/manifest.json").load("features")
    found = Shards(samples[1]).load("features")
    variant = "SiT-Ti plain ref=val"
    shares = precision_recall(real, found)
    expected = {
        "gfid": frechet_distance(statistics(real), statistics(found)),
        "gkid": 1000 * squared_mmd(real, found),
        "precision": shares.precision,
        "recall": shares.recall,
    }
    for metric, value in expected.items():
        assert scores[metric, variant]["value"] == value
        assert {**scores[metric, ""], "variant": variant} == scores[metric, variant]
        assert scores[metric, variant]["n"] == COUNT
        assert scores[metric, ""]["protocol"] == {
            "crop": "none",
            "reference": "val",
            "samples": "SiT-Ti plain",
        }
    score = scores["inception-score", "SiT-Ti plain ref=none"]["value"]
    assert score == pytest.approx(inception_score(found, HEAD).value, rel=1e-6)  # one split
    assert scores["precision", ""]["note"] == "3 nearest neighbours, 40 reference images"
    assert [s["higher_is_better"] for s in (scores["gfid", ""], scores["recall", ""])] == [0, 1]


def test_splits_of_the_inception_score_mix_the_classes(world, tmp_path, monkeypatch):
    """Samples stored by class: a split of a few classes could not score high."""
    features = 40 * np.eye(D, dtype=np.float32)[np.repeat(np.arange(4), 30)]
    ids = [f"n{i:03d}" for i in range(120)]
    with ShardWriter(tmp_path / "f/manifest.json", shard_size=50, meta={}) as writer:
        writer.add(ids, {"features": features + np.float32(1e-3)})
    monkeypatch.setattr(Means, "head", np.eye(D, dtype=np.float32))
    monkeypatch.setattr(gfid, "inception_score", lambda f, h: inception_score(f, h, split_size=30))
    scores = gfid_of(world, (None, tmp_path / "f/manifest.json"), tmp_path / "scores.json")
    assert inception_score(features, Means.head, split_size=30).value == pytest.approx(1)
    assert 3.5 < scores["inception-score", ""]["value"] <= 4


def test_an_order_that_ids_and_seed_give():
    ids = [f"n{i}" for i in range(50)]
    order = shuffled(ids, 0, "x")
    assert sorted(order) == list(range(50))
    assert list(order) != list(range(50))
    back = shuffled(ids[::-1], 0, "x")
    assert [ids[::-1][row] for row in back] == [ids[row] for row in order]
    assert list(shuffled(ids, 1, "x")) != list(order) != list(shuffled(ids, 0, "y"))


def test_a_network_without_a_classifier_has_no_inception_score(
    world, samples, tmp_path, monkeypatch
):
    monkeypatch.setattr(Means, "head", None)
    score = gfid_of(world, samples, tmp_path / "scores.json")["inception-score", ""]
    assert score["value"] is None
    assert "no classifier" in score["note"]


def test_other_samples_do_not_take_the_plain_names(world, samples, tmp_path):
    scores = gfid_of(world, samples, tmp_path / "x.json", plain=False, name="SiT-Ti guided")
    assert {variant for _, variant in scores} == {"SiT-Ti guided ref=val", "SiT-Ti guided ref=none"}


def moments_file(path, features, **more):
    found = statistics(features)
    np.savez(path, **{"mu": found.mean, "sigma": found.covariance, **more})
    return path


def test_a_file_of_moments_is_a_reference(world, samples, tmp_path):
    train = np.random.default_rng(0).normal(size=(300, D))
    references = {
        "adm": moments_file(tmp_path / "adm.npz", train, labels=np.arange(3)),
        "val": world / "data-features/manifest.json",
    }
    scores = gfid_of(world, samples, tmp_path / "scores.json", references=references)
    found = Shards(samples[1]).load("features")
    adm = frechet_distance(statistics(train), statistics(found))
    assert scores["gfid", "SiT-Ti plain ref=adm"]["value"] == pytest.approx(adm, rel=1e-9)
    assert scores["gfid", ""]["value"] == scores["gfid", "SiT-Ti plain ref=adm"]["value"]
    assert scores["gfid", "SiT-Ti plain ref=val"]["value"] != scores["gfid", ""]["value"]
    assert scores["gkid", ""]["protocol"]["reference"] == "val"


def test_files_that_are_no_moments(tmp_path):
    features = np.random.default_rng(0).normal(size=(30, D))
    np.savez(tmp_path / "batch.npz", arr_0=np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match="batch.npz has arr_0; a reference needs the moments mu"):
        read_moments(tmp_path / "batch.npz", D)
    path = moments_file(tmp_path / "other.npz", features)
    with pytest.raises(ValueError, match=r"shape \(5,\) and \(5, 5\), the samples' features have"):
        read_moments(path, 7)
    found = read_moments(path, D)
    np.testing.assert_array_equal(found.mean, statistics(features).mean)
    assert found.covariance.dtype == np.float64
    with pytest.raises(FileNotFoundError):
        read_moments(tmp_path / "none.npz", D)
    path = moments_file(tmp_path / "nan.npz", features, mu=np.full(D, np.nan))
    with pytest.raises(ValueError, match="the statistics hold NaN or infinity"):
        frechet_distance(read_moments(path, D), statistics(features))
