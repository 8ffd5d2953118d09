"""Table 4 of the FInC Flow thesis: sampling with algorithm 1, algorithm 2 and our inverse."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from invconv.bench import spread, time_interleaved
from invconv.bench.flow_timing import use_method, verify_round_trip
from invconv.bench.memory import keep_freed_memory
from invconv.data import DATASETS
from invconv.flows import MultiScaleFlow
from invconv.flows.published import FINC, WIDTH
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.document import Document
from invconv.report.entries import Grid
from invconv.report.explorer.matches import Place
from invconv.report.explorer.points import Figure, figure, point, published_points
from invconv.report.published import published
from invconv.rows import Values
from invconv.rows.columns import FLOW, Error, Seconds
from invconv.solvers import METHODS, resolve
from invconv.sweeps.application import Preset
from invconv.sweeps.config import ModelTiming
from invconv.tables.table import Table

MODELS = {"mnist": "mnist", "cifar10": "cifar10", "imagenet32": "imagenet32"}
MODELS |= {"imagenet64": "imagenet64_k32"}
"""Image size → its model in `FINC`."""
IMAGES = (1, 100)
ALGORITHMS = {"algorithm_1": "diagonal_channel", "algorithm_2": "diagonal_channel_4"}
"""Column → method of the solver."""
INITIAL_IMAGES = 16


@dataclass
class Table4(ModelTiming):
    """One model sampling."""

    size: str = "mnist"
    images: int = 100


def measure(config: Table4, device: torch.device, _: Path) -> Values:
    """Verifies the round trip with every algorithm, then times sampling with all of them."""
    if config.size not in MODELS:
        raise ValueError(f"size must be one of {', '.join(MODELS)}, not {config.size!r}")
    levels, steps = FINC[MODELS[config.size]]
    shape = DATASETS[config.size].shape
    assert shape is not None
    torch.manual_seed(config.seed)
    flow = MultiScaleFlow("finc", shape, levels, steps, config.width).to(device).eval()
    images = torch.randint(256, (INITIAL_IMAGES, *shape), device=device)
    flow.initialize(images)
    values: Values = {
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
        values[f"{name}_round_trip"] = verify_round_trip(flow, images).get("round_trip_error")

    methods["again"] = "auto"
    calls = dict.fromkeys(methods, partial(flow.sample, config.images))
    times = time_interleaved(
        calls, device, config.warmup, config.repeats, lambda name: use_method(flow, methods[name])
    )
    again = times.pop("again")
    for name, timing in times.items():
        values |= timing.values(name)
    return values | {"aa_spread": spread(times["ours"], again), "repeats": config.repeats}


def summary(values: Values) -> str:
    """A cell's times on the terminal."""
    names = [name for name in ("ours", *ALGORITHMS) if f"{name}_s" in values]
    return ", ".join(f"{name} {values[f'{name}_s']:.4f} s" for name in names)


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows and the published figures."""
    figures = published("table4")
    found = [
        {
            "origin": bl.origin(block),
            "width": int(block["width"].iloc[0]),
            "times": _grid(block, figures),
            "failures": bl.failures(block),
            "absent": _absent(block),
        }
        for block in bl.blocks(rows, "size", "images")
    ]
    return Document(
        "table4",
        Path(__file__).with_suffix(".md.j2"),
        {
            "blocks": found,
            "empty": None if found else _grid(rows, figures),
            "full": WIDTH,
            "published": bl.published_notes(figures),
        },
    )


def _title(size: str) -> str:
    levels, steps = FINC[MODELS[size]]
    return f"{DATASETS[size].title} ({levels}, {steps})"


def _grid(block: pd.DataFrame, figures: pd.DataFrame) -> Grid:
    """One line per model and number of images; ratios to published times at full width alone."""
    full = not block.empty and int(block["width"].iloc[0]) == WIDTH
    lines = []
    for size in MODELS:
        for images in IMAGES:
            row = bl.only(block, size=size, images=images)
            model = {"model": "FInC", "dataset": size}
            stated = {
                name: bl.published_entry(figures, en.whole, **model, metric=name)
                for name in ("parameters", "parameters_exact")
            }
            line = {
                "model (L, K)": _title(size),
                "images": str(images),
                "parameters published": stated["parameters"],
                "exactly": stated["parameters_exact"],
                "parameters": en.value(row, "parameters", en.whole),
            }
            for name in ALGORITHMS:
                title = name.replace("_", " ")
                theirs = bl.published_entry(
                    figures, model=title, dataset=size, metric=f"st_{images}_s"
                )
                line[f"{title} published"] = theirs
                line[f"{title} measured"] = en.quartiles(row, name)
                if full:
                    line[f"{title} ratio"] = en.against(row, f"{name}_s", theirs)
            line["ours"] = bl.sampling_time(row, "ours", "ours_round_trip")
            line["A/A"] = en.value(row, "aa_spread", "{:.1%}".format)
            lines.append(line)
    return Grid(lines)


def _absent(block: pd.DataFrame) -> list[str]:
    """Why an algorithm was not measured."""
    reasons = {name: block.get(f"{name}_reason", pd.Series(dtype=object)) for name in ALGORITHMS}
    return [
        f"{name.replace('_', ' ')}: not measured: {reason}."
        for name, found in reasons.items()
        for reason in dict.fromkeys(found.dropna())
    ]


def explore(rows: pd.DataFrame) -> Iterator[Figure]:
    """Sampling time against the model, one figure for each number of images."""
    looks = {
        "algorithm_1": ("algorithm 1", "#117733", "x"),
        "algorithm_2": ("algorithm 2", "#44AA99", "P"),
        "ours": ("ours", "#CC6677", "D"),
    }
    names = {size: _title(size) for size in MODELS}
    for images in sorted(rows["images"].unique()):
        points = []
        for i, row in rows[rows["images"] == images].iterrows():
            x = names.get(row["size"], row["size"])
            for field, look in looks.items():
                found = point(i, row, x, f"{field}_s", ("width",))
                if found is not None:
                    points.append(((*look, "-"), found))
        theirs = {look[0]: look for look in looks.values()}
        points += published_points("table4", names, theirs, metric=f"st_{int(images)}_s")
        title = f"sampling time of {int(images)} images"
        yield figure(title, "", "seconds", points, log=None, order=list(names.values()))


def match(figure: Mapping[str, str]) -> Place:
    """The column of an algorithm's published time, or of the model's size."""
    times = {name.replace("_", " "): f"{name}_s" for name in ALGORITHMS}
    labels: dict[str, list[object]] = {"size": [figure["dataset"]]}
    if figure["model"] not in times:
        return figure["metric"], labels
    return times[figure["model"]], {**labels, "images": [int(figure["metric"].split("_")[1])]}


TABLE = Table(
    name="table4",
    title="Table 4: FInC's algorithms 1 and 2, and ours",
    config=Table4,
    measure=measure,
    cell="{size}-i{images}-w{width}",
    labels={"size": "size", "images": "images", "width": "width"},
    columns=(
        Seconds("ours algorithm_?"),
        Error("ours_round_trip algorithm_?_round_trip"),
        *FLOW,
    ),
    presets={
        "default": Preset(
            {"width": 32},
            {"size": ",".join(MODELS), "images": "1,100"},
            minutes=3,
        ),
        "tiny": Preset({"width": 4, "repeats": 2}, {"size": "mnist", "images": "'1'"}),
        "paper": Preset({"width": WIDTH}, {"size": ",".join(MODELS), "images": "1,100"}),
    },
    summary=summary,
    page=page,
    explore=explore,
    match=match,
    order=4,
)
