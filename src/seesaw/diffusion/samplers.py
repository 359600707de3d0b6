"""Samplers of the linear path: Euler-Maruyama for the reverse SDE, Euler and Heun for the ODE.

As in the iFID paper's code (tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID bac6ede,
``ifid/sit/samplers.py``): time grids are shifted like the training times, the state is float64, the
network sees float32. Noise comes from the caller, so that a sample depends on its image id only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seesaw.device import tf32
from seesaw.registry import unknown

LAST_NOISY_TIME = 0.04
"""Where the SDE's grid ends (before the shift); one step without noise leads from there to 0."""

PRECISIONS = ("fp32", "tf32")

Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``(x, t, y) -> velocity``."""


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """How to get from noise to data.

    Attributes:
        mode: ``"sde"`` (Euler-Maruyama), ``"ode"`` (Euler) or ``"heun"`` (ODE, second order).
        steps: evaluations along the path; an SDE of 250 has 249 noisy steps and a last one without
            noise.
        guidance: classifier-free guidance scale; 1 is none.
        interval: times (after the shift) between which guidance is on.
        precision: of the network's matrix products on a GPU: ``"fp32"``, or ``"tf32"`` as the
            scripts of SiT, REPA and iFID sample (their ``--tf32``, on unless said otherwise). A CPU
            has no TF32. Decoding is not concerned.
    """

    mode: Literal["sde", "ode", "heun"] = "sde"
    steps: int = 250
    guidance: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    precision: Literal["fp32", "tf32"] = "fp32"

    def __post_init__(self) -> None:
        if self.mode not in ("sde", "ode", "heun"):
            raise unknown("sampler mode", self.mode, ("sde", "ode", "heun"))
        if self.steps < 2:
            raise ValueError(f"a sampler needs at least 2 steps, got {self.steps}")
        if self.precision not in PRECISIONS:
            raise unknown("sampler precision", self.precision, PRECISIONS)
        low, high = self.interval
        if self.guidance < 1 or not 0 <= low <= high <= 1:
            raise ValueError(
                f"guidance is a scale of at least 1 in an interval within [0, 1], got "
                f"{self.guidance} in {list(self.interval)}"
            )

    @property
    def noises(self) -> int:
        """Noise arrays that a run from t = 1 takes."""
        return self.steps - 1 if self.mode == "sde" else 0

    @property
    def evaluations(self) -> int:
        """Network evaluations per image from t = 1, guided ones counted twice as they are two."""
        once = 2 * self.steps - 1 if self.mode == "heun" else self.steps
        return once * (2 if self.guidance > 1 else 1)

    def times(self, shift: Callable[[Tensor], Tensor], start: float = 1.0) -> Tensor:
        """The time grid, float64, from ``start`` (after the shift) down to 0.

        From ``start`` < 1 the grid is ``start`` and those points of the full grid that are below.
        """
        if self.mode == "sde":
            grid = torch.linspace(1.0, LAST_NOISY_TIME, self.steps, dtype=torch.float64)
            grid = torch.cat([shift(grid), torch.zeros(1, dtype=torch.float64)])
        else:
            grid = shift(torch.linspace(1, 0, self.steps + 1, dtype=torch.float64))
        if start >= 1:
            return grid
        return torch.cat([torch.tensor([start], dtype=torch.float64), grid[grid < start - 1e-9]])


def score_from_velocity(velocity: Tensor, x: Tensor, t: float) -> Tensor:
    """Score of the linear path: ``-((1 - t) velocity + x) / t``."""
    return -((1 - t) * velocity + x) / t


def sample(
    velocity: Velocity,
    x: Tensor,
    y: Tensor,
    times: Tensor,
    sampler: Sampler,
    *,
    noise: Callable[[int], Tensor] | None = None,
    null: int | None = None,
) -> Tensor:
    """Integrate from ``times[0]`` to ``times[-1]``.

    Args:
        velocity: the network; sees the dtype of ``x``.
        x: state at ``times[0]``, ``(N, ...)``.
        y: labels ``(N,)``.
        times: descending grid, :meth:`Sampler.times`.
        sampler: mode and guidance.
        noise: step index -> standard normal noise shaped like ``x`` (SDE only).
        null: the label that means none (guidance only).

    Returns:
        float64 ``(N, ...)``.

    Raises:
        ValueError: an SDE without noise, or guidance without ``null``.
    """
    dtype, state = x.dtype, x.double()
    if sampler.mode == "sde" and noise is None and len(times) > 2:
        raise ValueError("an SDE needs noise, one array per noisy step; give 'noise'")
    if sampler.guidance > 1 and null is None:
        raise ValueError("guidance needs 'null', the label that means none")

    def field(at: Tensor, t: float) -> Tensor:
        """Velocity (ODE) or drift (SDE), guided inside the interval."""
        guided = sampler.guidance > 1 and sampler.interval[0] <= t <= sampler.interval[1]
        inputs = torch.cat([at, at]) if guided else at
        labels = torch.cat([y, torch.full_like(y, null)]) if guided else y
        clock = torch.full((len(inputs),), t, dtype=torch.float64, device=x.device).to(dtype)
        with tf32(sampler.precision == "tf32"):
            found = velocity(inputs.to(dtype), clock, labels).double()
        if sampler.mode == "sde":
            found = found - t * score_from_velocity(found, inputs, t)
        if not guided:
            return found
        with_label, without = found.chunk(2)
        return without + sampler.guidance * (with_label - without)

    grid: Sequence[float] = times.tolist()
    for step, (t, following) in enumerate(zip(grid[:-1], grid[1:], strict=True)):
        dt = following - t
        slope = field(state, t)
        ahead = state + slope * dt
        if sampler.mode == "heun" and following > 0:
            ahead = state + 0.5 * dt * (slope + field(ahead, following))
        if sampler.mode == "sde" and following > 0:
            ahead = ahead + (2 * t * -dt) ** 0.5 * noise(step).double()
        state = ahead
    return state
