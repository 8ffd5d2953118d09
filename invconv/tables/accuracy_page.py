"""The page of table accuracy: what is lost against n, k and weight scale, and where it matters."""

import math
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from invconv.methods import method, methods
from invconv.numerical import TRUSTED
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.document import Document
from invconv.report.entries import Entry, Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

CENTER = {"n": 32.0, "k": 3.0, "s": 0.0}
"""The point to which all axes belong."""
AXES = {
    "n": ("image size n", "k = 3, as initialised"),
    "k": ("kernel size k", "n = 32, as initialised"),
    "s": ("weight scale", "n = 32, k = 3, N(0, scale) added to every parameter"),
}
SHOWN = (1e-8, 1e3)
"""The residuals in the figure; what is beyond is not an inverse any more."""
INITIAL = {"float32": (3e-8, 3e-6), "bfloat16": (1e-4, 1e-1)}
"""The same of layers as initialized."""
MEASURES = {
    "float32_sample": "Sample in float32, against the same layer in float64",
    "float32_round_trip": "Round trip in float32",
    "float32_residual": "Residual in float32",
    "bfloat16_round_trip": "Round trip in bfloat16",
    "bfloat16_residual": "Residual in bfloat16",
    "growth": "Growth of the inverse",
}
POINT = re.compile(r"([nks][\d.]+)_growth")
"""The field that every measured point has."""


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    blocks = [bl.in_order(block, "method", methods()) for block in bl.blocks(rows, "method")]
    named = bl.picture_names("accuracy", blocks, lambda row: f"c{row['channels']:g}")
    shown = [
        {
            "picture": picture,
            "origin": bl.origin(block),
            "channels": block["channels"].iloc[0],
            "trusted": f"{TRUSTED:.0e}",
            **_untrusted(block),
            "axes": [_axis(block, axis) for axis in AXES],
            "failures": bl.failures(block),
            "refused": _refused(block),
        }
        for picture, block in named.items()
    ]
    pictures = {name: partial(draw, block) for name, block in named.items()}
    return Document(
        "accuracy", Path(__file__).with_name("accuracy.md.j2"), {"blocks": shown}, pictures
    )


def points_along(block: pd.DataFrame, axis: str) -> dict[float, str]:
    """Value on an axis → point, in order; the center, n = 32, belongs to all of them."""
    points = {match[1] for name in block.columns if (match := POINT.fullmatch(str(name)))}
    found = {float(point[1:]): point for point in points if point[0] == axis}
    if f"n{CENTER['n']:g}" in points:
        found.setdefault(CENTER[axis], f"n{CENTER['n']:g}")
    return dict(sorted(found.items()))


def on_axis(row: pd.Series, axis: str) -> bool:
    """Whether a row has points along an axis; a layer without k has none along k."""
    names = [str(name) for name in row.dropna().index]
    return axis != "k" or any(name[0] == "k" and POINT.fullmatch(name) for name in names)


def _axis(block: pd.DataFrame, axis: str) -> dict[str, object]:
    """The tables along one axis."""
    tables = {}
    for measured, title in MEASURES.items():
        lines = []
        for _, row in block.iterrows():
            line: dict[str, str | Entry] = {"method": bl.title(str(row["method"]))}
            for size, point in points_along(block, axis).items():
                entry = en.value(row, f"{point}_{measured}", "{:.1e}".format)
                line[f"{axis} = {size:g}"] = entry if on_axis(row, axis) else en.ABSENT
            lines.append(line)
        tables[title] = Grid(lines)
    title, rest = AXES[axis]
    return {"title": title, "rest": rest, "tables": tables}


def _untrusted(block: pd.DataFrame) -> dict[str, str]:
    """Where a float32 residual exceeds 1e-3, and the sample's own error there."""
    lost, errors = [], []
    for _, row in block[block["status"] == "ok"].iterrows():
        # a layer without k has no point along k
        measured = [m[1] for n in row.dropna().index if (m := POINT.fullmatch(str(n)))]
        above = [p for p in measured if not row.get(f"{p}_float32_residual", 0) <= TRUSTED]
        errors += [row.get(f"{point}_float32_sample", math.inf) for point in above]
        if above:
            points = sorted(above, key=lambda point: (point[0], float(point[1:])))
            lost.append(f"{bl.title(str(row['method']))} at {', '.join(points)}")
    finite = [error for error in errors if math.isfinite(error)]
    return {"lost": "; ".join(lost), "most": f"{max(finite):.0e}" if finite else ""}


def _refused(block: pd.DataFrame) -> list[dict[str, str]]:
    """Which layers do not run in a type, and why."""
    found = []
    for _, row in block[block["status"] == "ok"].iterrows():
        for dtype in INITIAL:
            reasons = [row[n] for n in block.columns if str(n).endswith(f"_{dtype}_reason")]
            for reason in [str(reason) for reason in reasons if not pd.isna(reason)][:1]:
                name = bl.title(str(row["method"]))
                found.append({"name": name, "dtype": dtype, "reason": reason})
    return found


def draw(block: pd.DataFrame) -> "Drawing":
    """Residual in float32 and bfloat16 against n, k and weight scale."""
    from matplotlib.figure import Figure as Drawing

    good = block[block["status"] == "ok"]
    drawing = Drawing(figsize=(9, 6.6), layout="constrained")
    panels = drawing.subplots(2, len(AXES))
    for dtype, line in zip(INITIAL, panels, strict=True):
        for panel, (axis, (title, _)) in zip(line, AXES.items(), strict=True):
            points = points_along(good, axis)
            for _, row in good.iterrows():
                one, shown = method(str(row["method"])), on_axis(row, axis)
                fields = [f"{point}_{dtype}_residual" for point in points.values()]
                errors = [row.get(field) if shown else None for field in fields]
                panel.plot(
                    list(points),
                    errors,
                    label=one.title,
                    markersize=5,
                    linewidth=1.2,
                    **one.look,
                )
            if axis == "s":
                label = f"residual {TRUSTED:.0e}"
                panel.axhline(TRUSTED, label=label, color="#777777", linestyle=":", linewidth=1)
            panel.set(yscale="log")
            panel.set_ylim(SHOWN if axis == "s" else INITIAL[dtype])
            if dtype == "bfloat16":
                panel.set_xlabel(title)
            if axis == "n":
                panel.set_xscale("log", base=2)
            if axis != "s":
                panel.set_xticks(list(points), [f"{size:g}" for size in points])
                panel.minorticks_off()
            panel.grid(alpha=0.3)
        line[0].set_ylabel(f"residual in {dtype}")
    handles, labels = panels[0][-1].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return drawing
