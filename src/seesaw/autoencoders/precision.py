"""Modules whose dtype is part of what they compute."""

from collections.abc import Callable

from torch import Tensor, nn


class FixedDtype(nn.Module):
    """A module whose tensors keep the dtype that they were made with.

    ``to(device)`` moves them; ``to(dtype)``, ``half()``, ``float()`` on it or on what contains it
    leave them as they are, without rounding there and back.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "FixedDtype":
        def moved(tensor: Tensor) -> Tensor:
            new = fn(tensor)
            return new if new.dtype == tensor.dtype else tensor.to(new.device)

        return super()._apply(moved, recurse)
