"""What became of the cells of a sweep, told from their folders at any moment."""

import json
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from invconv.files import locked, write_text_atomically
from invconv.rows.provenance import revision
from invconv.rows.row import Row, RowsError, now, read_json, read_row
from invconv.rows.status import Status
from invconv.sweeps import cluster, locks, progress

if TYPE_CHECKING:
    from invconv.sweeps.config import Sweep

GRID, ROW = "grid.json", "row.json"
OTHERS = ("running", "queued", "refused", "interrupted", "died", "missing")
"""What a cell without a row is; one that was refused began to measure nothing."""


class Grid(TypedDict):
    """What is read of `record`'s note of a sweep; ``jobs`` are the SLURM jobs by cell."""

    table: str
    cells: list[str]
    jobs: dict[str, str]


@dataclass(frozen=True)
class State:
    """A cell's `Status`, or one of `OTHERS`, why or who, and since when where that is known."""

    status: str
    words: str = ""
    date: str = field(default="", compare=False)

    def __str__(self) -> str:
        between = " " if self.words.startswith("at step") else ": "
        return f"{self.status}{between}{self.words}" if self.words else self.status


def state(runs: Path, cell: str, queue: Mapping[str, str] | None = None) -> State:
    """The state of ``runs/cell``; ``queue`` has the words of SLURM jobs, see `cluster.queue`."""
    folder = runs / cell
    working = "" if row_status(folder) == Status.OK else locks.holder(folder)
    of_row = _of_row(folder)
    if of_row.status == Status.OK:
        return of_row
    if working:
        step, tried = progress.reached(folder), locks.attempts(folder)
        words = ", ".join(part for part in (step, working) if part)
        return State("running", words, tried[-1].date if tried else "")
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
    date, step = last.ended or last.date, progress.reached(folder)
    if last.outcome == "refused":
        return State("refused", last.reason, date)
    by = f"SLURM job {last.job}" if last.job else f"process {last.pid}"
    words = f"attempt {len(tried)}, {by} on {last.host}"
    if last.outcome not in ("interrupted", "died"):
        return State("missing", f"{words}, {last.outcome}", date)
    return State(last.outcome, f"at {step}, {words}" if step else words, date)


def row_status(folder: Path) -> str:
    """The status of the cell's row, "missing" if it has none, "error" if that is broken."""
    return _of_row(folder).status


def _of_row(folder: Path) -> State:
    try:
        row = read_row(folder / ROW)
    except RowsError as error:
        return State(Status.ERROR, str(error))
    if row is None or row.status != Status.OK:
        return State(row.status, row.reason, _date(row)) if row else State("missing")
    made, here = row.provenance["commit"], revision()[0]
    words = f"by commit {made}, here is {here}" if made != here else ""
    return State(Status.OK, words, _date(row))


def _date(row: Row) -> str:
    return str(row.provenance["date"])


def forced(config: "Sweep", folder: Path) -> bool:
    """Whether the cell is to be measured again whatever its row says."""
    try:
        row = read_row(folder / ROW) if config.force_changed else None
    except RowsError:
        return True
    return config.force or (row is not None and row.provenance["commit"] != revision()[0])


def collected(table: str, config: "Sweep") -> set[str]:
    """Return the cells that are done because of ``skip_collected``."""
    if not config.skip_collected:
        return set()
    from invconv.rows.store import read_table  # pandas, which listing does without

    rows = read_table(Path(config.results) / "data" / f"{table}.csv")
    return set(rows.loc[rows["status"] == Status.OK, "cell"])


def attempts(folder: Path) -> list[str]:
    """How each attempt at the cell ended, oldest first, see `locks.attempts`."""
    return [attempt.outcome for attempt in locks.attempts(folder)]


def record(table: str, runs: Path, cells: Sequence[str]) -> None:
    """Note in ``runs/grid.json`` which cells a sweep wants; its jobs stay. Raises `RowsError`."""
    command = [Path(sys.argv[0]).name, *sys.argv[1:]]
    _note(runs, {}, table=table, command=command, date=now(), cells=list(cells))


def record_jobs(runs: Path, jobs: Mapping[str, str]) -> None:
    """Add which SLURM job has which cell; raises as `record` does."""
    _note(runs, jobs)


def _note(runs: Path, jobs: Mapping[str, str], **more: object) -> None:
    with locked(runs / GRID):
        grid = read_grid(runs)
        changed = {**grid, **more, "jobs": {**grid["jobs"], **jobs}}
        write_text_atomically(json.dumps(changed, indent=1) + "\n", runs / GRID)


def drop(runs: Path, cells: Collection[str]) -> None:
    """Take ``cells`` out of what `record` noted; raises as that does."""
    with locked(runs / GRID):
        if (runs / GRID).exists():
            grid = read_grid(runs)
            jobs = {cell: job for cell, job in grid["jobs"].items() if cell not in cells}
            left = [cell for cell in grid["cells"] if cell not in cells]
            changed = {**grid, "cells": left, "jobs": jobs}
            write_text_atomically(json.dumps(changed, indent=1) + "\n", runs / GRID)


def read_grid(runs: Path) -> Grid:
    """What `record` noted last, nothing at first; raises `RowsError` for a file of others."""
    empty: dict[str, object] = {"table": "", "cells": [], "jobs": {}}
    found = {**empty, **(read_json(runs / GRID) or {})}
    if any(not isinstance(found[name], type(kind)) for name, kind in empty.items()):
        raise RowsError(f"{runs / GRID} does not list the cells of a sweep: remove it")
    return cast(Grid, found)


def wait_for_others(runs: Path, cells: Sequence[str]) -> None:
    """Wait until no other process is at one of ``cells``."""
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


def cells_below(runs: Path) -> list[str]:
    """Return every cell below a folder by its path there: those of the last sweeps come first.

    That is what `record` noted, and every folder that somebody worked in.
    """
    noted = [(path.parent, read_grid(path.parent)) for path in sorted(runs.glob(f"**/{GRID}"))]
    found = [folder / cell for folder, grid in noted for cell in grid["cells"]]
    for name in (locks.ATTEMPTS, ROW):
        found += [path.parent for path in sorted(runs.glob(f"**/{name}"))]
    return [str(folder.relative_to(runs)) for folder in dict.fromkeys(found)]


def print_states(runs: Path, cells: Sequence[str]) -> int:
    """Print the state of every cell and how many there are of each; 0 if all are ok, else 1.

    ``cells`` are paths below ``runs``.
    """
    queue = cluster.queue()
    places = {cell: (runs / cell).resolve() for cell in cells}
    found = {cell: state(place.parent, place.name, queue) for cell, place in places.items()}
    width = max(map(len, found), default=0)
    for cell, one in found.items():
        cell = places[cell].name if cell == "." else cell
        past = f", {old} ago" if (old := progress.age(one.date)) else ""
        print(f"{cell:{width}}  {one}{past}")
    counts = Counter(one.status for one in found.values())
    print(f"{len(found)} cells:", ", ".join(f"{n} {status}" for status, n in counts.items()))
    return 0 if set(counts) <= {Status.OK} else 1
