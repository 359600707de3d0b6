"""Images: from a folder or a renderer to shards of uint8 tensors and an index.

An image source is a class registered in :data:`seesaw.registry.SOURCES`; see :class:`Source`.
:func:`seesaw.data.pack.pack_images` turns one split of a source into shards.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from seesaw.registry import SOURCES

if TYPE_CHECKING:
    import pandas as pd

INDEX_COLUMNS = ("id", "label", "path", "caption")


class Source(Protocol):
    """One split of a set of images. Must be picklable: worker processes render from copies.

    A source of files may also have ``stamps(rows) -> list[str]``: words per row that change when
    its file does (size and time of change), so that a restarted packing sees edited files.
    The images of such a source depend on the files and the config only, not on seed or split.

    Three more are optional. ``prepare(folder, shard_size=, workers=)`` is called before the index
    is asked for: what makes packing faster may be kept in ``folder``, beside the shards; ``tidy()``
    is called when all is packed. ``recorded`` is what a manifest says in place of the config block,
    for a source whose images are the same wherever they come from.

    Args:
        config: the split's block of the config: ``{"source": name, ...}``.
        split: name of the split.
        resolution: side R of the rendered images in pixels.
        crop: name in :data:`seesaw.registry.CROPS`; a renderer may have no use for it.
        seed: seed of every random choice.
    """

    def __init__(
        self, config: Mapping[str, Any], *, split: str, resolution: int, crop: str, seed: int
    ) -> None: ...

    def index(self) -> "pd.DataFrame":
        """All images, one row each, sorted by id.

        Columns: ``id`` (str, unique), ``label`` (int, -1 if unknown), ``path`` (str, ``""`` if
        there is no file), ``caption`` (str, ``""`` if there is none).
        """
        ...

    def render(self, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """The images at some positions of the index, and what else is known about them.

        What an image looks like must not depend on the other images of the call.

        Returns:
            ``images`` uint8 RGB (n, 3, R, R) and any other fields (n, ...). A field
            ``original_size`` (n, 2), if there, is the width and height of the file in pixels.

        Raises:
            ProblemFiles: some images cannot be made; all of them are named.
        """
        ...


class ProblemFiles(ValueError):
    """Some images of a request cannot be read.

    Attributes:
        reasons: image id -> why, in words.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        # the mapping is the only argument, so that the error survives pickling between processes
        super().__init__(dict(reasons))
        self.reasons = dict(reasons)

    def __str__(self) -> str:
        return "; ".join(f"{image_id}: {reason}" for image_id, reason in self.reasons.items())


def load_source(
    config: Mapping[str, Any], *, split: str, resolution: int, crop: str, seed: int
) -> Source:
    """The source that ``config["source"]`` names, for one split.

    Raises:
        ValueError: no source is named, or its name is unknown.
    """
    if "source" not in config:
        raise ValueError(
            f"split {split!r} names no image source: add 'source: ...' to its config block. "
            f"Valid: {', '.join(sorted(SOURCES))}"
        )
    source = SOURCES.load(config["source"])
    return source(config, split=split, resolution=resolution, crop=crop, seed=seed)
