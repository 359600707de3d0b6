"""Published weights files of networks."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from seesaw.autoencoders.weights import check_state, read_state

State = Mapping[str, Tensor]


def published_state(
    path: str | Path,
    *,
    file: str,
    layout: State,
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict,
    read: Callable[[str | Path], dict[str, Tensor]] = read_state,
) -> dict[str, Tensor]:
    """The tensors of a published file, checked strictly. Nothing is ever downloaded.

    Args:
        path: where the file lies.
        file: name under which it is published, for error messages.
        layout: tensors (on any device) with the names, shapes and dtypes that it must have.
        adapt: applied to what is in the file before the check: adds what old files lack, drops what
            is not used.
        read: how the tensors are got out of the file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no weights file, or its names, shapes or dtypes are not those of
            ``layout``; see :mod:`seesaw.autoencoders.weights`.
    """
    try:
        state = adapt(read(path))
        check_state(layout, state, Path(path))
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{error}\nWhat is needed here is {file}.") from error
    return state
