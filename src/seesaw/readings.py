"""What can be read from a run besides the metrics that a config lists, and a look-up for all.

The stages ``ifid``, ``gfid``, ``gfid-times``, ``probes`` and ``control`` make scores of their own;
their names, labels, units and directions stand here, as those of the metrics and of the
diffusability losses do in :mod:`seesaw.registry`. Importing this module imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seesaw.registry import LOSSES, METRICS, SHUFFLED, LossEntry, MetricEntry


@dataclass(frozen=True, kw_only=True)
class ReadingEntry:
    """A number that a stage makes: as :class:`seesaw.registry.MetricEntry`, but without code.

    ``stage`` is the one that makes it, ``role`` who plays the network that it rests on (None: none,
    or another one per variant). A variant of another unit or direction says so in its words.
    """

    stage: str
    role: str | None = None
    label: str
    unit: str
    higher_is_better: bool
    formula: str
    source: str
    traps: tuple[str, ...]
    beside: Mapping[str, str] = field(default_factory=dict)


ADM = "openai/guided-diffusion 22e0df8, evaluations/evaluator.py"
IFID = "iFID (arXiv 2603.05630), tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID bac6ede"
SAMPLES = {
    "MODEL SAMPLER ref=SET": "of the samples of a model and sampler against a reference; the plain "
    "number stands for the first of each",
}
PROBED = {
    "shuffled": "the prediction against another image's map: the level of chance",
    "zero": "an all-zero map in the place of the prediction",
    "mean": "the mean training map in the place of the prediction",
}

READINGS: Mapping[str, ReadingEntry] = {
    "gfid": ReadingEntry(
        stage="gfid",
        role="inception",
        label="gFID",
        unit="1",
        higher_is_better=False,
        formula="rFID's formula, between samples and the reference: a sample per evaluation image",
        source=f"Heusel et al. 2017 (arXiv 1706.08500); {IFID}, and {ADM}",
        traps=(
            "Reference: the iFID paper says validation images, its code reads ADM's statistics "
            "of the training set. Neither is comparable with rFID's reference: a gFID below "
            "an rFID is no contradiction.",
            "Number of samples, sampler, steps and guidance are part of it; values with and "
            "without guidance are two metrics.",
            "Everything said of rFID: bias at small n, resize, weights.",
        ),
        beside=SAMPLES,
    ),
    "gkid": ReadingEntry(
        stage="gfid",
        role="inception",
        label="gKID",
        unit="1e-3",
        higher_is_better=False,
        formula="KID's formula, between samples and evaluation images",
        source="Binkowski et al. 2018 (arXiv 1801.01401)",
        traps=("As KID; here without bias where gFID has most of it, at a few 1,000 samples.",),
        beside=SAMPLES,
    ),
    "inception-score": ReadingEntry(
        stage="gfid",
        role="inception",
        label="IS",
        unit="1",
        higher_is_better=True,
        formula="mean over splits of exp of the mean KL divergence of a sample's class "
        "probabilities from their mean",
        source=f"Salimans et al. 2016 (arXiv 1606.03498); {ADM}",
        traps=(
            "Splits of 5,000 images: one smaller split has a lower score, so compare at equal n.",
            "ADM's logits have no bias; with it the score is another.",
            "It knows the classifier's classes only and no reference: one good image per class "
            "scores highest.",
        ),
        beside={"MODEL SAMPLER ref=none": "of the samples of a model and sampler"},
    ),
    "precision": ReadingEntry(
        stage="gfid",
        role="inception",
        label="Precision",
        unit="share",
        higher_is_better=True,
        formula="share of samples within the 3-nearest-neighbour ball of an evaluation image",
        source=f"Kynkäänniemi et al. 2019 (arXiv 1904.06991); {ADM}",
        traps=(
            "It depends on the sizes of both sets (ADM: 10,000 reference images, 50,000 "
            "samples): more reference images, higher precision.",
            "The paper uses VGG features, ADM Inception's; the values are not comparable.",
            "One outlier in the reference has a ball that takes in much of everything.",
        ),
        beside=SAMPLES,
    ),
    "recall": ReadingEntry(
        stage="gfid",
        role="inception",
        label="Recall",
        unit="share",
        higher_is_better=True,
        formula="share of evaluation images within the 3-nearest-neighbour ball of a sample",
        source=f"Kynkäänniemi et al. 2019 (arXiv 1904.06991); {ADM}",
        traps=(
            "It depends on the sizes of both sets: more samples, higher recall.",
            "Scattered, bad samples have large balls and with them a high recall; read it "
            "beside precision.",
        ),
        beside=SAMPLES,
    ),
    "gfid-t": ReadingEntry(
        stage="gfid-times",
        role="inception",
        label="gFID(t)",
        unit="1",
        higher_is_better=False,
        formula="rFID's formula, between evaluation images noised to t and denoised, and "
        "themselves",
        source="iFID (arXiv 2603.05630); its code does not have it",
        traps=(
            "t = 0 is rFID and t = 1 gFID against the evaluation images, whatever the "
            "reference of the plain gFID.",
            "The sampler and its number of steps are part of it, as of gFID.",
        ),
        beside={"MODEL t=T": "at one time of one model"},
    ),
    "diffusion-loss": ReadingEntry(
        stage="gfid-times",
        label="Diffusion loss",
        unit="1",
        higher_is_better=False,
        formula="mean squared error of the velocity on normalised evaluation latents, 4 times "
        "and noises each",
        source="iFID (arXiv 2603.05630), Table 3, which gives no code",
        traps=(
            "Its scale is that of the latents: it goes down with fewer or more redundant "
            "dimensions, whether or not samples are better.",
            "The distribution of times is part of it.",
        ),
        beside={
            "MODEL": "times shifted as in training",
            "MODEL unshifted": "uniform times",
        },
    ),
    "ifid": ReadingEntry(
        stage="ifid",
        role="inception",
        label="iFID",
        unit="1",
        higher_is_better=False,
        formula="rFID of decoded interpolations between each latent and a drawn nearest neighbour",
        source=IFID,
        traps=(
            "Interpolation, alpha, K and the number of reference images are part of it; at "
            "alpha 0 it is rFID.",
            "If the reference holds the image itself, it is its own nearest neighbour; the "
            "published code does not leave it out, here it is left out.",
            "The draw among the K neighbours weighs them by raw distance, so it is nearly "
            "greedy or nearly uniform with the scale of the latents.",
            "The paper's mask is said to be random; in its code it is the upper half.",
        ),
        beside={
            "INTERPOLATION alpha=A k=K n=N": "of one setting; the plain number stands for the "
            "config's default",
        },
    ),
    "spatial": ReadingEntry(
        stage="metrics",
        label="Spatial drift",
        unit="L1",
        higher_is_better=False,
        formula="mean of Canny, depth and segmentation drift",
        source="Seesaw (arXiv 2601.21633), A.1.2",
        traps=(
            "Three distances of different spread are averaged: the widest decides the order.",
            "In a table beside its parts it is no independent evidence.",
        ),
        beside={"shuffled": SHUFFLED, "zero": "against all-zero maps"},
    ),
    "latent-canny": ReadingEntry(
        stage="probes",
        role="canny",
        label="Latent Canny",
        unit="L1",
        higher_is_better=False,
        formula="mean |p - c(x)|, p the edge probability that a probe reads from the latent",
        source="Seesaw (arXiv 2601.21633), A.3, which leaves out widths and learning rate",
        traps=(
            "The empty map scores the edge density, often below every probe: read F1 and "
            "average precision beside it.",
            "It measures latent, probe and training budget together.",
        ),
        beside={
            **PROBED,
            "thresholded": "the prediction as 0 or 1",
            "f1": "F1 of its pixels (higher is better)",
            "ap": "average precision of its pixels (higher is better)",
        },
    ),
    "latent-depth": ReadingEntry(
        stage="probes",
        role="depth",
        label="Latent depth",
        unit="L1",
        higher_is_better=False,
        formula="mean |p - c(x)|, p the depth that a probe reads from the latent",
        source="Seesaw (arXiv 2601.21633), A.3, which leaves out widths and learning rate",
        traps=(
            "The mean training map is a strong baseline: read the drop below it.",
            "It measures latent, probe and training budget together.",
        ),
        beside=PROBED,
    ),
    "control-fid": ReadingEntry(
        stage="control",
        role="inception",
        label="FID under control",
        unit="1",
        higher_is_better=False,
        formula="rFID's formula, between samples under a condition and the images that the "
        "conditions come from",
        source="Seesaw (arXiv 2601.21633), 6.2 and Table 3; its code is not public",
        traps=(
            "Each sample is given an image's condition, so it can be far below the gFID of the "
            "same model.",
            "Everything said of rFID: bias at small n, resize, weights.",
        ),
        beside={
            "CONDITION": "of one condition",
            "CONDITION uncontrolled": "of samples of the same labels and noise without control",
        },
    ),
    "control-l1": ReadingEntry(
        stage="control",
        label="Condition L1",
        unit="L1",
        higher_is_better=False,
        formula="mean |c - c(y)| of the condition given and the one found in the sample y",
        source="Seesaw (arXiv 2601.21633), 6.2 and Table 3; its code is not public",
        traps=(
            "The autoencoder's own drift is its floor and the shuffled pairs its ceiling; the "
            "paper's Canny values are near the second.",
        ),
        beside={
            "CONDITION": "of one condition",
            "CONDITION shuffled": "another image's sample: the level of chance",
            "CONDITION zero": "an empty map",
            "CONDITION uncontrolled": "samples of the same labels and noise without control",
        },
    ),
}
"""Name in ``scores.csv`` -> what it is. Variants in capitals stand for what a run fills in."""

Described = MetricEntry | LossEntry | ReadingEntry


def named(name: str) -> dict[str, Any]:
    """Name, unit and direction of a stage's reading, as :class:`seesaw.results.Score` takes them.

    Raises:
        KeyError: no such reading.
    """
    entry = READINGS[name]
    return {"metric": name, "unit": entry.unit, "higher_is_better": entry.higher_is_better}


def described(name: str) -> Described | None:
    """The entry of a metric, a diffusability loss or a stage's reading; None for other names."""
    for registry in (METRICS, LOSSES, READINGS):
        if name in registry:
            return registry[name]
    return None
