"""What a GPU session measures: every method at the field's shapes, and whole models.

Imports neither Hydra nor what draws a page: a GPU machine may have torch, numpy and pandas alone.
On a CPU, with tiny shapes, the same code runs without graphs and events.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from invconv.bench import Clock, Measured, Process, Ratio, medians, time_block, time_calls
from invconv.bench.baselines import corner_weight, flops, tuned
from invconv.bench.clock import Call
from invconv.bench.flow_timing import RARE, FlowCalls, verify_flow
from invconv.bench.gpu_tools import captured, launch_costs
from invconv.bench.layer_timing import HOT, Layer, layer_calls, layer_ratios, with_fastest
from invconv.flows import MultiScaleFlow
from invconv.flows.published import FINC, WIDTH
from invconv.layers import FInC
from invconv.modes import tf32
from invconv.rows import Block, Row, Values, collect
from invconv.solvers import METHODS
from invconv.solvers.cuda import published
from invconv.solvers.problem import CORNERS
from invconv.sweeps.planned import Planned

SMALL = [(12, 16), (12, 32), (12, 64), (24, 16), (24, 32), (48, 16), (48, 32), (48, 64)]
SMALL += [(24, 8), (48, 4)]
LARGE = [(12, 128), (12, 256), (12, 512), (48, 128)]
"""Channels and image sizes of FInC's layers."""
OTHERS = [(12, 16), (12, 32), (48, 16), (48, 32), (48, 64)]
"""The same of CInC's and Emerging's layers."""
WITH_TF32 = [(12, 32), (48, 32), (48, 64)]
DIVIDED = [("inverse", "torch_forward"), ("inverse", "forward"), ("inverse_hot", "forward_hot")]
"""The ratios of one layer."""
OF_MODELS = [
    Ratio("st_vs_ft", "st", "ft"),
    Ratio("graph_st_vs_graph_ft", "graph_st", "graph_ft"),
    Ratio("convolutions_vs_graph_st", "convolutions", "graph_st"),
    Ratio("aa_graph_ft", "graph_ft_again", "graph_ft"),
]


def session(
    out: Path,
    seconds: float = 540,
    device: str = "cuda",
    tiny: bool = False,
    only: str = "",
    force: bool = False,
) -> int:
    """Measure all cells, the most wanted first, and write their rows and the page.

    Each cell ends with its own row below ``out``; rows and page go to ``out/results``. Without
    what a page needs, the rows are written all the same. No cell is started after so many
    ``seconds``; ``tiny`` shapes test the command; ``only`` is a part of the names of the cells
    that are wanted; ``force`` measures again what has an ok row.

    Returns:
        The exit code: 0 if every wanted cell is ok or unsupported, 2 without the device.
    """
    where = torch.device(device)
    if where.type == "cuda" and not torch.cuda.is_available():
        print("torch finds no CUDA device; --device cpu --tiny tries the command", file=sys.stderr)
        return 2
    start, bad = time.perf_counter(), 0
    for cell in (cell for cell in cells(where, tiny) if only in cell.label):
        late = time.perf_counter() - start > seconds
        if late:
            print(f"{cell.label}: not started, the time is up")
        bad += late or not cell.run("gpu", out / "gpu", where, _told, force, tiny=tiny)
        if where.type == "cuda":
            torch.cuda.empty_cache()
    results = out / "results"
    rows = collect(out / "gpu", results / "data" / "gpu.csv", "gpu")
    try:
        from invconv.tables.gpu import TABLE

        print(f"the page is {TABLE.write_page(rows, results)}")
    except ImportError as error:
        print(f"the rows are in {results / 'data'}; no page was made: {error}")
    return 1 if bad else 0


def _told(row: Row) -> str:
    """What is printed of a row."""
    inverse = row.values.get("inverse_s")
    return f"{inverse * 1e6:.1f} µs" if isinstance(inverse, float) else row.reason


def cells(device: torch.device, tiny: bool) -> Iterator[Planned]:
    """All cells, the most wanted first."""
    small, large, others, many = SMALL, LARGE, OTHERS, 100
    if tiny:
        small, large, others, many = [(4, 6)], [(4, 9)], [(4, 6)], 2

    def layer(kind: str, channels: int, n: int, batch: int, with_tf32: bool = False) -> Planned:
        asked: Values = {"kind": kind, "channels": channels, "n": n, "batch": batch}
        label = f"{kind.replace(' ', '-')}-c{channels}-n{n}-b{batch}{'-tf32' if with_tf32 else ''}"
        shape = kind, channels, n, batch, 3 if tiny else 30, with_tf32
        labels = {"part": "layer", **asked, "tf32_block": with_tf32}
        return Planned(label, labels, partial(measure_layer, device, *shape))

    yield Planned("machine", {"part": "machine"}, partial(measure_machine, device, tiny))
    yield from (layer("finc", *shape, many) for shape in small)
    with_tf32 = (False, True) if device.type == "cuda" else (False,)
    for images, conv, on in product((many,) if tiny else (100, 1), ("glow", "finc"), with_tf32):
        labels: Values = {"part": "model", "kind": conv, "batch": images, "tf32_block": on}
        label = f"model-{conv}-b{images}{'-tf32' if on else ''}"
        yield Planned(label, labels, partial(time_model, device, conv, images, tiny, on))
    yield from (layer("finc", *shape, many) for shape in large)
    yield from (layer("finc", *shape, 1) for shape in (*small, *large))
    yield from (layer(kind, *s, many) for kind in ("cinc", "emerging raster") for s in others)
    if device.type == "cuda":
        yield from (layer("finc", *shape, 100, with_tf32=True) for shape in WITH_TF32)


def measure_machine(device: torch.device, tiny: bool) -> Values:
    """Bytes per second that a copy reads and writes, and on a GPU what a launch costs."""
    size = 1 << 16 if tiny else 1 << 30
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    copy = partial(torch.empty_like(source).copy_, source)
    seconds = medians({"copy": copy}, device, 20, 3)["copy"]
    copied: Values = {"copy_bytes": 2.0 * size, "copy_bytes_per_s": 2 * size / seconds}
    return copied | (launch_costs(device) if device.type == "cuda" else {})


def measure_layer(
    device: torch.device,
    kind: str,
    channels: int,
    n: int,
    batch: int,
    rounds: int,
    with_tf32: bool = False,
) -> Block:
    """Time one layer with weights as published, from graph replays and plain calls.

    ``with_tf32`` lets torch's baselines use TF32 while they are timed; its other inverses are
    omitted then, since with TF32 they would be none.
    """
    torch.manual_seed(0)
    finc, emerging = kind == "finc", kind.startswith("emerging")
    # no graph records Jacobi's loop, which looks at values
    omitted = "reference", "jacobi", *(["diagonal_channel"] if emerging else [])
    methods = [m for m in METHODS if not m.startswith(omitted) and not METHODS[m].missing(device)]
    methods = [m for m in methods if m == "compiled" or not with_tf32]
    groups, anchor = 4 if finc else 1, 1 if emerging else 2
    weight = corner_weight(channels, 3, groups=groups, anchor=anchor).to(device)
    x = torch.randn(batch, channels, n, n, device=device)

    def measure(_: None, device: torch.device, process: Process) -> Measured:
        layer = Layer(x, weight, (anchor, anchor), CORNERS if finc else "tl")
        with tf32(with_tf32), tuned(device) as settings:
            found = layer_calls(layer, methods, graphs=True)
            timed = time_calls(found.calls, device, _clock(rounds))
        hot = timed.samples["call"].str.endswith("_hot")
        timed.samples.loc[hot, "seconds"] /= HOT
        return Measured([timed], {**found.values, **settings})

    def ratios(samples: pd.DataFrame) -> list[Ratio]:
        return layer_ratios(samples, DIVIDED)

    clock = _clock(rounds)
    block = with_fastest(time_block(measure, None, device, clock, ratios, fresh=False))
    inverse = block.values["inverse_s"]
    assert isinstance(inverse, float)
    values: Values = {
        "inverse_bytes_per_s": 2 * x.nbytes / inverse,
        "inverse_flop_per_s": flops(x, weight) / inverse,
    }
    if "diagonal_channel_4" in methods:
        for name, four in {"launches": False, "launches_4": True}.items():
            values[name] = published.launches(x.shape, weight.shape, four=four)
    return replace(block, values={**block.values, **values})


def _clock(rounds: int) -> Clock:
    """Of a GPU the driver says who else is on it; on a CPU these shapes test the command."""
    return Clock(rounds, 3, window=0)


def time_model(
    device: torch.device, conv: str, images: int, tiny: bool, with_tf32: bool = False
) -> Block:
    """Time a whole model on 3×32×32, as FInC Flow publishes it for CIFAR-10.

    Beside what `FlowCalls` has: graph_ft, graph_st and convolutions, the inverses of all k×k
    convolutions of one sampling pass by themselves, from graph replays.
    """
    torch.manual_seed(0)
    (levels, steps), width, size, rounds = FINC["cifar10"], WIDTH, 32, 20
    if tiny:
        levels, steps, width, size, rounds = 2, 1, 8, 8, 3
    flow = MultiScaleFlow(conv, (3, size, size), levels, steps, width).to(device).eval()
    batch = torch.randint(0, 256, (images, 3, size, size), device=device)
    inverses = [
        partial(layer.inverse, torch.randn(images, layer.channels, side, side, device=device))
        for side, level in ((size >> number, level) for number, level in enumerate(flow.levels, 1))
        for layer in level.modules()
        if isinstance(layer, FInC)
    ]

    def draw() -> Tensor:  # as `LevelFlow.sample`, whose look at the images no graph waits for
        return flow.dequantization.inverse(flow.decode(flow.draw(images)))

    graphs: dict[str, Call] = {"graph_ft": partial(flow.log_prob, batch), "graph_st": draw}
    if inverses:
        graphs["convolutions"] = lambda: [call() for call in inverses]

    def measure(_: None, device: torch.device, process: Process) -> Measured:
        with tf32(False):
            flow.initialize(batch)
            values: Values = {"parameters": sum(p.numel() for p in flow.parameters())}
            values |= verify_flow(flow, batch)
        with tf32(with_tf32):
            flows = FlowCalls(flow, batch)
            calls = dict(flows.calls)
            flows.before("ft")
            with torch.no_grad():
                calls |= {name: captured(call, device) for name, call in graphs.items()}
                calls["graph_ft_again"] = calls["graph_ft"]

            def before(name: str) -> None:
                flows.before(name if name in flows.calls else "ft")

            few = [name for name in calls if name in RARE]
            timed = time_calls(calls, device, _clock(rounds), few=few, before=before)
        return Measured([timed], values | flows.after())

    return time_block(measure, None, device, _clock(rounds), OF_MODELS, fresh=False)
