"""Speed of SiT training and sampling on this machine's device, beside the floor from operations.

    python benchmarks/diffusion.py --model SiT-B --patch-size 2 --batch-size 128 --precision bf16

Latents are random: what is timed is the network, its optimiser, its moving average and the sampler,
not the autoencoder. Prints images per second, the share of the device's peak that the network's
matrix products reach (MFU; with --peak, in 1e12 operations per second), the fastest that the peak
allows, and peak memory.
"""

import argparse
import platform
import resource
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from seesaw.costs.flops import sit_flops
from seesaw.diffusion.sample import sample_latents
from seesaw.diffusion.samplers import Sampler
from seesaw.diffusion.sizes import SIZES, time_shift_of
from seesaw.diffusion.train import Learner, Recipe

WARM_UP = 5


class RandomLatents:
    """Stands where :class:`seesaw.diffusion.latents.TrainingLatents` does; costs nothing."""

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        self.shape, self.device = shape, device

    def batch(self, rows: np.ndarray, noise: torch.Tensor) -> torch.Tensor:
        """As many random latents as ``rows``."""
        return noise


def timed(step: Callable[[], None], count: int, device: torch.device) -> float:
    """Seconds per call after a warm-up."""
    for _ in range(WARM_UP):
        step()
    wait(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    wait(device)
    return (time.perf_counter() - start) / count


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak_memory(device: torch.device) -> float:
    """GB of 1e9 bytes: of the GPU, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(SIZES), default="SiT-B")
    parser.add_argument("--latent-shape", type=int, nargs="+", default=[4, 32, 32])
    parser.add_argument("--patch-size", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--sample-batch-size", type=int, default=250)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=50, help="timed steps of training")
    parser.add_argument("--sampling-steps", type=int, default=50)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--peak", type=float, help="1e12 operations/s at this precision")
    given = parser.parse_args()
    device, shape = torch.device(given.device), tuple(given.latent_shape)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
    size, patch = SIZES[given.model], given.patch_size
    tokens = np.prod(shape[1:]) // patch**2 if len(shape) == 3 else shape[0]
    channels = shape[0] * patch**2 if len(shape) == 3 else shape[1]
    forward = sit_flops(
        width=size.width, depth=size.depth, tokens=int(tokens), patch_channels=channels
    )
    recipe = Recipe(
        steps=1000, batch_size=given.batch_size, precision=given.precision, compile=given.compile
    )
    model = {
        "latent_shape": list(shape),
        "size": given.model,
        "patch_size": patch,
        "num_classes": 1000,
        "time_shift": time_shift_of(shape),
    }
    learner, latents = Learner(model, recipe, 0, device), RandomLatents(shape, device)
    labels, rows = np.zeros(given.batch_size, np.int64), np.arange(given.batch_size)
    seconds = timed(lambda: learner.train_step(latents, labels, rows), given.steps, device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    say = sys.stdout.write
    say(f"{given.model}/{patch} on {shape}, {name}, torch {torch.__version__}\n")
    report(say, "training", given.batch_size / seconds, 3 * forward, given.peak, device)
    sampler = Sampler(mode="sde", steps=given.sampling_steps)
    y = torch.zeros(given.sample_batch_size, dtype=torch.int64, device=device)
    ids = [str(i) for i in range(given.sample_batch_size)]

    def draw() -> None:
        with torch.inference_mode():
            sample_latents(learner.ema, y, ids, sampler, seed=0)

    draw()
    wait(device)
    start = time.perf_counter()
    draw()
    wait(device)
    rate = given.sample_batch_size / (time.perf_counter() - start)
    words = f"sampling ({given.sampling_steps} steps, fp32)"
    report(say, words, rate, given.sampling_steps * forward, None, device)


def report(
    say: Callable[[str], object],
    what: str,
    images: float,
    operations: float,
    peak: float | None,
    device: torch.device,
) -> None:
    """One line: images per second, operations, share of the peak, memory."""
    words = f"{what}: {images:.1f} images/s, {images * operations / 1e12:.3f}e12 operations/s"
    if peak:
        share = images * operations / (peak * 1e12)
        words += f", {share:.1%} of {peak:g}e12 (floor {operations / peak / 1e9:.3f} ms/image)"
    say(f"{words}, peak memory {peak_memory(device):.2f} GB\n")


if __name__ == "__main__":
    main()
