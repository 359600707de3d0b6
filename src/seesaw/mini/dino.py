"""``mini-dino``: a small vision transformer that was trained on images alone.

Two views of an image (crop, flip, colours, half of the patch tokens) are to have embeddings closer
to each other than to those of other images (NT-Xent of Chen et al. 2020, tokens left out as in He
et al. 2022); and the pixels of a patch are to be readable from its token, so that the tokens keep
what is where. No label is used.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.mini.inception import CLASS_FIELD, STARTS
from seesaw.mini.scenes import FIELDS
from seesaw.mini.training import (
    ConvNorm,
    MiniNetwork,
    State,
    fit,
    load_arrays,
    minibatches,
    save_state,
    seeded,
    to_pixels,
)
from seesaw.mini.trunk import SIDE, resize
from seesaw.results import Score
from seesaw.shards import Shards

VERSION = "1"
DIM = 64
GRID = 8
PATCH = SIDE // GRID
HEADS = 4
DEPTH = 2
TEMPERATURE = 0.2
COLOUR = 0.5
"""Strength of the colour change of a view."""

NEIGHBOURS = 10
REFERENCES = 4000
"""Training images among which the neighbours are looked up when the network is scored."""


class Block(nn.Module):
    """Transformer block on tokens ``(N, T, D)``: attention and a two-layer perceptron."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens to tokens."""
        n, count, dim = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).view(n, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(*qkv.unbind(0))
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(n, count, dim))
        return tokens + self.mlp(self.norm2(tokens))


class PatchTransformer(nn.Module):
    """Images to 8 x 8 patch tokens: a convolutional stem, then transformer blocks.

    Args:
        norm: whether the stem's batch normalisation is there (training) or folded.
    """

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvNorm(12, 24, norm=norm), ConvNorm(24, DIM, stride=2, norm=norm)
        )
        self.positions = nn.Parameter(0.02 * torch.randn(GRID * GRID, DIM))
        self.blocks = nn.Sequential(*(Block(DIM, HEADS) for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(DIM)

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Pixels in [-1, 1] ``(N, 3, H, W)`` to tokens ``(N, 64, D)``, row by row.

        Args:
            pixels: images.
            keep: ``(N, T)``: numbers of the tokens that enter the blocks; all by default.
        """
        maps = self.stem(nn.functional.pixel_unshuffle(resize(pixels), 2))
        tokens = maps.flatten(2).transpose(1, 2) + self.positions
        if keep is not None:
            tokens = tokens.gather(1, keep[:, :, None].expand(-1, -1, DIM))
        return self.norm(self.blocks(tokens))


class Pupil(nn.Module):
    """The transformer and the heads that only training needs."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = PatchTransformer()
        self.project = nn.Sequential(
            nn.Linear(DIM, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, 64)
        )
        self.read = nn.Linear(DIM, 3 * PATCH**2)

    def forward(self, views: Tensor, masked: float) -> tuple[Tensor, Tensor]:
        """Embed views and read the pixels back, a share ``masked`` of the tokens left out.

        Returns:
            Embeddings ``(N, 64)``, and the mean absolute error of the pixels of the kept patches.
        """
        order = torch.rand(len(views), GRID * GRID, device=views.device).argsort(1)
        keep = order[:, : max(1, round(GRID * GRID * (1 - masked)))]
        tokens = self.backbone(views, keep)
        truth = patches(views).gather(1, keep[:, :, None].expand(-1, -1, 3 * PATCH**2))
        return self.project(tokens.mean(1)), (self.read(tokens) - truth).abs().mean()


def two_views(pixels: Tensor) -> Tensor:
    """A random view of each image twice: crop, flip and colours, ``(2N, 3, 32, 32)``.

    Args:
        pixels: float images in [-1, 1].
    """
    pixels = resize(pixels).repeat(2, 1, 1, 1)
    n, device = len(pixels), pixels.device
    scale = torch.empty(n, device=device).uniform_(0.6, 1.0)
    flip = torch.where(torch.rand(n, device=device) < 0.5, -1.0, 1.0)
    shift = torch.empty(n, 2, device=device).uniform_(-1, 1) * (1 - scale)[:, None]
    theta = torch.zeros(n, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = scale * flip, scale, shift
    places = nn.functional.affine_grid(theta, list(pixels.shape), align_corners=False)
    views = nn.functional.grid_sample(
        pixels, places, padding_mode="reflection", align_corners=False
    )
    mix = torch.eye(3, device=device) + COLOUR * torch.randn(n, 3, 3, device=device)
    views = torch.einsum("nij,njhw->nihw", mix, views)
    return (views + 0.3 * torch.randn(n, 3, 1, 1, device=device)).clamp(-1, 1)


def patches(pixels: Tensor) -> Tensor:
    """Images ``(N, 3, 32, 32)`` as the pixels of each patch ``(N, 64, 48)``, row by row."""
    return nn.functional.pixel_unshuffle(pixels, PATCH).flatten(2).transpose(1, 2)


def contrast(embeddings: Tensor) -> Tensor:
    """NT-Xent of Chen et al. (2020), eq. 1: rows i and i + N are two views of image i."""
    unit = nn.functional.normalize(embeddings, dim=1)
    similarity = (unit @ unit.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    partners = torch.arange(len(unit), device=unit.device).roll(len(unit) // 2)
    return nn.functional.cross_entropy(similarity, partners)


class MiniDino(MiniNetwork):
    """Image features and patch tokens; see :class:`seesaw.mini.training.MiniNetwork`.

    Attributes:
        dim: width of a token and of the features.
        grid: tokens per side.
    """

    dim = DIM
    grid = GRID

    def build(self) -> nn.Module:
        """The network in its folded form."""
        return PatchTransformer(norm=False)

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Features of uint8 RGB images ``(N, 3, H, W)``, resized to 32 x 32.

        Returns:
            ``features``: float32 ``(N, 64)``, the mean of the patch tokens.
        """
        return self.run(images, lambda pixels: {"features": self.model(pixels).mean(1)})

    def tokens(self, images: Tensor) -> Tensor:
        """Patch tokens of float images in [-1, 1] ``(N, 3, H, W)``, resized to 32 x 32.

        Returns:
            ``(N, 64, dim)``, row by row of the 8 x 8 grid. The weights are frozen; gradients reach
            the images.
        """
        return self.model(images.to(self.device))


def train(
    train: Shards,
    validation: Shards,
    *,
    steps: int,
    seed: int,
    device: str = "cpu",
    batch_size: int = 64,
    lr: float = 6e-3,
    masked: float = 0.5,
    pixels: float = 1.0,
) -> tuple[State, list[Score]]:
    """Train ``mini-dino`` without labels and score its features on the validation split's classes.

    Args:
        train: packed split with ``images``; ``attributes`` only serve the scores.
        validation: the same, not trained on.
        steps: optimiser steps.
        seed: of the initial weights, the order of the images and their views.
        device: torch device.
        batch_size: images per step, two views each.
        lr: highest learning rate.
        masked: share of the tokens that a view lacks.
        pixels: weight of the error of pixels beside the contrast of views.

    Returns:
        The trained state, and the scores of :func:`score`.
    """
    arrays = load_arrays(train, ["images"])
    with seeded(seed):
        pupil = Pupil()
    untrained = save_state(pupil.backbone)

    def loss(batch: dict[str, Tensor]) -> Tensor:
        embeddings, error = pupil(two_views(to_pixels(batch["images"])), masked)
        return contrast(embeddings) + pixels * error

    batches = minibatches(arrays, batch_size=batch_size, seed=seed, device=device)
    fit(pupil, batches, loss, steps=steps, lr=lr, seed=seed, what="mini-dino", device=device)
    state = save_state(pupil.backbone)
    networks = {"": MiniDino(state, device), "untrained": MiniDino(untrained, device)}
    return state, score(networks, train, validation)


def score(networks: Mapping[str, MiniDino], train: Shards, validation: Shards) -> list[Score]:
    """Class of the nearest object told from features, beside that from an untrained network's.

    By the majority of the 10 nearest training images, and by a linear classifier (least squares).

    Args:
        networks: variant (``""`` for the trained one) -> network.
        train: packed split with ``images`` and ``attributes``; its first 4,000 images are used.
        validation: the same, not trained on.
    """
    scores = []
    for variant, network in networks.items():
        known, known_class = features_and_classes(network, train, REFERENCES)
        asked, asked_class = features_and_classes(network, validation, len(validation))
        told = {
            "knn": vote(known, known_class, asked, k=NEIGHBOURS),
            "linear-probe": probe(known, known_class, asked),
        }
        scores += [
            _score(metric, float((said == asked_class).mean()), variant, len(asked_class))
            for metric, said in told.items()
        ]
    common = np.bincount(known_class).argmax()
    return [*scores, _score("knn", float((asked_class == common).mean()), "majority", len(asked))]


def _score(metric: str, value: float, variant: str, n: int) -> Score:
    return Score(
        metric=metric,
        value=value,
        variant=variant,
        n=n,
        unit="share",
        higher_is_better=True,
        metric_version=VERSION,
        network="mini-dino",
        note=f"class of the nearest object, {len(FIELDS['class'])} classes",
    )


def features_and_classes(
    network: MiniDino, shards: Shards, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features ``(N, D)`` and classes 0..9 ``(N,)`` of the first ``limit`` images."""
    arrays = load_arrays(shards, ["images", "attributes"], limit)
    classes = arrays["attributes"][:, CLASS_FIELD].astype(np.int64) - STARTS[CLASS_FIELD]
    return network.extract(arrays["images"])["features"], classes


def vote(known: np.ndarray, classes: np.ndarray, asked: np.ndarray, *, k: int) -> np.ndarray:
    """Majority class of the ``k`` nearest by cosine; ties go to the lower number.

    Args:
        known: features ``(M, D)``.
        classes: their classes ``(M,)``.
        asked: features ``(N, D)``.
        k: neighbours, at most M.
    """
    known, asked = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (known, asked))
    nearest = np.argsort(-(asked @ known.T), axis=1, kind="stable")[:, :k]
    votes = np.eye(classes.max() + 1, dtype=np.int64)[classes[nearest]].sum(1)
    return votes.argmax(1)


def probe(known: np.ndarray, classes: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Classes by least squares on one-hot targets, a small ridge; arguments as :func:`vote`."""
    mean = known.mean(0, dtype=np.float64)
    known, asked = (np.column_stack([x - mean, np.ones(len(x))]) for x in (known, asked))
    targets = np.eye(classes.max() + 1)[classes]
    gram = known.T @ known + 1e-6 * len(known) * np.eye(known.shape[1])
    return (asked @ np.linalg.solve(gram, known.T @ targets)).argmax(1)
