"""Table 1 of the FInC Flow paper: what one layer stores and computes, counted.

    python reproductions/table1.py -m
    python reproductions/table1.py -m channels=48 n=16 method=emerging

The rows go to ``results/data/table1.csv``, the page made from them is ``results/table1.md``.
"""

import copy
import sys
from dataclasses import dataclass, field
from typing import Any

import hydra
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from invconv import build
from invconv.bench.counting import count_inverse, count_log_det, count_parameters
from invconv.numerical import relative_error
from invconv.report import table1
from invconv.rows import Incorrect
from invconv.sweeps.config import Method, Sweep
from invconv.sweeps.running import run_config, run_sweep
from invconv.sweeps.sweep import Application

CPU = torch.device("cpu")
TOLERANCE = 1e-10


@dataclass
class Table1(Sweep):
    """One layer at one size, and where its results go."""

    method: Method = field(default_factory=Method)
    channels: int = 12
    n: int = 32


ConfigStore.instance().store(name="table1_schema", node=Table1)


def label(config: DictConfig) -> str:
    """The readable part of the cell's name."""
    return f"{config.method.name}-c{config.channels}-n{config.n}"


def measure(config: DictConfig) -> dict[str, Any]:
    """Counts one layer, after its round trip was proved."""
    shape = (config.channels, config.n, config.n)
    options: dict[str, Any] = OmegaConf.to_container(config.method.options)  # type: ignore[assignment]
    torch.manual_seed(0)
    layer = build(config.method.conv, shape, **options)
    double = copy.deepcopy(layer).double()
    x = torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():
        error = relative_error(double.inverse(double(x)[0]), x)
    if layer.exact and not error <= TOLERANCE:
        raise Incorrect(f"the inverse is not exact: its round-trip error is {error:.1e}")
    stored, free = count_parameters(layer, shape)
    return {
        "stored": stored,
        "free": free,
        "dependent_steps": layer.dependent_steps(config.n, config.n),
        "inverse_operations": count_inverse(layer, shape),
        "log_det_operations": count_log_det(layer, shape),
        "exact": "exact" if layer.exact else "approx",
        "round_trip_error": error,
    }


@hydra.main(version_base="1.3", config_path="conf", config_name="table1")
def main(config: DictConfig) -> None:
    """One layer."""
    labels = {
        "method": config.method.name,
        "channels": config.channels,
        "n": config.n,
        "k": config.method.options.get("kernel_size", 3),
    }
    run_config(
        APPLICATION,
        config,
        labels,
        CPU,
        lambda _: measure(config),
        lambda values: (
            f"{values['free']} free parameters, {values['dependent_steps']} dependent steps"
        ),
    )


APPLICATION = Application("table1", main, label, table1.write_page, times=lambda _: False)

if __name__ == "__main__":
    sys.exit(run_sweep(APPLICATION))
