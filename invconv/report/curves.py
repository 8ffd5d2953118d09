"""Loss curves: bits per dimension against optimizer steps, for the cells of a sweep."""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from invconv.data import DATASETS
from invconv.methods import COLOR, method, methods
from invconv.report.style import save
from invconv.rows import RowsError, Values, read_row

LOG = "log.csv"
SETTLED = 0.05
"""The part of a run whose first losses may lie above the panel."""


@dataclass(frozen=True)
class Curve:
    """The log of one cell.

    Attributes:
        method, dataset: of the cell.
        log: the columns step, train_bpd and valid_bpd; NaN where nothing was measured.
    """

    method: str
    dataset: str
    log: pd.DataFrame


def loss_curves(folders: Sequence[Path], path: Path) -> Path:
    """Draws the loss of every cell, a panel per data set, a color per method.

    Thin: training, the mean since the log's line before. With markers: validation. Cells of one
    method with several seeds share its color.

    Args:
        folders: of the cells; each holds ``log.csv`` and, once it is done, ``row.json``. One
            without a log is counted below the figure.
        path: of the figure, .svg or .png.

    Returns:
        ``path``.
    """
    curves = [curve for folder in folders if (curve := read_curve(folder)) is not None]
    datasets = list(dict.fromkeys(curve.dataset for curve in curves)) or [""]
    figure = Figure(figsize=(1.8 + 4.6 * len(datasets), 3.8), layout="constrained")
    for panel, dataset in zip(
        figure.subplots(1, len(datasets), squeeze=False)[0], datasets, strict=True
    ):
        _draw(panel, dataset, [curve for curve in curves if curve.dataset == dataset])
    _legend(figure, {curve.method for curve in curves})
    if without := len(folders) - len(curves):
        figure.supxlabel(f"{without} of {len(folders)} cells have no log", fontsize=8)
    save(figure, path)
    return path


def read_curve(folder: Path) -> Curve | None:
    """The log in ``folder``; None if there is none, no number in it, or anything but numbers.

    Method and data set are those of its row; a cell without one that can be read has them in its
    name. Raises nothing: a figure of all cells must not fail for one of them.
    """
    try:
        log = pd.read_csv(folder / LOG, usecols=["step", "train_bpd", "valid_bpd"], dtype=float)
    except (OSError, ValueError):
        return None
    log = log.replace([math.inf, -math.inf], math.nan).dropna(subset=["step"])
    if log[["train_bpd", "valid_bpd"]].isna().all(axis=None):
        return None
    row, parts = None, folder.name.split("-")
    with suppress(RowsError):
        row = read_row(folder / "row.json")
    labels: Values = row.labels if row is not None else {}
    method, dataset = (
        str(labels.get(label) or next((part for part in parts if part in known), folder.name))
        for label, known in (("method", methods()), ("dataset", DATASETS))
    )
    return Curve(method, dataset, log.sort_values("step", kind="stable"))


def _draw(panel: Axes, dataset: str, curves: list[Curve]) -> None:
    highest, lowest = [], []
    for curve in curves:
        one = method(curve.method)
        train = curve.log.dropna(subset=["train_bpd"])
        valid = curve.log.dropna(subset=["valid_bpd"])
        panel.plot(train["step"], train["train_bpd"], color=one.color, alpha=0.35, linewidth=0.7)
        line = {"markersize": 4, "linewidth": 1.2, **one.look}
        panel.plot(valid["step"], valid["valid_bpd"], **line)
        both = pd.concat([train["train_bpd"], valid["valid_bpd"]])
        steps = pd.concat([train["step"], valid["step"]])
        highest.append(both[steps >= SETTLED * steps.max()].max())
        lowest.append(both.min())
    if curves:
        space = 0.04 * (max(highest) - min(lowest))
        panel.set_ylim(min(lowest) - space, max(highest) + space)
    panel.set(title=dataset, xlabel="optimiser step", ylabel="bits per dimension")
    panel.grid(alpha=0.3)


def _legend(figure: Figure, found: set[str]) -> None:
    names = [name for name in methods() if name in found]
    handles = [
        Line2D([], [], label=one.title, markersize=4, linewidth=1.2, **one.look)
        for one in map(method, [*names, *sorted(found - set(names))])
    ]
    handles.append(Line2D([], [], color=COLOR, alpha=0.5, linewidth=0.7, label="training"))
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, frameon=False)
