"""The rows of all machines and commits: `results/data/*.csv`."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from invconv.files import brief, locked, write_atomically
from invconv.rows.bits import collect_bits
from invconv.rows.columns import read_csv
from invconv.rows.row import Row, RowsError, block_of, read_row, time_of
from invconv.rows.samples import collect_samples
from invconv.rows.status import Status

KEY = ["cell", "machine", "commit"]
WritePage = Callable[[pd.DataFrame, Path], object]


def read_rows(runs: Path) -> list[Row]:
    """Every row below ``runs``, in the order of their paths."""
    return list(filter(None, map(read_row, sorted(runs.glob("**/row.json")))))


def read_table(path: Path) -> pd.DataFrame:
    """The rows stored at ``path``, an empty frame if there are none; may raise `RowsError`.

    ``attrs["path"]`` says where that is, for what is kept beside the rows.
    """
    needed = ["cell", "table", "status", "reason", "machine", "commit", "date"]
    if not path.exists():
        return pd.DataFrame(columns=needed)
    try:
        if not path.is_file():
            raise ValueError("it is no file")
        rows = read_csv(path)
        if missing := [name for name in needed if name not in rows.columns]:
            raise ValueError(f"columns are missing: {', '.join(missing)}")
        for name in ("table", "status", *KEY):
            if (empty := rows[name].isna()).any():
                raise ValueError(f"row {empty.argmax() + 1}: {name} is empty")
        rows = rows.assign(date=_times(rows["date"]))
    except (OSError, ValueError, RecursionError) as error:
        raise RowsError(f"{path} holds no rows ({brief(error)})") from error
    rows.attrs["path"] = str(path)
    return rows


def _times(dates: pd.Series) -> pd.Series:
    """The dates in one form; raises ValueError, naming the row, for one that is not ISO 8601."""
    found = []
    for number, text in enumerate(dates, 1):
        try:
            found.append(text if pd.isna(text) else time_of(text))
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from error
    return pd.Series(found, dates.index, dtype="str")


def table_of(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as a table, a line for each of their parts."""
    return pd.DataFrame([line for row in rows for line in row.lines()])


def merge(stored: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Add ``new``, one row per (cell, machine, commit): an "ok" one wins, then the newest.

    Rows of other machines, commits and cells stay as they are, but for errors: a cell that was
    measured anywhere has none.
    """
    parts = [frame for frame in (stored, new) if len(frame)] or [stored]
    frame = newest(pd.concat(parts, ignore_index=True), KEY)
    good = frame[frame["status"] == Status.OK]
    measured = frame["cell"].isin(good["cell"]) | frame["cell"].isin(block_of(good["cell"]))
    frame = frame[~((frame["status"] == Status.ERROR) & measured)]
    return frame.sort_values([*KEY, "date"], kind="stable", ignore_index=True)


def newest(rows: pd.DataFrame, key: Sequence[str] = ("cell", "machine")) -> pd.DataFrame:
    """One row per ``key``: an "ok" one if there is any, then the newest.

    A block that failed as a whole is no row any more once its parts were measured.
    """
    ordered = rows.copy().assign(_ok=rows["status"] == "ok")  # a copy is not fragmented
    ordered = ordered.sort_values(["_ok", "date"], kind="stable")
    found = ordered.drop_duplicates(list(key), keep="last").drop(columns="_ok")
    block = block_of(found["cell"])
    others = [name for name in key if name != "cell"]
    places = list(zip(block, *(found[name] for name in others), strict=True))
    measured = {place for place, cell in zip(places, found["cell"], strict=True) if "/" in cell}
    replaced = [
        place in measured and "/" not in cell
        for place, cell in zip(places, found["cell"], strict=True)
    ]
    return found[~pd.Series(replaced, index=found.index, dtype=bool)]


def collect(
    runs: Path, path: Path, table: str = "", write_page: WritePage | None = None
) -> pd.DataFrame:
    """Add the rows of ``table`` ("" for all) below ``runs`` to ``path``, and what is beside them.

    That is the samples of what was timed, and the bits per dimension of each image.
    """

    def rows() -> pd.DataFrame:
        return table_of(row for row in read_rows(runs) if table in ("", row.table))

    def beside(merged: pd.DataFrame) -> None:
        collect_samples(runs, path, merged)
        collect_bits(runs, path, merged)

    return add(rows, path, write_page, beside)


def add(
    rows: Callable[[], pd.DataFrame],
    path: Path,
    write_page: WritePage | None = None,
    beside: Callable[[pd.DataFrame], object] = lambda _: None,
) -> pd.DataFrame:
    """Merge rows into the table at ``path``, atomically, and return it.

    Args:
        rows: gives them, once it is this process's turn: several may do so at the same time.
        path: ``results/data/<table>.csv``.
        write_page: makes the page of all rows, elsewhere at first; then it goes to ``results``.
        beside: is given all rows before, for what is kept beside them.

    Raises `RowsError`, and changes nothing, if there are no rows at ``path`` or no page of these.
    """
    return _change(lambda stored: merge(stored, rows()), path, write_page, beside)


def remove(
    path: Path, chosen: Callable[[str], bool], write_page: WritePage | None = None
) -> list[str]:
    """Remove the rows of the ``chosen`` cells, of every machine, and what is beside them.

    Returns the cell of each row that was removed; raises as `add` does.
    """
    gone = list[str]()

    def others(stored: pd.DataFrame) -> pd.DataFrame:
        cells = block_of(stored["cell"])
        gone.extend(cell for cell in cells if chosen(cell))
        return stored[~cells.isin(gone)]

    def beside(left: pd.DataFrame) -> None:
        collect_samples(path.parent / "nowhere", path, left)
        collect_bits(path.parent / "nowhere", path, left)

    if any(map(chosen, block_of(read_table(path)["cell"]))):
        _change(others, path, write_page, beside)
    return gone


def _change(
    change: Callable[[pd.DataFrame], pd.DataFrame],
    path: Path,
    write_page: WritePage | None,
    beside: Callable[[pd.DataFrame], object],
) -> pd.DataFrame:
    with locked(path), TemporaryDirectory() as made:
        stored, pages = Path(made, path.name), Path(made, "results")
        change(read_table(path)).to_csv(stored, index=False)
        frame = read_table(stored)
        frame.attrs["path"] = str(path)
        beside(frame)
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
