"""What makes our inverse of a FInC layer faster than the released loop, one change at a time."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from invconv.bench import Clock, Measured, Process, Ratio, Timed, time_block, time_calls
from invconv.bench.baselines import corner_weight
from invconv.bench.blocks import guarded_parts
from invconv.bench.ladder import RUNGS
from invconv.bench.layer_timing import TOLERANCE, Layer
from invconv.numerical import relative_error
from invconv.report import Document, Grid, Line
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.findings import sentence
from invconv.rows import Block, Incorrect, Values
from invconv.rows import columns as cl
from invconv.solvers.problem import CORNERS
from invconv.sweeps.config import QUICK, Preset, Sweep
from invconv.tables.table import Table

FIRST, LAST = "release", "ours"
RATIOS = [Ratio(f"{r.after}_vs_{name}", f"*/{r.after}", f"*/{name}") for name, r in RUNGS.items()]
RATIOS = [ratio for ratio in RATIOS if not ratio.name.startswith("_")]
WHOLE = f"{FIRST}_vs_{LAST}"
RATIOS.append(Ratio(WHOLE, f"*/{FIRST}", f"*/{LAST}"))
RATIOS.append(Ratio(f"aa_{LAST}", f"*/{LAST}_again", f"*/{LAST}"))


@dataclass
class Ladder(Sweep):
    """All rungs at several kernel sizes, for one number of channels."""

    kernels: list[int] = field(default_factory=lambda: [3, 5, 7, 11])
    channels: int = 12
    n: int = 32
    batch: int = 100
    seed: int = 0
    clock: Clock = field(default_factory=Clock)


def measure(config: Ladder, device: torch.device, _: Path) -> Block:
    """Verify every rung and time all of them, each kernel size in rounds of its own."""
    among = 2 * len(RATIOS) * len(config.kernels)
    return time_block(time_rungs, config, torch.device("cpu"), config.clock, RATIOS, among)


def time_rungs(config: Ladder, device: torch.device, process: Process) -> Measured:
    """Time all rungs at every kernel size."""
    timed, kernels = list[Timed](), {f"k{k}": k for k in config.kernels}

    def time(name: str) -> Values:
        return _time_kernel(config, kernels[name], device, process, timed)

    labels: dict[str, Values] = {name: {"k": k} for name, k in kernels.items()}
    return Measured(timed, parts=guarded_parts(labels, process, time))


def _time_kernel(
    config: Ladder, k: int, device: torch.device, process: Process, timed: list[Timed]
) -> Values:
    torch.manual_seed(config.seed)
    weight = corner_weight(config.channels, k)
    x = torch.randn(config.batch, config.channels, config.n, config.n)
    layer, out = Layer(x, weight, corners=CORNERS), torch.empty_like(x)
    calls = {name: rung(layer.z, weight, out) for name, rung in RUNGS.items()}
    errors = {name: relative_error(call(), x) for name, call in calls.items()}
    for name, error in errors.items():
        if not error <= TOLERANCE:
            raise Incorrect(f"{name} has a round-trip error of {error:.1e}")
    named = {f"k{k}/{name}": call for name, call in calls.items()}
    named[f"k{k}/{LAST}_again"] = calls[LAST]
    timed.append(time_calls(named, device, config.clock, seed=process.number))
    return {f"{name}_error": error for name, error in errors.items()}


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    found = [_section(block.sort_values("k")) for block in bl.blocks(rows, "channels")]
    return Document("ladder", Path(__file__).with_suffix(".md.j2"), {"blocks": found})


def _section(block: pd.DataFrame) -> dict[str, object]:
    groups = block.sort_values(["channels", "k"]).groupby("channels")
    return {
        "origin": bl.origin(block),
        "first": block.iloc[0],
        "grids": {f"{channels:g}": _grid(group) for channels, group in groups},
        "gains": [f"k = {k:g}, times faster" for k in sorted(block["k"].unique())],
        "failures": bl.failures(block),
    }


def _grid(rows: pd.DataFrame) -> Grid:
    """A line for each rung: milliseconds, and how much faster than the rung before."""
    lines: list[Line] = []
    for name, rung in RUNGS.items():
        line: dict[str, object] = {"rung": name, "changes": rung.change}
        line["compared with"] = rung.after or en.ABSENT
        for _, row in rows.iterrows():
            line[f"k = {row['k']:g}, ms"] = en.value(row, f"{name}_s", scale=1e3)
            gain = en.ratio(row, f"{rung.after}_vs_{name}") if rung.after else en.ABSENT
            line[f"k = {row['k']:g}, times faster"] = gain
        lines.append(line)
    last: dict[str, object] = {
        "rung": "all",
        "changes": f"{FIRST} → {LAST}",
        "compared with": FIRST,
    }
    for _, row in rows.iterrows():
        last[f"k = {row['k']:g}, times faster"] = en.ratio(row, WHOLE)
    return Grid([*lines, last])


TABLE = Table(
    name="ladder",
    title="From FInC's released loop to our inverse, one change at a time",
    question="Where does the speed of our inverse come from?",
    config=Ladder,
    measure=measure,
    cell="c{channels}-n{n}-b{batch}",
    labels={name: name for name in ("channels", "n", "batch")},
    parts="k",
    columns=(
        cl.Seconds(" ".join([*RUNGS, f"{LAST}_again"])),
        cl.Ratio(" ".join(ratio.name for ratio in RATIOS)),
        cl.Error("*_error"),
        cl.Number("k"),
        *cl.BLOCK,
    ),
    presets={
        "default": Preset({"clock": {"processes": 3}}, minutes=4),
        "tiny": Preset(
            {"kernels": [2, 3], "channels": 4, "n": 5, "batch": 3, "clock": QUICK},
        ),
    },
    headline="release_s ours_s release_vs_ours",
    page=page,
    finding=sentence(
        "Our inverse of a FInC layer is {} times faster than the released loop.",
        WHOLE,
        called="k = {0.k}".format,
    ),
    order=7,
)
