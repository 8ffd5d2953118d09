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
from invconv.report.document import save
from invconv.rows import RowsError, Values, read_row
from invconv.style import plain

LOG = "log.csv"
LINE = {"markersize": 4, "linewidth": 1.2}
SETTLED = 0.05
"""The part of a run whose first losses may lie above the panel."""


@dataclass(frozen=True)
class Curve:
    """The log of one cell: step, train_bpd and valid_bpd, NaN where nothing was measured."""

    method: str
    dataset: str
    log: pd.DataFrame


@plain()
def loss_curves(folders: Sequence[Path], path: Path) -> Path:
    """Draws the loss of every cell, a panel per data set, a color per method.

    Thin: training, the mean since the log's line before. With markers: validation. Cells of one
    method with several seeds share its color; those without a log are counted below. ``path``,
    which is returned, ends with .svg or .png.
    """
    curves = [curve for folder in folders if (curve := read_curve(folder)) is not None]
    datasets = list(dict.fromkeys(curve.dataset for curve in curves)) or [""]
    figure = Figure(figsize=(1.8 + 4.6 * len(datasets), 3.8), layout="constrained")
    panels = figure.subplots(1, len(datasets), squeeze=False)[0]
    for panel, dataset in zip(panels, datasets, strict=True):
        _draw(panel, dataset, [curve for curve in curves if curve.dataset == dataset])
    found = {curve.method for curve in curves}
    names = dict.fromkeys([name for name in methods() if name in found] + sorted(found))
    looks = [(one.title, {**one.look, **LINE}) for one in map(method, names)]
    looks.append(("training", {"color": COLOR, "alpha": 0.5, "linewidth": 0.7}))
    handles = [Line2D([], [], label=label, **look) for label, look in looks]
    figure.legend(handles=handles, loc="outside right upper", fontsize=8, frameon=False)
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
    labels: Values = {}
    with suppress(RowsError):
        row = read_row(folder / "row.json")
        labels = row.labels if row else {}
    parts = folder.name.split("-")
    method, dataset = (
        str(labels.get(label) or next((part for part in parts if part in known), folder.name))
        for label, known in (("method", methods()), ("dataset", DATASETS))
    )
    return Curve(method, dataset, log.sort_values("step", kind="stable"))


def _draw(panel: Axes, dataset: str, curves: list[Curve]) -> None:
    shown = []
    for curve in curves:
        one, log = method(curve.method), curve.log.set_index("step")
        train, valid = log["train_bpd"].dropna(), log["valid_bpd"].dropna()
        panel.plot(train.index, train, color=one.color, alpha=0.35, linewidth=0.7)
        panel.plot(valid.index, valid, **{**one.look, **LINE})
        both = pd.concat([train, valid])
        shown += [both.min(), both[both.index >= SETTLED * both.index.max()].max()]
    if curves:
        space = 0.04 * (max(shown) - min(shown))
        panel.set_ylim(min(shown) - space, max(shown) + space)
    panel.set(title=dataset, xlabel="optimizer step", ylabel="bits per dimension")
    panel.grid(alpha=0.3)
