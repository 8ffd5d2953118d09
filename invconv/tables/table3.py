"""Table 3 of the FInC Flow paper: FInC and MaCow with as many parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import MISSING

from invconv.bench import time_flow
from invconv.flows.published import FINC_K28, MACOW_FG, MACOW_ORG, WIDTH
from invconv.methods import method
from invconv.report import Line, Match, Plot
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.grids import CELLS, cells, compared, page_of_blocks
from invconv.rows import Values
from invconv.rows.columns import FLOW, Seconds
from invconv.sweeps.config import ModelTiming, Preset, neutral
from invconv.tables.table import Table
from invconv.tables.table2_page import IMAGES, TIMES
from invconv.training import build_flow

SHAPE = (3, 32, 32)
INITIAL_IMAGES = 16


@dataclass(frozen=True)
class Model:
    """One of the models: its names, a kind of flow with its arguments, and whose look it has."""

    title: str
    dequantization: str
    kind: str
    architecture: Mapping[str, object]
    method: str


MODELS = {
    "macow_fg": Model("MaCow-FG", "uniform", "macow_fg", MACOW_FG, "macow"),
    "macow_org": Model("MaCow-org", "variational", "macow_fg", MACOW_ORG, "macow"),
    "finc_k28": Model("FInC", "uniform", "multiscale", FINC_K28, "finc"),
}
TITLES = {name: model.title for name, model in MODELS.items()}
SWEEP = {"flow": ",".join(MODELS)}


@dataclass
class Flow:
    """One of the models: its name, a kind of flow, and that flow's arguments."""

    name: str = MISSING
    kind: str = MISSING
    architecture: dict[str, Any] = field(default_factory=dict)


@dataclass
class Table3(ModelTiming):
    """One model; no coupling is wider than ``width``, no level has more than ``steps``."""

    flow: Flow = field(default_factory=Flow)
    images: int = 100
    steps: int = neutral(100)


def reduced(value: object, limits: Mapping[str, int], key: str = "") -> object:
    """Return a flow's arguments with every number at most the limit for its name.

    >>> reduced({"steps": [4, [12, 12]], "factor": 4}, {"steps": 2})
    {'steps': [2, [2, 2]], 'factor': 4}
    """
    if isinstance(value, dict):
        return {name: reduced(inner, limits, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [reduced(inner, limits, key) for inner in value]
    return min(limits[key], value) if key in limits and isinstance(value, int) else value


def measure(config: Table3, device: torch.device, _: Path) -> Values:
    """Build the flow with random weights, verify its round trip and time it."""
    limits = {"width": config.width, "widths": config.width, "steps": config.steps}
    whole = {"kind": config.flow.kind, "shape": SHAPE, **config.flow.architecture}
    torch.manual_seed(config.seed)
    flow = build_flow({key: reduced(value, limits, key) for key, value in whole.items()})
    flow.to(device)
    images = torch.randint(256, (max(INITIAL_IMAGES, config.images), *SHAPE), device=device)
    flow.initialize(images[:INITIAL_IMAGES])
    timed = images[: config.images]
    return {
        "parameters": sum(parameter.numel() for parameter in flow.parameters()),
        "dequantization": flow.dequantization_name,
        **time_flow(flow, timed, config.warmup, config.repeats, training=False, published=1),
    }


def _lines(block: pd.DataFrame, figures: pd.DataFrame) -> Iterator[Line]:
    """One line per model; ratios to published times at full size alone."""
    full = not block.empty and tuple(block[["width", "images"]].iloc[0]) == (WIDTH, IMAGES)
    for name, model in MODELS.items():
        row = bl.only(block, model=name)
        stated = partial(bl.published_entry, figures, model=model.title)
        line = {
            "model": model.title,
            "dequantisation": model.dequantization,
            "parameters published": stated(en.whole, metric="parameters"),
            "exactly": stated(en.whole, metric="parameters_exact"),
            "parameters": CELLS["stored"](row),
        }
        for time in ("FT", "ST"):
            metric, measured = f"{time.lower()}_s", CELLS[f"{time} s"](row)
            line |= compared(row, f"{time} s,", metric, stated(metric=metric), measured, full)
        line |= cells(row, "ST/FT", "ST s, paper's algorithm", "A/A")
        yield line | {"round trip": en.value(row, "round_trip_error", "{:.1e}".format)}


TABLE = Table(
    name="table3",
    title="Table 3: FInC and MaCow with as many parameters",
    config=Table3,
    measure=measure,
    cell="{flow.name}-i{images}-w{width}",
    labels={"model": "flow.name", "images": "images", "width": "width"},
    columns=(Seconds("ft st st_published"), *FLOW),
    presets={
        "default": Preset({"width": 32}, SWEEP, minutes=2),
        "tiny": Preset({"width": 4, "steps": 1, "images": 2, "warmup": 0, "repeats": 2}, SWEEP),
        "paper": Preset({"width": WIDTH}, SWEEP),
    },
    choices={"flow": "finc_k28"},
    groups={
        "flow": {
            name: {"name": name, "kind": model.kind, "architecture": dict(model.architecture)}
            for name, model in MODELS.items()
        }
    },
    headline="parameters ft_s st_s",
    page=partial(page_of_blocks, Path(__file__).with_suffix(".md.j2"), _lines, ["flow"]),
    plots=(
        Plot(
            title="{column}",
            columns=TIMES,
            x="model",
            order=TITLES,
            series="model",
            looks={
                name: (model.title, method(model.method).color, method(model.method).marker)
                for name, model in MODELS.items()
            },
            apart=("images", "width"),
        ),
    ),
    match=Match(model="model", titles=TITLES, dataset=""),
    order=3,
)
