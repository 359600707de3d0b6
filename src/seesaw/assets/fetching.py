"""Fetch weights: whole, with the right hash, or not at all.

A file appears under its name only when it is whole and its hash is the one that is known: from the
registry, from the hub, or from the lock file, which records it at the first use. Until then it is
``<name>.part``, from which a later run goes on. A file that is there already is never fetched
again, overwritten or removed: it is checked. Torch-free.
"""

import datetime
import errno
import functools
import json
import logging
import os
import time
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from seesaw.assets.asset import HUB, Asset, asset_url
from seesaw.assets.lock import LOCK_NAME, held, read_lock, write_entry
from seesaw.assets.transport import (
    ATTEMPTS,
    TIMEOUT,
    FetchError,
    Transferred,
    copy,
    discard,
    transfer,
)
from seesaw.files import reject_what_is_no_weights_file, sha256_of, to_disk

OFFLINE = ("SEESAW_OFFLINE", "HF_HUB_OFFLINE")
MIRROR = "SEESAW_MIRROR"
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
STAYS = "It stays where it is; remove it to have the right one fetched"
NOT_FOUND = ("RepoNotFound", "RevisionNotFound", "EntryNotFound")
"""The hub's words, with 401 for a repository that is not there or not open to who asks."""
TRUE = ("1", "true", "yes", "on")

logger = logging.getLogger(__name__)


def is_offline(config: Mapping[str, Any] | None = None) -> bool:
    """Whether ``SEESAW_OFFLINE``, ``HF_HUB_OFFLINE`` or the config forbids to fetch."""
    said = any(os.environ.get(name, "").strip().lower() in TRUE for name in OFFLINE)
    return said or bool((config or {}).get("assets", {}).get("offline", False))


def options_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options of :func:`fetch` that a config sets; the environment's stay where it sets none."""
    block = config.get("assets", {})
    given = {key: block[key] for key in ("mirror", "endpoint") if key in block}
    return {**given, "offline": is_offline(config)}


def can_come(assets: Mapping[Path, Asset], config: Mapping[str, Any]) -> dict[Path, Asset]:
    """Those that a run may fetch: all of them; offline, what a folder (a mirror's) holds."""
    options = options_of(config)
    if not options["offline"]:
        return dict(assets)
    mirror = options.get("mirror") or os.environ.get(MIRROR)
    found = {}
    for path, asset in assets.items():
        local = [_local(place) for place in _places(asset, mirror, asset_url(asset))]
        if any(place is not None and place.is_file() for place in local):
            found[path] = asset
    return found


def hub_token() -> str | None:
    """The person's token of the hub: ``HF_TOKEN``, or what the hub's own login has left."""
    for name in TOKENS:
        if os.environ.get(name, "").strip():
            return os.environ[name].strip()
    home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    path = Path(os.environ.get("HF_TOKEN_PATH") or f"{home}/token").expanduser()
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


def where_to_put(asset: Asset, target: str | Path) -> str:
    """For a person: where to get the file, what to accept before, and where to put it."""
    words = [f"get {asset.name}" + ("" if asset.url else f" from {asset.page}")]
    if asset.gated:
        words.append(f"accept its licence first at {asset.gated}")
    if asset.status:
        words.append(f"how sure its name is: {asset.status}")
    if asset.sha256:
        words.append(f"its sha256 is {asset.sha256}" + ("..." if len(asset.sha256) < 64 else ""))
    return "; ".join([*words, f"put it at {target}"])


def fetch(
    asset: Asset,
    folder: str | Path,
    *,
    lock: str | Path | None = None,
    mirror: str | Path | None = None,
    endpoint: str | None = None,
    offline: bool | None = None,
    token: str | None = None,
    attempts: int = ATTEMPTS,
    timeout: tuple[float, float] = TIMEOUT,
    seed: int = 0,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Bring an asset to its place below ``folder``, unless it is there, and check it.

    The mirror is looked at first, then the hub or the URL. Several processes may fetch into one
    folder; one of them fetches a file, the others wait for it.

    Args:
        asset: what to fetch; what is read ``beside`` it comes first.
        folder: of weights; the file will lie at ``folder / asset.path``.
        lock: the lock file; default, ``assets.lock.json`` in ``folder``.
        mirror: a folder or ``file:`` or ``https:`` address below which files lie as in ``folder``,
            or as on the hub (``<owner>/<repo>/<file>``); default, ``SEESAW_MIRROR``.
        endpoint: a mirror of the hub; default, ``HF_ENDPOINT``, or the hub.
        offline: use neither hub nor URL; default, see :func:`is_offline`.
        token: of the hub, sent to the hub (``endpoint``) only; default, see :func:`hub_token`.
        attempts: failures in a row after which it gives up.
        timeout: seconds until a connection stands, and between two pieces.
        seed: of the pauses between attempts, which are jittered.
        sleep: what waits between attempts.

    Returns:
        the path of the file.

    Raises:
        FetchError: there is no such file, the hub wants a licence accepted, it is not the file of
            the registry or of the lock file, no weights at all, the disk is full, ...; with words.
    """
    folder = Path(folder)
    target = folder / asset.path
    lock = folder / LOCK_NAME if lock is None else Path(lock)
    offline = is_offline() if offline is None else offline
    mirror = os.environ.get(MIRROR) if mirror is None else mirror
    part = target.with_name(f"{target.name}.part")
    if target.exists():
        check(asset, folder, lock=lock)
        return target
    if target.is_symlink():
        raise FetchError(
            f"{target} is a link to {os.readlink(target)}, where nothing is; bring that back, or "
            "remove the link to have the file fetched"
        )
    again = {"attempts": attempts, "timeout": timeout, "seed": seed, "sleep": sleep}
    where = {"mirror": mirror, "endpoint": endpoint, "offline": offline, "token": token}
    for extra in asset.beside:
        try:
            fetch(extra, folder, lock=lock, **where, **again)
        except FetchError as error:
            if not extra.optional:
                raise
            logger.warning("going on without %s: %s", extra.path, error)
    with held(folder, asset.path):
        if target.exists():  # another process was quicker
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        recorded = read_lock(lock).get(asset.path)
        known = {
            "sure": bool(asset.sha256 or recorded),
            "size": asset.size or (recorded["size"] if recorded else None),
        }
        for last in (False, True):
            came, source = _bring(
                asset, part, mirror, endpoint, offline, token or hub_token(), {**known, **again}
            )
            try:
                _check_content(part, target)
                _check_came(asset, came, source)
                _check_hash(asset, came.sha256, came.size, recorded, came.linked, source)
            except FetchError:
                discard(part)
                if came.resumed and not last:  # the two parts may be of different versions
                    logger.warning("%s: the whole is not right; fetching it anew", asset.path)
                    continue
                raise
            break
        if recorded and "mtime_ns" in recorded:  # the same bytes again: nothing is to be rerun
            os.utime(part, ns=(recorded["mtime_ns"], recorded["mtime_ns"]))
        to_disk(part)
        os.replace(part, target)
        discard(part)
        _record(asset, target, lock, came.sha256, source, came)
    logger.info("%s: %s bytes, sha256 %s", target, f"{came.size:,}", came.sha256)
    return target


def fetch_all(
    assets: Iterable[Asset], folder: str | Path, **options: Any
) -> dict[str, Path | FetchError]:
    """Fetch one after the other; what fails does not keep the others.

    Args:
        assets: what to fetch.
        folder: of weights.
        **options: of :func:`fetch`.

    Returns:
        path below ``folder`` -> the file, or, of an optional one that could not be had, why.

    Raises:
        FetchError: one or more that are not optional could not be fetched; all reasons, at the end.
    """
    done: dict[str, Path | FetchError] = {}
    failed: dict[str, FetchError] = {}
    for asset in {asset.path: asset for asset in assets}.values():
        try:
            done[asset.path] = fetch(asset, folder, **options)
        except FetchError as error:
            logger.warning("%s", error)
            if asset.optional:
                done[asset.path] = error
            else:
                failed[asset.path] = error
    if failed:
        lines = [f"{len(failed)} of {len(failed) + len(done)} files were not fetched:"]
        raise FetchError("\n".join([*lines, *(f"  {words}" for words in failed.values())]))
    return done


def check(
    asset: Asset,
    folder: str | Path,
    *,
    lock: str | Path | None = None,
    say: Callable[[str], None] = logger.info,
) -> str:
    """Check a file that is there against registry and lock file; record it if it is new there.

    It is read whole the first time, and again when its time has changed; else a look at size and
    time is enough.

    Args:
        asset: what the file should be.
        folder: of weights.
        lock: the lock file; default, ``assets.lock.json`` in ``folder``.
        say: is told before a file is read, which takes some seconds per gigabyte.

    Returns:
        its sha256.

    Raises:
        FetchError: it is not the file that is known under this name, or no weights; it stays.
    """
    folder = Path(folder)
    target = folder / asset.path
    lock = folder / LOCK_NAME if lock is None else Path(lock)
    stat, recorded = target.stat(), read_lock(lock).get(asset.path)
    same = recorded and (recorded.get("size"), recorded.get("mtime_ns")) == (
        stat.st_size,
        stat.st_mtime_ns,
    )
    if recorded and same:
        _check_hash(asset, recorded["sha256"], stat.st_size, None, None, str(target), STAYS)
        return str(recorded["sha256"])
    _check_content(target, target)
    say(f"{target}: reading all of it ({stat.st_size:,} bytes) for its hash")
    sha256 = sha256_of(target)
    _check_hash(asset, sha256, stat.st_size, recorded, None, str(target), STAYS)
    source = recorded["url"] if recorded else None
    _record(asset, target, lock, sha256, source, None, recorded)
    return sha256


def settle_time(asset: Asset, folder: str | Path, *, lock: str | Path | None = None) -> None:
    """Give a file that was just fetched its recorded time back, if others have touched it.

    Snakemake touches every output. With its old time a file that was removed and fetched again
    reruns nothing, and :func:`check` need not read it.
    """
    target = Path(folder) / asset.path
    entry = read_lock(Path(folder) / LOCK_NAME if lock is None else Path(lock)).get(asset.path)
    if entry and target.exists() and target.stat().st_size == entry["size"]:
        os.utime(target, ns=(entry["mtime_ns"], entry["mtime_ns"]))


def _bring(
    asset: Asset,
    part: Path,
    mirror: str | Path | None,
    endpoint: str | None,
    offline: bool,
    token: str | None,
    options: Mapping[str, Any],
) -> tuple[Transferred, str]:
    """Fill ``part`` from the mirror, else from the hub or URL; what came and from where."""
    target = part.with_name(part.name.removesuffix(".part"))
    url = asset_url(asset, endpoint)
    places, looked = _places(asset, mirror, url), list[str]()
    for place in places:
        local = _local(place)
        looked.append(place)
        if local is not None:
            if local.is_file():
                return copy(local, part, asset.path), place
            continue
        if offline:
            continue
        try:
            came = transfer(
                place,
                part,
                what=asset.path,
                token=token if place == url and asset.repo else None,
                needs_token=asset.gated is not None,
                refused=functools.partial(_refusal, asset, target, url, token, place == url),
                **options,
            )
        except FetchError as error:
            if place == url or error.status != 404:
                raise
            continue
        return came, place
    if offline:
        raise FetchError(f"{asset.path} is not there, and nothing is fetched offline; "
                         + where_to_put(asset, target))  # fmt: skip
    raise FetchError(f"{asset.path} is not there (looked at {', '.join(looked)})", 404)


def _places(asset: Asset, mirror: str | Path | None, url: str) -> list[str]:
    """Where the file may be, the mirror first."""
    if not mirror:
        return [url]
    names = dict.fromkeys([asset.path, f"{asset.repo}/{asset.file}" if asset.repo else ""])
    return [*(f"{str(mirror).rstrip('/')}/{name}" for name in names if name), url]


def _local(place: str) -> Path | None:
    """The path that a ``file:`` address or a plain folder's name stands for; None: elsewhere."""
    url = urlsplit(place)
    if url.scheme == "file":
        return Path(unquote(url.path))
    return None if url.scheme in ("http", "https") else Path(place).expanduser()


def _refusal(
    asset: Asset, target: Path, url: str, token: str | None, official: bool, status: int, code: str
) -> str | None:
    """What a person can do about the server's answer; None for that of a mirror."""
    if not official:
        return None
    if status in (404, 410) or code in NOT_FOUND:
        doubt = f" How sure its name is: {asset.status}." if asset.status else ""
        look = f"look at {asset.page} for what it is called now" if asset.repo else "look there"
        return (
            f"{asset.path}: there is no {url} (answer {status}).{doubt} Please {look}, correct the "
            f"entry, or put the file at {target}"
        )
    if status in (401, 403):
        page = asset.gated or (f"{HUB}/{asset.repo}" if asset.repo else asset.url)
        why = "your token (HF_TOKEN) does not open it" if token else "it wants to know who you are"
        own = f"; or {where_to_put(asset, target)}"
        if asset.repo is None:
            return f"{url} answers {status}: it is not open to everyone{own}"
        return (
            f"{asset.path}: the hub answers {status}, {why}. Log in and accept the licence at "
            f"{page}, make a token at {HUB}/settings/tokens that may read gated repositories, set "
            f"it (export HF_TOKEN=hf_...) and run again{own}"
        )
    return None


def _check_content(path: Path, target: Path) -> None:
    """Raise for a web page, a git-lfs pointer, an empty file, and weights that are cut short."""
    try:
        reject_what_is_no_weights_file(path)
    except (ValueError, FileNotFoundError) as error:
        raise FetchError(str(error).replace(str(path), str(target))) from None
    short = f"{target} is cut short: "
    with open(path, "rb") as stream:
        head = stream.read(8)
        if target.suffix == ".safetensors":
            size, length = path.stat().st_size, int.from_bytes(head, "little")
            header = stream.read(length) if length < size else b""
            end = _end_of_tensors(header)
            if end is None or size != 8 + length + end:
                raise FetchError(
                    f"{short}it has {size:,} bytes, which is not what its list of tensors says"
                )
    if head.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
        raise FetchError(f"{short}it has {path.stat().st_size:,} bytes and no end")


def _end_of_tensors(header: bytes) -> int | None:
    """Bytes of all tensors together by the header of a safetensors file; None: it is none."""
    try:
        tensors = json.loads(header)
        return max(
            (tensor["data_offsets"][1] for key, tensor in tensors.items() if key != "__metadata__"),
            default=0,
        )
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def _check_came(asset: Asset, came: Transferred, source: str) -> None:
    """Raise where nothing could tell a whole file from one that was cut short."""
    checked = asset.path.endswith((".safetensors", ".pt", ".ckpt", ".npz"))
    if not (came.told or asset.size or asset.sha256 or checked):
        raise FetchError(
            f"{asset.path}: {source} does not say how long the file is, so nobody can tell whether "
            "all of it came; give its 'size' or 'sha256' in its entry, or take another mirror"
        )


def _check_hash(
    asset: Asset,
    sha256: str,
    size: int,
    recorded: Mapping[str, Any] | None,
    linked: str | None,
    source: str,
    rest: str = "Nothing was put in its place",
) -> None:
    """Raise unless hash and size are those of the registry, of the hub and of the lock file."""
    what = f"{source} is not the file that is known as {asset.path}: it has"
    if asset.size is not None and size != asset.size:
        raise FetchError(f"{what} {size:,} bytes, the registry says {asset.size:,}. {rest}")
    if asset.sha256 and not sha256.startswith(asset.sha256):
        raise FetchError(f"{what} sha256 {sha256}, the registry says {asset.sha256}. {rest}")
    if linked and sha256 != linked:
        raise FetchError(f"{what} sha256 {sha256}, the hub says {linked}. {rest}")
    if recorded and sha256 != recorded["sha256"]:
        raise FetchError(
            f"{what} sha256 {sha256}, the lock file recorded {recorded['sha256']} on "
            f"{recorded.get('date')}. Results that rest on the two differ. {rest}; if the new one "
            f"is what you want, remove the entry {asset.path!r} from {LOCK_NAME}"
        )


def _record(
    asset: Asset,
    target: Path,
    lock: Path,
    sha256: str,
    source: str | None,
    came: Transferred | None,
    earlier: Mapping[str, Any] | None = None,
) -> None:
    stat, today = target.stat(), datetime.datetime.now(datetime.UTC).date().isoformat()
    entry = {
        "sha256": sha256,
        "size": stat.st_size,
        "url": source,
        "revision": asset.revision if asset.repo else None,
        "etag": came.etag if came else None,
        "commit": came.commit if came else None,
        "date": today,
        "mtime_ns": stat.st_mtime_ns,
    }
    if earlier:
        entry = {**entry, **earlier, "mtime_ns": stat.st_mtime_ns}
    try:
        write_entry(lock, asset.path, entry)
    except OSError as error:
        if came is not None or error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        logger.warning("the hash of %s cannot be recorded in %s (%s)", target, lock, error.strerror)
