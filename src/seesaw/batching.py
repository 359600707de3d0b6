"""Batches that fit: where one is too large for the memory, its halves are done instead.

Results do not depend on batches (each image is computed by itself), so smaller ones change speed
and, by how sums are ordered inside a matrix product, at most the last bits of a float.
"""

import gc
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

WORDS = ("out of memory", "can't allocate memory", "alloc_failed")
"""What the messages of a RuntimeError say: CUDA's, torch's CPU allocator's, cuBLAS' and cuDNN's."""


class Batched:
    """A function of a batch that is called on halves of it where the whole does not fit.

    Called with positional arguments that have one row per image (arrays, tensors, lists of ids) and
    keyword arguments that are passed on as they are. A batch that fits is passed on untouched. One
    that does not is halved until its parts fit; their results are joined in order, and later
    batches are cut to that size at once.

    Args:
        function: returns an array or a tensor with one row per image, a tuple, list or mapping of
            such, or None.
        what: what it does, in words for the log, such as ``"decoding"``.
    """

    def __init__(self, function: Callable[..., Any], what: str) -> None:
        self.function = function
        self.what = what
        self.fitted: int | None = None
        """Images at a time that fit, once a batch did not; None as long as all did."""

    def __call__(self, *rows: Any, **options: Any) -> Any:
        """Call the function on a batch, in parts if need be.

        Raises:
            MemoryError: a single image does not fit. Other errors pass as they are.
        """
        count = len(rows[0])
        parts, start = [], 0
        while start < count or not parts:
            size = min(count - start, self.fitted or count)
            whole = size == count
            part = rows if whole else tuple(row[start : start + size] for row in rows)
            done, result = self._try(part, options)
            if done:
                parts.append(result)
                start += size
            else:
                self._halve(size)
        return parts[0] if len(parts) == 1 else join(parts)

    def _try(self, rows: Sequence[Any], options: Mapping[str, Any]) -> tuple[bool, Any]:
        """Whether it fitted, and the result. The error and what it holds on to are gone by then."""
        try:
            return True, self.function(*rows, **options)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if len(rows[0]) <= 1:
                raise MemoryError(
                    f"{self.what}: not even one image fits into memory ({error}); give the job "
                    "more (--set-resources RULE:mem_mb=...), a GPU with more memory or one that "
                    "nobody else uses, or the CPU (--resources gpu=0)"
                ) from error
            return False, None

    def _halve(self, size: int) -> None:
        self.fitted = (size + 1) // 2
        logger.warning(
            "%s: %d images at a time do not fit into memory, going on with %d",
            self.what,
            size,
            self.fitted,
        )
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_initialized():
            gc.collect()
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory, of the CPU or a GPU, did not suffice."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in WORDS)


def join(parts: Sequence[Any]) -> Any:
    """Results of consecutive parts of a batch as that of the whole, along the first axis.

    Raises:
        TypeError: a part that is neither an array, a tensor, nor a tuple, list or mapping of these.
    """
    first = parts[0]
    if first is None:
        return None
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)
    if isinstance(first, Mapping):
        return {key: join([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple | list):
        return type(first)(join(column) for column in zip(*parts, strict=True))
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(first, torch.Tensor):
        return torch.cat(list(parts))
    raise TypeError(f"cannot join results of type {type(first).__name__} from parts of a batch")


def fitted_sizes(*steps: Batched) -> dict[str, dict[str, int]]:
    """What to record of a job: images at a time of each step that had to be cut; empty if none.

    Returns:
        ``{}``, or ``{"fitted_batch_size": {what: images at a time}}``.
    """
    cut = {step.what: step.fitted for step in steps if step.fitted is not None}
    return {"fitted_batch_size": cut} if cut else {}
