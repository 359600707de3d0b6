"""Speed and agreement of the metrics with other libraries, on the same arrays and in one run.

    python benchmarks/metrics.py --contests frechet features --threads 1 2 --output metrics.json

A contest has our way first and then others to the same number. All of them take turns: each round
calls every one once, in an order that is turned around from round to round, so that a machine that
others use slows all of them alike. "Against ours" is the median over rounds of a way's time over
our time in the same round, by the clock and in CPU time of all threads; above 1, ours is faster. On
a machine that others use, CPU time on one thread is the fairer of the two. Differences are those of
the values: the largest over images, features or entries, and the same relative to our largest.
Memory is what the first call took beyond what the process had, and that call is not timed.

The Inception weights are those of ``tests/reference`` (random, of unit gain) unless ``--inception``
names the published file; so are those of the detectors. Speed does not depend on them.
"""

import argparse
import ctypes
import json
import os
import platform
import re
import statistics as averages
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from autoencoders import peak_memory, pictures, reset_peak, wait
from threadpoolctl import threadpool_limits

from seesaw.conditions import extract_conditions
from seesaw.files import atomic
from seesaw.metrics import Options
from seesaw.metrics.drift import map_distance, palette_distance
from seesaw.metrics.fidelity import (
    LARGER_THAN,
    decibel,
    mean_squared_error,
    multi_scale_similarity,
    structural_similarity,
)
from seesaw.metrics.frechet import (
    Statistics,
    frechet_distance,
    rfid,
    statistics,
    statistics_of,
)
from seesaw.metrics.generation import precision_recall
from seesaw.metrics.kid import squared_mmd
from seesaw.networks import load_network
from seesaw.shards import Shards, ShardWriter

REFERENCE = Path(__file__).parents[1] / "tests" / "reference"
sys.path.insert(0, str(REFERENCE))
import recipe  # noqa: E402

LIBRARIES = ("numpy", "scipy", "torch", "torch-fidelity", "torchmetrics", "scikit-image")
TICK = 1e-7
Way = Callable[[], float | np.ndarray]


@dataclass(frozen=True)
class Contest:
    """Ways to one number.

    Attributes:
        title: what is computed, of what.
        ways: label -> call that returns the value (a number or an array of a shape that all ways
            share); ours is the first.
        count: images per call, where a rate makes sense.
        known: the right value, where it can be known.
    """

    title: str
    ways: Mapping[str, Way]
    count: int | None = None
    known: float | None = None


@dataclass(frozen=True)
class Row:
    """What was found of one way with a number of threads.

    Attributes:
        contest: the contest's title.
        way: the way's label.
        threads: threads of torch and of BLAS.
        seconds: of each round, by the clock.
        cpu: CPU time of each round, of all threads.
        ratio: median over rounds of the time over that of our way in the same round.
        cpu_ratio: the same of the CPU time.
        rate: images/s at the median time by the clock.
        value: mean of the value.
        difference: largest absolute difference from our value.
        relative: the same over our largest absolute value.
        gigabytes: memory of the first call beyond what was in use, 1e9 bytes.
    """

    contest: str
    way: str
    threads: int
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    ratio: float | None = None
    cpu_ratio: float | None = None
    rate: float | None = None
    value: float | None = None
    difference: float | None = None
    relative: float | None = None
    gigabytes: float | None = None


# --------------------------------------------------------------------------------------- measuring


def held(contest: Contest, repeats: int, threads: int, device: torch.device) -> list[Row]:
    """Let the ways of a contest take turns and compare them."""
    with limited(threads):
        first = {way: with_memory(call, device) for way, call in contest.ways.items()}
        times = rounds(contest.ways, repeats, device)
    values = {way: value for way, (value, _) in first.items()}
    ours = next(iter(values))
    rows = []
    for way, value in values.items():
        seconds, cpu = zip(*times[way], strict=True)
        our_seconds, our_cpu = zip(*times[ours], strict=True)
        absolute, relative = difference(value, values[ours])
        rows.append(
            Row(
                contest=contest.title,
                way=way,
                threads=threads,
                seconds=list(seconds),
                cpu=list(cpu),
                ratio=paired_ratio(seconds, our_seconds),
                cpu_ratio=paired_ratio(cpu, our_cpu),
                rate=contest.count / averages.median(seconds) if contest.count else None,
                value=float(np.mean(value)),
                difference=absolute,
                relative=relative,
                gigabytes=first[way][1],
            )
        )
    if contest.known is not None:
        absolute, relative = difference(contest.known, values[ours])
        rows.append(
            Row(
                contest.title,
                "known in closed form",
                threads,
                value=contest.known,
                difference=absolute,
                relative=relative,
            )
        )
    return rows


def rounds(
    ways: Mapping[str, Way], repeats: int, device: torch.device
) -> dict[str, list[tuple[float, float]]]:
    """Seconds by the clock and of CPU time, per way and round; every other goes backwards."""
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for number in range(repeats):
        for way in reversed(ways) if number % 2 else ways:
            wait(device)
            start, cpu = time.perf_counter(), time.process_time()
            ways[way]()
            wait(device)
            times[way].append((time.perf_counter() - start, time.process_time() - cpu))
    return times


def paired_ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """Median over rounds of their time over ours (never below a clock's tick)."""
    return averages.median(a / max(b, TICK) for a, b in zip(theirs, ours, strict=True))


def difference(value: float | np.ndarray, ours: float | np.ndarray) -> tuple[float, float]:
    """Largest absolute difference, and the same over the largest absolute of ours.

    Raises:
        ValueError: values of different shapes.
    """
    a, b = np.asarray(value, np.float64), np.asarray(ours, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"values of shapes {a.shape} and {b.shape} cannot be compared")
    gap, size = float(np.abs(a - b).max()), float(np.abs(b).max())
    if gap == 0:
        return 0.0, 0.0
    return gap, gap / size if size else float("inf")


def with_memory(call: Way, device: torch.device) -> tuple[float | np.ndarray, float]:
    """The value of a call, and the GB of 1e9 bytes that it took beyond those in use before."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated() / 1e9
    else:
        hand_back()
        before = resident()
    reset_peak(device)
    value = call()
    wait(device)
    return value, max(peak_memory(device) - before, 0.0)


def hand_back() -> None:
    """Give the memory that was freed back to the system (glibc), so that it can be counted."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def resident() -> float:
    """GB of 1e9 bytes that this process holds now (Linux; elsewhere 0)."""
    file = Path("/proc/self/statm")
    if not file.exists():
        return 0.0
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9


@contextmanager
def limited(threads: int) -> Iterator[None]:
    """Torch and BLAS on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)


# ------------------------------------------------------------------------------- Frechet distance


def features_of_known_distance(
    n: int, d: int, seed: int = 0
) -> tuple[Statistics, Statistics, float]:
    """Statistics of two sets of correlated features, and their Frechet distance.

    The first set is Gaussian with a variance that decays as ``k^-1.8`` along random directions
    (six decades at d = 2048). The second is its image under a symmetric positive map ``T`` that
    scales other random directions by 0.9 to 1.1, and a shift. ``T`` is the optimal transport
    between Gaussians with the covariances of the two, so with the first's covariance ``S`` the
    distance is ``|shift|^2 + tr (T - 1) S (T - 1)``, whatever the sample.
    """
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.standard_normal((d, d))).Q
    scales = 10 * np.arange(1, d + 1) ** -0.9
    x = (rng.standard_normal((n, d)) * scales) @ directions.T + rng.random(d)
    directions = np.linalg.qr(rng.standard_normal((d, d))).Q
    change = (directions * rng.uniform(-0.1, 0.1, d)) @ directions.T
    change = (change + change.T) / 2
    a = statistics(x)
    shift = 0.01 * rng.standard_normal(d)
    b = statistics(x + (x - a.mean) @ change + shift)
    known = float(shift @ shift + np.trace(change @ a.covariance @ change))
    return a, b, known


def with_sqrtm(a: Statistics, b: Statistics) -> float:
    """The textbook formula with SciPy's matrix square root, as pytorch-fid has it."""
    from scipy.linalg import sqrtm

    root = sqrtm(a.covariance @ b.covariance)
    shift = a.mean - b.mean
    traces = np.trace(a.covariance) + np.trace(b.covariance)
    return float(shift @ shift + traces - 2 * np.trace(root).real)


def frechet(given: argparse.Namespace) -> Iterator[Contest]:
    """Distances of statistics that are there already."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric
    from torchmetrics.image.fid import _compute_fid

    a, b, known = features_of_known_distance(given.rows, given.dimensions)
    tensors = [
        torch.from_numpy(x).to(given.device) for x in (a.mean, a.covariance, b.mean, b.covariance)
    ]
    pair = [{"mu": s.mean, "sigma": s.covariance} for s in (a, b)]
    yield Contest(
        f"Frechet distance of {given.dimensions}-d statistics",
        {
            "ours": lambda: frechet_distance(a, b),
            "SciPy's sqrtm (pytorch-fid)": lambda: with_sqrtm(a, b),
            "torch-fidelity": lambda: fid_statistics_to_metric(*pair, False)[KEY_METRIC_FID],
            "torchmetrics": lambda: float(_compute_fid(*tensors)),
        },
        known=known,
    )


# ------------------------------------------------------------------------- features and statistics


def inception_file(folder: Path) -> Path:
    """Weights of the Inception network, filled by the recipe of the tests."""
    layout = json.loads((REFERENCE / "inception_layout.json").read_text())
    path = folder / "weights-inception-2015-12-05-6726825d.pth"
    state = {name: torch.from_numpy(array) for name, array in recipe.fill_all(layout).items()}
    torch.save(state, path)
    return path


def pairs_of_images(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images ``(count, 3, side, side)``, and the same with noise of 6 levels."""
    smooth = pictures(count, side, torch.device("cpu")).numpy()
    a = np.round((smooth + 1) * 127.5).astype(np.uint8)
    noise = np.random.default_rng(1).standard_normal(a.shape, dtype=np.float32)
    return a, np.clip(np.round(a + 6 * noise), 0, 255).astype(np.uint8)


def sharded(folder: Path, images: np.ndarray) -> Path:
    """The images as shards; the path of their manifest."""
    manifest = folder / "manifest.json"
    with ShardWriter(manifest, shard_size=500, meta={}) as writer:
        writer.add([f"image-{number:06d}" for number in range(len(images))], {"images": images})
    return manifest


def moments(found: Statistics) -> np.ndarray:
    """Mean and covariance as one array ``(d + 1, d)``."""
    return np.concatenate([found.mean[None], found.covariance])


def extraction(given: argparse.Namespace) -> Iterator[Contest]:
    """From uint8 images to statistics, and on to the distance of two sets."""
    from torch.utils.data import Dataset
    from torch_fidelity import calculate_metrics
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics
    from torch_fidelity.utils import get_featuresdict_from_dataset
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Tensors(Dataset):
        """Images that are in memory."""

        def __init__(self, images: np.ndarray) -> None:
            self.images = torch.from_numpy(images)

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, index: int) -> torch.Tensor:
            return self.images[index]

    on_gpu = given.device.startswith("cuda")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        weights = given.inception or inception_file(folder)
        sets = pairs_of_images(given.images, given.side)
        manifests = [sharded(folder / name, images) for name, images in zip("ab", sets)]
        ours = load_network("inception", weights, given.device)
        fidelity = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights)
        ).to(given.device)

        def new_metric() -> FrechetInceptionDistance:
            # antialias=False is the resize of torch-fidelity; torchmetrics' default is another
            return FrechetInceptionDistance(
                feature_extractor_weights_path=str(weights), antialias=False
            ).to(given.device)

        metric = new_metric()

        def update(metric: FrechetInceptionDistance, images: np.ndarray, real: bool) -> None:
            for start in range(0, len(images), given.batch_size):
                batch = torch.from_numpy(images[start : start + given.batch_size])
                metric.update(batch.to(given.device), real=real)

        def with_ours() -> np.ndarray:
            target = folder / "features" / "manifest.json"
            with ShardWriter(target, shard_size=500, meta=ours.meta) as writer:
                for batch in Shards(manifests[0]).batches(["images"], given.batch_size):
                    writer.add(batch.ids, ours.extract(batch["images"]))
            return moments(statistics_of(Shards(target)))

        def with_fidelity() -> np.ndarray:
            found = get_featuresdict_from_dataset(
                Tensors(sets[0]), fidelity, given.batch_size, on_gpu, True, False
            )
            made = fid_features_to_statistics(found["2048"])
            return np.concatenate([made["mu"][None], made["sigma"]])

        def with_torchmetrics() -> np.ndarray:
            metric.reset()
            update(metric, sets[0], True)
            n = metric.real_features_num_samples
            mean = metric.real_features_sum / n
            scatter = metric.real_features_cov_sum - n * torch.outer(mean, mean)
            return torch.cat([mean[None], scatter / (n - 1)]).cpu().numpy()

        what = f"{given.images} images of {given.side} pixels, batches of {given.batch_size}"
        yield Contest(
            f"Inception features and their statistics, {what}",
            {
                "ours (shards in, shards out)": with_ours,
                "torch-fidelity (tensors in memory)": with_fidelity,
                "torchmetrics (tensors in memory)": with_torchmetrics,
            },
            count=given.images,
        )

        def whole_ours() -> float:
            made = [folder / "whole" / name / "manifest.json" for name in "ab"]
            for images, output in zip(manifests, made):
                extract_conditions(
                    network="inception",
                    weights=weights,
                    images=images,
                    output=output,
                    batch_size=given.batch_size,
                    device=given.device,
                )
            return rfid(Shards(made[0]), Shards(made[1]), Options()).readings[0].value

        def whole_fidelity() -> float:
            return calculate_metrics(
                input1=Tensors(sets[0]),
                input2=Tensors(sets[1]),
                fid=True,
                feature_extractor_weights_path=str(weights),
                cuda=on_gpu,
                batch_size=given.batch_size,
                save_cpu_ram=True,
                cache=False,
                verbose=False,
            )[KEY_METRIC_FID]

        def whole_torchmetrics() -> float:
            fresh = new_metric()
            update(fresh, sets[0], True)
            update(fresh, sets[1], False)
            return float(fresh.compute())

        if not given.no_whole:
            yield Contest(
                f"rFID of two sets, loading included, {what}",
                {
                    "ours": whole_ours,
                    "torch-fidelity": whole_fidelity,
                    "torchmetrics": whole_torchmetrics,
                },
                count=2 * given.images,
            )


# ------------------------------------------------------------------------------------ image pairs


def fidelity(given: argparse.Namespace) -> Iterator[Contest]:
    """PSNR, SSIM and MS-SSIM per image, from uint8 arrays."""
    from skimage import metrics as skimage
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure,
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    a, b = pairs_of_images(given.pairs, given.side)

    def tensors(dtype: torch.dtype) -> list[torch.Tensor]:
        return [torch.from_numpy(x).to(given.device, dtype) for x in (b, a)]

    def psnr_torchmetrics() -> np.ndarray:
        found = peak_signal_noise_ratio(
            *tensors(torch.float32), 255.0, reduction="none", dim=(1, 2, 3)
        )
        return found.cpu().numpy()

    def ssim_torchmetrics(dtype: torch.dtype) -> np.ndarray:
        found = structural_similarity_index_measure(
            *tensors(dtype), data_range=255.0, reduction="none"
        )
        return found.cpu().numpy()

    def ms_ssim_torchmetrics() -> np.ndarray:
        found = multiscale_structural_similarity_index_measure(
            *tensors(torch.float32), data_range=255.0, reduction="none"
        )
        return found.cpu().numpy()

    def ssim_skimage() -> np.ndarray:
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        return np.array(
            [
                skimage.structural_similarity(x, y, data_range=255, channel_axis=0, **settings)
                for x, y in zip(a, b)
            ]
        )

    what = f"{given.pairs} pairs of {given.side} pixels"
    yield Contest(
        f"PSNR per image, {what}",
        {
            "ours": lambda: decibel(mean_squared_error(a, b)),
            "torchmetrics (float32)": psnr_torchmetrics,
            "scikit-image": lambda: np.array(
                [skimage.peak_signal_noise_ratio(x, y, data_range=255) for x, y in zip(a, b)]
            ),
        },
        count=given.pairs,
    )
    yield Contest(
        f"SSIM per image, {what}",
        {
            "ours (float64)": lambda: np.array(
                [structural_similarity(*pair) for pair in zip(a, b)]
            ),
            "scikit-image (float64)": ssim_skimage,
            "torchmetrics (float32, reflects borders)": lambda: ssim_torchmetrics(torch.float32),
            "torchmetrics (float64, reflects borders)": lambda: ssim_torchmetrics(torch.float64),
        },
        count=given.pairs,
    )
    if given.side > LARGER_THAN:
        yield Contest(
            f"MS-SSIM per image, {what}",
            {
                "ours (float64)": lambda: np.array(
                    [multi_scale_similarity(x, y) for x, y in zip(a, b)]
                ),
                "torchmetrics (float32, reflects borders)": ms_ssim_torchmetrics,
            },
            count=given.pairs,
        )


# --------------------------------------------------------------------------------- sets of features


def sets(given: argparse.Namespace) -> Iterator[Contest]:
    """KID of all pairs; precision and recall."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
    from torch_fidelity.metric_prc import calculate_precision_recall_full
    from torchmetrics.image.kid import poly_mmd

    rng = np.random.default_rng(0)
    n, d = given.vectors, given.dimensions
    mixing = rng.standard_normal((d // 8, d), dtype=np.float32) / np.sqrt(d // 8, dtype=np.float32)
    a, b = (rng.standard_normal((n, d // 8), dtype=np.float32) @ mixing for _ in range(2))
    a, b = np.maximum(a, 0), np.maximum(1.05 * b + np.float32(0.02), 0)
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    what = f"two sets of {n} x {d} float32 features"
    yield Contest(
        f"KID over all pairs, {what}",
        {
            "ours (float64)": lambda: squared_mmd(a, b),
            "torch-fidelity (float32)": lambda: kid_features_to_metric(
                x, y, kid_subsets=1, kid_subset_size=n, verbose=False
            )[KEY_METRIC_KID_MEAN],
            "torchmetrics (float32)": lambda: float(
                poly_mmd(x.to(given.device), y.to(given.device))
            ),
            "torchmetrics (float64)": lambda: float(
                poly_mmd(x.to(given.device).double(), y.to(given.device).double())
            ),
        },
    )
    yield Contest(
        f"precision and recall, k = 3, {what}",
        {
            "ours (float64)": lambda: np.array(precision_recall(a, b, device=given.device)),
            "torch-fidelity (float32)": lambda: np.array(
                calculate_precision_recall_full(y.to(given.device), x.to(given.device), 3)
            ),
        },
    )


# ------------------------------------------------------------------------------ maps and detectors


def drift(given: argparse.Namespace) -> Iterator[Contest]:
    """Drift of maps that are there already."""
    rng = np.random.default_rng(0)
    shape = (given.pairs, given.side, given.side)
    a, b = (rng.integers(0, 150, shape, dtype=np.uint8) for _ in range(2))
    colours = rng.integers(0, 256, (150, 3), dtype=np.uint8)
    of_labels = palette_distance(colours)
    what = f"{given.pairs} pairs of {given.side} pixels"
    yield Contest(
        f"drift of maps, {what}",
        {
            "ours": lambda: map_distance(a, b),
            "NumPy, in float64": lambda: np.abs(a / 255 - b / 255).mean(axis=(1, 2)),
        },
        count=given.pairs,
    )
    yield Contest(
        f"drift of labels, {what}",
        {
            "ours": lambda: of_labels(a, b),
            "NumPy, in float64": lambda: np.abs(colours[a] / 255 - colours[b] / 255).mean(
                axis=(1, 2, 3)
            ),
        },
        count=given.pairs,
    )


COLUMNS = {
    "inception": None,
    "clip_vit_b32": ("ViT-B-32.pt", 1),
    "dinov2_vitb14": ("dinov2_vitb14_pretrain.pth", 1),
    "dpt_hybrid_midas": ("dpt_hybrid-midas-501f0c75.pt", 2),
    "uniformer_upernet": ("upernet_global_small.pth", 1),
}
"""Network -> file name, and the column of the shape in its layout under ``tests/reference``."""


def spelt_out(name: str) -> list[str]:
    """``a.{0-2}.b`` -> ``a.0.b``, ``a.1.b``, ``a.2.b``; ``{2-0}`` counts down."""
    found = re.search(r"\{(\d+)-(\d+)\}", name)
    if not found:
        return [name]
    first, last = map(int, found.groups())
    step = 1 if last >= first else -1
    return [name.replace(found[0], str(i)) for i in range(first, last + step, step)]


def network_file(name: str, folder: Path) -> Path:
    """Weights of a network, filled by the recipe of the tests."""
    if name == "inception":
        return inception_file(folder)
    file, shape = COLUMNS[name]
    state = {}
    for row in json.loads((REFERENCE / f"{name}.json").read_text())["tensors"]:
        dtype = row[shape + 1] if len(row) > shape + 2 else "float32"
        for key in spelt_out(row[0]):
            state[key] = torch.from_numpy(recipe.fill(key, row[shape], row[-1], dtype=dtype))
    torch.save({"state_dict": state} if name == "uniformer_upernet" else state, folder / file)
    return folder / file


def detectors(given: argparse.Namespace) -> Iterator[Contest]:
    """What a network extracts from images, alone."""
    images, noisy = pairs_of_images(given.few, given.side)
    what = f"{given.few} images of {given.side} pixels"
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.networks:
            weights = network_file(name, Path(temporary)) if name in COLUMNS else None
            network = load_network(name, weights, given.device)
            if weights:
                weights.unlink()

            def extract(network: Any = network) -> float:
                if hasattr(network, "distance"):
                    return float(np.mean(network.distance(images, noisy)))
                return float(np.mean(next(iter(network.extract(images).values()))))

            yield Contest(f"{name}, {what}", {"ours": extract}, count=given.few)
            del network, extract


CONTESTS = {
    "frechet": frechet,
    "features": extraction,
    "fidelity": fidelity,
    "sets": sets,
    "drift": drift,
    "detectors": detectors,
}

# ----------------------------------------------------------------------------------------- writing

HEAD = (
    "| what | way | threads | seconds | CPU seconds | against ours: clock, CPU | images/s | "
    "value | difference: absolute, relative | GB |\n" + "|---" * 10 + "|\n"
)


def spread(seconds: Sequence[float]) -> str:
    """The median, and from where to where."""
    if not seconds:
        return "-"
    middle = f"{averages.median(seconds):.3g}"
    return middle + (f" ({min(seconds):.3g} to {max(seconds):.3g})" if len(seconds) > 1 else "")


def line(row: Row) -> str:
    """A row of the printed table."""

    def cell(value: float | None, form: str, unit: str = "") -> str:
        return "-" if value is None else format(value, form) + unit

    gap = f"{cell(row.difference, '.1e')}, {cell(row.relative, '.1e')}"
    cells = [
        row.contest,
        row.way,
        str(row.threads),
        spread(row.seconds),
        spread(row.cpu),
        f"{cell(row.ratio, '.2f', 'x')}, {cell(row.cpu_ratio, '.2f', 'x')}",
        cell(row.rate, ".3g"),
        cell(row.value, ".6g"),
        "equal" if row.difference == 0 else gap,
        cell(row.gigabytes, ".2f"),
    ]
    return f"| {' | '.join(cells)} |\n"


def processor() -> str:
    """The CPU's name, where Linux tells it."""
    file = Path("/proc/cpuinfo")
    for row in file.read_text().splitlines() if file.exists() else []:
        if row.startswith("model name"):
            return row.split(":", 1)[1].strip()
    return platform.processor() or "CPU"


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers depend on, without the machine's name."""
    made = {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES},
    }
    if device.type == "cuda":
        made["gpu"] = torch.cuda.get_device_name()
    return made


def words(found: Mapping[str, Any]) -> str:
    """The machine in one sentence."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    gpu = f"{found['gpu']}; " if "gpu" in found else ""
    return (
        f"{gpu}{found['cpu']}, {found['cores']} cores, load {found['load']} at the start; "
        f"Python {found['python']}, {versions}"
    )


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contests", nargs="+", choices=list(CONTESTS), default=list(CONTESTS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--repeats", type=int, default=3, help="rounds; medians are reported")
    parser.add_argument("--dimensions", type=int, default=2048, help="of feature vectors")
    parser.add_argument("--rows", type=int, default=10_000, help="vectors behind the statistics")
    parser.add_argument("--vectors", type=int, default=5000, help="per set, for KID and recall")
    parser.add_argument("--images", type=int, default=64, help="whose features are extracted")
    parser.add_argument("--pairs", type=int, default=32, help="for PSNR, SSIM and drift")
    parser.add_argument("--few", type=int, default=4, help="images per call of a detector")
    parser.add_argument("--side", type=int, default=256, help="of the images, in pixels")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--no-whole", action="store_true", help="features without whole rFIDs")
    parser.add_argument("--inception", type=Path, help="the published weights file")
    parser.add_argument(
        "--networks",
        nargs="+",
        choices=["canny", "lpips-alex-random", *COLUMNS],
        default=["canny", "lpips-alex-random", *COLUMNS],
    )
    parser.add_argument("--output", type=Path, help="JSON file to write")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args(arguments)
    if given.repeats < 1 or min(given.threads) < 1:
        parser.error("--repeats and --threads start at 1")
    if given.rows <= given.dimensions:
        parser.error("--rows must exceed --dimensions: the covariances are to have full rank")
    return given


def main() -> None:
    """Measure and print."""
    given = parsed()
    device = torch.device(given.device)
    found = machine(device)
    sys.stdout.write(f"{words(found)}\n\n{HEAD}")
    rows = []
    for name in given.contests:
        for contest in CONTESTS[name](given):
            for threads in given.threads:
                for row in held(contest, given.repeats, threads, device):
                    rows.append(asdict(row))
                    sys.stdout.write(line(row))
                    sys.stdout.flush()
    if given.output:
        settings = {key: str(value) for key, value in vars(given).items() if key != "output"}
        with atomic(given.output) as temporary:
            content = {"machine": found, "settings": settings, "rows": rows}
            temporary.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
