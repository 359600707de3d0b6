"""How the networks of the mini world are trained, stored and run: one loop for all of them.

A mini network is a module with three parts (see :mod:`seesaw.mini.depth` for a whole example)::

    class MiniThing(MiniNetwork):  # what the registry's ``target`` names
        def build(self) -> nn.Module:  # architecture; its state comes from the weights
            return Thing()

        def extract(self, images):  # uint8 (N, 3, H, W) -> dict of arrays
            return self.run(images, lambda pixels: {"features": self.model(pixels)})


    def train(train, validation, *, steps, seed, device="cpu", batch_size=64, lr=3e-3):
        arrays = load_arrays(train, ["images", "labels"])
        with seeded(seed):  # initial weights from the seed, no global change
            model = Thing()

        def loss(batch):  # dict of tensors on the device -> scalar tensor
            return cross_entropy(model(to_pixels(batch["images"])), batch["labels"].long())

        batches = minibatches(arrays, batch_size=batch_size, seed=seed, device=device)
        fit(model, batches, loss, steps=steps, lr=lr, seed=seed, what="mini-thing", device=device)
        state = save_state(model)  # numpy arrays, ready for seesaw.files.write_tensors
        network = MiniThing(state, device)  # weights may be such a dict or a file
        return state, [Score(...), ...]

Convolutions with batch normalisation are written as :class:`ConvNorm`; :func:`save_state` folds the
normalisation into the convolution, so ``build`` makes them with ``norm=False`` (faster, and the
state has no counters). :meth:`MiniNetwork.run` works in blocks of a fixed size, so that what is
extracted from an image does not depend on the batch that it is in.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.autoencoders.weights import load_weights
from seesaw.muon import Muon
from seesaw.networks import check_images, check_pixels
from seesaw.progress import progress
from seesaw.shards import Shards

State = dict[str, np.ndarray]
"""Trained weights as arrays, by parameter name."""

BLOCK = 50
"""Images per forward pass in :meth:`MiniNetwork.run`."""


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers follow ``seed`` inside the block and are as before after it."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=list(gpus)):
        torch.manual_seed(seed)
        yield


def to_pixels(images: Tensor) -> Tensor:
    """RGB ``(N, 3, H, W)``, scale 0..255, to float32 in [-1, 1], channels last in memory."""
    return (images.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


class ConvNorm(nn.Module):
    """Convolution, batch normalisation, SiLU.

    Args:
        channels_in: channels that come in.
        channels_out: channels that go out.
        kernel: side of the kernel; padded so that an odd one at stride 1 keeps the size and an even
            one at stride 2 halves it.
        stride: stride.
        norm: False for the folded form that :func:`save_state` stores.
        act: whether a SiLU follows.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int = 3,
        stride: int = 1,
        *,
        norm: bool = True,
        act: bool = True,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels_in, channels_out, kernel, stride, (kernel - 1) // 2, bias=not norm
        )
        self.norm = nn.BatchNorm2d(channels_out) if norm else None
        self.act = nn.SiLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``(N, channels_in, H, W)`` to ``(N, channels_out, H, W)``."""
        x = self.conv(x)
        return self.act(x if self.norm is None else self.norm(x))

    def fold(self) -> None:
        """Move the normalisation (as in evaluation mode) into the convolution."""
        if self.norm is not None:
            self.conv = nn.utils.fuse_conv_bn_eval(self.conv.eval(), self.norm.eval())
            self.norm = None


def load_arrays(shards: Shards, fields: Sequence[str], limit: int = 20_000) -> State:
    """Fields of the first ``limit`` images, in memory."""
    parts: dict[str, list[np.ndarray]] = {field: [] for field in fields}
    left = limit
    for batch in shards.batches(fields, 1000):
        for field in fields:
            parts[field].append(batch[field][:left])
        left -= len(batch)
        if left <= 0:
            break
    return {field: np.concatenate(arrays) for field, arrays in parts.items()}


def minibatches(
    arrays: Mapping[str, np.ndarray], *, batch_size: int, seed: int, device: str = "cpu"
) -> Iterator[dict[str, Tensor]]:
    """Endless shuffled batches of rows of ``arrays``, as tensors on ``device``.

    Every epoch is a new order drawn from ``seed``; a rest that does not fill a batch is left out.

    Raises:
        ValueError: there are no rows.
    """
    n = len(next(iter(arrays.values())))
    if n == 0:
        raise ValueError("there are no training images; give the training split a larger 'count'")
    size = min(batch_size, n)
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(n)
        for start in range(0, n - size + 1, size):
            rows = order[start : start + size]
            yield {key: torch.from_numpy(a[rows]).to(device) for key, a in arrays.items()}


def learning_rate(step: int, steps: int, warmup: float = 0.1) -> float:
    """Factor of the learning rate at ``step``: linear warm-up, then half a cosine to 0.01."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    share = (step - rise) / max(1, steps - rise)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share))


def make_optimizers(
    parameters: Sequence[nn.Parameter], lr: float, matrix_lr: float | None, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters, or Muon for those with two or more axes if ``matrix_lr`` is given.

    Every parameter group holds its highest learning rate as ``peak``.
    """
    matrices = [p for p in parameters if p.ndim > 1]
    vectors = [p for p in parameters if p.ndim <= 1]
    groups = [{"params": vectors, "weight_decay": 0.0}]
    optimizers: list[torch.optim.Optimizer] = []
    if matrix_lr is None:
        groups.append({"params": matrices, "weight_decay": weight_decay})
    elif matrices:
        optimizers.append(Muon(matrices, matrix_lr, weight_decay=weight_decay))
    optimizers.append(torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), foreach=True))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def _require_finite(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"{where}: the loss is {loss}; lower the learning rate or check the training images"
        )


def fit(
    model: nn.Module,
    batches: Iterator[Any],
    loss: Callable[[Any], Tensor],
    *,
    steps: int,
    lr: float,
    seed: int,
    what: str,
    device: str = "cpu",
    matrix_lr: float | None = None,
    weight_decay: float = 0.01,
    clip: float = 1.0,
) -> np.ndarray:
    """Train ``model`` in place with AdamW or Muon, warm-up and a cosine schedule.

    Args:
        model: what is trained: its parameters that require a gradient.
        batches: an iterator of at least ``steps`` batches.
        loss: batch -> scalar; it calls the model.
        steps: optimiser steps, at least 1.
        lr: highest learning rate (AdamW).
        seed: decides what the loss draws (dropout, augmentation) from torch's generator.
        what: the network's name, for the log.
        device: torch device to move the model to.
        matrix_lr: highest learning rate of :class:`Muon` for parameters with two or more axes
            (0.01 suits convolutions); ``None``: AdamW trains them too.
        weight_decay: of parameters with two or more axes.
        clip: largest gradient norm.

    Returns:
        The loss of every step, float64 ``(steps,)``.

    Raises:
        ValueError: ``steps`` is below 1.
        FloatingPointError: the loss is NaN or infinite.
    """
    if steps < 1:
        raise ValueError(f"{what}: steps must be at least 1, got {steps}")
    model.to(device, memory_format=torch.channels_last).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizers = make_optimizers(parameters, lr, matrix_lr, weight_decay)
    losses = np.empty(steps)
    with seeded(seed):
        for step in progress(range(steps), total=steps, what=f"training {what}"):
            for group in (g for optimizer in optimizers for g in optimizer.param_groups):
                group["lr"] = group["peak"] * learning_rate(step, steps)
            value = loss(next(batches))
            losses[step] = value.item()
            _require_finite(losses[step], f"{what}, step {step} of {steps}, learning rate {lr:g}")
            model.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(parameters, clip)
            for optimizer in optimizers:
                optimizer.step()
    model.eval()
    return losses


def save_state(model: nn.Module) -> State:
    """The trained weights as arrays, every :class:`ConvNorm` folded; ``model`` is not changed."""
    model = copy.deepcopy(model).cpu().eval()
    for module in model.modules():
        if isinstance(module, ConvNorm):
            module.fold()
    return {
        name: np.array(tensor.detach().numpy(), order="C")
        for name, tensor in model.state_dict().items()
    }


def load_state(model: nn.Module, weights: str | Path | Mapping[str, np.ndarray]) -> nn.Module:
    """Load weights strictly from a file or from :func:`save_state`; returns ``model``, frozen."""
    if isinstance(weights, Mapping):
        model.load_state_dict({key: torch.from_numpy(array) for key, array in weights.items()})
    else:
        load_weights(model, weights)
    return model.eval().requires_grad_(False)


class MiniNetwork:
    """A mini network that is ready to run.

    Args:
        weights: the file that was trained, or the arrays of :func:`save_state`.
        device: torch device.

    Raises:
        ValueError: no weights, or weights that do not fit.
    """

    meta: dict[str, Any]

    def __init__(
        self, weights: str | Path | Mapping[str, np.ndarray] | None, device: str = "cpu"
    ) -> None:
        if weights is None:
            raise ValueError(
                f"{type(self).__name__} needs weights; its rule train_network makes them"
            )
        self.device = torch.device(device)
        with seeded(0):
            model = load_state(self.build(), weights)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.meta = {}

    def build(self) -> nn.Module:
        """The architecture, in the folded form (``ConvNorm(..., norm=False)``)."""
        raise NotImplementedError

    def run(
        self,
        images: np.ndarray,
        function: Callable[[Tensor], Mapping[str, Tensor]],
        block: int = BLOCK,
    ) -> dict[str, np.ndarray]:
        """Apply ``function`` to blocks of exactly ``block`` images; the last one is filled up.

        Args:
            images: uint8 RGB ``(N, 3, H, W)``, N at least 1.
            function: float pixels in [-1, 1] ``(block, 3, H, W)`` on the device -> tensors.
            block: images per forward pass.

        Returns:
            The tensors as arrays of N rows.
        """
        check_images(images)
        return self._run(torch.from_numpy(np.array(images)), function, block)

    def run_pixels(
        self,
        pixels: Tensor,
        function: Callable[[Tensor], Mapping[str, Tensor]],
        block: int = BLOCK,
    ) -> dict[str, np.ndarray]:
        """As :meth:`run`, of a float tensor ``(N, 3, H, W)`` on the scale 0..255.

        Its values need not be whole numbers, nor inside that range; where they are, the result has
        the bits of :meth:`run`.
        """
        check_pixels(pixels)
        return self._run(pixels, function, block)

    def _run(
        self, images: Tensor, function: Callable[[Tensor], Mapping[str, Tensor]], block: int
    ) -> dict[str, np.ndarray]:
        if not len(images):
            raise ValueError("there are no images to extract anything from")
        parts: list[Mapping[str, Tensor]] = []
        with torch.inference_mode():
            for start in range(0, len(images), block):
                part = images[start : start + block].to(self.device)
                full = torch.cat([part, part[-1:].expand(block - len(part), -1, -1, -1)])
                parts.append(function(to_pixels(full)))
        return {
            key: torch.cat([part[key] for part in parts])[: len(images)].cpu().numpy()
            for key in parts[0]
        }
