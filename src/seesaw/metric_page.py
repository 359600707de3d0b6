"""The page ``docs/metrics.md``: what every number of a run is, whose definition, and its traps.

Made from the registries of metrics, diffusability losses and networks, and from the readings of the
stages.
"""

from collections.abc import Mapping

from seesaw.protocols import AXES, PROTOCOLS
from seesaw.readings import READINGS, SAMPLES, Described, ReadingEntry
from seesaw.registry import LOSSES, METRICS, NETWORKS, ROLES, LossEntry, MetricEntry, NetworkEntry

INTRODUCTION = """\
What each number is, what moves it, whose definition it follows, and what has misled people who
compared such numbers. No number stands alone: a table's header names the unit and the network, the
columns `protocol`, `n` and `metric_version` of `tables/scores.csv` say the rest. A network of the
mini world is named as such (`rFID (mini-inception)`); its numbers are not those of the official
network. [config.md](config.md) has the keys, [registry.md](registry.md) the code behind each name.

## What moves a number

| choice | moves |
|---|---|
| crop | every number: other images are encoded |
| posterior (its mean, or a sample of it) | every number of reconstructions and latents |
| quantisation of reconstructions | PSNR, SSIM in the last digits, rFID and edges more |
| network, with its resize and crop | what it stands behind; its name is in the header, \
what it does otherwise in `protocol`, as `network.resize` |
| reference set | Fréchet and kernel distances, precision, recall, iFID |
| number of images | Fréchet distances (biased), Inception Score, precision, recall |
| variant of the formula | see *beside it* below; the plain name is always the first |

"""

PROTOCOL_WORDS = """\
## Named protocols

rFID, PSNR, SSIM and LPIPS can be taken by the choices of several authors, from the same autoencoder
(block `protocols` of a config; tables `protocols` and `protocol_sweep`). The column `variant` of
`tables/scores.csv` then has the protocol's name. LPIPS with `alex` or `vgg` is of the network of
the config that is one, in the role `lpips` or `lpips-vgg`; where none is, it is not measured.
"""

RECONSTRUCTIONS = ("crop", "posterior", "quantisation")
MOVED_BY_ROLE: Mapping[str, tuple[str, ...]] = {
    "inception": ("the network's resize to 299 pixels", "number of images"),
    "dino-large": ("the network's crop", "number of images"),
    "canny": ("size and colour channels of the images", "thresholds"),
    "depth": ("the size at which the network sees the image",),
    "segmentation": (
        "order of the colour channels",
        "the size at which the network sees the image",
    ),
    "face": ("size and threshold of the detector", "which face of several"),
    "clip": ("the network's crop",),
    "dino": ("the network's crop",),
    "lpips": ("which network",),
    "lpips-vgg": ("which network",),
}
"""Role -> what of its network's protocol moves a metric."""

MOVED_BY_STAGE: Mapping[str, tuple[str, ...]] = {
    "metrics": RECONSTRUCTIONS,
    "ifid": (*RECONSTRUCTIONS, "interpolation, alpha, K", "images searched for neighbours"),
    "gfid": ("training of the diffusion model", "sampler, steps, guidance"),
    "gfid-times": ("crop", "training of the diffusion model"),
    "probes": ("crop", "posterior", "widths and training of the probe"),
    "control": ("crop", "backbone", "training of the branch", "sampler and steps"),
}
DISTRIBUTIONS = ("inception", "dino-large")
"""Roles whose metrics compare sets of images instead of pairs."""

LOSS_MOVED_BY = ("crop", "posterior", "training images that are fitted")


def metrics_page(note: str) -> str:
    """The page, from the registries.

    Args:
        note: a comment for those who want to edit the page.
    """
    rows = ["# Metrics", "", note, INTRODUCTION + PROTOCOL_WORDS, *_protocols()]
    rows += ["", "## All of them", ""]
    rows += ["| label | name | of | unit | better | network |", "|---|---|---|---|---|---|"]
    everything = {**METRICS.entries, **LOSSES.entries, **READINGS}
    rows += [_row(name, entry) for name, entry in everything.items()]
    parts: tuple[tuple[str, Mapping[str, Described]], ...] = (
        ("Metrics that a config lists", METRICS.entries),
        ("Diffusability losses", LOSSES.entries),
        ("Numbers of the other stages", READINGS),
    )
    for title, entries in parts:
        rows += ["", f"## {title}"]
        for name, entry in entries.items():
            rows += ["", f"### {entry.label} (`{name}`)", "", *_details(entry)]
    rows += ["", "## Networks", "", "Code, weights, and what to beware of."]
    for name, network in NETWORKS.entries.items():
        rows += ["", f"### {network.label} (`{name}`)", "", *_network(network)]
    return "\n".join(rows) + "\n"


def _protocols() -> list[str]:
    rows = ["| axis | value | what, and who uses it |", "|---|---|---|"]
    for axis, values in AXES.items():
        rows += [f"| {axis} | `{value}` | {words} |" for value, words in values.items()]
    rows += ["", "| preset | " + " | ".join(AXES) + " |", "|---|" + "---|" * len(AXES)]
    for name, preset in PROTOCOLS.items():
        cells = " | ".join(str(getattr(preset.protocol, axis)) for axis in AXES)
        rows.append(f"| `{name}` | {cells} |")
    rows.append("")
    for name, preset in PROTOCOLS.items():
        rows.append(f"- `{name}`: {'; '.join([preset.source, *preset.notes])}")
    return rows


def moved_by(entry: Described) -> tuple[str, ...]:
    """What moves a number, beside its own formula."""
    role = getattr(entry, "role", None)
    if isinstance(entry, MetricEntry):
        first = RECONSTRUCTIONS
    elif isinstance(entry, LossEntry):
        first = LOSS_MOVED_BY if entry.fits else LOSS_MOVED_BY[:2]
    else:
        first = MOVED_BY_STAGE[entry.stage]
    if role in DISTRIBUTIONS and isinstance(entry, MetricEntry) or entry.beside == SAMPLES:
        first = (*first, "reference set")
    return (*first, *(MOVED_BY_ROLE.get(role, ("which network",)) if role else ()))


def players(role: str) -> list[str]:
    """Names of the networks that can play a role."""
    return [name for name in NETWORKS if NETWORKS[name].kind in ROLES[role]]


def _row(name: str, entry: Described) -> str:
    of = {MetricEntry: "reconstructions", LossEntry: "latents and decoder"}.get(type(entry))
    if of is None and isinstance(entry, ReadingEntry):
        of = f"stage `{entry.stage}`"
    unit = "" if entry.unit == "1" else entry.unit
    better = "higher" if entry.higher_is_better else "lower"
    roles = ", ".join(_roles(entry))
    return f"| {entry.label} | `{name}` | {of} | {unit} | {better} | {roles} |"


def _roles(entry: Described) -> tuple[str, ...]:
    if isinstance(entry, LossEntry):
        return (*entry.needs, *entry.uses)
    return (entry.role,) if entry.role else ()


def _details(entry: Described) -> list[str]:
    unit = "a pure number" if entry.unit == "1" else f"unit {entry.unit}"
    better = "higher" if entry.higher_is_better else "lower"
    lines = [f"`{entry.formula}` ({unit}, {better} is better)", ""]
    lines += [f"- reads: {_reads(entry)}", f"- moved by: {'; '.join(moved_by(entry))}"]
    if entry.beside:
        words = "; ".join(f"`{variant}`: {what}" for variant, what in entry.beside.items())
        lines.append(f"- beside it: {words}")
    lines.append(f"- source: {entry.source}")
    lines += [f"- licence of `{name}`: {words}" for name, words in _licences(entry).items()]
    return [*lines, *(f"- beware: {trap}" for trap in entry.traps)]


def _reads(entry: Described) -> str:
    if isinstance(entry, LossEntry):
        read = "images, their latents and the decoder"
        read += ", and training images that it is fitted to" if entry.fits else ""
        roles = [f"`{role}`" for role in entry.needs]
        roles += [f"`{role}` if somebody plays it" for role in entry.uses]
        return read + (f"; networks: {', '.join(roles)}" if roles else "")
    if isinstance(entry, ReadingEntry):
        read = f"what the stage `{entry.stage}` makes"
    elif entry.reads == "images":
        read = "reference images and reconstructions"
    else:
        read = "what a network extracts from reference images and reconstructions"
    if entry.role is None:
        return read
    names = ", ".join(f"`{name}`" for name in players(entry.role))
    return f"{read}; role `{entry.role}`, which can be played by {names}"


def _licences(entry: Described) -> dict[str, str]:
    """Licences of the published networks that can play the roles of a metric."""
    names = dict.fromkeys(name for role in _roles(entry) for name in players(role))
    names = [name for name in names if NETWORKS[name].weights == "file" and _fits(name, entry)]
    return {name: NETWORKS[name].licence or "not stated" for name in names}


def _fits(name: str, entry: Described) -> bool:
    """Whether a network of features is made for the role: roles of one kind share their players.

    A network that has the role's name in its own, or whose name has none of the other roles' words.
    """
    words = {"inception": "inception", "clip": "clip", "dino": "dino", "dino-large": "dino"}
    meant = [words[role] for role in _roles(entry) if role in words]
    return not meant or any(word in name for word in meant)


def _network(network: NetworkEntry) -> list[str]:
    weights = {None: "no weights", "trained": "trained in the run", "file": "a weights file"}
    lines = [f"- what: {network.kind}, {weights[network.weights]}"]
    lines += [f"- source: {network.source or 'not stated'}"]
    lines += [f"- licence: {network.licence or 'not stated'}"]
    if network.options:
        options = ", ".join(f"{key} {value}" for key, value in network.options.items())
        lines.append(f"- options: {options}")
    return [*lines, *(f"- beware: {trap}" for trap in network.traps)]
