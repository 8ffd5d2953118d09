"""What the explorer shows of one table: columns, rows, pictures, figures, published figures."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from invconv.report.explorer.matches import Comparison, Place, comparisons
from invconv.report.explorer.points import QUARTILES, Figure, default_figures
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
DIGITS = 9


class Shown(Protocol):
    """What the explorer needs of a table."""

    @property
    def name(self) -> str:
        """As in its rows."""

    @property
    def title(self) -> str:
        """In one line."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Of its rows."""

    @property
    def explore(self) -> Callable[[pd.DataFrame], Iterable[Figure]] | None:
        """The figures of the ok rows; None for every time against the method."""

    @property
    def match(self) -> Callable[[Mapping[str, str]], Place | None]:
        """A published figure → the column and the labels of the rows that measure it."""


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
        name, title: of the table.
        columns: of the rows.
        values: one list per column.
        newest: for every row whether it is its cell's newest on its machine.
        pictures, left_out: by the row's number, see `Pictures`.
        figures: those with a point.
        published: what other people measured.
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
    rows = rows.reset_index(drop=True)
    rows = rows.assign(**{c: rows[c].astype("string") for c in KEY if c in rows})
    names = [*FRONT, *(str(c) for c in rows if c not in FRONT)]
    names = [c for c in names if c in FRONT or rows[c].notna().any()]
    if "reason" in rows and rows["reason"].isna().all():
        names.remove("reason")
    pictures = pictures or Pictures()
    keys = list(rows[KEY].itertuples(index=False, name=None))
    figures: Iterable[Figure] = ()
    if len(rows):
        good = rows[rows["status"] == "ok"]
        explore = table.explore
        figures = explore(good) if explore else default_figures(good, table.columns)
    return TableData(
        table.name,
        table.title,
        [_field(c, rows[c], table.columns) for c in names],
        [[plain(value) for value in rows[c].astype(object)] for c in names],
        rows.index.isin(newest(rows).index).tolist() if len(rows) else [],
        {i: pictures.shown[key] for i, key in enumerate(keys) if key in pictures.shown},
        {i: pictures.left_out[key] for i, key in enumerate(keys) if key in pictures.left_out},
        [figure for figure in figures if figure.points],
        comparisons(table.name, rows, table.match),
    )


def unit(name: str, columns: Iterable[Column] = ()) -> str:
    """Return the unit of a column, "" where it is a count or a ratio.

    >>> from invconv.report.explorer.tables import unit
    >>> from invconv.rows.columns import Bits
    >>> unit("st_q25_s"), unit("inverse_bytes_per_s"), unit("loss", [Bits("loss")]), unit("n")
    ('s', 'bytes/s', 'bits/dim', '')
    """
    column = column_of(name, columns)
    if column is not None and column.unit:
        return column.unit
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "")


def _field(name: str, values: pd.Series, columns: Iterable[Column]) -> Field:
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    shown = name not in ASIDE and not name.endswith(QUARTILES)
    return Field(name, unit(name, columns), numeric, shown)


def plain(value: Value) -> Value:
    """Return a value as JSON has it: None for what is absent, a float with nine digits."""
    if pd.isna(value):
        return None
    if isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            return str(value)
        return int(value) if value.is_integer() else float(f"{value:.{DIGITS}g}")
    return value if isinstance(value, bool | int | str) else str(value)
