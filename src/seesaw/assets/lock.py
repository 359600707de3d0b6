"""The lock file: what was fetched, from where, and its hash, which is enforced from then on.

Torch-free. One process at a time writes it; several jobs and runs may share it.
"""

import contextlib
import fcntl
import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seesaw.files import read_json, write_json

LOCK_NAME = "assets.lock.json"
LOCKS = ".locks"
ABOUT = "Hashes of fetched weights, enforced from the first use on: see docs/assets.md"

logger = logging.getLogger(__name__)


def read_lock(lock: Path) -> dict[str, dict[str, Any]]:
    """Entries of a lock file by path below the weights folder; none where there is no such file.

    Raises:
        ValueError: it is no JSON, or not of this kind.
    """
    if not lock.exists():
        return {}
    content = read_json(lock)
    if not isinstance(content, Mapping) or not isinstance(content.get("files"), Mapping):
        raise ValueError(f"{lock} is no lock file of fetched weights: it has no 'files'")
    return dict(content["files"])


def write_entry(lock: Path, path: str, entry: Mapping[str, Any]) -> None:
    """Add or replace one entry; what other processes wrote meanwhile stays."""
    with held(lock.parent, lock.name):
        files = {**read_lock(lock), path: dict(entry)}
        write_json(lock, {"about": ABOUT, "files": dict(sorted(files.items()))})


@contextlib.contextmanager
def held(folder: Path, name: str) -> Iterator[None]:
    """Hold the right to work on ``name``, waiting for another process or thread that has it.

    Where the file system has no locks, it goes on without and says so.
    """
    path = folder / LOCKS / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("%s: another process is at work on it; waiting", name)
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:
            logger.warning("%s: %s has no file locks (%s); going on without", name, folder, error)
        yield
