"""Tables for the page: cells in words, directions, best values, baselines set apart."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from seesaw.score_table import Column

LONG_TABLE = 40
"""Tables with more rows start folded."""
ROW_KIND = "Row"
"""Column that says what a row is; every other word than ``autoencoder`` names a baseline."""


@dataclass(frozen=True)
class Cell:
    """A cell: what is read, what is sorted by (``""``: nothing), whether it is the best."""

    text: str
    value: str
    best: bool = False


@dataclass(frozen=True)
class Head:
    """A column's head: its name, the network or note below, ``+`` or ``-`` for better."""

    text: str
    note: str = ""
    numeric: bool = False
    better: str = ""


@dataclass(frozen=True)
class Table:
    """A table ready to be shown; ``apart`` are the rows below the line, ``details`` a folded table."""

    name: str
    title: str
    heads: list[Head]
    rows: list[list[Cell]]
    apart: list[list[Cell]] = field(default_factory=list)
    details: "Table | None" = None
    caption: str = ""
    href: str = ""

    @property
    def folded(self) -> bool:
        """Whether the table is long enough to start closed."""
        return len(self.rows) + len(self.apart) > LONG_TABLE


def item_title(name: str) -> str:
    """What a reader calls an item: ``ifid_table4`` is ``iFID Table 4``."""
    found = re.fullmatch(r"(?:(\w+)_)?(table|figure)(\d+)", name)
    if not found:
        item, _, part = name.partition("/")
        words = item.replace("_", " ").capitalize()
        return f"{words}: {part}" if part else words
    paper = {None: "Seesaw", "ifid": "iFID"}.get(found[1], str(found[1]).capitalize())
    return f"{paper} {found[2].capitalize()} {found[3]}"


def make_table(
    name: str,
    data: pd.DataFrame,
    *,
    columns: Mapping[str, Column],
    autoencoders: Sequence[str],
    caption: str = "",
    href: str = "",
) -> Table:
    """Cells, directions and best values of a table.

    Where a row stands for an autoencoder, its name comes first, metrics get their direction, and
    the best value of each is marked. Rows that stand for something else (baselines) are set apart
    and never the best; where they are there for each autoencoder, their median stands below the
    table and they make a table of their own, ``details``.

    Args:
        name: item name.
        data: the table.
        columns: headers that are metrics.
        autoencoders: names in the config.
        caption: HTML.
        href: link to the CSV.
    """
    title, details = item_title(name), None
    key = _autoencoder_column(data, autoencoders)
    if key is None:
        heads, rows = _cells(data, {}, len(data))
        return Table(name, title, heads, rows, caption=caption, href=href)
    data = data[[key, *(header for header in data.columns if header != key)]]
    ours = data[key].isin(autoencoders)
    if ROW_KIND in data:
        ours &= data[ROW_KIND] == "autoencoder"
        apart = data[~ours]
        if len(apart):
            heads, rows = _cells(apart, columns, 0)
            details = Table(f"{name}-baselines", f"{title}: baselines", heads, rows)
        medians = _medians(apart, key)
        data = pd.concat([data[ours], *([medians] if len(apart) else [])], ignore_index=True)
        data = data.drop(columns=ROW_KIND)
    else:
        data = pd.concat([data[ours], data[~ours]], ignore_index=True)
    heads, rows = _cells(data, columns, int(ours.sum()))
    mine, others = rows[: ours.sum()], rows[ours.sum() :]
    return Table(name, title, heads, mine, others, details, caption, href)


def _medians(apart: pd.DataFrame, key: str) -> pd.DataFrame:
    """One row per kind of baseline: medians over autoencoders."""
    rows = []
    for kind, block in apart.groupby(ROW_KIND, sort=False):
        label = f"{kind} (median of {len(block)})" if len(block) > 1 else kind
        rows.append({key: label, **block.median(numeric_only=True)})
    return pd.DataFrame(rows, columns=apart.columns)


def _cells(
    data: pd.DataFrame, columns: Mapping[str, Column], compared: int
) -> tuple[list[Head], list[list[Cell]]]:
    """Heads and rows; the best of a metric is looked for in the first ``compared`` rows."""
    heads, cells = [], []
    for header in data.columns:
        values, column = data[header], columns.get(header)
        numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        numeric = bool(numeric and values.notna().any())
        best = best_rows(values[:compared], column.higher_is_better) if column else set()
        texts = format_column(values) if numeric else ["" if pd.isna(v) else str(v) for v in values]
        cells.append(
            [
                Cell(text, "" if pd.isna(value) else str(value), index in best)
                for index, text, value in zip(values.index, texts, values)
            ]
        )
        better = "" if column is None else "+" if column.higher_is_better else "-"
        quantity, network = (column.quantity, column.network) if column else (str(header), "")
        heads.append(Head(quantity, network, numeric, better))
    return heads, [list(row) for row in zip(*cells)]


def _autoencoder_column(data: pd.DataFrame, autoencoders: Sequence[str]) -> str | None:
    """The column that names every autoencoder at least once and says what a row stands for."""
    for header in data.columns[:3]:
        found = data[header][data[header].isin(autoencoders)]
        kinds = data.loc[found.index, ROW_KIND] if ROW_KIND in data else pd.Series("", found.index)
        if len(found) and not pd.DataFrame({"key": found, "kind": kinds}).duplicated().any():
            return header
    return None


def best_rows(values: pd.Series, higher_is_better: bool) -> set[Any]:
    """Index of the best values, ties included; empty if there are fewer than two values."""
    there = values.dropna()
    if len(there) < 2:
        return set()
    best = there.max() if higher_is_better else there.min()
    return set(there.index[there == best])


def format_column(values: pd.Series) -> list[str]:
    """Numbers with the same number of decimals: four digits of the largest; empty for NaN."""
    there = values.dropna()
    if (there == there.round()).all() and (there.abs() < 1e15).all():
        return ["" if pd.isna(value) else _signed(f"{int(value):,}") for value in values]
    largest = float(there.abs().max())
    before = math.floor(math.log10(largest)) + 1 if 0 < largest < math.inf else 1
    decimals = min(8, max(0, 4 - max(0, before) if before > -1 else 3 - before))
    texts = []
    for value in values:
        text = "" if pd.isna(value) else f"{value:,.{decimals}f}"
        vanished = bool(text) and value != 0 and float(text.replace(",", "")) == 0
        texts.append(_signed(f"{value:.1e}" if vanished else text))
    return texts


def _signed(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text
