"""The tables of the papers side by side, autoencoders joined by identity."""

import pandas as pd

from seesaw.published.data import TABLE2, TABLE5, autoencoders, read
from seesaw.score_table import label

SEESAW = "Seesaw"
IFID = "iFID Readme"
SPECTRUM = "Latent spectrum (Diffusability: no table per autoencoder)"
CONTROL = {"controlnet_fid": "FID under control", "controlnet_l1": "L1 under control"}
COUNT = "Published values"


def cross_paper() -> pd.DataFrame:
    """Everything that is published of each autoencoder, one column per measure and source.

    None of the papers has this view. Rows are the 41 autoencoders of any table, by registry name,
    those with values from both papers first; a cell that no paper fills stays empty, and the last
    row and column count the filled ones. Of *Improving the Diffusability of Autoencoders* no value
    per autoencoder could be read: its column is empty, and says so.

    Returns:
        ``Autoencoder``, ``Family``, ``Duplicate of``, a column ``measure (source)`` each, and
        :data:`COUNT`; FIDs and losses as printed, not oriented.
    """
    known = autoencoders()
    parts = [
        _columns("seesaw_table5", "weight_name", "seesaw_table5", TABLE5, f"{SEESAW} Table 5"),
        _columns("seesaw_table2", "model", "seesaw_table2", _only_table2(), f"{SEESAW} Table 2"),
        _control(),
        _columns(
            "ifid_readme_benchmark",
            "vae",
            "ifid_benchmark",
            {"ifid": "ifid", "gfid_xl_no_cfg": "gFID SiT-XL", "gfid_b_no_cfg": "gFID SiT-B"},
            IFID,
        ),
    ]
    table = pd.concat([part.reindex(known.index) for part in parts], axis=1)
    table[SPECTRUM] = float("nan")
    papers = (known[["seesaw_table5", "ifid_benchmark"]] != "").sum(axis=1)
    count = table.notna().sum(axis=1)
    below = table.notna().sum()
    table.insert(0, "Family", known["family"])
    table.insert(1, "Duplicate of", known["duplicate_of"])
    table[COUNT] = count
    table = table.loc[papers.sort_values(ascending=False, kind="stable").index]
    table = table.astype(object)  # so that counts below measurements stay whole numbers
    table.insert(0, "Autoencoder", table.index)
    last = {"Autoencoder": COUNT, "Family": "", "Duplicate of": "", **below, COUNT: below.sum()}
    return pd.concat([table, pd.DataFrame([last])], ignore_index=True)


def _only_table2() -> dict[str, str]:
    return {column: metric for column, metric in TABLE2.items() if metric not in TABLE5.values()}


def _columns(
    source: str, key: str, column: str, metrics: dict[str, str], words: str
) -> pd.DataFrame:
    """Columns of a published table under readers' names, indexed by registry name."""
    known = autoencoders()[column]
    names = {printed: name for name, printed in known.items() if printed}
    table = read(source).set_index(key)
    table.index = table.index.map(names)
    return table[list(metrics)].rename(
        columns={column: f"{label(metric)} ({words})" for column, metric in metrics.items()}
    )


def _control() -> pd.DataFrame:
    known = autoencoders()["seesaw_table2"]
    names = {printed: name for name, printed in known.items() if printed}
    wide = read("seesaw_table3").pivot(index="ae", columns="condition", values=list(CONTROL))
    wide.index = wide.index.map(names)
    wide.columns = [
        f"{CONTROL[m]}, {condition} ({SEESAW} Table 3)" for m, condition in wide.columns
    ]
    return wide
