"""Figure 4 of the FInC Flow paper: sampling time against image size and batch.

    python reproductions/figure4.py -m                 reduced width of the couplings
    python reproductions/figure4.py -m preset=paper    as published
    python reproductions/figure4.py -m method=finc size=128x128 batches=[128]

A cell is one flow, (L, K) = (2, 10) with random weights, on two-channel input of one size; it
samples batches of 1 to 128. A size such as rgb-32x32 is the older run's model, (2, 16) on three
channels, sampling 100 images. The rows go to ``results/data/figure4.csv``, the page made from
them is ``results/figure4.md``.
"""

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import hydra
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from invconv.bench import spread, time_interleaved
from invconv.bench.flow_timing import prove_published, prove_round_trip, published_inverses
from invconv.bench.memory import keep_freed_memory
from invconv.flows import MultiScaleFlow
from invconv.report import figure4
from invconv.sweeps.config import Method, ModelTiming
from invconv.sweeps.running import run_config, run_sweep
from invconv.sweeps.sweep import Application, pick_device

INITIAL_IMAGES = 16


@dataclass
class Figure4(ModelTiming):
    """One method at one size, and where its results go."""

    method: Method = field(default_factory=Method)
    size: str = "32x32"
    batches: list[int] = field(default_factory=lambda: list(figure4.BATCHES))
    repeats: int = 3


ConfigStore.instance().store(name="figure4_schema", node=Figure4)


def label(config: DictConfig) -> str:
    """The readable part of the cell's name."""
    return f"{config.method.name}-{config.size}-w{config.width}"


def model(size: str) -> tuple[tuple[int, int, int], int, int]:
    """(C, H, W), L and K of a size."""
    found = re.fullmatch(r"(rgb-)?([1-9]\d*)x([1-9]\d*)", size)
    if not found:
        raise ValueError(f"size must be such as 64x128 or rgb-32x32, not {size!r}")
    height, width = int(found[2]), int(found[3])
    return ((3, height, width), 2, 16) if found[1] else ((2, height, width), 2, 10)


def measure(config: DictConfig, device: torch.device) -> dict[str, Any]:
    """Proves the round trip, then times sampling for every batch size."""
    shape, levels, steps = model(config.size)
    options: dict[str, Any] = OmegaConf.to_container(config.method.options)  # type: ignore[assignment]
    torch.manual_seed(config.seed)
    flow = MultiScaleFlow(
        config.method.conv, shape, levels, steps, config.width, options, step=config.method.step
    )
    flow = flow.to(device).eval()
    images = torch.randint(256, (INITIAL_IMAGES, *shape), device=device)
    flow.initialize(images)
    values: dict[str, Any] = {"height": shape[1], "image_width": shape[2]}
    values["parameters"] = sum(parameter.numel() for parameter in flow.parameters())
    values["memory_kept"] = keep_freed_memory(device)
    values |= prove_round_trip(flow, images) | prove_published(flow, images)
    rgb = config.size.startswith("rgb")
    for batch in [figure4.RGB_BATCH] if rgb else config.batches:
        sample: Callable[[], Any] = partial(flow.sample, batch)
        times = time_interleaved(
            {"st": sample, "again": sample}, device, config.warmup, config.repeats
        )
        values[f"aa_spread_{batch}"] = spread(times["st"], times["again"])
        with published_inverses(flow) as known:
            if known:
                times |= time_interleaved({"published": sample}, device, 0, 1)
        if known:
            values[f"st_published_{batch}_s"] = times["published"].median
        values |= times["st"].values(f"st_{batch}")
    values["repeats"] = config.repeats
    return values


def summary(values: dict[str, Any]) -> str:
    """A cell's times on the terminal."""
    times = {name: time for name, time in values.items() if re.fullmatch(r"st_\d+_s", name)}
    return ", ".join(f"{name.split('_')[1]}: {time:.4f} s" for name, time in times.items())


@hydra.main(version_base="1.3", config_path="conf", config_name="figure4")
def main(config: DictConfig) -> None:
    """One method at one size."""
    device = pick_device(config.device)
    labels = {"method": config.method.name, "size": config.size, "width": config.width}
    run_config(APPLICATION, config, labels, device, lambda _: measure(config, device), summary)


APPLICATION = Application("figure4", main, label, figure4.write_page, times=lambda _: True)

if __name__ == "__main__":
    sys.exit(run_sweep(APPLICATION))
