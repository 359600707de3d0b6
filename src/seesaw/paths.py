"""``~`` in the paths of a config: written out once, before anything reads them.

Torch-free: it runs whenever Snakemake parses the workflow.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

EACH = "*"
"""Any key of a mapping, or any item of a list."""

PLACES = (
    "data.splits.*.path",
    "data.splits.*.devkit",
    "autoencoders.*.weights",
    "autoencoders.*.weights.*",
    "autoencoders.*.files.*.path",
    "networks.*.weights",
    "gfid.references.*.weights",
    "control.autoencoders.*.backbone.weights",
    "control.autoencoders.*.backbone.latents.weights",
    "assets.folder",
)
"""Where a config names files and folders."""


def with_expanded_paths(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config with ``~`` and ``~user`` at the start of its paths replaced by the home folder.

    It need not be checked yet: what is not a path is left as it is.

    Raises:
        ValueError: there is no such user.
    """
    for place in PLACES:
        config = _expanded(config, place.split("."), "config")
    return dict(config)


def _expanded(node: Any, place: Sequence[str], where: str) -> Any:
    if not place:
        return _home(node, where) if isinstance(node, str) and node.startswith("~") else node
    key, below = place[0], place[1:]
    if isinstance(node, Mapping):
        keys = node if key == EACH else [key] if key in node else []
        return {**node, **{k: _expanded(node[k], below, f"{where}.{k}") for k in keys}}
    if isinstance(node, list) and key == EACH:
        return [_expanded(item, below, f"{where}[{n}]") for n, item in enumerate(node)]
    return node


def _home(path: str, where: str) -> str:
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        user = path.partition("/")[0]
        raise ValueError(
            f"{where}: the home folder of {user!r} in {path!r} is not known here; give the whole "
            "path, or put ./ before it if that is the name of a folder"
        ) from None
