"""Reading the published tables, and Seesaw's in the format of :mod:`seesaw.score_table`."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import pandas as pd

from seesaw.published.schema import SCHEMAS, check
from seesaw.registry import METRICS, unknown
from seesaw.score_table import check_scores

FOLDER = Path(__file__).parents[3] / "resources/published"
IMAGES = 50_000
"""Images of ImageNet val that Seesaw's reconstruction and drift are means over (A.1.1)."""

TABLE5 = {
    "gfid": "gfid",
    "rfid": "rfid",
    "psnr": "psnr",
    "ssim": "ssim",
    "lpips": "lpips",
    "canny_l1": "canny",
    "depth_l1": "depth",
    "seg_l1": "segmentation",
    "spatial": "spatial",
    "identity": "identity",
    "face_recall": "face-recall",
    "clip": "clip",
    "dinov2": "dino",
}
"""Column of Seesaw Table 5 -> metric."""

TABLE2 = {
    "gfid": "gfid",
    "is": "inception-score",
    "precision": "precision",
    "recall": "recall",
    "rfid": "rfid",
    "psnr": "psnr",
    "ssim": "ssim",
    "lpips": "lpips",
    "spatial": "spatial",
    "identity": "identity",
    "face_recall": "face-recall",
    "clip": "clip",
    "dino": "dino",
    "latent_canny": "latent-canny",
    "latent_depth": "latent-depth",
}
"""Column of Seesaw Table 2 -> metric."""

GENERATION = ("gfid", "inception-score", "precision", "recall")
"""Metrics that Seesaw copies from each autoencoder's own report."""

NETWORKS: Mapping[str, str] = {
    "lpips": "AlexNet",
    "rfid": "InceptionV3",
    "gfid": "authors' own report",
    "canny": "Canny",
    "depth": "MiDaS",
    "segmentation": "UniFormer",
    "identity": "InsightFace buffalo_s",
    "face-recall": "InsightFace buffalo_s",
    "clip": "CLIP ViT-B/32",
    "dino": "DINOv2 ViT-B/14",
    "latent-canny": "probe; Canny",
    "latent-depth": "probe; MiDaS",
}
"""Metric -> the network that the paper names (A.1.2)."""

UNITS = {"precision": "share", "recall": "share", "latent-canny": "L1", "latent-depth": "L1"}
HIGHER_IS_BETTER = ("inception-score", "precision", "recall")
SUBSETS = ("all rows", "rows with gFID", "duplicates removed", "one per family")


def read(name: str, folder: str | Path = FOLDER) -> pd.DataFrame:
    """One published table, checked against its schema.

    Args:
        name: file of ``resources/published`` without ``.csv`` (:data:`seesaw.published.SCHEMAS`).
        folder: where the files lie.

    Returns:
        The table as printed: text as text (blank ``""``), numbers float64 (blank NaN).

    Raises:
        ValueError: unknown name, or the file is not what its schema says.
        FileNotFoundError: there is no such folder; the message says what to do.
    """
    return _read(name, Path(folder)).copy()


@cache
def _read(name: str, folder: Path) -> pd.DataFrame:
    return check(name, printed(name, folder))


def printed(name: str, folder: str | Path = FOLDER) -> pd.DataFrame:
    """As :func:`read`, but unchecked and all cells text, with the digits that are printed."""
    if name not in SCHEMAS:
        raise unknown("published table", name, SCHEMAS)
    path = Path(folder) / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; the published numbers are read from the repository, so install "
            "seesaw from it with pip install --editable, or name the folder"
        )
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def autoencoders() -> pd.DataFrame:
    """Who is who: a row per autoencoder of any table, indexed by its name in the registry.

    Columns ``group`` (as Table 5 prints it, else of the registry), ``family`` (the six that Seesaw
    counts, SVG-T2I with SVG; else the group), ``training``, ``duplicate_of`` (registry name of the
    autoencoder whose weights it repeats), its names in the papers' tables (``""``: not in it), and
    a ``note``.

    Raises:
        ValueError: a name in the file is in none of the tables that it is said to be in, or the
            other way round.
    """
    return _autoencoders().copy()


@cache
def _autoencoders() -> pd.DataFrame:
    table = read("autoencoders").set_index("autoencoder")
    keys = {
        "seesaw_table2": "model",
        "seesaw_table5": "weight_name",
        "ifid_table2": "vae",
        "ifid_readme_benchmark": "vae",
    }
    for source, key in keys.items():
        column = "ifid_benchmark" if source == "ifid_readme_benchmark" else source
        named, printed = set(table[column]) - {""}, set(read(source)[key])
        if named != printed or table.loc[table[column] != "", column].duplicated().any():
            odd = ", ".join(sorted(named ^ printed)) or "a name that stands twice"
            raise ValueError(
                f"resources/published/autoencoders.csv, column {column}, and {source}.csv do not "
                f"name the same rows, each once: {odd}"
            )
    strangers = set(table["duplicate_of"]) - {""} - set(table.index)
    if strangers:
        raise ValueError(
            "resources/published/autoencoders.csv: duplicate_of names no autoencoder: "
            + ", ".join(sorted(strangers))
        )
    return table


def family_of(names: pd.Index | list[str]) -> list[str]:
    """Family of each autoencoder, by registry name.

    Raises:
        ValueError: a name that no paper has.
    """
    families = autoencoders()["family"]
    for name in names:
        if name not in families.index:
            raise unknown("published autoencoder", name, families.index)
    return [families[name] for name in names]


def scores(table: Literal["table5", "table2"] = "table5") -> pd.DataFrame:
    """Seesaw's published numbers as scores, ready for ``seesaw.tables`` and ``seesaw.figures``.

    ``"table5"``: the 33 autoencoders, each under its registry name, gFID where Table 5 prints it
    (6 rows), and beside them what only Table 2 has. Table 2's REPA-E row has the reconstructions
    of ``e2e-vae`` but the gFID that Table 5 gives to ``e2e-vavae-hf``: Inception Score, precision
    and recall, which come from the same report as gFID, stand with the gFID; the latent conditions
    with the reconstructions. Of each set of duplicates the row that has a gFID counts as the
    original, so that leaving out duplicates leaves all six.

    ``"table2"``: its six rows as printed, each under its model's name.

    Returns:
        The columns of :data:`seesaw.score_table.NEEDED`, ``protocol`` (source), ``note``,
        ``family`` and ``published_name``. ``n`` is 50,000 images, NaN where the paper does not say
        it (generation, faces). Cells that the paper leaves blank have no row.

    Raises:
        ValueError: a table that is neither.
    """
    if table not in ("table5", "table2"):
        raise unknown("table of scores", table, ("table5", "table2"))
    known = autoencoders()
    if table == "table2":
        printed = read("seesaw_table2").rename(columns={"model": "published_name"})
        printed["autoencoder"] = printed["published_name"]
        rows = _rows(printed, TABLE2, "Table 2")
        labels = known[known["seesaw_table2"] != ""].set_index("seesaw_table2")
        labels = labels.assign(duplicate_of="")
    else:
        printed = _named("seesaw_table5", "weight_name", "seesaw_table5")
        rows = [*_rows(printed, TABLE5, "Table 5"), *_only_in_table2(printed)]
        labels = known.assign(duplicate_of=_copies(printed))
    found = pd.DataFrame(rows)
    for column in ("group", "training", "family", "duplicate_of"):
        found[column] = [labels.loc[name, column] for name in found["autoencoder"]]
    return check_scores(found)


def _named(source: str, key: str, column: str) -> pd.DataFrame:
    """A published table with the registry name of each row and, as ``published_name``, its own."""
    known = autoencoders()[column]
    names = {printed: name for name, printed in known.items() if printed}
    table = read(source).rename(columns={key: "published_name"})
    table.insert(0, "autoencoder", table["published_name"].map(names))
    return table


def _rows(
    printed: pd.DataFrame, columns: Mapping[str, str], source: str
) -> list[dict[str, object]]:
    return [
        _score(row["autoencoder"], row["published_name"], metric, row[column], source)
        for _, row in printed.iterrows()
        for column, metric in columns.items()
        if pd.notna(row[column])
    ]


def _score(
    autoencoder: str, published_name: str, metric: str, value: float, source: str
) -> dict[str, object]:
    known = metric in METRICS
    images = metric not in (*GENERATION, "identity", "face-recall")
    unit = UNITS.get(metric, "L1" if metric == "spatial" else "1")
    return {
        "autoencoder": autoencoder,
        "published_name": published_name,
        "metric": metric,
        "variant": "",
        "value": value,
        "n": IMAGES if images else float("nan"),
        "unit": METRICS[metric].unit if known else unit,
        "higher_is_better": (
            METRICS[metric].higher_is_better if known else metric in HIGHER_IS_BETTER
        ),
        "network": NETWORKS.get(metric, ""),
        "protocol": f"data=ImageNet 256 (published); source=arXiv 2601.21633 {source}",
        "note": "copied by the paper from its authors' report" if metric in GENERATION else "",
    }


def _only_in_table2(printed5: pd.DataFrame) -> list[dict[str, object]]:
    """What Table 2 has and Table 5 has not, under registry names."""
    table = read("seesaw_table2").set_index("model")
    known = autoencoders()
    with_gfid = printed5.loc[printed5["gfid"].notna(), "autoencoder"]
    rows = []
    for name, model in known.loc[known["seesaw_table2"] != "", "seesaw_table2"].items():
        same_gfid = printed5["gfid"] == table.loc[model, "gfid"]
        for column, metric in TABLE2.items():
            if metric in TABLE5.values() or pd.isna(table.loc[model, column]):
                continue
            of = with_gfid[same_gfid].iloc[0] if metric in GENERATION else name
            rows.append(_score(of, model, metric, table.loc[model, column], "Table 2"))
    return rows


def _copies(printed: pd.DataFrame) -> pd.Series:
    """``duplicate_of``, turned around where the declared copy has a gFID and its original none."""
    copies = autoencoders()["duplicate_of"].copy()
    has_gfid = set(printed.loc[printed["gfid"].notna(), "autoencoder"])
    for original, group in copies[copies != ""].groupby(copies):
        best = next((name for name in group.index if name in has_gfid), None)
        if best is not None and original not in has_gfid:
            copies[[*group.index, original]] = best
            copies[best] = ""
    return copies


def subsets(published: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The ways to count autoencoders that every statistic is given for.

    Args:
        published: of :func:`scores`.

    Returns:
        Name of the subset (:data:`SUBSETS`) -> scores. In the first two every printed row counts
        (``duplicate_of`` is emptied); ``"rows with gFID"`` are the rows that have one;
        ``"duplicates removed"`` counts each set of weights once; in ``"one per family"`` each
        family is one row, the mean of its distinct rows, named after the family.
    """
    every = published.assign(duplicate_of="")
    with_gfid = set(published.loc[published["metric"] == "gfid", "autoencoder"])
    once = published[published["duplicate_of"] == ""]
    keys = ["family", "metric", "variant"]
    others = [c for c in once.columns if c not in (*keys, "value")]
    votes = once.groupby(keys, sort=False, as_index=False).agg(
        {"value": "mean", **dict.fromkeys(others, "first")}
    )
    votes = votes.assign(autoencoder=votes["family"], group=votes["family"], training="")
    return {
        "all rows": every,
        "rows with gFID": every[every["autoencoder"].isin(with_gfid)],
        "duplicates removed": once,
        "one per family": check_scores(votes[list(published.columns)]),
    }


def benchmark() -> pd.DataFrame:
    """The benchmark of the iFID repository's Readme: gFID and iFID of 14 autoencoders.

    Returns:
        A row per autoencoder: ``autoencoder`` (registry name), ``vae`` (as printed), ``group``,
        ``family``, ``training``, ``in_paper`` (whether Table 2 of the paper has it: 13 of 14),
        ``gfid_xl_no_cfg``, ``gfid_b_no_cfg`` (NaN for RAE), ``ifid``, and the configurations.
    """
    table = _named("ifid_readme_benchmark", "vae", "ifid_benchmark")
    table = table.rename(columns={"published_name": "vae"})
    known = autoencoders()
    for position, column in enumerate(("group", "family", "training"), start=2):
        table.insert(position, column, table["autoencoder"].map(known[column]))
    table.insert(5, "in_paper", table["autoencoder"].map(known["ifid_table2"] != ""))
    return table


def duplicate_pairs() -> pd.DataFrame:
    """Differences between Table 5's rows of the same weights: what the paper's numbers are worth.

    Returns:
        A row per declared duplicate: ``autoencoder``, ``duplicate_of``, and per metric the absolute
        difference of the two rows.
    """
    known = autoencoders()
    table = _named("seesaw_table5", "weight_name", "seesaw_table5").set_index("autoencoder")
    values = table[list(TABLE5)].rename(columns=TABLE5)
    copies = known.loc[known["duplicate_of"] != "", "duplicate_of"]
    apart = (values.loc[copies.index] - values.loc[copies].to_numpy()).abs()
    apart.insert(0, "duplicate_of", copies)
    return apart.reset_index()


def noise_floor() -> pd.Series:
    """Largest difference between two published rows of the same weights, per metric of Table 5.

    gFID, which is printed for one row of each pair at most, has none (it is left out).
    """
    pairs = duplicate_pairs().drop(columns=["autoencoder", "duplicate_of"])
    return pairs.max().dropna().round(6).rename("noise_floor")
