"""How fast an autoencoder encodes and decodes, and how much memory that takes, as the job runs.

On a GPU work is asked for at once and done later, so a step is timed from an idle device until it
is idle again. That costs the pipeline nothing worth counting: it looks at the result of each step
anyway (is it finite?), which waits for the device. Rates are those of the whole step: images as
uint8 from the host to the device and through the encoder; latents on the device through the
decoder, rounded to uint8 and back to the host. Reading and writing files is no part of them. What
else runs on the machine is.
"""

import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Timed:
    """A step of a batch that notes its seconds and, on a GPU, the peak of its memory.

    A call that fails (out of memory: :class:`seesaw.batching.Batched` tries smaller ones) is not
    counted.

    Args:
        function: its first argument has one row per image.
        device: torch device.
    """

    def __init__(self, function: Callable[..., Any], device: str) -> None:
        self.function = function
        self.device = device
        self.calls: list[tuple[int, float]] = []
        """Images and seconds of each call."""
        self.peak_bytes: int | None = None
        """Most memory that tensors held in any of the calls; None on the CPU."""

    def __call__(self, *rows: Any, **options: Any) -> Any:
        """Call the function."""
        cuda = torch.device(self.device).type == "cuda"
        if cuda:
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
        start = time.perf_counter()
        result = self.function(*rows, **options)
        if cuda:
            torch.cuda.synchronize(self.device)
        self.calls.append((len(rows[0]), time.perf_counter() - start))
        if cuda:
            peak = torch.cuda.max_memory_allocated(self.device)
            self.peak_bytes = max(self.peak_bytes or 0, peak)
        return result


def throughput(calls: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """Images per second without the warm-up.

    The first call of each batch size is left out: it pays for what is set up once (a compiled
    autoencoder, for each size). Where that leaves nothing, only the very first call is; where there
    is one call, it counts.

    Args:
        calls: images and seconds of each call, in order.

    Returns:
        ``images_per_second``, ``images`` and ``seconds`` that it is of, the largest ``batch_size``
        among them, and whether it is ``warmed_up``.

    Raises:
        ValueError: no call.
    """
    if not calls:
        raise ValueError("no batch was timed")
    sizes = [size for size, _ in calls]
    again = [call for place, call in enumerate(calls) if call[0] in sizes[:place]]
    kept = again or calls[1:] or calls
    images, seconds = sum(size for size, _ in kept), sum(seconds for _, seconds in kept)
    return {
        "images_per_second": images / seconds,
        "images": images,
        "seconds": seconds,
        "batch_size": max(size for size, _ in kept),
        "warmed_up": len(calls) > 1,
    }


def speed(autoencoder: Any, encode: Timed, decode: Timed, device: str) -> dict[str, Any]:
    """What the file ``speed.json`` holds.

    Args:
        autoencoder: whose dtype is asked for.
        encode: the step after all batches.
        decode: the same.
        device: torch device.

    Returns:
        ``device`` (its name), ``threads`` (None on a GPU), ``dtype`` (of the weights; None where
        there are none, or none that can be seen), ``torch``; ``encode`` and ``decode``, see
        :func:`throughput`, each with ``peak_bytes`` (None on the CPU); ``peak_bytes`` and
        ``peak_of``, what it is the peak of.
    """
    cuda = torch.device(device).type == "cuda"
    peaks = [step.peak_bytes for step in (encode, decode) if step.peak_bytes is not None]
    return {
        "device": torch.cuda.get_device_name(device) if cuda else cpu_name(),
        "threads": None if cuda else torch.get_num_threads(),
        "dtype": _dtype(autoencoder),
        "torch": torch.__version__,
        "encode": {**throughput(encode.calls), "peak_bytes": encode.peak_bytes},
        "decode": {**throughput(decode.calls), "peak_bytes": decode.peak_bytes},
        "peak_bytes": max(peaks) if peaks else process_peak_bytes(),
        "peak_of": "tensors on the GPU" if peaks else "resident set of the process",
    }


def cpu_name() -> str:
    """Model of the processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def process_peak_bytes() -> int:
    """Largest resident set of this process so far, libraries and the loading of weights included.

    Linux's own mark of it; elsewhere that of ``getrusage``.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _dtype(autoencoder: Any) -> str | None:
    if not isinstance(autoencoder, nn.Module):
        return None
    floats = (p.dtype for p in autoencoder.parameters() if p.is_floating_point())
    found = next(floats, None)
    return None if found is None else str(found).removeprefix("torch.")
