"""One transfer over HTTP into a partial file: resumed after a cut, repeated when a server is busy.

Torch-free.
"""

import contextlib
import dataclasses
import email.utils
import errno
import hashlib
import logging
import math
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urlsplit

from seesaw.files import read_json, write_json
from seesaw.progress import progress
from seesaw.seeds import generator_for

if TYPE_CHECKING:
    import requests

CHUNK = 1024**2
ATTEMPTS = 6
TIMEOUT = (20.0, 60.0)
"""Seconds until a connection stands, and between two pieces of what comes."""
LONGEST_PAUSE = 60.0
LONGEST_RETRY_AFTER = 600.0
BUSY = (408, 425, 429, 500, 502, 503, 504)
REDIRECTS = 10

logger = logging.getLogger(__name__)


class FetchError(ValueError):
    """A file could not be fetched or is not the right one; the words say what to do.

    Attributes:
        status: of the server's answer, or None.
    """

    def __init__(self, words: str, status: int | None = None) -> None:
        super().__init__(words)
        self.status = status


class _Again(Exception):
    """The attempt failed in a way that may pass.

    Attributes:
        after: seconds that the server asks to wait, or None.
    """

    def __init__(self, words: str, after: float | None = None) -> None:
        super().__init__(words)
        self.after = after


@dataclass(frozen=True)
class Transferred:
    """What came.

    Attributes:
        sha256: of the whole file, hex.
        size: bytes.
        told: whether the server said the size.
        linked: the sha256 that the hub states, or None.
        etag: the server's mark of this version, or None.
        commit: of the hub's repository, or None.
        resumed: whether a part of it came in an earlier transfer.
    """

    sha256: str
    size: int
    told: bool = False
    linked: str | None = None
    etag: str | None = None
    commit: str | None = None
    resumed: bool = False


def state_of(part: Path) -> Path:
    """Where a partial file's origin is noted."""
    return part.with_name(f"{part.name}.json")


def discard(part: Path) -> None:
    """Remove a partial file and what is noted of it."""
    part.unlink(missing_ok=True)
    state_of(part).unlink(missing_ok=True)


def transfer(
    url: str,
    part: Path,
    *,
    what: str,
    size: int | None = None,
    sure: bool = False,
    token: str | None = None,
    needs_token: bool = False,
    refused: Callable[[int, str], str | None] = lambda status, code: None,
    attempts: int = ATTEMPTS,
    timeout: tuple[float, float] = TIMEOUT,
    seed: int = 0,
    sleep: Callable[[float], None] = time.sleep,
) -> Transferred:
    """Bring ``url`` into ``part``, going on where an earlier transfer of the same version ended.

    A part is gone on with only if the server can be held to the version that it is of: by its ETag
    or date (``If-Range``), or because its hash will be checked (``sure``). A server that ignores
    ranges, or has another version now, starts it anew. The proxies and certificates of the
    environment are used (``HTTPS_PROXY``, ``REQUESTS_CA_BUNDLE``).

    Args:
        url: ``https:`` or ``http:``.
        part: the partial file; its folder exists.
        what: for logs and messages.
        size: of the whole file, if known; another one is refused before it comes.
        sure: whether the caller knows the file's hash.
        token: sent as bearer token to the host of ``url``, and to no other that it redirects to;
            at once if ``needs_token``, else when the server refuses to do without.
        needs_token: see ``token``.
        refused: words for a status and the hub's ``X-Error-Code`` of an answer that will not pass;
            None for the usual words.
        attempts: failures in a row, without a mebibyte in between, after which it gives up.
        timeout: seconds until a connection stands, and between two pieces.
        seed: of the pauses' jitter.
        sleep: what waits.

    Raises:
        FetchError: in words for the person who wanted the file.
    """
    failures, furthest, resumed = 0, 0, False
    send = token if needs_token else None
    with _session() as session:
        while True:
            have, state = _resumable(part, url, sure)
            try:
                done = _attempt(session, url, part, have, state, what, size, send, timeout)
                return _with_resumed(done, resumed)
            except _Refused as answer:
                if answer.status in (401, 403) and token and send is None:
                    send = token
                    continue
                words = refused(answer.status, answer.code) or f"{url} answers {answer}"
                raise FetchError(words, answer.status) from None
            except _Again as error:
                now = part.stat().st_size if part.exists() else 0
                resumed = resumed or now > 0
                failures = 1 if now - furthest >= CHUNK else failures + 1
                furthest = max(furthest, now)
                if failures >= attempts:
                    raise FetchError(
                        f"{what} did not come from {urlsplit(url).netloc}: {error} ({attempts} "
                        f"times). {now:,} bytes of it are kept; run again to go on from there"
                    ) from error
                pause = _pause(error.after, failures, what, seed)
                logger.warning("%s: %s; next attempt in %.1f s", what, error, pause)
                sleep(pause)


class _Refused(Exception):
    """The server said no: ``status`` and reason, and ``code``, the hub's word for it."""

    def __init__(self, status: int, reason: str, code: str) -> None:
        super().__init__(f"{status} {reason}".strip())
        self.status = status
        self.code = code


def _session() -> "requests.Session":
    import requests

    from seesaw import __version__

    session = requests.Session()
    session.max_redirects = REDIRECTS
    # compressed bytes have no use here, and neither their length nor their hash is the file's
    session.headers.update({"User-Agent": f"seesaw/{__version__}", "Accept-Encoding": "identity"})
    return session


def _resumable(part: Path, url: str, sure: bool) -> tuple[int, dict[str, Any]]:
    """How many bytes of ``part`` can be gone on from, and what is noted of them."""
    if not part.exists():
        return 0, {}
    try:
        state = read_json(state_of(part))
    except (OSError, ValueError):
        return 0, {}
    if state.get("url") != url or not (state.get("validator") or sure):
        return 0, {}
    return part.stat().st_size, state


def _attempt(
    session: "requests.Session",
    url: str,
    part: Path,
    have: int,
    state: Mapping[str, Any],
    what: str,
    size: int | None,
    token: str | None,
    timeout: tuple[float, float],
) -> Transferred:
    import requests
    import urllib3
    from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema

    headers = {}
    if have:
        headers["Range"] = f"bytes={have}-"
        if state.get("validator"):
            headers["If-Range"] = state["validator"]
    try:
        # bound to the request that it is given to, so that .netrc does not overwrite it; requests
        # takes it off when a redirect leads to another host
        auth = _bearer(token) if token else None
        with session.get(url, headers=headers, stream=True, timeout=timeout, auth=auth) as answer:
            return _receive(answer, url, part, have, state, what, size)
    except (requests.TooManyRedirects, InvalidSchema, InvalidURL, MissingSchema) as error:
        raise FetchError(f"{what}: {url} leads nowhere ({error})") from error
    except requests.exceptions.SSLError as error:
        raise FetchError(
            f"{what}: the certificate of {urlsplit(url).netloc} is not trusted ({error}). Behind a "
            "proxy that reads along, set REQUESTS_CA_BUNDLE to the file of its certificate"
        ) from error
    except (
        requests.RequestException,
        urllib3.exceptions.HTTPError,
        ConnectionError,
        TimeoutError,
    ) as error:
        raise _Again(_reason(error)) from error


def _receive(
    answer: "requests.Response",
    url: str,
    part: Path,
    have: int,
    state: Mapping[str, Any],
    what: str,
    size: int | None,
) -> Transferred:
    import urllib3

    if answer.status_code in BUSY:
        after = _retry_after(answer.headers)
        raise _Again(f"the server answers {answer.status_code} {answer.reason}", after)
    if answer.status_code == 416:  # the part is as long as the file, or longer
        if _total(answer.headers.get("Content-Range")) == have and have == (size or have):
            sha256 = sha256_of_part(part, have).hexdigest()
            return _described(answer, sha256, have, told=True, resumed=True)
        discard(part)
        raise _Again("what had come is not a part of what the server has now")
    if answer.status_code not in (200, 206):
        code = answer.headers.get("X-Error-Code", "")
        raise _Refused(answer.status_code, answer.reason or "", code)
    if answer.headers.get("Content-Encoding", "identity") != "identity":
        raise FetchError(
            f"{what}: {url} comes compressed ({answer.headers['Content-Encoding']}), though it was "
            "asked for as it is; take another mirror"
        )
    start, total = _extent(answer, have)
    if start != have and start != 0:
        discard(part)
        raise _Again("the server sent another range than it was asked for")
    page = answer.headers.get("Content-Type", "").startswith("text/html")
    if size is not None and total is not None and total != size and not page:
        raise FetchError(
            f"{what}: the server has {total:,} bytes, expected are {size:,}. It is another version "
            "of the file than registry or lock file name; nothing was fetched"
        )
    linked = _linked_size(answer)
    if None not in (linked, total) and linked != total:
        discard(part)
        raise _Again(f"the store of the hub has {total:,} bytes, the hub says {linked:,}")
    _check_space(part.parent, what, None if total is None else total - start)
    etag, date = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
    strong = etag if etag and not etag.startswith("W/") else None
    other_size = state.get("size") not in (None, total)
    if start and (other_size or state.get("validator") not in (None, strong, date)):
        discard(part)
        raise _Again("the server has another version of the file now")
    if not start:
        discard(part)
        write_json(state_of(part), {"url": url, "size": total, "validator": strong or date})
    digest = sha256_of_part(part, start)
    if start:
        logger.info("%s: going on after %s bytes", what, f"{start:,}")
    left = None if total is None else math.ceil((total - start) / CHUNK)
    broken: Exception | None = None
    with _room(part, what), open(part, "ab") as stream:
        pieces = _keep(_pieces(answer), stream, digest)
        try:
            for _ in progress(pieces, total=left, what=f"fetching {what}", unit="MiB"):
                pass
        except (urllib3.exceptions.HTTPError, ConnectionError, TimeoutError) as error:
            broken = error
        stream.flush()
        os.fsync(stream.fileno())
    now = part.stat().st_size
    if broken is not None or now < (total or 0):
        why = "the connection ended" if broken is None else _reason(broken)
        raise _Again(f"{why} after {now:,}{'' if total is None else f' of {total:,}'} bytes")
    if total is not None and now > total:
        discard(part)
        raise _Again(f"the server sent {now:,} bytes and had announced {total:,}")
    if linked not in (None, now):
        discard(part)
        raise _Again(f"{now:,} bytes came, the hub says {linked:,}")
    told = total is not None or answer.headers.get("Transfer-Encoding") == "chunked"
    return _described(answer, digest.hexdigest(), now, told, resumed=start > 0)


def _bearer(token: str) -> Callable[[Any], Any]:
    def sign(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign


def _extent(answer: "requests.Response", have: int) -> tuple[int, int | None]:
    """Where the bytes that come begin, and how many the whole file has, if the server says so."""
    if answer.status_code == 206:
        words = answer.headers.get("Content-Range", "")
        first = words.removeprefix("bytes ").partition("-")[0].strip()
        return (int(first) if first.isdigit() else -1), _total(words)
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _total(content_range: str | None) -> int | None:
    words = (content_range or "").rpartition("/")[2].strip()
    return int(words) if words.isdigit() else None


def _said(answer: "requests.Response") -> dict[str, str]:
    """Headers of the answer and of the redirects before it, where the hub says what it knows."""
    steps = (*answer.history, answer)
    return {name.lower(): value for step in steps for name, value in step.headers.items()}


def _linked_size(answer: "requests.Response") -> int | None:
    words = _said(answer).get("x-linked-size", "")
    return int(words) if words.isdigit() else None


def _described(
    answer: "requests.Response", sha256: str, size: int, told: bool, resumed: bool = False
) -> Transferred:
    said = _said(answer)
    linked = said.get("x-linked-etag", "").strip('"').lower()
    return Transferred(
        sha256=sha256,
        size=size,
        told=told or "x-linked-size" in said,
        linked=linked if len(linked) == 64 else None,
        etag=answer.headers.get("ETag"),
        commit=said.get("x-repo-commit"),
        resumed=resumed,
    )


def _with_resumed(done: Transferred, resumed: bool) -> Transferred:
    return dataclasses.replace(done, resumed=done.resumed or resumed)


def _pieces(answer: "requests.Response") -> Iterator[bytes]:
    while piece := answer.raw.read1(CHUNK, decode_content=False):
        yield piece


def _keep(pieces: Iterable[bytes], stream: BinaryIO, digest: Any) -> Iterator[None]:
    """Write and hash what comes; yield once per mebibyte."""
    waiting = 0
    for piece in pieces:
        stream.write(piece)
        digest.update(piece)
        waiting += len(piece)
        while waiting >= CHUNK:
            waiting -= CHUNK
            yield
    if waiting:
        yield


def copy(source: Path, part: Path, what: str) -> Transferred:
    """Copy a file of a mirror's folder into ``part``, hashing it.

    Raises:
        FetchError: the disk is full.
    """
    size = source.stat().st_size
    discard(part)
    _check_space(part.parent, what, size)
    digest = hashlib.sha256()
    with _room(part, what), open(source, "rb") as read, open(part, "wb") as stream:
        pieces = _keep(iter(lambda: read.read(CHUNK), b""), stream, digest)
        for _ in progress(
            pieces, total=math.ceil(size / CHUNK), what=f"copying {what}", unit="MiB"
        ):
            pass
    return Transferred(digest.hexdigest(), size, told=True)


def sha256_of_part(part: Path, length: int) -> Any:
    """A sha256 object that has seen the first ``length`` bytes of a file; none if it is 0."""
    digest = hashlib.sha256()
    if length:
        with open(part, "rb") as stream:
            while length > 0 and (piece := stream.read(min(CHUNK, length))):
                digest.update(piece)
                length -= len(piece)
    return digest


@contextlib.contextmanager
def _room(part: Path, what: str) -> Iterator[None]:
    """Say in words that a disk has run full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise FetchError(
            f"{what}: the disk of {part.parent} is full ({error.strerror}). What has come is kept; "
            "make room and run again"
        ) from error


def _check_space(folder: Path, what: str, wanted: int | None) -> None:
    free = shutil.disk_usage(folder).free
    if wanted is not None and wanted > free:
        raise FetchError(
            f"{what} needs {wanted / 1e9:,.2f} GB more, the disk of {folder} has {free / 1e9:,.2f} "
            "GB free; make room, or set assets.folder in the config to another disk"
        )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: a number, a date, or the hub's ``RateLimit: ...;t=N``."""
    words = headers.get("Retry-After", "").strip()
    reset = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    if words.isdigit():
        return float(words)
    if not words:
        return float(reset[1]) if reset else None
    try:
        return max(0.0, email.utils.parsedate_to_datetime(words).timestamp() - time.time())
    except ValueError:
        return None


def _pause(after: float | None, failures: int, what: str, seed: int) -> float:
    """Seconds to wait; jitter keeps many jobs from coming back at the same moment."""
    doubling = min(LONGEST_PAUSE, 2.0 ** (failures - 1))
    jitter = float(generator_for(seed, f"pause {failures}", what).random())
    if after is not None:
        return min(after, LONGEST_RETRY_AFTER) + jitter * doubling
    return doubling * (0.5 + jitter)


def _reason(error: Exception) -> str:
    """The innermost cause, in the words of the library, without its nest of brackets."""
    text = str(error)
    for mark in ("Name or service not known", "Temporary failure in name resolution"):
        if mark in text:
            return f"the name of the host cannot be looked up ({mark}); is there a network?"
    if "Connection refused" in text:
        return "the connection was refused"
    if "timed out" in text.lower():
        return "nothing came for too long (timed out)"
    if "IncompleteRead" in text or "Connection broken" in text:
        return "the connection broke off"
    return text or type(error).__name__
