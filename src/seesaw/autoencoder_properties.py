"""The table of what an autoencoder is and costs: size, speed, memory, statistics of its latents."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from seesaw.score_table import UNDEFINED

NOT_MEASURED = "not measured"


def autoencoder_properties(autoencoders: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A row per autoencoder.

    Args:
        autoencoders: name -> ``family``; ``manifest``, that of its reconstructions; ``speed``, as
            :func:`seesaw.speed.speed` wrote it.

    Returns:
        Latent shape, numbers in a latent, and how many numbers of the image (3 channels) there are
        for one of them; parameters of encoder and decoder together; images per second, memory, and
        on what they were measured; mean, standard deviation and excess kurtosis of the latents, and
        how far channels differ; numbers that were NaN or infinite; share of the decoded values that
        were clipped to [-1, 1]; images. A cell says ``undefined`` where all latents are equal, and
        ``not measured`` where a class is no torch module, so that its parameters cannot be seen.
    """
    table = pd.DataFrame([_row(name, entry) for name, entry in autoencoders.items()])
    return table if (table["Remark"] != "").any() else table.drop(columns="Remark")


def _row(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    manifest, speed = entry["manifest"], entry["speed"]
    meta = manifest["meta"]
    latents, shape = meta["latents"], meta["latent_shape"]
    numbers = math.prod(shape)
    threads = speed["threads"]
    return {
        "Autoencoder": name,
        "Family": entry["family"],
        "Latent shape": " x ".join(map(str, shape)),
        "Numbers per latent": numbers,
        "Compression (numbers of the image / of the latent)": (
            math.prod(manifest["fields"]["images"]["shape"]) / numbers
        ),
        "Parameters": _said(meta["parameters"], NOT_MEASURED),
        "Encoding [images/s]": speed["encode"]["images_per_second"],
        "Decoding [images/s]": speed["decode"]["images_per_second"],
        "Peak memory [GB]": speed["peak_bytes"] / 1e9,
        "Peak memory of": speed["peak_of"],
        "Device": speed["device"] + (f", threads: {threads}" if threads else ""),
        "Dtype": _said(speed["dtype"], NOT_MEASURED),
        "Batch size": speed["encode"]["batch_size"],
        "Latent mean": latents["mean"],
        "Latent std": latents["std"],
        "Latent excess kurtosis": _said(latents["excess_kurtosis"], UNDEFINED),
        "Smallest channel std": min(latents["channel_std"]),
        "Largest channel std": max(latents["channel_std"]),
        "Excess kurtosis within channels (median)": _median(latents["channel_excess_kurtosis"]),
        "NaN or infinite": latents["not_finite"],
        "Clipped share": meta["clipped_share"],
        "n images": manifest["n"],
        "Remark": "" if speed["encode"]["warmed_up"] else "speed of a single batch, not warmed up",
    }


def _said(value: Any, otherwise: str) -> Any:
    return otherwise if value is None else value


def _median(values: list[float | None]) -> float | str:
    """Median over the channels that have a kurtosis."""
    there = [value for value in values if value is not None]
    return float(np.median(there)) if there else UNDEFINED
