"""Tables made from the published numbers alone; the function bears the name of its output.

``snakemake published`` writes each as ``<results>/published/tables/NAME.csv``. Nothing here was
measured by this workflow; nothing needs a GPU, images or weights. Missing cells are empty.
"""

from collections.abc import Callable, Mapping

import pandas as pd

from seesaw import tables
from seesaw.published.correlation import (
    comparisons,
    correlations,
    cross_paper_correlations,
    ifid_subsets,
    ifid_vs_gfid,
)
from seesaw.published.data import (
    autoencoders,
    benchmark,
    duplicate_pairs,
    noise_floor,
    read,
    scores,
)
from seesaw.published.joined import cross_paper
from seesaw.published.selection import regret
from seesaw.registry import unknown
from seesaw.stats import correlate, fisher_interval, smallest_detectable

SHORT = {"PCC": "pearson", "SRCC": "spearman"}


def table2() -> pd.DataFrame:
    """Seesaw Table 2: six autoencoders, generation to latent condition, as printed."""
    table = tables.table2(scores("table2"))
    return table.drop(columns="Group").rename(columns={"n images": "n images (reconstruction)"})


def table5() -> pd.DataFrame:
    """Seesaw Table 5: 33 autoencoders, with families and duplicates, as printed."""
    published = scores()
    table = tables.table5(published)
    names = published.drop_duplicates("autoencoder").set_index("autoencoder")
    of = names.loc[table["Autoencoder"]]
    table.insert(2, "Name in the paper", _printed_names(table["Autoencoder"]))
    table.insert(1, "Family", of["family"].to_numpy())
    empty = [column for column in table if table[column].isna().all()]
    return table.drop(columns=["Row", *empty])


def _printed_names(names: pd.Series) -> list[str]:
    return autoencoders().loc[names, "seesaw_table5"].tolist()


def noise() -> pd.DataFrame:
    """What Seesaw's numbers are worth: differences of Table 5's rows of the same weights.

    The last row is the largest of them, the noise floor that own measurements are compared with.
    """
    pairs = duplicate_pairs().round(6)
    floor = {"autoencoder": "noise floor (largest)", "duplicate_of": "", **noise_floor()}
    return pd.concat([pairs, pd.DataFrame([floor])], ignore_index=True).drop(columns="gfid")


def ifid_table1() -> pd.DataFrame:
    """Table 1 of the iFID paper: Pearson correlation of rFID and iFID with gFID(t), with intervals.

    The paper prints no interval; Fisher's is of its 13 autoencoders. SiT-XL without guidance.
    """
    table, n = read("ifid_table1"), _in_paper()
    rows = []
    for t, part in table.groupby("t", sort=True):
        row = {"t": t}
        for metric, value in part.set_index("metric")["pcc_with_gfid_t"].items():
            row |= _cells(f"PCC {metric}", value, "pearson", n)
        rows.append(row | {"n": n})
    return pd.DataFrame(rows)


def ifid_table3() -> pd.DataFrame:
    """Table 3 of the iFID paper: what goes along with gFID, with intervals.

    Columns per model, guidance and coefficient, each followed by its Fisher interval, which the
    paper does not print. The last row computes iFID's coefficients again from the benchmark, on
    the paper's autoencoders (SiT-B: one fewer). ``Smallest detectable``: the absolute correlation
    that n autoencoders tell from 0 with 80% power.
    """
    table, n = read("ifid_table3"), _in_paper()
    rows = []
    for metric, part in table.groupby("metric", sort=False):
        row = {"Metric": metric, "Kind": part["kind"].iloc[0]}
        for model, cfg, pcc, srcc in part[["diffusion_model", "cfg", "pcc", "srcc"]].itertuples(
            index=False
        ):
            for short, value in (("PCC", pcc), ("SRCC", srcc)):
                row |= _cells(_setting(short, model, cfg), value, SHORT[short], n)
        rows.append({**row, "n": n, "Smallest detectable": round(smallest_detectable(n), 2)})
    again = benchmark()
    again = again[again["in_paper"]]
    row = {"Metric": "iFID, benchmark", "Kind": "non-reconstruction"}
    counts = []
    for model, column in (("SiT-B", "gfid_b_no_cfg"), ("SiT-XL", "gfid_xl_no_cfg")):
        for short, method in SHORT.items():
            found = correlate(again["ifid"], again[column], method)
            row |= _cells(_setting(short, model, "no"), found.value, method, found.n)
        counts.append(found.n)
    row["n"] = max(counts)
    row["Note"] = f"computed from the Readme's benchmark; n = {counts[0]} for SiT-B"
    return pd.DataFrame([*rows, row])


def ifid_table4() -> pd.DataFrame:
    """Table 4 of the iFID paper: interpolation, reference images, K; with Fisher's intervals."""
    return _with_intervals(
        "ifid_table4",
        {
            "interpolation": "Interpolation",
            "n_reference_images": "Reference images",
            "top_k": "K",
        },
        {"no_cfg": "gFID SiT-XL, no guidance", "cfg": "gFID SiT-XL, guidance"},
    )


def ifid_table5() -> pd.DataFrame:
    """Table 5 of the iFID paper: interpolation strength; with Fisher's intervals.

    The alphas between 0 and 0.5 are lost in the source and inferred (``Where alpha is from``).
    """
    table = _with_intervals(
        "ifid_table5",
        {"alpha": "alpha", "alpha_source": "Where alpha is from"},
        {
            "rfid": "rFID",
            "gfid_xl_no_cfg": "gFID SiT-XL, no guidance",
            "gfid_xl_cfg": "gFID SiT-XL, guidance",
        },
    )
    words = table["Where alpha is from"].str.replace("_", " ")
    return table.assign(**{"Where alpha is from": words})


def _with_intervals(
    source: str, settings: Mapping[str, str], targets: Mapping[str, str]
) -> pd.DataFrame:
    n = _in_paper()
    rows = []
    for _, printed in read(source).iterrows():
        row = {words: printed[column] for column, words in settings.items()}
        for target, words in targets.items():
            for short, method in SHORT.items():
                value = printed[f"{short.lower()}_{target}"]
                row |= _cells(f"{short} with {words}", value, method, n)
        rows.append(row | {"n": n})
    return pd.DataFrame(rows)


def _cells(name: str, value: float, method: str, n: int) -> dict[str, float | None]:
    low, high = fisher_interval(value, n, method) or (None, None)
    cells = {name: value, f"{name}: low": low, f"{name}: high": high}
    return {key: None if cell is None else round(cell, 4) for key, cell in cells.items()}


def _setting(short: str, model: str, cfg: str) -> str:
    return f"{short} {model}, {'guidance' if cfg == 'yes' else 'no guidance'}"


def _in_paper() -> int:
    return len(read("ifid_table2"))


TABLES: Mapping[str, Callable[..., pd.DataFrame]] = {
    function.__name__: function
    for function in (
        table2,
        table5,
        noise,
        correlations,
        comparisons,
        regret,
        ifid_table1,
        ifid_table3,
        ifid_table4,
        ifid_table5,
        ifid_vs_gfid,
        ifid_subsets,
        cross_paper,
        cross_paper_correlations,
    )
}
"""Name of the table -> its function."""
SEEDED = ("correlations", "ifid_vs_gfid", "cross_paper_correlations")
"""Tables whose intervals and p-values are drawn."""


def make_table(name: str, seed: int = 0) -> pd.DataFrame:
    """The table of that name.

    Raises:
        ValueError: there is none; the message lists them.
    """
    if name not in TABLES:
        raise unknown("published table", name, TABLES)
    return TABLES[name](seed) if name in SEEDED else TABLES[name]()
