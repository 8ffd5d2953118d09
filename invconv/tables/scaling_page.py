"""The page of the scaling sweep, and what other pages share with it."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from invconv.report import Document, Entry, Grid, Line, Picture, illustrated
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.illustrated import label_ends, plot_times

FRESH = "fresh_vs_torch_forward"
"""The ratio that the page is about."""
JACOBI, TO_WAVEFRONT = "inverse_jacobi_vs_inverse", "inverse_jacobi_vs_inverse_wavefront"
"""Of Jacobi's iteration to our inverse, and to the wavefront that runs in torch, too."""
SERIES = {
    "torch_forward": ("torch's fastest forward", "#555555", "o"),
    "pointwise": ("1×1 convolution", "#999999", "v"),
    "forward": ("our forward, output reused", "#66A3D9", "s"),
    "inverse": ("our inverse, output reused", "#E69F00", "D"),
    "fresh": ("our inverse, output new", "#D55E00", "D"),
    "inverse_wavefront": ("inverse, wavefront in torch", "#A6761D", "^"),
    "inverse_jacobi": ("inverse, Jacobi in torch", "#333333", "P"),
    "inverse_diagonal_channel": ("inverse, FInC's algorithm 1", "#7A4EA3", "x"),
}
"""Field → title, color and marker; none of the colors stands for a method elsewhere."""
CENTER = {"n": 32, "k": 3}
"""The point to which both axes belong."""
AXES = {"n": ("image size n", "k"), "k": ("kernel size k", "n")}
"""Axis → its title, and the other one."""
CROWDED = 10
"""A kernel size whose number would touch the next one's."""
FIT_FROM = {"n": 16, "k": 2}
Columns = Mapping[str, str | Callable[[pd.Series], Entry]]
"""Title → the name of a time, or what makes the cell of a row."""
TIMES: Columns = {
    "torch forward": lambda row: fastest(row, 1e3),
    "1×1": "pointwise",
    "our forward": "forward",
    "our inverse": "inverse",
    "fresh": "fresh",
    "fresh ÷ torch forward": lambda row: en.ratio(row, FRESH),
    "inverse ÷ our forward": lambda row: en.ratio(row, "inverse_vs_forward"),
    "inverse ÷ itself": lambda row: en.ratio(row, "aa_inverse"),
    "GFLOP/s": lambda row: en.value(row, "gflops", "{:.0f}".format),
    "wavefront": "inverse_wavefront",
    "Jacobi": "inverse_jacobi",
    "Jacobi ÷ inverse": lambda row: en.ratio(row, JACOBI),
    "algorithm 1": "inverse_diagonal_channel",
}
COPIES = ("inverse", "inverse_wavefront", "inverse_jacobi", "inverse_diagonal_channel")
"""What has its peak memory in the last table, in copies of the input."""


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    blocks = [block.sort_values("point", key=_places) for block in bl.blocks(rows)]
    blocks.sort(key=lambda block: tuple(block.iloc[0][["machine", "batch", "channels"]]))
    template = Path(__file__).with_name("scaling.md.j2")
    return illustrated(template, blocks, "c{channels:g}-b{batch:g}", _section, draw)


def _places(points: pd.Series) -> pd.Series:
    """Along n first, where "k" would be first."""
    return points.str[0].replace("k", "z") + points.str[1:].str.zfill(9)


def _section(block: pd.DataFrame) -> dict[str, object]:
    good = block[block["status"] == "ok"]
    return {
        "solvers": sorted(set(good["solver"].dropna())) if "solver" in good else [],
        "times": grid(block, {"point": "{point}"}, TIMES, 1e3),
        "verdict": bl.verdict(block, [FRESH], lambda row: str(row["point"])),
        "jacobi": {
            other: bl.verdict(block, [ratio], lambda row: str(row["point"]))
            for other, ratio in (("our inverse", JACOBI), ("the wavefront", TO_WAVEFRONT))
        },
        "exponents": None if good.empty else Grid(exponents(good)),
        "memory": Grid([_memory_line(row) for _, row in good.iterrows()]),
    }


def grid(rows: pd.DataFrame, labels: Mapping[str, str], columns: Columns, scale: float) -> Grid:
    """A line per row: formats of it, then cells, times × ``scale``; or the status alone."""
    lines: list[Line] = []
    for _, row in rows.iterrows():
        line: dict[str, object] = {title: text.format_map(row) for title, text in labels.items()}
        if row["status"] in en.CARRYING:
            line |= {
                title: cell(row) if callable(cell) else en.value(row, f"{cell}_s", scale=scale)
                for title, cell in columns.items()
            }
        else:
            line[next(iter(columns))] = en.value(row, "status")
        lines.append(line)
    return Grid(lines)


def fastest(row: pd.Series, scale: float) -> Entry:
    """The time of torch's fastest forward × ``scale``, and which one that is."""
    time = en.value(row, "torch_forward_s", scale=scale)
    return time.saying(f"{time} ({row['fastest_torch_forward']})")


def _memory_line(row: pd.Series) -> Line:
    size, per = en.value(row, "input_bytes", scale=1e-6), (row, "input_bytes")
    copies = {SERIES[name][0]: en.quotient(row, f"{name}_extra_bytes", *per) for name in COPIES}
    return {"point": row["point"], "input MB": size, **copies}


def axis_rows(rows: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The rows along one axis; the `CENTER` belongs to both."""
    other = AXES[axis][1]
    return rows[rows[other] == CENTER[other]].sort_values(axis)


def exponents(rows: pd.DataFrame) -> list[Line]:
    """The slope of log time against log size for every series and axis."""
    lines: list[Line] = []
    for name, (title, _, _) in SERIES.items():
        line: dict[str, object] = {"method": title}
        for axis, first in FIT_FROM.items():
            points = axis_rows(rows, axis)
            points = points[points[axis] >= first]
            points = points[points[f"{name}_s"].notna()] if f"{name}_s" in rows else points[:0]
            line[f"in {axis}"] = en.ABSENT
            if len(points) > 1:
                slope = np.polyfit(np.log(points[axis]), np.log(points[f"{name}_s"]), 1)[0]
                line[f"in {axis}"] = en.over_rows(f"{slope:.2f}", points, f"{name}_s")
            line[f"theory in {axis}"] = "0" if (name, axis) == ("pointwise", "k") else "2"
        lines.append(line)
    return lines


def draw(block: pd.DataFrame) -> Picture:
    """Two log-log panels, time against n and against k."""
    rows = block[block["status"] == "ok"]
    picture = Picture(1, 2, (10, 4.2))
    for panel, (axis, (title, other)) in zip(picture.panels, AXES.items(), strict=True):
        points = axis_rows(rows, axis) if len(rows) else rows
        for name, (label, color, marker) in SERIES.items():
            look = {"label": label, "color": color, "marker": marker}
            plot_times(panel, [*points[axis]], points, name, 1e3, **look)
        panel.set(xscale="log", yscale="log", xlabel=f"{title} ({other} = {CENTER[other]})")
        ticks = sorted(set(points[axis].astype(int))) if len(points) else []
        panel.set_xticks(ticks, ["" if tick == CROWDED else str(tick) for tick in ticks])
        panel.minorticks_off()
    picture.panels[0].set_ylabel("milliseconds")
    if len(rows):
        size = "{channels:g} channels, batch {batch:g}, {device}".format_map(rows.iloc[0])
        picture.figure.suptitle(f"One FInC layer, {size}", fontsize=10)
    label_ends(picture.panels[-1])
    return picture
