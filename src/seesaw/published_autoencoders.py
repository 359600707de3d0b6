"""Published autoencoders as entries of a config, from the registry ``config/autoencoders.yaml``.

:mod:`seesaw.catalogue` checks the registry and shows it. Torch-free: it runs whenever Snakemake
parses the workflow.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from seesaw.config import load_yaml
from seesaw.registry import unknown

REGISTRY = Path(__file__).parents[2] / "config/autoencoders.yaml"
WEIGHTS = "weights"
"""Folder of the files of published autoencoders."""
WEIGHT_ROLES = ("autoencoder", "encoder", "decoder", "stats")
"""What a file of an official autoencoder can hold; ``stats``: statistics of its latents."""

logger = logging.getLogger(__name__)


def published_autoencoder(name: str) -> dict[str, Any] | None:
    """Family and config of a published autoencoder or architecture by name; None: no such name.

    Raises:
        ValueError: one whose weights nobody could locate.
    """
    registry = load_yaml(REGISTRY)
    if name in registry["autoencoders"]:
        entry = registry["autoencoders"][name]
        if "architecture" not in entry:
            raise ValueError(f"autoencoder {name!r} cannot be built: {entry['confidence']['note']}")
    elif name in registry["architectures"]:
        entry = {"architecture": name}
    else:
        return None
    family = registry["architectures"][entry["architecture"]]["family"]
    return {"family": family, "config": config_of(entry, registry)}


def published_names() -> list[str]:
    """Names that :func:`published_autoencoder` knows."""
    registry = load_yaml(REGISTRY)
    return sorted({*registry["architectures"], *registry["autoencoders"]})


def config_of(entry: Mapping[str, Any], registry: Mapping[str, Any]) -> dict[str, Any]:
    """Config of a published autoencoder: its architecture's, its own, and its options.

    Args:
        entry: of ``autoencoders`` in the registry.
        registry: ``config/autoencoders.yaml``.
    """
    options = {k: v for k, v in entry.get("options", {}).items() if k in ("ema", "latents")}
    if "normalization" in entry:
        options["normalization"] = entry["normalization"]
    architecture = registry["architectures"][entry["architecture"]]
    return {**architecture["config"], **entry.get("config", {}), **options}


def resolve_autoencoders(
    items: Sequence[str | Mapping[str, Any]],
    registry: Mapping[str, Mapping[str, Any]],
    folder: str | Path = WEIGHTS,
) -> list[dict[str, Any]]:
    """Entries of the pool: a bare name is looked up in the registry of published autoencoders.

    One whose weights nobody could locate is left out, which a warning says.

    Args:
        items: the config's ``autoencoders`` list: names, whole entries, or entries that are
            ``like`` a published one but for what they say.
        registry: ``config/autoencoders.yaml``.
        folder: of weights.

    Raises:
        ValueError: a name that the registry lacks.
    """
    entries = []
    for item in items:
        if isinstance(item, Mapping):
            entries.append(_variant(item, registry, folder) if "like" in item else dict(item))
            continue
        if item not in registry["autoencoders"]:
            words = unknown("autoencoder", item, registry["autoencoders"])
            raise ValueError(f"config, autoencoders: {words}")
        if not registry["autoencoders"][item]["files"]:
            note = registry["autoencoders"][item]["confidence"]["note"]
            logger.warning("autoencoder %r is left out: %s", item, note)
            continue
        entry = resolve_autoencoder(item, registry, folder)
        if entry.get("duplicate_of") not in items:
            entry.pop("duplicate_of", None)  # without its original it counts itself
        entries.append(entry)
    return entries


def _variant(
    item: Mapping[str, Any], registry: Mapping[str, Mapping[str, Any]], folder: str | Path
) -> dict[str, Any]:
    """A published autoencoder under another name, with other options."""
    given = registry["autoencoders"].get(item["like"])
    where = f"config, autoencoders.{item.get('name')}, like"
    if given is None:
        raise ValueError(
            f"{where}: {unknown('autoencoder', item['like'], registry['autoencoders'])}"
        )
    if not given["files"]:
        raise ValueError(f"{where}: {item['like']!r}: {given['confidence']['note']}")
    own = {key: value for key, value in item.items() if key not in ("like", "config")}
    base = resolve_autoencoder(item["like"], registry, folder, item.get("config", {}))
    dropped = {"published", "duplicate_of"}  # the papers' numbers are not this one's
    if "weights" in item:
        dropped |= {"files", "source", "confidence"}
    return {**{key: value for key, value in base.items() if key not in dropped}, **own}


def resolve_autoencoder(
    name: str,
    registry: Mapping[str, Mapping[str, Any]],
    folder: str | Path = WEIGHTS,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A published autoencoder as an entry of the pool, its architecture merged into it.

    Args:
        name: in the registry's ``autoencoders``, one with files.
        registry: ``config/autoencoders.yaml``.
        folder: of weights.
        changes: keys of its config that have other values here.

    Returns:
        Keys of an entry in a config (``docs/config.md``). ``weights`` is a path, or role -> path:
        files that are optional are left out, but for the statistics of normalized latents. What
        ``options`` and ``normalization`` say stands in ``config``.
    """
    given = registry["autoencoders"][name]
    architecture = registry["architectures"][given["architecture"]]
    config = {**config_of(given, registry), **(changes or {})}
    files = {role: described_file(file, given, folder) for role, file in given["files"].items()}
    wanted = {"stats"} if config.get("latents") == "normalized" else set()
    places = {
        role: file["path"]
        for role, file in files.items()
        if role in WEIGHT_ROLES and (role in wanted or not file.get("optional"))
    }
    main = files.get("autoencoder", files.get("decoder", {}))
    same = ("latent_shape", "parameters", "gflops")
    entry = {
        "name": name,
        "group": given["group"],
        "family": architecture["family"],
        "training": given["training"],
        "config": config,
        **{key: architecture[key] for key in same if key in architecture},
        "patch_size": given["patch_size"],
        "weights": places["autoencoder"] if list(places) == ["autoencoder"] else places,
        "files": files,
        "source": source_of(main),
        "published": {k: v for k, v in given["published"].items() if k in ("seesaw", "ifid")},
        "confidence": f"{given['confidence']['level']}: {given['confidence']['note']}",
    }
    if "duplicate_of" in given:
        entry["duplicate_of"] = given["duplicate_of"]
    return entry


def described_file(
    file: Mapping[str, Any], entry: Mapping[str, Any], folder: str | Path = WEIGHTS
) -> dict[str, Any]:
    """A file of the registry with its place on disk (``path``), and its entry's licence.

    Args:
        file: of ``files`` of a published autoencoder.
        entry: that autoencoder.
        folder: of weights.
    """
    if "url" in file:
        parts = urlsplit(file["url"])
        path = f"{folder}/{parts.netloc}{parts.path}"
    else:
        path = f"{folder}/{file['repo']}/{file['file']}"
    own = {"licence": entry["licence"]}
    if "gated" in entry and file.get("repo", "-") in entry["gated"]:
        own["gated"] = entry["gated"]
    return {"path": path, **own, **file}


def source_of(file: Mapping[str, Any]) -> str:
    """Page of a file on the hub, or its URL."""
    if "url" in file:
        return str(file["url"])
    revision = file.get("revision", "main")
    return f"https://huggingface.co/{file['repo']}/blob/{revision}/{file['file']}"
