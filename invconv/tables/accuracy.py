"""What each layer's inverse loses in float32 and bfloat16, against n, k and weight scale."""

import copy
import inspect
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from invconv import InvertibleConv, build
from invconv.conv import layer_class
from invconv.files import brief
from invconv.methods import methods
from invconv.numerical import relative_error
from invconv.rows import Incorrect, Values
from invconv.rows.columns import Number
from invconv.rows.status import classify
from invconv.sweeps.application import Preset
from invconv.sweeps.config import Method, Sweep
from invconv.tables.accuracy_page import CENTER, page
from invconv.tables.table import Table

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EXACT = 1e-6


@dataclass
class Accuracy(Sweep):
    """One method at all points."""

    method: Method = field(default_factory=Method)
    points: list[str] = field(default_factory=list)
    channels: int = 12
    batch: int = 16
    seed: int = 0


def place(point: str) -> tuple[int, int, float]:
    """(n, k, scale) of a point.

    Raises:
        ValueError: if it is no point.
    """
    axis, number = point[:1], point[1:]
    if axis not in CENTER or not re.fullmatch(r"\d+" if axis != "s" else r"\d+(\.\d+)?", number):
        raise ValueError(
            f"points must be n, k or s and a number, such as n64, k5 or s0.1, not {point!r}"
        )
    values = CENTER | {axis: float(number)}
    return int(values["n"]), int(values["k"]), values["s"]


def has_kernel_size(conv: str) -> bool:
    """Whether a registered layer has square kernels of any size."""
    parameter = inspect.signature(layer_class(conv)).parameters.get("kernel_size")
    return parameter is not None and parameter.default == 3


def make_layer(config: Accuracy, point: str) -> InvertibleConv:
    """The layer of a point, float32, as initialized and disturbed by the scale."""
    n, k, scale = place(point)
    conv, options = config.method.conv, dict(config.method.options)
    if has_kernel_size(conv):
        options["kernel_size"] = k
    torch.manual_seed(config.seed)
    layer = build(conv, (config.channels, n, n), **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return layer.eval()


@torch.no_grad()
def losses(layer: InvertibleConv, x: Tensor) -> dict[str, float]:
    """Relative errors of inverse(forward(x)), and of forward(inverse(x)).

    Returns:
        round_trip, and residual, that of the equation which sampling solves.
    """
    z, _ = layer(x)
    again, _ = layer(layer.inverse(x))
    return {"round_trip": error(layer.inverse(z), x), "residual": error(again, x)}


def error(found: Tensor, expected: Tensor) -> float:
    """The relative error, infinite where something overflowed."""
    value = relative_error(found, expected)
    return math.inf if math.isnan(value) else value


@torch.no_grad()
def measure_point(config: Accuracy, point: str, device: torch.device) -> Values:
    """Verify the inverse in float64, then measure what is lost below."""
    n, _, _ = place(point)
    layer = make_layer(config, point).to(device)
    x = torch.randn(config.batch, config.channels, n, n).to(device)
    double, sample = copy.deepcopy(layer).double(), x.double()
    truth = double.inverse(sample)
    largest = sample.abs().max()
    growth = max(truth.abs().max() / largest, double(sample)[0].abs().max() / largest).item()
    found = losses(double, sample)
    if math.isfinite(growth) and not found["residual"] <= EXACT * max(1.0, growth):
        lost = f"{found['residual']:.1e}"
        raise Incorrect(f"at {point} the inverse has a residual of {lost} in float64")
    values: Values = {"growth": growth}
    values |= {f"float64_{name}": loss for name, loss in found.items()}
    for name, dtype in DTYPES.items():
        try:
            lower = copy.deepcopy(layer).to(dtype)
            found = losses(lower, x.to(dtype))
            found = {"sample": error(lower.inverse(x.to(dtype)).double(), truth), **found}
        except (NotImplementedError, TypeError, RuntimeError) as refusal:
            if classify(refusal) == "oom":
                raise
            values[f"{name}_reason"] = brief(refusal)
        else:
            values |= {f"{name}_{kind}": loss for kind, loss in found.items()}
    return values


def measure(config: Accuracy, device: torch.device, _: Path) -> Values:
    """Measure all points; those along k only for a layer that has a k."""
    values: Values = {}
    for point in config.points:
        place(point)
        if not point.startswith("k") or has_kernel_size(config.method.conv):
            found = measure_point(config, point, device)
            values |= {f"{point}_{name}": value for name, value in found.items()}
    return values


def summary(values: Values) -> str:
    """The largest float32 residual, on the terminal."""
    found = [float(str(v)) for name, v in values.items() if name.endswith("_float32_residual")]
    return f"float32 residuals of up to {max(found, default=math.nan):.1e}"


POINTS = [f"n{n}" for n in (8, 16, 32, 64, 128)] + [f"k{k}" for k in (5, 7, 9)]
POINTS += [f"s{scale}" for scale in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)]
SWEPT = ",".join(name for name, one in methods().items() if one.swept)
TABLE = Table(
    name="accuracy",
    title="What the inverse loses in float32 and bfloat16",
    config=Accuracy,
    measure=measure,
    cell="{method.name}-c{channels}",
    labels={"method": "method.name", "channels": "channels"},
    columns=(Number("*_growth *_sample *_round_trip *_residual", infinite=True),),
    presets={
        "default": Preset({"points": POINTS}, {"method": SWEPT}, minutes=1),
        "tiny": Preset(
            {"points": ["n4", "n32", "k2", "s0.8"], "channels": 4, "batch": 2},
            {"method": "finc,glow"},
        ),
    },
    choices={"method": "finc"},
    times=lambda _: False,
    summary=summary,
    page=page,
    order=7,
)
