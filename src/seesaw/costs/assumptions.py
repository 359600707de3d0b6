"""The numbers that the estimates of a job's costs rest on, and where each comes from."""

from collections.abc import Mapping
from dataclasses import dataclass

from seesaw.registry import NETWORKS

DEVICE = "H100"


@dataclass(frozen=True)
class Assumption:
    """A number that the estimate rests on."""

    value: float
    unit: str
    source: str


ASSUMPTIONS: Mapping[str, Assumption] = {
    "training": Assumption(
        151e12,
        "operations/s",
        "bf16 training of diffusion transformers; what 67 H100-hours for 400,000 steps of SiT-XL/2 "
        "at batch 128 come to; encoding its images comes on top",
    ),
    "encoding": Assumption(
        100e12, "operations/s", "assumed: TF32 (495e12 peak), encoding images while training"
    ),
    "latents-kept": Assumption(
        2 * 1024**3, "bytes", "more latents than that are encoded again in every step"
    ),
    "sampling": Assumption(
        30e12,
        "operations/s",
        "assumed: float32 without TF32 (67e12 peak), unless the sampler says tf32",
    ),
    "sampling-tf32": Assumption(
        100e12, "operations/s", "assumed: a fifth of the peak of TF32 (495e12); nobody measured it"
    ),
    "autoencoder": Assumption(
        30e12, "operations/s", "assumed: float32 without TF32 (67e12 peak), as the jobs set it"
    ),
    "search": Assumption(40e12, "operations/s", "assumed: float32 matrix products"),
    "features": Assumption(1500, "images/s", "assumed: Inception, CLIP, DINO and the like"),
    "map": Assumption(150, "images/s", "assumed: dense depth networks"),
    "labels": Assumption(100, "images/s", "assumed: dense segmentation networks"),
    "faces": Assumption(150, "images/s", "assumed: face detection and embedding"),
    "perceptual": Assumption(1500, "pairs/s", "assumed: LPIPS with AlexNet"),
    "dpt_hybrid_midas-384": Assumption(65, "images/s", "assumed: as map, on 2.25 times the pixels"),
    "lpips-vgg": Assumption(
        350, "pairs/s", "assumed: LPIPS with VGG16, 80e9 operations a pair of 256 px, float32"
    ),
    "probe": Assumption(2000, "images/s", "assumed: training of a latent-to-condition network"),
    "checkpoint": Assumption(
        16, "bytes/parameter", "assumed: float32 weights, their average and two Adam moments"
    ),
    "control-share": Assumption(
        0.5, "of the backbone", "assumed: the control branch copies half of the blocks"
    ),
    "folder-train": Assumption(1_281_167, "images", "ImageNet-1k train, until it is packed"),
    "folder-val": Assumption(50_000, "images", "ImageNet-1k val, until it is packed"),
}


def rate(name: str) -> float:
    """Value of an assumption."""
    return ASSUMPTIONS[name].value


def network_rate(name: str) -> float:
    """Images or pairs per second of a network: its own assumption, else that of its kind."""
    return rate(name if name in ASSUMPTIONS else NETWORKS[name].kind)
