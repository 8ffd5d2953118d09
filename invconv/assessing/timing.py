"""Forward and sampling time of a flow around a layer, in one block with the flow around Glow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from invconv.assessing.target import find
from invconv.bench import Clock, Measured, Process, time_block
from invconv.bench.flow_timing import flow_ratios, time_flows
from invconv.conv import Shape
from invconv.flows import LevelFlow, MultiScaleFlow
from invconv.rows import Block, Values

GLOW, LAYER = "glow", "layer"
INITIAL_IMAGES = 16
COMPARED = 2
"""Ratios: FT and ST of the layer, each divided by Glow's."""
QUICK = Clock(rounds=6, warmup=1)


@dataclass
class Timing:
    """What is timed.

    Attributes:
        layer, options: as in `find`.
        shape: (C, H, W) of the images.
        batch: how many are timed at once.
        levels, steps_per_level, width: of both flows, see `invconv.flows.MultiScaleFlow`.
    """

    layer: str | type[nn.Module]
    options: Mapping[str, Any]
    shape: Shape
    batch: int
    levels: int
    steps_per_level: int
    width: int
    clock: Clock = field(default_factory=Clock)


def time_with_glow(config: Timing, device: torch.device) -> Block:
    """Verify both flows, then time them: in fresh processes, where those can import the layer."""
    fresh = None if isinstance(config.layer, str) else False
    ratios = [one for one in flow_ratios(GLOW) if one.name in ("ft_vs_glow", "st_vs_glow")]
    return time_block(_time, config, device, config.clock, ratios, COMPARED, fresh)


def _time(config: Timing, device: torch.device, process: Process) -> Measured:
    target = find(config.layer, config.options)
    torch.manual_seed(0)
    size = (max(INITIAL_IMAGES, config.batch), *config.shape)
    images = torch.randint(256, size).byte().to(device)

    def build(name: str) -> tuple[LevelFlow, Values]:
        conv, options = (target.conv, target.options) if name == LAYER else (GLOW, {})
        torch.manual_seed(0)
        flow = MultiScaleFlow(
            conv, config.shape, config.levels, config.steps_per_level, config.width, options
        ).to(device)
        flow.initialize(images[:INITIAL_IMAGES])
        return flow, {"parameters": sum(one.numel() for one in flow.parameters())}

    whole = (GLOW, LAYER), build, images, config.batch
    return time_flows(*whole, config.clock, process, GLOW, kinds=("ft", "st"))
