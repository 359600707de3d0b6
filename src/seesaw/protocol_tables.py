"""Tables of the same autoencoders under several protocols: data frame in, data frame out.

``scores`` as in :mod:`seesaw.tables`. A protocol's numbers are the variants of ``rfid``, ``psnr``,
``ssim`` and ``lpips`` that carry its name; those of the sweep are called ``sweep ...``.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from seesaw.protocols import PROTOCOLS
from seesaw.score_table import describe, distinct, network_label, pool, values
from seesaw.stats import correlate

METRICS = ("rfid", "psnr", "ssim", "lpips")
SWEPT = re.compile(
    r"sweep (?P<crop>\S+) (?P<quantisation>\S+) (?P<resize>\S+) (?P<posterior>\S+) "
    r"ref=(?P<reference>\S+)"
)
AXES = ("crop", "quantisation", "resize", "posterior", "reference")
ANY = "any"


def protocols(scores: pd.DataFrame) -> pd.DataFrame:
    """Every autoencoder by every protocol, then each protocol's ranks against the first one's.

    Returns:
        A row per autoencoder and protocol: rFID, PSNR, SSIM and LPIPS, the networks they rest on,
        n images. Then a row per protocol but the first: Spearman's rank correlation of its column
        with the first one's (``seesaw`` where that is scored), over the distinct autoencoders that
        have both; n of them.
    """
    names = scored(scores)
    if not names:
        return pd.DataFrame({"Note": ["no protocol was scored"]})
    headers = {metric: describe(scores, metric).quantity for metric in METRICS}
    rows = []
    for autoencoder in pool(scores).index:
        own = scores[scores["autoencoder"] == autoencoder]
        for name in names:
            found = own[(own["variant"] == name) & own["metric"].isin(METRICS)]
            if found.empty:
                continue
            by_metric = found.set_index("metric")
            row: dict[str, Any] = {"Autoencoder": autoencoder, "Protocol": name}
            for metric in METRICS:
                row[headers[metric]] = by_metric["value"].get(metric, np.nan)
                if metric in ("rfid", "lpips"):
                    network = network_label(by_metric["network"].get(metric, ""))
                    row[f"{headers[metric]}: network"] = network
            row["n"] = int(by_metric["n"].max())
            rows.append(row)
    first, apart = names[0], distinct(scores)
    for name in names[1:]:
        row = {"Autoencoder": f"Spearman with {first}", "Protocol": name}
        found = {m: correlate(values(apart, m, name), values(apart, m, first)) for m in METRICS}
        row |= {headers[m]: np.nan if c.value is None else c.value for m, c in found.items()}
        row["n"] = min((c.n for c in found.values() if c.value is not None), default=0)
        rows.append(row)
    return pd.DataFrame(rows).astype({"n": "Int64"})


def scored(scores: pd.DataFrame) -> list[str]:
    """Protocols of the scores by name, ``seesaw`` first, else as given."""
    rows = scores[(scores["metric"] == "rfid") & (scores["variant"] != "")]
    names = [name for name in dict.fromkeys(rows["variant"]) if not SWEPT.fullmatch(name)]
    return sorted(names, key=lambda name: name != "seesaw")


def protocol_sweep(scores: pd.DataFrame) -> pd.DataFrame:
    """RFID under every protocol of the sweep, then what each axis alone moves.

    Returns:
        A row per autoencoder and protocol: its axes, rFID, n, difference and ratio to the run's own
        rFID. Then a row per autoencoder and axis that varies: the others are as in the protocol
        ``seesaw`` (or the first of the sweep where that value is not in it), the axis itself is
        ``any``; smallest and largest rFID and their ratio.
    """
    rows, spreads = [], []
    chosen = scores[(scores["metric"] == "rfid") & scores["variant"].str.startswith("sweep ")]
    if chosen.empty:
        return pd.DataFrame({"Note": ["no sweep was scored"]})
    header = describe(scores, "rfid").quantity
    for autoencoder in dict.fromkeys(chosen["autoencoder"]):
        own = values(scores, "rfid")[autoencoder]
        part = chosen[chosen["autoencoder"] == autoencoder]
        found = [
            {**SWEPT.fullmatch(variant).groupdict(), "value": value, "n": n, "network": network}
            for variant, value, n, network in zip(
                part["variant"], part["value"], part["n"], part["network"], strict=True
            )
        ]
        rows += [
            {
                "Autoencoder": autoencoder,
                **{axis.capitalize(): row[axis] for axis in AXES},
                "Network": network_label(row["network"]),
                header: row["value"],
                "Difference to the run's": row["value"] - own,
                "Ratio to the run's": row["value"] / own if own else np.nan,
                "n": row["n"],
            }
            for row in found
        ]
        of_axes = [_spread(autoencoder, axis, found) for axis in AXES]
        spreads += [row for row in of_axes if row["Values"] > 1]
    return pd.DataFrame([*rows, *spreads]).astype({"n": "Int64"})


def _spread(autoencoder: str, axis: str, found: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The row of one axis: rFIDs that differ in it only."""
    fixed = {}
    for other in AXES:
        there = list(dict.fromkeys(row[other] for row in found))
        wanted = getattr(PROTOCOLS["seesaw"].protocol, other)
        fixed[other] = wanted if wanted in there else there[0]
    of_axis = [row for row in found if all(row[o] == fixed[o] for o in AXES if o != axis)]
    numbers = np.array([row["value"] for row in of_axis], np.float64)
    low, high = numbers.min(), numbers.max()
    return {
        "Autoencoder": f"{autoencoder}: {axis} alone",
        **{o.capitalize(): ANY if o == axis else fixed[o] for o in AXES},
        "Values": len(numbers),
        "Smallest": low,
        "Largest": high,
        "Largest / smallest": high / low if low else np.nan,
        "n": of_axis[0]["n"],
    }
