"""Table 3 of the FInC Flow paper: FInC and MaCow with as many parameters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from omegaconf import MISSING

from invconv.bench import time_flow
from invconv.flows.published import FINC_K28, MACOW_FG, MACOW_ORG, WIDTH
from invconv.methods import COLOR, MARKER, method
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.document import Document
from invconv.report.entries import Grid
from invconv.report.explorer.matches import Place
from invconv.report.explorer.points import Figure, figure, point, published_points
from invconv.report.published import published
from invconv.rows import Values
from invconv.rows.columns import FLOW, Seconds
from invconv.sweeps.application import Preset
from invconv.sweeps.config import ModelTiming, neutral
from invconv.tables.table import Table
from invconv.tables.table2_page import TIMES
from invconv.training import build_flow

SHAPE = (3, 32, 32)
INITIAL_IMAGES = 16
IMAGES = 100
"""How many of them the published times are for."""


@dataclass(frozen=True)
class Model:
    """One of the table's models.

    Attributes:
        title: on the page and in the paper.
        dequantization: what the page calls it.
        kind: of flow, see `invconv.training.build_flow`.
        architecture: its arguments.
        method: whose look it has.
    """

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

    >>> from invconv.tables.table3 import reduced
    >>> reduced({"steps": [4, [12, 12]], "factor": 4}, {"steps": 2})
    {'steps': [2, [2, 2]], 'factor': 4}
    """
    if isinstance(value, dict):
        return {name: reduced(inner, limits, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [reduced(inner, limits, key) for inner in value]
    limit = limits.get(key)
    return min(limit, value) if limit is not None and isinstance(value, int) else value


def measure(config: Table3, device: torch.device, _: Path) -> Values:
    """Build the flow with random weights, verify its round trip and time it."""
    limits = {"width": config.width, "widths": config.width, "steps": config.steps}
    architecture = {
        name: reduced(value, limits, name) for name, value in config.flow.architecture.items()
    }
    torch.manual_seed(config.seed)
    flow = build_flow({"kind": config.flow.kind, "shape": SHAPE, **architecture}).to(device)
    images = torch.randint(256, (max(INITIAL_IMAGES, config.images), *SHAPE), device=device)
    flow.initialize(images[:INITIAL_IMAGES])
    timed = images[: config.images]
    return {
        "parameters": sum(parameter.numel() for parameter in flow.parameters()),
        "dequantization": flow.dequantization_name,
        **time_flow(flow, timed, config.warmup, config.repeats, training=False, published=1),
    }


def summary(values: Values) -> str:
    """Say a cell's times on the terminal."""
    times = f"FT {values['ft_s']:.3f} s, ST {values['st_s']:.3f} s"
    return f"{values['parameters']:,} parameters, {times}"


def page(rows: pd.DataFrame) -> Document:
    """Make the page from the rows and the published figures."""
    figures = published("table3")
    found = [
        {
            "origin": bl.origin(block),
            "images": int(block["images"].iloc[0]),
            "width": int(block["width"].iloc[0]),
            "times": _grid(block, figures),
            "failures": bl.failures(block),
            "lossy": bl.lossy(block),
        }
        for block in bl.blocks(rows, "flow")
    ]
    context = {
        "blocks": found,
        "empty": None if found else _grid(rows, figures),
        "full": WIDTH,
        "published": bl.published_notes(figures),
    }
    return Document("table3", Path(__file__).with_suffix(".md.j2"), context)


def _grid(block: pd.DataFrame, figures: pd.DataFrame) -> Grid:
    """One line per model; ratios to published times at full size alone."""
    full = not block.empty and tuple(block[["width", "images"]].iloc[0]) == (WIDTH, IMAGES)
    lines = []
    for name, model in MODELS.items():
        row = bl.only(block, model=name)

        def stated(metric: str, title: str = model.title) -> en.Entry:
            form = en.whole if metric.startswith("parameters") else None
            return bl.published_entry(figures, form, model=title, metric=metric)

        line = {
            "model": model.title,
            "dequantisation": model.dequantization,
            "parameters published": stated("parameters"),
            "exactly": stated("parameters_exact"),
            "parameters": en.value(row, "parameters", en.whole),
        }
        measured = {"FT": en.quartiles(row, "ft"), "ST": bl.sampling_time(row)}
        for title, entry in measured.items():
            metric = f"{title.lower()}_s"
            line[f"{title} s, published"] = stated(metric)
            line[f"{title} s, measured"] = entry
            if full:
                line[f"{title} ratio"] = en.against(row, metric, stated(metric))
        line["ST/FT"] = en.quotient(row, "st_s", row, "ft_s")
        line["ST s, paper's algorithm"] = en.quartiles(row, "st_published")
        line["A/A"] = en.value(row, "aa_spread", "{:.1%}".format)
        line["round trip"] = en.value(row, "round_trip_error", "{:.1e}".format)
        lines.append(line)
    return Grid(lines)


def explore(rows: pd.DataFrame) -> Iterator[Figure]:
    """Show each time against the model."""
    models = {name: (model.title, method(model.method)) for name, model in MODELS.items()}
    looks = {title: (title, look.color, look.marker) for title, look in models.values()}
    for metric, title in TIMES.items():
        points = []
        for i, row in rows.iterrows():
            name = models.get(row["model"], (row["model"],))[0]
            found = point(i, row, name, metric, ("images", "width"))
            if found is not None:
                points.append(((*looks.get(name, (name, COLOR, MARKER)), "-"), found))
        if points:
            points += published_points("table3", {t: t for t in looks}, looks, metric=metric)
        yield figure(title, "", "seconds", points, log=None, order=list(looks), legend=False)


def match(figure: Mapping[str, str]) -> Place:
    """The column and the model of a published figure."""
    titles = {name: model.title for name, model in MODELS.items()}
    names = [name for name, title in titles.items() if title == figure["model"]]
    return figure["metric"], {"model": names}


TABLE = Table(
    name="table3",
    title="Table 3: FInC and MaCow with as many parameters",
    config=Table3,
    measure=measure,
    cell="{flow.name}-i{images}-w{width}",
    labels={"model": "flow.name", "images": "images", "width": "width"},
    columns=(Seconds("ft st st_published"), *FLOW),
    presets={
        "default": Preset({"width": 32}, {"flow": ",".join(MODELS)}, minutes=2),
        "tiny": Preset(
            {"width": 4, "steps": 1, "images": 2, "warmup": 0, "repeats": 2},
            {"flow": ",".join(MODELS)},
        ),
        "paper": Preset({"width": WIDTH}, {"flow": ",".join(MODELS)}),
    },
    choices={"flow": "finc_k28"},
    groups={
        "flow": {
            name: {"name": name, "kind": model.kind, "architecture": dict(model.architecture)}
            for name, model in MODELS.items()
        }
    },
    summary=summary,
    page=page,
    explore=explore,
    match=match,
    order=3,
)
