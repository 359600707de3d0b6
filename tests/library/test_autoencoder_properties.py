"""The table of what an autoencoder is and costs, by hand."""

import copy
import math

from seesaw.autoencoder_properties import autoencoder_properties

SPEED = {
    "device": "GPU X",
    "threads": None,
    "dtype": "bfloat16",
    "torch": "2.0",
    "encode": {"images_per_second": 200.0, "images": 90, "seconds": 0.45, "batch_size": 32,
               "warmed_up": True, "peak_bytes": 10},
    "decode": {"images_per_second": 80.0, "images": 90, "seconds": 1.125, "batch_size": 32,
               "warmed_up": True, "peak_bytes": 2_500_000_000},
    "peak_bytes": 2_500_000_000,
    "peak_of": "tensors on the GPU",
}  # fmt: skip
GRID = {
    "family": "diffusers-kl",
    "manifest": {
        "n": 122,
        "fields": {"images": {"dtype": "uint8", "shape": [3, 32, 32]}},
        "meta": {
            "latent_shape": [4, 8, 8],
            "parameters": 12345,
            "clipped_share": 0.01,
            "latents": {
                "mean": 0.5, "std": 2.0, "excess_kurtosis": 1.5,
                "channel_mean": [0.5, 0.5, 0.5, 0.5],
                "channel_std": [1.0, 0.0, 3.0, 2.0],
                "channel_excess_kurtosis": [0.25, None, -1.0, 4.0],
                "numbers": 31232, "not_finite": 0,
            },
        },
    },
    "speed": SPEED,
}  # fmt: skip


def own():
    """A person's class that is no torch module, with latents that are all alike, on a CPU."""
    entry = copy.deepcopy(GRID)
    entry["family"] = "mine:Own"
    entry["manifest"]["meta"] |= {
        "latent_shape": [16, 12],
        "parameters": None,
        "latents": {
            "mean": 1.0, "std": 0.0, "excess_kurtosis": None, "channel_mean": [1.0] * 12,
            "channel_std": [0.0] * 12, "channel_excess_kurtosis": [None] * 12,
            "numbers": 23424, "not_finite": 0,
        },
    }  # fmt: skip
    entry["speed"] |= {"device": "CPU Y", "threads": 2, "dtype": None}
    entry["speed"]["encode"]["warmed_up"] = False
    return entry


def test_every_cell_by_hand():
    table = autoencoder_properties({"grid": GRID})
    assert table.to_dict("records") == [
        {
            "Autoencoder": "grid",
            "Family": "diffusers-kl",
            "Latent shape": "4 x 8 x 8",
            "Numbers per latent": 256,
            "Compression (numbers of the image / of the latent)": 12.0,
            "Parameters": 12345,
            "Encoding [images/s]": 200.0,
            "Decoding [images/s]": 80.0,
            "Peak memory [GB]": 2.5,
            "Peak memory of": "tensors on the GPU",
            "Device": "GPU X",
            "Dtype": "bfloat16",
            "Batch size": 32,
            "Latent mean": 0.5,
            "Latent std": 2.0,
            "Latent excess kurtosis": 1.5,
            "Smallest channel std": 0.0,
            "Largest channel std": 3.0,
            "Excess kurtosis within channels (median)": 0.25,
            "NaN or infinite": 0,
            "Clipped share": 0.01,
            "n images": 122,
        }
    ]


def test_what_cannot_be_seen_is_said_in_words():
    table = autoencoder_properties({"grid": GRID, "own": own()}).set_index("Autoencoder")
    row = table.loc["own"]
    assert row["Parameters"] == row["Dtype"] == "not measured"
    assert row["Latent excess kurtosis"] == "undefined"
    assert row["Excess kurtosis within channels (median)"] == "undefined"
    assert row["Device"] == "CPU Y, threads: 2"
    assert math.isclose(row.iloc[3], 3072 / 192)
    assert table["Remark"].tolist() == ["", "speed of a single batch, not warmed up"]
    assert table.loc["grid", "Parameters"] == 12345
