"""The registry of published autoencoders: read, checked, and as a table for people.

``config/autoencoders.yaml`` is the registry, ``seesaw autoencoders`` and ``docs/autoencoders.md``
show it. Torch-free.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from seesaw.config import load_yaml
from seesaw.config_checks import check_schema
from seesaw.external import weights_paths
from seesaw.published_autoencoders import resolve_autoencoder, source_of
from seesaw.registry import FAMILIES, unknown

ROOT = Path(__file__).parents[2]
REGISTRY = "config/autoencoders.yaml"
SCHEMA = "workflow/schemas/autoencoders.schema.yaml"
SUFFIXES = {
    "lightning": ".ckpt",
    "bare": ".pt",
    "training": (".pt", ".pth"),
    "safetensors": ".safetensors",
    "diffusers-folder": ".safetensors",
    "hub-folder": ".safetensors",
}
"""Container -> how the name of the weights file ends."""

Registry = Mapping[str, Mapping[str, Any]]


def read_registry(root: Path = ROOT) -> Registry:
    """The registry of published autoencoders, checked.

    Args:
        root: folder of the repository.

    Raises:
        ValueError: see :func:`check_registry`; or the file is not there.
    """
    path = root / REGISTRY
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist: the list of published autoencoders is part of the repository. "
            "Install seesaw from a clone of it, with pip install --editable"
        )
    registry = load_yaml(path)
    check_registry(registry, load_yaml(root / SCHEMA))
    return registry


def check_registry(registry: Registry, schema: Mapping[str, Any]) -> None:
    """Raise unless the registry fits its schema and every name in it means something.

    Args:
        registry: content of ``config/autoencoders.yaml``.
        schema: content of ``workflow/schemas/autoencoders.schema.yaml``.

    Raises:
        ValueError: where, what was given, what is allowed.
    """
    check_schema(registry, schema, REGISTRY)
    for name, architecture in registry["architectures"].items():
        if architecture["family"] not in FAMILIES:
            words = unknown("family", architecture["family"], FAMILIES)
            raise ValueError(f"{REGISTRY}, architectures.{name}: {words}")
    for name, entry in registry["autoencoders"].items():
        where = f"{REGISTRY}, autoencoders.{name}"
        if entry["files"]:
            _check_found(entry, registry, where)
        elif "architecture" in entry:
            raise ValueError(
                f"{where}: it has an architecture but no files; give the files, or leave out the "
                "architecture if nobody found any"
            )
        _check_original(name, entry, registry["autoencoders"], where)


def _check_found(entry: Mapping[str, Any], registry: Registry, where: str) -> None:
    """An entry with weights says what they are."""
    for key in ("architecture", "patch_size", "container"):
        if key not in entry:
            raise ValueError(f"{where}: an entry with files needs the key {key!r}")
    if entry["architecture"] not in registry["architectures"]:
        words = unknown("architecture", entry["architecture"], registry["architectures"])
        raise ValueError(f"{where}: {words}")
    roles = {role for role, file in entry["files"].items() if not file.get("optional")}
    if "autoencoder" not in roles and not roles >= {"encoder", "decoder"}:
        raise ValueError(
            f"{where}.files: there must be a file 'autoencoder', or files 'encoder' and 'decoder', "
            f"not optional; given are {', '.join(entry['files'])}"
        )
    for role in ({"autoencoder"} & roles) or ({"decoder"} & roles):
        file = entry["files"][role]
        if not file.get("file", file.get("url")).endswith(SUFFIXES[entry["container"]]):
            raise ValueError(
                f"{where}.files.{role}: a file of the container {entry['container']!r} ends in "
                f"{SUFFIXES[entry['container']]}, not like {file.get('file', file.get('url'))!r}"
            )
    shape = registry["architectures"][entry["architecture"]]["latent_shape"]
    channels = shape[0] if len(shape) == 3 else shape[-1]
    for key, value in entry.get("normalization", {}).items():
        if isinstance(value, list) and len(value) != channels:
            raise ValueError(
                f"{where}.normalization.{key}: {len(value)} numbers for {channels} channels"
            )


def _check_original(
    name: str, entry: Mapping[str, Any], entries: Mapping[str, Any], where: str
) -> None:
    original = entry.get("duplicate_of")
    if original is None:
        return
    if original not in entries:
        raise ValueError(f"{where}.duplicate_of: {unknown('autoencoder', original, entries)}")
    if original == name or "duplicate_of" in entries[original]:
        raise ValueError(
            f"{where}.duplicate_of: {original!r} is this entry or a duplicate itself; name the "
            "original"
        )


@dataclass(frozen=True)
class Row:
    """A published autoencoder in the list.

    Attributes:
        name: of the registry.
        group: its family in the figures.
        latent: shape of a latent, ``"32x16x16"`` or, of tokens, ``"64x32"``; ``""``: unknown.
        factor: pixels per latent position along a side, ``"f16"``; ``"1d"`` for tokens without a
            grid.
        parameters: of encoder and decoder; None: unknown.
        licence: in words.
        gated: whether a licence must be accepted before the download: ``"yes"``, ``"encoder"`` (of
            a file that may be needed), or ``""``.
        confidence: ``"seen"``, ``"third-party"``, ``"guess"``, or ``"not found"``.
        weights: ``"present"``, ``"absent"``, ``"in part"``, or ``"none public"``.
        loader: the family; ``"none"`` where there is no file to load.
        duplicate_of: another entry with the same weights, or ``""``.
    """

    name: str
    group: str
    latent: str
    factor: str
    parameters: int | None
    licence: str
    gated: str
    confidence: str
    weights: str
    loader: str
    duplicate_of: str

    def cells(self) -> dict[str, Any]:
        """Column -> value."""
        return asdict(self)


RESOLUTION = 256


def list_autoencoders(
    registry: Registry, *, group: str | None = None, folder: Path = Path()
) -> list[Row]:
    """The registry as a list, in its order.

    Args:
        registry: see :func:`read_registry`.
        group: only entries of this group, in any case.
        folder: where the folder ``weights`` is looked for.

    Raises:
        ValueError: no entry is of this group.
    """
    entries = registry["autoencoders"]
    groups = {entry["group"].casefold(): entry["group"] for entry in entries.values()}
    if group is not None and group.casefold() not in groups:
        raise unknown("group", group, groups.values())
    chosen = [
        name
        for name, entry in entries.items()
        if group is None or entry["group"] == groups[group.casefold()]
    ]
    return [_row(name, registry, folder) for name in chosen]


def _row(name: str, registry: Registry, folder: Path) -> Row:
    entry = registry["autoencoders"][name]
    common = {
        "name": name,
        "group": entry["group"],
        "licence": entry["licence"],
        "gated": "yes" if "gated" in entry else _gated(entry),
        "duplicate_of": entry.get("duplicate_of", ""),
    }
    if not entry["files"]:
        return Row(
            latent="",
            factor="",
            parameters=None,
            confidence="not found",
            weights="none public",
            loader="none",
            **common,
        )
    resolved = resolve_autoencoder(name, registry)
    there = [(folder / path).exists() for path in weights_paths(resolved)]
    return Row(
        latent="x".join(map(str, resolved["latent_shape"])),
        factor=factor(resolved["latent_shape"]),
        parameters=resolved["parameters"],
        confidence=entry["confidence"]["level"],
        weights="present" if all(there) else "in part" if any(there) else "absent",
        loader=resolved["family"],
        **common,
    )


def _gated(entry: Mapping[str, Any]) -> str:
    return ", ".join(role for role, file in entry["files"].items() if "gated" in file)


def factor(latent_shape: list[int]) -> str:
    """Pixels per latent position along a side of an image of 256 pixels: ``"f16"``, or ``"1d"``."""
    return f"f{RESOLUTION // latent_shape[-1]}" if len(latent_shape) == 3 else "1d"


def show_autoencoder(name: str, registry: Registry, *, folder: Path = Path()) -> dict[str, Any]:
    """All that the registry says of an autoencoder, its files with their places.

    Args:
        name: of the registry.
        registry: see :func:`read_registry`.
        folder: where the folder ``weights`` is looked for.

    Raises:
        ValueError: unknown name.
    """
    entries = registry["autoencoders"]
    if name not in entries:
        raise unknown("autoencoder", name, entries)
    entry = {"name": name, **entries[name]}
    if not entry["files"]:
        return entry
    resolved = resolve_autoencoder(name, registry)
    same = ("family", "config", "latent_shape", "parameters")
    return {
        **entry,
        **{key: resolved[key] for key in same},
        "files": {
            role: {
                **file,
                "source": source_of(file),
                "present": (folder / file["path"]).exists(),
            }
            for role, file in resolved["files"].items()
        },
    }


def short_licence(licence: str) -> str:
    """Its name without remarks; a star says that there are some."""
    name, *remarks = re.split(r" \(|;", licence, maxsplit=1)
    return name + ("*" if remarks else "")
