"""The Inception network of the Fréchet distance: TensorFlow's 2015 weights, as FID defines it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from seesaw.networks import check_images
from seesaw.networks.checkpoint import published_state

WEIGHTS_FILE = "weights-inception-2015-12-05-6726825d.pth"
"""From release v0.2.0 of toshas/torch-fidelity. pytorch-fid renames it (``pt_inception-...``)."""

COUNTER = "num_batches_tracked"


class _Layout(FeatureExtractorInceptionV3):
    """Names and shapes of the network: built with no weights, on the meta device."""

    def __init__(self) -> None:
        empty = io.BytesIO()
        torch.save({}, empty)
        empty.seek(0)
        with torch.device("meta"):
            super().__init__("layout", ["2048"], feature_extractor_weights_path=empty)

    def load_state_dict(self, *_: Any, **__: Any) -> None:
        """Load nothing."""


class Inception:
    """torch-fidelity's InceptionV3 (``inception-v3-compat``), pool features and logits.

    Images of any size are resized to 299 x 299 as TensorFlow 1 does (bilinear, no half-pixel
    centres, no antialiasing) and mapped to ``(x - 128) / 128``. The logits are without the bias, as
    the Inception score takes them.

    Args:
        weights: ``weights-inception-2015-12-05-6726825d.pth``. It may lack the counters
            ``num_batches_tracked``, which have no influence.
        device: torch device.

    Raises:
        FileNotFoundError: no such file. Nothing is ever downloaded.
        ValueError: not that file: see :func:`seesaw.networks.checkpoint.published_state`.
    """

    def __init__(self, weights: str | Path | None, device: str = "cpu") -> None:
        if weights is None:
            raise ValueError(f"Inception needs its weights: give the path of {WEIGHTS_FILE}")
        layout = _Layout().state_dict()

        def with_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
            counters = {name: torch.tensor(0) for name in layout if name.endswith(COUNTER)}
            return counters | state

        state = published_state(weights, file=WEIGHTS_FILE, layout=layout, adapt=with_counters)
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        self.device = torch.device(device)
        self.network = FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=file
        ).to(self.device)
        self.meta: dict[str, Any] = {
            "implementation": "torch-fidelity inception-v3-compat",
            "resize": "299, TensorFlow 1 bilinear",
            "logits": "without bias",
        }

    @property
    def head(self) -> np.ndarray:
        """Weights of the classifier, float32 (2048, 1008): the logits are ``features @ head``."""
        return self.network.fc.weight.detach().T.cpu().numpy()

    @torch.inference_mode()
    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Features of uint8 RGB images ``(N, 3, H, W)``.

        Returns:
            ``features``: float32 ``(N, 2048)``, the pool layer; ``logits``: float32 ``(N, 1008)``.
        """
        check_images(images)
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
        features, logits = self.network(pixels)
        return {"features": features.cpu().numpy(), "logits": logits.cpu().numpy()}
