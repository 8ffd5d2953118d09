"""Forward and inverse time of one FInC layer against image size n and kernel size k."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from invconv.bench.baselines import corner_weight, flops
from invconv.bench.layer_timing import Layer, time_layer
from invconv.bench.memory import peak_extra_bytes
from invconv.bench.timing import row_values
from invconv.report import Document, Entry, Grid, Line, Picture, Plot, illustrated
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.grids import CELLS
from invconv.report.illustrated import label_ends, plot_times
from invconv.rows import Values
from invconv.rows.columns import Error, Name, Number, Seconds, Truth
from invconv.solvers import METHODS
from invconv.solvers.problem import CORNERS
from invconv.sweeps.config import Preset, Sweep
from invconv.tables.table import Table

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
Columns = Mapping[str, str | Callable[[pd.Series], Entry]]
"""Title → the name of a time, or what makes the cell of a row."""
TIMES: Columns = {
    "torch forward": lambda row: fastest(row, 1e3),
    "1×1": "pointwise",
    "our forward": "forward",
    "our inverse": "inverse",
    "fresh": "fresh",
    "A/A": CELLS["A/A"],
    "fresh ÷ torch forward": lambda row: en.quotient(row, "fresh_s", row, "torch_forward_s"),
    "inverse ÷ our forward": lambda row: en.quotient(row, "inverse_s", row, "forward_s"),
    "GFLOP/s": lambda row: en.value(row, "gflops", "{:.0f}".format),
    "wavefront": "inverse_wavefront",
    "algorithm 1": "inverse_diagonal_channel",
}
COPIES = ("inverse", "inverse_wavefront", "inverse_diagonal_channel")
"""What has its peak memory in the last table, in copies of the input."""


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
    return values | {"gflops": 1e-9 * flops(x, weight) / times["inverse"].median}


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    blocks = [block.sort_values("point", key=_places) for block in bl.blocks(rows, "point")]
    template = Path(__file__).with_suffix(".md.j2")
    return illustrated(template, blocks, "c{channels:g}-b{batch:g}", _section, draw)


def _places(points: pd.Series) -> pd.Series:
    """Along n first, where "k" would be first."""
    return points.str[0].replace("k", "z") + points.str[1:].str.zfill(9)


def _section(block: pd.DataFrame) -> dict[str, object]:
    good = block[block["status"] == "ok"]
    return {
        "solvers": sorted(set(good["solver"].dropna())) if "solver" in good else [],
        "times": grid(block, {"point": "{point}"}, TIMES, 1e3),
        "exponents": None if good.empty else Grid(exponents(good)),
        "memory": Grid([_memory_line(row) for _, row in good.iterrows()]),
    }


def grid(rows: pd.DataFrame, labels: Mapping[str, str], columns: Columns, scale: float) -> Grid:
    """A line per row: formats of it, then cells, times × ``scale``; or the status alone."""
    lines: list[Line] = []
    for _, row in rows.iterrows():
        line: dict[str, object] = {title: text.format_map(row) for title, text in labels.items()}
        if row["status"] == "ok":
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


POINTS = [*(f"n{n}" for n in (8, 16, 32, 64, 128, 256)), *(f"k{k}" for k in (2, *range(4, 12)))]
TINY = {"channels": 4, "batch": 2, "repeats": 2, "slow_repeats": 1}
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
        "default": Preset({}, {"point": ",".join(POINTS)}, minutes=5),
        "tiny": Preset(TINY, {"point": "n4,k2"}),
    },
    headline="torch_forward_s forward_s inverse_s",
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
