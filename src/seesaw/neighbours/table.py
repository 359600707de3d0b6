"""The neighbour table: written per part, merged into the exact top-K. No torch here.

Columns: ``distance``, ``references`` (size of the reference set, or "all"), ``query``, ``rank`` (0
is the nearest), ``neighbour``, ``cost`` (squared L2, or minus the cosine) and ``msd`` (mean squared
difference of the two latents, which the draw of iFID weighs by).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from seesaw.files import write_parquet

if TYPE_CHECKING:
    from seesaw.neighbours.search import TopK


def write_neighbours(
    output: str | Path,
    tops: Mapping[str, Mapping[int | str, "TopK"]],
    query_ids: Sequence[str],
    reference_ids: Sequence[str],
    attributes: Mapping[str, Any],
) -> None:
    """Write the neighbours that were found, one row each; the merge settles ties and order.

    ``attributes`` are kept in the file and are the ``attrs`` of the table that is read from it.
    """
    query, reference = np.array(query_ids, object), np.array(reference_ids, object)
    frames: list[pd.DataFrame] = []
    for distance, size, top in ((d, s, t) for d, sizes in tops.items() for s, t in sizes.items()):
        row, rank = np.nonzero(top.index >= 0)
        frames.append(
            pd.DataFrame(
                {
                    "distance": distance,
                    "references": str(size),
                    "query": query[row],
                    "rank": rank,
                    "neighbour": reference[top.index[row, rank]],
                    "cost": top.cost[row, rank],
                    "msd": top.msd[row, rank],
                }
            )
        )
    table = pd.concat(frames, ignore_index=True)
    table.attrs = dict(attributes)
    write_parquet(output, table)


def merge_neighbours(*, parts: Sequence[str | Path], output: str | Path, k: int) -> None:
    """Merge the tables of all parts into the exact top-K, one distance and size at a time.

    Args:
        parts: tables made by :func:`find_neighbours`, one per part.
        output: table of the same columns; ``rank`` runs from 0 (nearest) to ``k`` - 1.
        k: neighbours per query.
    """
    keys = ["distance", "references"]
    settings = pd.concat([pd.read_parquet(part, columns=keys) for part in parts]).drop_duplicates()
    tables, incomplete = [], 0
    for setting in sorted(settings.itertuples(index=False, name=None)):
        these = [(key, "==", value) for key, value in zip(keys, setting, strict=True)]
        table = pd.concat([pd.read_parquet(part, filters=these) for part in parts])
        table = table.sort_values(["query", "cost", "neighbour"], kind="stable", ignore_index=True)
        table["rank"] = table.groupby("query").cumcount()
        tables.append(table[table["rank"] < k])
        incomplete += int((tables[-1].groupby("query").size() < k).sum())
    if incomplete:
        raise ValueError(
            f"{incomplete} queries have fewer than {k} neighbours in "
            f"{', '.join(map(str, parts))}; delete these files and rerun"
        )
    write_parquet(output, pd.concat(tables, ignore_index=True))
