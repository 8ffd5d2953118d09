"""What each layer's inverse loses in float32 and bfloat16, against n, k and weight scale.

    python reproductions/accuracy.py -m
    python reproductions/accuracy.py -m method=finc channels=24 points=[n16,s0.2]

A cell is one method at all points. A point is ``n<size>``, ``k<size>`` or ``s<scale>`` around
n = 32, k = 3 and scale 0: a scale of 0.1 adds N(0, 0.1) to every parameter of the layer as its
paper initialises it. The rows go to ``results/data/accuracy.csv``, the page made from them is
``results/accuracy.md``.
"""

import copy
import inspect
import math
import sys
from dataclasses import dataclass, field
from typing import Any

import hydra
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from invconv import InvertibleConv, build
from invconv.conv import layer_class
from invconv.files import brief
from invconv.numerical import relative_error
from invconv.report import accuracy
from invconv.rows import Incorrect
from invconv.rows.status import classify
from invconv.sweeps.config import Method, Sweep
from invconv.sweeps.running import run_config, run_sweep
from invconv.sweeps.sweep import Application, pick_device

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
EXACT = 1e-6


@dataclass
class Accuracy(Sweep):
    """One method at all points, and where its results go."""

    method: Method = field(default_factory=Method)
    points: list[str] = field(default_factory=list)
    channels: int = 12
    batch: int = 16
    seed: int = 0
    device: str = "auto"


ConfigStore.instance().store(name="accuracy_schema", node=Accuracy)


def label(config: DictConfig) -> str:
    """The readable part of the cell's name."""
    return f"{config.method.name}-c{config.channels}"


def has_kernel_size(conv: str) -> bool:
    """Whether a registered layer has square kernels of any size."""
    parameter = inspect.signature(layer_class(conv)).parameters.get("kernel_size")
    return parameter is not None and parameter.default == 3


def make_layer(config: DictConfig, point: str) -> InvertibleConv:
    """The layer of a point, float32, as initialised and disturbed by the scale."""
    n, k, scale = accuracy.place(point)
    options: dict[str, Any] = OmegaConf.to_container(config.method.options)  # type: ignore[assignment]
    if has_kernel_size(config.method.conv):
        options["kernel_size"] = k
    torch.manual_seed(config.seed)
    layer = build(config.method.conv, (config.channels, n, n), **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return layer.eval()


@torch.no_grad()
def losses(layer: InvertibleConv, x: Tensor) -> tuple[float, float]:
    """Relative errors of inverse(forward(x)) and of forward(inverse(x)).

    The first is the round trip, the second the residual of the equation that sampling solves.
    """
    z, _ = layer(x)
    again, _ = layer(layer.inverse(x))
    return error(layer.inverse(z), x), error(again, x)


def error(found: Tensor, expected: Tensor) -> float:
    """The relative error, infinite where something has overflowed."""
    value = relative_error(found, expected)
    return math.inf if math.isnan(value) else value


@torch.no_grad()
def measure_point(config: DictConfig, point: str, device: torch.device) -> dict[str, Any]:
    """Proves the inverse in float64, then says what is lost below."""
    n, _, _ = accuracy.place(point)
    layer = make_layer(config, point).to(device)
    x = torch.randn(config.batch, config.channels, n, n).to(device)
    double, sample = copy.deepcopy(layer).double(), x.double()
    truth = double.inverse(sample)
    largest = sample.abs().max()
    growth = truth.abs().max() / largest, double(sample)[0].abs().max() / largest
    values: dict[str, Any] = {"growth": max(growth).item()}
    values["float64_round_trip"], values["float64_residual"] = losses(double, sample)
    lost = values["float64_residual"]
    if math.isfinite(values["growth"]) and not lost <= EXACT * max(1.0, values["growth"]):
        raise Incorrect(f"at {point} the inverse has a residual of {lost:.1e} in float64")
    for name, dtype in DTYPES.items():
        try:
            lower = copy.deepcopy(layer).to(dtype)
            found = losses(lower, x.to(dtype))
            values[f"{name}_sample"] = error(lower.inverse(x.to(dtype)).double(), truth)
        except (NotImplementedError, TypeError, RuntimeError) as refusal:
            if classify(refusal) == "oom":
                raise
            values[f"{name}_reason"] = brief(refusal)
        else:
            values[f"{name}_round_trip"], values[f"{name}_residual"] = found
    return values


def measure(config: DictConfig, device: torch.device) -> dict[str, Any]:
    """All points; those along k only for a layer that has a k."""
    values: dict[str, Any] = {}
    for point in config.points:
        accuracy.place(point)
        if point.startswith("k") and not has_kernel_size(config.method.conv):
            continue
        found = measure_point(config, point, device)
        values |= {f"{point}_{name}": value for name, value in found.items()}
    return values


def summary(values: dict[str, Any]) -> str:
    """The largest float32 residual on the terminal."""
    found = [value for name, value in values.items() if name.endswith("_float32_residual")]
    return f"float32 residuals of up to {max(found, default=math.nan):.1e}"


@hydra.main(version_base="1.3", config_path="conf", config_name="accuracy")
def main(config: DictConfig) -> None:
    """One method."""
    device = pick_device(config.device)
    labels = {"method": config.method.name, "channels": config.channels}
    run_config(APPLICATION, config, labels, device, lambda _: measure(config, device), summary)


APPLICATION = Application("accuracy", main, label, accuracy.write_page, times=lambda _: False)

if __name__ == "__main__":
    sys.exit(run_sweep(APPLICATION))
