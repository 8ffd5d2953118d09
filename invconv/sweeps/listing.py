"""`python -m invconv list runs/table2`: the cells of a sweep, before, during and after it."""

import shutil
import sys
from collections import Counter
from pathlib import Path

from invconv.rows.provenance import ROOT
from invconv.sweeps import cluster, states
from invconv.sweeps.sweep import compose


def list_cells(runs: Path, overrides: list[str]) -> int:
    """Prints every expected cell with its state; starts nothing and writes nothing.

    Args:
        runs: the sweep's folder, whose name is the table's where no sweep was started yet.
        overrides: of the command line whose cells are expected; none: those of the sweep that was
            started last, or the default ones.

    Returns:
        The exit code: 0 if all are ok, 1 if not, 2 if there is no such table.
    """
    grid = states.read_grid(runs)
    cells = grid["cells"]
    if overrides or not cells:
        table = grid["table"] or runs.resolve().name
        script = ROOT / "reproductions" / f"{table}.py"
        if not script.exists():
            known = ", ".join(sorted(path.stem for path in script.parent.glob("*.py")))
            print(f"{runs}: {table!r} is no table, which are: {known or 'none'}", file=sys.stderr)
            return 2
        cells = list(compose(script, [*overrides, f"runs={runs}"]))
    queue = cluster.queue() if shutil.which("squeue") else None
    waiting = {job: words for job, words in (queue or {}).items() if not cluster.ended(words)}
    found = {cell: states.state(runs, cell, waiting) for cell in cells}
    width = max(map(len, found), default=0)
    for cell, state in found.items():
        print(f"{cell:{width}}  {state}")
    counts = Counter(state.status for state in found.values())
    print(f"{len(found)} cells:", ", ".join(f"{n} {status}" for status, n in counts.items()))
    return 0 if set(counts) <= {"ok"} else 1
