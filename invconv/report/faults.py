"""The page `results/faults.md`: what sweeps on SLURM survive, and what a job costs."""

from pathlib import Path

import pandas as pd

from invconv.bench import newest, write_text_atomically
from invconv.report import markdown as md

KILL = "kills: "


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/faults.md`` from the rows and returns its path."""
    path = results / "faults.md"
    write_text_atomically(page(rows), path)
    return path


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows."""
    parts = [
        "# Faults: what a sweep on SLURM survives",
        "Made by `python slurm/faults.py`; do not edit. Rows: [data/faults.csv](data/faults.csv). "
        "A real SLURM with two emulated nodes on one machine (`slurm/single_node.sh`), training "
        "cells of table 2 (`preset=tiny`, digits, FInC), killed while they train; then the same "
        "command again until its exit code is 0.",
    ]
    for _, row in newest(rows).iterrows():
        parts += _trial(row) if row["cell"] == "faults" else _overhead(row)
    return "\n\n".join(parts) + "\n"


def _trial(row: pd.Series) -> list[str]:
    kills = {name: row[name] for name in row.index if name.startswith(KILL) and row[name] > 0}
    lines = {
        "cells launched": row["cells"],
        "attempts at them": row["attempts"],
        "launches of the command": row["launches"],
        **{f"faults: {name.removeprefix(KILL)}": number for name, number in kills.items()},
        "faults, all": sum(kills.values()),
        "**cells lost**": row["lost"],
        "**finished cells repeated**": row["repeated"],
        "cells whose bits per dimension are not exactly those of an undisturbed run": row[
            "other_bpd"
        ],
    }
    table = [{"what": name, "number": f"{int(number)}"} for name, number in lines.items()]
    seconds = f"{row['last_kill_to_table_s']:.0f}"
    table.append({"what": "seconds from the last kill to the complete table", "number": seconds})
    return [f"## Faults\n\n{_source(row)}", md.table(table)]


def _overhead(row: pd.Series) -> list[str]:
    cells, side = int(row["trivial_cells"]), int(row["side_by_side"])
    ways = {
        f"`launch=slurm`, {side} jobs at a time": (row["slurm_s"], side),
        "`launch=basic`, one process": (row["basic_s"], 1),
    }
    table = [
        {
            "how": how,
            "whole sweep, s": f"{seconds:.0f}",
            "s per cell": f"{seconds / cells:.2f}",
            "s of a slot per cell": f"{seconds / cells * slots:.2f}",
        }
        for how, (seconds, slots) in ways.items()
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
    return f"Measured on {row['machine']}{busy}, {row['date']}, commit {row['commit']}{dirty}."
