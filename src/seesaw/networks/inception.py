"""The Inception network of the Fréchet distance: TensorFlow's 2015 weights, as FID defines it."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from seesaw.networks import check_images, check_pixels
from seesaw.networks.checkpoint import published_state
from seesaw.networks.fid_resize import RESIZES
from seesaw.registry import unknown

WEIGHTS_FILE = "weights-inception-2015-12-05-6726825d.pth"
"""From release v0.2.0 of toshas/torch-fidelity."""

OTHER_NAME = "pt_inception-2015-12-05-6726825d.pth"
"""How mseitzer/pytorch-fid calls the same weights, under the same keys."""

COUNTER = "num_batches_tracked"
LAYERS = (
    "Conv2d_1a_3x3",
    "Conv2d_2a_3x3",
    "Conv2d_2b_3x3",
    "MaxPool_1",
    "Conv2d_3b_1x1",
    "Conv2d_4a_3x3",
    "MaxPool_2",
    "Mixed_5b",
    "Mixed_5c",
    "Mixed_5d",
    "Mixed_6a",
    "Mixed_6b",
    "Mixed_6c",
    "Mixed_6d",
    "Mixed_6e",
    "Mixed_7a",
    "Mixed_7b",
    "Mixed_7c",
    "AvgPool",
)


class _Network(FeatureExtractorInceptionV3):
    """torch-fidelity's layers, without its resize; made on the meta device, with no weights."""

    def __init__(self) -> None:
        empty = io.BytesIO()
        torch.save({}, empty)
        empty.seek(0)
        with torch.device("meta"):
            super().__init__(
                "inception-v3-compat",
                ["2048", "logits_unbiased"],
                feature_extractor_weights_path=empty,
            )

    def load_state_dict(self, state: Mapping[str, Tensor], **options: Any) -> Any:
        """As ever, but for the empty state that the base class loads."""
        return super().load_state_dict(state, **options) if state else None

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Prepared pixels ``(N, 3, 299, 299)`` to pool features and logits without bias."""
        for layer in LAYERS:
            pixels = getattr(self, layer)(pixels)
        features = pixels.flatten(1)
        return features, features @ self.fc.weight.T


class Inception:
    """torch-fidelity's InceptionV3 (``inception-v3-compat``), pool features and logits.

    Images of any size are resized to 299 x 299 and normalised as ``resize`` says. The logits are
    without the bias, as the Inception score takes them.

    Args:
        weights: ``weights-inception-2015-12-05-6726825d.pth`` of torch-fidelity, which pytorch-fid
            calls ``pt_inception-2015-12-05-6726825d.pth``. It may lack the counters
            ``num_batches_tracked``, which have no influence.
        device: torch device.
        resize: ``"tf1"`` (torch-fidelity, and TensorFlow's own graph: bilinear, no half-pixel
            centres, no antialiasing), ``"torch-bilinear"`` (pytorch-fid), ``"antialias"``
            (torchmetrics) or ``"clean"`` (clean-fid); see :mod:`seesaw.networks.fid_resize`.

    Raises:
        FileNotFoundError: no such file. Nothing is ever downloaded.
        ValueError: an unknown resize, or not that file: see
            :func:`seesaw.networks.checkpoint.published_state`.
    """

    def __init__(
        self, weights: str | Path | None, device: str = "cpu", *, resize: str = "tf1"
    ) -> None:
        if resize not in RESIZES:
            raise unknown("resize of Inception's images", resize, RESIZES)
        file_names = f"{WEIGHTS_FILE} (or {OTHER_NAME}, which is the same)"
        if weights is None:
            raise ValueError(f"Inception needs its weights: give the path of {file_names}")
        self.network = _Network()
        layout = self.network.state_dict()

        def with_counters(state: dict[str, Tensor]) -> dict[str, Tensor]:
            counters = {name: torch.tensor(0) for name in layout if name.endswith(COUNTER)}
            return counters | state

        state = published_state(weights, file=file_names, layout=layout, adapt=with_counters)
        floats = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
        self.network.load_state_dict(floats, assign=True)
        self.device = torch.device(device)
        # channels last: half as fast again on a CPU, the same values within float32 rounding
        self.network.eval().requires_grad_(False)
        self.network.to(self.device, memory_format=torch.channels_last)
        self.resize = RESIZES[resize]
        self.meta: dict[str, Any] = {
            "implementation": "torch-fidelity inception-v3-compat",
            "resize": self.resize.resize,
            "normalisation": self.resize.normalisation,
            "protocol": self.resize.source,
            "logits": "without bias",
        }

    @property
    def head(self) -> np.ndarray:
        """Weights of the classifier, float32 (2048, 1008): the logits are ``features @ head``."""
        return self.network.fc.weight.detach().T.cpu().numpy()

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Features of uint8 RGB images ``(N, 3, H, W)``.

        Returns:
            ``features``: float32 ``(N, 2048)``, the pool layer; ``logits``: float32 ``(N, 1008)``.
        """
        check_images(images)
        return self.extract_pixels(
            torch.from_numpy(np.ascontiguousarray(images)).to(self.device).float()
        )

    @torch.inference_mode()
    def extract_pixels(self, pixels: Tensor) -> dict[str, np.ndarray]:
        """As :meth:`extract`, of pixels that were never rounded to uint8.

        Args:
            pixels: float ``(N, 3, H, W)`` on the scale 0..255; neither whole numbers nor inside
                that range are asked for (``clean`` cuts off what it resized). Other float types
                become float32, other devices this network's.

        Returns:
            The same; of whole numbers in 0..255 the same bits.

        Raises:
            ValueError: no float tensor of that shape.
        """
        check_pixels(pixels)
        pixels = pixels.to(self.device, torch.float32).contiguous()  # of any memory layout
        features, logits = self.network(self.resize.prepare(pixels))
        return {"features": features.cpu().numpy(), "logits": logits.cpu().numpy()}
