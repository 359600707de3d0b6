"""The cost of a job by its rule; a rule without an entry is not estimated."""

from collections.abc import Callable, Mapping

from seesaw.costs.generating import GENERATING
from seesaw.costs.measuring import MEASURING
from seesaw.costs.study import Cost, Job, Study

COSTS: Mapping[str, Callable[[Job, Study], Cost]] = {**MEASURING, **GENERATING}
"""Rule -> cost of one of its jobs. Every rule that declares ``gpu`` has an entry (tested)."""


def cost(job: Job, study: Study) -> Cost:
    """Estimate of one job; a job that declares no GPU costs no GPU-hours.

    ``hours`` counts one device; what a job does on several at once takes as many GPU-hours.
    """
    known = COSTS[job.rule](job, study) if job.rule in COSTS else Cost()
    return Cost(known.hours if job.gpu else 0.0, known.kept)
