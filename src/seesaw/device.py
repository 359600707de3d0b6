"""Which device a job runs on. Call :func:`claim_device` before torch is imported.

Snakemake counts GPUs but does not say which one a job may use. So a job leases its devices: one
lock file per device and host, held as long as the process lives, and free when it dies.
"""

import atexit
import contextlib
import fcntl
import gc
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5
WAITING_SECONDS = 60.0
LISTING_SECONDS = 60.0
COLLECT_EVERY = 50_000
_held: list[int] = []


def claim_device(gpu: int) -> str:
    """The torch device of a job that was given ``gpu`` GPUs, ``"cuda"`` or ``"cpu"``.

    ``gpu=0`` is the CPU mode: the job then sees no GPU. With ``gpu >= 1`` it leases that many of
    the devices that ``CUDA_VISIBLE_DEVICES`` names (all of the host's, where it is not set) and
    waits while others hold them. Inside a SLURM job the devices that SLURM gave are used; where it
    gave more than ``gpu`` (Snakemake itself runs in an allocation), they are leased among its jobs.
    One line of the log says which devices the job holds.

    The environment variable ``SEESAW_DEVICE=cpu`` leaves all of this as it is but computes on the
    CPU: to try out on a machine without GPUs how devices are handed out, with
    ``CUDA_VISIBLE_DEVICES`` naming them.

    Raises:
        RuntimeError: the host or SLURM offers fewer GPUs, or torch cannot use them.
        ValueError: ``SEESAW_DEVICE`` is something else.
    """
    forced = os.environ.get("SEESAW_DEVICE", "")
    if forced not in ("", "cpu"):
        raise ValueError(f"SEESAW_DEVICE is {forced!r}; it can be 'cpu', or must not be set")
    _spare_collector()
    if gpu == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        logger.info("device: cpu")
        return "cpu"
    devices, origin = _hold(gpu)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
    held = f"index {', '.join(devices)} ({origin})"
    if forced:
        logger.info("device: cpu, as SEESAW_DEVICE says; holds %s", held)
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError(
            f"{gpu} GPU(s) asked for, but torch {torch.__version__} sees none; run with "
            "--resources gpu=0 for the CPU, or install a torch build for this driver"
        )
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    logger.info("device: cuda; holds %s", held)
    return "cuda"


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Whether float32 matrix products and convolutions on a GPU may be TF32 inside the block."""
    import torch

    switches = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [switch.allow_tf32 for switch in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = allowed
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


def _spare_collector() -> None:
    """Look for garbage after 50,000 new objects, not 700, and not at all when the process ends.

    Nearly all of torch's objects live as long as the process: looking through them while it is
    imported and once more at the end took half a second of every job.
    """
    gc.set_threshold(COLLECT_EVERY, *gc.get_threshold()[1:])
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)


def _hold(gpu: int) -> tuple[list[str], str]:
    """Devices of this job, and words for where they come from."""
    folder = Path(tempfile.gettempdir()) / f"seesaw-gpus-{os.getuid()}"
    granted = any(name in os.environ for name in ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS"))
    if not granted and ("SLURM_JOB_ID" not in os.environ or "CUDA_VISIBLE_DEVICES" in os.environ):
        return lease(visible_devices(), gpu, folder), "leased"
    job = os.environ.get("SLURM_JOB_ID", "of unknown number")
    given = visible_devices() if "CUDA_VISIBLE_DEVICES" in os.environ else []
    if len(given) < gpu:
        raise RuntimeError(
            f"{gpu} GPU(s) asked for, SLURM job {job} was given {', '.join(given) or 'none'}; ask "
            "for them by the resource gpu (and by no other name), see docs/cluster.md"
        )
    if len(given) > gpu:  # indices count within the allocation, and so do its locks
        return lease(given, gpu, folder / f"slurm-{job}"), f"leased in SLURM job {job}"
    return given, f"given by SLURM job {job}"


def visible_devices() -> list[str]:
    """Ids in ``CUDA_VISIBLE_DEVICES``; where it is not set, those that ``nvidia-smi`` lists."""
    preset = os.environ.get("CUDA_VISIBLE_DEVICES")
    if preset is not None:
        return [name.strip() for name in preset.split(",") if name.strip() not in ("", "-1")]
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"],
            capture_output=True,
            text=True,
            check=True,
            timeout=LISTING_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    lines = [line for line in listed.stdout.splitlines() if line.startswith("GPU ")]
    return [str(index) for index in range(len(lines))]


def unused_gpus(limit: int | None, asked: Iterable[int]) -> str | None:
    """Words of a warning where a run leaves the GPUs of this machine idle, or None.

    Args:
        limit: of the run's GPUs, as ``--resources gpu=N`` or a profile sets it; None is no limit.
        asked: GPUs that each job to run asks for, before the limit cuts them down. Looked at only
            where the limit is 0, and this machine's GPUs only where a job asks for one.
    """
    if limit != 0 or not any(asked):
        return None
    count = len(visible_devices())
    if count == 0:
        return None
    return (
        f"This machine has {count} GPU{'s' if count > 1 else ''} and none is used; add --resources "
        f"gpu={count} (or, if the CPU is meant, set CUDA_VISIBLE_DEVICES= and this is not said)"
    )


def lease(devices: Sequence[str], count: int, folder: Path) -> list[str]:
    """Hold ``count`` of ``devices`` until this process ends; wait while too few are free.

    Args:
        devices: ids of all devices.
        count: how many are wanted.
        folder: where the lock files lie, on a disk of this host.

    Raises:
        RuntimeError: there are fewer devices than wanted.
    """
    if len(devices) < count:
        raise RuntimeError(
            f"{count} GPU(s) asked for, this host offers {', '.join(devices) or 'none'}; use "
            f"--resources gpu={len(devices)}"
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    asked = said = time.monotonic()
    while True:
        held = _try_lease(devices, count, folder)
        if held:
            _held.extend(held.values())
            return list(held)
        if time.monotonic() - said >= WAITING_SECONDS:
            said = time.monotonic()
            logger.info(
                "waiting for %d of the devices %s, which other jobs hold, since %.0f s",
                count,
                ", ".join(devices),
                said - asked,
            )
        time.sleep(POLL_SECONDS)


def _try_lease(devices: Sequence[str], count: int, folder: Path) -> dict[str, int]:
    """All or nothing, one process at a time, so that two jobs never wait for each other's half."""
    held: dict[str, int] = {}
    with open(folder / "mutex", "w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        for device in devices:
            file = os.open(folder / device.replace("/", "_"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(file)
                continue
            held[device] = file
            if len(held) == count:
                return held
    for file in held.values():
        os.close(file)
    return {}
