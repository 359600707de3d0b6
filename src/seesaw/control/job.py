"""Training a ControlNet branch as one job that can be killed and goes on where it was.

As Seesaw's A.2 says: AdamW at a constant rate, batch 32 (4 images, accumulated 8 times), gradients
clipped at 0.5, only the branch trained. The paper leaves the rate blank and says "100 epochs, until
converged"; rate and steps are the config's. All randomness of a step follows from (seed, step).
"""

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from seesaw.autoencoders.base import load_autoencoder
from seesaw.control.branch import ControlNet, save_branch, state_sha256
from seesaw.control.frozen import FrozenModel, load_frozen
from seesaw.control.train import draw, loss_at
from seesaw.diffusion.latents import TrainingLatents, epochs
from seesaw.diffusion.sample import labels_for
from seesaw.diffusion.train import write_state
from seesaw.files import sha256_of
from seesaw.progress import progress
from seesaw.registry import STAGES
from seesaw.shards import Shards, require_same_ids

BETAS = (0.9, 0.999)
WEIGHT_DECAY = 1e-2
LOSS_EVERY = 20
SAVE_SECONDS = 600.0
IN_MEMORY_BYTES = 2 * 1024**3
"""Maps up to this size are held; beyond it the maps of a step are read when it is their turn."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ControlRecipe:
    """How a branch is trained; the defaults are the paper's, and ControlNet's rate.

    Attributes:
        steps: optimiser steps.
        batch_size: images per step.
        accumulate: equal parts that a batch is worked through in; changes memory, not results.
        lr: constant learning rate (the paper's is blank; ControlNet trains with 1e-5).
        clip: largest norm of the gradient.
        label_dropout: share of labels replaced by "none"; the hint is never left out.
        precision: ``"fp32"`` or ``"bf16"`` (matrix products only; weights stay float32).

    Raises:
        ValueError: a batch that cannot be cut into so many equal parts.
    """

    steps: int
    batch_size: int = 32
    accumulate: int = 1
    lr: float = 1e-5
    clip: float = 0.5
    label_dropout: float = 0.1
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"a batch of {self.batch_size} cannot be cut into {self.accumulate} equal parts; "
                "choose 'accumulate' among its divisors"
            )


class HintMaps:
    """Condition maps of a split as hints: by row, float32 in [0, 1], ``(N, 1, R, R)``.

    Args:
        maps: field ``map``, uint8 ``(R, R)``.
        in_memory: maps up to so many bytes are kept.

    Raises:
        ValueError: these are no square maps.
    """

    def __init__(self, maps: Shards, *, in_memory: int = IN_MEMORY_BYTES) -> None:
        field = maps.fields.get("map")
        if field is None or field["dtype"] != "uint8" or len(set(field["shape"])) != 1:
            raise ValueError(
                f"{maps.path} holds {maps.fields}; hints are square maps (field 'map', uint8), as "
                "networks of the kinds edges and map make them"
            )
        self.maps, self.resolution = maps, int(field["shape"][0])
        keep = len(maps) * self.resolution**2 <= in_memory
        self._kept = maps.load("map") if keep else None

    def batch(self, rows: np.ndarray, device: torch.device | str) -> Tensor:
        """Hints of some rows."""
        if self._kept is not None:
            found = self._kept[rows]
        else:
            ids = self.maps.ids
            found = self.maps.take([ids[row] for row in rows], ["map"])["map"]
        return to_hints(found, device)


def to_hints(maps: np.ndarray, device: torch.device | str) -> Tensor:
    """Maps uint8 ``(N, R, R)`` to hints float32 ``(N, 1, R, R)`` in [0, 1]."""
    return torch.from_numpy(maps).to(device)[:, None].float() / 255


def train_control(
    *,
    backbone: Mapping[str, Any],
    family: str,
    config: Mapping[str, Any],
    weights: str | Path | None,
    images: str | Path,
    index: str | Path,
    maps: str | Path,
    posterior: str,
    recipe: Mapping[str, Any],
    depth: int | None,
    output: str | Path,
    seed: int,
    device: str,
    what: str = "branch",
) -> None:
    """Train a branch on the frozen backbone of an autoencoder, both frozen, for one condition.

    Args:
        backbone: keyword arguments of :func:`seesaw.control.frozen.load_frozen`.
        family: autoencoder family or ``"module:Class"``.
        config: its keyword arguments.
        weights: its weights file, if it has one.
        images: manifest of the packed training split.
        index: its index (labels).
        maps: manifest of its condition maps.
        posterior: ``"mean"`` or ``"sample"``.
        recipe: keyword arguments of :class:`ControlRecipe`.
        depth: blocks to copy; None: PixArt-delta's share.
        output: branch to write, see :func:`seesaw.control.branch.save_branch`.
        seed: of initial weights, order, times, noise and dropout.
        device: torch device.
        what: name for log lines.

    Raises:
        ValueError: parts that do not fit each other, or a loss that is not finite.
    """
    if torch.device(device).type == "cuda":
        # as the diffusion models are trained
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    autoencoder = load_autoencoder(family, weights, config, device=device)
    frozen = load_frozen(**backbone, device=device)
    frozen.check_fit(autoencoder)
    labels = labels_for(frozen, index)
    pictures, conditions = Shards(images), Shards(maps)
    require_same_ids(pictures, conditions)
    hints = HintMaps(conditions)
    options = ControlRecipe(**recipe)
    latents = TrainingLatents(autoencoder, pictures, posterior=posterior, device=device)
    control = new_branch(frozen, hints.resolution, depth=depth, seed=seed)
    inputs = [state_sha256(autoencoder), sha256_of(images), sha256_of(maps), posterior]
    inputs.append(STAGES["control"])
    losses = train_branch(
        control=control,
        frozen=frozen,
        latents=latents,
        labels=labels,
        hints=hints,
        recipe=options,
        seed=seed,
        output=output,
        inputs=inputs,
        what=what,
    )
    save_branch(
        control,
        output,
        {
            "backbone": frozen.name,
            "copied blocks": f"{control.depth} of {len(frozen.backbone.blocks)}",
            "trained parameters": sum(p.numel() for p in control.branch_parameters()),
            "optimiser": f"AdamW {BETAS[0]} {BETAS[1]}, decay {WEIGHT_DECAY}",
            "schedule": "constant",
            **asdict(options),
            "epochs": round(options.steps * options.batch_size / len(pictures), 3),
            "train images": len(pictures),
            "last loss": round(losses[-1][1], 6),
            "condition network": conditions.meta.get("network"),
        },
    )
    unfinished_of(output).unlink(missing_ok=True)


def new_branch(
    frozen: FrozenModel, resolution: int, *, depth: int | None = None, seed: int
) -> ControlNet:
    """An untrained branch whose initial weights follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ControlNet(frozen.backbone, resolution=resolution, depth=depth)


def unfinished_of(output: str | Path) -> Path:
    """Where the state of a training that was cut off lies."""
    output = Path(output)
    return output.with_name(f".{output.stem}.unfinished.pt")


def train_branch(
    *,
    control: ControlNet,
    frozen: FrozenModel,
    latents: TrainingLatents,
    labels: Tensor,
    hints: HintMaps,
    recipe: ControlRecipe,
    seed: int,
    output: str | Path,
    inputs: list[str],
    save_seconds: float = SAVE_SECONDS,
    what: str = "branch",
) -> list[tuple[int, float]]:
    """Train the branch of ``control`` in place; a training that was cut off goes on.

    While it runs, the state is saved beside ``output`` every ``save_seconds``, and used by a run of
    the same recipe, backbone and ``inputs``. The caller removes it when ``output`` is written.

    Args:
        control: an untrained branch.
        frozen: its backbone.
        latents: what to train on.
        labels: int64 ``(n,)``, ``num_classes`` for none.
        hints: of the same images.
        recipe: how.
        seed: see above.
        output: where the branch will be.
        inputs: digests of what else the result depends on.
        save_seconds: seconds between saved states.
        what: name for log lines.

    Returns:
        (step, mean loss of the 20 steps up to it), the last one over those that were left.

    Raises:
        ValueError: a loss that is not finite.
    """
    sizes = [control.resolution, control.depth, control.hint_channels]
    words = [asdict(recipe), seed, state_sha256(frozen.backbone), sizes, inputs]
    run = hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()
    learner = Learner(control, frozen, recipe, seed)
    unfinished = unfinished_of(output)
    state = _usable(unfinished, run)
    if state is not None:
        learner.load(state)
        logger.info("%s: going on at step %d, where a run was cut off", what, learner.step)
    first, begin, saved = learner.step, time.monotonic(), time.monotonic()
    rows: Iterator[np.ndarray] = epochs(len(latents), recipe.batch_size, seed, start=first)
    todo = range(first, recipe.steps)
    for _ in progress(todo, total=len(todo), what=f"training {what}"):
        learner.train_step(latents, labels, hints, next(rows))
        if time.monotonic() - saved >= save_seconds:
            write_state(unfinished, {**learner.state(), "run": run})
            saved = time.monotonic()
    learner.note_rest()
    seconds = max(time.monotonic() - begin, 1e-9)
    logger.info("%s: %.1f images/s", what, len(todo) * recipe.batch_size / seconds)
    control.eval()
    return learner.losses


class Learner:
    """A branch and its optimiser at some step."""

    def __init__(
        self, control: ControlNet, frozen: FrozenModel, recipe: ControlRecipe, seed: int
    ) -> None:
        self.control, self.frozen, self.recipe, self.seed = control.train(), frozen, recipe, seed
        self.weights = list(control.branch_parameters())
        self.optimiser = torch.optim.AdamW(
            self.weights, lr=recipe.lr, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
        )
        self.step = 0
        self.losses: list[tuple[int, float]] = []
        self._recent: list[Tensor] = []

    def train_step(
        self, latents: TrainingLatents, labels: Tensor, hints: HintMaps, rows: np.ndarray
    ) -> None:
        """One step on the images ``rows``."""
        recipe, count = self.recipe, len(rows)
        generator = step_generator(self.seed, self.step)
        draws = draw(self.frozen.backbone, count, latents.shape, generator)
        posterior = torch.randn((count, *latents.shape), generator=generator)
        self.optimiser.zero_grad(set_to_none=True)
        size, total = count // recipe.accumulate, torch.zeros((), device=latents.device)
        for start in range(0, count, size):
            part = slice(start, start + size)
            with torch.no_grad():
                z = latents.batch(rows[part], posterior[part].to(latents.device))
                z = self.frozen.normalise(z)
            bf16 = recipe.precision == "bf16"
            with torch.autocast(latents.device.type, torch.bfloat16, enabled=bf16):
                losses = loss_at(
                    self.control,
                    z,
                    labels[rows[part]].to(latents.device),
                    hints.batch(rows[part], latents.device),
                    draws.part(part),
                    label_dropout=recipe.label_dropout,
                )
            loss = losses.sum() / count
            loss.backward()
            total += loss.detach()
        nn.utils.clip_grad_norm_(self.weights, recipe.clip)
        self.optimiser.step()
        self.step += 1
        self._recent.append(total)
        if len(self._recent) == LOSS_EVERY:
            self.note_rest()

    def note_rest(self) -> None:
        """Note the mean of the losses since the last note."""
        if not self._recent:
            return
        value = float(torch.stack(self._recent).double().mean())
        if not math.isfinite(value):
            raise ValueError(
                f"the loss is {value} at step {self.step}; lower control.train.lr (now "
                f"{self.recipe.lr}), or train in fp32"
            )
        self.losses.append((self.step, value))
        self._recent = []

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "branch": self.control.branch_state(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "losses": self.losses,
            "recent": self._recent,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.control.load_state_dict(state["branch"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        self.losses = [tuple(pair) for pair in state["losses"]]
        device = self.weights[0].device
        self._recent = [loss.to(device) for loss in state["recent"]]


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of a step: a CPU generator, the same numbers on every device."""
    digest = hashlib.sha256(f"{seed}\0control\0{step}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def _usable(path: Path, run: str) -> dict[str, Any] | None:
    """The state of a cut-off run of the same recipe, if there is one."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        logger.warning("%s cannot be read and is not used", path)
        return None
    if not isinstance(state, dict) or state.get("run") != run:
        logger.warning("%s is of another recipe and is not used", path)
        return None
    return state
