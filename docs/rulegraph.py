"""Draw the rule graph of the mini world: ``python docs/rulegraph.py`` -> rulegraph.png, .svg."""

import re
import subprocess
import sys
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

HERE = Path(__file__).parent
ROOT = HERE.parent
# rules that stand side by side and differ in name only share a box
MERGED = {
    "table2, table5,\nifid_table4, ifid_table5,\ncorrelations, ...": (
        "table1", "table2", "table3", "table4", "table5", "generation", "ifid_table1",
        "ifid_table2", "ifid_table3", "ifid_table4", "ifid_table5", "correlations",
        "diffusability_losses", "protocols", "protocol_sweep", "scores",
    ),
    "figure1 ... figure9,\nifid_figure1, gfid_t": (
        "figure1", "figure2", "figure3", "figure5", "figure6", "figure7", "figure8", "figure9",
        "ifid_figure1", "gfid_t"
    ),
}  # fmt: skip
BOX = {rule: name for name, rules in MERGED.items() for rule in rules}
# extract_conditions reads images, which are trained on, and samples, which come of the training: as
# one box it would close a circle
EXTRACT, OF_SAMPLES = "extract_conditions", "extract_conditions\nof samples"
SAMPLERS, THEIR_USERS = (
    ("sample_images", "sample_control"),
    ("score_gfid", "score_control", "figure4"),
)
WIDTH, HEIGHT = 2.3, 0.62


def edges() -> set[tuple[str, str]]:
    """(earlier rule, later rule), as Snakemake plans the mini world, without shortcuts."""
    command = [sys.executable, "-m", "snakemake", "--rulegraph", "dot", "--forceall"]
    dot = subprocess.run(
        [*command, "--configfile", "config/mini.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = dict(re.findall(r'(\d+)\[label = "(\w+)', dot))
    pairs = {(names[a], names[b]) for a, b in re.findall(r"(\d+) -> (\d+)", dot)}
    pairs = {(a, OF_SAMPLES if b == EXTRACT and a in SAMPLERS else b) for a, b in pairs}
    pairs |= {(OF_SAMPLES, b) for a, b in pairs if a == EXTRACT and b in THEIR_USERS}
    boxes = {(BOX.get(a, a), BOX.get(b, b)) for a, b in pairs if b != "all" and a != b}
    return {(a, b) for a, b in boxes if not detour(a, b, boxes)}


def detour(a: str, b: str, pairs: set[tuple[str, str]]) -> bool:
    """Whether b follows a by way of others, so that the direct arrow adds nothing."""
    reached, todo = set(), [middle for start, middle in pairs if start == a and middle != b]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += [after for before, after in pairs if before == name]
    return b in reached


def layers(pairs: set[tuple[str, str]]) -> dict[str, int]:
    """Longest way from a rule without inputs."""
    depth = {name: 0 for pair in pairs for name in pair}
    for _ in depth:
        for a, b in pairs:
            depth[b] = max(depth[b], depth[a] + 1)
    return depth


def places(pairs: set[tuple[str, str]]) -> dict[str, tuple[float, float]]:
    """Layered layout: rows by depth, columns by the mean column of what comes before."""
    depth = layers(pairs)
    place: dict[str, tuple[float, float]] = {}
    for row in range(max(depth.values()) + 1):
        members = sorted(name for name in depth if depth[name] == row)
        before = {
            name: [place[a][0] for a, b in pairs if b == name and a in place] for name in members
        }
        members.sort(key=lambda name: sum(before[name]) / max(len(before[name]), 1))
        for column, name in enumerate(members):
            place[name] = ((column - (len(members) - 1) / 2) * 2.9, -1.25 * row)
    return place


def draw() -> Figure:
    """The graph as a figure."""
    pairs = edges()
    place = places(pairs)
    across = [x for x, _ in place.values()]
    down = [y for _, y in place.values()]
    figure = Figure(figsize=(max(across) - min(across) + 3.2, max(down) - min(down) + 1.4), dpi=80)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(min(across) - 1.6, max(across) + 1.6)
    axes.set_ylim(min(down) - 0.7, max(down) + 0.7)
    for a, b in sorted(pairs):
        axes.annotate(
            "",
            xy=(place[b][0], place[b][1] + HEIGHT / 2),
            xytext=(place[a][0], place[a][1] - HEIGHT / 2),
            arrowprops={"arrowstyle": "-|>", "color": "#8a8f98", "lw": 0.9, "shrinkA": 0},
        )
    for name, (x, y) in place.items():
        axes.add_patch(
            FancyBboxPatch(
                (x - WIDTH / 2, y - HEIGHT / 2),
                WIDTH,
                HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.12",
                facecolor="#eef3fa",
                edgecolor="#3b6ea5",
                zorder=3,
            )
        )
        size = 8.5 if "\n" in name else 11
        axes.text(x, y, name, ha="center", va="center", fontsize=size, zorder=4)
    return figure


if __name__ == "__main__":
    picture = draw()
    picture.savefig(HERE / "rulegraph.png")
    picture.savefig(HERE / "rulegraph.svg")
