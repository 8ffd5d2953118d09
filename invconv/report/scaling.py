"""The page `results/scaling.md`: one FInC layer against image size and kernel size."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks
from invconv.report.style import label_ends, save_for_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SERIES = {
    "torch_forward": ("torch's fastest forward", "#555555", "o"),
    "pointwise": ("1×1 convolution", "#999999", "v"),
    "forward": ("our forward, output reused", "#66A3D9", "s"),
    "inverse": ("our inverse, output reused", "#E69F00", "D"),
    "fresh": ("our inverse, output new", "#D55E00", "D"),
    "inverse_wavefront": ("inverse, wavefront in torch", "#A6761D", "^"),
    "inverse_diagonal_channel": ("inverse, FInC's algorithm 1", "#7A4EA3", "x"),
}
"""Field → title, colour and marker; none of the colours stands for a method elsewhere."""
AXES = {"n": "image size n (k = 3)", "k": "kernel size k (n = 32)"}
CROWDED = 10
"""A kernel size whose number would touch the next one's."""
FIT_FROM = {"n": 16, "k": 2}
THEORY = {"n": 2, "k": 2}


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/scaling.md`` and its figures, and returns the page's path."""
    for name, block in figures(rows).items():
        save_for_page(draw(block), results, name)
    return pages.write("scaling", lambda: page(rows), results)


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows."""
    parts = [
        "# One layer against image size and kernel size",
        "Made by `python reproductions/scaling.py -m`; do not edit. Rows: "
        "[data/scaling.csv](data/scaling.csv). One FInC layer (four corners, float32, weights "
        "N(0, 0.05) with unit diagonal), medians; each inverse was verified against its "
        "input first; torch's and our calls interleaved, wavefront and algorithm 1 in a block of "
        "their own. Algorithm 1 is the release's, rewritten in C++: scalar, in float64, on one "
        "thread; all else computes in float32 on all threads. n8, n16, …: at k = 3; k2, k3, …: at "
        "n = 32. A/A: by how much our inverse, timed twice, differs from itself. In the figure "
        "bands are quartiles. The torch forward is the fastest of four padded or cropped, one "
        "grouped, one dense and one dense channels-last convolution; the 1×1 the faster of conv2d "
        "and matmul. Both "
        'our directions write into a reused output; of torch\'s ways only "four" and the matmul '
        "do, the others allocate. Fresh: our inverse into newly allocated memory, which is what "
        "is compared with torch's forward.",
    ]
    found = figures(rows)
    if not found:
        parts.append("missing: no rows yet.")
    for figure, block in found.items():
        first = block.iloc[0]
        good = block[block["status"] == "ok"]
        parts += [
            f"## {first['machine']}: C = {first['channels']:g}, batch {first['batch']:g}",
            f"{pages.origin(block)} Our inverse by "
            f"{', '.join(sorted(set(good.get('solver', pd.Series(dtype=str)).dropna())))}.",
            f"![time against n and k](figures/{figure}.svg)",
            "Milliseconds:",
            md.table([_line(row) for _, row in block.iterrows()]),
            *remarks.footnotes(block),
        ]
        if good.empty:
            continue
        parts += [
            "Fitted exponents of time, least squares in log-log, from n = 16 and k = 2:",
            md.table(exponents(good)),
            "Theory is the growth of the work. The dependent steps, 2n−1 and none more with k, "
            "would show on a machine with more lanes than pixels on a diagonal; two cores show "
            "the work, and memory traffic where there is little of it.",
            "Peak memory of the first call, in copies of the input, by the process's high-water "
            "mark (the newly allocated result counts; what is below a megabyte may not show):",
            md.table([_memory_line(row) for _, row in good.iterrows()]),
        ]
    return "\n\n".join(parts) + "\n"


def _line(row: pd.Series) -> dict[str, str]:
    line = {"point": row["point"]}
    if row["status"] != "ok":
        return line | {"torch forward": md.value(row, "status")}

    def ms(name: str) -> str:
        return md.value(row, f"{name}_s", scale=1e3)

    forward = ms("torch_forward")
    sources = getattr(forward, "sources", ())
    line |= {
        "torch forward": md.Cell(f"{forward} ({row['fastest_torch_forward']})", *sources),
        "1×1": ms("pointwise"),
        "our forward": ms("forward"),
        "our inverse": ms("inverse"),
        "fresh": ms("fresh"),
        "A/A": md.value(row, "aa_spread", "{:.1%}".format),
        "fresh ÷ torch forward": md.quotient(row, "fresh_s", row, "torch_forward_s"),
        "inverse ÷ our forward": md.quotient(row, "inverse_s", row, "forward_s"),
        "GFLOP/s": md.value(row, "gflops", "{:.0f}".format),
    }
    for name, title in (("wavefront", "wavefront"), ("diagonal_channel", "algorithm 1")):
        line[title] = ms(f"inverse_{name}")
    return line


def _memory_line(row: pd.Series) -> dict[str, str]:
    line = {"point": row["point"], "input MB": md.value(row, "input_bytes", scale=1e-6)}
    for name in ("inverse", "inverse_wavefront", "inverse_diagonal_channel"):
        line[SERIES[name][0]] = md.quotient(row, f"{name}_extra_bytes", row, "input_bytes")
    return line


def axis_rows(rows: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The rows along one axis; the point n = 32, k = 3 belongs to both."""
    other, default = ("k", 3) if axis == "n" else ("n", 32)
    return rows[rows[other] == default].sort_values(axis)


def exponents(rows: pd.DataFrame) -> list[dict[str, str]]:
    """The slope of log time against log size for every series and axis."""
    lines = []
    for name, (title, _, _) in SERIES.items():
        line = {"method": title}
        for axis, first in FIT_FROM.items():
            line[f"in {axis}"] = md.ABSENT
            theory = 0 if (name, axis) == ("pointwise", "k") else THEORY[axis]
            line[f"theory in {axis}"] = str(theory)
            if not len(rows) or f"{name}_s" not in rows:
                continue
            points = axis_rows(rows, axis)
            points = points[points[axis] >= first].dropna(subset=[f"{name}_s"])
            if len(points) > 1:
                slope = np.polyfit(np.log(points[axis]), np.log(points[f"{name}_s"]), 1)[0]
                line[f"in {axis}"] = md.over_rows(f"{slope:.2f}", points, f"{name}_s")
        lines.append(line)
    return lines


def draw(rows: pd.DataFrame) -> "Figure":
    """Two log-log panels, time against n and against k."""
    from matplotlib.figure import Figure

    rows = rows[rows["status"] == "ok"]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    for panel, axis in zip(figure.subplots(1, 2, sharey=True), AXES, strict=True):
        points = axis_rows(rows, axis) if len(rows) else rows
        for name, (title, colour, marker) in SERIES.items():
            if f"{name}_s" in points and len(points):
                panel.plot(
                    points[axis],
                    1e3 * points[f"{name}_s"],
                    label=title,
                    color=colour,
                    marker=marker,
                    markersize=4,
                    linewidth=1.2,
                )
                low, high = (1e3 * points[f"{name}_q{q}_s"] for q in (25, 75))
                panel.fill_between(points[axis], low, high, color=colour, alpha=0.2, linewidth=0)
        panel.set(xscale="log", yscale="log", xlabel=AXES[axis])
        ticks = sorted(set(points[axis].astype(int))) if len(points) else []
        panel.set_xticks(ticks, ["" if tick == CROWDED else str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    figure.axes[0].set_ylabel("milliseconds")
    if len(rows):
        first = rows.iloc[0]
        size = f"{first['channels']:g} channels, batch {first['batch']:g}"
        figure.suptitle(f"One FInC layer, {size}, {first['device']}", fontsize=10)
    label_ends(figure.axes[-1])
    return figure


def figures(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each figure's name and its rows, in n and then in k."""
    found = []
    for block in pages.blocks(rows, "point"):
        size = pd.to_numeric(block["point"].str[1:], errors="coerce")
        block = block.assign(_axis=block["point"].str[0] == "k", _size=size)
        found.append(block.sort_values(["_axis", "_size"], kind="stable"))
    return pages.figures("scaling", found, lambda row: f"c{row['channels']:g}-b{row['batch']:g}")
