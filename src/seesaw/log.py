"""One log per job: file and standard error, with the traceback of what stopped it."""

import logging
import sys
from pathlib import Path
from types import TracebackType


def configure_logging(path: str | Path | None = None) -> None:
    """Send log records (INFO and above) to ``path`` and to standard error."""
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, mode="w"))
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
