"""How often the clock's interval contains the truth: ten calls, each timed against itself."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F

from invconv import build
from invconv.bench import Clock, Measured, Process, Ratio, time_block, time_calls
from invconv.bench.clock import Call
from invconv.bench.flow_timing import VERIFIED, FlowCalls, use_method, verify_flow
from invconv.bench.ratios import expand, intervals
from invconv.bench.verification import verify_part
from invconv.flows import MultiScaleFlow
from invconv.report import Document, Grid, Line
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.rows import Block, Part
from invconv.rows import columns as cl
from invconv.sweeps.config import QUICK, Preset, Sweep
from invconv.tables.table import Table

SHAPE, WIDTH = (12, 32, 32), 32
LAYERS = ("finc", "emerging", "glow")
"""Those whose forward and inverse are timed, beside torch's convolution and a small flow."""
FLOW = ("ft", "st", "st_published")
RATIOS = [Ratio("aa", "*/again", "*/once")]


@dataclass
class TwinClock(Sweep):
    """One block of all calls, each timed twice."""

    block: int = 0
    images: int = 32
    clock: Clock = field(default_factory=Clock)


def measure(config: TwinClock, device: torch.device, _: Path) -> Block:
    """Time every call twice in one block."""
    block = time_block(time_twins, config, device, config.clock, RATIOS)
    found = _single(block.samples)
    for name, part in block.parts.items():
        part.values["single"] = found[name]
    return block


def _single(samples: pd.DataFrame) -> dict[str, int]:
    """For each call, in how many processes its interval of that one alone contains 1."""
    pairs = expand(RATIOS, samples["call"].unique())
    found = dict.fromkeys((name.partition("/")[0] for name in pairs), 0)
    for _, own in samples.groupby("process"):
        for name, one in intervals(own, pairs).items():
            found[name.partition("/")[0]] += one.low <= 1 <= one.high
    return found


def time_twins(config: TwinClock, device: torch.device, process: Process) -> Measured:
    """Time the calls of `twins`, each as ``once`` and as ``again``."""
    calls, before = twins(config.images, device, verify=process.first)
    pairs = {f"{name}/{time}": call for name, call in calls.items() for time in ("once", "again")}
    seed = 1000 * config.block + process.number
    with torch.no_grad():
        timed = time_calls(
            pairs,
            device,
            config.clock,
            before=lambda name: before(name.partition("/")[0]),
            seed=seed,
        )
    return Measured([timed], parts={name: Part({"call": name}) for name in calls})


def twins(
    images: int, device: torch.device, verify: bool
) -> tuple[dict[str, Call], Callable[[str], None]]:
    """Return ten kinds of calls, and what prepares them: layers, a convolution, whole flows.

    Raises:
        Incorrect: if an inverse is wrong.
    """
    torch.manual_seed(0)
    x = torch.randn(images, *SHAPE, device=device)
    calls: dict[str, Call] = {}
    for name in LAYERS:
        layer = build(name, SHAPE).to(device).eval()
        if verify:
            verify_part(layer, x[:VERIFIED].double(), torch.Generator().manual_seed(0), name)
        calls[f"{name}_forward"] = partial(layer, x)
        calls[f"{name}_inverse"] = partial(layer.inverse, x)
    kernel = torch.randn(SHAPE[0], SHAPE[0], 3, 3, device=device)
    calls["conv2d"] = partial(F.conv2d, x, kernel, padding=1)
    batch = torch.randint(256, (images, 1, 16, 16), device=device)
    flow = MultiScaleFlow("finc", (1, 16, 16), 2, 2, WIDTH).to(device).eval()
    flow.initialize(batch)
    if verify:
        verify_flow(flow, batch)
    own = FlowCalls(flow, batch, FLOW)

    def before(name: str) -> None:
        use_method(flow, "published" if name == "st_published" else "auto")

    return calls | own.calls, before


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    found = [_section(block) for block in bl.blocks(rows, "block")]
    return Document("clock", Path(__file__).with_suffix(".md.j2"), {"blocks": found})


def _section(block: pd.DataFrame) -> dict[str, object]:
    within = bl.around_one(block, "aa")
    good = block.loc[within.index]
    good = good.reindex(columns=[*block, *{"processes", "single"} - {*block}])
    lines: list[Line] = []
    for call, group in good.assign(within=within).groupby("call", sort=False):
        width = (group["aa_high"] - group["aa_low"]) / 2
        lines.append(
            {
                "call": str(call),
                "ms": en.over_rows(en.number(1e3 * group["once_s"].median()), group, "once_s"),
                "pairs": str(len(group)),
                "contain 1": en.over_rows(str(group["within"].sum()), group, "aa_low", "aa_high"),
                "half width, median": en.over_rows(
                    f"{width.median():.1%}", group, "aa_low", "aa_high"
                ),
                "contain 1, one process": en.over_rows(
                    f"{group['single'].sum():.0f} of {group['processes'].sum():.0f}",
                    group,
                    "single",
                    "processes",
                ),
            }
        )
    return {
        "origin": bl.origin(block),
        "pairs": len(good),
        "within": int(within.sum()),
        "singles": int(good["processes"].sum()),
        "single": int(good["single"].sum()),
        "grid": Grid(lines),
        "failures": bl.failures(block),
    }


def finding(rows: pd.DataFrame) -> str:
    """Say how many intervals of a call against itself contain 1."""
    within = bl.around_one(rows, "aa")
    if within.empty:
        return ""
    return (
        f"{within.sum()} of {len(within)} 95 % intervals ({within.mean():.1%}) of a call timed "
        "against itself contain 1."
    )


TABLE = Table(
    name="clock",
    title="The clock against itself",
    question="Does the clock's interval contain the truth?",
    config=TwinClock,
    measure=measure,
    cell="block{block}",
    labels={"block": "block"},
    parts="call",
    columns=(
        cl.Seconds("once again", verified=False),
        cl.Ratio("aa"),
        cl.Number("single"),
        cl.Name("call"),
        *cl.BLOCK,
    ),
    presets={
        "default": Preset(
            {"clock": {"processes": 3}}, {"block": ",".join(map(str, range(20)))}, minutes=8
        ),
        "tiny": Preset({"images": 2, "clock": QUICK}),
    },
    headline="once_s again_s aa",
    page=page,
    finding=finding,
    order=9,
)
