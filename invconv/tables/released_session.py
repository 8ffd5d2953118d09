"""Measures code that others released, beside ours: `python -m invconv bench --against FILE.py`."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from invconv.bench import Clock, Measured, Process, Ratio, time_block, time_calls
from invconv.bench.clock import Call
from invconv.bench.quiet import busy_machine
from invconv.bench.released import (
    Point,
    Released,
    ReleasedError,
    listed,
    outputs,
    pair,
    read,
    verified,
)
from invconv.rows import Block, Incorrect, Status, Unsupported, Values, collect
from invconv.sweeps.planned import Planned
from invconv.tables.released import TABLE

CPU = torch.device("cpu")
SLOW, SLOW_ROUNDS = 20.0, 3
"""Seconds of one inverse beyond which a cell has few rounds, and how many."""
RATIOS = [
    Ratio("released_forward_vs_ours", "released_forward", "forward"),
    Ratio("released_inverse_vs_ours", "released_inverse", "inverse"),
    Ratio("aa_inverse", "inverse_again", "inverse"),
]
FAILURES = {
    Status.INCORRECT: Incorrect,
    Status.UNSUPPORTED: Unsupported,
    Status.TIMEOUT: TimeoutError,
    Status.OOM: MemoryError,
}
"""What stands for a status of a child; RuntimeError for every other one."""


@dataclass(frozen=True)
class Beside:
    """What is timed: one layer of a file at (C, n, B)."""

    path: Path
    name: str
    point: Point
    clock: Clock


def session(
    path: Path,
    runs: Path,
    results: Path,
    only: str = "",
    force: bool = False,
    clock: Clock | None = None,
) -> int:
    """Verify and time every layer that a file names, and write rows and the page.

    Each cell ends with its own row below ``runs``, so that the command resumes.

    Args:
        path: the file, with a list RELEASED of `invconv.bench.Released`.
        only: a part of the names of the cells that are wanted.
        force: whether to measure again what has an ok row.
        clock: by default 20 rounds in one process.

    Returns:
        The exit code: 0 if every wanted cell is ok or unsupported, 2 where the file names none.
    """
    path = path.resolve()
    try:
        found = list(_cells(path, listed(path), clock or Clock()))
    except ReleasedError as error:
        print(error, file=sys.stderr)
        return 2
    wanted = [cell for cell in found if only in cell.label]
    if not wanted:
        print(f"{path} names no layer whose cells contain {only!r}", file=sys.stderr)
        return 2
    if words := busy_machine():
        print(words, file=sys.stderr)
    folder = runs / TABLE.name
    done = [cell.run(TABLE.name, folder, CPU, TABLE.told, force) for cell in wanted]
    if any(folder.glob("*/row.json")):
        collect(folder, results / "data" / f"{TABLE.name}.csv", TABLE.name, TABLE.write_page)
        print(f"the page is {results / TABLE.name}.md")
    return 0 if all(done) else 1


def _cells(path: Path, found: list[Released], clock: Clock) -> Iterator[Planned]:
    among = 2 * sum(len(one.points) for one in found)
    for one in found:
        for point in one.points:
            channels, n, batch = point
            labels: Values = {"released": one.name, "method": one.method}
            labels |= {"channels": channels, "n": n, "batch": batch, "revision": one.revision}
            measure = partial(measure_beside, path, one, point, clock, among)
            yield Planned(f"{one.name}-c{channels}-n{n}-b{batch}", labels, measure)


def measure_beside(path: Path, one: Released, point: Point, clock: Clock, among: int) -> Block:
    """Verify one layer in a child with limits, then time it beside ours, in a fresh process.

    Raises:
        Exception: that which stands for what the child found, of `FAILURES`.
    """
    status, reason, values = verified(path, one.name, point)
    if status != Status.OK:
        raise FAILURES.get(status, RuntimeError)(reason)
    seconds = values["seconds_per_image"]
    assert isinstance(seconds, float)
    if seconds * point[-1] > SLOW:
        clock = replace(clock, rounds=SLOW_ROUNDS, warmup=1)
    beside = Beside(path, one.name, point, clock)
    block = time_block(_time, beside, CPU, clock, RATIOS, among, fresh=True)
    named: Values = {"repository": one.repository, "what": one.what, "same_map": one.same}
    return replace(block, values={**values, **named, **block.values})


@torch.no_grad()
def _time(beside: Beside, device: torch.device, process: Process) -> Measured:
    """Time forward and inverse of both, interleaved."""
    one = read(beside.path)[beside.name]
    ours, theirs = pair(one, beside.point)
    channels, n, batch = beside.point
    x = torch.randn(batch, channels, n, n)
    z = ours(x)[0]
    their_z = z if one.same else outputs(theirs.forward(x))[0]
    calls: dict[str, Call] = {
        "forward": partial(ours, x),
        "inverse": partial(ours.inverse, z),
        "inverse_again": partial(ours.inverse, z),
        "released_forward": partial(theirs.forward, x),
        "released_inverse": partial(theirs.inverse, their_z),
    }
    timed = time_calls(calls, device, beside.clock, seed=process.number)
    return Measured([timed], {"solver": ours.solver(device)})
