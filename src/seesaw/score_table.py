"""The scores as a table: reading them, choosing from them, and naming what is in them.

``scores`` has one row per autoencoder, metric and variant (``""``: the metric itself). Its labels
name the unit and the network that a number rests on, so that no number is printed without them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from seesaw.readings import described
from seesaw.registry import FEW_FACES, NETWORKS

QUALITY = (
    "gfid", "ifid", "rfid", "fd-infinity", "kid", "fdd", "psnr", "ssim", "ms-ssim", "lpips"
)  # fmt: skip
"""Generation and reconstruction metrics."""

CONDITIONS = (
    "canny", "depth", "segmentation", "spatial", "identity", "face-recall", "clip", "dino"
)  # fmt: skip
"""Condition consistency metrics."""

BASELINES = {"shuffled": "shuffled pairs", "zero": "all-zero map"}
"""Variant -> what readers call it. Shuffled pairs: x against another image's reconstruction."""

ENOUGH: Mapping[str, int] = {"identity": FEW_FACES}
"""Metric -> n below which a value stays in the tables but is compared with no other."""

NAMED = 3
"""Autoencoders that :func:`left_out` names; it counts the others."""

UNDEFINED = "undefined"
"""A cell whose metric does not exist for its autoencoder; an empty one was not measured."""

GFID_VARIANT = re.compile(r"(?P<model>\S+) (?P<sampler>\S+) ref=(?P<reference>\S+)")
NEEDED = (
    "autoencoder", "group", "training", "metric", "variant", "value", "n", "unit",
    "higher_is_better", "network", "duplicate_of",
)  # fmt: skip


@dataclass(frozen=True)
class Column:
    """How a metric is written: label, unit (``""`` for a pure number), network, direction, n."""

    metric: str
    label: str
    unit: str
    network: str
    higher_is_better: bool
    n: str

    @property
    def header(self) -> str:
        """``PSNR [dB]``, ``rFID (mini-inception)``."""
        return with_network(self.quantity, self.network)

    @property
    def quantity(self) -> str:
        """``PSNR [dB]``, ``rFID``."""
        return self.label + (f" [{self.unit}]" if self.unit else "")


def read_scores_csv(paths: str | Path | Sequence[str | Path]) -> pd.DataFrame:
    """Read ``scores.csv``, or the tables of several stages as one; of no stage, an empty table.

    Empty text cells are ``""`` and an empty value is NaN.

    Raises:
        ValueError: see :func:`check_scores`.
    """
    numbers = {"value": [""], "n": [""]}
    text = {column: str for column in NEEDED if column not in ("value", "n", "higher_is_better")}
    paths = [paths] if isinstance(paths, str | Path) else paths
    tables = [
        pd.read_csv(path, dtype=text, keep_default_na=False, na_values=numbers) for path in paths
    ]
    if not tables:  # an item of its own, of stages that the config leaves out
        return check_scores(pd.DataFrame(columns=[*NEEDED, "protocol", "note"]))
    return check_scores(pd.concat(tables, ignore_index=True))


def check_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores with text cells as text, values as float64, ready for every table and figure.

    Raises:
        ValueError: a column is missing, or two rows give one autoencoder's same number.
    """
    missing = [column for column in NEEDED if column not in scores]
    if missing:
        raise ValueError(f"the scores lack the columns {', '.join(missing)}; rerun the rule scores")
    scores = scores.copy()
    for column in ("group", "training", "variant", "unit", "network", "duplicate_of"):
        scores[column] = scores[column].fillna("").astype(str)
    scores["value"] = scores["value"].astype(np.float64).replace([np.inf, -np.inf], np.nan)
    scores["higher_is_better"] = scores["higher_is_better"].astype(str).str.lower() == "true"
    twice = scores.duplicated(["autoencoder", "metric", "variant"])
    if twice.any():
        row = scores[twice].iloc[0]
        raise ValueError(
            f"two scores for autoencoder {row.autoencoder!r}, metric {row.metric!r}, variant "
            f"{row.variant!r}; keep one"
        )
    return scores


def distinct(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores without autoencoders whose weights repeat another's."""
    return scores[scores["duplicate_of"] == ""]


def pool(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per autoencoder: group, training, duplicate_of; groups together, else as given."""
    rows = scores.loc[~scores["autoencoder"].duplicated()].set_index("autoencoder")
    place, _ = pd.factorize(rows["group"])
    return rows[["group", "training", "duplicate_of"]].iloc[np.argsort(place, kind="stable")]


def measured(scores: pd.DataFrame, metrics: Iterable[str]) -> list[str]:
    """Those of ``metrics`` that have at least one value."""
    there = set(scores.loc[(scores["variant"] == "") & scores["value"].notna(), "metric"])
    return [metric for metric in metrics if metric in there]


def values(scores: pd.DataFrame, metric: str, variant: str = "") -> pd.Series:
    """Values of one metric and variant per autoencoder of :func:`pool`, NaN where missing."""
    chosen = (scores["metric"] == metric) & (scores["variant"] == variant)
    found = pd.Series(scores["value"].to_numpy()[chosen], scores["autoencoder"].to_numpy()[chosen])
    return found.reindex(pool(scores).index)


def shown(scores: pd.DataFrame, metric: str, variant: str = "") -> pd.Series:
    """As :func:`values`, with :data:`UNDEFINED` where there is a score without a value."""
    found = values(scores, metric, variant)
    rows = scores[(scores["metric"] == metric) & (scores["variant"] == variant)]
    undefined = found.index.isin(rows.loc[rows["value"].isna(), "autoencoder"])
    return found.astype(object).mask(undefined, UNDEFINED) if undefined.any() else found


def few(scores: pd.DataFrame, metric: str) -> pd.Series:
    """The n of values that rest on too few images to be compared (:data:`ENOUGH`), else NaN."""
    chosen = (scores["metric"] == metric) & (scores["variant"] == "") & scores["value"].notna()
    n = scores.loc[chosen].set_index("autoencoder")["n"].reindex(pool(scores).index)
    return n.where(n < ENOUGH.get(metric, 0)).astype(np.float64)


def worse(scores: pd.DataFrame, metric: str) -> pd.Series:
    """Values to compare, turned so that more is worse: higher-is-better ones change sign.

    What rests on too :func:`few` images is NaN; :func:`left_out` says so in words.
    """
    found = values(scores, metric).mask(few(scores, metric).notna())
    return -found if describe(scores, metric).higher_is_better else found


def left_out(scores: pd.DataFrame, metric: str) -> str:
    """Why values of a metric count as missing in a comparison, and whose; ``""`` if none does."""
    n = few(scores, metric).dropna()
    if n.empty:
        return ""
    whose = [f"{name} (n = {count:.0f})" for name, count in n.items()]
    whose[NAMED:] = [f"{len(whose) - NAMED} more"] if len(whose) > NAMED else []
    return f"{label(metric)} below n = {ENOUGH[metric]} counts as missing: {', '.join(whose)}"


def label(metric: str) -> str:
    """Name of a metric for readers; as it is if nobody gave it one."""
    entry = described(metric)
    return metric if entry is None else entry.label


def network_label(name: str) -> str:
    """Name of a network for readers; joined names (``"canny+mini-depth"``) part by part."""
    parts = [part.strip() for part in name.split("+")]
    return " + ".join(NETWORKS[part].label if part in NETWORKS else part for part in parts)


def with_network(words: str, network: str) -> str:
    """``rFID (mini-inception)``; the words alone where no network stands behind them."""
    return f"{words} ({network})" if network else words


def network_of(scores: pd.DataFrame, metric: str) -> str:
    """Label of the network that a metric rests on; ``""`` if none, or if it was not measured."""
    return describe(scores, metric).network if measured(scores, [metric]) else ""


def describe(scores: pd.DataFrame, metric: str) -> Column:
    """How to write a metric of the scores; one that has only variants is described by them.

    Raises:
        ValueError: no row has it, or rows disagree about its unit or direction.
    """
    rows = scores[scores["metric"] == metric]
    rows = rows[rows["variant"] == ""] if (rows["variant"] == "").any() else rows
    if rows.empty:
        raise ValueError(f"metric {metric!r} is not in the scores")
    for column in ("unit", "higher_is_better"):
        if rows[column].nunique() > 1:
            raise ValueError(
                f"metric {metric!r} has more than one {column} in the scores: "
                f"{', '.join(map(str, rows[column].unique()))}; rerun its scores"
            )
    unit = rows["unit"].iloc[0]
    networks = [network_label(name) for name in rows["network"].unique() if name]
    if metric == "spatial" and not networks:
        networks = ["mean of Canny, depth, segmentation"]
    there = rows[rows["value"].notna()] if rows["value"].notna().any() else rows
    counts = there["n"].dropna().astype(int)
    n = "" if counts.empty else f"{counts.min()}-{counts.max()}" if counts.nunique() > 1 else None
    return Column(
        metric=metric,
        label=label(metric),
        unit="" if unit == "1" else unit,
        network=" / ".join(networks),
        higher_is_better=bool(rows["higher_is_better"].iloc[0]),
        n=str(counts.iloc[0]) if n is None else n,
    )


@dataclass(frozen=True)
class Samples:
    """Samples that gFID was measured on: a model, a way to sample, what they were compared with.

    ``variant`` is where their scores are found; ``""`` where only the plain gFID is known.
    """

    model: str
    sampler: str
    reference: str
    variant: str

    @property
    def name(self) -> str:
        """``SiT-B guided``."""
        return f"{self.model} {self.sampler}".strip()


def sample_sets(scores: pd.DataFrame) -> list[Samples]:
    """Every set of samples with a gFID; the one that the plain gFID stands for is the first.

    Raises:
        ValueError: the plain gFID does not say whose it is, but there are several.
    """
    rows = scores[scores["metric"] == "gfid"]
    found = {name: match for name in rows["variant"] if (match := GFID_VARIANT.fullmatch(name))}
    sets = {name: Samples(**match.groupdict(), variant=name) for name, match in found.items()}
    plain = rows[rows["variant"] == ""]
    if plain.empty:
        return list(sets.values())
    if not sets:
        return [Samples("", "", "", "")]
    named = {
        f"{_said(text, 'samples')} ref={_said(text, 'reference')}" for text in plain["protocol"]
    }
    if len(named) != 1 or not named <= set(sets):
        raise ValueError(
            "the plain gFID must name one of its variants in its protocol (samples=...; "
            f"reference=...), it names {sorted(named)}; the variants are {', '.join(sets)}"
        )
    first = sets.pop(named.pop())
    return [first, *sets.values()]


def gfid_curve(scores: pd.DataFrame, model: str) -> dict[float, pd.Series]:
    """gFID(t) of one model by t: values per autoencoder of :func:`pool`.

    t = 1 is gFID against the evaluation split of samples by the sampler that gFID(t) goes on with,
    which is the one that the plain gFID stands for.
    """
    rows = scores[scores["metric"] == "gfid-t"]
    times = sorted(
        float(name.removeprefix(f"{model} t="))
        for name in rows["variant"].unique()
        if name.startswith(f"{model} t=")
    )
    curve = {t: values(scores, "gfid-t", f"{model} t={t:g}") for t in times}
    sets = sample_sets(scores)
    if curve and sets:
        evaluation = _said(rows["protocol"].iloc[0], "evaluation")
        end = values(scores, "gfid", f"{model} {sets[0].sampler} ref={evaluation}")
        if end.notna().any():
            curve[1.0] = end
    return curve


def _said(protocol: str, key: str) -> str:
    """What a protocol says of ``key``; ``""`` if nothing."""
    found = re.search(rf"(?:^|; ){key}=([^;]+)", str(protocol))
    return found[1] if found else ""
