"""Table 4 of the FInC Flow thesis: sampling with algorithm 1, algorithm 2 and our inverse."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from invconv.bench import spread, time_interleaved
from invconv.bench.flow_timing import use_method, verify_round_trip
from invconv.bench.memory import keep_freed_memory
from invconv.data import DATASETS
from invconv.flows import MultiScaleFlow
from invconv.flows.published import FINC, WIDTH
from invconv.report import Line, Plot
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.explorer.matches import Place
from invconv.report.grids import CELLS, cells, compared, page_of_blocks
from invconv.rows import Values
from invconv.rows.columns import FLOW, Error, Seconds
from invconv.solvers import METHODS, resolve
from invconv.sweeps.config import ModelTiming, Preset
from invconv.tables.table import Table

MODELS = {"mnist": "mnist", "cifar10": "cifar10", "imagenet32": "imagenet32"}
MODELS |= {"imagenet64": "imagenet64_k32"}
"""Image size → its model in `FINC`."""
IMAGES = (1, 100)
ALGORITHMS = {"algorithm_1": "diagonal_channel", "algorithm_2": "diagonal_channel_4"}
"""Column → method of the solver."""
LOOKS = {
    "algorithm_1": ("algorithm 1", "#117733", "x"),
    "algorithm_2": ("algorithm 2", "#44AA99", "P"),
    "ours": ("ours", "#CC6677", "D"),
}
INITIAL_IMAGES = 16
SWEEP = {"size": ",".join(MODELS), "images": "1,100"}
TITLES = {size: f"{DATASETS[size].title} {FINC[model]}" for size, model in MODELS.items()}


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
    missing = {name: METHODS[method].missing(device) for name, method in ALGORITHMS.items()}
    values |= {f"{name}_reason": reason for name, reason in missing.items() if reason}
    methods = {"ours": "auto"} | {n: m for n, m in ALGORITHMS.items() if not missing[n]}
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


def _lines(block: pd.DataFrame, figures: pd.DataFrame) -> Iterator[Line]:
    """One line per model and number of images; ratios to published times at full width alone."""
    full = not block.empty and int(block["width"].iloc[0]) == WIDTH
    for size, images in product(MODELS, IMAGES):
        row = bl.only(block, size=size, images=images)
        stated = partial(bl.published_entry, figures, dataset=size)
        line = {
            "model (L, K)": TITLES[size],
            "images": str(images),
            "parameters published": stated(en.whole, model="FInC", metric="parameters"),
            "exactly": stated(en.whole, model="FInC", metric="parameters_exact"),
            "parameters": CELLS["stored"](row),
        }
        for name in ALGORITHMS:
            title = name.replace("_", " ")
            time = stated(model=title, metric=f"st_{images}_s")
            line |= compared(row, title, f"{name}_s", time, en.quartiles(row, name), full)
        line["ours"] = bl.sampling_time(row, "ours", "ours_round_trip")
        yield line | cells(row, "A/A")


def match(figure: Mapping[str, str]) -> Place:
    """The column of an algorithm's published time, or of the model's size."""
    times = {name.replace("_", " "): f"{name}_s" for name in ALGORITHMS}
    labels: dict[str, list[str | float]] = {"size": [figure["dataset"]]}
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
    columns=(Seconds("ours algorithm_?"), Error("ours_round_trip algorithm_?_round_trip"), *FLOW),
    presets={
        "default": Preset({"width": 32}, SWEEP, minutes=3),
        "tiny": Preset({"width": 4, "repeats": 2}, {"size": "mnist", "images": "'1'"}),
        "paper": Preset({"width": WIDTH}, SWEEP),
    },
    headline="ours_s algorithm_?_s",
    page=partial(page_of_blocks, Path(__file__).with_suffix(".md.j2"), _lines, ["size", "images"]),
    plots=(
        Plot(
            title="sampling time of {images:g} images",
            columns={f"{name}_s": name for name in LOOKS},
            x="size",
            order=TITLES,
            series="column",
            looks=LOOKS,
            apart=("width",),
        ),
    ),
    match=match,
    order=4,
)
