"""What sweeps on SLURM survive, and what a job costs; ``slurm/faults.py`` measures it."""

from pathlib import Path

import pandas as pd

from invconv.report import Document, Entry, Grid
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.rows import newest
from invconv.rows.columns import Number, Seconds
from invconv.tables.table import Table

KILL = "kills: "


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    kept = newest(rows)
    trials = [
        {
            **row.dropna(),
            "where": bl.where(row["device"], row["machine"]),
            **(_trial(row) if row["cell"] == "faults" else _overhead(row)),
        }
        for _, row in kept[kept["status"] == "ok"].iterrows()
    ]
    context = {"trials": trials, "failures": bl.failures(kept)}
    return Document("faults", Path(__file__).with_suffix(".md.j2"), context)


def _trial(row: pd.Series) -> dict[str, Grid]:
    kills = [name for name in row.index if name.startswith(KILL) and row[name] > 0]
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
    numbers = {name: en.value(row, field, "{:.0f}".format) for name, field in fields.items()}
    sources = tuple(en.source(row, name) for name in kills)
    numbers["faults, all"] = Entry(f"{row[kills].sum():.0f}", sources)
    return {"faults": Grid([{"what": name, "number": n} for name, n in numbers.items()])}


def _overhead(row: pd.Series) -> dict[str, object]:
    cells, side = int(row["trivial_cells"]), int(row["side_by_side"])
    ways = {
        f"`launch=slurm`, {side} jobs at a time": ("slurm_s", side),
        "`launch=basic`, one process": ("basic_s", 1),
    }
    lines = [
        {
            "how": how,
            "whole sweep, s": en.value(row, field, "{:.0f}".format),
            "s per cell": en.value(row, field, "{:.2f}".format, 1 / cells),
            "s of a slot per cell": en.value(row, field, "{:.2f}".format, slots / cells),
        }
        for how, (field, slots) in ways.items()
    ]
    return {"extra": (side * row["slurm_s"] - row["basic_s"]) / cells, "costs": Grid(lines)}


def finding(rows: pd.DataFrame) -> str:
    """Say how many cells were lost and repeated."""
    trial = bl.only(rows[rows["status"] == "ok"], cell="faults")
    if trial is None:
        return ""
    kills = trial[[name for name in trial.index if str(name).startswith(KILL)]].sum()
    return (
        f"{kills:.0f} faults in a sweep of {trial['cells']:.0f} cells: {trial['lost']:.0f} cells "
        f"lost, {trial['repeated']:.0f} finished cells repeated."
    )


TABLE = Table(
    name="faults",
    title="What a sweep survives, and what a job costs",
    question="What does a sweep on SLURM survive?",
    named=False,
    columns=(
        Number("cells launches kills:* attempts lost repeated other_bpd side_by_side"),
        Number("trivial_cells"),
        Seconds("last_kill_to_table slurm basic", verified=False),
    ),
    page=page,
    finding=finding,
    made_by="python slurm/faults.py",
    order=9,
)
