"""Table 3 of the FInC Flow paper: FInC and MaCow with as many parameters, on 32×32 RGB images.

    python reproductions/table3.py -m                  reduced width of the couplings
    python reproductions/table3.py -m preset=paper     as published
    python reproductions/table3.py -m flow=finc_k28 width=512 images=10

The weights are random, as initialised: only time is measured. The rows go to
``results/data/table3.csv``, the page made from them is ``results/table3.md``.
"""

import sys
from dataclasses import dataclass, field
from typing import Any

import hydra
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from invconv.bench import time_flow
from invconv.report import table3
from invconv.sweeps.config import ModelTiming
from invconv.sweeps.running import run_config, run_sweep
from invconv.sweeps.sweep import Application, pick_device
from invconv.training import build_flow

SHAPE = (3, 32, 32)
INITIAL_IMAGES = 16


@dataclass
class Flow:
    """One of the models: its name, a kind of flow, and that flow's arguments."""

    name: str = MISSING
    kind: str = MISSING
    architecture: dict[str, Any] = field(default_factory=dict)


@dataclass
class Table3(ModelTiming):
    """One model, and where its results go; no coupling is wider than ``width``."""

    flow: Flow = field(default_factory=Flow)
    images: int = 100


ConfigStore.instance().store(name="table3_schema", node=Table3)


def label(config: DictConfig) -> str:
    """The readable part of the cell's name."""
    return f"{config.flow.name}-i{config.images}-w{config.width}"


def narrowed(value: Any, width: int, key: str = "") -> Any:
    """The arguments of a flow with every entry of ``width`` and ``widths`` at most ``width``."""
    if isinstance(value, dict):
        return {name: narrowed(inner, width, name) for name, inner in value.items()}
    if key == "widths":
        return [min(width, entry) for entry in value]
    return min(width, value) if key == "width" else value


def measure(config: DictConfig, device: torch.device) -> dict[str, Any]:
    """Builds the flow with random weights, proves its round trip and times it."""
    architecture = narrowed(OmegaConf.to_container(config.flow.architecture), config.width)
    torch.manual_seed(config.seed)
    flow = build_flow({"kind": config.flow.kind, "shape": SHAPE, **architecture}).to(device)
    images = torch.randint(256, (max(INITIAL_IMAGES, config.images), *SHAPE), device=device)
    flow.initialize(images[:INITIAL_IMAGES])
    return {
        "parameters": sum(parameter.numel() for parameter in flow.parameters()),
        "dequantization": flow.dequantization_name,
        **time_flow(
            flow,
            images[: config.images],
            config.warmup,
            config.repeats,
            training=False,
            published=1,
        ),
    }


def summary(values: dict[str, Any]) -> str:
    """A cell's times on the terminal."""
    times = f"FT {values['ft_s']:.3f} s, ST {values['st_s']:.3f} s"
    return f"{values['parameters']:,} parameters, {times}"


@hydra.main(version_base="1.3", config_path="conf", config_name="table3")
def main(config: DictConfig) -> None:
    """One model."""
    device = pick_device(config.device)
    labels = {"model": config.flow.name, "images": config.images, "width": config.width}
    run_config(APPLICATION, config, labels, device, lambda _: measure(config, device), summary)


APPLICATION = Application("table3", main, label, table3.write_page, times=lambda _: True)

if __name__ == "__main__":
    sys.exit(run_sweep(APPLICATION))
