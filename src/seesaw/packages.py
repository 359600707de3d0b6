"""Packages that must not be installed together, because each overwrites the other's files."""

import logging
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution

logger = logging.getLogger(__name__)

ONE_OF: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "OpenCV": (
        "cv2",
        (
            "opencv-python",
            "opencv-python-headless",
            "opencv-contrib-python",
            "opencv-contrib-python-headless",
        ),
    ),
    "ONNX Runtime": ("onnxruntime", ("onnxruntime", "onnxruntime-gpu")),
}
"""Library -> the folder that it is imported from, and the packages that write into it."""


def installed(what: str) -> list[str]:
    """``"name version"`` of the packages of a library whose own list of files has its folder.

    A name without files does not count: conda's one OpenCV, for example, is listed under two of the
    names, so that pip finds either.

    Args:
        what: a library in :data:`ONE_OF`.
    """
    folder, names = ONE_OF[what]
    found = []
    for name in names:
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        files = (package.read_text("RECORD") or "").splitlines()
        if any(file.startswith(f"{folder}/") for file in files):
            found.append(f"{name} {package.version}")
    return found


def warn_of_several(what: str) -> None:
    """Log a warning if more than one package of a library that was imported is installed.

    Their files lie in one folder, so which of them runs depends on the order of installation, and
    uninstalling one breaks the other. It is no error, since what runs may be right.

    Args:
        what: a library in :data:`ONE_OF`.
    """
    folder, _ = ONE_OF[what]
    found = installed(what) if folder in sys.modules else []
    if len(found) > 1:
        logger.warning(
            "%s is installed %d times (%s): these packages overwrite each other's files, so that "
            "nobody knows which one runs; uninstall them all, then install one",
            what,
            len(found),
            ", ".join(found),
        )
