"""Protocols by name: how rFID, PSNR, SSIM and LPIPS of one autoencoder come to differ.

A published number holds for the choices that were made around it: crop, rounding, the resize in
front of Inception, posterior mean or sample, what it was compared with. :data:`PROTOCOLS` has the
choices of authors by name, as read in their code. Torch-free: :mod:`seesaw.protocols.study` says
what a config asks for, :mod:`seesaw.protocols.score` computes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from seesaw.registry import CROPS, unknown

EVALUATION = "evaluation"
"""Reference: the evaluation split, whatever its name."""

READY_MADE = "ready-made"
"""Crop of images that come at the resolution that is asked for (the mini world): none."""

OWN = "own"
"""Resize of a feature network that has one only."""

DETERMINISTIC = "deterministic"
"""Posterior of an encoder without spread: mean and sample are the same."""

AXES: Mapping[str, Mapping[str, str]] = {
    "crop": {
        "resize-center-crop": "torchvision's Resize and CenterCrop of the PIL image (iFID)",
        "adm": "ADM's center_crop_arr: box halving, then bicubic (RAE, VTP, DiT)",
    },
    "quantisation": {
        "uint8-round": "floor(clip(255 y, 0, 255) + 0.5), y in [0, 1]: rounded half up (DC-AE); "
        "clipping 127.5 x + 128, x in [-1, 1], and truncating it is the same (LightningDiT)",
        "uint8-floor": "floor(clip(255 y, 0, 255)): truncated, on average half a level darker "
        "(RAE, VTP, 1D-Tokenizer); 2^-10 of a level is added first, so that float32 does not lower "
        "whole levels",
        "float": "255 y, neither clipped nor rounded (iFID)",
    },
    "resize": {
        "tf1": "TensorFlow 1's bilinear, no half-pixel centres (torch-fidelity; RAE)",
        "torch-bilinear": "torch's bilinear, half-pixel centres, no antialiasing (pytorch-fid; "
        "LightningDiT, iFID)",
        "antialias": "torch's bilinear with antialiasing (torchmetrics 1.9)",
        "clean": "Pillow's bicubic on floats (clean-fid)",
    },
    "posterior": {
        "mean": "the mean of the posterior",
        "sample": "a sample, here seeded per image (iFID and LightningDiT: not seeded per image)",
    },
    "psnr": {
        "mean": "mean over images of the dB",
        "of-mean-mse": "dB of the mean squared error of all images (torchmetrics)",
    },
    "ssim": {
        "valid": "windows inside the image (pytorch-msssim)",
        "reflect": "a window per pixel of the image reflected at its border (torchmetrics 1.9)",
    },
    "lpips": {
        "alex": "v0.1 with AlexNet (iFID)",
        "vgg": "v0.1 with VGG16 (LightningDiT, RAE: their file of heads is that of the package)",
    },
    "range": {
        "right": "PSNR, SSIM and LPIPS see the images in their range",
        "shifted": "images in [0, 1] are taken for images in [-1, 1]: half the contrast, brighter, "
        "PSNR 6.02 dB higher (iFID's code)",
    },
    "similarity": {
        "quantised": "SSIM and LPIPS see what rFID and PSNR see",
        "float": "SSIM sees clipped floats, LPIPS floats as they are (LightningDiT)",
    },
}
"""Axis -> value -> what it is and who uses it. The axis ``reference`` takes names of the config."""

NETWORKS_OF: Mapping[str, str] = {
    "tf1": "inception",
    "torch-bilinear": "inception-bilinear",
    "antialias": "inception-antialias",
    "clean": "inception-clean",
}
"""Resize -> the network that works with it; all have the same weights."""

LPIPS_NETWORKS: Mapping[str, tuple[str, ...]] = {
    "alex": ("lpips-alex", "lpips-alex-random"),
    "vgg": ("lpips-vgg",),
}
"""LPIPS network -> registered networks that are one, whatever role they play."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to compute rFID, PSNR, SSIM and LPIPS; see :data:`AXES`.

    Attributes:
        crop: how images became squares.
        quantisation: what becomes of the decoder's floats before rFID and PSNR.
        resize: to the 299 pixels of Inception.
        posterior: what is decoded.
        reference: what rFID is taken against: :data:`EVALUATION`, or in a config the name of a
            split, or of a file of moments in ``gfid.references``.
        psnr: how dB are averaged.
        ssim: windows at the border.
        lpips: its network.
        range: in which PSNR, SSIM and LPIPS see the images.
        similarity: what SSIM and LPIPS see.

    Raises:
        ValueError: a value that its axis does not have.
    """

    crop: str = "resize-center-crop"
    quantisation: str = "uint8-round"
    resize: str = "tf1"
    posterior: str = "mean"
    reference: str = EVALUATION
    psnr: str = "mean"
    ssim: str = "valid"
    lpips: str = "alex"
    range: str = "right"
    similarity: str = "quantised"

    def __post_init__(self) -> None:
        """Check each value."""
        derived = {"crop": (READY_MADE, *CROPS), "resize": (OWN,), "posterior": (DETERMINISTIC,)}
        for axis, valid in AXES.items():
            value = getattr(self, axis)
            if value not in valid and value not in derived.get(axis, ()):
                raise unknown(axis, value, valid)

    @property
    def sweep_variant(self) -> str:
        """Variant of its rFID in the sweep."""
        axes = f"{self.crop} {self.quantisation} {self.resize} {self.posterior}"
        return f"sweep {axes} ref={self.reference}"


@dataclass(frozen=True)
class Preset:
    """A protocol with its source and what is known to differ from that."""

    protocol: Protocol
    source: str
    notes: tuple[str, ...] = ()


PROTOCOLS: Mapping[str, Preset] = {
    "seesaw": Preset(
        Protocol(),
        "default of this study. The paper, arXiv 2601.21633, states ImageNet val at 256 pixels, "
        "Inception and LPIPS with AlexNet",
        ("crop, rounding, resize, posterior and SSIM window are not in the paper: ours",),
    ),
    "ifid": Preset(
        Protocol(quantisation="float", resize="torch-bilinear", posterior="sample"),
        "tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID bac6ede evalvae.py, ifid/fid",
        (
            "images in the right range, which the code's PSNR, SSIM and LPIPS do not have",
            "the paper's sample is not seeded per image; some of its autoencoders take the mean",
        ),
    ),
    "ifid-as-published": Preset(
        Protocol(
            quantisation="float", resize="torch-bilinear", posterior="sample", range="shifted"
        ),
        "tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID bac6ede evalvae.py: images in [0, 1] "
        "passed with zero_mean=True",
        ("rFID is that of ifid: only PSNR, SSIM and LPIPS are affected",),
    ),
    "lightningdit": Preset(
        Protocol(
            resize="torch-bilinear",
            posterior="sample",
            ssim="reflect",
            lpips="vgg",
            similarity="float",
        ),
        "hustvl/LightningDiT 2725fed evaluate_tokenizer.py, models/lpips.py",
        (
            "its Resize and CenterCrop work on floats, after ToTensor; here on the PIL image",
            "its sample is not seeded",
        ),
    ),
    "rae": Preset(
        Protocol(crop="adm", quantisation="uint8-floor", ssim="reflect", lpips="vgg"),
        "bytetriper/RAE a4d18c4 src/eval, src/stage1_sample_ddp.py",
        ("RAE's encoder is deterministic; for others the mean is taken here",),
    ),
}
"""Name -> preset."""
