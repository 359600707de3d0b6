"""Reference pages made from the schema and the registries: ``python -m seesaw.docs``.

Writes ``config.md``, ``registry.md``, ``autoencoders.md`` and ``metrics.md`` in ``docs``; a test
fails while they differ from it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seesaw.autoencoder_page import autoencoders_page
from seesaw.catalogue import read_registry
from seesaw.config import load_yaml
from seesaw.metric_page import metrics_page
from seesaw.protocols import AXES, PROTOCOLS
from seesaw.registry import (
    BACKBONES,
    CROPS,
    FAMILIES,
    INTERPOLATIONS,
    LOSSES,
    METRICS,
    NETWORKS,
    OBJECTIVES,
    ROLES,
    SOURCES,
)

SCHEMA = Path("workflow/schemas/config.schema.yaml")
NOTE = "<!-- made by python -m seesaw.docs; change the source, not this page -->\n"


def config_page(schema: Mapping[str, Any]) -> str:
    """Every key of a config, with its type and what it is for."""
    rows = [
        "# Keys of a config",
        "",
        NOTE,
        str(schema["description"]),
        "",
        "| key | type | required | what |",
        "|---|---|---|---|",
    ]
    rows += [
        f"| `{path}` | {kind} | {'yes' if required else ''} | {words} |"
        for path, kind, required, words in _keys(schema, schema, "")
    ]
    return "\n".join(rows) + "\n"


def registry_page() -> str:
    """Every name that a config can choose, with its version and the code behind it."""
    rows = ["# Names that a config can choose", "", NOTE]
    rows += ["## Metrics", "", "| name | role | unit | better | version | formula | code |"]
    rows += ["|---|---|---|---|---|---|---|"]
    for name, metric in METRICS.entries.items():
        better = "higher" if metric.higher_is_better else "lower"
        formula = metric.formula.replace("|", "\\|")
        rows.append(
            f"| `{name}` | {metric.role or ''} | {metric.unit} | {better} | {metric.version} | "
            f"{formula} | `{metric.target}` |"
        )
    rows += ["", "## Diffusability losses", ""]
    rows += ["| name | networks | unit | better | version | formula | code |"]
    rows += ["|---|---|---|---|---|---|---|"]
    for name, loss in LOSSES.entries.items():
        networks = ", ".join([*loss.needs, *(f"{role} (if there)" for role in loss.uses)])
        better = "higher" if loss.higher_is_better else "lower"
        formula = loss.formula.replace("|", "\\|")
        rows.append(
            f"| `{name}` | {networks} | {loss.unit} | {better} | {loss.version} | {formula} | "
            f"`{loss.target}` |"
        )
    rows += ["", "## Networks", "", "Sources and traps: [metrics.md](metrics.md).", ""]
    rows += [
        "| name | can play | weights | licence | version | code |",
        "|---|---|---|---|---|---|",
    ]
    weights = {None: "none", "trained": "trained here", "file": "a file that the config names"}
    for name, network in NETWORKS.entries.items():
        roles = ", ".join(role for role, kinds in ROLES.items() if network.kind in kinds)
        rows.append(
            f"| `{name}` | {roles} | {weights[network.weights]} | "
            f"{network.licence or 'not stated'} | {network.version} | `{network.target}` |"
        )
    rows += _protocols()
    for registry in (FAMILIES, OBJECTIVES, BACKBONES, SOURCES, CROPS, INTERPOLATIONS):
        title = registry.what[0].upper() + registry.what[1:]
        rows += ["", f"## {title}", "", "| name | version | code |", "|---|---|---|"]
        rows += [f"| `{n}` | {e.version} | `{e.target}` |" for n, e in registry.entries.items()]
    return "\n".join(rows) + "\n"


def _protocols() -> list[str]:
    """The presets of protocols, and what the values of their axes are."""
    rows = ["", "## Protocols", "", "`reference` is the evaluation split in each of them.", ""]
    rows += [f"| name | {' | '.join(AXES)} | source | notes |"]
    rows += ["|" + "---|" * (len(AXES) + 3)]
    for name, preset in PROTOCOLS.items():
        values = " | ".join(f"`{getattr(preset.protocol, axis)}`" for axis in AXES)
        rows.append(f"| `{name}` | {values} | {preset.source} | {'; '.join(preset.notes)} |")
    rows += ["", "| axis | value | what it is, and who uses it |", "|---|---|---|"]
    rows += [
        f"| {axis} | `{value}` | {words} |"
        for axis, values in AXES.items()
        for value, words in values.items()
    ]
    return rows


def _keys(
    node: Mapping[str, Any], schema: Mapping[str, Any], path: str
) -> Iterator[tuple[str, str, bool, str]]:
    required = node.get("required", [])
    for key, value in node.get("properties", {}).items():
        name = f"{path}.{key}" if path else key
        yield name, _type(value), key in required, value.get("description", "")
        yield from _keys(_target(value, schema), schema, name)
        if isinstance(value.get("items"), Mapping):
            yield from _keys(_target(value["items"], schema), schema, f"{name}[]")
        if isinstance(value.get("additionalProperties"), Mapping):
            yield from _keys(value["additionalProperties"], schema, f"{name}.NAME")


def _target(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = node.get("$ref", "").removeprefix("#/$defs/")
    return schema["$defs"][reference] if reference else node


def _type(node: Mapping[str, Any]) -> str:
    if "enum" in node:
        return " or ".join(map(str, node["enum"]))
    if "anyOf" in node:
        return " or ".join(_type(choice) for choice in node["anyOf"])
    if "const" in node:
        return str(node["const"])
    kind = node.get("type", "object")
    return kind if isinstance(kind, str) else " or ".join(kind)


def pages() -> dict[Path, str]:
    """Path in the repository -> text of every generated page."""
    return {
        Path("docs/config.md"): config_page(load_yaml(SCHEMA)),
        Path("docs/registry.md"): registry_page(),
        Path("docs/autoencoders.md"): autoencoders_page(read_registry(), NOTE),
        Path("docs/metrics.md"): metrics_page(NOTE),
    }


if __name__ == "__main__":
    for page, text in pages().items():
        page.write_text(text)
