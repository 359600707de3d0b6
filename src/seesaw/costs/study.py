"""What an estimate knows, a job of a study, and what it says, a cost."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from seesaw.costs.assumptions import ASSUMPTIONS
from seesaw.registry import unknown


@dataclass(frozen=True)
class Cost:
    """Of one job. None: not estimated.

    Attributes:
        hours: on one GPU of the kind :data:`DEVICE`.
        kept: bytes that stay in the results folder, or, of weights, in theirs.
    """

    hours: float | None = None
    kept: float | None = None


@dataclass(frozen=True)
class Job:
    """One job of a plan."""

    rule: str
    wildcards: Mapping[str, str] = field(default_factory=dict)
    gpu: int = 0
    mem_mb: int = 0
    runtime: int = 0


@dataclass(frozen=True)
class Study:
    """What the estimate knows: the config with its pool resolved, and the jobs of the plan."""

    config: Mapping[str, Any]
    jobs: Sequence[Job] = ()

    def option(self, path: str, default: Any) -> Any:
        """A key of the config by its dotted path, or ``default``."""
        node: Any = self.config
        for key in path.split("."):
            if not isinstance(node, Mapping) or key not in node:
                return default
            node = node[key]
        return node

    def autoencoder(self, name: str) -> Mapping[str, Any]:
        """Entry of the pool."""
        pool = {entry["name"]: entry for entry in self.config["autoencoders"]}
        if name not in pool:
            raise unknown("autoencoder", name, pool)
        return pool[name]

    def images(self, split: str) -> int | None:
        """Images of a split: as packed, as the config says, or ImageNet's for train and val."""
        results = self.option("pathvars.results", "results")
        manifest = Path(results) / "data" / split / "manifest.json"
        if manifest.exists():
            return _packed(manifest)
        source = self.config["data"]["splits"][split]
        assumed = ASSUMPTIONS.get(f"folder-{source.get('split', split)}")
        count = source.get("count", source.get("limit", source.get("images")))
        return count if count is not None else (int(assumed.value) if assumed else None)

    @property
    def evaluation(self) -> int | None:
        """Images of the evaluation split."""
        return self.images(self.config["data"]["evaluation"])

    @property
    def image_bytes(self) -> int:
        """Bytes of one packed image, uint8 RGB."""
        return 3 * self.config["data"]["resolution"] ** 2


@cache
def _packed(manifest: Path) -> int:
    return int(json.loads(manifest.read_text())["n"])


def control_images(study: Study) -> int | None:
    """Images that are drawn under each condition."""
    images = study.option("control.images", "all")
    return study.evaluation if images == "all" or study.evaluation is None else images
