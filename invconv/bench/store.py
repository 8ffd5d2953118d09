"""The rows of all machines and commits: `results/data/*.csv`."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from invconv.bench.rows import Row, read_row, write_text_atomically

KEY = ["cell", "machine", "commit"]
FIRST = ["cell", "table", "status", "reason"]


def read_rows(runs: Path) -> list[Row]:
    """Every row below ``runs``, in the order of their paths."""
    rows = (read_row(path) for path in sorted(runs.glob("**/row.json")))
    return [row for row in rows if row is not None]


def read_table(path: Path) -> pd.DataFrame:
    """The rows stored at ``path``; an empty frame if there are none."""
    if not path.exists():
        return pd.DataFrame(columns=[*FIRST, *KEY[1:], "date"])
    return pd.read_csv(path, dtype={"commit": str}, keep_default_na=True)


def merge(stored: pd.DataFrame, rows: Iterable[Row]) -> pd.DataFrame:
    """Adds ``rows``, one per (cell, machine, commit): an "ok" one wins, then the newest.

    Rows of other machines, commits and cells stay as they are.
    """
    new = pd.DataFrame([row.flat() for row in rows])
    parts = [frame for frame in (stored, new) if len(frame)]
    if not parts:
        return stored
    frame = newest(pd.concat(parts, ignore_index=True), KEY)
    return frame.sort_values([*KEY, "date"], kind="stable").reset_index(drop=True)


def newest(rows: pd.DataFrame, key: Sequence[str] = ("cell", "machine")) -> pd.DataFrame:
    """One row per ``key``: an "ok" one if there is any, then the newest."""
    ordered = rows.assign(_ok=rows["status"] == "ok").sort_values(["_ok", "date"], kind="stable")
    return ordered.drop_duplicates(list(key), keep="last").drop(columns="_ok")


def collect(runs: Path, path: Path) -> pd.DataFrame:
    """Merges the rows below ``runs`` into the table at ``path``, atomically, and returns it."""
    frame = merge(read_table(path), read_rows(runs))
    write_text_atomically(frame.to_csv(index=False), path)
    return read_table(path)
