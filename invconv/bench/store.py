"""The rows of all machines and commits: `results/data/*.csv`."""

import fcntl
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from invconv.bench.rows import Row, RowsError, read_row, write_text_atomically
from invconv.files import brief

KEY = ["cell", "machine", "commit"]
FIRST = ["cell", "table", "status", "reason"]


def read_rows(runs: Path) -> list[Row]:
    """Every row below ``runs``, in the order of their paths."""
    rows = (read_row(path) for path in sorted(runs.glob("**/row.json")))
    return [row for row in rows if row is not None]


def read_table(path: Path) -> pd.DataFrame:
    """The rows stored at ``path``; an empty frame if there are none.

    Raises:
        RowsError: if what is there are no rows.
    """
    needed = [*FIRST, *KEY[1:], "date"]
    if not path.exists():
        return pd.DataFrame(columns=needed)
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        rows = pd.read_csv(path, dtype={"commit": str}, keep_default_na=True)
        missing = [name for name in needed if name not in rows.columns]
        if missing:
            raise ValueError(f"columns are missing: {', '.join(missing)}")
        for name in ("cell", "table", "status", *KEY[1:]):
            if rows[name].isna().any():
                raise ValueError(f"row {rows[name].isna().argmax() + 1}: {name} is empty")
    except (OSError, ValueError, RecursionError) as error:
        raise RowsError(f"{path} holds no rows ({brief(error)})") from error
    return rows


def merge(stored: pd.DataFrame, rows: Iterable[Row]) -> pd.DataFrame:
    """Adds ``rows``, one per (cell, machine, commit): an "ok" one wins, then the newest.

    Rows of other machines, commits and cells stay as they are.
    """
    return merge_frames(stored, pd.DataFrame([row.flat() for row in rows]))


def merge_frames(stored: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """`merge` of rows that are a frame already."""
    parts = [frame for frame in (stored, new) if len(frame)]
    if not parts:
        return stored
    frame = newest(pd.concat(parts, ignore_index=True), KEY)
    return frame.sort_values([*KEY, "date"], kind="stable").reset_index(drop=True)


def newest(rows: pd.DataFrame, key: Sequence[str] = ("cell", "machine")) -> pd.DataFrame:
    """One row per ``key``: an "ok" one if there is any, then the newest."""
    if rows.empty:
        return rows
    ordered = (
        rows.copy().assign(_ok=rows["status"] == "ok").sort_values(["_ok", "date"], kind="stable")
    )
    return ordered.drop_duplicates(list(key), keep="last").drop(columns="_ok")


def collect(
    runs: Path,
    path: Path,
    table: str = "",
    then: Callable[[pd.DataFrame], object] = lambda frame: None,
) -> pd.DataFrame:
    """Merges the rows below ``runs`` into the table at ``path``, atomically, and returns it.

    Several processes may do so at the same time, one after the other: they wait for each other
    by a POSIX lock, which ends with its process and works on NFS.

    Args:
        runs: any folder; rows are found at any depth.
        path: of the CSV file.
        table: whose rows; "" for all.
        then: what to do with the result before the next process has its turn.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("a") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        rows = [row for row in read_rows(runs) if table in ("", row.table)]
        write_text_atomically(merge(read_table(path), rows).to_csv(index=False), path)
        frame = read_table(path)
        then(frame)
    return frame
