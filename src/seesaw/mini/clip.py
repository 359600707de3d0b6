"""``mini-clip``: images and captions in one space (contrastive, after Radford et al. 2021).

The image tower is a convolutional network, the text tower a bag of caption words: each word says
its field too, so their order carries nothing. Some words are left out in training, so that a
single word is a text too and classes can be told by prompts.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.mini.inception import CLASS_FIELD, STARTS
from seesaw.mini.scenes import VOCABULARY
from seesaw.mini.training import (
    MiniNetwork,
    State,
    fit,
    load_arrays,
    minibatches,
    save_state,
    seeded,
    to_pixels,
)
from seesaw.mini.trunk import WIDTH, Trunk
from seesaw.results import Score
from seesaw.shards import Shards

VERSION = "1"
DIM = 64
HIDDEN = 128
CANDIDATES = 100
"""Captions among which an image's own one is looked for when the network is scored."""


class TwoTowers(nn.Module):
    """Images and captions to unit vectors ``(N, 64)``.

    Args:
        norm: whether batch normalisation is there (training) or folded.
    """

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()
        self.trunk = Trunk(norm=norm)
        self.project = nn.Linear(WIDTH, DIM)
        self.words = nn.Parameter(torch.randn(len(VOCABULARY), HIDDEN) / math.sqrt(HIDDEN))
        self.text = nn.Sequential(
            nn.LayerNorm(HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, DIM)
        )
        self.log_scale = nn.Parameter(torch.tensor([math.log(10.0)]))

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Pixels in [-1, 1] ``(N, 3, H, W)`` to unit vectors."""
        return nn.functional.normalize(self.project(self.trunk(pixels)), dim=1)

    def encode_text(self, counts: Tensor) -> Tensor:
        """Captions as word counts ``(N, words)`` to unit vectors."""
        return nn.functional.normalize(self.text(counts @ self.words), dim=1)


def word_counts(attributes: Tensor, keep: Tensor | None = None) -> Tensor:
    """Captions ``(N, fields)`` of word numbers to counts ``(N, words)``.

    Args:
        attributes: numbers of the vocabulary.
        keep: bool, shaped like ``attributes``: which words are there; all by default.
    """
    there = torch.ones_like(attributes, dtype=torch.float32) if keep is None else keep.float()
    counts = there.new_zeros(len(attributes), len(VOCABULARY))
    return counts.scatter_add_(1, attributes.long(), there)


class MiniClip(MiniNetwork):
    """Image embeddings; see :class:`seesaw.mini.training.MiniNetwork`."""

    def build(self) -> nn.Module:
        """The network in its folded form."""
        return TwoTowers(norm=False)

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Embeddings of uint8 RGB images ``(N, 3, H, W)``, resized to 32 x 32.

        Returns:
            ``features``: float32 ``(N, 64)`` of unit length.
        """
        return self.run(images, lambda pixels: {"features": self.model.encode_image(pixels)})

    def embed_text(self, attributes: np.ndarray) -> np.ndarray:
        """Embeddings of captions of any length, ``(N, words)`` numbers of the vocabulary.

        Returns:
            float32 ``(N, 64)`` of unit length.
        """
        with torch.inference_mode():
            counts = word_counts(torch.from_numpy(attributes).to(self.device))
            return self.model.encode_text(counts).cpu().numpy()


def train(
    train: Shards,
    validation: Shards,
    *,
    steps: int,
    seed: int,
    device: str = "cpu",
    batch_size: int = 64,
    lr: float = 1e-2,
    drop: float = 0.3,
) -> tuple[State, list[Score]]:
    """Train ``mini-clip`` and score retrieval and prompted classes on the validation split.

    Args:
        train: packed split with ``images`` and ``attributes``.
        validation: the same, not trained on.
        steps: optimiser steps.
        seed: of the initial weights, the order of the images and the words that are left out.
        device: torch device.
        batch_size: image-caption pairs per step; each image's negatives are the other captions.
        lr: highest learning rate.
        drop: probability with which a word is left out.

    Returns:
        The trained state, and the scores of :func:`score`.
    """
    arrays = load_arrays(train, ["images", "attributes"])
    with seeded(seed):
        model = TwoTowers()

    def loss(batch: dict[str, Tensor]) -> Tensor:
        attributes = batch["attributes"]
        keep = torch.rand(attributes.shape, device=attributes.device) >= drop
        images = model.encode_image(to_pixels(batch["images"]))
        texts = model.encode_text(word_counts(attributes, keep))
        logits = model.log_scale.exp().clamp(max=100) * images @ texts.T
        pairs = torch.arange(len(logits), device=logits.device)
        cross_entropy = nn.functional.cross_entropy
        return (cross_entropy(logits, pairs) + cross_entropy(logits.T, pairs)) / 2

    batches = minibatches(arrays, batch_size=batch_size, seed=seed, device=device)
    fit(model, batches, loss, steps=steps, lr=lr, seed=seed, what="mini-clip", device=device)
    state = save_state(model)
    return state, score(MiniClip(state, device), validation)


def score(network: MiniClip, validation: Shards) -> list[Score]:
    """Retrieval of captions by images, and classes by one-word prompts, each beside chance.

    Images and captions are compared in blocks of 100 in stored order (a rest is left out; fewer
    images than that make one block).

    Args:
        network: trained.
        validation: packed split with ``images`` and ``attributes``.
    """
    names = np.arange(STARTS[CLASS_FIELD], STARTS[CLASS_FIELD + 1])
    prompts = network.embed_text(names[:, None])
    images, attributes = [], []
    for batch in validation.batches(["images", "attributes"], 500):
        images.append(network.extract(batch["images"])["features"])
        attributes.append(batch["attributes"])
    image, words = np.concatenate(images), np.concatenate(attributes)
    text = network.embed_text(words)
    block = min(CANDIDATES, len(image))
    used = len(image) - len(image) % block
    blocks = [slice(start, start + block) for start in range(0, used, block)]
    found = sum(retrieved(image[rows] @ text[rows].T, words[rows]) for rows in blocks)
    said = names[(image @ prompts.T).argmax(1)]
    named = (said == words[:, CLASS_FIELD]).mean()
    shared: dict[str, Any] = {
        "unit": "share",
        "higher_is_better": True,
        "metric_version": VERSION,
        "network": "mini-clip",
    }
    retrieval = shared | {
        "metric": "caption-retrieval",
        "n": used,
        "note": f"the image's own caption (or one of the same words) first among {block}",
    }
    zero_shot = shared | {
        "metric": "zero-shot",
        "n": len(image),
        "note": f"class of the nearest object by prompts of one word, {len(names)} classes",
    }
    return [
        Score(value=found / used, **retrieval),
        Score(value=1 / block, variant="chance", **retrieval),
        Score(value=float(named), **zero_shot),
        Score(value=1 / len(names), variant="chance", **zero_shot),
    ]


def retrieved(similarity: np.ndarray, words: np.ndarray) -> int:
    """How many rows have their largest entry at a caption of the same words as their own.

    Args:
        similarity: images by captions ``(n, n)``, pairs on the diagonal.
        words: captions ``(n, fields)``.
    """
    return int((words[similarity.argmax(1)] == words).all(1).sum())
