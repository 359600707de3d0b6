"""Exact streaming top-K: against brute force, an oracle, and the official loop."""

import json
from pathlib import Path

import faiss
import numpy as np
import pandas as pd
import pytest
import torch

from seesaw.neighbours.search import (
    DISTANCES,
    Queries,
    TopK,
    find_neighbours,
    offer,
    reference_ranks,
)
from seesaw.neighbours.table import merge_neighbours
from seesaw.reconstruct import reconstruct_images
from seesaw.shards import Shards, ShardWriter

REFERENCE = Path(__file__).parents[1] / "reference"


class Blocks(torch.nn.Module):
    """An autoencoder whose latent is the 4 x 4 block means: exact, linear, quick."""

    resolution, latent_shape, spatial = 16, (3, 4, 4), True

    def encode(self, images):
        return torch.nn.functional.avg_pool2d(images, 4)

    def decode(self, latents):
        return torch.nn.functional.interpolate(latents, scale_factor=4)


FAMILY = f"{__name__}:Blocks"


def write_images(folder, prefix, n, shard_size, seed):
    images = np.random.default_rng(seed).integers(0, 256, (n, 3, 16, 16), np.uint8)
    ids = [f"{prefix}{i:04d}" for i in range(n)]
    with ShardWriter(folder / "manifest.json", shard_size=shard_size, meta={}) as writer:
        writer.add(ids, {"images": images})
    return folder / "manifest.json"


@pytest.fixture
def world(tmp_path):
    return {
        "queries": write_images(tmp_path / "val", "q", 30, 20, 0),
        "pool": write_images(tmp_path / "train", "r", 200, 64, 1),
    }


def search(tmp_path, world, *, name="a", parts=1, batch_size=50, pool=None, **changes):
    reconstructions = tmp_path / f"rec-{name}" / "manifest.json"
    reconstruct_images(
        family=FAMILY,
        config={},
        weights=None,
        images=world["queries"],
        output=reconstructions,
        batch_size=7,
        shard_size=20,
        posterior="mean",
        seed=0,
        device="cpu",
    )
    options = {
        "exclude_self": False,
        "distances": ["l2", "cosine"],
        "sizes": [40, "all"],
        "k": 5,
        **changes,
    }
    tables = []
    for part in range(parts):
        tables.append(tmp_path / f"{name}-{part}.parquet")
        find_neighbours(
            family=FAMILY,
            config={},
            weights=None,
            reconstructions=reconstructions,
            references=pool or world["pool"],
            output=tables[-1],
            part=part,
            parts=parts,
            batch_size=batch_size,
            posterior="mean",
            seed=0,
            device="cpu",
            **options,
        )
    merge_neighbours(parts=tables, output=tmp_path / f"{name}.parquet", k=options["k"])
    return pd.read_parquet(tmp_path / f"{name}.parquet")


def blocks(manifest):
    pixels = torch.from_numpy(Shards(manifest).load("images")).float() / 127.5 - 1
    return torch.nn.functional.avg_pool2d(pixels, 4).flatten(1).double()


def brute_force(world, distance, members):
    q, r = blocks(world["queries"]), blocks(world["pool"])
    if distance == "l2":
        cost = (q[:, None] - r[None]).square().sum(-1)
    else:
        cost = -torch.nn.functional.cosine_similarity(q[:, None], r[None], dim=-1)
    cost[:, ~torch.from_numpy(members)] = torch.inf
    return cost.topk(5, largest=False)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("size", [40, "all"])
def test_equals_brute_force(tmp_path, world, distance, size):
    table = search(tmp_path, world)
    ids = Shards(world["pool"]).ids
    members = reference_ranks(ids, 0) < (200 if size == "all" else size)
    want = brute_force(world, distance, members)
    found = table[(table["distance"] == distance) & (table["references"] == str(size))]
    assert found["neighbour"].tolist() == [ids[i] for i in want.indices.flatten()]
    np.testing.assert_allclose(found["cost"], want.values.flatten(), atol=1e-6)


def test_parts_batches_and_shards_change_nothing(tmp_path, world):
    one = search(tmp_path, world)
    pd.testing.assert_frame_equal(one, search(tmp_path, world, name="b", parts=3, batch_size=13))
    other_shards = write_images(tmp_path / "other", "r", 200, 31, 1)
    pd.testing.assert_frame_equal(one, search(tmp_path, world, name="c", pool=other_shards))


def test_queries_are_read_from_their_shards_as_they_are_needed(tmp_path, world, monkeypatch):
    """Never all of them at once; blocks of 7 reach over the ends of the shards of 20."""
    whole = search(tmp_path, world)
    asked = []
    read = Queries.rows

    def rows(self, first, end):
        asked.append(end - first)
        return read(self, first, end)

    monkeypatch.setattr(Queries, "rows", rows)
    monkeypatch.setattr(Shards, "load", None)
    monkeypatch.setattr("seesaw.neighbours.search.QUERY_BYTES", 7 * 4 * 48)
    pd.testing.assert_frame_equal(whole, search(tmp_path, world, name="b"))
    assert set(asked) == {7, 2}


def test_rows_of_queries(tmp_path, world):
    search(tmp_path, world)
    shards = Shards(tmp_path / "rec-a/manifest.json")
    queries, all_of_them = Queries(shards, "cpu"), shards.load("latents").reshape(30, 48)
    assert (queries.width, queries.held) == (48, None)
    for first, end in ((0, 30), (3, 20), (20, 30), (18, 23), (4, 4)):
        np.testing.assert_array_equal(queries.rows(first, end), all_of_them[first:end])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_rows_of_queries_on_a_gpu(tmp_path, world, monkeypatch):
    search(tmp_path, world)
    shards = Shards(tmp_path / "rec-a/manifest.json")
    held = Queries(shards, "cuda")
    monkeypatch.setattr("seesaw.neighbours.search.ROOM", 0.0)
    read = Queries(shards, "cuda")
    assert (held.held.shape, read.held) == ((30, 48), None)
    assert torch.equal(held.rows(18, 23), read.rows(18, 23))


def test_the_merge_is_that_of_all_tables_at_once(tmp_path, world):
    merged = search(tmp_path, world, parts=5)  # of 4 shards: the last part has found nothing
    table = pd.concat([pd.read_parquet(tmp_path / f"a-{part}.parquet") for part in range(5)])
    keys = ["distance", "references", "query"]
    table = table.sort_values([*keys, "cost", "neighbour"], ignore_index=True)
    table = table[table.groupby(keys).cumcount() < 5].reset_index(drop=True)
    columns = [column for column in table if column != "rank"]
    pd.testing.assert_frame_equal(merged[columns], table[columns].astype(merged[columns].dtypes))
    assert (merged["rank"] == np.tile(np.arange(5), 30 * 4)).all()


def test_a_query_with_too_few_neighbours_stops_the_merge(tmp_path, world):
    search(tmp_path, world)
    table = pd.read_parquet(tmp_path / "a-0.parquet")
    table[table.index != 7].to_parquet(tmp_path / "short.parquet")
    with pytest.raises(ValueError, match="1 queries have fewer than 5 neighbours in .*short"):
        merge_neighbours(parts=[tmp_path / "short.parquet"], output=tmp_path / "x.parquet", k=5)


def test_msd_is_the_mean_squared_difference(tmp_path, world):
    table = search(tmp_path, world)
    l2 = table[table["distance"] == "l2"]
    np.testing.assert_allclose(l2["cost"], l2["msd"] * 48)


def test_an_image_is_not_its_own_neighbour(tmp_path, world):
    world = {"queries": world["pool"], "pool": world["pool"]}
    alone = search(tmp_path, world, exclude_self=True)
    assert not (alone["query"] == alone["neighbour"]).any()
    both = search(tmp_path, world, name="b", exclude_self=False)
    first = both[(both["rank"] == 0) & (both["references"] == "all")]
    assert (first["query"] == first["neighbour"]).all()


def test_subsets_are_nested_and_depend_on_ids_only():
    ids = [f"i{n}" for n in range(100)]
    ranks = dict(zip(ids, reference_ranks(ids, 3)))
    shuffled = ids[::-1]
    assert dict(zip(shuffled, reference_ranks(shuffled, 3))) == ranks
    assert sorted(ranks.values()) == list(range(100))
    assert ranks != dict(zip(ids, reference_ranks(ids, 4)))


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"sizes": [500]}, "asks for 500 images.*has 200"),
        ({"sizes": [3]}, "cannot give the 5 candidates"),
        ({"distances": ["l1"]}, "unknown distance 'l1'.*cosine, l2"),
    ],
)
def test_errors_in_words(tmp_path, world, changes, words):
    with pytest.raises(ValueError, match=words):
        search(tmp_path, world, **changes)


def stream(queries, references, distance, k, block):
    top = TopK(len(queries), k)
    for start in range(0, len(references), block):
        rows = len(references[start : start + block])
        offer(
            {"all": top},
            queries=queries,
            first_query=0,
            references=references[start : start + block],
            reference_index=np.arange(start, start + rows),
            members={"all": np.arange(rows)},
            distance=distance,
        )
    return top


@pytest.mark.parametrize("distance", DISTANCES)
def test_agrees_with_faiss(distance):
    generator = np.random.default_rng(5)
    queries = generator.normal(1, 2, (50, 64)).astype(np.float32)
    references = generator.normal(1, 2, (700, 64)).astype(np.float32)
    top = stream(torch.from_numpy(queries), torch.from_numpy(references), distance, 7, 100)
    if distance == "cosine":
        queries, references = queries.copy(), references.copy()
        faiss.normalize_L2(queries)
        faiss.normalize_L2(references)
    index = faiss.IndexFlatL2(64) if distance == "l2" else faiss.IndexFlatIP(64)
    index.add(references)
    values, neighbours = index.search(queries, 7)
    assert (neighbours == top.index).mean() > 0.99  # faiss rounds to float32
    sign = 1 if distance == "l2" else -1
    np.testing.assert_allclose(sign * values, top.cost, rtol=1e-4)


def test_ties_go_to_the_first_reference():
    references = torch.ones(6, 4)
    for block in (1, 2, 6):
        top = stream(torch.zeros(2, 4), references, "l2", 3, block)
        assert top.index.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_far_from_the_origin_the_order_is_still_exact():
    """A common offset cancels badly in a float32 product; candidates are measured in float64."""
    generator = np.random.default_rng(0)
    queries = torch.from_numpy(generator.normal(300, 0.05, (20, 128)).astype(np.float32))
    references = torch.from_numpy(generator.normal(300, 0.05, (300, 128)).astype(np.float32))
    top = stream(queries, references, "l2", 5, 64)
    exact = (queries.double()[:, None] - references.double()[None]).square().sum(-1)
    assert (torch.from_numpy(top.index) == exact.topk(5, largest=False).indices).all()


def cases():
    return json.loads((REFERENCE / "ifid_pipeline.json").read_text()).items()


@pytest.mark.parametrize("name, case", cases())
def test_neighbours_of_the_official_loop(name, case, recipe_normal):
    stored = np.load(REFERENCE / "ifid_pipeline.npz")
    pool = recipe_normal(f"ifid_pipeline/{name}/ref", (120, *case["shape"]), 2.0, 0.3)
    query = recipe_normal(f"ifid_pipeline/{name}/query", (40, *case["shape"]), 2.0, 0.3)
    distance = "l2" if case["intp"] == "linear" else "cosine"
    top = stream(query.flatten(1), pool.flatten(1), distance, case["top"], 50)
    np.testing.assert_array_equal(top.index, stored[f"{name}/neighbours"])
    np.testing.assert_allclose(
        top.cost, stored[f"{name}/costs"], atol=1e-2 if distance == "l2" else 1e-5
    )
