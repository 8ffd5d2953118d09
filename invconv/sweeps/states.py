"""What became of the cells of a sweep, told from their folders at any moment."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invconv.files import locked, write_text_atomically
from invconv.rows.provenance import revision
from invconv.rows.row import RowsError, now, read_json, read_row
from invconv.sweeps.claims import holder, newest_claim, read_claim

GRID = "grid.json"


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
    try:
        row = read_row(folder / "row.json")
    except RowsError as error:
        return State("error", str(error))
    if row is not None and row.status == "ok":
        made, here = row.provenance["commit"], revision()[0]
        return State("ok", f"by commit {made}, here is {here}" if made != here else "")
    working = holder(folder)
    if working:
        return State("running", working)
    job = read_grid(runs)["jobs"].get(cell, "")
    if queue and job in queue:
        return State("queued", f"SLURM job {job}: {queue[job]}")
    if row is not None:
        return State(row.status, row.reason)
    number, path = newest_claim(folder)
    if path is None:
        log = runs / ".submitit" / job
        return State("missing", f"SLURM job {job} is gone; its log, if any: {log}" if job else "")
    last = read_claim(path)
    by = f"SLURM job {last['job']}" if last.get("job") else f"process {last.get('pid', '?')}"
    end = last.get("outcome", "died")
    return State("missing", f"attempt {number + 1}, {by} on {last.get('host', '?')}, {end}")


def row_status(folder: Path) -> str:
    """The status of the cell's row, "missing" if it has none, "error" if that is broken."""
    try:
        row = read_row(folder / "row.json")
    except RowsError:
        return "error"
    return "missing" if row is None else row.status


def changed(folder: Path) -> bool:
    """Whether the cell's row was made by another version of the code, or is broken."""
    try:
        row = read_row(folder / "row.json")
    except RowsError:
        return True
    return row is not None and row.provenance["commit"] != revision()[0]


def attempts(folder: Path) -> list[str]:
    """How each attempt at the cell ended, oldest first; "died" where it says nothing."""
    last = newest_claim(folder)[0]
    claims = [read_claim(folder / f"claim.{number}") for number in range(last + 1)]
    return [claim.get("outcome", "died") for claim in claims]


def record(table: str, runs: Path, cells: Sequence[str]) -> None:
    """Notes in ``runs/grid.json`` which cells a sweep wants; jobs that stand there stay.

    Raises:
        RowsError: if what is there is something else.
    """
    with locked(runs / GRID):
        grid = {
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


def read_grid(runs: Path) -> dict[str, Any]:
    """What `record` noted last; empty "table", "cells" and "jobs" if nothing was.

    Raises:
        RowsError: if what is there is something else.
    """
    empty: dict[str, Any] = {"table": "", "command": [], "cells": [], "jobs": {}}
    found = empty | (read_json(runs / GRID) or {})
    texts = [found["table"], *found["cells"]] if isinstance(found["cells"], list) else [None]
    texts += found["jobs"].values() if isinstance(found["jobs"], dict) else [None]
    if not all(isinstance(text, str) for text in texts):
        raise RowsError(f"{runs / GRID} does not list the cells of a sweep: remove it")
    return found


def wait_for_others(runs: Path, cells: Sequence[str]) -> None:
    """Waits until no other process is at one of ``cells``."""
    pause, told = 0.2, False
    while True:
        holders = {cell: holder(runs / cell) for cell in cells if row_status(runs / cell) != "ok"}
        held = {cell: who for cell, who in holders.items() if who}
        if not held:
            return
        if not told:
            cell, who = next(iter(held.items()))
            print(f"waiting for {len(held)} cells of another sweep: {cell}, {who}", flush=True)
            told = True
        time.sleep(pause)
        pause = min(1.5 * pause, 10.0)
