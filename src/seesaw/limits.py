"""Time and memory that rules ask for where they depend on what a job has to do. Torch-free."""

import math
from collections.abc import Mapping
from typing import Any

from seesaw.costs.flops import latent_shape
from seesaw.costs.rules import COSTS
from seesaw.costs.study import Job, Study

MARGIN = 3
"""Times the plan's estimate, which is one of an H100 with the machine to itself."""


def job_minutes(
    rule: str, wildcards: Mapping[str, str], config: Mapping[str, Any], *, least: int, attempt: int
) -> int:
    """Minutes to ask for: three times what the plan estimates (:mod:`seesaw.costs`), or ``least``.

    For jobs that go on where a killed one stopped, so that each attempt gets as much again.

    Args:
        rule: that the job is of.
        wildcards: of the job.
        config: with its pool of autoencoders resolved and its splits derived.
        least: minutes of a small job, and of one whose images nobody knows the number of.
        attempt: 1 at the first.
    """
    hours = COSTS[rule](Job(rule, dict(wildcards.items())), Study(config)).hours or 0.0
    return attempt * max(least, math.ceil(60 * MARGIN * hours))


def latents_mb(entry: Mapping[str, Any], images: int) -> int:
    """MB (1e6 bytes) of the float32 latents of some images; 0 where the entry has no shape.

    Args:
        entry: of ``autoencoders``.
        images: how many.
    """
    shape = latent_shape(entry)
    return math.ceil(4 * math.prod(shape) * images / 1e6) if shape else 0
