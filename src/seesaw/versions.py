"""Versions that rules carry as parameters, so that a bump reruns exactly its dependants.

Snakemake does not see edits of an installed package. Everything that costs compute carries a
version, bumped by hand when its numbers can change; ``tests/reference/versions.json`` holds a hash
of the code that each version reaches, and a test fails while code and version disagree. What is
cheap (tables, figures, the report) carries the hash itself.

    python -m seesaw.versions           print the record
    python -m seesaw.versions --write   record the present code under the present versions
"""

import ast
import hashlib
import importlib.util
import sys
from functools import cache
from pathlib import Path

from seesaw.registry import (
    BACKBONES,
    CROPS,
    FAMILIES,
    INTERPOLATIONS,
    LOSSES,
    METRICS,
    NETWORKS,
    OBJECTIVES,
    SOURCES,
    STAGES,
    unknown,
)

PACKAGE = "seesaw"
REGISTRY = "seesaw.registry"
STAGE_MODULES = {
    "assets": "seesaw.assets.fetching",
    "data": "seesaw.data.pack",
    "autoencoders": "seesaw.autoencoders.train",
    "reconstruct": "seesaw.reconstruct",
    "conditions": "seesaw.conditions",
    "metrics": "seesaw.metrics.score",
    "protocols": "seesaw.protocols.score",
    "neighbours": "seesaw.neighbours.search",
    "ifid": "seesaw.ifid",
    "diffusion": "seesaw.diffusion.job",
    "samples": "seesaw.diffusion.sample",
    "gfid": "seesaw.gfid",
    "gfid-times": "seesaw.gfid_times",
    "probes": "seesaw.probes.job",
    "diffusability": "seesaw.diffusability.score",
    "control": "seesaw.control.job",
    "control-samples": "seesaw.control.sample",
}
RECORD = Path("tests/reference/versions.json")


def stage_version(stage: str) -> str:
    """Version of a stage's own code."""
    if stage not in STAGES:
        raise unknown("stage", stage, STAGES)
    return STAGES[stage]


def family_version(family: str) -> str:
    """Version of a registered family; of a person's ``"module:Class"``, a hash of its file.

    Raises:
        ValueError: the module cannot be found.
    """
    if ":" not in family:
        return FAMILIES[family].version
    module = family.partition(":")[0]
    path = _source(module)
    if path is None:
        raise ValueError(
            f"autoencoder family {family!r}: module {module!r} cannot be found; put its folder on "
            "PYTHONPATH, or install it in this environment"
        )
    return code_hash(module, package=module.partition(".")[0])


@cache
def code_hash(module: str, package: str = PACKAGE, without: str | None = None) -> str:
    """Hash of the code that ``module`` reaches inside ``package`` by import statements.

    Comments and blank lines do not count. Imports by name at run time are not seen, nor is what
    only the module ``without`` imports.
    """
    digest = hashlib.sha256()
    for name, path in sorted(_closure(module, package, without).items()):
        tree = ast.dump(ast.parse(path.read_bytes()))
        digest.update(f"{name}\0{hashlib.sha256(tree.encode()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


def record() -> dict[str, list[str]]:
    """Every versioned entry -> [version, hash of the code it reaches].

    The registry itself is left out: names and versions, not code that computes.
    """
    rows: dict[str, list[str]] = {}
    for stage, module in STAGE_MODULES.items():
        rows[f"stage {stage}"] = [STAGES[stage], code_hash(module, without=REGISTRY)]
    registries = (
        METRICS,
        LOSSES,
        NETWORKS,
        FAMILIES,
        OBJECTIVES,
        BACKBONES,
        SOURCES,
        CROPS,
        INTERPOLATIONS,
    )
    for registry in registries:
        for name, entry in registry.entries.items():
            module = entry.target.partition(":")[0]
            rows[f"{registry.what} {name}"] = [entry.version, code_hash(module, without=REGISTRY)]
    return rows


def _closure(module: str, package: str, without: str | None) -> dict[str, Path]:
    found: dict[str, Path] = {}
    todo = [module, *_parents(module)]
    while todo:
        name = todo.pop()
        path = _source(name)
        if name in found or name == without or path is None:
            continue
        found[name] = path
        todo += _imports(path, name, package)
    return found


@cache
def _source(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@cache
def _imports(path: Path, module: str, package: str) -> tuple[str, ...]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, path.name == "__init__.py")
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    names |= {parent for name in names for parent in _parents(name)}
    return tuple(n for n in sorted(names) if n == package or n.startswith(f"{package}."))


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".") if is_package else module.split(".")[:-1]
    parts = parts[: len(parts) - (node.level - 1)]
    return ".".join([*parts, node.module] if node.module else parts)


def _parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


if __name__ == "__main__":
    from seesaw.files import write_json

    if "--write" in sys.argv[1:]:
        write_json(RECORD, record())
    else:
        for key, (version, sha) in record().items():
            sys.stdout.write(f"{key}\t{version}\t{sha}\n")
