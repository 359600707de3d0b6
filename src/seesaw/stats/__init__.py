"""Statistics over a handful of autoencoders: value, interval, p, and words where there is none.

Everything is float64 and seeded, and does not depend on the order of the autoencoders. The pairs
are few (6 to 33 in the papers), so :func:`correlate` gives a percentile bootstrap over autoencoders
and a permutation test, neither of which needs a normal distribution. Bad input gets None, or a
``note`` in words, never NaN.

Limits: on simulated normal pairs with correlation 0 to 0.97 the 95% percentile interval covers the
truth in 95-99% (Spearman) and 88-92% (Pearson) of the cases at n = 10, 95-98% and 92-94% at n = 33;
at n = 6 and a correlation of 0.9 or more in 69-86%, since it has no width where the observed
correlation is perfect. Variants of one model are not independent autoencoders: resample whole
families (``bca_interval(..., clusters=families)``) or give every family one vote
(:func:`one_per_family`).
"""

from seesaw.stats.comparison import Comparison, compare_dependent, partial
from seesaw.stats.correlation import (
    EXACT_UP_TO,
    PERMUTATIONS,
    Correlation,
    correlate,
    permutation_p,
)
from seesaw.stats.intervals import (
    RESAMPLES,
    bca_interval,
    bootstrap_interval,
    fisher_interval,
)
from seesaw.stats.robustness import (
    LeaveOneOut,
    leave_one_out,
    one_per_family,
    smallest_detectable,
)
from seesaw.stats.values import METHODS, Method, kendall, pearson, spearman

__all__ = [
    "EXACT_UP_TO",
    "METHODS",
    "PERMUTATIONS",
    "RESAMPLES",
    "Comparison",
    "Correlation",
    "LeaveOneOut",
    "Method",
    "bca_interval",
    "bootstrap_interval",
    "compare_dependent",
    "correlate",
    "fisher_interval",
    "kendall",
    "leave_one_out",
    "one_per_family",
    "partial",
    "pearson",
    "permutation_p",
    "smallest_detectable",
    "spearman",
]
