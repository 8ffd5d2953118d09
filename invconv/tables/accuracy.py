"""What each layer's inverse loses in float32 and bfloat16, against n, k and weight scale."""

import copy
import inspect
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from invconv import InvertibleConv, build
from invconv.bench.verification import inverted
from invconv.conv import layer_class
from invconv.files import brief
from invconv.methods import method, methods
from invconv.numerical import TRUSTED, relative_error
from invconv.report import Document, Grid, Line, Picture, illustrated
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.grids import swept
from invconv.rows import Incorrect, Values
from invconv.rows.columns import Number
from invconv.rows.status import classify
from invconv.sweeps.config import ChosenMethod, Preset, Sweep
from invconv.tables.table import Table

CENTER = {"n": 32.0, "k": 3.0, "s": 0.0}
"""The point to which all axes belong."""
AXES = {
    "n": ("image size n", "k = 3, as initialized"),
    "k": ("kernel size k", "n = 32, as initialized"),
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
    "growth": "Error amplification of the inverse",
}
EXACT = 1e-6


@dataclass
class Accuracy(Sweep):
    """One method at all points."""

    method: ChosenMethod = field(default_factory=ChosenMethod)
    points: list[str] = field(default_factory=list)
    channels: int = 12
    batch: int = 16
    seed: int = 0


def place(point: str) -> tuple[int, int, float]:
    """(n, k, scale) of a point."""
    if not re.fullmatch(r"[nk]\d+|s\d+(\.\d+)?", point):
        raise ValueError(f"points must be n, k or s and a number, such as s0.1, not {point!r}")
    values = CENTER | {point[0]: float(point[1:])}
    return int(values["n"]), int(values["k"]), values["s"]


def has_kernel_size(conv: str) -> bool:
    """Whether a registered layer has square kernels of any size."""
    parameter = inspect.signature(layer_class(conv)).parameters.get("kernel_size")
    return parameter is not None and parameter.default == 3


@torch.no_grad()
def losses(layer: InvertibleConv, x: Tensor) -> dict[str, float]:
    """The errors of inverse(forward(x)), and of the equation that sampling solves."""
    back, again = inverted(layer, layer.latent(x)), layer.latent(inverted(layer, x))
    return {"round_trip": relative_error(back, x), "residual": relative_error(again, x)}


@torch.no_grad()
def measure_point(config: Accuracy, point: str, device: torch.device) -> Values:
    """Verify the inverse in float64, then measure what is lost below."""
    n, k, scale = place(point)
    conv, options = config.method.conv, dict(config.method.options)
    if has_kernel_size(conv):
        options["kernel_size"] = k
    torch.manual_seed(config.seed)
    layer = build(conv, (config.channels, n, n), **options).eval()
    for parameter in layer.parameters():
        parameter.add_(scale * torch.randn_like(parameter))
    layer = layer.to(device)
    x = torch.randn(config.batch, config.channels, n, n).to(device)
    double, sample = copy.deepcopy(layer).double(), x.double()
    truth = inverted(double, sample)
    largest = max(truth.abs().max(), double.latent(sample).abs().max())
    growth = (largest / sample.abs().max()).item()
    found = {"float64": losses(double, sample)}
    residual = found["float64"]["residual"]
    if math.isfinite(growth) and not residual <= EXACT * max(1.0, growth):
        raise Incorrect(f"at {point} the inverse has a residual of {residual:.1e} in float64")
    values: Values = {"growth": growth}
    for name in INITIAL:
        try:
            rounded = x.to(getattr(torch, name))
            lower = copy.deepcopy(layer).to(rounded.dtype)
            exact = relative_error(inverted(lower, rounded).double(), truth)
            found[name] = {"sample": exact, **losses(lower, rounded)}
        except (NotImplementedError, TypeError, RuntimeError) as refusal:
            if classify(refusal) == "oom":
                raise
            values[f"{name}_reason"] = brief(refusal)
    return values | {
        f"{name}_{kind}": math.inf if math.isnan(loss) else loss  # something overflowed
        for name, lost in found.items()
        for kind, loss in lost.items()
    }


def measure(config: Accuracy, device: torch.device, _: Path) -> Values:
    """Measure all points; those along k only for a layer that has a k."""
    return {
        f"{point}_{name}": value
        for point in config.points
        if not point.startswith("k") or has_kernel_size(config.method.conv)
        for name, value in measure_point(config, point, device).items()
    }


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    blocks = [bl.in_order(block, "method", methods()) for block in bl.blocks(rows, "method")]
    template = Path(__file__).with_suffix(".md.j2")
    shared = {"axes": AXES.values(), "trusted": TRUSTED}
    return illustrated(template, blocks, "c{channels:g}", _section, draw, **shared)


def _section(block: pd.DataFrame) -> dict[str, object]:
    good = block[block["status"] == "ok"]
    tables = [{title: _grid(block, a, name) for name, title in MEASURES.items()} for a in AXES]
    lost: dict[str, list[str]] = {}
    errors, refused = [], []
    for _, row in good.iterrows():
        title = bl.title(row["method"])
        for point in points(row.dropna().index):
            if not row.get(f"{point}_float32_residual", 0) <= TRUSTED:
                lost.setdefault(title, []).append(point)
                errors.append(row.get(f"{point}_float32_sample", math.inf))
        for dtype in INITIAL:
            reasons = row.filter(regex=f"_{dtype}_reason$").dropna()
            refused += [{"name": title, "dtype": dtype, "reason": r} for r in reasons[:1]]
    most = max(filter(math.isfinite, errors), default=None)
    return {"tables": tables, "lost": lost, "most": most, "refused": refused}


def finding(rows: pd.DataFrame) -> str:
    """Say whether layers with the weights of their paper invert in float32, and the others."""
    rows, initial = rows[rows["status"] == "ok"], f"n{CENTER['n']:g}_float32_residual"
    if rows.empty or initial not in rows:
        return ""
    lost = [
        row["method"]
        for _, row in rows.iterrows()
        if not row.filter(like="_float32_residual").max() <= TRUSTED
    ]
    most = rows[initial].max()
    return (
        f"As initialized, {len(rows)} layers invert in float32 to a residual of at most "
        f"{en.number(most, 2)}; with larger weights that of {len(lost)} exceeds {TRUSTED:g}."
    )


def points(names: Iterable[object]) -> list[str]:
    """The points that were measured: n, k and s before a number, in order."""
    found = [m[1] for name in names if (m := re.fullmatch(r"([nks][\d.]+)_growth", str(name)))]
    return sorted(found, key=lambda point: (point[0], float(point[1:])))


def points_along(block: pd.DataFrame, axis: str) -> dict[float, str]:
    """Value on an axis → point, in order; the center, n = 32, belongs to all of them."""
    measured, center = points(block.columns), f"n{CENTER['n']:g}"
    found = {float(point[1:]): point for point in measured if point[0] == axis}
    middle = {CENTER[axis]: center} if center in measured else {}
    return dict(sorted((found | middle).items()))


def on_axis(row: pd.Series, axis: str) -> bool:
    """Whether a row has points along an axis; a layer without k has none along k."""
    return axis != "k" or any(point[0] == "k" for point in points(row.dropna().index))


def _grid(block: pd.DataFrame, axis: str, measured: str) -> Grid:
    """One line for each method, one column for each point along the axis."""
    places = {f"{axis} = {size:g}": point for size, point in points_along(block, axis).items()}
    lines: list[Line] = []
    for _, row in block.iterrows():
        cells = {at: en.value(row, f"{p}_{measured}", "{:.1e}".format) for at, p in places.items()}
        shown = cells if on_axis(row, axis) else dict.fromkeys(cells, en.ABSENT)
        lines.append({"method": bl.title(row["method"]), **shown})
    return Grid(lines)


def draw(block: pd.DataFrame) -> Picture:
    """Residual in float32 and bfloat16 against n, k and weight scale."""
    good, picture = block[block["status"] == "ok"], Picture(2, len(AXES), (9, 6.6), sharey=False)
    for panel, (dtype, axis) in zip(picture.panels, product(INITIAL, AXES), strict=True):
        places = points_along(good, axis)
        for _, row in good.iterrows():
            one, shown = method(str(row["method"])), on_axis(row, axis)
            fields = [f"{point}_{dtype}_residual" for point in places.values()]
            errors = [row.get(field) if shown else None for field in fields]
            look = {"markersize": 5, "linewidth": 1.2, **one.look}
            panel.plot(list(places), errors, label=one.title, **look)
        panel.set(yscale="log", ylim=SHOWN if axis == "s" else INITIAL[dtype])
        if dtype == "bfloat16":
            panel.set_xlabel(AXES[axis][0])
        if axis == "n":
            panel.set_xscale("log", base=2)
            panel.set_ylabel(f"residual in {dtype}")
        if axis == "s":
            label = f"residual {TRUSTED:.0e}"
            panel.axhline(TRUSTED, label=label, color="#777777", linestyle=":", linewidth=1)
        else:
            panel.set_xticks(list(places), [f"{size:g}" for size in places])
            panel.minorticks_off()
    handles, _ = picture.panels[len(AXES) - 1].get_legend_handles_labels()
    picture.legend(handles, 5)
    return picture


POINTS = [f"n{n}" for n in (8, 16, 32, 64, 128)] + [f"k{k}" for k in (5, 7, 9)]
POINTS += [f"s{scale}" for scale in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)]
TINY = {"points": ["n4", "n32", "k2", "s0.8"], "channels": 4, "batch": 2}
TABLE = Table(
    name="accuracy",
    title="What the inverse loses in float32 and bfloat16",
    question="May you sample in float32?",
    config=Accuracy,
    measure=measure,
    cell="{method.name}-c{channels}",
    labels={"method": "method.name", "channels": "channels"},
    columns=(Number("*_growth *_sample *_round_trip *_residual", infinite=True),),
    presets={
        "default": Preset({"points": POINTS}, {"method": ",".join(swept())}, minutes=6),
        "tiny": Preset(TINY, {"method": "finc,glow"}),
    },
    choices={"method": "finc"},
    times=lambda _: False,
    headline="*_float32_residual",
    page=page,
    finding=finding,
    order=7,
)
