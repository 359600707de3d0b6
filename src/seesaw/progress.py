"""Progress of long work: a bar on a terminal, a heartbeat line per half minute in a log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
HEARTBEAT_SECONDS = 30.0

logger = logging.getLogger(__name__)


def progress(
    items: Iterable[T], *, total: int | None, what: str, unit: str = "step"
) -> Iterator[T]:
    """Yield ``items`` and report how far they are.

    Args:
        items: what to iterate over.
        total: how many items are expected; None where nobody knows.
        what: words for the log line, such as ``"training kl-f4"``.
        unit: what one item is.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        yield from tqdm(items, total=total, desc=what, unit=unit)
        return
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= HEARTBEAT_SECONDS:
            rate = done / (now - start)
            of, left = "", ""
            if total is not None:
                of, left = f"/{total}", f", {(total - done) / rate:.0f} s left"
            logger.info("%s: %d%s %ss, %.1f/s%s", what, done, of, unit, rate, left)
            last = now
    logger.info("%s: %d %ss in %.1f s", what, done, unit, time.monotonic() - start)
