"""Speed of the published autoencoders on this machine's device, beside their authors' setting.

    python benchmarks/autoencoders.py --architectures vtp_s ldm_f16d32 --batch-sizes 25 100

Each architecture runs in fp32 and bf16, with its weights laid out as built ("contiguous") and
channels last, and with ``--compile`` also compiled. "Speed-up" is against what the authors' scripts
do: fp32, contiguous, batch 25, not compiled. Rates are those of the fastest batch. The last columns
say what a setting changes: latents, and the images that come back, against those of the authors'
setting, on the same pictures (PSNR of the images clamped to [-1, 1]).

Weights are random (of unit gain, so that activations keep their size) unless ``--weights`` names
files. Speed does not depend on them; the differences do, and trained weights have other ones.
"""

import argparse
import copy
import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seesaw.autoencoders import load_autoencoder
from seesaw.autoencoders.base import Autoencoder
from seesaw.config import REGISTRY, load_yaml
from seesaw.costs.flops import autoencoder_flops
from seesaw.files import atomic
from seesaw.registry import FAMILIES

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
AUTHORS_BATCH = 25
COMPARED = 2
SMALL = 3
"""How many architectures run on a CPU if none is named: those with the fewest operations."""


def architectures() -> dict[str, tuple[float, float] | None]:
    """Name -> operations of encoding and decoding one image, of what has a loader."""
    rows = load_yaml(REGISTRY)["architectures"]
    return {
        name: autoencoder_flops({"name": name, **row})
        for name, row in rows.items()
        if row["family"] in FAMILIES
    }


@torch.no_grad()
def fill(model: nn.Module, seed: int = 0) -> None:
    """Random weights that keep the size of activations: matrices 1/sqrt(fan-in), gains near 1."""
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    for weight in model.parameters():
        noise = torch.randn(weight.shape, generator=generator, device=device)
        if weight.numel() > max(weight.shape, default=1):
            weight.copy_(noise / (weight.numel() / weight.shape[0]) ** 0.5)
        else:
            weight.copy_(1 + 0.1 * noise if weight.float().mean() > 0.5 else 0.02 * noise)


def pictures(count: int, side: int, device: torch.device) -> Tensor:
    """Smooth colours with noise in [-1, 1], ``(count, 3, side, side)``."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 3, 8, 8, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    noise = torch.randn(smooth.shape, generator=generator)
    return (0.4 * smooth + 0.1 * noise).clamp(-1, 1).to(device)


def fastest(step: Callable[[], object], count: int, device: torch.device) -> float:
    """Seconds of the fastest of ``count`` calls after one to warm up."""
    step()
    seconds = []
    for _ in range(count):
        wait(device)
        start = time.perf_counter()
        step()
        wait(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def reset_peak(device: torch.device) -> None:
    """Start to measure the peak of the memory anew (on the CPU: where Linux lets us)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory(device: torch.device) -> float:
    """GB of 1e9 bytes since :func:`reset_peak`, of the GPU, or of this process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e9
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def prepared(base: Autoencoder, dtype: str, layout: str, compiled: bool) -> Autoencoder:
    """A copy of ``base`` in one setting."""
    model = copy.deepcopy(base).to(DTYPES[dtype]).to(memory_format=LAYOUTS[layout])
    if compiled:
        model.posterior = torch.compile(model.posterior)
        model.render = torch.compile(model.render)
    return model


def differences(found: tuple[Tensor, Tensor], reference: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Largest and mean difference of latents and images, and PSNR between the images."""
    row = {"latent_std": float(reference[0].std())}
    for what, a, b in zip(("latent", "image"), found, reference, strict=True):
        gap = (a - b).abs()
        row |= {f"{what}_max": float(gap.max()), f"{what}_mean": float(gap.mean())}
    square = (found[1].clamp(-1, 1) - reference[1].clamp(-1, 1)).double().square().mean()
    row["psnr"] = float(10 * torch.log10(4 / square))
    return row


@torch.inference_mode()
def measured(model: Autoencoder, batch: int, images: int, device: torch.device) -> dict[str, Any]:
    """Images per second of encoding and decoding, and the peak of the memory."""
    pixels = pictures(batch, model.resolution, device)
    count = max(1, round(images / batch))
    reset_peak(device)
    try:
        latents = model.encode(pixels)
        encode = fastest(lambda: model.encode(pixels), count, device)
        decode = fastest(lambda: model.decode(latents), count, device)
    except torch.OutOfMemoryError:
        return {"encode": None, "decode": None, "gigabytes": None}
    return {
        "encode": batch / encode,
        "decode": batch / decode,
        "gigabytes": peak_memory(device),
    }


@torch.inference_mode()
def round_trip(model: Autoencoder, device: torch.device) -> tuple[Tensor, Tensor]:
    """float32 latents and reconstructions of a few pictures."""
    latents = model.encode(pictures(COMPARED, model.resolution, device))
    return latents.float(), model.decode(latents).float()


def rows_of(name: str, given: argparse.Namespace, device: torch.device) -> Iterator[dict[str, Any]]:
    """One row per setting and batch size; the authors' setting first."""
    base = load_autoencoder(name, given.weights, {"latents": "raw"}, device=device)
    if given.weights is None:
        fill(base)
    flat = all(weight.ndim != 5 for weight in base.parameters())
    settings = [("fp32", "contiguous", False)]
    settings += [
        (dtype, layout, compiled)
        for dtype in given.dtypes
        for layout in given.layouts
        for compiled in ((False, True) if given.compile else (False,))
        if (dtype, layout, compiled) != settings[0] and (flat or layout == "contiguous")
    ]
    authors, reference = None, None
    for setting in settings:
        model = prepared(base, *setting)
        images = round_trip(model, device)
        gaps = differences(images, reference) if reference else {}
        reference = reference or images
        first = authors is None
        batches = [given.authors_batch] if first else []
        for batch in [*batches, *(b for b in given.batch_sizes if b not in batches)]:
            row = measured(model, batch, given.images, device)
            authors = authors or row
            dtype, layout, compiled = setting
            yield {
                "architecture": name,
                "dtype": dtype,
                "layout": layout,
                "compiled": compiled,
                "batch": batch,
                **row,
                "speedup_encode": ratio(row["encode"], authors["encode"]),
                "speedup_decode": ratio(row["decode"], authors["decode"]),
                **gaps,
            }
        del model
        if device.type == "cuda":
            torch.cuda.empty_cache()


def ratio(a: float | None, b: float | None) -> float | None:
    """The quotient where both are known."""
    return None if a is None or b is None else a / b


HEAD = (
    "| architecture | setting | batch | encode, images/s | decode, images/s | 1e12 operations/s | "
    "speed-up | peak GB | latent max, mean | image max, mean | PSNR |\n" + "|---" * 11 + "|\n"
)


def line(row: dict[str, Any], flops: tuple[float, float] | None) -> str:
    """A row of the printed table."""
    setting = f"{row['dtype']}, {row['layout']}" + (", compiled" if row["compiled"] else "")
    cells = [row["architecture"], setting, str(row["batch"])]
    if row["encode"] is None:
        return f"| {' | '.join(cells)} | out of memory |" + " |" * 7 + "\n"
    cells += [f"{row[what]:.3g}" for what in ("encode", "decode")]
    work = (
        [row[w] * f / 1e12 for w, f in zip(("encode", "decode"), flops, strict=True)]
        if flops
        else []
    )
    cells.append(", ".join(f"{value:.3g}" for value in work) or "-")
    speedups = (row["speedup_encode"], row["speedup_decode"])
    cells.append(", ".join("-" if s is None else f"{s:.2f}x" for s in speedups))
    cells.append(f"{row['gigabytes']:.2f}")
    for what in ("latent", "image"):
        known = f"{what}_max" in row
        cells.append(f"{row[f'{what}_max']:.1e}, {row[f'{what}_mean']:.1e}" if known else "-")
    equal = row.get("psnr") == float("inf")
    cells.append("equal" if equal else f"{row['psnr']:.1f} dB" if "psnr" in row else "-")
    return f"| {' | '.join(cells)} |\n"


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = architectures()
    parser.add_argument("--architectures", nargs="+", choices=sorted(known), metavar="NAME")
    parser.add_argument("--batch-sizes", type=int, nargs="+", help="default: 25 and 100; CPU: 4")
    parser.add_argument("--authors-batch", type=int, default=AUTHORS_BATCH)
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--layouts", nargs="+", choices=list(LAYOUTS), default=list(LAYOUTS))
    parser.add_argument("--compile", action="store_true", help="each setting compiled as well")
    parser.add_argument("--images", type=int, default=100, help="to time per row, about")
    parser.add_argument("--weights", nargs="+", help="FILE or ROLE=FILE, of one architecture")
    parser.add_argument("--json", type=Path, help="where to write the rows")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    on_cpu = given.device == "cpu"
    if given.architectures is None:
        order = sorted(known, key=lambda name: sum(known[name] or (float("inf"),)))
        given.architectures = order[:SMALL] if on_cpu else order
    if given.batch_sizes is None:
        given.batch_sizes = [4] if on_cpu else [25, 100]
    if given.weights is not None:
        if len(given.architectures) != 1:
            parser.error("--weights are those of one architecture; name one with --architectures")
        pairs = dict(part.split("=", 1) for part in given.weights if "=" in part)
        given.weights = pairs or given.weights[0]
    return given


def main() -> None:
    """Measure and print."""
    given, known = parsed(), architectures()
    device = torch.device(given.device)
    # what the authors' scripts leave as it is: convolutions in TF32, matrix products not
    chip = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    machine = {
        "device": chip,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "tf32": {
            "convolutions": torch.backends.cudnn.allow_tf32,
            "matrix products": torch.backends.cuda.matmul.allow_tf32,
        },
        "weights": "random" if given.weights is None else str(given.weights),
    }
    threads = f", {machine['threads']} threads" if device.type == "cpu" else ""
    sys.stdout.write(f"{chip}{threads}, torch {machine['torch']}, {machine['weights']} weights\n\n")
    sys.stdout.write(HEAD)
    rows = []
    for name in given.architectures:
        for row in rows_of(name, given, device):
            rows.append(row)
            sys.stdout.write(line(row, known[name]))
            sys.stdout.flush()
    if given.json:
        with atomic(given.json) as temporary:
            temporary.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
