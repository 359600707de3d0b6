"""What each file of ``resources/published`` must look like; deviations are errors in words.

The files are typed from papers, so a slip is likely and silent: every column has a type and a
range, every file its number of rows, and blanks are allowed only where the source has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from seesaw.registry import unknown

FID = (0.0, 500.0)
DECIBEL = (5.0, 60.0)
SHARE = (0.0, 1.0)
CORRELATION = (-1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a published table.

    Attributes:
        kind: ``"text"``, ``"number"``, ``"integer"`` or ``"flag"`` (0 or 1).
        low: smallest allowed number.
        high: largest allowed number.
        blanks: how many cells the source leaves blank.
        allowed: the only words allowed; empty: any.
    """

    kind: Literal["text", "number", "integer", "flag"] = "text"
    low: float = float("-inf")
    high: float = float("inf")
    blanks: int = 0
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Schema:
    """A published table: where it is from, how many rows, which columns, what names a row."""

    source: str
    rows: int
    key: tuple[str, ...]
    columns: Mapping[str, Column]


def _number(bounds: tuple[float, float], blanks: int = 0) -> Column:
    return Column(kind="number", low=bounds[0], high=bounds[1], blanks=blanks)


def _correlations(*names: str) -> dict[str, Column]:
    return {name: _number(CORRELATION) for name in names}


TEXT = Column()
FLAG = Column(kind="flag")
COUNT = Column(kind="integer", low=1, high=1e9)
SEESAW = "arXiv 2601.21633"
IFID = "arXiv 2603.05630"

SCHEMAS: Mapping[str, Schema] = {
    "seesaw_table1": Schema(
        source=f"{SEESAW}, Table 1",
        rows=8,
        key=("model",),
        columns={
            "model": TEXT,
            "date": TEXT,
            "reports_rfid": FLAG,
            "reports_psnr": FLAG,
            "reports_lpips": FLAG,
            "reports_ssim": FLAG,
            "ablation_picks_best_gfid": Column(kind="flag", blanks=3),
            "ablation_picks_best_rfid": Column(kind="flag", blanks=3),
        },
    ),
    "seesaw_table2": Schema(
        source=f"{SEESAW}, Table 2",
        rows=6,
        key=("model",),
        columns={
            "model": TEXT,
            "gfid": _number(FID),
            "is": _number((1.0, 1000.0), blanks=1),
            "precision": _number(SHARE, blanks=2),
            "recall": _number(SHARE, blanks=2),
            "rfid": _number(FID),
            "psnr": _number(DECIBEL),
            "ssim": _number(SHARE),
            "lpips": _number(SHARE),
            "spatial": _number(SHARE),
            "identity": _number(CORRELATION),
            "face_recall": _number(SHARE),
            "clip": _number(CORRELATION),
            "dino": _number(CORRELATION),
            "latent_canny": _number(SHARE),
            "latent_depth": _number(SHARE),
        },
    ),
    "seesaw_table3": Schema(
        source=f"{SEESAW}, Table 3",
        rows=4,
        key=("ae", "condition"),
        columns={
            "ae": TEXT,
            "condition": Column(allowed=("canny", "depth")),
            "ae_gfid": _number(FID),
            "ae_rfid": _number(FID),
            "ae_psnr": _number(DECIBEL),
            "controlnet_fid": _number(FID),
            "controlnet_l1": _number(SHARE),
        },
    ),
    "seesaw_table4": Schema(
        source=f"{SEESAW}, Table 4",
        rows=7,
        key=("hyperparameter",),
        columns={"hyperparameter": TEXT, "value": Column(blanks=1)},
    ),
    "seesaw_table5": Schema(
        source=f"{SEESAW}, Table 5",
        rows=33,
        key=("weight_name",),
        columns={
            "group": TEXT,
            "weight_name": TEXT,
            "gfid": _number(FID, blanks=27),
            "rfid": _number(FID),
            "psnr": _number(DECIBEL),
            "ssim": _number(SHARE),
            "lpips": _number(SHARE),
            "canny_l1": _number(SHARE),
            "depth_l1": _number(SHARE),
            "seg_l1": _number(SHARE),
            "spatial": _number(SHARE),
            "identity": _number(CORRELATION),
            "face_recall": _number(SHARE),
            "clip": _number(CORRELATION),
            "dinov2": _number(CORRELATION),
        },
    ),
    "ifid_table1": Schema(
        source=f"{IFID}, Table 1",
        rows=14,
        key=("metric", "t"),
        columns={
            "metric": Column(allowed=("rFID", "iFID")),
            "t": _number(SHARE),
            "pcc_with_gfid_t": _number(CORRELATION),
        },
    ),
    "ifid_table2": Schema(
        source=f"{IFID}, Table 2",
        rows=13,
        key=("vae",),
        columns={
            "vae": TEXT,
            "citation": TEXT,
            "year": TEXT,
            "architecture": Column(allowed=("UNet", "ViT")),
            "training": TEXT,
        },
    ),
    "ifid_table3": Schema(
        source=f"{IFID}, Table 3",
        rows=40,
        key=("metric", "diffusion_model", "cfg"),
        columns={
            "metric": TEXT,
            "kind": Column(allowed=("reconstruction", "non-reconstruction")),
            "diffusion_model": Column(allowed=("SiT-B", "SiT-XL")),
            "cfg": Column(allowed=("no", "yes")),
            **_correlations("pcc", "srcc"),
        },
    ),
    "ifid_table4": Schema(
        source=f"{IFID}, Table 4",
        rows=6,
        key=("interpolation", "n_reference_images", "top_k"),
        columns={
            "interpolation": Column(allowed=("Linear", "Mask", "Spherical")),
            "n_reference_images": COUNT,
            "top_k": COUNT,
            **_correlations("pcc_no_cfg", "srcc_no_cfg", "pcc_cfg", "srcc_cfg"),
        },
    ),
    "ifid_table5": Schema(
        source=f"{IFID}, Table 5",
        rows=6,
        key=("alpha",),
        columns={
            "alpha": _number(SHARE),
            "alpha_source": Column(
                allowed=("by_definition", "inferred", "default_in_evalvae_and_review_text")
            ),
            **_correlations(
                "pcc_rfid",
                "srcc_rfid",
                "pcc_gfid_xl_no_cfg",
                "srcc_gfid_xl_no_cfg",
                "pcc_gfid_xl_cfg",
                "srcc_gfid_xl_cfg",
            ),
        },
    ),
    "ifid_readme_benchmark": Schema(
        source="github.com/tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID, Readme",
        rows=14,
        key=("vae",),
        columns={
            "vae": TEXT,
            "gfid_xl_no_cfg": _number(FID),
            "gfid_b_no_cfg": _number(FID, blanks=1),
            "ifid": _number(FID),
            "vae_config": TEXT,
            "sit_xl_model": TEXT,
            "sit_b_model": TEXT,
        },
    ),
    "autoencoders": Schema(
        source="names joined here",
        rows=41,
        key=("autoencoder",),
        columns={
            "autoencoder": TEXT,
            "group": TEXT,
            "family": TEXT,
            "training": TEXT,
            "duplicate_of": Column(blanks=37),
            "seesaw_table2": Column(blanks=35),
            "seesaw_table5": Column(blanks=8),
            "ifid_table2": Column(blanks=28),
            "ifid_benchmark": Column(blanks=27),
            "note": Column(blanks=31),
        },
    ),
}
"""Published table -> its schema. ``autoencoders`` joins the names of all of them."""


def check(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Check a table of text cells against its schema and give its columns their types.

    Args:
        name: of the schema.
        table: all cells text, ``""`` where blank, in the order of the file.

    Returns:
        The table with text columns as text (blank ``""``), numbers as float64 (blank NaN),
        integers as int64 and flags as nullable booleans.

    Raises:
        ValueError: unknown name; or what of which row was given and what is allowed.
    """
    if name not in SCHEMAS:
        raise unknown("published table", name, SCHEMAS)
    schema, where = SCHEMAS[name], f"resources/published/{name}.csv"
    if list(table.columns) != list(schema.columns):
        raise ValueError(
            f"{where} has the columns {', '.join(map(str, table.columns))}; allowed are exactly "
            f"{', '.join(schema.columns)}, in this order"
        )
    if len(table) != schema.rows:
        raise ValueError(
            f"{where} has {len(table)} rows, {schema.source} has {schema.rows}; restore the file, "
            "or change SCHEMAS in seesaw.published.schema if the source has changed"
        )
    key = list(schema.key)
    twice = table.duplicated(key)
    if twice.any():
        words = " ".join(table.loc[twice, key].iloc[0])
        raise ValueError(f"{where} has two rows {words!r}; {', '.join(key)} must name a row")
    rows = table[key].agg(" ".join, axis=1)
    typed = {
        column: _checked(table[column], about, rows, f"{where}, column {column}")
        for column, about in schema.columns.items()
    }
    return pd.DataFrame(typed)


def _checked(cells: pd.Series, about: Column, rows: pd.Series, where: str) -> pd.Series:
    blank = cells == ""
    if blank.sum() != about.blanks:
        raise ValueError(
            f"{where}: {blank.sum()} blank cells ({', '.join(rows[blank]) or 'none'}), the source "
            f"leaves {about.blanks} blank"
        )
    if about.kind == "text":
        wrong = ~blank & ~cells.isin(about.allowed) if about.allowed else cells != cells.str.strip()
        _refuse(cells[wrong], rows, where, _words(about))
        return cells
    numbers = pd.to_numeric(cells.mask(blank), errors="coerce").astype("float64")
    wrong = ~blank & (numbers.isna() | ~numbers.between(about.low, about.high))
    if about.kind == "integer":
        wrong |= numbers % 1 != 0
    if about.kind == "flag":
        wrong = ~blank & ~cells.isin(["0", "1"])
    _refuse(cells[wrong], rows, where, _words(about))
    if about.kind == "flag":
        return numbers.astype("boolean")
    return numbers.astype("int64") if about.kind == "integer" else numbers


def _words(about: Column) -> str:
    if about.allowed:
        return f"one of {', '.join(about.allowed)}"
    return {
        "text": "text without spaces at its ends",
        "flag": "0 or 1",
        "number": f"a number from {about.low:g} to {about.high:g}",
        "integer": f"a whole number from {about.low:g} to {about.high:g}",
    }[about.kind]


def _refuse(wrong: pd.Series, rows: pd.Series, where: str, allowed: str) -> None:
    if len(wrong):
        row = wrong.index[0]
        raise ValueError(f"{where}, row {rows[row]!r}: got {wrong[row]!r}, allowed is {allowed}")
