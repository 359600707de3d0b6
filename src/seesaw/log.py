"""One log per job: file and standard error, with the traceback of what stopped it."""

import logging
import sys
from pathlib import Path
from types import TracebackType


def log_file() -> str | None:
    """The file that :func:`configure_logging` was given in this process, if any."""
    handlers = logging.getLogger().handlers
    return next((h.baseFilename for h in handlers if isinstance(h, logging.FileHandler)), None)


def configure_logging(path: str | Path | None = None, *, append: bool = False) -> None:
    """Send log records (INFO and above) to ``path`` (a new file, or at its end) and to stderr."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="a" if append else "w"))
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=handlers,
        force=True,
    )

    def log_uncaught(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        logging.getLogger("seesaw").error("%s: %s", kind.__name__, error, exc_info=error)

    sys.excepthook = log_uncaught
