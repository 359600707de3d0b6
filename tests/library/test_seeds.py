"""Randomness per image: fixed by (seed, purpose, id) and by nothing else."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seesaw.metrics import shuffled_partners
from seesaw.seeds import generator_for, normal_per_image, seed_for, uniform_per_image

IDS = [f"im{i}" for i in range(50)]


def test_a_seed_is_the_first_eight_bytes_of_a_digest():
    digest = hashlib.sha256(b"7\0posterior\0im3").hexdigest()[:16]
    assert seed_for(7, "posterior", "im3") == int.from_bytes(bytes.fromhex(digest), "little")


def test_seeds_differ_by_each_part_and_parts_do_not_run_together():
    seeds = {
        seed_for(seed, purpose, image_id)
        for seed in (0, 1, 11)
        for purpose in ("a", "b", "1a")
        for image_id in ("x", "y", "ax")
    }
    assert len(seeds) == 27


def test_the_global_generator_is_left_alone():
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    normal_per_image((2,), seed=0, purpose="p", ids=IDS)
    shuffled_partners(IDS, 0)
    assert np.random.random() == expected  # noqa: NPY002


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 49), st.randoms(use_true_random=False))
def test_batches_and_order_change_no_noise(cut, random):
    whole = normal_per_image((3, 2), seed=5, purpose="p", ids=IDS)
    parts = [
        normal_per_image((3, 2), seed=5, purpose="p", ids=ids) for ids in (IDS[:cut], IDS[cut:])
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    order = list(range(50))
    random.shuffle(order)
    shuffled = normal_per_image((3, 2), seed=5, purpose="p", ids=[IDS[i] for i in order])
    np.testing.assert_array_equal(shuffled, whole[order])
    uniform = uniform_per_image(seed=5, purpose="p", ids=IDS)
    np.testing.assert_array_equal(
        uniform[order], uniform_per_image(seed=5, purpose="p", ids=[IDS[i] for i in order])
    )


def test_noise_is_standard_normal_and_uniform_is_uniform():
    ids = [str(i) for i in range(4000)]
    noise = normal_per_image((10,), seed=0, purpose="p", ids=ids)
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    # images are independent of each other
    assert abs(np.corrcoef(noise[:-1, 0], noise[1:, 0])[0, 1]) < 0.06
    uniform = uniform_per_image(seed=0, purpose="p", ids=ids)
    assert uniform.dtype == np.float64
    counts, _ = np.histogram(uniform, bins=10, range=(0, 1))
    # chi-squared with 9 degrees of freedom: 27.9 is its 0.999 quantile
    assert ((counts - 400) ** 2 / 400).sum() < 27.9


def test_one_image_has_one_generator():
    a, b = (generator_for(1, "p", "x").random(4) for _ in range(2))
    np.testing.assert_array_equal(a, b)


# -------------------------------------------------------------------------------- shuffled pairs


@settings(max_examples=30, deadline=None)
@given(st.sets(st.text(max_size=4), min_size=2, max_size=12), st.integers(0, 3))
def test_partners_are_one_cycle_without_fixed_points(ids, seed):
    ids = sorted(ids)
    partners = shuffled_partners(ids, seed)
    visited, at = [], 0
    for _ in ids:
        visited.append(at)
        at = int(partners[at])
    assert at == 0
    assert sorted(visited) == list(range(len(ids)))


def test_partners_do_not_depend_on_order():
    partner_of = dict(zip(IDS, (IDS[i] for i in shuffled_partners(IDS, 2))))
    backwards = IDS[::-1]
    again = dict(zip(backwards, (backwards[i] for i in shuffled_partners(backwards, 2))))
    assert again == partner_of
    assert partner_of != dict(zip(IDS, (IDS[i] for i in shuffled_partners(IDS, 3))))


@pytest.mark.parametrize("n", [0, 1])
def test_partners_of_almost_nobody(n):
    assert shuffled_partners(IDS[:n], 0).tolist() == list(range(n))
