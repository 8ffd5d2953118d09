"""One look for every figure: a method's colour and marker, and files that do not change."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from invconv.files import write_atomically
from invconv.report.names import LAYERS, METHODS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {
    "glow": ("#000000", "o"),
    "finc": ("#CC6677", "s"),
    "emerging": ("#332288", "D"),
    "emerging_raster": ("#88CCEE", "d"),
    "cinc": ("#117733", "^"),
    "inverse_flow": ("#AA4499", "v"),
    "woodbury": ("#882255", "P"),
    "me_woodbury": ("#DDCC77", "X"),
    "periodic": ("#999933", "*"),
    "macow": ("#44AA99", "h"),
}
"""Colour and marker of each convolution: black and Paul Tol's "muted" scheme, which readers with
any colour vision can tell apart (https://personal.sron.nl/~pault/)."""

OTHER = ("#777777", ".")

METADATA: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Format → what matplotlib is to leave out of it."""

_formats: ContextVar[tuple[str, ...]] = ContextVar("formats", default=(".svg", ".png"))


@dataclass(frozen=True)
class Style:
    """How a method is drawn.

    Attributes:
        title: its name, as on every page.
        colour: of its convolution.
        marker: of its convolution, hollow inside its own paper's step.
        line: solid, dashed inside its own paper's step.
    """

    title: str
    colour: str
    marker: str
    line: str

    def options(self) -> dict[str, Any]:
        """Keyword arguments of matplotlib's ``plot``, without a label."""
        hollow = {"markerfacecolor": "white"} if self.line == "--" else {}
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line, **hollow}


def style(method: str) -> Style:
    """The style of a row's method; grey with dots for one that `METHODS` does not know.

    >>> from invconv.report.style import style
    >>> style("finc").colour == style("finc_paper").colour
    True
    """
    own_step = method not in LAYERS and method in METHODS
    colour, marker = LOOKS.get(method.removesuffix("_paper") if own_step else method, OTHER)
    return Style(METHODS.get(method, method), colour, marker, "--" if own_step else "-")


def save(figure: "Figure", path: Path) -> None:
    """Writes a figure as SVG, PNG or PDF, as the suffix says, atomically.

    The same figure gives the same bytes: no date, no version, and element names from a fixed
    salt.

    Raises:
        ValueError: for another suffix.
    """
    if path.suffix not in METADATA:
        raise ValueError(
            f"a figure is written as {', '.join(METADATA)}, not {path.suffix or path.name!r}"
        )
    import matplotlib  # not at the top: every job of a sweep would load it

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "invconv"}):
        figure.savefig(buffer, format=path.suffix[1:], dpi=150, metadata=METADATA[path.suffix])
    write_atomically(buffer.getvalue(), path)


@contextmanager
def formats(*suffixes: str) -> Iterator[None]:
    """The formats of the pages' figures inside; SVG and PNG otherwise."""
    token = _formats.set(suffixes)
    try:
        yield
    finally:
        _formats.reset(token)


def save_for_page(figure: "Figure", results: Path, name: str) -> None:
    """Writes ``results/figures/<name>`` in every format that is asked for."""
    for suffix in _formats.get():
        save(figure, results / "figures" / f"{name}{suffix}")


def label_ends(panel: "Axes", size: float = 8) -> None:
    """Writes each line's label at its right end, moved apart where two would overlap.

    To be called last: the limits of the y axis stay as they are then.
    """
    panel.set_ylim(panel.get_ylim())
    height = panel.get_window_extent().height / panel.figure.dpi * 72
    ends = []
    for line in panel.get_lines():
        y = np.asarray(line.get_ydata(), dtype=float)
        if str(line.get_label()).startswith("_") or not np.isfinite(y).any():
            continue
        at = panel.transData.transform((0, y[np.isfinite(y)][-1]))
        ends.append((float(panel.transAxes.inverted().transform(at)[1]), line))
    ends.sort(key=lambda end: end[0])
    gap = 1.35 * size / height
    places = np.array([place for place, _ in ends])
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], 1 - gap * (len(places) - 1 - i))
    for place, (_, line) in zip(places, ends, strict=True):
        panel.annotate(
            str(line.get_label()),
            (1.02, place),
            xycoords="axes fraction",
            color=line.get_color(),
            fontsize=size,
            va="center",
        )
