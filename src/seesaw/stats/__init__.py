"""Statistics over a handful of autoencoders: value, interval, p, and words where there is none.

Everything is float64 and seeded, and does not depend on the order of the autoencoders. The pairs
are few (6 to 33 in the papers), so :func:`correlate` gives a percentile bootstrap over autoencoders
and a permutation test, neither of which needs a normal distribution. Bad input gets None, or a
``note`` in words, never NaN.

Measured: how often 95% intervals cover the truth, in percent of 600 simulated samples of normal
pairs (standard error 1); the range over the correlations 0, 0.6, 0.9 and 0.97; Fisher where there
is one::

                          n = 6    n = 10   n = 13   n = 33
    Pearson  percentile   88-92    88-91    92-93    91-93
             BCa          93-98    92-95    93-94    92-94
             Fisher       93-96    94-96    95-97    93-96
    Spearman percentile   69-98    95-98    96-98    93-97
             BCa          69-98    94-98    95-98    94-96
             Fisher       93-98    94-97    93-97    93-96
    Kendall  percentile   69-98    95-98    96-100   94-96
             BCa          69-99    95-99    97-100   95-98
             Fisher       96-99    85-96    89-96    91-96

The 69 at n = 6 (0.97; at 0.9 it is 89) comes from samples in perfect order, where a bootstrap has
no width and Fisher none at all.

Variants of one model are not independent autoencoders. On simulated families with a correlation of
0.9 inside (6 of 4, 12 of 3, or 14 of 1 to 13; 200 samples each), BCa intervals over single
autoencoders cover in 60-83% and the permutation p is <= 0.05 in 22-35% of the cases without any
correlation. Resampling whole families (``bca_interval(..., clusters=families)``) covers in 83-95%;
one vote per family (:func:`one_per_family`) in 92-98%, with p <= 0.05 in 4-9%: prefer the latter.
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
