"""Build ``report/index.html``: tables, figures, protocol, time and provenance in a single file.

Everything that the page shows is inside it (images as base64); it loads nothing and links only to
the CSV, PNG and PDF files beside it. Words and layout are in ``template.html``, values come from
here.
"""

import base64
import os
import re
from collections.abc import Iterable, Mapping
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from seesaw.files import write_text
from seesaw.report.cells import item_title, make_table
from seesaw.report.facts import (
    autoencoder_rows,
    benchmark_rows,
    flat,
    metric_rows,
    network_rows,
    notices,
    protocol,
)
from seesaw.score_table import Column, describe, read_scores_csv

MAIN_TABLE = "table5"


def write_report(
    *,
    output: Path,
    title: str,
    config: Mapping[str, Any],
    tables: Mapping[str, str | Path],
    figures: Mapping[str, str | Path],
    captions: Mapping[str, str],
    scores: str | Path,
    provenance: Mapping[str, Any],
    benchmarks: pd.DataFrame | None = None,
) -> None:
    """Write the page.

    Args:
        output: the HTML file to make.
        title: name of the run.
        config: the whole config of the run.
        tables: item name -> CSV file; :data:`MAIN_TABLE` comes first and large.
        figures: item name -> PNG file. ``gallery/kl-f4`` and ``gallery/rae`` are parts of one item.
        captions: item name -> HTML (see :func:`read_captions`).
        scores: ``scores.csv``, which knows units, networks, directions and numbers of images.
        provenance: versions, commit, seed.
        benchmarks: seconds and memory per rule (see :func:`seesaw.report.benchmark_table`).
    """
    folder = output.parent
    results = read_scores_csv(scores)
    columns = score_columns(results)
    names = [autoencoder["name"] for autoencoder in config["autoencoders"]]
    order = sorted(tables, key=lambda name: name != MAIN_TABLE)
    shown = [
        make_table(
            name,
            pd.read_csv(tables[name], keep_default_na=False, na_values=[""]),
            columns=columns,
            autoencoders=names,
            caption=captions.get(name, ""),
            href=relative(tables[name], folder),
        )
        for name in order
    ]
    page = template().render(
        title=title,
        config=config,
        n=image_count(results),
        tables=shown,
        figures=figure_groups(figures, captions, folder),
        notices=notices(config, image_count(results)),
        protocol=protocol(config),
        networks=network_rows(config),
        metrics=metric_rows(columns.values()),
        autoencoders=autoencoder_rows(config),
        benchmarks=None if benchmarks is None or benchmarks.empty else benchmark_rows(benchmarks),
        provenance=flat(provenance),
        config_text=yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True),
        files=[relative(path, folder) for path in [scores, *tables.values()]],
    )
    write_text(output, page)


def item_name(path: str | Path) -> str:
    """``tables/table5.csv`` -> ``table5``; ``figures/gallery/rae.png`` -> ``gallery/rae``."""
    path = Path(path)
    folder = path.parent.name
    return path.stem if folder in ("tables", "figures", "") else f"{folder}/{path.stem}"


def read_captions(paths: Iterable[str | Path], config: Mapping[str, Any]) -> dict[str, str]:
    """Captions by item name: reStructuredText, with the config at hand as in Snakemake's report.

    Args:
        paths: ``<item>.rst`` files; ``{{ snakemake.config["name"] }}`` is filled in.
        config: the config of the run.

    Returns:
        HTML per item.
    """
    from docutils.core import publish_parts
    from jinja2 import Template

    settings = {"raw_enabled": False, "file_insertion_enabled": False, "report_level": 5}
    captions = {}
    for path in map(Path, paths):
        text = Template(path.read_text()).render(snakemake={"config": config})
        parts = publish_parts(text, writer="html5", settings_overrides=settings)
        captions[path.stem] = parts["body"].strip()
    return captions


def score_columns(scores: pd.DataFrame) -> dict[str, Column]:
    """Column header in the tables -> the metric that it stands for."""
    columns = [describe(scores, metric) for metric in scores["metric"].unique()]
    return {column.header: column for column in columns}


def image_count(scores: pd.DataFrame) -> int | None:
    """How many images the scores are over: the most that any metric used."""
    counts = scores.loc[scores["variant"] == "", "n"].dropna()
    return None if counts.empty else int(counts.max())


def figure_groups(
    figures: Mapping[str, str | Path], captions: Mapping[str, str], folder: Path
) -> list[dict[str, Any]]:
    """Figures by item, each with its parts: embedded image, alternative text and links."""
    groups: dict[str, dict[str, Any]] = {}
    for name, path in figures.items():
        path = Path(path)
        item, _, part = name.partition("/")
        caption = captions.get(name, captions.get(item, ""))
        group = groups.setdefault(
            item, {"name": item, "title": item_title(item), "caption": caption, "parts": []}
        )
        links = [path.with_suffix(suffix) for suffix in (".png", ".pdf", ".csv")]
        group["parts"].append(
            {
                "part": part,
                "data": base64.b64encode(path.read_bytes()).decode(),
                "alt": ". ".join(filter(None, [item_title(name), first_sentence(caption)])),
                "links": {p.suffix[1:].upper(): relative(p, folder) for p in links if p.exists()},
            }
        )
    return list(groups.values())


def first_sentence(html: str) -> str:
    """The first sentence of some HTML, as plain text."""
    text = " ".join(unescape(re.sub(r"<[^>]+>", "", html)).split())
    return re.split(r"(?<=[.:])\s(?=[A-Z])", text, maxsplit=1)[0]


def relative(path: str | Path, folder: Path) -> str:
    """A link from a page in ``folder`` to ``path``."""
    return Path(os.path.relpath(path, folder)).as_posix()


def _plain(value: Any) -> Any:
    """Nested mappings and sequences as dicts and lists, which YAML can write."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def template(name: str = "template.html") -> Any:
    """A template of this package; others extend ``template.html`` for its style and macros."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("seesaw.report", "")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["list_values"] = lambda row: list(row.values())
    return environment.get_template(name)
