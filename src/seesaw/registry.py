"""Names of everything that a config can choose, and where its code is.

Importing this module imports neither torch nor any target. A target ``"package.module:object"`` is
imported when it is asked for. ``version`` is bumped whenever the numbers that an entry makes can
change; it is a parameter of the rules that use the entry, so a bump reruns exactly its dependants.
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

FEW_FACES = 20
"""Faces below which a mean over them is no value to compare: noted, and in no correlation."""


def unknown(what: str, name: object, valid: Iterable[str]) -> ValueError:
    """The error for an unknown name: what was given, the closest match, what is valid."""
    names = sorted({*valid})
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return ValueError(f"unknown {what} {name!r}.{hint} Valid: {', '.join(names) or 'none'}")


def resolve(target: str) -> Any:
    """Import ``"package.module:object"`` and return the object.

    Raises:
        ValueError: the target is not of that form, or the module or the object does not exist.
    """
    module_name, _, object_name = target.partition(":")
    if not module_name or not object_name:
        raise ValueError(f"{target!r} is not of the form 'package.module:object'")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"cannot import {module_name!r} of {target!r}: {error}. Is its folder on PYTHONPATH, "
            "or is it installed in this environment?"
        ) from error
    try:
        return getattr(module, object_name)
    except AttributeError:
        names = [name for name in vars(module) if not name.startswith("_")]
        raise unknown(f"object in module {module_name}", object_name, names) from None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A name's code and its version."""

    target: str
    version: str


@dataclass(frozen=True, kw_only=True)
class FamilyEntry(Entry):
    """An autoencoder family; ``needs``: the arguments of its class that have no default (tested).

    So that a config can be checked without importing the class.
    """

    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MetricEntry(Entry):
    """A metric: a function of what ``reads`` says, returning :class:`seesaw.metrics.Measured`.

    ``reads`` is ``"images"`` (reference and reconstructed images) or ``"conditions"`` (what the
    network that plays ``role`` extracted from both). ``role`` is also how the network is found in
    the config block ``networks:``. ``source`` says whose definition it is, ``traps`` what has
    misled people who compared such numbers, ``beside`` what each variant of its readings means.
    """

    reads: Literal["images", "conditions"]
    role: str | None = None
    label: str
    unit: str
    higher_is_better: bool
    formula: str
    source: str = ""
    traps: tuple[str, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NetworkEntry(Entry):
    """A detector or feature network; ``target`` is a :class:`seesaw.networks.Network`.

    ``kind`` says what it extracts (see :mod:`seesaw.networks`). ``weights`` says where its weights
    come from: ``None`` (it has none), ``"trained"`` (by ``trainer`` on the mini world, unless the
    config names a file), ``"file"`` (a file that the config names). ``options`` are given to the
    target, so that one class under several names can work by several protocols. ``source`` and
    ``licence`` are those of code and weights.
    """

    kind: Literal["edges", "map", "labels", "faces", "features", "perceptual"]
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    traps: tuple[str, ...] = ()
    weights: Literal["trained", "file"] | None = None
    trainer: str | None = None
    torch: bool = True
    label: str


@dataclass(frozen=True, kw_only=True)
class BackboneEntry(Entry):
    """A diffusion backbone; ``config`` holds the keyword arguments of the published size."""

    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class LossEntry(Entry):
    """A diffusability loss: a :class:`seesaw.diffusability.Loss`; lower is better.

    ``needs`` are the roles (config block ``networks:``) without which it cannot be computed,
    ``uses`` those that add variants where somebody plays them. ``fits`` says whether it learns
    something from latents of the split ``train`` first. ``source``, ``traps`` and ``beside`` are as
    in :class:`MetricEntry`.
    """

    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    fits: bool = False
    label: str
    unit: str
    higher_is_better: bool = False
    formula: str
    source: str = ""
    traps: tuple[str, ...] = ()
    beside: Mapping[str, str] = field(default_factory=dict)


RegistryEntry = TypeVar("RegistryEntry", bound=Entry)


@dataclass(frozen=True)
class Registry(Generic[RegistryEntry]):
    """Names to entries. Unknown names are errors that list the valid ones."""

    what: str
    entries: Mapping[str, RegistryEntry] = field(default_factory=dict)

    def __getitem__(self, name: str) -> RegistryEntry:
        if name not in self.entries:
            raise unknown(self.what, name, self.entries)
        return self.entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Any:
        return iter(self.entries)

    def load(self, name: str) -> Any:
        """Import and return the object that ``name`` stands for."""
        return resolve(self[name].target)


SHUFFLED = "each reference against another image's reconstruction: the level of chance"

METRICS = Registry(
    "metric",
    {
        "psnr": MetricEntry(
            target="seesaw.metrics.fidelity:psnr",
            version="1",
            reads="images",
            label="PSNR",
            unit="dB",
            higher_is_better=True,
            formula="mean over images of 20 log10(255 / RMSE), on uint8",
            source="definition of long standing; arithmetic as hustvl/LightningDiT 2725fed, "
            "evaluate_tokenizer.py",
            traps=(
                "The mean of each image's dB and the dB of the mean error differ, by more than 1 "
                "dB where some images are hard; torchmetrics accumulates the second.",
                "The iFID code maps [0, 1] once more as if it were [-1, 1]: its PSNR is 6.02 dB "
                "too high (tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID bac6ede, "
                "evalvae.py). Ranks are as they should be.",
                "Equal images have no finite dB; here they count as 100 dB.",
            ),
            beside={"of-mean-mse": "the dB of the mean squared error over all images"},
        ),
        "ssim": MetricEntry(
            target="seesaw.metrics.fidelity:ssim",
            version="1",
            reads="images",
            label="SSIM",
            unit="1",
            higher_is_better=True,
            formula="Gaussian 11x11, sigma 1.5, K 0.01/0.03, range 255, valid windows, per channel",
            source="Wang et al. 2004 (IEEE TIP 13/4); as VainF/pytorch-msssim b057b07",
            traps=(
                "Window and border: torchmetrics reflects pixels at the border, scikit-image's "
                "default window is a uniform 7 x 7. Both move the third decimal or more.",
                "A data range that is guessed from the images, or twice too large, raises it; in "
                "the iFID code 0.66 became 0.76 (tried on degraded photographs).",
            ),
        ),
        "ms-ssim": MetricEntry(
            target="seesaw.metrics.fidelity:ms_ssim",
            version="1",
            reads="images",
            label="MS-SSIM",
            unit="1",
            higher_is_better=True,
            formula="product over 5 scales of contrast-structure (coarsest: SSIM) to the powers "
            ".0448 .2856 .3001 .2363 .1333, windows as of SSIM, per channel; sides over 160 px",
            source="Wang et al. 2003; VainF/pytorch-msssim b057b07",
            traps=(
                "torchmetrics reflects the border at the coarsest scale and averages channels "
                "before it multiplies the scales",
            ),
        ),
        "lpips": MetricEntry(
            target="seesaw.metrics.perceptual:lpips",
            version="1",
            reads="images",
            role="lpips",
            label="LPIPS",
            unit="1",
            higher_is_better=False,
            formula="v0.1 distance of unit-normalised activations, weighted by the packaged heads",
            source="Zhang et al. 2018 (arXiv 1801.03924); richzhang/PerceptualSimilarity, v0.1",
            traps=(
                "AlexNet's and VGG's values are not comparable, and papers often do not say whose "
                "they print (Seesaw, iFID: AlexNet; LightningDiT, RAE, VTP: VGG).",
                "It wants images in [-1, 1]. Fed [0, 1] it sees bright images of half the "
                "contrast and gives another number, without an error.",
            ),
        ),
        "rfid": MetricEntry(
            target="seesaw.metrics.frechet:rfid",
            version="2",
            reads="conditions",
            role="inception",
            label="rFID",
            unit="1",
            higher_is_better=False,
            formula="|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2), float64, covariance with ddof 1",
            source="Heusel et al. 2017 (arXiv 1706.08500); mseitzer/pytorch-fid b9c1811, "
            "toshas/torch-fidelity 5e211a9",
            traps=(
                "Authors differ by a factor of 1.3 to 1.8 with the same weights (VA-VAE f16d32: "
                "0.28, 0.34, 0.43): reference set, crop, resize and quantisation are theirs. "
                "Compare ranks, or values of one protocol.",
                "Biased upwards at small n, and the bias depends on the features: compare at equal "
                "n only, and use KID below some 10 images per feature dimension.",
                "The resize to 299 pixels is part of the number: TensorFlow 1's (torch-fidelity), "
                "torch's bilinear (pytorch-fid), antialiased (torchmetrics since 1.9) and PIL's "
                "bicubic (clean-fid) are four different FIDs.",
                "The reference must be the very images that were encoded: validation against "
                "training statistics, or against images cropped otherwise, added 0.7 to 1.3.",
                "Through a matrix root it becomes complex or NaN where images are fewer than "
                "dimensions; here it cannot.",
            ),
        ),
        "fdd": MetricEntry(
            target="seesaw.metrics.frechet:rfid",
            version="1",
            reads="conditions",
            role="dino-large",
            label="FDD",
            unit="1",
            higher_is_better=False,
            formula="as rFID, with the class token of DINOv2 ViT-L/14 in place of Inception's pool",
            source="Stein et al. 2023 (FD-DINOv2); layer6ai-labs/dgm-eval 74c79f7",
            traps=(
                "its values are not on the scale of FID: the features are larger",
                "dgm-eval resizes as here (PIL's bicubic of the whole uint8 image to 224) unless "
                "it is given --clean_resize",
            ),
        ),
        "fd-infinity": MetricEntry(
            target="seesaw.metrics.fd_infinity:fd_infinity",
            version="1",
            reads="conditions",
            role="inception",
            label="FD-infinity",
            unit="1",
            higher_is_better=False,
            formula="rFID of 15 nested seeded subsets, the same images of both sets, of 5,000 (or "
            "n / 10) to n; least-squares line in 1/n at 1/n = 0",
            source="Chong and Forsyth 2020; mchong6/FID_IS_infinity 2cbf52e",
            traps=(
                "with the whole reference, as published for generators, reconstructions come out "
                "too low, even negative: see the variant reference=whole",
                "where R^2 in the note is low there is no bias to take away, and the line adds "
                "noise: rFID is the better number; a high R^2 is no error bar either, since nested "
                "subsets depend on each other",
            ),
            beside={"reference=whole": "subsets of the reconstructions against all images"},
        ),
        "kid": MetricEntry(
            target="seesaw.metrics.kid:kid",
            version="1",
            reads="conditions",
            role="inception",
            label="KID",
            unit="1e-3",
            higher_is_better=False,
            formula="unbiased squared MMD, kernel (x.y / d + 1)^3, all pairs, times 1000",
            source="Binkowski et al. 2018 (arXiv 1801.01401)",
            traps=(
                "Libraries average random subsets (torch-fidelity: 100 of 1,000 images), so they "
                "scatter around the value that all pairs give.",
                "Printed times 1, 100 or 1000 elsewhere; times 1000 here.",
                "Unbiased, so a value slightly below 0 is not an error.",
            ),
        ),
        "canny": MetricEntry(
            target="seesaw.metrics.drift:drift",
            version="1",
            reads="conditions",
            role="canny",
            label="Canny drift",
            unit="L1",
            higher_is_better=False,
            formula="mean |c(x) - c(x')| of maps in [0, 1] (Seesaw eq. 3)",
            source="Seesaw (arXiv 2601.21633), eq. 3 and A.1.2; lllyasviel/ControlNet ed85cd1, "
            "annotator/canny",
            traps=(
                "It saturates: unrelated edge maps of density d are 2 d (1 - d) apart, and an "
                "empty map d. Near these levels it says nothing about the image.",
                "Edges of RGB and of grey images differ widely, so do those at 256 and 512 "
                "pixels and at other thresholds.",
            ),
            beside={
                "shuffled": SHUFFLED,
                "zero": "against an empty map: the edge density",
                "density": "mean of the reference's maps, d in the chance level 2 d (1 - d)",
            },
        ),
        "depth": MetricEntry(
            target="seesaw.metrics.drift:drift",
            version="1",
            reads="conditions",
            role="depth",
            label="Depth drift",
            unit="L1",
            higher_is_better=False,
            formula="mean |c(x) - c(x')| of maps in [0, 1] (Seesaw eq. 3)",
            source="Seesaw (arXiv 2601.21633), eq. 3 and A.1.2; lllyasviel/ControlNet ed85cd1, "
            "annotator/midas",
            traps=(
                "Each map is stretched over its own [0, 1], so one wrong pixel at an extreme "
                "shifts the whole map, and no absolute depth is compared.",
                "The map depends on the resolution at which the network sees the image (256 or "
                "ControlNet's 384).",
                "A map that is the same everywhere counts as all zero.",
            ),
            beside={"shuffled": SHUFFLED, "zero": "against an all-zero (far) map"},
        ),
        "segmentation": MetricEntry(
            target="seesaw.metrics.drift:drift",
            version="1",
            reads="conditions",
            role="segmentation",
            label="Segmentation drift",
            unit="L1",
            higher_is_better=False,
            formula="mean |c(x) - c(x')| of palette colours in [0, 1] (Seesaw eq. 3)",
            source="Seesaw (arXiv 2601.21633), eq. 3 and A.1.2; lllyasviel/ControlNet ed85cd1, "
            "annotator/uniformer",
            traps=(
                "Colours are compared, not classes: confusing two classes of similar colour costs "
                "little. `mismatch` counts pixels instead; the paper does not say which it is.",
                "ControlNet hands RGB to a network trained on BGR; labels differ from those of "
                "the same weights used as trained.",
            ),
            beside={
                "shuffled": SHUFFLED,
                "zero": "against a black image",
                "mismatch": "share of the pixels whose label differs",
            },
        ),
        "identity": MetricEntry(
            target="seesaw.metrics.faces:identity",
            version="1",
            reads="conditions",
            role="face",
            label="Identity",
            unit="cosine",
            higher_is_better=True,
            formula="mean cosine of the largest faces, over images with a face in both",
            source="Seesaw (arXiv 2601.21633), A.1.2; deepinsight/insightface 7fadd42",
            traps=(
                "Its n is the images with a face in both, which differs between autoencoders: one "
                "that destroys the hard faces is scored on the easy ones. Read Face@R beside it.",
                "The largest face of each image is taken: in a crowd it can be another person's.",
                f"A mean over fewer than {FEW_FACES} faces is noted, stays in the tables, and is "
                "left out of every correlation: an autoencoder can destroy all faces but one.",
            ),
            beside={"shuffled": "faces of different persons: the level of chance"},
        ),
        "face-recall": MetricEntry(
            target="seesaw.metrics.faces:face_recall",
            version="1",
            reads="conditions",
            role="face",
            label="Face@R",
            unit="share",
            higher_is_better=True,
            formula="share of the images with a face in the reference that keep one",
            source="Seesaw (arXiv 2601.21633), A.1.2, read as recall (the paper gives no formula)",
            traps=(
                "Its n is the images whose reference has a face; on a general data set these are "
                "few, and some of the detections are wrong.",
                "It moves with the detector's input size and threshold.",
            ),
        ),
        "clip": MetricEntry(
            target="seesaw.metrics.similarity:similarity",
            version="1",
            reads="conditions",
            role="clip",
            label="CLIP similarity",
            unit="cosine",
            higher_is_better=True,
            formula="mean cosine of image embeddings",
            source="Seesaw (arXiv 2601.21633), A.1.2; Radford et al. 2021 (arXiv 2103.00020), "
            "openai/CLIP d05afc4",
            traps=(
                "Cosines of unrelated images are far above 0, so a high value can be near chance: "
                "read it against `shuffled`.",
                "Resize, crop and normalisation are part of it; float images resized instead of "
                "8-bit ones give other values.",
            ),
            beside={"shuffled": SHUFFLED},
        ),
        "dino": MetricEntry(
            target="seesaw.metrics.similarity:similarity",
            version="1",
            reads="conditions",
            role="dino",
            label="DINO similarity",
            unit="cosine",
            higher_is_better=True,
            formula="mean cosine of image embeddings",
            source="Seesaw (arXiv 2601.21633), A.1.2; Oquab et al. 2023 (arXiv 2304.07193), "
            "facebookresearch/dinov2 b8931f7",
            traps=(
                "The whole image at 224 pixels and the centre crop of the authors' evaluation are "
                "different metrics; the second does not see the border.",
                "Read it against `shuffled`, the level of unrelated images.",
            ),
            beside={"shuffled": SHUFFLED},
        ),
    },
)

LOSSES = Registry(
    "diffusability loss",
    {
        "eq-loss": LossEntry(
            target="seesaw.diffusability.equivariance:EquivarianceLoss",
            version="1",
            uses=("lpips",),
            label="EQ loss",
            unit="L1",
            formula="mean |t x - D(t z)|, pixels in [-1, 1], over scales .25 .5 .75 1 and quarter "
            "turns t, identity left out",
            source="EQ-VAE (arXiv 2502.09509), zelaki/eqvae c34589c; as a metric: iFID (arXiv "
            "2603.05630), Table 3, which gives no code",
            traps=(
                "It needs a grid of latents and a decoder that takes other sizes: without the "
                "first it is undefined, without the second only its rotations are.",
                "It holds the error of the reconstruction itself: read `identity` beside it.",
            ),
            beside={
                "lpips": "LPIPS in the place of L1 (a pure number)",
                "rotations": "quarter turns only, which every grid has",
                "rotations lpips": "LPIPS, quarter turns only (a pure number)",
                "identity": "no transform: the L1 of the reconstruction",
            },
        ),
        "se-loss": LossEntry(
            target="seesaw.diffusability.scale_equivariance:ScaleEquivarianceLoss",
            version="1",
            label="SE loss",
            unit="L1",
            formula="mean over s = 2, 4 of mean |down_s x - D(down_s z)|, pixels in [-1, 1]",
            source="Diffusability (arXiv 2502.14831), regulariser; no code is public",
            traps=(
                "The distance and the mean over two factors are chosen here, since the paper's "
                "code is not public: compare within a run.",
                "Undefined without a grid, or with a decoder of one fixed size.",
            ),
            beside={"s=2": "factor 2 alone", "s=4": "factor 4 alone"},
        ),
        "vf-loss": LossEntry(
            target="seesaw.diffusability.alignment:AlignmentLoss",
            version="1",
            needs=("dino-large",),
            fits=True,
            label="VF loss",
            unit="1",
            formula="mean relu(|cos(z_i, z_j) - cos(f_i, f_j)| - .25) + mean relu(.5 - cos(W z_i, "
            "f_i)), W fitted on training images",
            source="VA-VAE (arXiv 2501.01423), hustvl/LightningDiT 2725fed, contperceptual.py; as "
            "a metric: iFID (arXiv 2603.05630), Table 3, which gives no code",
            traps=(
                "In training the projection is learned with the autoencoder; here it is fitted to "
                "the frozen one, so training values are not comparable.",
                "Below its margins it is 0 whatever the latents: see `margin=0`.",
            ),
            beside={
                "distance": "the part that compares cosines between positions",
                "cosine": "the part that compares latents with features",
                "margin=0": "both parts without margins",
                "distance margin=0": "the first part without its margin",
                "cosine margin=0": "the second part without its margin",
            },
        ),
        "gmm-loss": LossEntry(
            target="seesaw.diffusability.mixture:MixtureLoss",
            version="1",
            fits=True,
            label="GMM loss",
            unit="nats",
            formula="mean -log p of whitened principal components of the latents; p: Gaussian "
            "mixture of diagonal covariance fitted to training latents",
            source="MAETok (arXiv 2502.03444), B.3; no code is public",
            traps=(
                "A density, so it can be negative, and it is comparable at one number of "
                "components, dimensions and training latents only.",
                "Directions are whitened: it sees the shape of the cloud, not its scale.",
            ),
            beside={
                "train": "of the training latents that the mixture was fitted to",
                "gaussian": "of one standard Gaussian in the place of the mixture",
            },
        ),
    },
)

OWN = "this repository (Apache-2.0); trained in the run"
MINI = (
    "A small stand-in, trained on the rendered mini world: its numbers compare autoencoders of one "
    "run and nothing else. How good it is, with chance beside it, is in `network_quality`."
)

NETWORKS = Registry(
    "network",
    {
        "canny": NetworkEntry(
            target="seesaw.networks.canny:Canny",
            version="1",
            kind="edges",
            torch=False,
            label="cv2.Canny 100/200",
            source="OpenCV, after Canny 1986; parameters of lllyasviel/ControlNet ed85cd1",
            licence="Apache-2.0 (OpenCV)",
            traps=(
                "It takes 8-bit images only, and its gradients are those of the strongest colour "
                "channel: grey input gives other edges.",
            ),
        ),
        "canny-512": NetworkEntry(
            target="seesaw.networks.canny:Canny",
            version="1",
            kind="edges",
            options={"resize": 512},
            torch=False,
            label="cv2.Canny 100/200 at 512 px",
            source="huggingface/controlnet_aux b1aac31, CannyDetector; demonstration of "
            "lllyasviel/ControlNet ed85cd1",
            licence="Apache-2.0",
            traps=(
                "images are enlarged to 512 px first: fewer edges per pixel, so a smaller drift "
                "than of images at their own 256 px",
            ),
        ),
        "inception": NetworkEntry(
            target="seesaw.networks.inception:Inception",
            version="2",
            kind="features",
            options={"resize": "tf1"},
            weights="file",
            label="Inception (FID weights)",
            source="toshas/torch-fidelity 5e211a9 and its release v0.2.0; the weights are "
            "TensorFlow's of 2015",
            licence="Apache-2.0 (torch-fidelity; weights: tensorflow/models, as torch-fidelity "
            "says)",
            traps=(
                "torchvision's and timm's Inception v3 have other weights: what they give is no "
                "FID.",
                "Features depend on the batch by the rounding of float32, FID in its last digits.",
            ),
        ),
        "inception-bilinear": NetworkEntry(
            target="seesaw.networks.inception:Inception",
            version="1",
            kind="features",
            options={"resize": "torch-bilinear"},
            weights="file",
            label="Inception (FID weights), torch bilinear",
            source="mseitzer/pytorch-fid b9c1811",
            licence="Apache-2.0 (code and weights)",
            traps=(
                "of 256 px images it differs from inception-antialias by the scaling of the pixels "
                "alone, and from inception by the resize too",
            ),
        ),
        "inception-antialias": NetworkEntry(
            target="seesaw.networks.inception:Inception",
            version="1",
            kind="features",
            options={"resize": "antialias"},
            weights="file",
            label="Inception (FID weights), antialiased bilinear",
            source="torchmetrics 1.9.0, FrechetInceptionDistance, by default",
            licence="Apache-2.0 (code and weights)",
            traps=("antialiasing has no effect on images of less than 299 px",),
        ),
        "inception-clean": NetworkEntry(
            target="seesaw.networks.inception:Inception",
            version="1",
            kind="features",
            options={"resize": "clean"},
            weights="file",
            label="Inception (FID weights), clean-fid",
            source="GaParmar/clean-fid e88c4d6, mode clean (Parmar et al. 2022, arXiv 2104.11222)",
            licence="MIT (clean-fid); Apache-2.0 (weights)",
            traps=(
                "clean-fid itself runs a TorchScript file of the network, which was not compared",
            ),
        ),
        "lpips-alex": NetworkEntry(
            target="seesaw.networks.lpips_alex:LpipsAlex",
            version="1",
            kind="perceptual",
            weights="file",
            label="LPIPS AlexNet",
            source="richzhang/PerceptualSimilarity, v0.1; AlexNet of torchvision",
            licence="BSD-2-Clause (LPIPS and its heads); AlexNet's weights: not stated "
            "(torchvision, BSD-3-Clause, says that terms of the training data may apply)",
            traps=(
                "The package `lpips` downloads AlexNet at run time, even with `pretrained=False`; "
                "here the file is given, or it is an error.",
            ),
        ),
        "lpips-alex-random": NetworkEntry(
            target="seesaw.networks.lpips_alex:LpipsAlexRandom",
            version="1",
            kind="perceptual",
            label="LPIPS heads on a random AlexNet",
            source="richzhang/PerceptualSimilarity, v0.1, heads; random AlexNet",
            licence="BSD-2-Clause",
            traps=(
                "A stand-in without download: the trunk is random, so values are not those of "
                "LPIPS.",
            ),
        ),
        "lpips-vgg": NetworkEntry(
            target="seesaw.networks.lpips_vgg:LpipsVgg",
            version="1",
            kind="perceptual",
            weights="file",
            label="LPIPS VGG16",
            source="richzhang/PerceptualSimilarity (Zhang et al. 2018), package lpips 0.1.4; "
            "trunk: torchvision",
            licence="BSD-2-Clause (LPIPS and its heads); VGG16's weights: not stated (torchvision, "
            "BSD-3-Clause, says that terms of the training data may apply)",
            traps=(
                "another number than LPIPS on AlexNet; papers do not always say which they give",
            ),
        ),
        "uniformer_upernet": NetworkEntry(
            target="seesaw.networks.uniformer_upernet:UniformerUpernet",
            version="1",
            kind="labels",
            weights="file",
            label="UniFormer-S UPerNet (ADE20K)",
            source="Li et al. 2022 (arXiv 2201.09450), Xiao et al. 2018 (arXiv 1807.10221); "
            "lllyasviel/ControlNet ed85cd1, annotator/uniformer",
            licence="weights: OpenRAIL (card of lllyasviel/ControlNet on the hub); code of the "
            "authors: MIT (Sense-X/UniFormer), in ControlNet: Apache-2.0",
            traps=(
                "By default it sees red and blue swapped, as in ControlNet.",
                "Images are enlarged to a short side of 512 pixels before it sees them.",
            ),
        ),
        "mini-depth": NetworkEntry(
            target="seesaw.mini.depth:MiniDepth",
            trainer="seesaw.mini.depth:train",
            version="1",
            kind="map",
            weights="trained",
            label="mini-depth",
            source="seesaw.mini.depth",
            licence=OWN,
            traps=(MINI,),
        ),
        "mini-segmentation": NetworkEntry(
            target="seesaw.mini.segmentation:MiniSegmentation",
            trainer="seesaw.mini.segmentation:train",
            version="1",
            kind="labels",
            weights="trained",
            label="mini-segmentation",
            source="seesaw.mini.segmentation",
            licence=OWN,
            traps=(MINI,),
        ),
        "mini-face": NetworkEntry(
            target="seesaw.mini.face:MiniFace",
            trainer="seesaw.mini.face:train",
            version="1",
            kind="faces",
            weights="trained",
            label="mini-face",
            source="seesaw.mini.face",
            licence=OWN,
            traps=(MINI,),
        ),
        "mini-inception": NetworkEntry(
            target="seesaw.mini.inception:MiniInception",
            trainer="seesaw.mini.inception:train",
            version="1",
            kind="features",
            weights="trained",
            label="mini-inception",
            source="seesaw.mini.inception",
            licence=OWN,
            traps=(MINI,),
        ),
        "mini-clip": NetworkEntry(
            target="seesaw.mini.clip:MiniClip",
            trainer="seesaw.mini.clip:train",
            version="1",
            kind="features",
            weights="trained",
            label="mini-clip",
            source="seesaw.mini.clip",
            licence=OWN,
            traps=(MINI,),
        ),
        "mini-dino": NetworkEntry(
            target="seesaw.mini.dino:MiniDino",
            trainer="seesaw.mini.dino:train",
            version="1",
            kind="features",
            weights="trained",
            label="mini-dino",
            source="seesaw.mini.dino",
            licence=OWN,
            traps=(MINI,),
        ),
        "dpt_hybrid_midas": NetworkEntry(
            target="seesaw.networks.dpt_hybrid_midas:DptHybridMidas",
            version="1",
            kind="map",
            weights="file",
            label="MiDaS DPT-Hybrid",
            source="Ranftl et al. 2021 (arXiv 2103.13413), isl-org/MiDaS; lllyasviel/ControlNet "
            "ed85cd1, annotator/midas",
            licence="MIT (isl-org/MiDaS); the same weights at Intel/dpt-hybrid-midas: Apache-2.0",
            traps=(
                "Inverse depth, near is bright, without scale or unit.",
                "The copy on the hub is the same network only with a normalisation epsilon of "
                "1e-6, which its conversion script does not set (maps of up to 264 move by "
                "0.0025).",
            ),
        ),
        "dpt_hybrid_midas-384": NetworkEntry(
            target="seesaw.networks.dpt_hybrid_midas:DptHybridMidas",
            version="1",
            kind="map",
            options={"resize": 384, "by": "midas"},
            weights="file",
            label="MiDaS DPT-Hybrid at 384 px",
            source="isl-org/MiDaS 4545977, dpt_transform and run.py",
            licence="MIT",
            traps=("depth maps of 256 px images seen at 256 and at 384 px differ",),
        ),
        "buffalo_s": NetworkEntry(
            target="seesaw.networks.buffalo_s:BuffaloS",
            version="1",
            kind="faces",
            weights="file",
            torch=False,  # onnxruntime as pinned is that for the CPU
            label="InsightFace buffalo_s",
            source="deepinsight/insightface 7fadd42; detector SCRFD (arXiv 2105.04714), embedding "
            "ArcFace (arXiv 1801.07698)",
            licence="model packs: non-commercial research only; package: MIT",
            traps=(
                "Detector size: 640 x 640 here and up to version 0.7; later versions join 128 and "
                "640 by default and find other faces.",
                "Which face of several: the package's own choice also favours the centre; here it "
                "is the largest box.",
                "It wants BGR, and falls back to the CPU without a word where its provider is "
                "missing; here that is an error.",
            ),
        ),
        "clip_vit_b32": NetworkEntry(
            target="seesaw.networks.clip_vit:ClipVitB32",
            version="1",
            kind="features",
            weights="file",
            label="CLIP ViT-B/32",
            source="Radford et al. 2021 (arXiv 2103.00020); openai/CLIP d05afc4",
            licence="MIT (openai/CLIP, whose model card calls any deployed use out of scope); not "
            "stated on the hub's card",
            traps=(
                "The centre crop cuts what an oblong image has beyond its square.",
                "Officially float16 on a GPU, float32 here.",
            ),
        ),
        "dinov2_vitb14": NetworkEntry(
            target="seesaw.networks.dinov2:Dinov2VitB14",
            version="1",
            kind="features",
            weights="file",
            label="DINOv2 ViT-B/14",
            source="Oquab et al. 2023 (arXiv 2304.07193); facebookresearch/dinov2 b8931f7",
            licence="Apache-2.0, code and weights",
            traps=(
                "transformers and timm resize the position table by size, the authors' hub model "
                "by a factor of (n + 0.1) / 37: other features, far above rounding.",
                "timm's default is 518 pixels; here it sees 224.",
            ),
        ),
        "dinov2_vitb14-crop": NetworkEntry(
            target="seesaw.networks.dinov2:Dinov2VitB14",
            version="1",
            kind="features",
            options={"crop": "official"},
            weights="file",
            label="DINOv2 ViT-B/14, centre crop",
            source="facebookresearch/dinov2 b8931f7, dinov2/data/transforms.py (evaluation)",
            licence="Apache-2.0",
            traps=("it sees the centre 224 of 256 px: the border of an image does not count",),
        ),
        "dinov2_vitl14": NetworkEntry(
            target="seesaw.networks.dinov2:Dinov2VitL14",
            version="1",
            kind="features",
            weights="file",
            label="DINOv2 ViT-L/14",
            source="Oquab et al. 2023 (arXiv 2304.07193); facebookresearch/dinov2 b8931f7",
            licence="Apache-2.0, code and weights",
            traps=(
                "transformers and timm resize the position table by size, the authors' hub model "
                "by a factor of (n + 0.1) / 37: other features, far above rounding.",
                "timm's default is 518 pixels; here it sees 224.",
            ),
        ),
    },
)

ROLES: Mapping[str, tuple[str, ...]] = {
    "canny": ("edges",),
    "depth": ("map",),
    "segmentation": ("labels",),
    "face": ("faces",),
    "inception": ("features",),
    "clip": ("features",),
    "dino": ("features",),
    "dino-large": ("features",),
    "lpips": ("perceptual",),
    "lpips-vgg": ("perceptual",),
}
"""Role in the study -> kinds of network that can play it."""

FAMILIES = Registry(
    "autoencoder family",
    {
        "diffusers-kl": FamilyEntry(
            target="seesaw.autoencoders.diffusers_kl:DiffusersKL",
            version="1",
            needs=("resolution",),
        ),
        "ldm-kl": FamilyEntry(
            target="seesaw.autoencoders.ldm_kl:LdmKL", version="1", needs=("official",)
        ),
        "qwenimage-kl": FamilyEntry(
            target="seesaw.autoencoders.one_frame:QwenImageKL", version="1"
        ),
        "cogvideox-kl": FamilyEntry(
            target="seesaw.autoencoders.one_frame:CogVideoXKL", version="1"
        ),
        "ltx-kl": FamilyEntry(target="seesaw.autoencoders.one_frame:LTXKL", version="1"),
        "dmvae": FamilyEntry(target="seesaw.autoencoders.dmvae:DMVAE", version="1"),
        "rae": FamilyEntry(
            target="seesaw.autoencoders.rae:RAE", version="1", needs=("resolution",)
        ),
        "svg": FamilyEntry(target="seesaw.autoencoders.svg:SVG", version="1"),
        "tokenizer-1d": FamilyEntry(
            target="seesaw.autoencoders.tokenizer_1d:Tokenizer1D",
            version="1",
            needs=("resolution",),
        ),
        "softvq": FamilyEntry(target="seesaw.autoencoders.softvq:SoftVQ", version="1"),
        "maetok": FamilyEntry(target="seesaw.autoencoders.maetok:MAETok", version="1"),
        "detok": FamilyEntry(target="seesaw.autoencoders.detok:DeTok", version="1"),
        "rae-dinov2": FamilyEntry(target="seesaw.autoencoders.rae_dinov2:RAEDinov2", version="1"),
        "uae": FamilyEntry(target="seesaw.autoencoders.uae:UAE", version="1"),
        "vtp": FamilyEntry(
            target="seesaw.autoencoders.vtp:VTP", version="1", needs=("width", "depth")
        ),
    },
)

OBJECTIVES = Registry(
    "training objective",
    {
        "reconstruction": Entry(
            target="seesaw.autoencoders.objectives:Reconstruction", version="1"
        ),
        "equivariance": Entry(target="seesaw.autoencoders.objectives:Equivariance", version="1"),
        "scale-equivariance": Entry(
            target="seesaw.autoencoders.objectives:ScaleEquivariance", version="1"
        ),
        "alignment": Entry(target="seesaw.autoencoders.objectives:Alignment", version="1"),
        "masked": Entry(target="seesaw.autoencoders.objectives:Masked", version="1"),
    },
)

BACKBONES = Registry(
    "diffusion backbone",
    {
        "lightningdit-xl/1": BackboneEntry(
            target="seesaw.diffusion.backbones.lightningdit:LightningDiT",
            version="1",
            config={
                "latent_shape": (32, 16, 16),
                "patch_size": 1,
                "width": 1152,
                "depth": 28,
                "heads": 16,
            },
        ),
        "ditdh-xl": BackboneEntry(
            target="seesaw.diffusion.backbones.ditdh:DiTDH",
            version="1",
            config={
                "latent_shape": (768, 16, 16),
                "width": 1152,
                "depth": 28,
                "heads": 16,
                "head_width": 2048,
                "head_depth": 2,
                "head_heads": 16,
            },
        ),
        **{
            f"sit-{size}/{patch_size}": BackboneEntry(
                target="seesaw.diffusion.sit:SiT",
                version="1",
                config={
                    "latent_shape": (4, 32, 32) if patch_size == 2 else (32, 16, 16),
                    "size": f"SiT-{size.upper()}",
                    "patch_size": patch_size,
                },
            )
            for size in ("b", "l", "xl")
            for patch_size in (1, 2)
        },
    },
)

ALIASES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "inception_fid": ("inception", {}),
    "lpips_alex": ("lpips-alex", {}),
    "lightningdit_xl_1": ("lightningdit-xl/1", {}),
    "rae_ditdh_xl": ("ditdh-xl", {}),
    "sit_b_2": ("sit-b/2", {}),
    "sit_b_1": ("sit-b/1", {}),
    "sit_b_1d": ("sit-b/1", {"latent_shape": (128, 32), "time_shift": 0.8}),
    "sit_xl_2": ("sit-xl/2", {"latent_shape": (16, 32, 32)}),
}
"""Other name of a network or backbone -> the registered one and its options.

The functions that load one in Python take these names too; configs do not. The SiTs are those that
the reference numbers were made with.
"""

SOURCES = Registry(
    "image source",
    {
        "folder": Entry(target="seesaw.data.folder:ImageFolder", version="1"),
        "imagenet": Entry(target="seesaw.data.imagenet:Imagenet", version="1"),
        "mini": Entry(target="seesaw.mini.scenes:MiniScenes", version="1"),
    },
)

CROPS = Registry(
    "crop",
    {
        "resize-center-crop": Entry(target="seesaw.data.crops:resize_center_crop", version="1"),
        "adm": Entry(target="seesaw.data.crops:adm", version="1"),
    },
)

INTERPOLATIONS = Registry(
    "interpolation",
    {
        "linear": Entry(target="seesaw.ifid:linear", version="1"),
        "slerp": Entry(target="seesaw.ifid:slerp", version="1"),
        "mask": Entry(target="seesaw.ifid:mask", version="1"),
    },
)

STAGES: Mapping[str, str] = {
    "assets": "1",
    "data": "1",
    "autoencoders": "1",
    "reconstruct": "2",
    "conditions": "1",
    "metrics": "1",
    "protocols": "1",
    "neighbours": "1",
    "ifid": "1",
    "diffusion": "1",
    "samples": "1",
    "gfid": "1",
    "gfid-times": "1",
    "probes": "1",
    "diffusability": "1",
    "control": "1",
    "control-samples": "1",
}
"""Stage -> version of its own code (loops, storage, randomness), apart from what it plugs in."""
