"""What the page says about a run besides its numbers: protocol, networks, metrics, time."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from seesaw.external import weights_paths
from seesaw.protocols.study import crop_of, own_protocol, protocols_of
from seesaw.readings import described
from seesaw.registry import NETWORKS
from seesaw.score_table import Column

UNBIASED_FROM = 50_000
"""Images from which on Fréchet distances are taken as comparable (the papers' n)."""
QUANTISED = {
    "uint8-round": "reconstructions are clamped to [-1, 1] and rounded half up to 8 bits",
    "uint8-floor": "reconstructions are clamped to [-1, 1] and truncated to 8 bits",
}


def benchmark_table(folder: str | Path) -> pd.DataFrame:
    """Seconds and memory per rule, from Snakemake's benchmark files ``<folder>/<rule>/*.tsv``.

    Returns:
        Columns ``rule``, ``jobs``, ``total_s``, ``max_s``, ``max_mb`` (peak resident memory of a
        job; NaN where jobs were too short to be seen), most total seconds first.
    """
    folder = Path(folder)
    parts = []
    for path in sorted(folder.rglob("*.tsv")):
        rule = path.relative_to(folder).with_suffix("").parts[0]
        rows = pd.read_csv(path, sep="\t", na_values=["-", "NA"])
        parts.append(rows[["s", "max_rss"]].apply(pd.to_numeric, errors="coerce").assign(rule=rule))
    if not parts:
        return pd.DataFrame(columns=["rule", "jobs", "total_s", "max_s", "max_mb"])
    table = (
        pd.concat(parts)
        .groupby("rule")
        .agg(
            jobs=("s", "size"), total_s=("s", "sum"), max_s=("s", "max"), max_mb=("max_rss", "max")
        )
    )
    return table.sort_values("total_s", ascending=False).reset_index()


def notices(config: Mapping[str, Any], n: int | None) -> dict[str, Any]:
    """What a reader must know before reading a number."""
    players: dict[str, list[str]] = {}
    for role, choice in config["networks"].items():
        players.setdefault(choice["network"], []).append(role)
    return {
        "trained": {p: r for p, r in players.items() if _origin(p) == "trained"},
        "random": {p: r for p, r in players.items() if p.endswith("-random")},
        "trained_autoencoders": [a["name"] for a in config["autoencoders"] if "train" in a],
        "small_n": n is not None and n < UNBIASED_FROM and "inception" in config["networks"],
        "unbiased_from": UNBIASED_FROM,
        "kid": "kid" in config["metrics"],
    }


def _origin(network: str) -> str | None:
    return NETWORKS[network].weights if network in NETWORKS else None


def network_rows(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """Role, network and where its weights come from."""
    rows = []
    for role, choice in config["networks"].items():
        name = choice["network"]
        if name.endswith("-random"):
            origin = "random weights, a stand-in; not comparable with published numbers"
        elif _origin(name) == "trained":
            origin = "trained in this run on the mini world; not the official network"
        elif "weights" in choice:
            origin = f"weights from {choice['weights']}"
        else:
            origin = "no weights"
        label = NETWORKS[name].label if name in NETWORKS else name
        rows.append({"Role": role, "Played by": label, "Weights": origin})
    return rows


def metric_rows(columns: Iterable[Column]) -> list[dict[str, str]]:
    """Metric, direction, network, number of images or pairs, and how it is computed."""
    return [
        {
            "label": column.quantity,
            "better": "+" if column.higher_is_better else "-",
            "network": column.network,
            "n": column.n,
            "formula": formula(column.metric),
        }
        for column in columns
    ]


def formula(metric: str) -> str:
    """How a metric is computed, in one line; ``""`` where nobody wrote it down."""
    entry = described(metric)
    return "" if entry is None else entry.formula


def autoencoder_rows(config: Mapping[str, Any]) -> list[dict[str, str]]:
    """Name, group, family, training and origin of every autoencoder; without empty columns."""
    rows = []
    for entry in config["autoencoders"]:
        train = entry.get("train")
        if train:
            start = f", from {train['init']}" if "init" in train else ""
            origin = f"trained here: {train['objective']}, {train['steps']:,} steps{start}"
        else:
            paths = ", ".join(weights_paths(entry))
            origin = f"weights from {paths}" if paths else "no weights"
        settings = ", ".join(f"{key} {value}" for key, value in entry.get("config", {}).items())
        rows.append(
            {
                "Name": entry["name"],
                "Group": entry.get("group", ""),
                "Family": entry["family"],
                "Training": entry.get("training", ""),
                "Settings": settings,
                "Weights": origin,
                "Same weights as": entry.get("duplicate_of", ""),
            }
        )
    empty = {key for key in rows[0] if not any(row[key] for row in rows)}
    return [{key: row[key] for key in row if key not in empty} for row in rows]


def protocol(config: Mapping[str, Any]) -> dict[str, str]:
    """The named choices behind every number."""
    data = config["data"]
    rows = {
        "Images scored": _split(config, data["evaluation"]),
        "Reference set (neighbours)": _split(config, data["reference"]),
        "Resolution": f"{data['resolution']} × {data['resolution']} pixels",
        "Crop": crop_of(config, data["evaluation"]),
        "Quantisation": QUANTISED[own_protocol(config).quantisation],
        "Posterior": f"{config['reconstruct']['posterior']} of the encoder's posterior, if it has "
        "one",
        "Seed": str(config["seed"]),
    }
    if "ifid" in config:
        rows["iFID"] = _setting(config["ifid"]["default"])
    if "gfid" in config:
        rows["gFID"] = _samples(config["diffusion"])
    if "protocols" in config:
        rows["Also by the protocols of"] = ", ".join(protocols_of(config))
    return rows


def _samples(diffusion: Mapping[str, Any]) -> str:
    """Models, their training and how they are sampled, in words."""
    ways = []
    for way in diffusion["samplers"]:
        guidance = way.get("guidance", 1)
        words = "no guidance" if guidance == 1 else f"guidance {guidance:g}"
        words += ", TF32" if way.get("precision") == "tf32" else ""
        ways.append(f"{way['name']} ({way['mode']}, {way['steps']} steps, {words})")
    return (
        f"{', '.join(diffusion['models'])} trained for {diffusion['train']['steps']:,} steps; "
        f"samples {'; '.join(ways)}; the first of each is what a plain gFID stands for"
    )


def _split(config: Mapping[str, Any], name: str) -> str:
    split = config["data"]["splits"][name]
    counts = {key: split[key] for key in ("images", "count", "limit") if key in split}
    number = "".join(f", {count:,} images" for count in counts.values())
    folder = f" {split['path']}" if "path" in split else ""
    return f"{name}: {split['source']}{folder}{number}"


def _setting(variant: Mapping[str, Any]) -> str:
    references = variant["references"]
    size = references if isinstance(references, str) else f"{references:,}"
    return (
        f"{variant['interpolation']} interpolation, alpha {variant['alpha']}, drawn among the "
        f"{variant['k']} nearest neighbours, reference images: {size}"
    )


def benchmark_rows(table: pd.DataFrame) -> dict[str, Any]:
    """Rows for the page, and the sums of jobs and seconds."""
    rows = [
        {
            "rule": row.rule,
            "jobs": row.jobs,
            "total": f"{row.total_s:,.1f}",
            "max": f"{row.max_s:,.1f}",
            "mb": "" if pd.isna(row.max_mb) else f"{row.max_mb:,.0f}",
            "share": row.total_s / table["total_s"].max() if table["total_s"].max() else 0,
        }
        for row in table.itertuples()
    ]
    peak = table["max_mb"].max()
    return {
        "rows": rows,
        "jobs": int(table["jobs"].sum()),
        "total": f"{table['total_s'].sum():,.1f}",
        "max": f"{table['max_s'].max():,.1f}",
        "mb": "" if pd.isna(peak) else f"{peak:,.0f}",
    }


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as lines: ``libraries: numpy`` -> ``2.1``."""
    lines: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            lines |= flat(value, f"{name}: ")
        else:
            lines[name] = "not known" if value is None else str(value)
    return lines
