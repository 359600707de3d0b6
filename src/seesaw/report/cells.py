"""Tables for the page: cells in words, directions, best values, baselines set apart."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from seesaw.score_table import UNDEFINED, Column

LONG_TABLE = 40
"""Tables with more rows start folded."""
INTERVAL = ("n", "low", "high", "p")
INTERVAL_NOTE = "[95% interval], p, n"
"""A column ``X`` is shown with its companions ``X: n``, ``X: low``, ``X: high`` and ``X: p``."""
ROW_KIND = "Row"
"""Column that says what a row is; every other word than ``autoencoder`` names a baseline."""


@dataclass(frozen=True)
class Cell:
    """A cell: what is read, what is sorted by (``""``: nothing), if it is the best, small print."""

    text: str
    value: str
    best: bool = False
    note: str = ""


@dataclass(frozen=True)
class Head:
    """A column's head: its name, unit and network below it, ``+`` or ``-`` for better."""

    text: str
    notes: tuple[str, ...] = ()
    numeric: bool = False
    better: str = ""


@dataclass(frozen=True)
class Table:
    """A table to be shown; ``apart`` are the rows below the line, ``details`` a folded table."""

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


TITLES = {
    "gfid_t": "gFID(t)",
    "ifid_subsets": "iFID, subsets of the benchmark",
    "ifid_vs_gfid": "iFID against gFID",
    "seesaw": "The seesaw",
}
"""Items whose name does not say how they are written."""


def item_title(name: str) -> str:
    """What a reader calls an item: ``ifid_table4`` is ``iFID Table 4``."""
    if name in TITLES:
        return TITLES[name]
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
            heads, rows = _cells(apart.dropna(axis="columns", how="all"), columns, 0)
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
        rows.append({key: label, **block.apply(_numbers).median(numeric_only=True)})
    return pd.DataFrame(rows, columns=apart.columns)


def _numbers(values: pd.Series) -> pd.Series:
    """A column as numbers, NaN where it says "undefined"; as it is where it has other words."""
    if not (values == UNDEFINED).any():
        return values
    try:
        return pd.to_numeric(values.mask(values == UNDEFINED))
    except (ValueError, TypeError):
        return values


def _cells(
    data: pd.DataFrame, columns: Mapping[str, Column], compared: int
) -> tuple[list[Head], list[list[Cell]]]:
    """Heads and rows; the best of a metric is looked for in the first ``compared`` rows."""
    heads, cells = [], []
    notes = _intervals(data)
    companions = {f"{header}: {part}" for header in notes for part in INTERVAL}
    for header in [header for header in data.columns if header not in companions]:
        words, column = data[header], columns.get(header)
        values = _numbers(words)
        numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
        numeric = bool(numeric and values.notna().any())
        best = best_rows(values[:compared], column.higher_is_better) if column else set()
        texts = format_column(values) if numeric else ["" if pd.isna(v) else str(v) for v in values]
        texts = [UNDEFINED if word == UNDEFINED else text for word, text in zip(words, texts)]
        cells.append(
            [
                Cell(text, "" if pd.isna(value) else str(value), index in best, note)
                for index, text, value, note in zip(
                    values.index, texts, values, notes.get(header, [""] * len(data))
                )
            ]
        )
        better = "" if column is None else "+" if column.higher_is_better else "-"
        label, below = _head_words(str(header), column)
        below += (INTERVAL_NOTE * (header in notes),)
        heads.append(Head(label, tuple(filter(None, below)), numeric, better))
    return heads, [list(row) for row in zip(*cells)]


def _head_words(header: str, column: Column | None) -> tuple[str, tuple[str, ...]]:
    """A head's name and what stands below it: unit and network, or what is in brackets."""
    if column:
        return column.label, (column.unit, column.network)
    found = re.fullmatch(r"(.+) \((.+)\)", header)
    return (found[1], (found[2],)) if found else (header, ())


def _intervals(data: pd.DataFrame) -> dict[str, list[str]]:
    """Small print for the columns that come with an interval: ``[0.66, 1.00], p 0.001, n 8``."""
    notes = {}
    for header in data.columns:
        parts = [f"{header}: {part}" for part in INTERVAL]
        if all(part in data for part in parts):
            notes[header] = [
                "" if pd.isna(low) else _minus(f"[{low:.2f}, {high:.2f}], p {p:.2g}, n {n:.0f}")
                for n, low, high, p in data[parts].itertuples(index=False)
            ]
    return notes


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
    """Numbers with the same decimals: four digits of the largest, fewer if all are shorter.

    Empty for NaN; a number that would read as zero, and columns below 0.001, as ``5e-5``.
    """
    there = values.dropna().astype(float)
    largest = float(there.abs().max())
    digits = math.floor(math.log10(largest)) + 1 if 0 < largest < math.inf else 1
    decimals = min(4, max(0, 4 - digits)) if digits >= -1 else 3 - digits
    while decimals and (there.round(decimals) == there.round(decimals - 1)).all():
        decimals -= 1
    texts = []
    for value in values:
        text = "" if pd.isna(value) else f"{value:,.{decimals}f}"
        vanished = bool(text) and value != 0 and not re.search("[1-9]", text)
        small = bool(text) and value != 0 and digits < -2
        if vanished or small:
            text = re.sub(r"e([-+])0", r"e\1", f"{value:.3g}")
        texts.append(_minus(text))
    return texts


def _minus(text: str) -> str:
    """Hyphens as minus signs."""
    return text.replace("-", "\N{MINUS SIGN}")
