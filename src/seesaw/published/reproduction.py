"""Our scores beside the published ones: difference, noise floor, verdict.

A score counts as ours for a published autoencoder only if it was measured as the paper says: on
the 50,000 images of ImageNet val at 256 pixels, with the paper's networks, and with crop, rounding
and posterior as this study reads the papers (the protocol ``seesaw``). That is judged by what the
score's protocol says of its images, never by the name of a run. Anything else, such as a score of
other photos or of the mini world, is *other protocol* and is not compared.
"""

from collections.abc import Mapping
from html import escape
from string import Template

import numpy as np
import pandas as pd

from seesaw import evaluation_set
from seesaw.protocols import DETERMINISTIC, PROTOCOLS
from seesaw.published.data import (
    GENERATION,
    IMAGES,
    TABLE2,
    TABLE5,
    autoencoders,
    noise_floor,
    printed,
    read,
)
from seesaw.registry import BACKBONES, METRICS
from seesaw.score_table import GFID_VARIANT, label, read_scores_csv

COLUMNS = (
    "autoencoder", "metric", "setting", "published", "source", "also_published", "ours",
    "difference", "noise_floor", "tolerance", "same_model_twice", "rank_published", "rank_ours",
    "ranked", "verdict", "protocol", "note",
)  # fmt: skip
VERDICTS = {
    "same": "the difference is within the noise floor and the rounding of the printed value",
    "same rank": "another value, but the same rank among the autoencoders compared",
    "differs": "another value and another rank",
    "other protocol": "there is a score, but not by the paper's protocol; it is not compared",
    "not run": "this run has no score",
}
DEPTH, SEGMENTATION = "dpt_hybrid_midas", "uniformer_upernet"
PAPERS_NETWORKS: Mapping[str, tuple[str, ...]] = {
    "rfid": ("inception",),
    "ifid": ("inception",),
    "gfid": ("inception",),
    "control-fid": ("inception",),
    "lpips": ("lpips-alex",),
    "canny": ("canny",),
    "depth": (DEPTH,),
    "segmentation": (SEGMENTATION,),
    "spatial": ("canny", DEPTH, SEGMENTATION),
    "identity": ("buffalo_s",),
    "face-recall": ("buffalo_s",),
    "clip": ("clip_vit_b32",),
    "dino": ("dinov2_vitb14",),
    "latent-canny": ("canny",),
    "latent-depth": (DEPTH,),
    "control-l1 canny": ("canny",),
    "control-l1 depth": (DEPTH,),
}
"""Metric (and variant) -> registry names of the papers' networks, in the order in which a score
joins them; no entry: none needed. The same weights by another protocol have another name."""
CHOICES = ("crop", "quantisation", "posterior")
"""Choices that the papers do not state: those of the protocol ``seesaw``."""
AUTOENCODER_COLUMN = {
    "seesaw_table2": "model",
    "seesaw_table3": "ae",
    "seesaw_table5": "weight_name",
    "ifid_readme_benchmark": "vae",
}
FACES = ("identity", "face-recall")
AS_REPORTED = "its authors' report"
IFID_DEFAULT = "slerp alpha=0.5 k=10 n=1000000"
READMES = {"ifid": IFID_DEFAULT, "gfid_xl_no_cfg": "SiT-XL, no guidance"}
READMES["gfid_b_no_cfg"] = "SiT-B, no guidance"


def reproduction(scores: pd.DataFrame | None = None) -> pd.DataFrame:
    """Every published value of an autoencoder beside ours.

    Args:
        scores: ``scores.csv`` of a run, as :func:`seesaw.score_table.read_scores_csv` reads it,
            with its column ``protocol``; None: nothing was run.

    Returns:
        :data:`COLUMNS`, a row per autoencoder, metric and setting. ``published`` with its
        ``source``, ``also_published`` (the same in a second table); ``ours`` and ``difference``
        (ours minus published); ``noise_floor``: largest difference of the paper's rows of the same
        weights, ``tolerance``: that and half a unit of the last printed digit;
        ``same_model_twice``: how far apart the paper's rows ``vavae`` and ``vavae_f16d32`` are,
        the same model in two files by its authors' words; ``rank_published``, ``rank_ours`` among
        the ``ranked`` autoencoders that have both (1 is best, ties share a rank); ``verdict``, see
        :data:`VERDICTS`; ``protocol`` of our score; ``note``. Empty is None.
    """
    rows = published_values()
    floor, twice = noise_floor(), same_model_twice()
    rows["noise_floor"] = rows["metric"].map(floor)
    rows["same_model_twice"] = rows["metric"].map(twice)
    unit = 10.0 ** -rows["published"].map(_digits)
    rows["tolerance"] = (rows["noise_floor"].fillna(0.0) + unit / 2).round(7)
    run = {} if scores is None else dict(list(scores.groupby(["autoencoder", "metric"])))
    own = [_own(run.get((row.autoencoder, row.metric)), row) for row in rows.itertuples()]
    rows["ours"] = pd.Series([value for value, _, _ in own], dtype="float64")
    rows["protocol"] = [words for _, words, _ in own]
    rows["note"] = [why for _, _, why in own]
    rows["published"] = rows["published"].astype(float)
    rows["difference"] = (rows["ours"] - rows["published"]).round(7)
    _rank(rows)
    rows["verdict"] = [_verdict(row) for row in rows.itertuples()]
    rows["metric"] = rows["metric"].map(label)
    table = rows[list(COLUMNS)].astype(object)
    return table.where(table.notna(), None)


def published_values() -> pd.DataFrame:
    """Every published value of an autoencoder once, as printed.

    Returns:
        ``autoencoder``, ``metric`` (registry names), ``variant`` of the score that answers to it,
        ``setting`` (words), ``published`` (text, with the printed digits), ``source``,
        ``also_published`` (coarser print of the same in another table).
    """
    rows: list[dict[str, str]] = []
    known = autoencoders()
    five, two = _printed("seesaw_table5"), _printed("seesaw_table2")
    for name, who in known.iterrows():
        if who["seesaw_table5"]:
            row = five.loc[who["seesaw_table5"]]
            for column, metric in TABLE5.items():
                if row[column] != "":
                    same = two.index[two["gfid"] == row[column]] if metric == "gfid" else ()
                    model = same[0] if len(same) else who["seesaw_table2"]
                    also = _also(two, model, metric)
                    rows.append(_value(name, metric, row[column], "Seesaw Table 5", also=also))
        if who["seesaw_table2"]:
            row = two.loc[who["seesaw_table2"]]
            for column, metric in TABLE2.items():
                if metric not in TABLE5.values() and row[column] != "":
                    rows.append(_value(name, metric, row[column], "Seesaw Table 2"))
    rows += _control_values(known) + _benchmark_values(known)
    return pd.DataFrame(rows)


def same_model_twice() -> pd.Series:
    """Differences of Table 5's rows ``vavae_f16d32`` and ``vavae``, per metric."""
    table = read("seesaw_table5").set_index("weight_name")[list(TABLE5)].rename(columns=TABLE5)
    return (table.loc["vavae_f16d32"] - table.loc["vavae"]).abs().dropna().round(6)


def _printed(name: str) -> pd.DataFrame:
    """A table with its numbers as the text that is printed, indexed by its autoencoders."""
    read(name)  # checks it
    return printed(name).set_index(AUTOENCODER_COLUMN[name])


def _value(
    name: str, metric: str, published: str, source: str, *, also: str = "", **more: str
) -> dict[str, str]:
    row = {"autoencoder": name, "metric": metric, "variant": "", "setting": ""}
    if metric in GENERATION:
        row["setting"] = AS_REPORTED
    return row | {"published": published, "source": source, "also_published": also} | more


def _also(two: pd.DataFrame, model: str, metric: str) -> str:
    columns = [column for column, of in TABLE2.items() if of == metric]
    if not model or not columns or two.loc[model, columns[0]] == "":
        return ""
    return f"{two.loc[model, columns[0]]} (Seesaw Table 2, {model})"


def _control_values(known: pd.DataFrame) -> list[dict[str, str]]:
    names = {model: name for name, model in known["seesaw_table2"].items() if model}
    rows = []
    for _, row in _printed("seesaw_table3").reset_index().iterrows():
        for column, metric in (("controlnet_fid", "control-fid"), ("controlnet_l1", "control-l1")):
            more = {"variant": row["condition"], "setting": f"ControlNet, {row['condition']}"}
            source = "Seesaw Table 3"
            rows.append(_value(names[row["ae"]], metric, row[column], source, **more))
    return rows


def _benchmark_values(known: pd.DataFrame) -> list[dict[str, str]]:
    names = {vae: name for name, vae in known["ifid_benchmark"].items() if vae}
    rows = []
    for vae, row in _printed("ifid_readme_benchmark").iterrows():
        for column, setting in READMES.items():
            if row[column] != "":
                metric = "ifid" if column == "ifid" else "gfid"
                more = {"setting": setting, "variant": setting}
                rows.append(_value(names[vae], metric, row[column], "iFID Readme", **more))
    return rows


def _digits(printed: str) -> int:
    return len(printed.partition(".")[2])


def _own(found: pd.DataFrame | None, row: tuple) -> tuple[float | None, str, str]:
    """Our value by the paper's protocol, its protocol, and why there is none.

    ``found`` are the scores of this autoencoder and metric, if there are any.
    """
    if found is None:
        return None, "", ""
    if row.setting == AS_REPORTED:
        found = found[found["variant"] == ""]
    elif row.metric == "gfid":
        same = [_same_samples(name, row.setting) for name in found["variant"]]
        found = found[np.array(same, bool)]
    elif row.metric == "ifid":
        found = found[found["variant"].isin([row.variant, ""])]
    else:
        found = found[found["variant"] == row.variant]
    found = found[found["value"].notna()]
    reasons = [_other_protocol(score, row) for _, score in found.iterrows()]
    for (_, score), reason in zip(found.iterrows(), reasons, strict=True):
        if not reason:
            return float(score["value"]), str(score["protocol"]), ""
    if len(found):
        score = found.iloc[0]
        return None, str(score["protocol"]), f"our {score['value']:.6g} is of {reasons[0]}"
    return None, "", ""


def _same_samples(variant: str, setting: str) -> bool:
    """Whether samples are of the model that the benchmark names, against the same reference."""
    match = GFID_VARIANT.fullmatch(variant)
    return bool(match) and match["model"] == setting.partition(",")[0]


def _other_protocol(score: pd.Series, row: tuple) -> str:
    """How a score was measured otherwise than the published value; ``""``: likewise."""
    said = dict(part.split("=", 1) for part in str(score["protocol"]).split("; ") if "=" in part)
    reasons = [*_other_images(said), *_other_network(row, str(score["network"]), said)]
    if row.metric not in FACES and (pd.isna(score["n"]) or int(score["n"]) != IMAGES):
        n = "unknown" if pd.isna(score["n"]) else f"{int(score['n']):,}"
        reasons.append(f"{n} images, not {IMAGES:,}")
    if row.setting == AS_REPORTED:
        reasons.append("a diffusion model of ours, not its authors'")
    elif row.metric == "gfid":
        if "guidance" in said:
            reasons.append(f"guidance {said['guidance']}, the Readme's has no guidance")
        if (said.get("mode"), said.get("steps")) != ("sde", "250"):
            reasons.append(f"{said.get('steps')} steps {said.get('mode')}, not 250 steps sde")
        if "adm" not in said.get("reference", ""):
            reasons.append(f"reference {said.get('reference', 'not named')}, not ADM's moments")
    if row.metric.startswith("control-") and said.get("backbone") not in BACKBONES:
        reasons.append(f"backbone {said.get('backbone', 'not named')}, not the published one")
    if row.metric == "ifid" and said.get("ifid") != IFID_DEFAULT:
        reasons.append(f"iFID variant {said.get('ifid', 'not named')}, not {IFID_DEFAULT}")
    return "; ".join(reasons)


def _other_images(said: Mapping[str, str]) -> list[str]:
    """What was measured on, where it is not what the papers measured on."""
    reasons, wanted = [], evaluation_set.IMAGENET_VAL
    images = said.get(evaluation_set.KEY)
    if images is None:
        reasons.append(
            f"images that its protocol does not name (no {evaluation_set.KEY}: it is of an older "
            "version, measure it again)"
        )
    elif images != wanted:
        reasons.append(f"evaluation set {images!r}, not {wanted!r}")
    study = PROTOCOLS["seesaw"].protocol
    choices = {"resolution": "256", **{key: getattr(study, key) for key in CHOICES}}
    for key, choice in choices.items():
        fitting = (choice, DETERMINISTIC) if key == "posterior" else (choice,)
        if said.get(key) not in fitting:
            reasons.append(f"{key} {said.get(key, 'not named')}, not {choice}")
    return reasons


def _other_network(row: tuple, network: str, said: Mapping[str, str]) -> list[str]:
    """Networks that are not the papers', by their registry names."""
    if row.setting == AS_REPORTED:
        return []
    whole = f"{row.metric} {row.variant}"
    found = {"network": (network, PAPERS_NETWORKS.get(row.metric) or PAPERS_NETWORKS.get(whole))}
    if row.metric == "control-fid":
        hints = PAPERS_NETWORKS.get(f"control-l1 {row.variant}")
        found["condition network"] = (said.get("condition network", ""), hints)
    reasons = []
    for what, (name, wanted) in found.items():
        parts = tuple(part.strip() for part in name.split("+") if part.strip())
        if wanted and parts != wanted:
            reasons.append(f"{what} {name or 'not named'}, not the paper's ({', '.join(wanted)})")
    return reasons


def _rank(rows: pd.DataFrame) -> None:
    for column in ("rank_published", "rank_ours", "ranked"):
        rows[column] = pd.Series([None] * len(rows), dtype="Int64")
    compared = rows[rows["ours"].notna()]
    for (metric, _, _), part in compared.groupby(["metric", "setting", "source"]):
        higher = metric in METRICS and METRICS[metric].higher_is_better
        for column, of in (("rank_published", "published"), ("rank_ours", "ours")):
            ranks = part[of].rank(method="min", ascending=not higher).astype("Int64")
            rows.loc[part.index, column] = ranks
        rows.loc[part.index, "ranked"] = len(part)


def _verdict(row: tuple) -> str:
    if pd.isna(row.ours):
        return "other protocol" if row.note else "not run"
    if abs(row.difference) <= row.tolerance + 1e-9:
        return "same"
    return "same rank" if row.ranked > 1 and row.rank_published == row.rank_ours else "differs"


def read_own(path: str | None) -> pd.DataFrame | None:
    """``scores.csv`` of a run, or None without a path.

    Raises:
        ValueError: it has no column ``protocol``, or see :func:`read_scores_csv`.
    """
    if path is None:
        return None
    scores = read_scores_csv(path)
    if "protocol" not in scores:
        raise ValueError(f"{path} lacks the column protocol; rerun the rule collect_scores")
    return scores


PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Ours beside published</title><style>
body { font: 14px/1.45 sans-serif; margin: 2em auto; max-width: 90em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .2em .7em; text-align: left }
th { border-bottom: 2px solid #444; vertical-align: bottom; position: sticky; top: 0;
background: #fff } td { border-bottom: 1px solid #ddd } td.n { text-align: right;
font-variant-numeric: tabular-nums } .same { background: #d9efe3 } .rank { background: #eaf3fb }
.differs { background: #fde8d7 } .other { background: #f1ecf7 } .absent { color: #777 }
</style></head><body><h1>Ours beside published</h1><p>$words</p>$summary<p>Difference: ours minus
published. Noise floor: largest difference of the paper's own rows of the same weights. Tolerance:
noise floor and half a unit of the last printed digit. Ranks: 1 is best, among the autoencoders
that have both values. The same as <a href="reproduction.csv">reproduction.csv</a>.</p>
$table</body></html>
""")
CLASSES = {
    "same": "same",
    "same rank": "rank",
    "differs": "differs",
    "other protocol": "other",
    "not run": "absent",
}


def page(table: pd.DataFrame) -> str:
    """One self-contained HTML page of :func:`reproduction`: verdicts by metric, then every row."""
    run = int((~table["verdict"].isin(["not run", "other protocol"])).sum())
    words = f"{len(table)} published values, {run} of them measured here by the paper's protocol."
    if not run:
        words += " Nothing can be compared yet; the page fills as the papers' study runs."
    counts = table.groupby(["metric", "verdict"], sort=False).size().unstack(fill_value=0)
    counts = counts.reindex(columns=list(VERDICTS), fill_value=0)
    heads = ["Metric", *VERDICTS]
    rows = [
        "".join([f"<td>{escape(metric)}</td>", *(f'<td class="n">{count}</td>' for count in row)])
        for metric, row in zip(counts.index, counts.to_numpy(), strict=True)
    ]
    legend = "".join(f"<li><b>{name}</b>: {escape(text)}</li>" for name, text in VERDICTS.items())
    summary = f"<ul>{legend}</ul>{_html_table(heads, rows)}"
    body = [_html_row(row) for row in table.to_dict("records")]
    shown = [column.replace("_", " ") for column in COLUMNS]
    return PAGE.substitute(words=words, summary=summary, table=_html_table(shown, body))


def _html_table(heads: list[str], rows: list[str]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(row if row.startswith("<tr") else f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_row(row: Mapping[str, object]) -> str:
    cells = []
    for column in COLUMNS:
        value = row[column]
        if value is None:
            cells.append("<td></td>")
        elif isinstance(value, float):
            cells.append(f'<td class="n">{value:.6g}</td>')
        else:
            kind = ' class="n"' if isinstance(value, int) else ""
            cells.append(f"<td{kind}>{escape(str(value))}</td>")
    return f'<tr class="{CLASSES[str(row["verdict"])]}">{"".join(cells)}</tr>'
