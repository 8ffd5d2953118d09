"""Sampling times relative to Glow's, by our inverses and by the papers' algorithms."""

import math
from typing import TYPE_CHECKING

import pandas as pd

from invconv.methods import method
from invconv.report import Picture
from invconv.report import blocks as bl
from invconv.report import entries as en

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REFERENCE = "glow"
OURS, PAPERS = "st_vs_glow", "st_published_vs_glow"
BLUE, VERMILION = "#0072B2", "#D55E00"
LOOKS = {OURS: (BLUE, BLUE), PAPERS: (VERMILION, "white")}
"""Ratio → color and filling, which color-blind readers and black-and-white prints tell apart."""
OUTLIER = 2
"""A ratio so many times the next one is told apart from all others."""


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose sampling time relative to Glow's is valid, the fastest first."""
    valid = [bool(bl.sampling_ratio(row, OURS).sources) for _, row in rows.iterrows()]
    found = rows[pd.Series(valid, index=rows.index, dtype=bool)]
    return found.sort_values(OURS, kind="stable") if len(found) else found


def split(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of `compared`, and apart the slowest one where it is an outlier."""
    ratios = list(rows[OURS]) if len(rows) else []
    apart = len(ratios) > 2 and ratios[-1] > OUTLIER * ratios[-2]
    return (rows[:-1], rows[-1:]) if apart else (rows, rows[:0])


def finding(rows: pd.DataFrame) -> str:
    """Say in one sentence how far the two algorithms are from Glow."""
    most, apart = split(rows)
    but = f"all but {bl.title(apart['method'].iloc[0])}" if len(apart) else "all methods"
    bound = math.ceil(10 * most[OURS].max()) / 10  # "at most" has to stay true
    said = f"With our inverses {but} sample in at most {bound:.1f} × Glow's time"
    papers = rows[PAPERS].dropna() if PAPERS in rows else rows[OURS][:0]
    if papers.empty:
        return said
    return f"{said};\nthe papers' algorithms take up to {papers.max():.0f} ×"


def draw(rows: pd.DataFrame, where: str) -> "Figure":
    """Draw a line for each method: filled by our inverse, hollow by its paper's algorithm.

    Args:
        rows: those of one block, as `compared` returns them.
        where: the data and the machine, for the axis.
    """
    picture = Picture(1, 1, (5.6, 0.29 * len(rows) + 1.55), sharey=False)
    panel, drawn = picture.panels[0], []
    panel.axvline(1, color="#000000", linewidth=0.8)
    for place, (_, row) in enumerate(rows.iterrows()):
        ends = [row[name] for name in (OURS, PAPERS) if pd.notna(row.get(name))]
        panel.plot([min(ends), max(ends)], [place, place], color="#cccccc", linewidth=2, zorder=1)
        for name in (PAPERS, OURS):
            if pd.notna(row.get(name)):
                dot(panel, row, name, place, *LOOKS[name])
        drawn.append(max(ends))
        end = max(row[f"{name}_high"] for name in (OURS, PAPERS) if pd.notna(row.get(name)))
        text = panel.annotate(
            en.number(max(ends)), (end, place), (7, 0), textcoords="offset points"
        )
        text.set(fontsize=8, color="#555555", va="center")
    _label(panel, rows)
    panel.set_xscale("log")
    every = (1, 2, 5, 10, 20, 50) if max(drawn) < 100 else (1, 3, 10, 30, 100, 300, 1000)
    ticks = [tick for tick in every if tick < 1.4 * max(drawn)]
    panel.set_xticks(ticks, [f"{tick} ×" for tick in ticks], fontsize=10)
    panel.minorticks_off()
    panel.set_xlim(0.93, 1.35 * max(drawn))
    panel.set_ylim(len(rows) - 0.5, -1.35)
    names = [method(name).title for name in rows["method"]]
    panel.set_yticks(range(len(rows)), names, fontsize=10)
    panel.grid(visible=False, axis="y")
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.set_xlabel(f"sampling time relative to Glow, {where}", fontsize=9, loc="right")
    picture.figure.suptitle(finding(rows), fontsize=10.5, x=0.01, ha="left")
    return picture.figure


def dot(panel: "Axes", row: pd.Series, name: str, place: int, color: str, fill: str) -> None:
    """Draw one ratio of a row with its 95 % interval, where it has one."""
    low, high = (row.get(f"{name}_{end}", math.nan) for end in ("low", "high"))
    reach = [[row[name] - low], [high - row[name]]]
    found = panel.errorbar(row[name], place, xerr=reach, capsize=2, color=color, marker="o")
    found.lines[0].set(markersize=7, markerfacecolor=fill)


def _label(panel: "Axes", rows: pd.DataFrame) -> None:
    """What filled and hollow mean, above the dots, where they are of two kinds."""
    if PAPERS in rows and rows[PAPERS].notna().any():
        for name, text, place, side in (
            (OURS, "our inverse", 0.04, "left"),
            (PAPERS, "the paper's algorithm", 1.0, "right"),
        ):
            label = panel.annotate(text, (place, 1), xycoords="axes fraction", ha=side, va="top")
            label.set(color=LOOKS[name][0], fontsize=10)
