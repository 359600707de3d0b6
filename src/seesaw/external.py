"""What a run needs from outside the repository: weights files, folders of images.

A plan can be made without them; a run stops before its first job and says all that is not there.
Torch-free: it runs whenever Snakemake parses the workflow.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from seesaw.assets import Asset, hub_token
from seesaw.published_autoencoders import source_of

TOKENS = "https://huggingface.co/settings/tokens"
HEADINGS = {
    "images": "sets of images",
    "weights": "weights files, each to be put at its place",
}


@dataclass(frozen=True)
class Absent:
    """One thing that is not there.

    Attributes:
        kind: ``"images"`` or ``"weights"``.
        what: the path.
        words: for whom it is, and what to do.
    """

    kind: str
    what: str
    words: str


def weights_paths(entry: Mapping[str, Any]) -> list[str]:
    """Paths of the weights files that a config entry names, in the order of their roles."""
    weights = entry.get("weights", [])
    if isinstance(weights, Mapping):
        return [str(path) for path in weights.values()]
    return [str(weights)] if weights else []


def with_weights(model: Mapping[str, Any], files: Sequence[str] | str) -> dict[str, Any]:
    """Family, config and weights of an autoencoder, as every stage takes them.

    Args:
        model: ``family`` and ``config``, and ``roles`` where there are several weights files.
        files: the weights file, or the files of ``roles`` in their order; empty: it has none.
    """
    roles = model.get("roles")
    weights = dict(zip(roles, files, strict=True)) if roles and files else files
    return {"family": model["family"], "config": model["config"], "weights": weights or None}


def absent_weights(
    user: str, entry: Mapping[str, Any], assets: Mapping[Path, Asset] = MappingProxyType({})
) -> list[Absent]:
    """The weights files that a config entry names, that are not there and that no job will fetch.

    A file whose licence must be accepted is fetched only for a person who has a token of the hub.

    Args:
        user: who needs them, in words: ``"autoencoder 'vae'"``.
        entry: of ``autoencoders`` or ``networks``; its ``weights``, ``files``, ``source`` and
            ``confidence`` are read.
        assets: what the run may fetch, by path.
    """
    files = {file["path"]: file for file in entry.get("files", {}).values()}
    doubt = f" ({entry['confidence']})" if "confidence" in entry else ""
    found = []
    for path in weights_paths(entry):
        gated, asset = files.get(path, {}).get("gated"), assets.get(Path(path))
        if Path(path).exists() or (asset and (asset.gated is None or hub_token())):
            continue
        token = f"; to have it fetched, set HF_TOKEN (a token: {TOKENS})" if asset else ""
        source = source_of(files[path]) if path in files else entry.get("source")
        source = source_of(source) if isinstance(source, Mapping) else source
        hint = f"get it from {source}" if source else "the path is the one in the config"
        licence = f", once the licence at {gated} is accepted" if gated else ""
        found.append(Absent("weights", path, f"for {user}; {hint}{licence}{token}{doubt}"))
    return found


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
