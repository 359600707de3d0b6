"""The papers' own numbers: read, checked and joined, without a GPU, images or weights.

``resources/published/*.csv`` holds the tables as printed (its README says where each comes from and
what is known to be inconsistent). :func:`read` gives one table, :func:`scores` Seesaw's in the
format of :mod:`seesaw.score_table`, :func:`benchmark` the iFID repository's. What is computed from
them is in :mod:`seesaw.published.tables` and :mod:`seesaw.published.reproduction`.

Names are imported on first use, so that a workflow can import this package at no cost.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seesaw.published.data import (
        autoencoders,
        benchmark,
        duplicate_pairs,
        family_of,
        noise_floor,
        read,
        scores,
        subsets,
    )
    from seesaw.published.schema import SCHEMAS, check

__all__ = [
    "SCHEMAS",
    "autoencoders",
    "benchmark",
    "check",
    "duplicate_pairs",
    "family_of",
    "noise_floor",
    "read",
    "scores",
    "subsets",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "schema" if name in ("SCHEMAS", "check") else "data"
    return getattr(import_module(f"{__name__}.{module}"), name)
