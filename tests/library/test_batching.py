"""Batches that do not fit: halved, the same result, recorded; in a function and in real stages."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch

from seesaw.batching import Batched, fitted_sizes, is_out_of_memory, join
from seesaw.conditions import extract_conditions
from seesaw.ifid import Variant, score_ifid
from seesaw.metrics.score import score_metric
from seesaw.neighbours import search
from seesaw.neighbours.search import find_neighbours
from seesaw.neighbours.table import merge_neighbours
from seesaw.networks.canny import Canny
from seesaw.networks.lpips_alex import LpipsAlexRandom
from seesaw.reconstruct import reconstruct_images
from seesaw.registry import NETWORKS
from seesaw.results import read_scores
from seesaw.shards import Shards, ShardWriter


class Fits:
    """A function that runs out of memory above ``most`` rows and remembers what it was given."""

    def __init__(self, most, error=None):
        self.most, self.sizes = most, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    def __call__(self, a, ids, *, scale=1):
        self.sizes.append(len(a))
        if len(a) > self.most:
            raise self.error
        return {"twice": 2 * a * scale, "pair": (a + 1, torch.tensor([len(i) for i in ids]))}


def data(n):
    return np.arange(3.0 * n).reshape(n, 3), ["x" * i for i in range(n)]


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7, 12, 13])
@pytest.mark.parametrize("n", [1, 2, 12, 13])
def test_halves_give_the_whole(n, most):
    function, whole = Fits(most), Fits(n)(*data(n), scale=3)
    step = Batched(function, "doubling")
    found = step(*data(n), scale=3)
    np.testing.assert_array_equal(found["twice"], whole["twice"])
    assert isinstance(found["pair"], tuple)
    np.testing.assert_array_equal(found["pair"][0], whole["pair"][0])
    assert torch.equal(found["pair"][1], whole["pair"][1])
    assert (step.fitted is None) == (n <= most)
    assert step.fitted is None or most / 2 < step.fitted <= most


def test_the_size_that_fits_is_kept_and_said(caplog):
    function = Fits(4)
    step = Batched(function, "doubling")
    with caplog.at_level(logging.WARNING):
        step(*data(16))
        assert function.sizes == [16, 8, 4, 4, 4, 4]
        step(*data(10))
    assert function.sizes[6:] == [4, 4, 2]  # not tried at 10 again
    assert [record.args for record in caplog.records] == [("doubling", 16, 8), ("doubling", 8, 4)]
    assert fitted_sizes(step, Batched(function, "other")) == {"fitted_batch_size": {"doubling": 4}}


def test_a_batch_that_fits_is_passed_on_untouched():
    given = data(5)
    seen = []
    step = Batched(lambda a, ids: seen.append((a, ids)) or a, "looking")
    assert step(*given) is given[0]
    assert seen[0][0] is given[0]
    assert seen[0][1] is given[1]
    assert fitted_sizes(step) == {}


def test_one_image_that_does_not_fit_is_an_error_in_words():
    with pytest.raises(MemoryError, match="doubling: not even one image fits.*CUDA out of memory"):
        Batched(Fits(0), "doubling")(*data(6))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("no words"),
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        np._core._exceptions._ArrayMemoryError((9, 9), np.dtype("f4")),
        MemoryError(),
    ],
)
def test_what_counts_as_out_of_memory(error):
    assert is_out_of_memory(error)
    assert len(Batched(Fits(2, error), "doubling")(*data(8))["twice"]) == 8


def test_the_real_errors_of_this_machine():
    for allocate in (lambda: torch.empty(1 << 60, dtype=torch.uint8), lambda: np.empty(1 << 45)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        assert is_out_of_memory(caught.value), caught.value


@pytest.mark.parametrize("error", [RuntimeError("mat1 and mat2 shapes"), ValueError("NaN")])
def test_other_errors_pass(error):
    function = Fits(2, error)
    with pytest.raises(type(error), match=str(error)):
        Batched(function, "doubling")(*data(8))
    assert function.sizes == [8]


def test_join_refuses_what_has_no_rows():
    with pytest.raises(TypeError, match="cannot join results of type float"):
        join([1.0, 2.0])


# ---------------------------------------------------------------- real stages


class Small(torch.nn.Module):
    """Linear, with a posterior; runs out of memory above ``most`` images. No two rows mix."""

    resolution, latent_shape, spatial, stochastic = 32, (3, 8, 8), True, True
    most = {"encode": 1000, "decode": 1000}

    def __init__(self):
        super().__init__()
        self.parameter = torch.nn.Parameter(torch.zeros(1))

    def check(self, what, batch):
        if len(batch) > self.most[what]:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {len(batch)} images")

    def encode(self, images, noise=None):
        self.check("encode", images)
        latents = torch.nn.functional.avg_pool2d(images, 4)
        return latents if noise is None else latents + 0.1 * noise

    def decode(self, latents):
        self.check("decode", latents)
        return torch.nn.functional.interpolate(latents, scale_factor=4)


class SmallCanny(Canny):
    """The edge detector with the features that iFID reads, out of memory above ``most``."""

    most = 1000

    def extract(self, images):
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        found = super().extract(images)
        return {**found, "features": images.reshape(len(images), 3, 8, 128).mean(3).reshape(-1, 24)}


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setitem(
        NETWORKS.entries,
        "canny",
        type(NETWORKS["canny"])(
            **{**vars(NETWORKS["canny"]), "target": f"{__name__}:SmallCanny"},
        ),
    )


@pytest.fixture
def limit(monkeypatch):
    def set_limits(encode=1000, decode=1000, extract=1000):
        monkeypatch.setattr(Small, "most", {"encode": encode, "decode": decode})
        monkeypatch.setattr(SmallCanny, "most", extract)

    return set_limits


FAMILY = f"{__name__}:Small"
OPTIONS = {"posterior": "sample", "seed": 3, "device": "cpu"}


def images(folder, prefix, n, seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 3, 8, 8), np.uint8)
    pixels = coarse.repeat(4, axis=2).repeat(4, axis=3)
    with ShardWriter(folder / "manifest.json", shard_size=25, meta={}) as writer:
        writer.add([f"{prefix}{i:03d}" for i in range(n)], {"images": pixels})
    return folder / "manifest.json"


def study(folder, split):
    """All four stages on the images of ``split``; paths of what they wrote."""
    folder.mkdir()
    model = {"family": FAMILY, "config": {}, "weights": None, **OPTIONS}
    made = {name: folder / name / "manifest.json" for name in ("reconstruct", "edges", "again")}
    reconstruct_images(
        **model, images=split["val"], output=made["reconstruct"], batch_size=16, shard_size=25
    )
    for name, source in (("edges", split["val"]), ("again", made["reconstruct"])):
        extract_conditions(
            **{"network": "canny", "weights": None, "device": "cpu", "batch_size": 16},
            images=source,
            output=made[name],
        )
    part, made["neighbours"] = folder / "part.parquet", folder / "neighbours.parquet"
    found = {"exclude_self": False, "distances": ["l2", "cosine"], "sizes": [20, "all"], "k": 3}
    find_neighbours(
        **model,
        **found,
        reconstructions=made["reconstruct"],
        references=split["train"],
        output=part,
        part=0,
        parts=1,
        batch_size=16,
    )
    merge_neighbours(parts=[part], output=made["neighbours"], k=3)
    made["part"], made["ifid"] = part, folder / "ifid.json"
    variants = [
        Variant(interpolation=name, alpha=alpha, k=3, references="all")
        for name, alpha in (("slerp", 0.5), ("linear", 0.3), ("slerp", 0.0))
    ]
    score_ifid(
        **model,
        autoencoder="small",
        images=split["val"],
        reconstructions=made["reconstruct"],
        references=split["train"],
        neighbours=made["neighbours"],
        network="canny",
        network_weights=None,
        features=made["edges"],
        default=variants[0],
        variants=variants[1:],
        output_scores=made["ifid"],
        output_examples=folder / "examples.safetensors",
        decode_batch_size=16,
        feature_batch_size=16,
        protocol={},
        reference="train",
        version="1",
        provenance={"seed": 3},
    )
    return made


def recorded(made):
    meta = {name: Shards(made[name]).meta for name in ("reconstruct", "edges", "again")}
    found = {name: meta[name].get("fitted_batch_size") for name in meta}
    found["part"] = pd.read_parquet(made["part"]).attrs.get("fitted_batch_size")
    found["ifid"] = read_scores(made["ifid"])[2].get("fitted_batch_size")
    return found


@pytest.fixture
def split(tmp_path, network):
    return {"val": images(tmp_path / "v", "q", 40, 0), "train": images(tmp_path / "t", "r", 50, 1)}


@pytest.mark.parametrize("limits", [(5, 1000, 1000), (1000, 3, 1000), (1000, 1000, 2), (9, 7, 1)])
def test_stages_go_on_with_the_same_result(tmp_path, split, limit, limits):
    plain = study(tmp_path / "plain", split)
    assert not any(recorded(plain).values())
    limit(*limits)
    cut = study(tmp_path / "cut", split)
    for name in ("reconstruct", "edges", "again"):
        a, b = Shards(plain[name]), Shards(cut[name])
        assert a.ids == b.ids
        assert a.shards == b.shards, name  # sizes and sha256: the same bytes
    a, b = (pd.read_parquet(made["neighbours"]) for made in (plain, cut))
    pd.testing.assert_frame_equal(a, b)
    scores = [{s.variant: s.value for s in read_scores(made["ifid"])[1]} for made in (plain, cut)]
    assert scores[0] == scores[1]
    assert len(scores[0]) == 4
    examples = [
        (made["ifid"].parent / "examples.safetensors").read_bytes() for made in (plain, cut)
    ]
    assert examples[0] == examples[1]
    fitted = recorded(cut)
    encode, decode, extract = limits
    size = {most: next(16 >> i for i in range(5) if 16 >> i <= most) for most in limits}
    want = {"encoding": encode, "decoding": decode, "canny": extract}
    want = {what: size[most] for what, most in want.items() if most < 16}
    assert fitted["reconstruct"] == ({k: v for k, v in want.items() if k != "canny"} or None)
    assert fitted["again"] == ({"canny": want["canny"]} if "canny" in want else None)
    assert fitted["part"] == ({"encoding": want["encoding"]} if "encoding" in want else None)
    assert fitted["ifid"] == want


def test_nothing_is_recorded_where_all_fits(tmp_path, split):
    made = study(tmp_path / "plain", split)
    assert not any(recorded(made).values())
    for path in made.values():
        assert b"fitted_batch_size" not in path.read_bytes()
    keys = set(json.loads(made["reconstruct"].read_text())["meta"])
    assert keys == {
        *("posterior", "quantisation", "seed", "weights_sha256", "latent_shape", "parameters"),
        *("source", "latents", "clipped_share"),
    }


def test_a_comparison_that_fails_half_way_offers_no_pair_twice(tmp_path, split, monkeypatch):
    plain = study(tmp_path / "plain", split)
    whole = search.exact_costs
    calls = []

    def exact_costs(queries, references, distance):
        calls.append(len(queries))
        if len(calls) in (2, 4, 9):  # after some candidates were added already
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(queries, references, distance)

    monkeypatch.setattr(search, "exact_costs", exact_costs)
    monkeypatch.setattr(search, "PAIR_VALUES", 5000)  # so that a block is measured in many steps
    cut = study(tmp_path / "cut", split)
    assert len(calls) > 12
    a, b = (pd.read_parquet(made["neighbours"]) for made in (plain, cut))
    pd.testing.assert_frame_equal(a, b)
    assert set(recorded(cut)["part"]) == {"comparing"}


def test_a_metric_that_runs_its_network_goes_on_too(tmp_path, monkeypatch):
    whole = LpipsAlexRandom.distance

    def score(name):
        paths = {"output_scores": tmp_path / f"{name}.json", "output_images": tmp_path / name}
        score_metric(
            **{"metric": "lpips", "network": "lpips-alex-random", "weights": None, "protocol": {}},
            **{"autoencoder": "small", "seed": 0, "batch_size": 16, "device": "cpu"},
            **paths,
            reference=a,
            source=b,
            provenance_extra={},
        )
        _, scores, provenance = read_scores(paths["output_scores"])
        return pd.read_parquet(tmp_path / name)["value"], scores[0].value, provenance

    a, b = images(tmp_path / "a", "q", 20, 0), images(tmp_path / "b", "q", 20, 1)
    values, mean, provenance = score("plain")
    assert "fitted_batch_size" not in provenance

    def small(self, a, b):
        if len(a) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, a, b)

    monkeypatch.setattr(LpipsAlexRandom, "distance", small)
    cut_values, cut_mean, provenance = score("cut")
    np.testing.assert_allclose(cut_values, values, rtol=1e-5)
    assert cut_mean == pytest.approx(mean, rel=1e-6)
    assert provenance["fitted_batch_size"] == {"lpips-alex-random": 4}
