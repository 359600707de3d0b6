"""Tables of the generating half: what gFID selects, and what goes along with it.

As in :mod:`seesaw.tables`: scores in, data frame out; n, interval and p beside every correlation;
duplicated weights count once.
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from seesaw.registry import LOSSES
from seesaw.score_table import (
    UNDEFINED,
    describe,
    distinct,
    gfid_curve,
    label,
    measured,
    pool,
    sample_sets,
    shown,
    values,
    worse,
)
from seesaw.stats import correlate
from seesaw.tables import SHORT, both_correlations, correlation_cells

REPORTED = ("rfid", "psnr", "lpips", "ssim")
"""Metrics whose reporting Table 1 of Seesaw surveys."""
COMPARED = ("psnr", "ssim", "ms-ssim", "lpips", "kid", "rfid", "fd-infinity", "fdd")
GENERATION = ("gfid", "gkid", "inception-score", "precision", "recall")


def drift_metric(scores: pd.DataFrame) -> str | None:
    """The condition drift to show alone: spatial, or the first that was measured."""
    return next(iter(measured(scores, ("spatial", "canny", "depth", "segmentation"))), None)


def table1(scores: pd.DataFrame) -> pd.DataFrame:
    """The question of Seesaw Table 1 put to this run: who is measured how, and who is selected.

    The paper surveys publications; a run cannot. Here each autoencoder has its rank by gFID, iFID,
    rFID, PSNR and condition drift (1 is best, equal values share a rank), and the last column names
    the metrics that would select it from the pool.
    """
    scores = distinct(scores)
    table = pool(scores).reset_index()[["autoencoder", "group"]]
    table.columns = ["Model", "Group"]
    for metric in REPORTED:
        there = values(scores, metric).notna()
        table[f"{label(metric)} measured"] = there.map({True: "yes", False: "no"}).to_numpy()
    drift = drift_metric(scores)
    selectors = measured(scores, ("gfid", "ifid", "rfid", "psnr", *([drift] if drift else [])))
    best: list[list[str]] = [[] for _ in range(len(table))]
    for metric in selectors:
        ranks = worse(scores, metric).rank(method="min").to_numpy()
        about = describe(scores, metric)
        network = f" ({about.network})" if about.network else ""
        count = int((~pd.isna(ranks)).sum())
        table[f"Rank by {about.label}, of {count}{network}"] = pd.array(ranks, dtype="Int64")
        for names, rank in zip(best, ranks, strict=True):
            names += [about.label] if rank == 1 else []
    table["Best by"] = [", ".join(names) for names in best]
    return table


def generation(scores: pd.DataFrame) -> pd.DataFrame:
    """Every generation metric of every set of samples: a row per autoencoder and set.

    gFID has a row per reference; Inception Score needs none, and precision, recall and gKID are
    against the evaluation split only, so they stand in that reference's row, IS in each.
    """
    sets = [s for s in sample_sets(scores) if s.variant]
    if not sets:
        return pd.DataFrame({"Note": ["gFID: not measured"]})
    autoencoders = pool(scores)
    there = [m for m in GENERATION if (scores["metric"] == m).any()]
    rows = []
    for s in sets:
        block = pd.DataFrame(
            {
                "Group": autoencoders["group"],
                "Autoencoder": autoencoders.index.to_series(),
                "Model": s.model,
                "Sampler": s.sampler,
                "Reference": s.reference,
            }
        )
        for metric in there:
            variant = f"{s.name} ref=none" if metric == "inception-score" else s.variant
            block[describe(scores, metric).header] = shown(scores, metric, variant)
        counted = scores[(scores["metric"] == "gfid") & (scores["variant"] == s.variant)]
        counts = counted.set_index("autoencoder")["n"]
        block["n samples"] = counts.reindex(autoencoders.index).astype("Int64")
        block["Duplicate of"] = autoencoders["duplicate_of"]
        rows.append(block[block["n samples"].notna()])
    table = pd.concat(rows, ignore_index=True)
    return table if table["Duplicate of"].any() else table.drop(columns="Duplicate of")


def ifid_table1(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Table 1 of the iFID paper: correlation of rFID and iFID with gFID(t), for each t.

    gFID(0) is rFID and gFID(1) gFID against the evaluation images. A row per model, metric and kind
    of correlation; every cell is followed by its n, interval and p.
    """
    scores = distinct(scores)
    models = dict.fromkeys(
        name.partition(" t=")[0] for name in scores.loc[scores["metric"] == "gfid-t", "variant"]
    )
    metrics = measured(scores, ("rfid", "ifid"))
    rows = []
    for model in models:
        curve = gfid_curve(scores, model)
        network = describe(scores, "gfid-t").network
        for metric in metrics:
            for short, method in SHORT.items():
                about = describe(scores, metric)
                row: dict[str, Any] = {
                    "Model": model,
                    "Metric": about.header,
                    "Correlation": short,
                }
                for t, found in curve.items():
                    both = correlate(values(scores, metric), found, method, seed)
                    row |= correlation_cells(f"gFID({t:g}) ({network})", both)
                rows.append(row)
    if not rows:
        missing = [] if models else ["gFID(t)"]
        missing += [label(m) for m in ("rfid", "ifid") if m not in metrics]
        return pd.DataFrame({"Note": [f"{', '.join(missing)}: not measured"]})
    return pd.DataFrame(rows)


def ifid_table2(
    scores: pd.DataFrame, autoencoders: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Table 2 of the iFID paper: the autoencoders of the run.

    Args:
        scores: checked scores.
        autoencoders: name -> ``family``, ``patch_size`` (of its diffusion model), ``latent_shape``
            and ``parameters`` (None if unknown).

    Returns:
        A row per autoencoder: latent shape, dimensions and tokens (dimensions of the latent; how
        many tokens the diffusion model sees), parameters, rFID and PSNR.
    """
    who = pool(scores)
    rows = []
    for name, labels in who.iterrows():
        entry = autoencoders[str(name)]
        shape, patch = list(entry["latent_shape"]), entry["patch_size"]
        grid = len(shape) == 3
        rows.append(
            {
                "Autoencoder": name,
                "Group": labels["group"],
                "Family": entry["family"],
                "Training": labels["training"],
                "Latent shape": " x ".join(map(str, shape)),
                "Latent dimensions": math.prod(shape),
                "Patch size": patch if grid else None,
                "Tokens": shape[1] * shape[2] // patch**2 if grid else shape[0],
                "Parameters": entry["parameters"],
            }
        )
    table = pd.DataFrame(rows).astype({"Patch size": "Int64", "Parameters": "Int64"})
    for metric in measured(scores, ("rfid", "psnr")):
        table[describe(scores, metric).header] = values(scores, metric).to_numpy()
    plain = scores[(scores["variant"] == "") & scores["metric"].isin(["rfid", "psnr"])]
    if len(plain):
        counts = plain.groupby("autoencoder")["n"].max().reindex(who.index)
        table["n images"] = counts.astype("Int64").to_numpy()
    if who["duplicate_of"].any():
        table["Duplicate of"] = who["duplicate_of"].to_numpy()
    return table


def ifid_table3(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Table 3 of the iFID paper: what goes along with gFID, per model and way to sample.

    Oriented as there: higher-is-better metrics change sign (``-PSNR``), so + means that both get
    worse together. The diffusion loss is that of the model whose gFID it is set beside. Rows repeat
    for each reference of gFID, the first is the one that the plain gFID stands for.
    """
    scores = distinct(scores)
    sets = sample_sets(scores)
    if not sets or not measured(scores, ["gfid"]):
        return pd.DataFrame({"Note": ["gFID: not measured"]})
    network_of_gfid = describe(scores, "gfid").network
    rows = []
    for reference in dict.fromkeys(s.reference for s in sets):
        members = [s for s in sets if s.reference == reference]
        for kind, name, network, metric, variant in _compared(scores):
            row: dict[str, Any] = {"Metric": name, "Network": network, "Kind": kind}
            if reference:
                row["Reference"] = reference
            undefined: dict[str, None] = {}
            for s in members:
                where = f"{s.model}{variant}" if metric == "diffusion-loss" else variant
                x = values(scores, metric, where)
                sign = -1 if describe(scores, metric).higher_is_better else 1
                gfid = values(scores, "gfid", s.variant)
                beside = f"with {' '.join(filter(None, ['gFID', s.name]))} ({network_of_gfid})"
                row |= both_correlations(beside, sign * x, gfid, seed)
                if metric in LOSSES:
                    words = shown(scores, metric, where)
                    undefined |= dict.fromkeys(words.index[words == UNDEFINED])
            row["Undefined for"] = ", ".join(undefined)
            rows.append(row)
    table = pd.DataFrame(rows)
    for header in [h for h in table if h.startswith(tuple(SHORT)) and f"{h}: n" in table]:
        none = (table["Undefined for"] != "") & table[header].isna() & (table[f"{header}: n"] == 0)
        if none.any():
            table[header] = table[header].astype(object).mask(none, UNDEFINED)
    return table if (table["Undefined for"] != "").any() else table.drop(columns="Undefined for")


def _compared(scores: pd.DataFrame) -> list[tuple[str, str, str, str, str]]:
    """What stands beside gFID: (kind, name, network, metric, variant)."""
    found = []

    def add(kind: str, metric: str, variant: str = "", words: str = "") -> None:
        about = describe(scores, metric)
        name = f"{'-' if about.higher_is_better else ''}{about.label}{words}"
        found.append((kind, name, about.network, metric, variant))

    for metric in measured(scores, COMPARED):
        add("reconstruction", metric)
    losses = set(scores.loc[scores["metric"] == "diffusion-loss", "variant"])
    for variant in ("", " unshifted"):
        if any(name.endswith(" unshifted") == bool(variant) for name in losses):
            add("other", "diffusion-loss", variant, f",{variant} times" if variant else "")
    for loss in (loss for loss in LOSSES if loss in set(scores["metric"])):
        add("other", loss)
        if loss == "eq-loss" and "rotations" in set(
            scores.loc[scores["metric"] == loss, "variant"]
        ):
            add("other", loss, "rotations", ", rotations")
    if measured(scores, ["ifid"]):
        add("other", "ifid")
    return found
