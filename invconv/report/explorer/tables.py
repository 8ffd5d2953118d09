"""What the explorer shows of one table: columns, rows, pictures, figures, published figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from invconv.report.explorer.matches import Match, Place, comparisons
from invconv.report.explorer.plots import QUARTILES, Plot, default_plot
from invconv.report.explorer.samples import Pictures
from invconv.rows import Value, newest
from invconv.rows.columns import Column, column_of
from invconv.rows.store import KEY

UNITS = {
    "_bytes_per_s": "bytes/s",
    "_flop_per_s": "FLOP/s",
    "gflops": "GFLOP/s",
    "_bytes": "bytes",
    "_s": "s",
}
"""How a column's name ends → its unit, where the column has none; the first that fits counts."""
ASIDE = ("table", "python", "cuda", "isa", "tf32", "dirty", "date", "duration_s", "config")
"""Columns that are shown on demand."""
FRONT = ("cell", "status", "reason")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the explorer shows of a table."""

    name: str
    """As in its rows."""
    title: str
    """In one line."""
    columns: tuple[Column, ...] = ()
    """What a row may hold besides its labels, see `invconv.rows.columns`."""
    plots: tuple[Plot, ...] = ()
    """Its figures; none for every time against the method."""
    match: Callable[[Mapping[str, str]], Place] = field(default_factory=Match)
    """A published figure → the column that measures it and the labels of the rows that do."""


def table_data(
    table: Shown, rows: pd.DataFrame, pictures: Pictures | None = None
) -> dict[str, object]:
    """What the page shows of a table's rows: ``values`` has one list per column."""
    rows = rows.reset_index(drop=True)
    rows = rows.assign(**{name: rows[name].astype("string") for name in KEY})
    names = [*FRONT, *(name for name in map(str, rows) if name not in FRONT)]
    names = [name for name in names if name in FRONT[:2] or rows[name].notna().any()]
    keys = enumerate(rows[KEY].itertuples(index=False, name=None))
    good = rows[rows["status"] == "ok"]
    compared = comparisons(table.name, rows, table.match)
    plots = table.plots or (default_plot(good, table.columns),)
    return {
        "name": table.name,
        "title": table.title,
        "columns": [_column(name, rows[name], table.columns) for name in names],
        "values": [[_plain(value) for value in rows[name].astype(object)] for name in names],
        "newest": rows.index.isin(newest(rows).index).tolist(),
        "pictures": {i: pictures[key] for i, key in keys if pictures and key in pictures},
        "figures": [figure for plot in plots for figure in plot.figures(good, compared)],
        "published": compared,
    }


def _column(name: str, values: pd.Series, columns: Sequence[Column]) -> dict[str, object]:
    """A column: its unit, whether it holds numbers, and whether it is shown at first."""
    column = column_of(name, columns)
    ending = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
    return {
        "name": name,
        "unit": column.unit if column and column.unit else ending,
        "numeric": pd.api.types.is_numeric_dtype(values)
        and not pd.api.types.is_bool_dtype(values),
        "shown": name not in ASIDE and not name.endswith(QUARTILES),
    }


def _plain(value: Value) -> Value:
    """A value as JSON has it: None for what is absent, a float with nine digits."""
    if pd.isna(value):
        return None
    if isinstance(value, float) and abs(value) < float("inf"):
        return int(value) if value.is_integer() else float(f"{value:.9g}")
    return value if isinstance(value, bool | int | str) else str(value)
