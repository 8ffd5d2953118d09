"""What `python -m invconv forget` removes: cells, with their rows and all that is kept of them."""

import argparse
import shutil
import sys
from fnmatch import fnmatchcase
from pathlib import Path

from invconv.rows import remove
from invconv.sweeps import states
from invconv.sweeps.locks import holder


def forget(options: argparse.Namespace) -> int:
    """Remove the cells of a name or pattern; 1 if there are none, or one is being worked on."""
    from invconv.tables.table import tables

    def is_meant(*names: str) -> bool:
        return any(fnmatchcase(name, text.rstrip("/")) for name in names for text in options.cells)

    runs: Path = options.runs
    places = [runs / cell for cell in (states.cells_below(runs) if runs.is_dir() else [])]
    folders = [p for p in places if is_meant(p.name, str(p.relative_to(runs)), str(p))]
    for folder in folders:
        if working := holder(folder):
            print(f"nothing was removed: {folder} is {working}'s work", file=sys.stderr)
            return 1
    cells = {folder.name for folder in folders}
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    for sweep in {folder.parent for folder in folders}:
        states.drop(sweep, cells)
    deleted, count = frozenset(cells), 0
    for name, table in tables().items():
        path = options.results / "data" / f"{name}.csv"
        if path.exists():
            gone = remove(path, lambda cell: cell in deleted or is_meant(cell), table.write_page)
            count, cells = count + len(gone), cells | set(gone)
    if not cells:
        print(f"no cell is called {' or '.join(options.cells)}", file=sys.stderr)
        return 1
    for cell in sorted(cells):
        print(f"removed {cell}")
    print(f"{len(folders)} folders below {runs} and {count} rows of {options.results} removed")
    return 0
