"""Time grids of the published backbones' ODE samplers, and the Euler method that walks them.

Conventions of hustvl/LightningDiT 2725fed and bytetriper/RAE a4d18c4: "250" and "50" sampling steps
are that many grid points, so one Euler step fewer.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

LIGHTNINGDIT_SHIFT = 0.3
RAE_DIMENSIONS = 4096
"""Latent dimensions at which RAE's shift is 1."""
RAE_MARGIN = 1e-3
"""RAE's times, before the shift, stop short of their end by this: sampling of data, training of
noise (``check_interval`` in ``src/stage2/transport/transport.py``, ``t1 = 1 - 1 / 1000``)."""


def shift_times(t: Any, shift: float) -> Any:
    """``s t / (1 + (s - 1) t)``: maps [0, 1] onto itself, towards 1 where s > 1."""
    return shift * t / (1 - t + shift * t)


def rae_shift(latent_shape: Sequence[int]) -> float:
    """``sqrt(latent dimensions / 4096)``: 6.93 for ``(768, 16, 16)``."""
    return math.sqrt(math.prod(latent_shape) / RAE_DIMENSIONS)


def lightningdit_times(points: int = 250, shift: float = LIGHTNINGDIT_SHIFT) -> list[float]:
    """From noise at 0 to data at 1, shifted towards 0 (config ``timestep_shift``)."""
    return [shift_times(t, shift) for t in _even(points)]


def rae_times(points: int = 50, *, latent_shape: Sequence[int] = (768, 16, 16)) -> list[float]:
    """From noise at 1 almost to data at 0, shifted by :func:`rae_shift`.

    As published the last point is the shifted 0.001 (0.0069), and what is left there is the sample.
    """
    shift = rae_shift(latent_shape)
    return [shift_times(1 - (1 - RAE_MARGIN) * t, shift) for t in _even(points)]


def _even(points: int) -> list[float]:
    if points < 2:
        raise ValueError(f"a time grid needs at least 2 points, got {points}")
    return [index / (points - 1) for index in range(points)]


@torch.no_grad()
def euler(velocity: Callable[[Tensor, float], Tensor], x: Tensor, times: Sequence[float]) -> Tensor:
    """Integrate ``dx/dt = velocity(x, t)`` from ``times[0]`` to ``times[-1]``.

    Args:
        velocity: state and time to a velocity of the state's shape, of any floating dtype.
        x: state at ``times[0]``, ``(N, ...)``. The state keeps its dtype: give float64 for a
            float64 state (``velocity`` then converts for a network that is not).
        times: ascending or descending; a step per interval.
    """
    for t, following in zip(times[:-1], times[1:], strict=True):
        x = x + (following - t) * velocity(x, t).to(x.dtype)
    return x
