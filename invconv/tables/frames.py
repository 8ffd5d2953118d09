"""The rows of a table as a tidy DataFrame."""

from pathlib import Path

import pandas as pd

from invconv.rows import newest, read_table
from invconv.rows.columns import column_of
from invconv.rows.provenance import ROOT
from invconv.tables.table import tables
from invconv.validation import check_choice


def results(table: str, folder: str | Path | None = None, every: bool = False) -> pd.DataFrame:
    """The rows of ``table``, one line each: labels, status, values with their units, provenance.

    Labels are first, columns without a value left out; ``attrs["units"]`` has the unit of each
    column that has one.

    Args:
        folder: the one that holds ``data/<table>.csv``; by default ``results`` in the current
            folder, otherwise that of this checkout.
        every: all rows, instead of the newest one of each cell and machine.

    >>> import invconv
    >>> rows = invconv.results("table1")
    >>> wide = rows.pivot_table("free", "method", "channels")
    """
    known = tables()[check_choice(table, tables(), "table")]
    near = Path("results")
    folder = Path(folder or (near if (near / "data").is_dir() else ROOT / "results"))
    rows = read_table(folder / "data" / f"{table}.csv")
    kept = rows if every else newest(rows)
    labels = [name for name in known.labels if name in kept]
    others = [name for name in kept if name not in labels and kept[name].notna().any()]
    found = kept[[*labels, *others]].reset_index(drop=True)
    columns = {name: column_of(str(name), known.columns) for name in found}
    found.attrs["units"] = {name: c.unit for name, c in columns.items() if c and c.unit}
    return found
