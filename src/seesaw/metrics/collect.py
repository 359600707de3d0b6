"""All scores of a stage, and of a run, in one long table."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from seesaw.files import read_json, write_csv
from seesaw.protocols import DETERMINISTIC
from seesaw.results import read_scores

SPATIAL = ("canny", "depth", "segmentation")
BASELINES = ("", "shuffled", "zero")
COLUMNS = (
    "autoencoder",
    "group",
    "training",
    "metric",
    "variant",
    "value",
    "n",
    "unit",
    "higher_is_better",
    "network",
    "protocol",
    "note",
    "metric_version",
    "seed",
    "weights_sha256",
    "duplicate_of",
    "seesaw",
    "git_commit",
)


def collect_scores(
    *,
    scores: Sequence[str | Path],
    manifests: Sequence[str | Path],
    autoencoders: Sequence[Mapping[str, str]],
    data: str,
    output: str | Path,
) -> None:
    """Write ``scores/<stage>.csv``: one row per (autoencoder, metric, variant).

    Args:
        scores: JSON files of the scoring jobs of one stage.
        manifests: reconstruction manifests, in the order of ``autoencoders``.
        autoencoders: name, group, training and duplicate_of of each autoencoder.
        data: words for what was measured; the first entry of every protocol.
        output: CSV to write.

    """
    deterministic = deterministic_of(autoencoders, manifests)
    table = pd.DataFrame([row for path in scores for row in _rows(path, data, deterministic)])
    table = pd.concat([table, spatial(table)], ignore_index=True)
    labels = {}
    for entry, manifest in zip(autoencoders, manifests, strict=True):
        sha = read_json(manifest)["meta"].get("weights_sha256")
        labels[entry["name"]] = {
            "group": entry["group"] or entry["name"],
            "training": entry["training"],
            "duplicate_of": entry["duplicate_of"],
            "weights_sha256": sha,
        }
    for column in ("group", "training", "duplicate_of", "weights_sha256"):
        table[column] = [labels[name][column] for name in table["autoencoder"]]
    order = {name: position for position, name in enumerate(labels)}
    table = table.sort_values("autoencoder", key=lambda c: c.map(order), kind="stable")
    write_csv(output, table[list(COLUMNS)])


def merge_scores(
    *, scores: Sequence[str | Path], autoencoders: Sequence[str], output: str | Path
) -> None:
    """Write ``tables/scores.csv``: what the stages scored, text by text as they wrote it.

    Args:
        scores: files of :func:`collect_scores`.
        autoencoders: their names, in the order of the config.
        output: CSV to write.

    Raises:
        ValueError: there are no scores at all.
    """
    if not scores:
        raise ValueError("no scores to collect: the config lists neither metrics nor ifid")
    table = pd.concat([pd.read_csv(path, dtype=str, keep_default_na=False) for path in scores])
    order = {name: position for position, name in enumerate(autoencoders)}
    table = table.sort_values("autoencoder", key=lambda c: c.map(order), kind="stable")
    write_csv(output, table)


def spatial(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the metric ``spatial``: the mean of Canny, depth and segmentation drift.

    As in Seesaw A.1.2, for the drift and its baselines; no row where one of the three is missing.
    """
    rows = []
    parts = table[table["metric"].isin(SPATIAL) & table["variant"].isin(BASELINES)]
    for (_, variant), group in parts.groupby(["autoencoder", "variant"], sort=False):
        if set(group["metric"]) != set(SPATIAL) or group["value"].isna().any():
            continue
        by_metric = group.set_index("metric").loc[list(SPATIAL)]
        rows.append(
            {
                **group.iloc[0].to_dict(),
                "metric": "spatial",
                "variant": variant,
                "value": by_metric["value"].mean(),
                "network": " + ".join(by_metric["network"]),
                "protocol": without_options(group["protocol"].iloc[0]),
                "metric_version": "+".join(map(str, by_metric["metric_version"])),
                "note": "mean of Canny, depth and segmentation drift",
            }
        )
    return pd.DataFrame(rows, columns=table.columns)


def without_options(protocol: str) -> str:
    """A protocol's text without what it says of the network, where several networks play."""
    parts = protocol.split("; ")
    return "; ".join(part for part in parts if not part.startswith("network."))


def deterministic_of(
    autoencoders: Sequence[Mapping[str, str]], manifests: Sequence[str | Path]
) -> set[str]:
    """Names of the autoencoders whose encoder has no spread, as their reconstructions say."""
    return {
        entry["name"]
        for entry, manifest in zip(autoencoders, manifests, strict=True)
        if read_json(manifest)["meta"].get("posterior") == DETERMINISTIC
    }


def settled(protocol: Mapping[str, Any], deterministic: bool) -> dict[str, Any]:
    """The protocol of a score; what it says of the posterior holds where there is one.

    Args:
        protocol: as recorded; ``posterior`` is what the config asked for.
        deterministic: the encoder has no spread.
    """
    own = {"posterior": DETERMINISTIC} if deterministic and "posterior" in protocol else {}
    return {**protocol, **own}


def _rows(path: str | Path, data: str, deterministic: Collection[str] = ()) -> list[dict[str, Any]]:
    autoencoder, scores, provenance = read_scores(path)
    fixed = autoencoder in deterministic
    return [
        {
            "autoencoder": autoencoder,
            "metric": score.metric,
            "variant": score.variant,
            "value": score.value,
            "n": score.n,
            "unit": score.unit,
            "higher_is_better": score.higher_is_better,
            "network": score.network or "",
            "protocol": "; ".join(
                f"{k}={v}" for k, v in {"data": data, **settled(score.protocol, fixed)}.items()
            ),
            "note": score.note,
            "metric_version": score.metric_version,
            "seed": provenance.get("seed"),
            "seesaw": provenance.get("seesaw"),
            "git_commit": provenance.get("git_commit"),
        }
        for score in scores
    ]
