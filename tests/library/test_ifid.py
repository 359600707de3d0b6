"""iFID: interpolations, the draw, and the official loop."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from seesaw.ifid import (
    Variant,
    draw_neighbours,
    interpolate,
    linear,
    mask,
    neighbour_weights,
    slerp,
)
from seesaw.metrics.frechet import frechet_distance, statistics

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.mark.parametrize("name", ["linear", "slerp", "mask"])
@pytest.mark.parametrize("shape", [(4, 3, 6, 6), (4, 9, 5)])
def test_ends(name, shape):
    z, other = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    assert interpolate(name, z, other, 0.0) is z
    torch.testing.assert_close(interpolate(name, z, other, 1.0), other, atol=1e-5, rtol=1e-5)


def test_slerp_keeps_the_norm_of_equal_norms():
    z, other = torch.randn(2, 8, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    z, other = (x / x.flatten(1).norm(dim=1)[:, None, None, None] for x in (z, other))
    for alpha in (0.2, 0.5, 0.9):
        norms = slerp(z, other, alpha).flatten(1).norm(dim=1)
        torch.testing.assert_close(norms, torch.ones(8), atol=1e-5, rtol=0)


def test_slerp_of_parallel_latents_is_linear():
    z = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(slerp(z, 2 * z, 0.5), linear(z, 2 * z, 0.5), atol=1e-3, rtol=1e-3)


def test_mask_replaces_the_first_rows_or_tokens():
    grid, tokens = torch.zeros(1, 2, 5, 4), torch.zeros(1, 7, 3)
    assert mask(grid, grid + 1, 0.5)[0, 0, :, 0].tolist() == [1, 1, 0, 0, 0]
    assert mask(tokens, tokens + 1, 0.5)[0, :, 0].tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert not grid.any()


@pytest.mark.parametrize("name", ["general_2d", "general_1d"])
def test_slerp_of_the_official_code(name, recipe_normal):
    stored = np.load(REFERENCE / "slerp.npz")
    shape = stored[f"{name}/out_0.5"].shape
    z = recipe_normal(f"slerp/{name}/z1", shape, 1.5, 0.0)
    other = recipe_normal(f"slerp/{name}/z2", shape, 1.5, 0.2)
    for alpha in (0.3, 0.5):
        np.testing.assert_allclose(slerp(z, other, alpha), stored[f"{name}/out_{alpha}"], atol=1e-5)


@pytest.mark.parametrize(
    "name, case", json.loads((REFERENCE / "ifid_pipeline.json").read_text()).items()
)
def test_the_official_loop(name, case, recipe_normal):
    stored = np.load(REFERENCE / "ifid_pipeline.npz")
    pool = recipe_normal(f"ifid_pipeline/{name}/ref", (120, *case["shape"]), 2.0, 0.3)
    query = recipe_normal(f"ifid_pipeline/{name}/query", (40, *case["shape"]), 2.0, 0.3)
    nearest = stored[f"{name}/neighbours"]
    msd = (query[:, None] - pool[nearest.astype(int)]).double().square().flatten(2).mean(2)
    np.testing.assert_allclose(neighbour_weights(msd.numpy()), stored[f"{name}/weights"], atol=1e-5)
    rows = np.arange(40)
    chosen = nearest[rows, (rows % 25) % case["top"]].astype(int)
    mixed = interpolate(case["intp"], query, pool[chosen], case["alpha"])
    if case["intp"] == "mask":
        mixed = interpolate("mask", query, pool[chosen], 0.5)
    np.testing.assert_allclose(mixed[::4], stored[f"{name}/interpolated"], atol=3e-5)
    features = [((x.flatten(1) + 1) / 2)[:, :16].numpy() for x in (query, mixed)]
    ours = frechet_distance(*map(statistics, features))
    assert ours == pytest.approx(float(stored[f"{name}/ifid"]), abs=3e-4)


def neighbour_table(msd, references="all", distance="cosine"):
    n, k = msd.shape
    return pd.DataFrame(
        {
            "distance": distance,
            "references": references,
            "query": np.repeat([f"q{i}" for i in range(n)], k),
            "rank": np.tile(np.arange(k), n),
            "neighbour": [f"r{i}-{j}" for i in range(n) for j in range(k)],
            "cost": 0.0,
            "msd": msd.ravel(),
        }
    )


def test_draw_follows_its_weights_and_the_ids_only():
    msd = np.tile([0.0, np.log(3.0)], (4000, 1))  # weights 3/4 and 1/4
    table = neighbour_table(msd)
    ids = [f"q{i}" for i in range(4000)]
    drawn = draw_neighbours(table, ids, ("cosine", 2, "all"), 0)
    share = np.mean([name.endswith("-0") for name in drawn])
    assert share == pytest.approx(0.75, abs=0.03)
    back = draw_neighbours(table.sample(frac=1, random_state=1), ids[::-1], ("cosine", 2, "all"), 0)
    assert back[::-1] == drawn
    assert draw_neighbours(table, ids, ("cosine", 2, "all"), 1) != drawn
    nearest = draw_neighbours(table, ids, ("cosine", 1, "all"), 0)
    assert all(name.endswith("-0") for name in nearest)


def test_draw_asks_for_what_the_table_lacks():
    table = neighbour_table(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="needs 5 cosine neighbours among all references"):
        draw_neighbours(table, ["q0", "q1", "q2"], ("cosine", 5, "all"), 0)


def test_variants_say_what_they_are():
    variant = Variant(interpolation="linear", alpha=0.5, k=1, references=500)
    assert variant.name == "linear alpha=0.5 k=1 n=500"
    assert variant.distance == "l2"
    assert Variant(interpolation="mask", alpha=0.5, k=1, references="all").distance == "cosine"
