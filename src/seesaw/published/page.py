"""``published/index.html``: all figures from the papers' numbers, and links to the tables."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from seesaw.files import write_text
from seesaw.report.cells import item_title
from seesaw.report.facts import flat
from seesaw.report.page import figure_groups, item_name, relative, template

TITLE = "The published numbers"


def write_page(
    *,
    output: Path,
    figures: Sequence[str | Path],
    captions: Sequence[str | Path],
    tables: Sequence[str | Path],
    provenance: Mapping[str, Any],
) -> None:
    """Write the page; it shows the figures and links to all other files.

    Args:
        output: the HTML file to make.
        figures: PNG files, in the order of the page.
        captions: a text file per figure, of the same name.
        tables: files of tables; those of one name are one table.
        provenance: versions, commit, seed.

    Raises:
        ValueError: a figure has no caption, or a caption no figure.
    """
    folder = output.parent
    texts = {item_name(path): Path(path).read_text().strip() for path in captions}
    pictures = {item_name(path): path for path in figures}
    if set(texts) != set(pictures):
        odd = ", ".join(sorted(set(texts) ^ set(pictures)))
        raise ValueError(f"every figure needs its caption and the other way round; alone are {odd}")
    html = {name: f"<p>{escape(text)}</p>" for name, text in texts.items()}
    links: dict[str, dict[str, str]] = {}
    for path in tables:
        kind = Path(path).suffix[1:].upper()
        links.setdefault(item_name(path), {})[kind] = relative(path, folder)
    page = template("published.html").render(
        title=TITLE,
        figures=figure_groups(pictures, html, folder),
        tables=[{"title": item_title(name), "links": found} for name, found in links.items()],
        provenance=flat(provenance),
    )
    write_text(output, page)
