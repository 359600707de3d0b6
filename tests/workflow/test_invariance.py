"""The same scores however it is run: batch sizes, shard sizes, parts, cores, job order."""

import numpy as np
import pandas as pd
import pytest

from .conftest import SMOKE, snakemake


@pytest.fixture(scope="module")
def other(smoke, tmp_path_factory):
    """Two autoencoders of the smoke world, measured with other shards, batches, parts, cores."""
    import yaml

    folder = tmp_path_factory.mktemp("other")
    config = yaml.safe_load(SMOKE.read_text())
    config["pathvars"]["results"] = str(folder / "results")
    config["data"]["shard_size"] = 77
    config["autoencoders"] = [config["autoencoders"][0], config["autoencoders"][-1]]
    config["report"]["items"] = ["table5"]
    config["networks"].pop("depth")
    for left_out in ("depth", "dino"):  # to save time
        config["metrics"].remove(left_out)
    config["probes"]["conditions"] = config["control"]["conditions"] = ["canny"]
    config["neighbours"]["parts"] = 3
    for entry in config["autoencoders"]:
        del entry["train"]
        entry["weights"] = str(smoke / f"autoencoders/{entry['name']}/weights.safetensors")
    for player in config["networks"].values():
        if player.pop("train", None):
            player["weights"] = str(smoke / f"networks/{player['network']}/weights.safetensors")
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    batches = [
        f"{rule}:batch_size={size}"
        for rule, size in {
            "reconstruct_images": 19,
            "extract_conditions": 31,
            "score_metric": 23,
            "score_protocols": 15,
            "find_neighbours": 41,
            "score_ifid": 13,
            "score_diffusability": 17,
            "sample_images": 29,
            "score_gfid_times": 21,
            "sample_control": 11,
        }.items()
    ]
    table = folder / "results/tables/scores.csv"
    snakemake(table, "--cores", "1", "--set-resources", *batches, "--configfile", path)
    return pd.read_csv(table), pd.read_csv(smoke / "tables/scores.csv")


def test_the_same_scores(other):
    changed, plain = (t.set_index(["autoencoder", "metric", "variant"]) for t in other)
    assert set(changed.index) < set(plain.index)
    assert len(changed) > 40
    plain = plain.loc[changed.index]
    np.testing.assert_array_equal(changed["n"], plain["n"])
    difference = (changed["value"] - plain["value"]).abs() / plain["value"].abs().clip(lower=1)
    assert difference.max() < 1e-5, difference.sort_values().tail(10)


def test_most_of_them_to_the_last_bit(other):
    changed, plain = (t.set_index(["autoencoder", "metric", "variant"])["value"] for t in other)
    assert (changed == plain.loc[changed.index]).mean() > 0.5
