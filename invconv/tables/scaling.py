"""Forward and inverse time of one FInC layer against image size n and kernel size k."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from invconv.bench import Clock, Measured, Process, Ratio, Timed, time_block, time_calls
from invconv.bench.baselines import corner_weight, flops, tuned
from invconv.bench.blocks import guarded_parts
from invconv.bench.layer_timing import TOLERANCE, Layer, layer_calls, layer_ratios, with_fastest
from invconv.bench.memory import peak_extra_bytes
from invconv.numerical import relative_error
from invconv.report import Plot
from invconv.report.findings import sentence
from invconv.rows import Block, Values
from invconv.rows import columns as cl
from invconv.solvers import METHODS
from invconv.solvers.problem import CORNERS
from invconv.sweeps.config import QUICK, Preset, Sweep
from invconv.tables.scaling_page import AXES, CENTER, FRESH, SERIES, page
from invconv.tables.table import Table

SHOWN = ("wavefront", "compiled", "jacobi", "diagonal_channel")
COLUMNS = {name: f"inverse_{name}" for name in SHOWN if name != "compiled"}
"""Method of the solver → what its call is named."""
DIVIDED = [("fresh", "torch_forward"), ("inverse", "forward"), ("torch_forward", "pointwise")]
DIVIDED += [("inverse_jacobi", "inverse"), ("inverse_jacobi", "inverse_wavefront")]
"""The ratios of the page."""
SETTINGS = 8
"""The numbers of channels and images in the default sweep, whose ratios are compared together."""
MOST = 2.5e9
"""Multiply-adds beyond which the slow inverses are not timed."""


@dataclass
class Scaling(Sweep):
    """All points of one number of channels and images."""

    points: list[str] = field(default_factory=list)
    channels: int = 12
    batch: int = 100
    std: float = 0.05
    seed: int = 0
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        for point in self.points:
            sizes(point)


def sizes(point: str) -> dict[str, int]:
    """n and k of a point."""
    axis, number = point[:1], point[1:]
    if axis not in CENTER or not number.isdecimal() or not int(number):
        raise ValueError(f"a point must be n or k and a size, such as n64 or k5, not {point!r}")
    return CENTER | {axis: int(number)}


def measure(config: Scaling, device: torch.device, _: Path) -> Block:
    """Verify every point, then time each in rounds of its own, all in one block."""
    among = max(1, len(DIVIDED) * len(config.points) * SETTINGS)

    def ratios(samples: pd.DataFrame) -> list[Ratio]:
        return layer_ratios(samples, DIVIDED)

    block = with_fastest(time_block(time_points, config, device, config.clock, ratios, among))
    parts = {}
    for point, part in block.parts.items():
        values = dict(part.values)
        if "inverse_s" in values:
            work = 2e-9 * values["work"]  # type: ignore[operator]
            values["gflops"] = work / values["inverse_s"]  # type: ignore[operator]
        parts[point] = replace(part, values=values)
    return replace(block, parts=parts)


def time_points(config: Scaling, device: torch.device, process: Process) -> Measured:
    """Measure each inverse's first call in memory, verify it, and time it, point by point."""
    timed = list[Timed]()
    time = partial(_time_point, config, device, process, timed)
    parts = guarded_parts({point: {"point": point} for point in config.points}, process, time)
    return Measured(timed, parts=parts)


def _time_point(
    config: Scaling, device: torch.device, process: Process, timed: list[Timed], point: str
) -> Values:
    size = sizes(point)
    torch.manual_seed(config.seed)
    fan_in = config.channels // 4 * size["k"] ** 2  # where an inverse would overflow, less
    std = min(config.std, fan_in**-0.5)
    weight = corner_weight(config.channels, size["k"], std).to(device)
    x = torch.randn(config.batch, config.channels, size["n"], size["n"]).to(device)
    layer, work = Layer(x, weight, corners=CORNERS), flops(x, weight) / 2
    methods = [name for name in SHOWN if not METHODS[name].missing(device)]
    values: Values = {**size, "work": work}
    if work > MOST:
        methods = [name for name in methods if name == "compiled"]
        values["omitted_reason"] = f"more than {MOST:.0e} multiply-adds: only our inverse is timed"
    if "jacobi" in methods and not relative_error(layer.inverse("jacobi"), x) <= TOLERANCE:
        methods.remove("jacobi")
        values["jacobi_reason"] = "the iterates of Jacobi overflow, or leave no digits"
    if process.first:
        layer.forward()  # what a process allocates once is not the inverse's
        for name in methods:
            field = "inverse" if name == "compiled" else f"inverse_{name}"
            call = partial(layer.inverse, "auto" if name == "compiled" else name)
            values[f"{field}_extra_bytes"] = peak_extra_bytes(call, device)
    with tuned(device):
        found = layer_calls(layer, methods, verify=process.first)
        calls = {f"{point}/{COLUMNS.get(name, name)}": run for name, run in found.calls.items()}
        timed.append(time_calls(calls, device, config.clock, seed=process.number))
    return values | found.values


POINTS = [f"n{n}" for n in (8, 16, 32, 64)] + [f"k{k}" for k in (2, 5, 7, 11)]
TINY = {"channels": 4, "batch": 2, "points": ["n4", "k2"], "clock": QUICK}
LAYER = (
    "torch four four_fresh four_cropped grouped dense dense_channels_last 1x1_conv2d 1x1_matmul"
)
TABLE = Table(
    name="scaling",
    title="One FInC layer against image size and kernel size",
    question="How long does the inverse of one FInC layer take against n and k?",
    config=Scaling,
    measure=measure,
    cell="c{channels}-b{batch}",
    labels={name: name for name in ("channels", "batch")},
    parts="point",
    columns=(
        cl.Seconds(f"torch_forward pointwise forward fresh inverse inverse_* {LAYER}"),
        cl.Ratio(" ".join(f"{above}_vs_{below}" for above, below in DIVIDED)),
        cl.Ratio("aa_inverse"),
        cl.Error("*_error"),
        cl.Number("n k work input_bytes inverse*_extra_bytes gflops"),
        cl.Name("solver fastest_torch_forward fastest_pointwise"),
        cl.Truth("cudnn_benchmark"),
        *cl.BLOCK,
    ),
    presets={
        "default": Preset(
            {"points": POINTS, "clock": {"processes": 3}},
            {"channels": "12,24,48,96", "batch": "1,100"},
            minutes=40,
        ),
        "tiny": Preset(TINY),
    },
    headline="torch_forward_s forward_s inverse_s",
    page=page,
    finding=sentence(
        "Our inverse of a FInC layer takes {} times as long as torch's fastest forward pass.",
        FRESH,
        called="{0.channels} channels, batch {0.batch}, {0.point}".format,
    ),
    plots=tuple(
        Plot(
            title=f"time against {title}, {other} = {CENTER[other]}, "
            "{channels:g} channels, batch {batch:g}",
            columns={f"{name}_s": name for name in SERIES},
            x=axis,
            series="column",
            looks=SERIES,
            where={other: [CENTER[other]]},
        )
        for axis, (title, other) in AXES.items()
    ),
    order=6,
)
