"""Published weights files of networks: reading them, and errors in words where they do not fit."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor


def read_checkpoint(path: str | Path, *, expected: str) -> dict[str, Tensor]:
    """A plain PyTorch state dict from a file. Only tensors are unpickled; nothing is downloaded.

    Args:
        path: the file.
        expected: name of the published file, for error messages.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a PyTorch file (say, a saved web page), or not a plain state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"weights file {path} does not exist; get {expected} and name it in the config block "
            "'networks'"
        )
    with open(path, "rb") as stream:
        head = stream.read(512).lstrip()
    if not head:
        raise ValueError(f"{path} is empty; expected {expected}. Download it again")
    if head[:1] == b"<":
        raise ValueError(
            f"{path} is a web page (it starts with {head[:15]!r}), not {expected}; the download "
            "gave a login or error page"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds: pickle, zip, runtime, end of file
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"{path} cannot be read as a PyTorch state dict: {type(error).__name__}: {reason}. "
            f"Expected {expected}, whole and unchanged"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(
            f"{path} holds a {type(state).__name__}, not a plain state dict; expected {expected}"
        )
    return dict(state)


def check_state(
    state: Mapping[str, Tensor],
    shapes: Mapping[str, Iterable[int]],
    *,
    path: str | Path,
    expected: str,
) -> None:
    """Raise unless ``state`` has exactly the names in ``shapes``, each of that shape.

    Raises:
        ValueError: names the first ten missing, unexpected and misshapen tensors.
    """
    wrong = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(shape)}"
        for name, shape in shapes.items()
        if name in state and tuple(state[name].shape) != tuple(shape)
    ]
    problems = {
        "missing": [name for name in shapes if name not in state],
        "unexpected": [name for name in state if name not in shapes],
        "misshapen": wrong,
    }
    words = [
        f"{len(names)} {kind}: {', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
        for kind, names in problems.items()
        if names
    ]
    if words:
        raise ValueError(f"{path} does not fit {expected}. {'; '.join(words)}")
