"""Table 3 of the FInC Flow paper: FInC and MaCow with as many parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from invconv.bench import Measured, Process, time_block
from invconv.bench.flow_timing import KINDS, flow_ratios, time_flows
from invconv.flows import LevelFlow, build_flow
from invconv.flows.published import FINC_K28, MACOW_FG, MACOW_ORG, WIDTH
from invconv.methods import method
from invconv.report import Line, Match, Plot
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.findings import sentence
from invconv.report.grids import CELLS, cells, page_of_blocks
from invconv.rows import Block, Values
from invconv.rows.columns import FLOW, Ratio, Seconds
from invconv.sweeps.config import QUICK, ModelTiming, Preset, neutral
from invconv.tables.table import Table
from invconv.tables.table2_page import TITLES as TIMES
from invconv.validation import check_choice

SHAPE = (3, 32, 32)
INITIAL_IMAGES = 16
REFERENCE = "finc_k28"


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


@dataclass
class Table3(ModelTiming):
    """The ``models`` in one block; no coupling is wider than ``width``, no level has more than
    ``steps``.
    """

    models: list[str] = field(default_factory=lambda: list(MODELS))
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


def measure(config: Table3, device: torch.device, _: Path) -> Block:
    """Verify and time all models in one block."""
    among = 3 * (len(MODELS) - 1)  # FT, ST and the paper's ST
    return time_block(time_models, config, device, config.clock, flow_ratios(REFERENCE), among)


def time_models(config: Table3, device: torch.device, process: Process) -> Measured:
    """Build the models with random weights, verify them, and time them."""
    limits = {"width": config.width, "widths": config.width, "steps": config.steps}
    images = torch.randint(256, (max(INITIAL_IMAGES, config.images), *SHAPE), device=device)

    def build(name: str) -> tuple[LevelFlow, Values]:
        model = MODELS[check_choice(name, MODELS, "model")]
        whole = {"kind": model.kind, "shape": SHAPE, **model.architecture}
        torch.manual_seed(config.seed)
        flow = build_flow({key: reduced(value, limits, key) for key, value in whole.items()})
        flow.to(device).initialize(images[:INITIAL_IMAGES])
        stored = sum(parameter.numel() for parameter in flow.parameters())
        return flow, {"parameters": stored, "dequantization": flow.dequantization_name}

    kinds = [kind for kind in KINDS if kind != "train_step"]
    what = config.models, build, images, config.images
    return time_flows(*what, config.clock, process, REFERENCE, "model", kinds)


def _lines(block: pd.DataFrame, figures: pd.DataFrame) -> Iterator[Line]:
    """One line per model."""
    for name, model in MODELS.items():
        row = bl.only(block, model=name)
        stated = partial(bl.published_entry, figures, model=model.title)
        line = {
            "model": model.title,
            "dequantization": model.dequantization,
            "parameters published": stated(en.whole, metric="parameters"),
            "exactly": stated(en.whole, metric="parameters_exact"),
            "parameters": CELLS["stored"](row),
        }
        for time in ("FT", "ST"):
            line[f"{time} s, published"] = stated(metric=f"{time.lower()}_s")
            line[f"{time} s, measured"] = CELLS[f"{time} s"](row)
            divided = bl.sampling_ratio if time == "ST" else en.ratio
            ratio = divided(row, f"{time.lower()}_vs_{REFERENCE}")
            line[f"{time} ÷ FInC"] = "1" if row is not None and name == REFERENCE else ratio
        line |= cells(row, "ST ÷ FT", "paper's ST ÷ ST", "round trip")
        yield line


TABLE = Table(
    name="table3",
    title="Table 3: FInC and MaCow with as many parameters",
    question="Is FInC faster than MaCow with as many parameters?",
    config=Table3,
    measure=measure,
    cell="i{images}-w{width}",
    labels={"images": "images", "width": "width"},
    parts="model",
    columns=(
        Seconds("ft ft_again ft_cold st st_again st_published"),
        Ratio(" ".join(rule.name for rule in flow_ratios(REFERENCE))),
        *FLOW,
    ),
    presets={
        "default": Preset({"width": 32}, minutes=3),
        "tiny": Preset({"width": 4, "steps": 1, "images": 2, "clock": QUICK}),
        "paper": Preset({"width": WIDTH, "clock": {"rounds": 6, "processes": 3}}),
    },
    headline="ft_s st_s",
    page=partial(page_of_blocks, Path(__file__).with_suffix(".md.j2"), _lines, []),
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
    finding=sentence(
        "Relative to FInC, sampling takes {} times as long, a forward pass {} times.",
        f"st_vs_{REFERENCE}",
        f"ft_vs_{REFERENCE}",
        called=lambda row: TITLES[row["model"]],
    ),
    match=Match(model="model", titles=TITLES, dataset=""),
    order=3,
)
