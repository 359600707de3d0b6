"""``mini-inception``: the classifier whose features the Fréchet distance of the mini world uses.

A convolutional network trained on the class of the nearest object (its logits) and, so that its 64
features see more than that, on every other word of the caption.
"""

from typing import Any

import numpy as np
from torch import Tensor, nn

from seesaw.mini.scenes import FIELDS
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
CLASS_FIELD = list(FIELDS).index("class")
STARTS = np.cumsum([0, *(len(words) for words in FIELDS.values())]).tolist()
"""First word of each caption field in the vocabulary, and one more: how many words there are."""


class Classifier(nn.Module):
    """Images to features ``(N, 64)`` and to a logit per caption word ``(N, 54)``.

    Args:
        norm: whether batch normalisation is there (training) or folded.
    """

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()
        self.trunk = Trunk(norm=norm)
        self.head = nn.Linear(WIDTH, STARTS[-1])

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels in [-1, 1] to features and logits."""
        features = self.trunk(pixels)
        return features, self.head(features)


def field_logits(logits: Tensor, field: int) -> Tensor:
    """The logits of one caption field's words."""
    return logits[:, STARTS[field] : STARTS[field + 1]]


def caption_loss(logits: Tensor, attributes: Tensor, others: float) -> Tensor:
    """Cross-entropy of the class, plus ``others`` times that of each other caption field.

    Args:
        logits: ``(N, words)``.
        attributes: word of every field as numbers of the vocabulary, ``(N, fields)``.
        others: weight.
    """
    losses = [
        nn.functional.cross_entropy(
            field_logits(logits, field), attributes[:, field].long() - STARTS[field]
        )
        for field in range(len(FIELDS))
    ]
    return losses[CLASS_FIELD] + others * (sum(losses) - losses[CLASS_FIELD])


class MiniInception(MiniNetwork):
    """Features and class logits; see :class:`seesaw.mini.training.MiniNetwork`."""

    def build(self) -> nn.Module:
        """The network in its folded form."""
        return Classifier(norm=False)

    @property
    def head(self) -> np.ndarray:
        """Weights of the class logits, float32 (64, 10), without their bias."""
        weight = self.model.head.weight[STARTS[CLASS_FIELD] : STARTS[CLASS_FIELD + 1]]
        return weight.detach().T.cpu().numpy()

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Features of uint8 RGB images ``(N, 3, H, W)``, resized to 32 x 32.

        Returns:
            ``features``: float32 ``(N, 64)``; ``logits``: float32 ``(N, 10)``, one per class.
        """
        return self.run(images, self._both)

    def extract_pixels(self, pixels: Tensor) -> dict[str, np.ndarray]:
        """As :meth:`extract`, of pixels that were never rounded to uint8.

        Args:
            pixels: float ``(N, 3, H, W)`` on the scale 0..255; neither whole numbers nor inside
                that range are asked for.

        Returns:
            The same; of whole numbers in 0..255 the same bits.
        """
        return self.run_pixels(pixels, self._both)

    def _both(self, pixels: Tensor) -> dict[str, Tensor]:
        features, logits = self.model(pixels)
        return {"features": features, "logits": field_logits(logits, CLASS_FIELD)}


def train(
    train: Shards,
    validation: Shards,
    *,
    steps: int,
    seed: int,
    device: str = "cpu",
    batch_size: int = 64,
    lr: float = 1e-2,
    others: float = 0.2,
) -> tuple[State, list[Score]]:
    """Train ``mini-inception`` and score its top-1 accuracy on the validation split.

    Args:
        train: packed split with ``images`` and ``attributes``.
        validation: the same, not trained on.
        steps: optimiser steps.
        seed: of the initial weights and the order of the images.
        device: torch device.
        batch_size: images per step.
        lr: highest learning rate.
        others: weight of each caption field beside the class.

    Returns:
        The trained state, and the scores of :func:`score`.
    """
    arrays = load_arrays(train, ["images", "attributes"])
    with seeded(seed):
        model = Classifier()

    def loss(batch: dict[str, Tensor]) -> Tensor:
        _, logits = model(to_pixels(batch["images"]))
        return caption_loss(logits, batch["attributes"], others)

    batches = minibatches(arrays, batch_size=batch_size, seed=seed, device=device)
    fit(model, batches, loss, steps=steps, lr=lr, seed=seed, what="mini-inception", device=device)
    state = save_state(model)
    common = np.bincount(arrays["attributes"][:, CLASS_FIELD]).argmax()
    return state, score(MiniInception(state, device), validation, common=int(common))


def score(network: MiniInception, validation: Shards, *, common: int) -> list[Score]:
    """Top-1 accuracy on the class, beside that of always saying the same.

    Args:
        network: trained.
        validation: packed split with ``images`` and ``attributes``.
        common: vocabulary number of the training split's most common class.
    """
    right = same = 0
    for batch in validation.batches(["images", "attributes"], 500):
        truth = batch["attributes"][:, CLASS_FIELD].astype(np.int64)
        said = network.extract(batch["images"])["logits"].argmax(1) + STARTS[CLASS_FIELD]
        right += int((said == truth).sum())
        same += int((truth == common).sum())
    n = len(validation)
    shared: dict[str, Any] = {
        "metric": "top-1",
        "n": n,
        "unit": "share",
        "higher_is_better": True,
        "metric_version": VERSION,
        "network": "mini-inception",
        "note": f"class of the nearest object, {len(FIELDS['class'])} classes",
    }
    return [
        Score(value=right / n, **shared),
        Score(value=same / n, variant="majority", **shared),
    ]
