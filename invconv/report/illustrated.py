"""Pages with a section and a picture for each block of rows, and what the pictures share."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from invconv.report import blocks as bl
from invconv.report.document import Document

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes


class Picture:
    """A figure of panels in lines and columns, each with a grid."""

    def __init__(
        self, lines: int, columns: int, size: tuple[float, float], sharey: bool = True
    ) -> None:
        from matplotlib.figure import Figure  # not at the top: every job of a sweep would load it

        self.figure = Figure(figsize=size, layout="constrained")
        self.panels = list(self.figure.subplots(lines, columns, sharey=sharey, squeeze=False).flat)
        for panel in self.panels:
            panel.grid(alpha=0.3)

    def legend(self, handles: "Sequence[Artist]", columns: int) -> None:
        """What the lines of all panels stand for, below them."""
        look = {"ncols": columns, "frameon": False, "fontsize": 9}
        self.figure.legend(handles=handles, loc="outside lower center", **look)


def plot_times(
    panel: "Axes", x: Sequence[float], rows: pd.DataFrame, name: str, scale: float, **look: object
) -> None:
    """Draw ``name_s`` of rows, times ``scale``, with its quartiles as a band; or nothing."""
    if len(rows) and f"{name}_s" in rows:
        times, low, high = (scale * rows[f"{name}{part}_s"] for part in ("", "_q25", "_q75"))
        panel.plot(x, times, markersize=4, linewidth=1.2)[0].set(**look)
        panel.fill_between(x, low, high, color=str(look["color"]), alpha=0.2, linewidth=0)


def illustrated(
    template: Path,
    blocks: Iterable[pd.DataFrame],
    detail: str,
    show: Callable[[pd.DataFrame], Mapping[str, object]],
    draw: Callable[[pd.DataFrame], Picture],
    **context: object,
) -> Document:
    """Return a page with a section and a picture for each block.

    The template is named after the table. ``detail`` is the end of a picture's name, such as
    ``scaling-amd-epyc-2-cores-c12``, as a format of the block's first row, and ``show`` what the
    template shows of a block besides its picture, first row, origin, failures and lossy models.
    """
    stem = template.name.partition(".")[0]
    names: list[str] = []
    pictures, shown = {}, []
    for block in blocks:
        first = block.iloc[0]
        machine = re.sub(r"[\W_]+", "-", str(first["machine"]).lower()).strip("-")
        names.append(f"{stem}-{machine}-{detail.format_map(first)}")
        number = names.count(names[-1])
        name = f"{names[-1]}-{number}" if number > 1 else names[-1]
        pictures[name] = lambda block=block: draw(block).figure
        ends = {"failures": bl.failures(block), "lossy": bl.lossy(block)}
        part = {"picture": name, "first": first, "origin": bl.origin(block), **ends}
        shown.append({**part, **show(block)})
    return Document(stem, template, {"blocks": shown, **context}, pictures)


def label_ends(panel: "Axes", size: float = 8) -> None:
    """Write each line's label at its right end, moved apart where two would overlap.

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
