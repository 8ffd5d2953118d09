"""What became of the cells of a sweep, told from their folders at any moment."""

import json
import shutil
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

GRID = "grid.json"


class Grid(TypedDict):
    """What `record` noted of a sweep; ``jobs`` are the SLURM jobs by cell."""

    table: str
    command: list[str]
    date: str
    cells: list[str]
    jobs: dict[str, str]


@dataclass(frozen=True)
class State:
    """A cell's status and, where there is more to say, a few words.

    Attributes:
        status: a `Status`, or "running", "queued" or "missing".
        words: the reason, the holder, what the last attempt came to.
    """

    status: str
    words: str = ""

    def __str__(self) -> str:
        return f"{self.status}: {self.words}" if self.words else self.status


def state(runs: Path, cell: str, queue: Mapping[str, str] | None = None) -> State:
    """The state of ``runs/cell``.

    Args:
        runs: the sweep's folder.
        cell: the cell's name.
        queue: the words of SLURM jobs that wait or run, by number, see `cluster.queue`.
    """
    folder = runs / cell
    working = "" if row_status(folder) == Status.OK else locks.holder(folder)
    of_row = _of_row(folder)
    if of_row.status == Status.OK:
        return of_row
    if working:
        return State("running", working)
    job = read_grid(runs)["jobs"].get(cell, "")
    if queue and job in queue:
        return State("queued", f"SLURM job {job}: {queue[job]}")
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
    if row is None:
        return State("missing")
    if row.status != Status.OK:
        return State(row.status, row.reason)
    made, here = row.provenance["commit"], revision()[0]
    return State(Status.OK, f"by commit {made}, here is {here}" if made != here else "")


def changed(folder: Path) -> bool:
    """Whether the cell's row was made by another version of the code, or is broken."""
    try:
        row = read_row(folder / "row.json")
    except RowsError:
        return True
    return row is not None and row.provenance["commit"] != revision()[0]


def attempts(folder: Path) -> list[str]:
    """How each attempt at the cell ended, oldest first, see `locks.attempts`."""
    return [attempt.outcome for attempt in locks.attempts(folder)]


def record(table: str, runs: Path, cells: Sequence[str]) -> None:
    """Notes in ``runs/grid.json`` which cells a sweep wants; jobs that stand there stay.

    Raises:
        RowsError: if what is there is something else.
    """
    with locked(runs / GRID):
        grid: Grid = {
            "table": table,
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "date": now(),
            "cells": list(cells),
            "jobs": read_grid(runs)["jobs"],
        }
        write_text_atomically(json.dumps(grid, indent=1) + "\n", runs / GRID)


def record_jobs(runs: Path, jobs: Mapping[str, str]) -> None:
    """Adds which SLURM job has which cell; raises as `record` does."""
    with locked(runs / GRID):
        grid = read_grid(runs)
        grid["jobs"] |= jobs
        write_text_atomically(json.dumps(grid, indent=1) + "\n", runs / GRID)


def read_grid(runs: Path) -> Grid:
    """What `record` noted last; empty "table", "cells" and "jobs" if nothing was.

    Raises:
        RowsError: if what is there is something else.
    """
    empty = Grid(table="", command=[], date="", cells=[], jobs={})
    found = {**empty, **(read_json(runs / GRID) or {})}
    cells, jobs = found["cells"], found["jobs"]
    texts = [found["table"], *(cells if isinstance(cells, list) else [None])]
    texts += jobs.values() if isinstance(jobs, dict) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise RowsError(f"{runs / GRID} does not list the cells of a sweep: remove it")
    return cast(Grid, found)


def wait_for_others(runs: Path, cells: Sequence[str]) -> None:
    """Waits until no other process is at one of ``cells``."""
    pause, told = 0.2, False
    while True:
        unfinished = [cell for cell in cells if row_status(runs / cell) != Status.OK]
        held = {cell: who for cell in unfinished if (who := locks.holder(runs / cell))}
        if not held:
            return
        if not told:
            cell, who = next(iter(held.items()))
            print(f"waiting for {len(held)} cells of another sweep: {cell}, {who}", flush=True)
            told = True
        time.sleep(pause)
        pause = min(1.5 * pause, 10.0)


def print_states(runs: Path, cells: Sequence[str]) -> int:
    """Prints the state of every cell and how many there are of each; 0 if all are ok, else 1."""
    queue = cluster.queue() if shutil.which("squeue") else None
    waiting = {job: words for job, words in (queue or {}).items() if not cluster.ended(words)}
    found = {cell: state(runs, cell, waiting) for cell in cells}
    width = max(map(len, found), default=0)
    for cell, one in found.items():
        print(f"{cell:{width}}  {one}")
    counts = Counter(one.status for one in found.values())
    print(f"{len(found)} cells:", ", ".join(f"{n} {status}" for status, n in counts.items()))
    return 0 if set(counts) <= {Status.OK} else 1
