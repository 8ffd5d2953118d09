"""Table 4 of the FInC Flow thesis: sampling with algorithm 1, algorithm 2 and our inverse.

    python reproductions/table4.py -m                  reduced width of the couplings
    python reproductions/table4.py -m preset=paper     as published
    python reproductions/table4.py -m size=mnist images=1 width=512

A cell is one model of the table, (L, K) as published, sampling 1 or 100 images with all algorithms
interleaved. The weights are random, as initialised: only time is measured. The rows go to
``results/data/table4.csv``, the page made from them is ``results/table4.md``.
"""

import sys
from dataclasses import dataclass
from functools import partial
from typing import Any

import hydra
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig

from invconv.bench import spread, time_interleaved
from invconv.bench.flow_timing import prove_round_trip, use_method
from invconv.bench.memory import keep_freed_memory
from invconv.data.presets import PRESETS
from invconv.flows import MultiScaleFlow
from invconv.report import table4
from invconv.solvers import METHODS, resolve
from invconv.sweeps.config import ModelTiming
from invconv.sweeps.running import run_config, run_sweep
from invconv.sweeps.sweep import Application, pick_device

SIZES = {"mnist": (2, 16), "cifar10": (3, 32), "imagenet32": (3, 48), "imagenet64": (3, 32)}
"""(L, K) of each model."""
ALGORITHMS = {"algorithm_1": "diagonal_channel", "algorithm_2": "diagonal_channel_4"}
INITIAL_IMAGES = 16


@dataclass
class Table4(ModelTiming):
    """One model sampling, and where its results go."""

    size: str = "mnist"
    images: int = 100


ConfigStore.instance().store(name="table4_schema", node=Table4)


def label(config: DictConfig) -> str:
    """The readable part of the cell's name."""
    return f"{config.size}-i{config.images}-w{config.width}"


def measure(config: DictConfig, device: torch.device) -> dict[str, Any]:
    """Proves the round trip with every algorithm, then times sampling with all of them."""
    if config.size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, not {config.size!r}")
    levels, steps = SIZES[config.size]
    shape = PRESETS[config.size].shape
    torch.manual_seed(config.seed)
    flow = MultiScaleFlow("finc", shape, levels, steps, config.width).to(device).eval()
    images = torch.randint(256, (INITIAL_IMAGES, *shape), device=device)
    flow.initialize(images)
    values: dict[str, Any] = {
        "parameters": sum(parameter.numel() for parameter in flow.parameters()),
        "solver": resolve("auto", device),
        "memory_kept": keep_freed_memory(device),
    }
    methods = {"ours": "auto"}
    for name, method in ALGORITHMS.items():
        reason = METHODS[method].missing(device)
        if reason:
            values[f"{name}_reason"] = reason
        else:
            methods[name] = method
    for name, method in methods.items():
        use_method(flow, method)
        values[f"{name}_round_trip"] = prove_round_trip(flow, images).get("round_trip_error")

    methods["again"] = "auto"
    calls = dict.fromkeys(methods, partial(flow.sample, config.images))
    times = time_interleaved(
        calls, device, config.warmup, config.repeats, lambda name: use_method(flow, methods[name])
    )
    again = times.pop("again")
    for name, timing in times.items():
        values |= timing.values(name)
    values["aa_spread"] = spread(times["ours"], again)
    values["repeats"] = config.repeats
    return values


def summary(values: dict[str, Any]) -> str:
    """A cell's times on the terminal."""
    names = [name for name in ("ours", *ALGORITHMS) if f"{name}_s" in values]
    return ", ".join(f"{name} {values[f'{name}_s']:.4f} s" for name in names)


@hydra.main(version_base="1.3", config_path="conf", config_name="table4")
def main(config: DictConfig) -> None:
    """One model sampling."""
    device = pick_device(config.device)
    labels = {"size": config.size, "images": config.images, "width": config.width}
    run_config(APPLICATION, config, labels, device, lambda _: measure(config, device), summary)


APPLICATION = Application("table4", main, label, table4.write_page, times=lambda _: True)

if __name__ == "__main__":
    sys.exit(run_sweep(APPLICATION))
