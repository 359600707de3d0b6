"""Scores and where they come from."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import seesaw
from seesaw.files import read_json, write_json
from seesaw.packages import ONE_OF
from seesaw.registry import NETWORKS


@dataclass(frozen=True, kw_only=True)
class Score:
    """One number and what it takes to read it.

    Attributes:
        metric: registry name (``"psnr"``, ``"ifid"``).
        variant: which reading of the metric (``""`` for the plain one, ``"shuffled"``, ``"zero"``,
            ``"slerp alpha=0.5 k=10 n=8000"``).
        value: the number; ``None`` where the metric is undefined (``note`` says why).
        n: how many images, pairs or faces it is a mean over.
        unit: ``"dB"``, ``"L1"``, ``"share"``, ... (``"1"`` for a pure number).
        higher_is_better: direction.
        metric_version: version of the code that made it.
        network: registry name of the network that it rests on, if any.
        protocol: the named choices (crop, quantisation, reference set, posterior, ...).
        note: words for the reader.
    """

    metric: str
    value: float | None
    n: int
    unit: str
    higher_is_better: bool
    metric_version: str
    variant: str = ""
    network: str | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


def provenance(**extra: Any) -> dict[str, Any]:
    """Package, commit and library versions, and what the caller adds (seed, weights' sha256)."""
    return {
        "seesaw": seesaw.__version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "libraries": _library_versions(),
        **extra,
    }


@cache
def git_commit() -> str | None:
    """Commit of the sources that run, ``+`` behind it if they were edited; None outside git."""
    folder = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return commit + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _library_versions() -> dict[str, str]:
    _, opencv = ONE_OF["OpenCV"]
    names = ("numpy", "torch", "diffusers", *opencv, "safetensors", "scipy", "snakemake")
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_scores(
    path: str | Path, *, autoencoder: str, scores: Sequence[Score], provenance: Mapping[str, Any]
) -> None:
    """Write the scores of one job as JSON.

    The options that the registry gives a score's network (how Inception resizes, ...) become part
    of its protocol, as ``network.resize``: ``crop`` is how images became squares, ``network.crop``
    what the network sees of them.
    """
    write_json(
        path,
        {
            "autoencoder": autoencoder,
            "scores": [
                {**asdict(score), "protocol": {**score.protocol, **_options(score.network)}}
                for score in scores
            ],
            "provenance": dict(provenance),
        },
    )


def _options(network: str | None) -> dict[str, Any]:
    if network is None or network not in NETWORKS:
        return {}
    return {f"network.{key}": value for key, value in NETWORKS[network].options.items()}


def read_scores(path: str | Path) -> tuple[str, list[Score], dict[str, Any]]:
    """Read (autoencoder, scores, provenance) of one job."""
    content = read_json(path)
    scores = [Score(**score) for score in content["scores"]]
    return content["autoencoder"], scores, content["provenance"]
