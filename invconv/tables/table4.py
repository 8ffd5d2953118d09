"""Table 4 of the FInC Flow thesis: sampling with algorithm 1, algorithm 2 and our inverse."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd
import torch

from invconv.bench import Measured, Process, Ratio, time_block, time_calls
from invconv.bench.clock import Call
from invconv.bench.flow_timing import use_method
from invconv.bench.verification import verify_parts, verify_round_trip
from invconv.data import DATASETS
from invconv.flows import MultiScaleFlow
from invconv.flows.published import FINC, WIDTH
from invconv.report import Line, Plot
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.explorer.matches import Place
from invconv.report.findings import sentence
from invconv.report.grids import CELLS, page_of_blocks
from invconv.rows import Block, Values
from invconv.rows import columns as cl
from invconv.solvers import METHODS, resolve
from invconv.sweeps.config import QUICK, ModelTiming, Preset
from invconv.tables.table import Table

MODELS = {"mnist": "mnist", "cifar10": "cifar10", "imagenet32": "imagenet32"}
MODELS |= {"imagenet64": "imagenet64_k32"}
"""Image size → its model in `FINC`."""
IMAGES = (1, 100)
ALGORITHMS = {"algorithm_1": "diagonal_channel", "algorithm_2": "diagonal_channel_4"}
"""Column → method of the solver."""
RATIOS = [Ratio(f"{name}_vs_ours", name, "ours") for name in ALGORITHMS]
RATIOS.append(Ratio("aa_ours", "ours_again", "ours"))
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


def measure(config: Table4, device: torch.device, _: Path) -> Block:
    """Verify a model with every algorithm, and time sampling with all of them in one block."""
    if config.size not in MODELS:
        raise ValueError(f"size must be one of {', '.join(MODELS)}, not {config.size!r}")
    among = len(ALGORITHMS) * len(MODELS) * len(IMAGES)
    return time_block(time_algorithms, config, device, config.clock, RATIOS, among)


def time_algorithms(config: Table4, device: torch.device, process: Process) -> Measured:
    """Build the model with random weights, verify it, and time it."""
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
    }
    missing = {name: METHODS[method].missing(device) for name, method in ALGORITHMS.items()}
    values |= {f"{name}_reason": reason for name, reason in missing.items() if reason}
    methods = {"ours": "auto"} | {n: m for n, m in ALGORITHMS.items() if not missing[n]}
    for name, method in methods.items() if process.first else ():
        use_method(flow, method)
        values[f"{name}_round_trip"] = verify_round_trip(flow, images).get("round_trip_error")
        found = verify_parts(flow, images, log_det=name == "ours")
        values |= found if name == "ours" else {}
    methods["ours_again"] = "auto"
    calls: dict[str, Call] = dict.fromkeys(methods, partial(flow.sample, config.images))

    def before(name: str) -> None:
        use_method(flow, methods[name])

    timed = time_calls(calls, device, config.clock, before=before, seed=process.number)
    return Measured([timed], values)


def _lines(block: pd.DataFrame, figures: pd.DataFrame) -> Iterator[Line]:
    """One line per model and number of images."""
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
            line[f"{title} published"] = stated(model=title, metric=f"st_{images}_s")
            line[f"{title} measured"] = en.quartiles(row, name)
        line["ours"] = bl.sampling_time(row, "ours", "ours_round_trip")
        line |= {
            f"{n.replace('_', ' ')} ÷ ours": en.ratio(row, f"{n}_vs_ours") for n in ALGORITHMS
        }
        yield line | {"ours ÷ itself": en.ratio(row, "aa_ours")}


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
    question="How much faster does FInC sample by our inverse than by its paper's algorithms?",
    config=Table4,
    measure=measure,
    cell="{size}-i{images}-w{width}",
    labels={"size": "size", "images": "images", "width": "width"},
    columns=(
        cl.Seconds("ours ours_again algorithm_?"),
        cl.Ratio(" ".join(rule.name for rule in RATIOS)),
        cl.Error("ours_round_trip algorithm_?_round_trip"),
        *cl.FLOW,
    ),
    presets={
        "default": Preset({"width": 32}, SWEEP, minutes=6),
        "tiny": Preset({"width": 4, "clock": QUICK}, {"size": "mnist", "images": "'1'"}),
        "paper": Preset({"width": WIDTH, "clock": {"rounds": 6, "processes": 3}}, SWEEP),
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
    finding=sentence(
        "A FInC flow samples {} times faster by our inverse than by the release's algorithm 1.",
        "algorithm_1_vs_ours",
        called=lambda row: f"{row['images']} × {DATASETS[row['size']].title}",
    ),
    match=match,
    order=4,
)
