"""Files of figures that do not change, and labels that do not overlap."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from invconv.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METADATA: dict[str, dict[str, None]] = {
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""Format → what matplotlib is to leave out of it."""


def save(figure: "Figure", path: Path) -> None:
    """Writes a figure as SVG, PNG or PDF, as the suffix says, atomically.

    The same figure gives the same bytes: no date, no version, and names from a fixed salt.
    """
    if path.suffix not in METADATA:
        other = repr(path.suffix or path.name)
        raise ValueError(f"a figure is written as {', '.join(METADATA)}, not {other}")
    import matplotlib  # not at the top: every job of a sweep would load it

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "invconv"}):
        figure.savefig(buffer, format=path.suffix[1:], dpi=150, metadata=METADATA[path.suffix])
    write_atomically(buffer.getvalue(), path)


def label_ends(panel: "Axes", size: float = 8) -> None:
    """Writes each line's label at its right end, moved apart where two would overlap.

    To be called last: the limits of the y axis stay as they are then.
    """
    panel.set_ylim(panel.get_ylim())
    height = panel.get_window_extent().height / panel.figure.dpi * 72
    ends = []
    for line in panel.get_lines():
        y = np.asarray(line.get_ydata(), dtype=float)
        if not str(line.get_label()).startswith("_") and np.isfinite(y).any():
            at = panel.transData.transform((0, y[np.isfinite(y)][-1]))
            ends.append((float(panel.transAxes.inverted().transform(at)[1]), line))
    ends.sort(key=lambda end: end[0])
    steps = 1.35 * size / height * np.arange(len(ends))
    places = np.maximum.accumulate(np.array([place for place, _ in ends]) - steps) + steps
    places = np.minimum(places, 1 - steps[::-1])
    for place, (_, line) in zip(places, ends, strict=True):
        end = panel.annotate(str(line.get_label()), (1.02, place), xycoords="axes fraction")
        end.set(color=line.get_color(), fontsize=size, va="center")
