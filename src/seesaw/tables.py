"""The papers' tables, and ours, from the scores: data frame in, data frame out.

``scores`` is ``scores.csv`` as :func:`seesaw.score_table.read_scores_csv` reads it. A metric is in
a table as soon as it is in the scores; column headers name its unit and its network. Missing values
are NaN here, empty in the CSV. Autoencoders whose weights repeat another's (``duplicate_of``) stay
in the table of all results and are left out of everything that counts autoencoders.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd

from seesaw.registry import LOSSES
from seesaw.results import Score
from seesaw.score_table import (
    BASELINES,
    CONDITIONS,
    QUALITY,
    UNDEFINED,
    describe,
    distinct,
    label,
    left_out,
    measured,
    network_label,
    network_of,
    pool,
    sample_sets,
    shown,
    values,
    with_network,
    worse,
)
from seesaw.stats import Correlation, Method, correlate

SHORT: Mapping[str, Method] = {"PCC": "pearson", "SRCC": "spearman"}
CONTROL_SETTINGS = {
    "backbone": "Backbone (frozen)",
    "copied blocks": "Copied blocks",
    "trained parameters": "Trained parameters",
    "optimiser": "Optimiser",
    "lr": "Learning rate",
    "schedule": "Schedule",
    "batch_size": "Batch size",
    "accumulate": "Accumulated in parts",
    "clip": "Gradient clip",
    "label_dropout": "Label dropout",
    "precision": "Precision",
    "steps": "Steps",
    "epochs": "Epochs",
    "train images": "Training images",
    "last loss": "Last loss",
}
"""What the protocol of a control score calls a setting -> column of Table 4."""

VARIANT = re.compile(r"(?P<interpolation>\S+) alpha=(?P<alpha>\S+) k=(?P<k>\d+) n=(?P<n>\S+)")


def table5(scores: pd.DataFrame) -> pd.DataFrame:
    """Seesaw Table 5: every autoencoder with every metric, and per autoencoder its baselines.

    Column ``Row`` is ``autoencoder`` for the measurement itself; below, a block per baseline says
    what the drift would be for shuffled pairs and for an all-zero map.
    """
    metrics = measured(scores, (*QUALITY, *CONDITIONS))
    headers = {metric: describe(scores, metric).header for metric in metrics}
    blocks = [_block(scores, headers, "", "autoencoder")]
    for variant, name in BASELINES.items():
        block = _block(scores, headers, variant, name)
        block = block[block[list(headers.values())].notna().any(axis=1)]
        blocks += [block] if len(block) else []
    table = pd.concat(blocks, ignore_index=True)
    return table if table["Duplicate of"].any() else table.drop(columns="Duplicate of")


def _block(
    scores: pd.DataFrame, headers: Mapping[str, str], variant: str, name: str
) -> pd.DataFrame:
    """One row per autoencoder with its values of one variant, and what they are means over."""
    autoencoders = pool(scores)
    plain = scores[scores["variant"] == ""]
    counts = plain.pivot(index="autoencoder", columns="metric", values="n")
    counts = counts.reindex(autoencoders.index)
    faces = [metric for metric in ("identity", "face-recall") if metric in counts]
    samples = ["gfid", "gkid", "inception-score", "precision", "recall"]
    images = counts.drop(columns=[*faces, *samples], errors="ignore").max(axis=1)
    columns = {
        "Group": autoencoders["group"],
        "Autoencoder": autoencoders.index.to_series(),
        "Row": name,
    }
    for metric, header in headers.items():
        columns[header] = values(scores, metric, variant)
    columns["n images"] = images.astype("Int64")
    for metric in faces:
        columns[f"n {label(metric)}"] = counts[metric].astype("Int64")
    columns["Duplicate of"] = autoencoders["duplicate_of"]
    return pd.DataFrame(columns, index=autoencoders.index)


def table2(scores: pd.DataFrame) -> pd.DataFrame:
    """The measured columns of Seesaw Table 2, duplicates left out.

    Generation (gFID, IS, precision, recall), reconstruction, condition consistency and latent
    condition (Seesaw A.3); a column is there if it was measured. The last rows are the baselines,
    medians over the autoencoders.
    """
    scores = distinct(scores)
    generation = ("gfid", "inception-score", "precision", "recall")
    latent = ("latent-canny", "latent-depth")
    metrics = measured(
        scores, (*generation, "rfid", "psnr", "ssim", "lpips", *CONDITIONS[3:], *latent)
    )
    headers = {metric: describe(scores, metric).header for metric in metrics}
    table = pool(scores).reset_index()[["autoencoder", "group", "training"]]
    table.columns = ["Model", "Group", "Training"]
    for metric, header in headers.items():
        table[header] = values(scores, metric).to_numpy()
    below = []
    for variant, name in BASELINES.items():
        row = {
            header: values(scores, metric, variant).median() for metric, header in headers.items()
        }
        if not all(np.isnan(value) for value in row.values()):
            below.append({"Model": f"{name} (median of {len(table)})", **row})
    table = pd.concat([table, pd.DataFrame(below)], ignore_index=True) if below else table
    table.insert(3, "n images", _images(scores))
    return table


def table3(scores: pd.DataFrame) -> pd.DataFrame:
    """Seesaw Table 3: samples under control, a row per autoencoder and condition.

    FID of the samples, and the L1 between the condition that was given and the one found in the
    sample; beside it the L1 of chance (another image's sample), of an empty map, of samples of the
    same labels and noise without control, and of the autoencoder's own reconstructions, below which
    no sample can be expected to come. What was not measured is empty.
    """
    runs = _controlled(scores)
    if runs.empty:
        return pd.DataFrame({"Note": ["control: not measured"]})
    rows = []
    for _, run in runs.iterrows():
        found = scores[scores["autoencoder"] == run["autoencoder"]]
        of = {(row.metric, row.variant): row.value for row in found.itertuples()}
        whole = found[(found["metric"] == run["condition"]) & (found["variant"] == "")]["n"]
        condition, features = run["condition"], _network(found, "control-fid", run["condition"])
        rows.append(
            {
                "Group": run["group"],
                "Autoencoder": run["autoencoder"],
                "Backbone": run["backbone"],
                "Condition": f"{condition} ({network_label(run['network'])})",
                f"FID ({features})": of.get(("control-fid", condition)),
                f"FID without control ({features})": of.get(
                    ("control-fid", f"{condition} uncontrolled")
                ),
                "L1": of.get(("control-l1", condition)),
                "L1 of shuffled pairs": of.get(("control-l1", f"{condition} shuffled")),
                "L1 of an all-zero map": of.get(("control-l1", f"{condition} zero")),
                "L1 without control": of.get(("control-l1", f"{condition} uncontrolled")),
                "L1 of reconstructions": of.get((condition, "")),
                "n samples": int(run["n"]),
                "n reconstructions": int(whole.iloc[0]) if len(whole) else 0,
            }
        )
    return pd.DataFrame(rows)


def table4(scores: pd.DataFrame) -> pd.DataFrame:
    """Seesaw Table 4: how each branch of :func:`table3` was trained, as its file says."""
    runs = _controlled(scores)
    if runs.empty:
        return pd.DataFrame({"Note": ["control: not measured"]})
    table = pd.DataFrame({"Autoencoder": runs["autoencoder"], "Condition": runs["condition"]})
    for key, header in CONTROL_SETTINGS.items():
        table[header] = [settings.get(key, "") for settings in runs["settings"]]
    return table


def _controlled(scores: pd.DataFrame) -> pd.DataFrame:
    """Runs of the control experiment, autoencoders in the order of the pool."""
    rows = scores[(scores["metric"] == "control-l1") & ~scores["variant"].str.contains(" ")].copy()
    rows["condition"] = rows["variant"]
    rows["settings"] = [
        dict(part.split("=", 1) for part in text.split("; ") if "=" in part)
        for text in rows["protocol"]
    ]
    rows["backbone"] = [settings.get("backbone", "") for settings in rows["settings"]]
    place = {name: index for index, name in enumerate(pool(scores).index)}
    return rows.sort_values("autoencoder", key=lambda c: c.map(place), kind="stable")


def _network(scores: pd.DataFrame, metric: str, variant: str) -> str:
    chosen = scores[(scores["metric"] == metric) & (scores["variant"] == variant)]
    return network_label(chosen["network"].iloc[0]) if len(chosen) else ""


def _images(scores: pd.DataFrame) -> str:
    """How many images the scores are over, as text: ``2000``."""
    plain = scores[(scores["variant"] == "") & scores["metric"].isin(["psnr", "ssim", "rfid"])]
    counts = sorted(plain["n"].dropna().astype(int).unique())
    return "-".join(map(str, dict.fromkeys([counts[0], counts[-1]]))) if counts else ""


def correlations(
    scores: pd.DataFrame,
    seed: int = 0,
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    methods: Sequence[Method] = ("pearson", "spearman"),
) -> pd.DataFrame:
    """Both correlations of every quality metric with every condition and with each other.

    And of the diffusability losses, where there are some, with every quality metric.

    Oriented: the values of higher-is-better metrics change sign first, so + means that both get
    worse together. Duplicated weights count once. A value that rests on too few images counts as
    missing (:data:`seesaw.score_table.ENOUGH`), which the note says. Metrics that were not measured
    have a row that says so. p-values are not corrected for the number of pairs.

    Args:
        scores: checked scores.
        seed: of bootstrap and permutations.
        pairs: (x, y) metric names; default: all that the first line names.
        methods: ``"pearson"``, ``"spearman"``.

    Returns:
        Columns ``x``, ``y`` (metric names), ``x_network``, ``y_network``, then the fields of
        :class:`seesaw.stats.Correlation`.
    """
    scores = distinct(scores)
    if pairs is None:
        pairs = [(x, y) for x in QUALITY for y in CONDITIONS]
        pairs += list(itertools.combinations(QUALITY, 2))
        pairs += [(x, y) for x in LOSSES if x in set(scores["metric"]) for y in QUALITY]
    metrics = sorted({metric for pair in pairs for metric in pair})
    oriented = {metric: worse(scores, metric) for metric in measured(scores, metrics)}
    reasons = {metric: left_out(scores, metric) for metric in oriented}
    networks = {metric: network_of(scores, metric) for metric in metrics}
    rows = []
    for x, y in pairs:
        missing = [
            f"{label(metric)}: {_why_missing(scores, metric)}"
            for metric in (x, y)
            if metric not in oriented
        ]
        for method in methods:
            if missing:
                found = Correlation(value=None, n=0, method=method, note="; ".join(missing))
            else:
                found = correlate(oriented[x], oriented[y], method, seed)
                found = found.remarked(reasons[x], reasons[y])
            named = {"x": x, "y": y, "x_network": networks[x], "y_network": networks[y]}
            rows.append({**named, **asdict(found)})
    return pd.DataFrame(rows)


def _why_missing(scores: pd.DataFrame, metric: str) -> str:
    there = ((scores["metric"] == metric) & (scores["variant"] == "")).any()
    return f"{UNDEFINED} for every autoencoder" if there else "not measured"


def diffusability_losses(scores: pd.DataFrame) -> pd.DataFrame:
    """The losses of frozen autoencoders in Table 3 of the iFID paper, per autoencoder.

    Where a loss does not exist for an autoencoder, its cell says so and the last column why. The EQ
    loss has a second column, over rotations only, which exists for every grid.
    """
    autoencoders = pool(scores)
    columns = {"Group": autoencoders["group"], "Autoencoder": autoencoders.index.to_series()}
    plain = scores[scores["variant"] == ""]
    for loss in (loss for loss in LOSSES if loss in set(plain["metric"])):
        column = describe(scores, loss)
        columns[column.header] = shown(scores, loss)
        if loss == "eq-loss":
            rotations = shown(scores, loss, "rotations")
            columns[column.header.replace(column.label, f"{column.label}, rotations")] = rotations
    rows = plain[plain["metric"].isin(list(LOSSES))]
    if rows.empty:
        return pd.DataFrame({"Note": ["diffusability losses: not measured"]})
    columns["n images"] = rows.groupby("autoencoder")["n"].max().astype("Int64")
    undefined = rows[rows["value"].isna()]
    reasons = undefined["note"].str.removeprefix(f"{UNDEFINED}: ")
    reasons = undefined["metric"].map(label) + ": " + reasons
    if len(undefined):
        columns["Why undefined"] = reasons.groupby(undefined["autoencoder"]).agg("; ".join)
    return pd.DataFrame(columns, index=autoencoders.index)


def ifid_table4(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Table 4 of the iFID paper: interpolation, reference images and K, at the default alpha.

    Per variant: PCC and SRCC (value, n, interval, p) of iFID with rFID, with gFID if it was
    measured (of the first model, for each way to sample), and the rank agreement (SRCC) with the
    default variant; then iFID per autoencoder.
    """
    variants, default = _ifid_variants(distinct(scores))
    if default is not None:
        variants = variants[variants["alpha"] == default["alpha"]]
        variants = variants.sort_values(["interpolation", "n", "k"], key=_sweep_order)
    return _ifid_table(scores, variants, default, seed)


def ifid_table5(scores: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Table 5 of the iFID paper: interpolation strength alpha, at the default's other settings.

    Columns as in :func:`ifid_table4`. At alpha 0 iFID is rFID.
    """
    variants, default = _ifid_variants(distinct(scores))
    if default is not None:
        same = (variants[["interpolation", "k", "n"]] == default[["interpolation", "k", "n"]]).all(
            axis=1
        )
        variants = variants[same].sort_values("alpha")
    return _ifid_table(scores, variants, default, seed)


def _sweep_order(column: pd.Series) -> pd.Series:
    if column.name == "interpolation":
        order = {"linear": 0, "mask": 1, "slerp": 2}
        return column.map(lambda name: (order.get(name, 3), name))
    return column.replace("all", np.inf).astype(float)


def _ifid_variants(scores: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series | None]:
    """Settings of each iFID variant, and those of the one that the plain iFID stands for.

    Raises:
        ValueError: the plain iFID does not say which variant it is.
    """
    names = scores.loc[scores["metric"] == "ifid", "variant"].unique()
    found = {name: match for name in names if (match := VARIANT.fullmatch(name))}
    variants = pd.DataFrame(
        [match.groupdict() for match in found.values()],
        index=list(found),
        columns=["interpolation", "alpha", "k", "n"],
    ).astype({"alpha": float, "k": int})
    plain = values(scores, "ifid")
    if plain.isna().all() or variants.empty:
        return variants, None
    protocols = scores.loc[(scores["metric"] == "ifid") & (scores["variant"] == ""), "protocol"]
    named = {match[1] for text in protocols if (match := re.search(r"ifid=([^;]+)", str(text)))}
    if len(named) != 1 or not named <= set(variants.index):
        raise ValueError(
            f"the plain iFID must name one of its variants in its protocol (ifid=...), it names "
            f"{sorted(named) or 'none'}; the variants are {', '.join(variants.index)}"
        )
    return variants, variants.loc[named.pop()]


def _ifid_table(
    scores: pd.DataFrame, variants: pd.DataFrame, default: pd.Series | None, seed: int
) -> pd.DataFrame:
    scores = distinct(scores)
    if default is None:
        return pd.DataFrame({"Note": ["iFID: not measured"]})
    network = describe(scores, "ifid").network
    missing = [m for m in ("rfid", "gfid") if not measured(scores, [m])]
    others = {}
    if "rfid" not in missing:
        others[with_network(label("rfid"), network_of(scores, "rfid"))] = values(scores, "rfid")
    if "gfid" not in missing:
        first, *more = sample_sets(scores)
        for s in (first, *more):
            if (s.model, s.reference) == (first.model, first.reference):
                name = f"{label('gfid')} {s.name}".strip()
                name = with_network(name, network_of(scores, "gfid"))
                others[name] = values(scores, "gfid", s.variant)
    rows = []
    for name, setting in variants.iterrows():
        ifid = values(scores, "ifid", str(name))
        row = {
            "Interpolation": setting["interpolation"],
            "alpha": setting["alpha"],
            "K": setting["k"],
            "Reference images": setting["n"],
            "Name": "(iFID)" if name == default.name else "(rFID)" if setting["alpha"] == 0 else "",
        }
        for other, found in others.items():
            row |= both_correlations(f"with {other}", ifid, found, seed)
        row |= correlation_cells(
            "SRCC with default", correlate(ifid, values(scores, "ifid"), seed=seed)
        )
        row["Note"] = "; ".join(f"{label(m)}: not measured" for m in missing)
        rows.append(
            row | {with_network(f"iFID {ae}", network): value for ae, value in ifid.items()}
        )
    return pd.DataFrame(rows)


def both_correlations(
    name: str, x: pd.Series, y: pd.Series, seed: int
) -> dict[str, float | int | None]:
    """Cells ``PCC <name>`` and ``SRCC <name>``, each followed by its n, interval and p."""
    row: dict[str, float | int | None] = {}
    for short, method in SHORT.items():
        row |= correlation_cells(f"{short} {name}", correlate(x, y, method, seed))
    return row


def correlation_cells(name: str, found: Correlation) -> dict[str, float | int | None]:
    """Cells ``<name>``, ``<name>: n``, ``: low``, ``: high`` and ``: p``."""
    return {
        name: found.value,
        f"{name}: n": found.n,
        f"{name}: low": found.low,
        f"{name}: high": found.high,
        f"{name}: p": found.p,
    }


def network_quality(networks: Sequence[tuple[str, Sequence[Score]]]) -> pd.DataFrame:
    """How good each trained network is on held-out truth, beside chance.

    Args:
        networks: registry name and scores of each. A score's variant ``""`` is the network, any
            other one a baseline (``"chance"``, ``"constant"``).

    Returns:
        A row per quantity and baseline (one without baseline if there is none); ``Beats baseline``
        is ``yes``, ``no`` or empty.
    """
    rows = []
    for name, scores in networks:
        for plain in (score for score in scores if score.variant == ""):
            others = [s for s in scores if s.metric == plain.metric and s.variant != ""]
            for other in others or [None]:
                rows.append({"Network": network_label(name), **_quality_row(plain, other)})
    return pd.DataFrame(rows)


def _quality_row(plain: Score, baseline: Score | None) -> dict[str, object]:
    verdict = ""
    if baseline is not None and plain.value is not None and baseline.value is not None:
        gain = plain.value - baseline.value
        verdict = "yes" if (gain > 0) == plain.higher_is_better and gain != 0 else "no"
    return {
        "Quantity": label(plain.metric),
        "Unit": "" if plain.unit == "1" else plain.unit,
        "Better": "higher" if plain.higher_is_better else "lower",
        "Value": plain.value,
        "Baseline": "" if baseline is None else baseline.variant,
        "Baseline value": None if baseline is None else baseline.value,
        "Beats baseline": verdict,
        "n": plain.n,
        "Note": plain.note,
    }
