"""One training segment as a job: on one device, or on several by as many processes."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from seesaw.autoencoders.base import load_autoencoder
from seesaw.diffusion.latents import TrainingLatents, read_labels
from seesaw.diffusion.sizes import PUBLISHED_DIMENSIONS, time_shift_of
from seesaw.diffusion.train import SINGLE, Recipe, World, train_segment
from seesaw.files import sha256_of
from seesaw.log import configure_logging, log_file
from seesaw.registry import STAGES
from seesaw.shards import Shards


def train_diffusion(job: Mapping[str, Any], *, devices: int, device: str) -> None:
    """Train a SiT on an autoencoder's latents for one segment.

    Args:
        job: keyword arguments of :func:`run_segment`, without ``device`` and ``world``.
        devices: GPUs to share the batch; 1 (or 0, the CPU) trains in this process.
        device: ``"cuda"`` or ``"cpu"``; on the CPU several processes talk through gloo.
    """
    if devices <= 1:
        run_segment(**job, device=device)
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = f"file://{Path(folder) / 'meeting'}"
        torch.multiprocessing.spawn(
            _worker, args=(dict(job), devices, device, meeting, log_file()), nprocs=devices
        )


def _worker(
    rank: int, job: dict[str, Any], size: int, device: str, meeting: str, log: str | None
) -> None:
    cuda = device == "cuda"
    if cuda:
        torch.cuda.set_device(rank)
    if rank == 0:
        configure_logging(log, append=True)
    dist.init_process_group(
        "nccl" if cuda else "gloo", init_method=meeting, rank=rank, world_size=size
    )
    try:
        run_segment(**job, device=f"cuda:{rank}" if cuda else "cpu", world=World(rank, size))
    finally:
        dist.destroy_process_group()


def run_segment(
    *,
    family: str,
    config: Mapping[str, Any],
    weights: str | Path | None,
    images: str | Path,
    index: str | Path,
    size: str,
    patch_size: int,
    posterior: str,
    recipe: Mapping[str, Any],
    stop: int,
    start: str | Path | None,
    output: str | Path,
    seed: int,
    device: str,
    time_shift_dimensions: int = PUBLISHED_DIMENSIONS,
    world: World = SINGLE,
    what: str = "SiT",
) -> None:
    """Load the frozen autoencoder and the images, and train from ``start`` to step ``stop``.

    Args:
        family: autoencoder family or ``"module:Class"``.
        config: its keyword arguments.
        weights: its weights file, if it has one.
        images: manifest of the packed training split.
        index: its index (labels).
        size: a name in :data:`seesaw.diffusion.sizes.SIZES`.
        patch_size: side of the latent squares that become one token.
        posterior: ``"mean"`` or ``"sample"``.
        recipe: keyword arguments of :class:`seesaw.diffusion.train.Recipe`.
        stop: step to end with.
        start: state of the segment before, if any.
        output: state to write.
        seed: see :func:`seesaw.diffusion.train.train_segment`.
        device: torch device of this process.
        time_shift_dimensions: latent dimensions at which the time shift is 1.
        world: which of several processes this is.
        what: name for log lines.
    """
    if torch.device(device).type == "cuda":
        # as the paper's code trains; a process that train_diffusion spawned starts from defaults
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    autoencoder = load_autoencoder(family, weights, config, device=device)
    latents = TrainingLatents(autoencoder, Shards(images), posterior=posterior, device=device)
    labels, classes = read_labels(index)
    model = {
        "latent_shape": list(latents.shape),
        "size": size,
        "patch_size": patch_size,
        "num_classes": classes,
        "time_shift": time_shift_of(latents.shape, time_shift_dimensions),
    }
    train_segment(
        model=model,
        latents=latents,
        labels=labels,
        recipe=Recipe(**recipe),
        seed=seed,
        stop=stop,
        start=start,
        output=output,
        data=json.dumps(
            [STAGES["diffusion"], family, dict(config), posterior]
            + [sha256_of(file) if file else None for file in (weights, images, index)],
            sort_keys=True,
            default=str,
        ),
        world=world,
        what=what,
    )
