"""Limits that follow from what a job has to do."""

import pytest
from small_study import CONFIG

from seesaw.limits import job_minutes, latents_mb

TRAIN = {"source": "train", "network": "inception"}


@pytest.mark.parametrize(
    ("wildcards", "least", "attempt", "minutes"),
    [
        (TRAIN, 1, 1, 43),  # three times 1,281,167 images at 1500 a second
        (TRAIN, 1, 2, 86),
        (TRAIN, 120, 1, 120),
        ({"source": "kl", "network": "inception"}, 1, 1, 2),  # 50,000
        ({"source": "unknown", "network": "inception"}, 120, 2, 240),
    ],
)
def test_minutes_follow_the_images(wildcards, least, attempt, minutes):
    splits = {**CONFIG["data"]["splits"], "unknown": {"source": "folder", "path": "x"}}
    config = {**CONFIG, "data": {**CONFIG["data"], "splits": splits}}
    found = job_minutes("extract_conditions", wildcards, config, least=least, attempt=attempt)
    assert found == minutes


def test_an_autoencoder_that_nobody_knows_the_cost_of_gets_the_least():
    options = {"config": CONFIG, "least": 120, "attempt": 1}
    assert job_minutes("reconstruct_images", {"autoencoder": "own"}, **options) == 120
    assert job_minutes("reconstruct_images", {"autoencoder": "kl"}, **options) == 120
    slow = {**CONFIG["autoencoders"][0], "gflops": {"encode": 20_000, "decode": 10_000}}
    config = {**CONFIG, "autoencoders": [slow]}
    found = job_minutes("reconstruct_images", {"autoencoder": "kl"}, config, least=120, attempt=1)
    assert found == 3 * 50_000 / 60  # a second each, three times


def test_what_cannot_be_estimated_stops_no_run(tmp_path):
    """A manifest that was cut, and options of an autoencoder that lack what is counted."""
    options = {"least": 120, "attempt": 1}
    config = {**CONFIG, "pathvars": {"results": str(tmp_path)}}
    (tmp_path / "data/train").mkdir(parents=True)
    (tmp_path / "data/train/manifest.json").touch()
    assert job_minutes("extract_conditions", TRAIN, config, **options) == 120
    (tmp_path / "data/train/manifest.json").write_text('{"n": 10000000}')
    assert job_minutes("extract_conditions", TRAIN, config, **options) == 334
    odd = {**CONFIG["autoencoders"][0], "config": {"resolution": 256, "official": {}}}
    config = {**CONFIG, "autoencoders": [odd]}
    assert job_minutes("reconstruct_images", {"autoencoder": "kl"}, config, **options) == 120


def test_memory_of_latents():
    assert latents_mb({"latent_shape": [768, 16, 16]}, 10_000) == 7865
    assert latents_mb({"family": "module:Class"}, 10_000) == 0
