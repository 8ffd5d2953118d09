"""Forward and inverse time of one FInC layer against image size n and kernel size k.

    python reproductions/scaling.py -m
    python reproductions/scaling.py -m point=n16,k5 channels=24

A point is ``n<size>`` at k = 3 or ``k<size>`` at n = 32. Torch's forwards and ours are timed
interleaved, the slow inverses in a block of their own. The rows go to
``results/data/scaling.csv``, the page made from them is ``results/scaling.md``.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import hydra
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from torch import Tensor

from invconv import solve_triangular_conv2d, triangular_conv2d
from invconv.bench import spread, time_interleaved
from invconv.bench.baselines import corner_weight, flops, pointwise, torch_forwards, tuned
from invconv.bench.memory import peak_extra_bytes
from invconv.numerical import relative_error
from invconv.report import scaling
from invconv.rows import Incorrect
from invconv.solvers import METHODS, resolve
from invconv.solvers.problem import CORNERS
from invconv.sweeps.config import Sweep
from invconv.sweeps.running import run_config, run_sweep
from invconv.sweeps.sweep import Application, pick_device

TOLERANCE = 1e-4
SHOWN = ("wavefront", "compiled", "diagonal_channel")


@dataclass
class Scaling(Sweep):
    """One point, and where its results go."""

    point: str = "n32"
    channels: int = 12
    batch: int = 100
    std: float = 0.05
    seed: int = 0
    repeats: int = 20
    slow_repeats: int = 3
    device: str = "auto"


ConfigStore.instance().store(name="scaling_schema", node=Scaling)


def label(config: DictConfig) -> str:
    """The readable part of the cell's name."""
    return f"{config.point}-c{config.channels}-b{config.batch}"


def sizes(point: str) -> tuple[int, int]:
    """(n, k) of a point."""
    axis, number = point[:1], point[1:]
    if axis not in ("n", "k") or not number.isdigit() or not int(number):
        raise ValueError(f"point must be n or k and a size, such as n64 or k5, not {point!r}")
    return (int(number), 3) if axis == "n" else (32, int(number))


def measure(config: DictConfig, device: torch.device) -> dict[str, Any]:
    """Proves every inverse, then times the fast calls interleaved, and the slow ones."""
    n, k = sizes(config.point)
    torch.manual_seed(config.seed)
    weight = corner_weight(config.channels, k, config.std).to(device)
    x = torch.randn(config.batch, config.channels, n, n).to(device)
    z = triangular_conv2d(x, weight, corners=CORNERS)
    out = torch.empty_like(z)

    def solve(method: str) -> Callable[[], Tensor]:
        return lambda: solve_triangular_conv2d(z, weight, corners=CORNERS, method=method, out=out)

    known = [name for name in SHOWN if not METHODS[name].missing(device)]
    inverses = {f"inverse_{name}": solve(name) for name in known}
    values: dict[str, Any] = {"n": n, "k": k, "input_bytes": x.numel() * x.element_size()}
    values["solver"] = resolve("auto", device)
    for name, method in {"inverse": "auto", **dict(zip(inverses, known, strict=True))}.items():
        fresh = partial(solve_triangular_conv2d, z, weight, corners=CORNERS, method=method)
        values[f"{name}_extra_bytes"] = peak_extra_bytes(fresh, device)
    for name, call in inverses.items():
        error = relative_error(call(), x)
        if not error <= TOLERANCE:
            raise Incorrect(f"{name} has a round-trip error of {error:.1e}")
        values[f"{name}_error"] = error
    forwards = torch_forwards(x, weight)
    points = pointwise(x, torch.randn(config.channels, config.channels, device=device))
    quick = {
        **forwards,
        **points,
        "forward": lambda: triangular_conv2d(x, weight, corners=CORNERS, out=out),
        "fresh": lambda: solve_triangular_conv2d(z, weight, corners=CORNERS),
        "inverse": solve("auto"),
        "again": solve("auto"),
    }
    with tuned(device) as settings:
        times = time_interleaved(quick, device, 3, config.repeats)
    values |= settings
    slow = {name: call for name, call in inverses.items() if name != "inverse_compiled"}
    times |= time_interleaved(slow, device, 1, config.slow_repeats)
    fastest = min(forwards, key=lambda name: times[name].median)
    times["torch_forward"], times["pointwise"] = (
        times[fastest],
        min((times[name] for name in points), key=lambda timing: timing.median),
    )
    for name in ("torch_forward", "pointwise", "forward", "inverse", "fresh", *slow):
        values |= times[name].values(name)
    values["aa_spread"] = spread(times["inverse"], times["again"])
    values["fastest_torch_forward"] = fastest
    values["gflops"] = 1e-9 * flops(x, weight) / times["inverse"].median
    return values


def summary(values: dict[str, Any]) -> str:
    """A point's times on the terminal."""
    names = ("torch_forward", "forward", "inverse")
    return ", ".join(f"{name} {1e3 * values[f'{name}_s']:.3f} ms" for name in names)


@hydra.main(version_base="1.3", config_path="conf", config_name="scaling")
def main(config: DictConfig) -> None:
    """One point."""
    device = pick_device(config.device)
    labels = {"point": config.point, "channels": config.channels, "batch": config.batch}
    run_config(APPLICATION, config, labels, device, lambda _: measure(config, device), summary)


APPLICATION = Application("scaling", main, label, scaling.write_page, times=lambda _: True)

if __name__ == "__main__":
    sys.exit(run_sweep(APPLICATION))
