"""Forward and inverse time of one FInC layer against image size n and kernel size k."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch

from invconv.bench.baselines import corner_weight
from invconv.bench.layer_timing import Layer, time_layer
from invconv.bench.memory import peak_extra_bytes
from invconv.bench.timing import row_values
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.document import Document
from invconv.report.entries import Grid, Line
from invconv.report.explorer.plots import Plot
from invconv.report.illustrated import illustrated
from invconv.report.style import label_ends
from invconv.rows import Values
from invconv.rows.columns import Error, Name, Number, Seconds, Truth
from invconv.solvers import METHODS
from invconv.solvers.problem import CORNERS
from invconv.sweeps.application import Preset
from invconv.sweeps.config import Sweep
from invconv.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = ("wavefront", "compiled", "diagonal_channel")
SERIES = {
    "torch_forward": ("torch's fastest forward", "#555555", "o"),
    "pointwise": ("1×1 convolution", "#999999", "v"),
    "forward": ("our forward, output reused", "#66A3D9", "s"),
    "inverse": ("our inverse, output reused", "#E69F00", "D"),
    "fresh": ("our inverse, output new", "#D55E00", "D"),
    "inverse_wavefront": ("inverse, wavefront in torch", "#A6761D", "^"),
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


@dataclass
class Scaling(Sweep):
    """One point."""

    point: str = "n32"
    channels: int = 12
    batch: int = 100
    std: float = 0.05
    seed: int = 0
    repeats: int = 20
    slow_repeats: int = 3


def sizes(point: str) -> dict[str, int]:
    """n and k of a point."""
    axis, number = point[:1], point[1:]
    if axis not in CENTER or not number.isdigit() or not int(number):
        raise ValueError(f"point must be n or k and a size, such as n64 or k5, not {point!r}")
    return CENTER | {axis: int(number)}


def measure(config: Scaling, device: torch.device, _: Path) -> Values:
    """Measure each inverse's first call in memory, verify it and time it."""
    size = sizes(config.point)
    torch.manual_seed(config.seed)
    weight = corner_weight(config.channels, size["k"], config.std).to(device)
    x = torch.randn(config.batch, config.channels, size["n"], size["n"]).to(device)
    layer = Layer(x, weight, corners=CORNERS)
    methods = {f"inverse_{name}": name for name in SHOWN if not METHODS[name].missing(device)}
    values: Values = {**size}
    layer.forward()  # what a process allocates once is not the inverse's
    for name, method in {"inverse": "auto", **methods}.items():
        values[f"{name}_extra_bytes"] = peak_extra_bytes(partial(layer.inverse, method), device)
    timed = time_layer(layer, methods.values(), config.repeats, config.slow_repeats)
    times = {name: timed.times[name] for name in SERIES if name in timed.times}
    times |= {name: timed.times[m] for name, m in methods.items() if m in timed.times}
    values |= {f"inverse_{method}_error": error for method, error in timed.errors.items()}
    values |= timed.values | row_values(times)
    return values | {"gflops": 1e-9 * layer.flops / times["inverse"].median}


def summary(values: Values) -> str:
    """A point's times on the terminal."""
    names = ("torch_forward", "forward", "inverse")
    return ", ".join(f"{name} {values[f'{name}_s']:.2e} s" for name in names)


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    blocks = [
        block.sort_values(
            "point", key=lambda p: p.str[0].replace("k", "z") + p.str[1:].str.zfill(9)
        )
        for block in bl.blocks(rows, "point")
    ]
    template = Path(__file__).with_suffix(".md.j2")
    return illustrated(template, blocks, "c{channels:g}-b{batch:g}", _section, draw)


def _section(block: pd.DataFrame) -> dict[str, object]:
    good = block[block["status"] == "ok"]
    return {
        "solvers": sorted(set(good["solver"].dropna())) if "solver" in good else [],
        "times": Grid([_line(row) for _, row in block.iterrows()]),
        "exponents": None if good.empty else Grid(exponents(good)),
        "memory": Grid([_memory_line(row) for _, row in good.iterrows()]),
    }


def _line(row: pd.Series) -> Line:
    if row["status"] != "ok":
        return {"point": row["point"], "torch forward": en.value(row, "status")}
    ms = {name: en.value(row, f"{name}_s", scale=1e3) for name in SERIES}
    forward = ms["torch_forward"]
    return {
        "point": row["point"],
        "torch forward": forward.saying(f"{forward} ({row['fastest_torch_forward']})"),
        "1×1": ms["pointwise"],
        "our forward": ms["forward"],
        "our inverse": ms["inverse"],
        "fresh": ms["fresh"],
        "A/A": en.value(row, "aa_spread", "{:.1%}".format),
        "fresh ÷ torch forward": en.quotient(row, "fresh_s", row, "torch_forward_s"),
        "inverse ÷ our forward": en.quotient(row, "inverse_s", row, "forward_s"),
        "GFLOP/s": en.value(row, "gflops", "{:.0f}".format),
        "wavefront": ms["inverse_wavefront"],
        "algorithm 1": ms["inverse_diagonal_channel"],
    }


def _memory_line(row: pd.Series) -> Line:
    size = en.value(row, "input_bytes", scale=1e-6)
    copies = {
        SERIES[name][0]: en.quotient(row, f"{name}_extra_bytes", row, "input_bytes")
        for name in ("inverse", "inverse_wavefront", "inverse_diagonal_channel")
    }
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


def draw(block: pd.DataFrame) -> "Figure":
    """Two log-log panels, time against n and against k."""
    from matplotlib.figure import Figure

    rows = block[block["status"] == "ok"]
    drawing = Figure(figsize=(10, 4.2), layout="constrained")
    panels = drawing.subplots(1, 2, sharey=True)
    for panel, (axis, (title, other)) in zip(panels, AXES.items(), strict=True):
        points = axis_rows(rows, axis) if len(rows) else rows
        for name, (label, color, marker) in SERIES.items():
            if f"{name}_s" in points and len(points):
                look = {"label": label, "color": color, "marker": marker}
                times, low, high = (1e3 * points[f"{name}{q}_s"] for q in ("", "_q25", "_q75"))
                panel.plot(points[axis], times, **look, markersize=4, linewidth=1.2)
                panel.fill_between(points[axis], low, high, color=color, alpha=0.2, linewidth=0)
        panel.set(xscale="log", yscale="log", xlabel=f"{title} ({other} = {CENTER[other]})")
        ticks = sorted(set(points[axis].astype(int))) if len(points) else []
        panel.set_xticks(ticks, ["" if tick == CROWDED else str(tick) for tick in ticks])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    drawing.axes[0].set_ylabel("milliseconds")
    if len(rows):
        first = rows.iloc[0]
        size = f"{first['channels']:g} channels, batch {first['batch']:g}"
        drawing.suptitle(f"One FInC layer, {size}, {first['device']}", fontsize=10)
    label_ends(drawing.axes[-1])
    return drawing


TABLE = Table(
    name="scaling",
    title="One FInC layer against image size and kernel size",
    config=Scaling,
    measure=measure,
    cell="{point}-c{channels}-b{batch}",
    labels={name: name for name in ("point", "channels", "batch")},
    columns=(
        Seconds("torch_forward pointwise forward fresh inverse inverse_*"),
        Error("inverse_*_error"),
        Number("n k input_bytes inverse*_extra_bytes aa_spread gflops"),
        Name("solver fastest_torch_forward fastest_pointwise"),
        Truth("cudnn_benchmark"),
    ),
    presets={
        "default": Preset(
            {}, {"point": "n8,n16,n32,n64,n128,n256,k2,k4,k5,k6,k7,k8,k9,k10,k11"}, minutes=5
        ),
        "tiny": Preset(
            {"channels": 4, "batch": 2, "repeats": 2, "slow_repeats": 1}, {"point": "n4,k2"}
        ),
    },
    summary=summary,
    page=page,
    plots=tuple(
        Plot(
            title=f"time against {title}, {other} = {CENTER[other]}",
            columns={f"{name}_s": name for name in SERIES},
            x=axis,
            series="column",
            looks=SERIES,
            where={other: [CENTER[other]]},
            apart=("channels", "batch"),
        )
        for axis, (title, other) in AXES.items()
    ),
    order=6,
)
