"""Correlations of published numbers with everything that says how far they can be trusted."""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from seesaw.published.data import autoencoders, benchmark, read, scores, subsets
from seesaw.score_table import CONDITIONS, label, measured, pool, worse
from seesaw.stats import (
    EXACT_UP_TO,
    Method,
    bca_interval,
    compare_dependent,
    fisher_interval,
    kendall,
    leave_one_out,
    one_per_family,
    partial,
    pearson,
    permutation_p,
    smallest_detectable,
    spearman,
)

COEFFICIENTS = {"pearson": pearson, "spearman": spearman, "kendall": kendall}
METHODS: tuple[Method, ...] = ("pearson", "spearman", "kendall")
RESAMPLES = 2000
"""Of the bootstrap: enough for its 2.5% tails, and all tables together take seconds."""
PERMUTATIONS = 5000
"""Where n is too large for all: the smallest p is 0.0002."""
PREDICTORS = ("gfid", "rfid", "psnr", "ssim", "lpips")
LATENT = ("latent-canny", "latent-depth")
TABLE2_PREDICTORS = ("gfid", "inception-score", "precision", "recall", *PREDICTORS[1:])
TABLE2_CONDITIONS = ("spatial", "identity", "face-recall", "clip", "dino", *LATENT)
DIGITS = 6


def correlations(seed: int = 0) -> pd.DataFrame:
    """Seesaw Figure 2 in numbers: every generation and reconstruction metric by every condition.

    For each way to count autoencoders (:func:`seesaw.published.subsets`, and Table 2's six rows as
    printed with what only they have) and each of Pearson, Spearman and Kendall. Oriented: values
    of higher-is-better metrics change sign, so + means that both get worse together. p-values are
    not corrected for the number of pairs.

    Returns:
        The columns of :func:`correlation_row`, after ``subset``, ``x`` and ``y`` (labels).
    """
    rows = []
    for subset, part in subsets(scores()).items():
        pairs = itertools.product(measured(part, PREDICTORS), CONDITIONS)
        rows += list(_pairs(subset, part, pairs, seed, by_family=subset != "one per family"))
    part = scores("table2")
    pairs = itertools.product(TABLE2_PREDICTORS, TABLE2_CONDITIONS)
    rows += list(_pairs("Table 2 as printed", part, pairs, seed, by_family=False))
    return pd.DataFrame(rows)


def _pairs(
    subset: str,
    part: pd.DataFrame,
    pairs: Iterator[tuple[str, str]],
    seed: int,
    *,
    by_family: bool,
) -> Iterator[dict[str, object]]:
    families = part.drop_duplicates("autoencoder").set_index("autoencoder")["family"]
    families = families.reindex(pool(part).index) if by_family else None
    pairs = list(pairs)
    oriented = {metric: worse(part, metric) for metric in sorted(set(itertools.chain(*pairs)))}
    for (x, y), method in itertools.product(pairs, METHODS):
        named = {"subset": subset, "x": label(x), "y": label(y)}
        yield named | correlation_row(oriented[x], oriented[y], method, seed, families)


def correlation_row(
    x: pd.Series,
    y: pd.Series,
    method: Method,
    seed: int,
    families: pd.Series | None = None,
) -> dict[str, object]:
    """A correlation over autoencoders with its uncertainty, as cells of a row.

    Args:
        x: values by autoencoder, NaN where missing.
        y: values of the same autoencoders.
        method: ``"pearson"``, ``"spearman"`` or ``"kendall"``.
        seed: of bootstrap and permutations.
        families: family of each autoencoder; with it, a second interval resamples whole families.

    Returns:
        ``method``, ``value``, ``n``; ``bca_low``/``_high``: 95% bootstrap (bias-corrected and
        accelerated); ``family_low``/``_high``: the same resampling families; ``fisher_low``/
        ``_high``: by Fisher's z; ``p``: two-sided permutation p, ``p_method``; ``loo_low``/
        ``_high``: range with one autoencoder left out, ``..._without``: which; ``detectable``: the
        smallest absolute correlation that n points tell from 0 with 80% power; ``note``: why a cell
        is empty. Missing is None, never NaN.
    """
    whole = x.notna() & y.notna()
    a, b, n = x[whole].to_numpy(np.float64), y[whole].to_numpy(np.float64), int(whole.sum())
    value = COEFFICIENTS[method](a, b) if n >= 3 else None
    row: dict[str, object] = {"method": method, "value": _rounded(value), "n": n}
    empty = dict.fromkeys(
        (
            "bca_low", "bca_high", "family_low", "family_high", "fisher_low", "fisher_high",
            "p", "p_method", "loo_low", "loo_low_without", "loo_high", "loo_high_without",
            "detectable",
        )
    )  # fmt: skip
    row |= empty
    lost = len(whole) - n
    notes = [f"{lost} of {len(whole)} pairs left out: a value is missing"] if lost else []
    row["detectable"] = _rounded(smallest_detectable(n), 4)
    if value is None:
        why = "all values of one metric are equal" if n >= 3 else f"{n} of the 3 pairs it takes"
        return {**row, "note": "; ".join([why, *notes])}
    in_order = np.lexsort((b, a))  # so that the order of the autoencoders changes no draw
    settings = {"seed": seed, "resamples": RESAMPLES}
    row |= _interval("bca", bca_interval(a, b, method, **settings))
    row |= _interval("fisher", fisher_interval(value, n, method))
    if families is not None:
        labels = families[whole].to_numpy()
        if len(set(labels)) < n:
            row |= _interval("family", bca_interval(a, b, method, clusters=labels, **settings))
    p = permutation_p(a[in_order], b[in_order], method, seed=seed, permutations=PERMUTATIONS)
    row |= {"p": _rounded(p), "p_method": "exact" if n <= EXACT_UP_TO else "Monte Carlo"}
    without = leave_one_out(a, b, method)
    if without is not None:
        names = x.index[whole]
        row["loo_low"] = _rounded(without.low)
        row["loo_high"] = _rounded(without.high)
        row["loo_low_without"] = names[without.low_without]
        row["loo_high_without"] = names[without.high_without]
    return {**row, "note": "; ".join(notes)}


def _interval(name: str, interval: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {f"{name}_low": _rounded(low, 4), f"{name}_high": _rounded(high, 4)}


def _rounded(value: float | None, digits: int = DIGITS) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), digits)


def benchmark_subsets() -> dict[str, pd.DataFrame]:
    """The iFID benchmark, and the ways to count its autoencoders."""
    table = benchmark().set_index("vae")
    both = table["gfid_b_no_cfg"].notna()
    once = {"family": sorted(set(table["family"]))}
    votes = pd.DataFrame(once).set_index("family")
    for column in ("gfid_xl_no_cfg", "gfid_b_no_cfg", "ifid"):
        there = table[column].notna()
        means, names = one_per_family(table.loc[there, column], table.loc[there, "family"])
        votes[column] = pd.Series(means, list(names))
    return {
        "all": table,
        "in the paper": table[table["in_paper"]],
        "all, measured with both models": table[both],
        "in the paper, measured with both models": table[table["in_paper"] & both],
        "one per family": votes,
    }


BENCHMARK_PAIRS: Mapping[tuple[str, str], tuple[str, str] | None] = {
    ("iFID", "gFID SiT-XL"): ("iFID", "SiT-XL"),
    ("iFID", "gFID SiT-B"): ("iFID", "SiT-B"),
    ("gFID SiT-XL", "gFID SiT-B"): None,
}
"""Pair of columns -> (metric, model) of Table 3 of the iFID paper, if it prints the pair."""
BENCHMARK_COLUMNS = {
    "iFID": "ifid",
    "gFID SiT-XL": "gfid_xl_no_cfg",
    "gFID SiT-B": "gfid_b_no_cfg",
}


def printed_correlation(metric: str, model: str, cfg: str, method: str) -> float | None:
    """Coefficient that Table 3 of the iFID paper prints; None for Kendall's, which it has not."""
    table = read("ifid_table3")
    chosen = (
        (table["metric"] == metric) & (table["diffusion_model"] == model) & (table["cfg"] == cfg)
    )
    column = {"pearson": "pcc", "spearman": "srcc"}.get(method)
    return None if column is None else float(table.loc[chosen, column].iloc[0])


def ifid_vs_gfid(seed: int = 0) -> pd.DataFrame:
    """Does iFID go along with gFID? The benchmark's correlations beside the paper's.

    Without guidance. gFID of the two models with each other stands below: no metric can be expected
    to predict gFID better than another model's gFID does.

    Returns:
        ``x``, ``y``, ``subset``, the columns of :func:`correlation_row`, ``paper`` (as printed),
        ``difference`` and ``paper_in_interval`` (whether the BCa interval holds it).
    """
    rows = []
    for (x, y), printed in BENCHMARK_PAIRS.items():
        for (subset, table), method in itertools.product(benchmark_subsets().items(), METHODS):
            row = correlation_row(
                table[BENCHMARK_COLUMNS[x]], table[BENCHMARK_COLUMNS[y]], method, seed
            )
            row = {"x": x, "y": y, "subset": subset, **row}
            paper = printed_correlation(*printed, "no", method) if printed else None
            row["paper"] = paper
            row["difference"] = None if paper is None else _rounded(row["value"] - paper)
            row["paper_in_interval"] = _holds(row["bca_low"], row["bca_high"], paper)
            rows.append(row)
    return pd.DataFrame(rows).drop(columns=["family_low", "family_high"])


def _holds(low: float | None, high: float | None, value: float | None) -> str | None:
    if low is None or high is None or value is None:
        return None
    return "yes" if low <= value <= high else "no"


def ifid_subsets(leave_out: int = 3) -> pd.DataFrame:
    """Whether the benchmark's numbers can be the paper's: every subset that leaves out a few.

    Args:
        leave_out: up to how many autoencoders are left out.

    Returns:
        A row per model and number left out: how many subsets there are, the ranges of Pearson and
        Spearman over them, and how many round to both of the paper's values.
    """
    table = benchmark()
    rows = []
    for model, column in (("SiT-XL", "gfid_xl_no_cfg"), ("SiT-B", "gfid_b_no_cfg")):
        pair = table[["ifid", column]].dropna().to_numpy()
        paper = [printed_correlation("iFID", model, "no", m) for m in ("pearson", "spearman")]
        for out in range(leave_out + 1):
            kept = np.array(list(itertools.combinations(range(len(pair)), len(pair) - out)))
            x, y = pair[kept, 0], pair[kept, 1]
            found = np.stack([_pearson(x, y), _pearson(_ranks(x), _ranks(y))])
            hits = (np.abs(found.round(2) - np.array(paper)[:, None]) < 1e-9).all(axis=0)
            low, high = found.min(axis=1), found.max(axis=1)
            rows.append(
                {
                    "model": model,
                    "n": len(pair) - out,
                    "left_out": out,
                    "subsets": len(kept),
                    "paper_pcc": paper[0],
                    "pcc_low": _rounded(low[0]),
                    "pcc_high": _rounded(high[0]),
                    "paper_srcc": paper[1],
                    "srcc_low": _rounded(low[1]),
                    "srcc_high": _rounded(high[1]),
                    "subsets_with_both_of_the_paper": int(hits.sum()),
                }
            )
    return pd.DataFrame(rows)


def _ranks(rows: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(rows, axis=1)


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = (rows - rows.mean(axis=1, keepdims=True) for rows in (x, y))
    return (x * y).sum(axis=1) / np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))


def comparisons() -> pd.DataFrame:
    """Does one metric predict better than another? Williams' test of dependent correlations.

    Four questions: whether PSNR predicts each condition drift better than rFID, whether gFID does
    it worse than PSNR (6 rows), whether iFID predicts gFID better than rFID where the tables of
    both papers have the autoencoder (6), and the same from the coefficients that the iFID paper
    prints (13 autoencoders: r(iFID, gFID) and r(rFID, gFID) in Table 3, r(iFID, rFID) in the last
    row of Table 5, rounded to two digits). Of Spearman's the test is an approximation.

    Returns:
        ``question``, ``subset``, ``target``, ``method``, ``first``, ``second`` (names),
        ``r_first``, ``r_second`` (correlation with the target), ``r_between`` (with each other),
        ``first_given_second``, ``second_given_first`` (with the target, the other held fixed),
        ``n``, ``t``, ``p`` (two-sided, not corrected for the number of rows), ``verdict``,
        ``note``. + means worse together.
    """
    rows = [*_predict_drift(), *_predict_gfid(), *_printed_coefficients()]
    return pd.DataFrame(rows)


def _predict_drift() -> Iterator[dict[str, object]]:
    for subset, part in subsets(scores()).items():
        seconds = ("rfid", "gfid") if subset == "rows with gFID" else ("rfid",)
        oriented = {metric: worse(part, metric) for metric in ("psnr", *seconds, *CONDITIONS)}
        for second, target, method in itertools.product(seconds, CONDITIONS, METHODS[:2]):
            metrics = ("psnr", second, target)
            columns = np.stack([oriented[metric].to_numpy() for metric in metrics])
            names = [label(metric) for metric in metrics]
            yield comparison_row("drift", subset, names, columns, method)


def _predict_gfid() -> Iterator[dict[str, object]]:
    table = benchmark().set_index("autoencoder")
    part = scores()
    for metric, method in itertools.product(("rfid", "psnr"), METHODS[:2]):
        columns = pd.concat(
            [table["ifid"], worse(part, metric).rename(metric), table["gfid_xl_no_cfg"]],
            axis=1,
            join="inner",
        ).dropna()
        names = ["iFID", label(metric), "gFID SiT-XL"]
        question = "gFID, autoencoders in both papers' tables"
        yield comparison_row(question, "all", names, columns.to_numpy().T, method)


def _printed_coefficients() -> Iterator[dict[str, object]]:
    between = read("ifid_table5").iloc[-1]
    n = len(read("ifid_table2"))
    for model, cfg, method in itertools.product(("SiT-XL", "SiT-B"), ("no", "yes"), METHODS[:2]):
        first, second = (printed_correlation(m, model, cfg, method) for m in ("iFID", "rFID"))
        each_other = between["pcc_rfid" if method == "pearson" else "srcc_rfid"]
        matrix, note = feasible(each_other, first, second)
        guided = "with guidance" if cfg == "yes" else "no guidance"
        names = ["iFID", "rFID", f"gFID {model}, {guided}"]
        # Williams' t depends on the three coefficients and n only, so that any vectors with them do
        vectors = vectors_with(matrix, n)
        question = "gFID, from the paper's coefficients"
        row = comparison_row(question, "in the paper", names, vectors, "pearson")
        yield row | {"method": method, "note": "; ".join(n for n in (note, row["note"]) if n)}


def feasible(between: float, first: float, second: float) -> tuple[np.ndarray, str]:
    """The correlations of two metrics and a target as a matrix that some values can have.

    Coefficients printed with two digits may contradict each other. Then they are moved within
    their rounding to where they contradict each other least, which the note says.

    Returns:
        The matrix (3, 3) of first, second and target; and a note, empty if nothing was moved.

    Raises:
        ValueError: no coefficients that round to these are possible.
    """
    given = np.array([between, first, second])
    moves = np.array(list(itertools.product((-0.005, 0, 0.005), repeat=3)))
    for moved in (given[None], np.clip(given + moves, -1, 1)):
        c, a, b = moved.T
        room = 1 - a**2 - b**2 - c**2 + 2 * a * b * c
        if room.max() > 0:
            c, a, b = moved[room.argmax()]
            matrix = np.array([[1, c, a], [c, 1, b], [a, b, 1]])
            if len(moved) == 1:
                return matrix, ""
            words = f"{first:g}, {second:g} and {between:g} with each other cannot all hold"
            return matrix, f"{words}; moved by up to 0.005 each"
    raise ValueError(
        f"no values have the correlations {first:g} and {second:g} with a target and {between:g} "
        "with each other, not even within 0.005"
    )


def vectors_with(matrix: np.ndarray, n: int) -> np.ndarray:
    """Vectors (k, n) whose Pearson correlations are exactly ``matrix`` (k, k), positive definite.

    Raises:
        ValueError: no vectors have these correlations.
    """
    values = np.linalg.eigvalsh(matrix)
    if values.min() <= 0:
        raise ValueError(f"no {n} autoencoders have the correlations {np.asarray(matrix).tolist()}")
    waves = np.cos(np.pi * np.outer(np.arange(1, len(matrix) + 1), np.arange(n) + 0.5) / n)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)  # orthonormal and centred (DCT-II)
    return np.linalg.cholesky(matrix) @ waves


def comparison_row(
    question: str, subset: str, names: Sequence[str], columns: np.ndarray, method: str
) -> dict[str, object]:
    """Cells of one comparison; ``columns`` are (first, second, target), each (n,)."""
    a, b, target_values = columns
    found = compare_dependent(a, b, target_values, method=method)
    first, second, target = names
    given = [partial(a, target_values, b, method), partial(b, target_values, a, method)]
    notes = [found.note.replace(": are both metrics oriented?", "")]
    notes += [
        f"{name} given {other}: {part.note}"
        for name, other, part in zip((first, second), (second, first), given, strict=True)
        if part.value is None
    ]
    verdict = "cannot be told"
    if found.p is not None and found.p < 0.05:
        verdict = f"{first if found.first > found.second else second} predicts better"
    return {
        "question": question,
        "subset": subset,
        "target": target,
        "method": method,
        "first": first,
        "second": second,
        "r_first": _rounded(found.first),
        "r_second": _rounded(found.second),
        "r_between": _rounded(found.between),
        "first_given_second": _rounded(given[0].value),
        "second_given_first": _rounded(given[1].value),
        "n": found.n,
        "t": _rounded(found.t),
        "p": _rounded(found.p, 6),
        "verdict": verdict,
        "note": "; ".join(note for note in notes if note),
    }


def cross_paper_correlations(seed: int = 0) -> pd.DataFrame:
    """What no paper has: iFID and its gFID (benchmark) against Seesaw's measurements.

    On the autoencoders that stand in both tables: 6, of 3 families, so that hardly anything can be
    told; the columns say so. Oriented as in :func:`correlations`.
    """
    table = benchmark().set_index("autoencoder")
    part = scores()
    shared = [name for name in table.index if name in set(part["autoencoder"])]
    metrics = ("rfid", "psnr", "ssim", "lpips", *CONDITIONS)
    families = autoencoders()["family"].reindex(shared)
    oriented = {metric: worse(part, metric).reindex(shared) for metric in metrics}
    rows = []
    for (x, column), y, method in itertools.product(
        BENCHMARK_COLUMNS.items(), metrics, METHODS[:2]
    ):
        row = correlation_row(table.loc[shared, column], oriented[y], method, seed, families)
        rows.append({"x": x, "y": label(y), **row})
    return pd.DataFrame(rows)
