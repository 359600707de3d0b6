"""``mini-face``: finds the face of a mini scene and embeds it, so that a person is near itself.

The detector scores a grid of cells and regresses a box per cell (after X. Zhou et al., "Objects as
Points", 2019). The embedder sees the box resampled to 16 x 16 pixels and is trained to tell the
persons apart by cosine with a margin (H. Wang et al., "CosFace", 2018).
"""

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.mini.depth import check_size
from seesaw.mini.scenes import PERSONS
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
from seesaw.results import Score
from seesaw.shards import Shards

VERSION = "1"
THRESHOLD = 0.5
"""A face is found where the best cell's probability reaches this."""

STRIDE = 4
CROP = 16
EMBEDDING = 64
TYPICAL_FACE = 0.32
"""Box side, as a share of the image's height, for which the regressed log size is 0."""

COSINE_SCALE, COSINE_MARGIN = 16.0, 0.25


class Detector(nn.Module):
    """Images ``(N, 3, H, W)`` to ``(N, 5, H/4, W/4)``: logit, centre offset x y, log size x y."""

    def __init__(self, widths: tuple[int, int, int] = (24, 48, 64), *, norm: bool = True) -> None:
        super().__init__()
        a, b, c = widths
        self.enter = ConvNorm(3, a, 6, stride=2, norm=norm)
        self.down1 = ConvNorm(a, b, stride=2, norm=norm)
        self.mid = ConvNorm(b, b, norm=norm)
        self.down2 = ConvNorm(b, c, stride=2, norm=norm)
        self.deep = ConvNorm(c, c, norm=norm)
        self.up = ConvNorm(c, b, 1, norm=norm)
        self.join = ConvNorm(b, b, norm=norm)
        self.leave = nn.Conv2d(b, 5, 1)
        nn.init.constant_(self.leave.bias[:1], -4.0)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels in [-1, 1] to cells."""
        x = self.down1(self.enter(pixels))
        x = x + self.mid(x)
        low = self.down2(x)
        low = low + self.deep(low)
        x = x + nn.functional.interpolate(self.up(low), scale_factor=2)
        return self.leave(x + self.join(x))


class Embedder(nn.Module):
    """Face crops ``(N, 3, 16, 16)`` to unit vectors ``(N, 64)``."""

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConvNorm(3, 48, 6, stride=2, norm=norm),
            ConvNorm(48, 64, stride=2, norm=norm),
            ConvNorm(64, 96, norm=norm),
        )
        self.leave = nn.Linear(96 * (CROP // 4) ** 2, EMBEDDING)

    def forward(self, crops: Tensor) -> Tensor:
        """Pixels in [-1, 1] to embeddings."""
        x = self.body(crops)
        return nn.functional.normalize(self.leave(x.flatten(1)), dim=1)


class FaceNet(nn.Module):
    """The detector and the embedder."""

    def __init__(self, *, norm: bool = True) -> None:
        super().__init__()
        self.detector = Detector(norm=norm)
        self.embedder = Embedder(norm=norm)


def cell_centres(cells: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of the cells of a map ``(N, C, h, w)``, in cells: x and y, each ``(1, h, w)``."""
    y = torch.arange(cells.shape[-2], device=cells.device) + 0.5
    x = torch.arange(cells.shape[-1], device=cells.device) + 0.5
    y, x = torch.meshgrid(y, x, indexing="ij")
    return x[None], y[None]


def decode(cells: Tensor) -> tuple[Tensor, Tensor]:
    """The best cell of each image: probability ``(N,)`` and box ``(N, 4)`` in pixels."""
    n, _, h, w = cells.shape
    x, y = cell_centres(cells)
    side = TYPICAL_FACE * h * STRIDE
    size = cells[:, 3:].clamp(-2, 2).exp() * side
    centre = torch.stack([cells[:, 1] + x, cells[:, 2] + y], 1) * STRIDE
    boxes = torch.cat([centre - size / 2, centre + size / 2], 1).flatten(2)
    best = cells[:, 0].reshape(n, h * w).argmax(1)
    rows = torch.arange(n, device=cells.device)
    return torch.sigmoid(cells[:, 0].reshape(n, h * w)[rows, best]), boxes[rows, :, best]


def crop_faces(pixels: Tensor, boxes: Tensor) -> Tensor:
    """Resample boxes ``(N, 4)``, in pixels, to ``(N, 3, 16, 16)``; outside repeats the border."""
    h, w = pixels.shape[-2:]
    unit = torch.tensor([w, h], device=pixels.device) / 2
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / unit - 1
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 / unit
    zero = torch.zeros_like(half[:, 0])
    theta = torch.stack(
        [
            torch.stack([half[:, 0], zero, centre[:, 0]], 1),
            torch.stack([zero, half[:, 1], centre[:, 1]], 1),
        ],
        1,
    )
    grid = nn.functional.affine_grid(theta, [len(boxes), 3, CROP, CROP], align_corners=False)
    return nn.functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


class MiniFace(MiniNetwork):
    """Faces: box and embedding; see :class:`seesaw.mini.training.MiniNetwork`."""

    def build(self) -> nn.Module:
        """Detector and embedder in their folded form."""
        return FaceNet(norm=False)

    def extract(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The most probable face of each of the uint8 RGB images ``(N, 3, H, W)``.

        Returns:
            ``found`` uint8 (N,); ``score`` float32 (N,), probability of the best cell; ``box``
            float32 (N, 4), x0 y0 x1 y1 in pixels; ``embedding`` float32 (N, 64) of unit length.
            Box and embedding are zeros where no face is found.
        """
        check_size(images, "mini-face")

        def faces(pixels: Tensor) -> dict[str, Tensor]:
            probability, boxes = decode(self.model.detector(pixels))
            embedding = self.model.embedder(crop_faces(pixels, boxes))
            found = (probability >= THRESHOLD)[:, None]
            return {
                "found": found[:, 0].to(torch.uint8),
                "score": probability,
                "box": boxes * found,
                "embedding": embedding * found,
            }

        return self.run(images, faces)


def detection_loss(cells: Tensor, boxes: Tensor, found: Tensor) -> Tensor:
    """Focal loss of the cell that holds the centre, and L1 of the box around it.

    Args:
        cells: output of :class:`Detector`, ``(N, 5, h, w)``.
        boxes: true boxes ``(N, 4)`` in pixels.
        found: whether there is a face, ``(N,)``.
    """
    x, y = cell_centres(cells)
    centre = (boxes[:, :2] + boxes[:, 2:])[:, :, None, None] / 2 / STRIDE
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)[:, :, None, None]
    dx, dy = centre[:, 0] - x, centre[:, 1] - y
    here = found[:, None, None].bool()
    holds = here & (dx >= -0.5) & (dx < 0.5) & (dy >= -0.5) & (dy < 0.5)
    near = torch.exp(-(dx**2 + dy**2) / (2 * 0.8**2)) * here
    logit = cells[:, 0]
    p = torch.sigmoid(logit)
    positive = holds * (1 - p) ** 2 * nn.functional.softplus(-logit)
    negative = ~holds * (1 - near) ** 4 * p**2 * nn.functional.softplus(logit)
    faces = found.sum().clamp(min=1)
    log_size = torch.log(size / (TYPICAL_FACE * cells.shape[-2] * STRIDE))
    target = torch.cat([torch.stack([dx, dy], 1), log_size.expand(-1, -1, *dx.shape[1:])], 1)
    weight = (near * (near > 0.3))[:, None]
    box = ((cells[:, 1:] - target).abs() * weight).sum() / weight.sum().clamp(min=1)
    return (positive + negative).sum() / faces + 2 * box


def jitter(boxes: Tensor, amount: float = 0.06) -> Tensor:
    """Boxes shifted and scaled at random by about ``amount`` of their size."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 + torch.randn_like(size) * amount * size
    half = size / 2 * torch.exp(torch.randn_like(size) * amount)
    return torch.cat([centre - half, centre + half], 1)


def soften(pixels: Tensor) -> Tensor:
    """Blur half of the images ``(N, 3, H, W)``, by a random amount up to half the resolution.

    Photographs, which real detectors learn from, come in every sharpness; rendered scenes do not.
    Without this a face that an autoencoder has made slightly soft would not be found at all.
    """
    small = nn.functional.avg_pool2d(pixels, 2)
    blurred = nn.functional.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    amount = (2 * torch.rand(len(pixels), 1, 1, 1, device=pixels.device) - 1).clamp_min(0)
    return torch.lerp(pixels, blurred, amount)


def train(
    train: Shards,
    validation: Shards,
    *,
    steps: int,
    seed: int,
    device: str = "cpu",
    batch_size: int = 32,
    lr: float = 6e-3,
    matrix_lr: float = 2.5e-2,
) -> tuple[State, list[Score]]:
    """Train ``mini-face`` on true boxes and persons and score it on the validation split.

    Args:
        train: packed split with ``images``, ``face_box``, ``face_found`` and ``identity``.
        validation: the same, not trained on.
        steps: optimiser steps.
        seed: of the initial weights, the order of the images and the jitter of the boxes.
        device: torch device.
        batch_size: images per step for the detector, and faces per step for the embedder.
        lr: highest learning rate of biases and normalisations (AdamW).
        matrix_lr: highest learning rate of kernels (Muon).

    Returns:
        The trained state, and the scores of :func:`score`.

    Raises:
        ValueError: no training image has a face.
    """
    arrays = load_arrays(train, ["images", "face_box", "face_found", "identity"])
    rows = np.flatnonzero(arrays["face_found"])
    if not len(rows):
        raise ValueError("mini-face: no training image has a face; use more images")
    faces = {key: arrays[key][rows] for key in ("images", "face_box", "identity")}
    with seeded(seed):
        model = FaceNet()
        persons = nn.Linear(EMBEDDING, PERSONS, bias=False)

    def loss(batch: tuple[dict[str, Tensor], dict[str, Tensor]]) -> Tensor:
        scene, face = batch
        cells = model.detector(soften(to_pixels(scene["images"])))
        crops = crop_faces(soften(to_pixels(face["images"])), jitter(face["face_box"]))
        cosine = model.embedder(crops) @ nn.functional.normalize(persons.weight, dim=1).T
        who = face["identity"].long()
        margin = COSINE_MARGIN * nn.functional.one_hot(who, PERSONS)
        identity = nn.functional.cross_entropy(COSINE_SCALE * (cosine - margin), who)
        return detection_loss(cells, scene["face_box"], scene["face_found"]) + identity

    batches = zip(
        minibatches(arrays, batch_size=batch_size, seed=seed, device=device),
        minibatches(faces, batch_size=batch_size, seed=seed + 1, device=device),
    )
    both = nn.ModuleList([model, persons])
    rates = {"lr": lr, "matrix_lr": matrix_lr}
    fit(both, batches, loss, steps=steps, seed=seed, what="mini-face", device=device, **rates)
    state = save_state(model)
    return state, score(MiniFace(state, device), validation)


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes ``(N, 4)``, pair by pair, float64 ``(N,)``."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    overlap = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    both = np.clip(overlap, 0, None).prod(1)
    union = (a[:, 2:] - a[:, :2]).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - both
    return np.divide(both, union, out=np.zeros(len(a)), where=union > 0)


def verification(embedding: np.ndarray, identity: np.ndarray) -> dict[str, float | None]:
    """How well cosines of unit embeddings ``(N, D)`` tell same from different persons ``(N,)``.

    Returns:
        ``auc``: probability that a same-person pair has a higher cosine than a different-person
        pair (ties count half); ``rank1``: share of the images, of those whose person occurs again,
        whose nearest other image shows the same person; ``same`` and ``different``: mean cosine.
        ``None`` where there are no such pairs.
    """
    cosine = embedding.astype(np.float64) @ embedding.astype(np.float64).T
    upper = np.triu_indices(len(identity), 1)
    same = (identity[:, None] == identity[None, :])[upper]
    pairs = cosine[upper]
    auc = None
    if same.any() and not same.all():
        values, place = np.unique(pairs, return_inverse=True)
        count = np.bincount(place, minlength=len(values))
        rank = (np.cumsum(count) - (count - 1) / 2)[place]
        k = int(same.sum())
        auc = float((rank[same].sum() - k * (k + 1) / 2) / (k * (len(pairs) - k)))
    np.fill_diagonal(cosine, -np.inf)
    again = (identity[:, None] == identity[None, :]).sum(1) > 1
    hit = identity[cosine.argmax(1)] == identity if len(identity) else np.zeros(0, bool)
    return {
        "auc": auc,
        "rank1": float(hit[again].mean()) if again.any() else None,
        "same": float(pairs[same].mean()) if same.any() else None,
        "different": float(pairs[~same].mean()) if (~same).any() else None,
    }


def score(network: MiniFace, validation: Shards) -> list[Score]:
    """Detection at IoU 0.5, and verification among the faces that were found."""
    fields = ["images", "face_box", "face_found", "identity"]
    found, correct, truth, who, embedding = [], [], [], [], []
    for batch in validation.batches(fields, 500):
        seen = network.extract(batch["images"])
        hit = box_iou(seen["box"], batch["face_box"]) >= 0.5
        hit &= (seen["found"] == 1) & (batch["face_found"] == 1)
        found.append(seen["found"])
        truth.append(batch["face_found"])
        correct.append(hit)
        who.append(batch["identity"][hit])
        embedding.append(seen["embedding"][hit])
    hits, finds = int(np.concatenate(correct).sum()), int(np.concatenate(found).sum())
    faces = int(np.concatenate(truth).sum())
    verified = verification(np.concatenate(embedding), np.concatenate(who))

    same = "same person, two images"
    rows = [
        ("face-precision", "", hits / finds if finds else None, finds, "box IoU >= 0.5"),
        ("face-detection-recall", "", hits / faces if faces else None, faces, "box IoU >= 0.5"),
        ("identity-auc", "", verified["auc"], hits, "same against different person; chance 0.5"),
        ("identity-rank1", "", verified["rank1"], hits, "nearest other image has the same person"),
        ("identity-cosine", "", verified["same"], hits, same),
        ("identity-cosine", "different person", verified["different"], hits, "two persons"),
    ]
    return [
        Score(
            metric=metric,
            variant=variant,
            value=value,
            n=n,
            note=note,
            unit="cosine" if metric == "identity-cosine" else "share",
            higher_is_better=variant == "",
            metric_version=VERSION,
            network="mini-face",
        )
        for metric, variant, value, n, note in rows
    ]
