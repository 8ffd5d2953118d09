"""The page `results/faults.md`: what sweeps on SLURM survive, and what a job costs."""

from pathlib import Path

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks
from invconv.rows import newest

KILL = "kills: "


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/faults.md`` from the rows and returns its path."""
    return pages.write("faults", lambda: page(rows), results)


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows."""
    parts = [
        "# Faults: what a sweep on SLURM survives",
        "Made by `python slurm/faults.py`; do not edit. Rows: [data/faults.csv](data/faults.csv). "
        "A real SLURM with two emulated nodes on one machine (`slurm/single_node.sh`), training "
        "cells of table 2 (`preset=tiny`, digits, FInC), killed while they train; then the same "
        "command again until its exit code is 0.",
    ]
    if rows.empty:
        parts.append("missing: no rows yet.")
    for _, row in newest(rows).iterrows():
        if row["status"] == "ok":
            parts += _trial(row) if row["cell"] == "faults" else _overhead(row)
    parts += remarks.footnotes(newest(rows))
    return "\n\n".join(parts) + "\n"


def _trial(row: pd.Series) -> list[str]:
    kills = [name for name in row.index if name.startswith(KILL) and row[name] > 0]
    every = md.Cell(f"{sum(row[kills]):.0f}", *(md.source(row, name) for name in kills))
    whole = "{:.0f}".format
    fields = {
        "cells launched": "cells",
        "attempts at them": "attempts",
        "launches of the command": "launches",
        **{f"faults: {name.removeprefix(KILL)}": name for name in kills},
        "faults, all": "",
        "**cells lost**": "lost",
        "**finished cells repeated**": "repeated",
        "cells whose bits per dimension are not exactly those of an undisturbed run": "other_bpd",
        "seconds from the last kill to the complete table": "last_kill_to_table_s",
    }
    table = [
        {"what": name, "number": md.value(row, field, whole) if field else every}
        for name, field in fields.items()
    ]
    return [f"## Faults\n\n{_source(row)}", md.table(table)]


def _overhead(row: pd.Series) -> list[str]:
    cells, side = int(row["trivial_cells"]), int(row["side_by_side"])
    ways = {
        f"`launch=slurm`, {side} jobs at a time": ("slurm_s", side),
        "`launch=basic`, one process": ("basic_s", 1),
    }
    table = [
        {
            "how": how,
            "whole sweep, s": md.value(row, field, "{:.0f}".format),
            "s per cell": md.value(row, field, "{:.2f}".format, 1 / cells),
            "s of a slot per cell": md.value(row, field, "{:.2f}".format, slots / cells),
        }
        for how, (field, slots) in ways.items()
    ]
    extra = (side * row["slurm_s"] - row["basic_s"]) / cells
    return [
        f"## What a job costs\n\n{cells} trivial cells (table 1, Glow). A job costs {extra:.1f} s "
        "of its slot more than the same cell in one process: the start of a Python that imports "
        f"torch, {side} at a time on the cores of this machine, and SLURM's scheduling. "
        f"{_source(row)}",
        md.table(table),
    ]


def _source(row: pd.Series) -> str:
    dirty = " with changes" if row["dirty"] else ""
    load = row.get("load_average")
    busy = "" if load is None or pd.isna(load) else f", load average {load:.1f}"
    where = pages.where(row["device"], row["machine"])
    return f"Measured on {where}{busy}, {row['date']}, commit {row['commit']}{dirty}."
