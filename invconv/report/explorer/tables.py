"""What the explorer shows of one table: columns, rows, pictures, figures, published figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from invconv.report.explorer.matches import Comparison, Match, Place, comparisons
from invconv.report.explorer.plots import QUARTILES, Figure, Plot, default_plot
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
    """What the explorer shows of a table.

    Attributes:
        name: as in its rows.
        title: in one line.
        columns: what a row may hold besides its labels, see `invconv.rows.columns`.
        plots: its figures; none for every time against the method.
        match: a published figure → the column that measures it and the labels of the rows that do.
    """

    name: str
    title: str
    columns: tuple[Column, ...] = ()
    plots: tuple[Plot, ...] = ()
    match: Callable[[Mapping[str, str]], Place] = field(default_factory=Match)


@dataclass(frozen=True)
class Field:
    """A column: its unit, whether it holds numbers, and whether it is shown at first."""

    name: str
    unit: str
    numeric: bool
    shown: bool


@dataclass(frozen=True)
class TableData:
    """One table for the page.

    Attributes:
        values: one list per column.
        newest: for every row whether it is its cell's newest on its machine.
        pictures, left_out: by the row's number, see `Pictures`.
    """

    name: str
    title: str
    columns: list[Field]
    values: list[list[Value]]
    newest: list[bool]
    pictures: dict[int, list[tuple[str, str]]]
    left_out: dict[int, str]
    figures: list[Figure]
    published: list[Comparison]


def table_data(table: Shown, rows: pd.DataFrame, pictures: Pictures | None = None) -> TableData:
    """Return what the page shows of a table's rows."""
    rows, pictures = rows.reset_index(drop=True), pictures or Pictures()
    rows = rows.assign(**{name: rows[name].astype("string") for name in KEY})
    names = [*FRONT, *(name for name in map(str, rows) if name not in FRONT)]
    names = [name for name in names if name in FRONT[:2] or rows[name].notna().any()]
    keys = dict(enumerate(rows[KEY].itertuples(index=False, name=None)))
    good = rows[rows["status"] == "ok"]
    compared = comparisons(table.name, rows, table.match)
    plots = table.plots or (default_plot(good, table.columns),)
    return TableData(
        table.name,
        table.title,
        [_field(name, rows[name], table.columns) for name in names],
        [[_plain(value) for value in rows[name].astype(object)] for name in names],
        rows.index.isin(newest(rows).index).tolist(),
        {i: pictures.shown[key] for i, key in keys.items() if key in pictures.shown},
        {i: pictures.left_out[key] for i, key in keys.items() if key in pictures.left_out},
        [figure for plot in plots for figure in plot.figures(good, compared)],
        compared,
    )


def _field(name: str, values: pd.Series, columns: Sequence[Column]) -> Field:
    column = column_of(name, columns)
    ending = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    shown = name not in ASIDE and not name.endswith(QUARTILES)
    return Field(name, column.unit if column and column.unit else ending, numeric, shown)


def _plain(value: Value) -> Value:
    """A value as JSON has it: None for what is absent, a float with nine digits."""
    if pd.isna(value):
        return None
    if isinstance(value, float) and abs(value) < float("inf"):
        return int(value) if value.is_integer() else float(f"{value:.9g}")
    return value if isinstance(value, bool | int | str) else str(value)
