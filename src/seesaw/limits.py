"""Time and memory that rules ask for where they depend on what a job has to do. Torch-free."""

import logging
import math
from collections.abc import Mapping
from typing import Any

from seesaw.costs.flops import latent_shape
from seesaw.costs.rules import COSTS
from seesaw.costs.study import Job, Study

MARGIN = 3
"""Times the plan's estimate, which is one of an H100 with the machine to itself."""

logger = logging.getLogger(__name__)


def job_minutes(
    rule: str, wildcards: Mapping[str, str], config: Mapping[str, Any], *, least: int, attempt: int
) -> int:
    """Minutes to ask for: three times what the plan estimates (:mod:`seesaw.costs`), or ``least``.

    For jobs that go on where a killed one stopped, so that each attempt gets as much again.

    Args:
        rule: that the job is of.
        wildcards: of the job.
        config: with its pool of autoencoders resolved and its splits derived.
        least: minutes of a small job, and of one that cannot be estimated.
        attempt: 1 at the first.
    """
    try:
        hours = COSTS[rule](Job(rule, dict(wildcards.items())), Study(config)).hours
    except (LookupError, OSError, TypeError, ValueError) as error:
        # a cut manifest, odd options: the job itself says so in words, and a plan fails
        logger.debug("%s %s: no estimate (%r)", rule, dict(wildcards.items()), error)
        hours = None
    return attempt * max(least, math.ceil(60 * MARGIN * (hours or 0.0)))


def latents_mb(entry: Mapping[str, Any], images: int) -> int:
    """MB (1e6 bytes) of the float32 latents of some images; 0 where the entry has no shape.

    Args:
        entry: of ``autoencoders``.
        images: how many.
    """
    shape = latent_shape(entry)
    return math.ceil(4 * math.prod(shape) * images / 1e6) if shape else 0
