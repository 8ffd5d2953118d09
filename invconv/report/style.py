"""One look for every figure: a method's colour and marker, and files that do not change."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invconv.files import write_atomically
from invconv.report.names import LAYERS, METHODS

if TYPE_CHECKING:
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
    """Writes a figure as SVG or PNG, as the suffix says, atomically.

    The same figure gives the same bytes: no date, no version, and element names from a fixed
    salt.

    Raises:
        ValueError: for another suffix.
    """
    metadata = {".svg": {"Date": None, "Creator": None}, ".png": {"Software": None}}
    if path.suffix not in metadata:
        raise ValueError(f"a figure is written as .svg or .png, not {path.suffix or path.name!r}")
    import matplotlib  # not at the top: every job of a sweep would load it

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "invconv"}):
        figure.savefig(buffer, format=path.suffix[1:], dpi=150, metadata=metadata[path.suffix])
    write_atomically(buffer.getvalue(), path)
