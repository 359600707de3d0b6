"""Tables of protocols, on scores whose ranks and spreads are known."""

import itertools

import numpy as np
import pandas as pd
import pytest

from seesaw.protocol_tables import AXES, protocol_sweep, protocols, scored
from seesaw.protocols import PROTOCOLS, Protocol
from seesaw.score_table import check_scores, describe, network_label, values
from seesaw.tables import table5

NAMES = ["a", "b", "c", "d", "twin"]
UNITS = {"rfid": "1", "psnr": "dB", "ssim": "1", "lpips": "1"}


def row(name, metric, variant, value, network="", n=50):
    return {
        "autoencoder": name, "group": name, "training": "", "metric": metric, "variant": variant,
        "value": value, "n": n, "unit": UNITS[metric], "network": network,
        "higher_is_better": metric in ("psnr", "ssim"),
        "duplicate_of": "a" if name == "twin" else "",
    }  # fmt: skip


def swept(crop="adm", quantisation="float", resize="tf1", posterior="mean", reference="val"):
    return Protocol(
        crop=crop, quantisation=quantisation, resize=resize, posterior=posterior,
        reference=reference,
    ).sweep_variant  # fmt: skip


@pytest.fixture(scope="module")
def scores():
    """The protocol ``ifid`` turns the ranks of rFID round and keeps those of PSNR."""
    rows = []
    for i, name in enumerate(NAMES):
        rows += [row(name, metric, "", 10 + i, "inception") for metric in UNITS]
        rows += [row(name, "rfid", "ifid", 5 - i, "inception-bilinear")]
        rows += [row(name, "psnr", "ifid", 30 + i**2), row(name, "ssim", "ifid", 0.5)]
        rows += [row(name, "lpips", "ifid", np.nan, n=0)]
        for metric in UNITS:
            rows += [row(name, metric, "seesaw", 10 + i, "inception" if metric == "rfid" else "")]
    rows += [row("a", "psnr", "of-mean-mse", 1.0)]
    axes = [
        ("resize-center-crop", "adm"), ("uint8-round", "float"), ("tf1", "clean"),
        ("mean", "sample"), ("val", "adm-train"),
    ]  # fmt: skip
    factors = (3, 5, 7, 11, 13)
    for bits in itertools.product((0, 1), repeat=5):
        values = {axis: axes[k][bit] for k, (axis, bit) in enumerate(zip(AXES, bits))}
        factor = np.prod([f for f, bit in zip(factors, bits) if bit])
        rows += [row("b", "rfid", swept(**values), 2.0 * factor, "inception")]
    return check_scores(pd.DataFrame(rows))


def test_protocols_and_how_their_ranks_agree(scores):
    table = protocols(scores)
    assert scored(scores) == ["seesaw", "ifid"]
    body = table[table["Autoencoder"].isin(NAMES)].set_index(["Autoencoder", "Protocol"])
    assert len(body) == 2 * len(NAMES)
    assert body.loc[("c", "ifid"), "rFID"] == 3
    network = body.loc[("c", "ifid"), "rFID: network"]
    assert network == network_label("inception-bilinear") != "inception-bilinear"
    assert np.isnan(body.loc[("c", "ifid"), "LPIPS"])
    assert body.loc[("c", "ifid"), "n"] == 50
    (last,) = table[~table["Autoencoder"].isin(NAMES)].to_dict("records")
    assert (last["Autoencoder"], last["Protocol"]) == ("Spearman with seesaw", "ifid")
    assert last["rFID"] == pytest.approx(-1)
    assert last["PSNR [dB]"] == pytest.approx(1)
    assert np.isnan(last["SSIM"])  # all equal
    assert last["n"] == 4  # the twin counts once


def test_without_seesaw_the_first_is_compared_with(scores):
    rest = scores[scores["variant"] != "seesaw"]
    assert scored(rest) == ["ifid"]
    assert set(protocols(rest)["Autoencoder"]) == set(NAMES)
    assert "Note" in protocols(scores[scores["variant"] == ""])


def test_the_sweep_says_what_each_axis_moves(scores):
    table = protocol_sweep(scores)
    body = table[table["Autoencoder"] == "b"]
    assert len(body) == 32
    one = body[(body["Resize"] == "clean") & (body["Crop"] == "adm")].iloc[0]
    assert one["rFID"] == 2 * 21
    assert one["Difference to the run's"] == 2 * 21 - 11
    assert one["Ratio to the run's"] == pytest.approx(2 * 21 / 11)
    spreads = table[table["Autoencoder"] != "b"].set_index("Autoencoder")
    assert spreads["Largest / smallest"].tolist() == [3, 5, 7, 11, 13]
    assert (spreads["Smallest"] == 2).all()
    fixed = spreads.loc["b: resize alone"]
    assert fixed["Resize"] == "any"
    assert fixed["Values"] == 2
    wanted = PROTOCOLS["seesaw"].protocol
    assert fixed["Crop"] == wanted.crop
    assert fixed["Reference"] == "val"
    assert "Note" in protocol_sweep(scores[scores["variant"] == ""])


def test_an_axis_of_one_value_has_no_spread(scores):
    rest = scores[~scores["variant"].str.contains(" tf1 | ref=adm-train")]
    found = protocol_sweep(rest)["Autoencoder"].iloc[8:]
    assert found.tolist() == [f"b: {axis} alone" for axis in ("crop", "quantisation", "posterior")]


def test_without_the_runs_own_rfid_there_is_no_difference(scores):
    table = protocol_sweep(scores[~((scores["metric"] == "rfid") & (scores["variant"] == ""))])
    assert table["Difference to the run's"].isna().all()
    assert table["rFID"].notna().sum() == 32


def test_other_tables_keep_the_plain_metric(scores):
    assert values(scores, "rfid").tolist() == [10, 11, 12, 13, 14]
    assert describe(scores, "rfid").network == "Inception (FID weights)"
    assert not [c for c in table5(scores) if "sweep" in c or "ifid" in c]
