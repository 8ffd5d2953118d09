"""What the explorer shows of one table: its columns, rows, pictures, figures and publications."""

from typing import Any

import pandas as pd

from invconv.report.explorer.figures import figures
from invconv.report.explorer.matches import matches
from invconv.report.explorer.samples import Pictures
from invconv.rows import newest
from invconv.rows.store import KEY

UNITS = {
    "_bytes_per_s": "bytes/s",
    "_flop_per_s": "FLOP/s",
    "gflops": "GFLOP/s",
    "_bytes": "bytes",
    "_s": "s",
    "bpd": "bits/dim",
    "bpd_interval": "bits/dim",
}
"""How a column's name ends → its unit; the first that fits counts."""
HIDDEN = ("_q25_s", "_q75_s")
ASIDE = ("table", "python", "cuda", "isa", "tf32", "dirty", "date", "duration_s", "config")
"""Columns that are shown on demand."""
FRONT = ("cell", "status", "reason")
DIGITS = 9


def table_data(name: str, rows: pd.DataFrame, pictures: Pictures | None = None) -> dict[str, Any]:
    """One table for the page, as JSON may hold it.

    Returns:
        columns: name, unit, whether it is numeric, whether it is shown at first.
        values: one list per column.
        newest: for every row whether it is its cell's newest on its machine.
        pictures, left_out: by the row's number.
        figures, published: see `figures` and `matches`.
    """
    rows = rows.reset_index(drop=True)
    rows = rows.assign(**{c: rows[c].astype("string") for c in KEY if c in rows})
    names = [*FRONT, *(str(c) for c in rows if c not in FRONT)]
    names = [c for c in names if c in FRONT or rows[c].notna().any()]
    if "reason" in rows and rows["reason"].isna().all():
        names.remove("reason")
    pictures = pictures or Pictures()
    keys = list(rows[KEY].itertuples(index=False, name=None))
    return {
        "columns": [_column(c, rows[c]) for c in names],
        "values": [_values(rows[c]) for c in names],
        "newest": rows.index.isin(newest(rows).index).tolist() if len(rows) else [],
        "pictures": {
            i: pictures.shown[key] for i, key in enumerate(keys) if key in pictures.shown
        },
        "left_out": {
            i: pictures.left_out[key] for i, key in enumerate(keys) if key in pictures.left_out
        },
        "figures": figures(name, rows) if len(rows) else [],
        "published": matches(name, rows),
    }


def unit(name: str) -> str:
    """The unit of a column, "" where it is a count or a ratio.

    >>> from invconv.report.explorer.tables import unit
    >>> unit("st_q25_s"), unit("valid_bpd"), unit("inverse_bytes_per_s"), unit("n")
    ('s', 'bits/dim', 'bytes/s', '')
    """
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "")


def _column(name: str, values: pd.Series) -> dict[str, Any]:
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    shown = name not in ASIDE and not name.endswith(HIDDEN)
    return {"name": name, "unit": unit(name), "numeric": numeric, "shown": shown}


def _values(values: pd.Series) -> list[Any]:
    return [plain(value) for value in values.astype(object)]


def plain(value: Any) -> Any:
    """A value as JSON has it: None for what is absent, a float with nine digits."""
    if pd.isna(value):
        return None
    if isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            return str(value)
        return int(value) if value.is_integer() else float(f"{value:.{DIGITS}g}")
    return value if isinstance(value, bool | int | str) else str(value)
