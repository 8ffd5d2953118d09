"""What became of the cells of a sweep, told from their folders at any moment."""

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from invconv.files import locked, write_text_atomically
from invconv.rows.provenance import revision
from invconv.rows.row import RowsError, now, read_json, read_row
from invconv.rows.status import Status
from invconv.sweeps import cluster, locks
from invconv.sweeps.config import Sweep

GRID = "grid.json"


class Grid(TypedDict):
    """What is read of `record`'s note of a sweep; ``jobs`` are the SLURM jobs by cell."""

    table: str
    cells: list[str]
    jobs: dict[str, str]


@dataclass(frozen=True)
class State:
    """A cell's `Status`, or "running", "queued" or "missing", and why, who or since when."""

    status: str
    words: str = ""

    def __str__(self) -> str:
        return f"{self.status}: {self.words}" if self.words else self.status


def state(runs: Path, cell: str, queue: Mapping[str, str] | None = None) -> State:
    """The state of ``runs/cell``; ``queue`` has the words of SLURM jobs, see `cluster.queue`."""
    folder = runs / cell
    working = "" if row_status(folder) == Status.OK else locks.holder(folder)
    of_row = _of_row(folder)
    if of_row.status == Status.OK:
        return of_row
    if working:
        return State("running", working)
    job = read_grid(runs)["jobs"].get(cell, "")
    words = (queue or {}).get(job, "COMPLETED")
    if not cluster.ended(words):
        return State("queued", f"SLURM job {job}: {words}")
    if of_row.status != "missing":
        return of_row
    tried = locks.attempts(folder)
    if not tried:
        log = runs / ".submitit" / job
        return State("missing", f"SLURM job {job} is gone; its log, if any: {log}" if job else "")
    last = tried[-1]
    by = f"SLURM job {last.job}" if last.job else f"process {last.pid}"
    return State("missing", f"attempt {len(tried)}, {by} on {last.host}, {last.outcome}")


def row_status(folder: Path) -> str:
    """The status of the cell's row, "missing" if it has none, "error" if that is broken."""
    return _of_row(folder).status


def _of_row(folder: Path) -> State:
    try:
        row = read_row(folder / "row.json")
    except RowsError as error:
        return State(Status.ERROR, str(error))
    if row is None or row.status != Status.OK:
        return State(row.status, row.reason) if row else State("missing")
    made, here = row.provenance["commit"], revision()[0]
    return State(Status.OK, f"by commit {made}, here is {here}" if made != here else "")


def forced(config: Sweep, folder: Path) -> bool:
    """Whether the cell is to be measured again whatever its row says."""
    try:
        row = read_row(folder / "row.json") if config.force_changed else None
    except RowsError:
        return True
    return config.force or (row is not None and row.provenance["commit"] != revision()[0])


def attempts(folder: Path) -> list[str]:
    """How each attempt at the cell ended, oldest first, see `locks.attempts`."""
    return [attempt.outcome for attempt in locks.attempts(folder)]


def record(table: str, runs: Path, cells: Sequence[str]) -> None:
    """Notes in ``runs/grid.json`` which cells a sweep wants; its jobs stay. Raises `RowsError`."""
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    _note(runs, {}, table=table, command=command, date=now(), cells=list(cells))


def record_jobs(runs: Path, jobs: Mapping[str, str]) -> None:
    """Adds which SLURM job has which cell; raises as `record` does."""
    _note(runs, jobs)


def _note(runs: Path, jobs: Mapping[str, str], **more: object) -> None:
    with locked(runs / GRID):
        grid = read_grid(runs)
        changed = {**grid, **more, "jobs": {**grid["jobs"], **jobs}}
        write_text_atomically(json.dumps(changed, indent=1) + "\n", runs / GRID)


def read_grid(runs: Path) -> Grid:
    """What `record` noted last, nothing at first; raises `RowsError` for a file of others."""
    empty: dict[str, object] = {"table": "", "cells": [], "jobs": {}}
    found = {**empty, **(read_json(runs / GRID) or {})}
    if any(not isinstance(found[name], type(kind)) for name, kind in empty.items()):
        raise RowsError(f"{runs / GRID} does not list the cells of a sweep: remove it")
    return cast(Grid, found)


def wait_for_others(runs: Path, cells: Sequence[str]) -> None:
    """Waits until no other process is at one of ``cells``."""
    pause = 0.2
    while True:
        unfinished = [cell for cell in cells if row_status(runs / cell) != Status.OK]
        held = {cell: who for cell in unfinished if (who := locks.holder(runs / cell))}
        if not held:
            return
        if pause == 0.2:
            cell, who = next(iter(held.items()))
            print(f"waiting for {len(held)} cells of another sweep: {cell}, {who}", flush=True)
        time.sleep(pause)
        pause = min(1.5 * pause, 10.0)


def print_states(runs: Path, cells: Sequence[str]) -> int:
    """Prints the state of every cell and how many there are of each; 0 if all are ok, else 1."""
    queue = cluster.queue()
    found = {cell: state(runs, cell, queue) for cell in cells}
    width = max(map(len, found), default=0)
    for cell, one in found.items():
        print(f"{cell:{width}}  {one}")
    counts = Counter(one.status for one in found.values())
    print(f"{len(found)} cells:", ", ".join(f"{n} {status}" for status, n in counts.items()))
    return 0 if set(counts) <= {Status.OK} else 1
