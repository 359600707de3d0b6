"""Modules of a library that read and write their weights under the names of another code."""

import re
from collections.abc import Sequence

from torch import Tensor, nn


def speak(module: nn.Module, rules: Sequence[tuple[str, str]]) -> None:
    """Make ``state_dict`` and ``load_state_dict`` of ``module`` use other names.

    A strict check then names what a file lacks as its authors do, and saved weights have the layout
    of theirs. Also where ``module`` is a part of another.

    Args:
        module: what is to be renamed.
        rules: pairs of a regular expression that a whole key of ``module`` must match, and what
            stands for it; the first that matches counts, and other keys keep their names.
    """

    def rename(key: str) -> str:
        for pattern, replacement in rules:
            if found := re.fullmatch(pattern, key):
                return found.expand(replacement)
        return key

    def write(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
        for key in [key for key in state if key.startswith(prefix)]:
            name = key.removeprefix(prefix)
            if rename(name) != name:
                state[prefix + rename(name)] = state.pop(key)

    def read(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
        for name, _tensor in (*module.named_parameters(), *module.named_buffers()):
            if rename(name) != name and prefix + rename(name) in state:
                state[prefix + name] = state.pop(prefix + rename(name))

    module.register_state_dict_post_hook(write)
    module.register_load_state_dict_pre_hook(read)
