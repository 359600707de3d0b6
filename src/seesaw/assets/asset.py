"""What can be fetched: one file of the hub or of a URL, where it lies, and what is known of it.

Torch-free: it runs whenever Snakemake parses the workflow.
"""

import dataclasses
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from seesaw.config import controlled_of, gfid_references
from seesaw.registry import unknown

HUB = "https://huggingface.co"
FOLDER = "weights"
MAIN = "autoencoder"
CONFIG = "config.json"
SCHEMES = ("https", "http", "file")


@dataclass(frozen=True, kw_only=True)
class Asset:
    """One file, of a repository of the hub (``repo`` and ``file``) or of a ``url``.

    Attributes:
        path: where it lies below the weights folder, with ``/``; for a file of the hub
            ``<owner>/<repo>/<file>``, for a URL ``<host>/<path>``, unless said otherwise.
        repo: ``<owner>/<repo>`` on the hub.
        file: its path in that repository.
        revision: branch, tag or commit there.
        url: ``https:``, ``http:`` or ``file:``, instead of ``repo`` and ``file``.
        sha256: of its bytes, hex; the first eight digits or more.
        size: exact, bytes.
        about: approximate bytes, for the plan only.
        gated: page where its licence must be accepted before the hub hands it out.
        licence: its name.
        status: how sure its name is, in words.
        optional: whether its user can do without it.
        beside: what is fetched together with it, because it is read where it lies beside it.
    """

    path: str
    repo: str | None = None
    file: str | None = None
    revision: str = "main"
    url: str | None = None
    sha256: str | None = None
    size: int | None = None
    about: int | None = None
    gated: str | None = None
    licence: str | None = None
    status: str | None = None
    optional: bool = False
    beside: tuple["Asset", ...] = ()

    @property
    def name(self) -> str:
        """For people: the file, and where it comes from."""
        return self.url or f"{self.file} of {self.repo}"

    @property
    def page(self) -> str:
        """Where a person finds the file."""
        return self.url or f"{HUB}/{self.repo}/tree/{self.revision}"


def can_be_fetched(values: Mapping[str, Any]) -> bool:
    """Whether ``values`` of a registry or config say where a file is (some were never found)."""
    return bool(values.get("url") or (values.get("repo") and values.get("file")))


def asset_of(values: Mapping[str, Any], where: str = "asset") -> Asset:
    """An asset from plain values of a registry or config; keys: the attributes of :class:`Asset`.

    ``gated: true`` stands for the page of the repository.

    Args:
        values: see :class:`Asset`; None counts as left out.
        where: of the values, for error messages: ``"autoencoders.vae.files.encoder"``.

    Raises:
        ValueError: an unknown key, a value of the wrong kind, neither or both of file and URL.
    """
    valid = [field.name for field in dataclasses.fields(Asset) if field.name != "beside"]
    for key in values:
        if key not in valid:
            raise ValueError(f"{where}: {unknown('key', key, valid)}")
    given = {key: value for key, value in values.items() if value is not None}
    if "url" in given and {"repo", "file", "revision"} & set(given):
        raise ValueError(f"{where}: give 'url', or 'repo' and 'file', not both")
    if not can_be_fetched(given):
        raise ValueError(f"{where}: give 'repo' and 'file', or 'url', to say where the file is")
    for key in ("size", "about"):
        if key in given and (type(given[key]) is not int or given[key] < 1):
            raise ValueError(f"{where}.{key}: {given[key]!r} is no number of bytes")
    for key in ("repo", "file", "revision", "url", "licence", "status", "path"):
        if key in given and not (isinstance(given[key], str) and given[key]):
            raise ValueError(f"{where}.{key}: {given[key]!r} is no text")
    sha256 = given.get("sha256", "0" * 64)
    if not (isinstance(sha256, str) and re.fullmatch(r"[0-9a-f]{8,64}", sha256)):
        raise ValueError(
            f"{where}.sha256: {given['sha256']!r} is not 8 to 64 hexadecimal digits (0-9, a-f), in "
            "quotes where they could be read as a number"
        )
    if "repo" in given and not re.fullmatch(r"[\w.-]+/[\w.-]+", given["repo"]):
        raise ValueError(f"{where}.repo: {given['repo']!r} is not of the form 'owner/repository'")
    if "url" in given and urlsplit(given["url"]).scheme not in SCHEMES:
        raise ValueError(f"{where}.url: {given['url']!r} does not start with {', '.join(SCHEMES)}:")
    if not isinstance(given.get("optional", False), bool):
        raise ValueError(f"{where}.optional: {given['optional']!r} is neither true nor false")
    gated = given.pop("gated", False)
    if gated is True:
        gated = f"{HUB}/{given['repo']}" if "repo" in given else given["url"]
    if gated and not isinstance(gated, str):
        raise ValueError(f"{where}.gated: {gated!r} is neither true, false nor a page")
    path = given.pop("path", None) or _default_path(given)
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path:
        raise ValueError(f"{where}.path: {path!r} is no path below the weights folder")
    return Asset(path=str(PurePosixPath(path)), gated=gated or None, **given)


def _default_path(given: Mapping[str, Any]) -> str:
    if "url" not in given:
        return f"{given['repo']}/{given['file']}"
    url = urlsplit(given["url"])
    if not url.netloc:
        return f"files/{PurePosixPath(unquote(url.path)).name}"
    return f"{url.netloc}{unquote(url.path)}"


def asset_url(asset: Asset, endpoint: str | None = None) -> str:
    """The address that serves the bytes of an asset.

    Args:
        asset: of the hub or of a URL.
        endpoint: a mirror of the hub; default, the environment's ``HF_ENDPOINT``, or the hub.
    """
    if asset.url:
        return asset.url
    base = (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    revision = quote(asset.revision, safe="")
    return f"{base}/{asset.repo}/resolve/{revision}/{quote(asset.file or '')}"


def weights_folder(config: Mapping[str, Any]) -> Path:
    """Folder of the files that are fetched: ``assets.folder`` of a config, or ``weights``."""
    return Path(config.get("assets", {}).get("folder", FOLDER))


def assets_of(config: Mapping[str, Any]) -> dict[Path, Asset]:
    """Every file that a config names and that can be fetched to the place where it is looked for.

    Autoencoders say it under ``files`` (role -> asset), networks, references and backbones under
    ``source``, where that is an asset and not words. Files without a known address, and those that
    a person keeps outside the weights folder, are not among them.

    Args:
        config: of a run, its pool resolved.

    Returns:
        the path under ``weights`` -> the asset, whose ``path`` is that below the weights folder.

    Raises:
        ValueError: see :func:`asset_of`; or two entries want different files at one place.
    """
    folder, found = weights_folder(config), dict[Path, Asset]()
    for where, weights, values, besides in _named(config):
        below = _below(weights, folder)
        if below is None or not can_be_fetched(values):
            continue
        asset = asset_of({**values, "path": below}, where)
        near = PurePosixPath(below).parent
        extras = (asset_of({**extra, "path": str(near / CONFIG)}, where) for extra in besides)
        asset = dataclasses.replace(asset, beside=tuple(extras))
        other = found.setdefault(Path(weights), asset)
        if asset_url(other) != asset_url(asset):
            raise ValueError(
                f"config, {where}: {weights} is to hold {asset.name}, but elsewhere in the config "
                f"{other.name}; give one of them another path"
            )
        if other.optional and not asset.optional:
            found[Path(weights)] = asset
    return found


def _below(weights: str, folder: Path) -> str | None:
    """The path below the weights folder, or None where it is not below it."""
    path = Path(weights)
    inside = path.is_relative_to(folder) and ".." not in path.parts
    return path.relative_to(folder).as_posix() if inside else None


Named = tuple[str, str, Mapping[str, Any], list[Mapping[str, Any]]]


def _named(config: Mapping[str, Any]) -> Iterator[Named]:
    """Where in the config, path of a weights file, what says where it can be had, what goes along.

    The ``config`` of an autoencoder's files is no weights: it is read beside the main file.
    """
    for entry in config.get("autoencoders", ()):
        files, weights = entry.get("files") or {}, entry.get("weights")
        if isinstance(weights, str) and files:
            role = "autoencoder" if "autoencoder" in files else next(iter(files))
            weights = {role: weights}
        beside = [files["config"]] if files and "config" in files else []
        for role, path in (weights or {}).items() if files else ():
            if role in files:
                where = f"autoencoders.{entry['name']}.files.{role}"
                yield where, path, files[role] or {}, beside if role == MAIN else []
    entries = {f"networks.{role}": player for role, player in config.get("networks", {}).items()}
    for reference in gfid_references(config):
        entries[f"gfid.references.{reference['name']}"] = reference
    for name, backbone in controlled_of(config):
        if backbone:
            entries[f"control.{name}.backbone"] = backbone
            entries[f"control.{name}.backbone.latents"] = backbone["latents"]
    for where, entry in entries.items():
        if isinstance(entry.get("source"), Mapping) and isinstance(entry.get("weights"), str):
            yield f"{where}.source", entry["weights"], entry["source"], []
