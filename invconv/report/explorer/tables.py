"""What the explorer shows of one table: columns, rows, pictures, figures, published figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TypedDict

import pandas as pd

from invconv.report.explorer.matches import Match, Place, comparisons
from invconv.report.explorer.plots import QUARTILES, Plot, default_plot
from invconv.report.explorer.samples import Pictures
from invconv.report.findings import Finding, latest, silent
from invconv.rows import Value, newest
from invconv.rows.columns import Column, Ratio, Seconds, column_of
from invconv.rows.store import KEY

UNITS = {
    "_bytes_per_s": "bytes/s",
    "_flop_per_s": "FLOP/s",
    "gflops": "GFLOP/s",
    "_bytes": "bytes",
    "_s": "s",
}
"""How a column's name ends → its unit, where the column has none; the first that fits counts."""
FRONT = ("cell", "status", "reason")
ENDS = ("_low", "_high", "_low_all", "_high_all", *QUARTILES)
"""How columns end that another column's cell shows, or that are shown on demand."""
SLOW = 10
"""Seconds: where the median of a table's times is less, they are shown in milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What the explorer shows of a table."""

    name: str
    """As in its rows."""
    title: str
    """In one line."""
    columns: tuple[Column, ...] = ()
    """What a row may hold besides its labels, see `invconv.rows.columns`."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """By which a reader finds a row: its columns first of all."""
    parts: str = ""
    """The label that the parts of a cell have, where a cell is a block of several."""
    headline: str = ""
    """The columns that say most, separated by spaces; * stands for any characters."""
    finding: Finding = silent
    """What the rows of one machine and preset say."""
    study: str = ""
    """The preset that the table is about, where it is not the one that was measured last."""
    made_by: str = ""
    """The command that measures it, where no sweep does."""
    plots: tuple[Plot, ...] = ()
    """Its figures; none for every time against the method."""
    match: Callable[[Mapping[str, str]], Place] = field(default_factory=Match)
    """A published figure → the column that measures it and the labels of the rows that do."""

    @property
    def command(self) -> str:
        """The command that measures it."""
        return self.made_by or f"python reproductions/{self.name}.py -m"


class Cells(TypedDict):
    """Columns with their look, and a list of values for each."""

    columns: list[dict[str, object]]
    values: list[list[Value]]


def table_data(
    table: Shown, rows: pd.DataFrame, pictures: Pictures | None = None
) -> dict[str, object]:
    """What the page shows of a table's rows: ``values`` has one list per column."""
    rows = rows.reset_index(drop=True)
    rows = rows.assign(**{name: rows[name].astype("string") for name in KEY})
    names = [name for name in _in_order(table, rows) if rows[name].notna().any()]
    names = list(dict.fromkeys([*FRONT[:2], *names]))
    keys = enumerate(rows[KEY].itertuples(index=False, name=None))
    good = rows[rows["status"] == "ok"]
    compared = comparisons(table.name, rows, table.match)
    plots = table.plots or (default_plot(good, table.columns),)
    first = latest(rows, table.study)
    start = {name: first[name].iloc[0] for name in ("machine", "preset") if name in names}
    return {
        "name": table.name,
        "title": table.title,
        "command": table.command,
        "finding": table.finding(first) if len(first) else "",
        "measured": first["date"].max()[:10] if len(first) else "",
        "count": len(first),
        "start": {name: _plain(value) for name, value in start.items()},
        **grid(rows, names, table),
        "newest": rows.index.isin(newest(rows).index).tolist(),
        "pictures": {i: pictures[key] for i, key in keys if pictures and key in pictures},
        "figures": [figure for plot in plots for figure in plot.figures(good, compared)],
        "published": compared,
    }


def grid(rows: pd.DataFrame, names: Sequence[str], table: Shown) -> Cells:
    """Return some columns of some rows, as `grid.js` takes them."""
    times = [name for name in names if isinstance(column_of(name, table.columns), Seconds)]
    median = rows[times].astype(float).stack().median()
    front = _patterns(table)
    return {
        "columns": [
            {
                "name": name,
                "shown": not name.endswith(ENDS) and any(fnmatchcase(name, one) for one in front),
                **_form(name, rows[name], table.columns, name in times and not median > SLOW),
            }
            for name in names
        ],
        "values": [[_plain(value) for value in rows[name].astype(object)] for name in names],
    }


def _patterns(table: Shown) -> list[str]:
    """The columns that are shown at first, in their order: labels, headline, ratios."""
    ratios = [p for one in table.columns if isinstance(one, Ratio) for p in one.patterns]
    every = [p for one in table.columns for p in one.patterns]
    own = [*table.headline.split(), *ratios] if table.headline else every
    return [*FRONT, *table.labels, *filter(None, [table.parts]), *own, "machine", "commit"]


def _in_order(table: Shown, rows: pd.DataFrame) -> list[str]:
    """The columns of the rows, those first that are shown at first."""
    every = list(map(str, rows))
    ordered = [name for one in _patterns(table) for name in every if fnmatchcase(name, one)]
    return list(dict.fromkeys([*ordered, *every]))


def _form(
    name: str, values: pd.Series, columns: Sequence[Column], milli: bool
) -> dict[str, object]:
    """How a column is shown: its unit, and by what numbers are multiplied."""
    column = column_of(name, columns)
    ending = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
    unit = column.unit if column and column.unit else ending
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    scaled = {"unit": "ms", "scale": 1e3} if milli else {"unit": unit, "scale": 1}
    return {"numeric": numeric, **scaled}


def _plain(value: Value) -> Value:
    """A value as JSON has it: None for what is absent, a float with nine digits."""
    if pd.isna(value):
        return None
    if isinstance(value, float) and abs(value) < float("inf"):
        return int(value) if value.is_integer() else float(f"{value:.9g}")
    return value if isinstance(value, bool | int | str) else str(value)
