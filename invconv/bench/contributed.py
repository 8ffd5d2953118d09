"""Rows that somebody else measured: their schema and provenance, checked before they are shown."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from invconv.bench.rows import STATUSES, RowsError
from invconv.bench.store import KEY, add, read_table

REQUIRED: tuple[str, ...] = (
    "cell",
    "table",
    "status",
    "config",
    "device",
    "machine",
    "threads",
    "torch",
    "commit",
)
REQUIRED += ("python", "dirty", "date")
"""Columns without which a row says neither what it is nor where it comes from."""
NAMES = tuple(name for name in REQUIRED if name != "config")
"""Columns that a page shows as they are."""


def check_rows(rows: pd.DataFrame, tables: tuple[str, ...]) -> None:
    """Raises `RowsError` unless ``rows`` could have been written by a sweep of this package.

    Args:
        rows: as `read_table` gives them.
        tables: that have a page.
    """
    missing = [name for name in REQUIRED if name not in rows.columns]
    if missing:
        raise RowsError(f"columns are missing: {', '.join(missing)}")
    if rows.empty:
        raise RowsError("there are no rows")
    wrong = []
    for number, (_, row) in enumerate(rows.iterrows(), 1):
        wrong += [f"row {number}: {reason}" for reason in _reasons(row, tables)]
    if rows["table"].nunique() > 1:
        wrong.append(f"one file holds the rows of one table, not of {set(rows['table'])}")
    repeated = rows[rows.duplicated(KEY)]
    wrong += [f"{cell} stands there twice" for cell in repeated["cell"]]
    if wrong:
        raise RowsError("\n".join(wrong))


def _reasons(row: pd.Series, tables: tuple[str, ...]) -> list[str]:
    found = [f"{name} is empty" for name in REQUIRED if pd.isna(row[name])]
    if row["table"] not in tables:
        found.append(f"table must be one of {', '.join(tables)}, not {row['table']!r}")
    if row["status"] not in STATUSES:
        found.append(f"status must be one of {', '.join(STATUSES)}, not {row['status']!r}")
    for name, value in row.items():
        if isinstance(value, str) and not value.isprintable():
            found.append(f"{name} holds characters that cannot be printed")
        if name in NAMES and set("<>|`") & set(str(value)):
            found.append(f"{name} must be without <, >, | and `, not {value!r:.60}")
    if str(row["commit"]) == "unknown":
        found.append("the commit is unknown: measure from a git checkout, or set INVCONV_COMMIT")
    if str(row["dirty"]) not in ("True", "False"):
        found.append(f"dirty must be True or False, not {row['dirty']!r}")
    if pd.isna(pd.to_datetime(row["date"], errors="coerce", utc=True)):
        found.append(f"date must be a time such as 2026-01-31T12:00:00Z, not {row['date']!r}")
    try:
        config = json.loads(row["config"])
    except (TypeError, ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        found.append("config is not a JSON object")
    times = [name for name in row.index if name.endswith("_s") and not pd.isna(row[name])]
    for name in times:
        seconds = pd.to_numeric(row[name], errors="coerce")
        if not 0 <= seconds < float("inf"):
            found.append(f"{name} must be seconds, not {row[name]!r}")
    return found


def import_rows(
    path: Path, label: str, data: Path, pages: Mapping[str, Callable[[pd.DataFrame, Path], Path]]
) -> tuple[str, pd.DataFrame]:
    """Checks the rows at ``path`` and adds them to those in ``data``, marked with ``label``.

    The label goes in front of their machine's name, so that they form a block of their own and
    replace nothing that was measured here; to import them again replaces them. Rows that are in
    ``data`` already, without a label, are left out: a checkout's file holds them too.

    Args:
        path: a CSV file as in ``results/data``.
        label: of the contributor.
        data: the folder ``results/data``; the pages are beside it.
        pages: table → what writes its page from all rows into a folder.

    Returns:
        The table's name, and all of its rows.

    Raises:
        RowsError: if the file or the label cannot be taken; nothing is changed then.
    """
    if not label.strip() or not label.isprintable() or set(":<>|`") & set(label):
        raise RowsError(
            f"the contributor's label must be a name without a colon, <, >, | and `, not {label!r}"
        )
    if not path.exists():
        raise RowsError(f"there is no file {path}")
    rows = read_table(path)
    check_rows(rows, tuple(pages))
    table = str(rows["table"].iloc[0])
    stored = data / f"{table}.csv"

    def theirs() -> pd.DataFrame:
        known = read_table(stored)
        ours = set() if known.empty else set(known[[*KEY, "date"]].itertuples(False, None))
        kept = [key not in ours for key in rows[[*KEY, "date"]].itertuples(False, None)]
        if not any(kept):
            raise RowsError(f"all of its {len(rows)} rows are here already, without a label")
        return rows[kept].assign(machine=f"{label}: " + rows["machine"].astype(str))

    return table, add(theirs, stored, pages[table])
