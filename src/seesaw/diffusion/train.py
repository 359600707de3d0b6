"""Training a SiT in resumable segments, on one device or several.

Recipe of the iFID paper's code (tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID bac6ede,
``train.py``): AdamW, constant rate, linear path, velocity loss, uniform times and then the shift,
label dropout, latents normalised by the batch's own statistics, exponential moving average. The
recipe differs in two things, for short runs: the average warms up, and the latents' running
statistics are copied into it, not averaged (an average of 0.9999 would still hold 61% of the
initial weights after 5,000 steps).

All randomness of a step follows from (seed, step), so a segment that was killed and resumed, or a
run cut into other segments, ends with the same weights; and so do several processes, each with its
share of the batch, up to rounding.
"""

import argparse
import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from seesaw.diffusion.latents import TrainingLatents, epochs
from seesaw.diffusion.sit import SiT
from seesaw.files import atomic
from seesaw.muon import Muon
from seesaw.progress import progress

LOSS_EVERY = 20
SAVE_SECONDS = 600.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a SiT is trained; the defaults are the iFID paper's.

    Attributes:
        steps: of the whole training.
        batch_size: images per step, over all devices.
        lr: learning rate after the warm-up.
        matrix_lr: that of :class:`seesaw.muon.Muon`, which then trains the matrices and kernels;
            None: AdamW trains them too.
        warm_up: steps over which it rises linearly.
        decay: ``"none"`` (constant) or ``"cosine"`` (to zero at ``steps``).
        ema: largest decay of the moving average; at step k it is at most (1 + k) / (10 + k).
        label_dropout: share of labels replaced by "none".
        clip: largest norm of the gradient.
        beta2: of AdamW.
        precision: ``"fp32"`` or ``"bf16"`` (matrix products only; weights stay float32).
        compile: whether the network is compiled (GPU only).
    """

    steps: int
    batch_size: int = 128
    lr: float = 1e-4
    matrix_lr: float | None = None
    warm_up: int = 0
    decay: Literal["none", "cosine"] = "none"
    ema: float = 0.9999
    label_dropout: float = 0.1
    clip: float = 1.0
    beta2: float = 0.999
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False

    def rate(self, step: int) -> float:
        """Learning rate at ``step`` (from 0), relative to ``lr``."""
        warm = min(1.0, (step + 1) / max(1, self.warm_up))
        if self.decay == "none":
            return warm
        done = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return warm * 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))


@dataclass(frozen=True)
class World:
    """This process among those that train together."""

    rank: int = 0
    size: int = 1

    def share(self, batch_size: int) -> slice:
        """Rows of a batch that belong to this process.

        Raises:
            ValueError: the batch cannot be shared equally.
        """
        if batch_size % self.size:
            raise ValueError(
                f"a batch of {batch_size} cannot be shared equally by {self.size} devices; choose "
                "a multiple"
            )
        part = batch_size // self.size
        return slice(self.rank * part, (self.rank + 1) * part)


SINGLE = World()
"""A process that trains alone."""


def train_segment(
    *,
    model: Mapping[str, Any],
    latents: TrainingLatents,
    labels: np.ndarray,
    recipe: Recipe,
    seed: int,
    stop: int,
    output: str | Path,
    start: str | Path | None = None,
    data: str = "",
    world: World = SINGLE,
    save_seconds: float = SAVE_SECONDS,
    what: str = "SiT",
) -> None:
    """Train from the state ``start`` (or from scratch) to step ``stop`` and write the state there.

    While it runs, the state is saved beside ``output`` (as ``<name>.unfinished.pt``) every
    ``save_seconds``; a run that finds such a file of the same model, recipe, seed and data goes on
    from there. The file holds ``model``, ``ema``, ``opt``,
    ``steps`` and ``args`` as in the official checkpoints, and ``losses`` (step, mean of 20).

    Args:
        model: keyword arguments of :class:`seesaw.diffusion.sit.SiT`.
        latents: what to train on.
        labels: int64 ``(n,)``, ``num_classes`` for none.
        recipe: how.
        seed: of initial weights, order, times, noise and dropout.
        stop: step to end with.
        output: state to write.
        start: state of the segment before.
        data: words or a digest that change with the latents; part of what a run is known by.
        world: which of several processes this is; process 0 writes.
        save_seconds: seconds between saved states.
        what: name for log lines.

    Raises:
        ValueError: a state of another model or beyond ``stop``, or a loss that is not finite.
    """
    output = Path(output)
    run = _fingerprint(model, recipe, seed, data)
    learner = Learner(model, recipe, seed, latents.device, world)
    unfinished = unfinished_of(output)
    if _usable(unfinished, run, stop):
        learner.load(read_state(unfinished))
        logger.info("%s: going on at step %d, where a run was cut off", what, learner.step)
    elif start is not None:
        learner.load(read_state(start))
    if learner.step >= stop:
        raise ValueError(f"{start} is at step {learner.step}, this segment ends at step {stop}")
    begin, first, saved = time.monotonic(), learner.step, time.monotonic()
    rows = epochs(len(latents), recipe.batch_size, seed, start=first)
    for _ in progress(range(first, stop), total=stop - first, what=f"training {what}"):
        learner.train_step(latents, labels, next(rows))
        if time.monotonic() - saved >= save_seconds and world.rank == 0 and learner.step < stop:
            write_state(unfinished, {**learner.state(), "run": run})
            saved = time.monotonic()
    learner.check()
    seconds = time.monotonic() - begin
    logger.info("%s: %.1f images/s", what, (stop - first) * recipe.batch_size / seconds)
    if world.rank == 0:
        write_state(output, {**learner.state(), "run": run})
        unfinished.unlink(missing_ok=True)


def unfinished_of(output: str | Path) -> Path:
    """Where the state of a segment that is still running lies.

    What a process that is killed while it writes it leaves behind is removed with what
    :func:`seesaw.files.atomic` removes of ``output``, hence the name.
    """
    return Path(output).with_name(f"{Path(output).stem}.unfinished{Path(output).suffix}")


class Learner:
    """A model, its moving average and its optimiser, at some step."""

    def __init__(
        self,
        model: Mapping[str, Any],
        recipe: Recipe,
        seed: int,
        device: torch.device,
        world: World = SINGLE,
    ) -> None:
        self.recipe, self.seed, self.world, self.device = recipe, seed, world, device
        self.args = dict(model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = SiT(**model)
        self.model.to(device).train()
        self.ema = deepcopy(self.model).eval().requires_grad_(False)
        self.weights = [p for p in self.model.parameters() if p.requires_grad]
        self.optimisers = _optimisers(self.weights, recipe)
        self.network: nn.Module = self.model
        if recipe.compile and device.type == "cuda":
            self.network = torch.compile(self.network)
        if world.size > 1:
            self.network = nn.parallel.DistributedDataParallel(
                self.network, broadcast_buffers=False
            )
        self.step = 0
        self.losses: list[tuple[int, float]] = []
        self._recent: list[Tensor] = []

    def train_step(self, latents: TrainingLatents, labels: np.ndarray, rows: np.ndarray) -> None:
        """One step on the images ``rows`` (of all processes together)."""
        share = self.world.share(len(rows))
        draws = Draws(self.seed, self.step, len(rows), latents.shape, self.device, share)
        z = latents.batch(rows[share], draws.posterior)
        x = batch_normalise(self.model, z, self.world)
        y = torch.from_numpy(labels[rows[share]]).to(self.device)
        y = torch.where(draws.dropped < self.recipe.label_dropout, self.model.num_classes, y)
        t = self.model.shift_time(draws.t)
        for optimiser, highest in self.optimisers.values():
            for group in optimiser.param_groups:
                group["lr"] = highest * self.recipe.rate(self.step)
        bf16 = self.recipe.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            loss = velocity_loss(self.network, x, t, y, draws.noise).mean()
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, self.recipe.clip, foreach=True)
        for optimiser, _ in self.optimisers.values():
            optimiser.step()
        self._average()
        self.step += 1
        self._note(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        """Weights: moving average that warms up. Running statistics: copied."""
        decay = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
        averaged = [p for p in self.ema.parameters() if p.is_floating_point()]
        torch._foreach_lerp_(averaged, list(self.model.parameters()), 1 - decay)
        for to, of in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            to.copy_(of)

    def _note(self, loss: Tensor) -> None:
        """Keep the loss of a step: of the whole batch, so that any process may save it."""
        if self.world.size > 1:
            dist.all_reduce(loss)
            loss /= self.world.size
        self._recent.append(loss)
        if len(self._recent) == LOSS_EVERY:
            self.losses.append((self.step, self.check()))
            self._recent = []

    def check(self) -> float:
        """Mean loss of the steps since the last one noted.

        Raises:
            ValueError: it is not finite.
        """
        value = float(torch.stack(self._recent).double().mean()) if self._recent else 0.0
        if not math.isfinite(value):
            raise ValueError(
                f"the loss is {value} at step {self.step}; lower 'lr' (now {self.recipe.lr}), or "
                "train in fp32"
            )
        return value

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            **{name: optimiser.state_dict() for name, (optimiser, _) in self.optimisers.items()},
            "steps": self.step,
            "args": self.args,
            "losses": self.losses,
            "recent": self._recent,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.

        Raises:
            ValueError: the state is another model's, or of a training by other optimisers.
        """
        absent = [name for name in self.optimisers if name not in state]
        if absent:
            raise ValueError(
                f"the state has no {absent[0]!r}: it was trained with other optimisers; keep "
                "diffusion.train.matrix_lr as it was, or start again"
            )
        if state["args"] != self.args:
            raise ValueError(f"the state is of a model {state['args']}, wanted is {self.args}")
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        for name, (optimiser, _) in self.optimisers.items():
            optimiser.load_state_dict(state[name])
        self.step, self.losses = state["steps"], [tuple(pair) for pair in state["losses"]]
        self._recent = [loss.to(self.device) for loss in state["recent"]]


def _optimisers(
    weights: Sequence[nn.Parameter], recipe: Recipe
) -> dict[str, tuple[torch.optim.Optimizer, float]]:
    """Optimisers and their highest rates, by the name of their state: AdamW, and Muon if wanted."""
    matrices = [p for p in weights if p.ndim > 1 and recipe.matrix_lr is not None]
    rest = [p for p in weights if p.ndim <= 1 or recipe.matrix_lr is None]
    betas = (0.9, recipe.beta2)
    adam = torch.optim.AdamW(rest, lr=recipe.lr, betas=betas, weight_decay=0.0, fused=True)
    found: dict[str, tuple[torch.optim.Optimizer, float]] = {"opt": (adam, recipe.lr)}
    if recipe.matrix_lr is not None:
        found["muon"] = (Muon(matrices, recipe.matrix_lr, weight_decay=0.0), recipe.matrix_lr)
    return found


class Draws:
    """Random numbers of one step, of this process's share of the batch.

    They follow from (seed, step) on a kind of device; every process draws the whole batch's and
    takes its share.
    """

    def __init__(
        self,
        seed: int,
        step: int,
        batch_size: int,
        shape: tuple[int, ...],
        device: torch.device,
        share: slice,
    ) -> None:
        digest = hashlib.sha256(f"{seed}\0diffusion\0{step}".encode()).digest()
        generator = torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "little"))
        options = {"generator": generator, "device": device}
        self.t = torch.rand(batch_size, **options)[share]
        self.dropped = torch.rand(batch_size, **options)[share]
        self.noise = torch.randn(batch_size, *shape, **options)[share]
        self.posterior = torch.randn(batch_size, *shape, **options)[share]


def velocity_loss(network: nn.Module, x: Tensor, t: Tensor, y: Tensor, noise: Tensor) -> Tensor:
    """Mean squared error of the velocity per image, float32 ``(N,)``.

    Args:
        network: ``(x_t, t, y) -> velocity``.
        x: normalised latents.
        t: times ``(N,)``, after the shift.
        y: labels ``(N,)``.
        noise: standard normal, shaped like ``x``.
    """
    at = t.view(-1, *[1] * (x.ndim - 1))
    found = network(torch.lerp(x, noise, at), t, y)
    return F.mse_loss(found.float(), noise - x, reduction="none").flatten(1).mean(1)


@torch.no_grad()
def batch_normalise(model: SiT, latents: Tensor, world: World = SINGLE) -> Tensor:
    """Normalise by the statistics of the whole batch and update the running ones.

    What a (synchronised) BatchNorm without learned parameters does in training; sums are float64,
    so several processes agree with one.
    """
    axes = (0, 2, 3) if model.spatial else (0, 1)
    view = (1, -1, 1, 1) if model.spatial else (1, 1, -1)
    z = latents.double()
    count = latents.numel() // model.channels * world.size
    sums = z.sum(axes)
    if world.size > 1:
        dist.all_reduce(sums)
    mean = sums / count
    squares = (z - mean.view(view)).square().sum(axes)
    if world.size > 1:
        dist.all_reduce(squares)
    bn, keep = model.bn, 1 - model.bn.momentum
    bn.running_mean.mul_(keep).add_((mean * bn.momentum).float())
    bn.running_var.mul_(keep).add_((squares / (count - 1) * bn.momentum).float())
    bn.num_batches_tracked += 1
    scale = (squares / count + bn.eps).rsqrt()
    return ((z - mean.view(view)) * scale.view(view)).float()


def load_sit(path: str | Path, device: str = "cpu") -> SiT:
    """The averaged model of a state, in evaluation mode.

    Raises:
        ValueError: not a state that this package wrote.
    """
    state = read_state(path)
    if not isinstance(state.get("args"), Mapping):
        raise ValueError(
            f"{path} was not written by this package and does not say what model it holds; read it "
            "with seesaw.diffusion.backbones.load_backbone, which is told"
        )
    model = SiT(**state["args"])
    model.load_state_dict(state["ema"])
    return model.to(device).eval().requires_grad_(False)


def write_state(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write a state, whole or not at all; its bytes do not depend on its name."""
    with atomic(path) as temporary, open(temporary, "wb") as stream:
        torch.save(dict(state), stream)


def read_state(path: str | Path) -> dict[str, Any]:
    """Read a state to the CPU, without running code that a file may hold.

    Raises:
        ValueError: the file is cut or something else.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is no training state ({error}); delete it and rerun train_diffusion"
        ) from error
    if not isinstance(state, dict) or not {"model", "ema", "opt", "steps"} <= set(state):
        raise ValueError(f"{path} is no training state; delete it and rerun train_diffusion")
    return state


def _fingerprint(model: Mapping[str, Any], recipe: Recipe, seed: int, data: str) -> str:
    words = json.dumps([dict(model), asdict(recipe), seed, data], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


def _usable(path: Path, run: str, stop: int) -> bool:
    """Whether a cut-off run of the same recipe left a state here."""
    if not path.exists():
        return False
    try:
        state = read_state(path)
    except ValueError:
        logger.warning("%s cannot be read and is not used", path)
        return False
    if state.get("run") != run or state["steps"] >= stop:
        logger.warning("%s is of another recipe or other latents and is not used", path)
        return False
    return True


def losses_of(path: str | Path) -> Iterator[tuple[int, float]]:
    """(step, mean loss of the 20 steps up to it) of a state."""
    yield from (tuple(pair) for pair in read_state(path)["losses"])
