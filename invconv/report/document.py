"""A page as one value: a template in Markdown and what it shows."""

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd

from invconv.files import write_atomically, write_text_atomically
from invconv.report.entries import Grid
from invconv.style import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = Path(__file__).parent / "templates"  # macros, what several pages say
METADATA: dict[str, dict[str, None]] = {
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Format → what matplotlib is to leave out of it."""
MAP = ["table", "line", "column", "text", "cell", "machine", "commit", "field", "published"]
"""Columns of a page's map: tables and lines are counted from 1."""
FORMATS = (".svg", ".png")


@dataclass(frozen=True)
class Document:
    """A page of results, ``results/<name>.md``.

    ``template``, in Jinja, is beside the module that fills it; what it shows are the texts,
    numbers and grids in ``context``, and as ``figures/<name>.svg`` what draws ``pictures``.
    """

    name: str
    template: Path
    context: Mapping[str, object]
    pictures: Mapping[str, "Callable[[], Figure]"] = field(default_factory=dict)

    def markdown(self) -> str:
        """The whole page."""
        return tidy(self._template().render(self.context))

    def block(self, name: str) -> str:
        """One named block of the template."""
        template = self._template()
        parts = template.blocks[name](template.new_context(dict(self.context)))
        return tidy("".join(parts)).strip()

    def grids(self) -> list[Grid]:
        """The tables of the page, in the order in which the context holds them."""
        return list(_grids(self.context))

    def map(self) -> pd.DataFrame:
        """Where each number of each table comes from: one line per number and source."""
        found = [
            {"table": number, "line": line, "column": column, "text": entry.text, **vars(source)}
            for number, grid in enumerate(self.grids(), 1)
            for line, row in enumerate(grid.frame.to_dict("records"), 1)
            for column, entry in row.items()
            for source in entry.sources
        ]
        return pd.DataFrame(found, columns=MAP)

    def latex(self) -> list[str]:
        """Each table of the page in LaTeX."""
        return [grid.latex() for grid in self.grids()]

    def write(self, results: Path, formats: Sequence[str] = FORMATS) -> Path:
        """Write the page and its pictures below ``results``, and return the page's path."""
        path, text = results / f"{self.name}.md", self.markdown()
        for name, draw in self.pictures.items():
            with plain():
                figure = draw()
                for suffix in formats:
                    save(figure, results / "figures" / f"{name}{suffix}")
        write_text_atomically(text, path)
        return path

    def _template(self) -> jinja2.Template:
        places = jinja2.FileSystemLoader([self.template.parent, PARTS])
        environment = jinja2.Environment(
            loader=places, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        return environment.get_template(self.template.name)


def _grids(value: object) -> Iterator[Grid]:
    if isinstance(value, Grid):
        yield value
    elif isinstance(value, Mapping):
        yield from _grids([*value.values()])
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _grids(inner)


APART = re.compile(r"[|#!<>]|- |    |```|\d+\. ")
"""How a line begins that is not the continuation of the one before."""


def tidy(text: str) -> str:
    """Markdown with every paragraph and list item in one line, and one empty line between."""
    found = [""]
    for line in text.splitlines():
        closed = not found[-1] or found[-1].startswith(("|", "#", "    "))
        if line.strip() and not closed and not APART.match(line):
            found[-1] += f" {line.strip()}"
        elif line.strip() or found[-1]:
            found.append(line.rstrip())
    return "\n".join(found).strip() + "\n"


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as SVG, PNG or PDF, as the suffix says, atomically.

    The same figure gives the same bytes: no date, no version, and names from a fixed salt.
    """
    if path.suffix not in METADATA:
        other = repr(path.suffix or path.name)
        raise ValueError(f"a figure is written as {', '.join(METADATA)}, not {other}")
    buffer = io.BytesIO()
    with plain():
        figure.savefig(buffer, format=path.suffix[1:], dpi=150, metadata=METADATA[path.suffix])
    write_atomically(buffer.getvalue(), path)
