"""What it costs to choose an autoencoder by one metric and be judged by another."""

from collections.abc import Iterator

import pandas as pd

from seesaw.published.data import benchmark, scores, subsets
from seesaw.score_table import CONDITIONS, describe, label, measured, values, worse

SELECTORS = ("gfid", "rfid", "psnr", "ssim", "lpips")
OUTCOMES = (*CONDITIONS, "gfid")
GENERATION = {"gFID SiT-XL": "gfid_xl_no_cfg", "gFID SiT-B": "gfid_b_no_cfg"}


def regret() -> pd.DataFrame:
    """Choose the autoencoder that is best by one metric: what is lost of another?

    Pools: Table 5's rows with gFID (where gFID and drift can be weighed against each other), its
    distinct rows, each family with two distinct rows or more (as an ablation would choose), the
    iFID benchmark, and the autoencoders that both papers have.

    Returns:
        A row per pool, selecting metric and outcome: ``n`` (autoencoders with both), ``chosen``,
        ``chosen_value``, ``best``, ``best_value``, ``rank`` of the chosen by the outcome (1 is
        best), ``regret`` (how much worse the chosen is than the best, in the outcome's unit,
        never negative), ``regret_share`` (of the pool's range: 0 the best, 1 the worst),
        ``random_share`` (the same of a choice by lot), ``note``.
    """
    return pd.DataFrame([row for rows in (_of_seesaw(), _of_both()) for row in rows])


def _of_seesaw() -> Iterator[dict[str, object]]:
    parts = subsets(scores())
    once = parts["duplicates removed"]
    pools = {
        "Seesaw, rows with gFID": parts["rows with gFID"],
        "Seesaw, duplicates removed": once,
    }
    for family, part in once.groupby("family", sort=False):
        if part["autoencoder"].nunique() > 1:
            pools[f"Seesaw, family {family}"] = part
    for pool, part in pools.items():
        there = measured(part, dict.fromkeys(SELECTORS + OUTCOMES))
        oriented = {metric: worse(part, metric) for metric in there}
        printed = {metric: values(part, metric) for metric in there}
        words = {metric: describe(part, metric).quantity for metric in there}
        for selector in (s for s in SELECTORS if s in oriented):
            for outcome in (o for o in OUTCOMES if o in oriented and o != selector):
                by, judged = oriented[selector], oriented[outcome]
                row = _row(pool, label(selector), words[outcome], by, judged)
                if row is not None:
                    row["chosen_value"] = printed[outcome][row["chosen"]]
                    row["best_value"] = printed[outcome][row["best"]]
                    yield row


def _of_both() -> Iterator[dict[str, object]]:
    table = benchmark().set_index("autoencoder")
    part = scores()
    shared = table.index.intersection(part["autoencoder"].unique(), sort=False)
    for outcome, column in GENERATION.items():
        row = _row("iFID benchmark", "iFID", outcome, table["ifid"], table[column])
        yield row
        other = next(o for o in GENERATION if o != outcome)
        yield _row("iFID benchmark", other, outcome, table[GENERATION[other]], table[column])
    selectors = {"iFID": table.loc[shared, "ifid"]}
    selectors["gFID SiT-XL"] = table.loc[shared, "gfid_xl_no_cfg"]
    selectors |= {label(m): worse(part, m).reindex(shared) for m in ("rfid", "psnr")}
    outcomes = {name: table.loc[shared, column] for name, column in GENERATION.items()}
    outcomes |= {label(m): worse(part, m).reindex(shared) for m in CONDITIONS}
    for selector, by in selectors.items():
        for outcome, judged in outcomes.items():
            if outcome != selector:
                row = _row("both papers", selector, outcome, by, judged)
                sign = -1 if row["best_value"] < 0 else 1  # higher-is-better came in turned around
                row["chosen_value"] *= sign
                row["best_value"] *= sign
                yield row


def _row(
    pool: str, selector: str, outcome: str, by: pd.Series, judged: pd.Series
) -> dict[str, object] | None:
    """Cells of one choice; ``by`` and ``judged`` are oriented: more is worse."""
    whole = by.notna() & judged.notna()
    by, judged = by[whole], judged[whole]
    if len(by) < 2:
        return None
    tied = by.index[by == by.min()]
    chosen, best = tied[0], judged.idxmin()
    span = judged.max() - judged.min()
    lost = judged[chosen] - judged[best]
    note = f"as good by {selector}: {', '.join(tied[1:])}" if len(tied) > 1 else ""
    return {
        "pool": pool,
        "selected_by": selector,
        "outcome": outcome,
        "n": len(by),
        "chosen": chosen,
        "chosen_value": judged[chosen],
        "best": best,
        "best_value": judged[best],
        "rank": int((judged < judged[chosen]).sum()) + 1,
        "regret": round(float(lost), 6),
        "regret_share": round(float(lost / span), 4) if span > 0 else 0.0,
        "random_share": round(float((judged.mean() - judged.min()) / span), 4) if span > 0 else 0.0,
        "note": note,
    }
