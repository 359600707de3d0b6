"""What a set of images really is, in words that stand in the protocol of every score.

A config's ``name`` is free text; these words come from where the images do. Torch-free.
"""

from collections.abc import Mapping
from typing import Any

KEY = "evaluation_set"
"""What a protocol calls it."""

IMAGENET_VAL = "imagenet val, 50000 images"
"""The papers' set, whole: the source ``imagenet`` packs no other number under these words."""


def in_words(split: Mapping[str, Any]) -> str:
    """``imagenet val, 50000 images``, ``folder images/val, all images``, ``mini, 2000 images``.

    Args:
        split: the block of a split in the config: ``source`` and what that source takes.
    """
    name, count = str(split["source"]), split.get("count", split.get("limit", "all"))
    if name == "imagenet":
        from seesaw.data.imagenet import EXPECTED

        name = f"imagenet {split['split']}"
        there = split.get("images", EXPECTED[split["split"]])
        count = min(there, split.get("limit", there))
    elif "path" in split:
        name = f"{name} {split['path']}".replace(";", ",")  # ';' parts the entries of a protocol
    left = ", unreadable ones left out" if split.get("skip_problems") else ""
    return f"{name}, {count} images{left}"
