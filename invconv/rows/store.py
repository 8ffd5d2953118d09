"""The rows of all machines and commits: `results/data/*.csv`."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from invconv.files import brief, locked, write_atomically
from invconv.rows.row import Row, RowsError, read_row

KEY = ["cell", "machine", "commit"]
WritePage = Callable[[pd.DataFrame, Path], object]


def read_rows(runs: Path) -> list[Row]:
    """Every row below ``runs``, in the order of their paths."""
    return list(filter(None, map(read_row, sorted(runs.glob("**/row.json")))))


def read_table(path: Path) -> pd.DataFrame:
    """The rows stored at ``path``, an empty frame if there are none; may raise `RowsError`."""
    needed = ["cell", "table", "status", "reason", "machine", "commit", "date"]
    if not path.exists():
        return pd.DataFrame(columns=needed)
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        rows = pd.read_csv(path, dtype={"commit": str}, keep_default_na=True)
        if missing := [name for name in needed if name not in rows.columns]:
            raise ValueError(f"columns are missing: {', '.join(missing)}")
        for name in ("table", "status", *KEY):
            if (empty := rows[name].isna()).any():
                raise ValueError(f"row {empty.argmax() + 1}: {name} is empty")
    except (OSError, ValueError, RecursionError) as error:
        raise RowsError(f"{path} holds no rows ({brief(error)})") from error
    return rows


def table_of(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as a table, a line for each."""
    return pd.DataFrame([row.flat() for row in rows])


def merge(stored: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Adds ``new``, one row per (cell, machine, commit): an "ok" one wins, then the newest.

    Rows of other machines, commits and cells stay as they are.
    """
    parts = [frame for frame in (stored, new) if len(frame)] or [stored]
    frame = newest(pd.concat(parts, ignore_index=True), KEY)
    return frame.sort_values([*KEY, "date"], kind="stable", ignore_index=True)


def newest(rows: pd.DataFrame, key: Sequence[str] = ("cell", "machine")) -> pd.DataFrame:
    """One row per ``key``: an "ok" one if there is any, then the newest."""
    ordered = rows.copy().assign(_ok=rows["status"] == "ok")  # a copy is not fragmented
    ordered = ordered.sort_values(["_ok", "date"], kind="stable")
    return ordered.drop_duplicates(list(key), keep="last").drop(columns="_ok")


def collect(
    runs: Path, path: Path, table: str = "", write_page: WritePage | None = None
) -> pd.DataFrame:
    """Adds the rows of ``table`` ("" for all) anywhere below ``runs`` to those at ``path``."""

    def rows() -> pd.DataFrame:
        return table_of(row for row in read_rows(runs) if table in ("", row.table))

    return add(rows, path, write_page)


def add(
    rows: Callable[[], pd.DataFrame], path: Path, write_page: WritePage | None = None
) -> pd.DataFrame:
    """Merges rows into the table at ``path``, atomically, and returns it.

    Args:
        rows: gives them, once it is this process's turn: several may do so at the same time.
        path: ``results/data/<table>.csv``.
        write_page: makes the page of all rows, elsewhere at first; then it goes to ``results``.

    Raises `RowsError`, and changes nothing, if there are no rows at ``path`` or no page of these.
    """
    with locked(path), TemporaryDirectory() as made:
        stored, pages = Path(made, path.name), Path(made, "results")
        merge(read_table(path), rows()).to_csv(stored, index=False)
        frame = read_table(stored)
        try:
            if write_page is not None:
                write_page(frame, pages)
        except Exception as error:
            said = f"{type(error).__name__}: {brief(error)}"
            raise RowsError(f"no page can be made with these rows ({said})") from error
        write_atomically(stored.read_bytes(), path)
        for file in sorted(pages.rglob("*.*")):
            write_atomically(file.read_bytes(), path.parents[1] / file.relative_to(pages))
    return frame
