"""What a run needs from outside the repository: weights files, folders of images, loaders.

A plan can be made without them; a run stops before its first job and says all that is not there.
Torch-free: it runs whenever Snakemake parses the workflow.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seesaw.registry import PLANNED_FAMILIES

HEADINGS = {
    "images": "sets of images",
    "weights": "weights files, each to be put at its place",
    "loader": "autoencoders without a loader in this version",
}


@dataclass(frozen=True)
class Absent:
    """One thing that is not there.

    Attributes:
        kind: ``"images"``, ``"weights"`` or ``"loader"``.
        what: the path, or the name of the autoencoder.
        words: for whom it is, and what to do.
    """

    kind: str
    what: str
    words: str


def absent_weights(user: str, entry: Mapping[str, Any]) -> Absent | None:
    """The weights file that a config entry names, unless it is there or none is named.

    Args:
        user: who needs it, in words: ``"autoencoder 'vae'"``.
        entry: of ``autoencoders`` or ``networks``; its ``weights``, ``source`` and ``confidence``
            are read.
    """
    if "weights" not in entry or Path(entry["weights"]).exists():
        return None
    source = entry.get("source")
    hint = f"get it from {source}" if source else "the path is the one in the config"
    doubt = f" ({entry['confidence']})" if "confidence" in entry else ""
    return Absent("weights", str(entry["weights"]), f"for {user}; {hint}{doubt}")


def absent_images(split: str, source: Mapping[str, Any]) -> Absent | None:
    """The folder of a split, unless it is there or the split has none.

    Args:
        split: its name.
        source: of ``data.splits``: ``path`` is read; of ImageNet, what holds images and labels.
    """
    if source.get("source") == "imagenet":
        from seesaw.data.imagenet import missing

        words = missing(source)
        what = f"{source['path']} ({source['split']} of ImageNet)"
        return Absent("images", what, f"for the split {split!r}: {words}") if words else None
    if "path" not in source or Path(source["path"]).is_dir():
        return None
    return Absent(
        "images",
        str(source["path"]),
        f"this folder of the split {split!r} does not exist; put the images there, in folders per "
        f"class or flat, or correct data.splits.{split}.path",
    )


def absent_loader(entry: Mapping[str, Any]) -> Absent | None:
    """The loader of an autoencoder, unless its family has one.

    Args:
        entry: of ``autoencoders``: ``name`` and ``family`` are read.
    """
    family = entry["family"]
    if family not in PLANNED_FAMILIES:
        return None
    return Absent(
        "loader",
        entry["name"],
        f"no loader for family {family!r} in this version ({PLANNED_FAMILIES[family]}); leave it "
        "out of 'autoencoders', or give a class of your own as family: 'module:Class'",
    )


def stop_words(absent: Iterable[Absent]) -> str:
    """All that is absent, by kind, as one message for the person who started the run."""
    found = set(absent)
    lines = [f"Things that this run needs are not there ({len(found)})."]
    for kind, heading in HEADINGS.items():
        rows = sorted((a for a in found if a.kind == kind), key=lambda a: a.what)
        if rows:
            lines += [f"{heading} ({len(rows)}):"]
            lines += [f"  {row.what}\n      {row.words}" for row in rows]
    lines += [
        "No job was started. A plan needs none of this: snakemake -n shows the jobs, make plan "
        "their cost."
    ]
    return "\n".join(lines)
