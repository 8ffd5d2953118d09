"""Figures of the explorer: what a table declares of them, and the points that rows give."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from string import Formatter

import pandas as pd

from invconv.methods import method, methods
from invconv.report.blocks import in_order
from invconv.report.explorer.matches import Comparison
from invconv.rows.columns import Bits, Column, Seconds, column_of

SYMBOLS = {"o": "circle", "s": "square", "D": "diamond", "d": "diamond-tall", "*": "star"}
SYMBOLS |= {"^": "triangle-up", "v": "triangle-down", "<": "triangle-left", ">": "triangle-right"}
SYMBOLS |= {"P": "cross", "X": "x", "x": "x-thin-open", "h": "hexagon", "H": "hexagon2"}
SYMBOLS |= {"p": "pentagon", "8": "octagon", ".": "circle-dot"}
"""matplotlib's markers in plotly's words; any other one is a circle."""
LINES = ("solid", "dash")
QUARTILES = ("_q25_s", "_q75_s")

Cells = Mapping[str, str | float]
"""A row, or what is known of one."""
Entry = dict[str, object]
"""A figure, a series or a point, as `page.js` takes it."""
Look = tuple[str, str, str]
"""Title, color and marker, the latter in matplotlib's words."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Figures of a table that are made alike.

    A point is one column of one row. Its place, its series and the title of its figure are
    columns of the row as well, or "column": what ``columns`` calls the point's own. Published
    figures that `Match` has a place for join the figures with categories.
    """

    title: str
    """Of a figure, such as ``"{column}, {dataset}"``; points of one title share a figure."""
    columns: Cells
    """Times and bits per dimension → what they are called."""
    x: str = "method"
    order: Mapping[str, str] = field(default_factory=dict)
    """Category, a value of ``x`` → its title; empty where ``x`` is a number. Other values are
    shown only where they name the series.
    """
    axis: str = ""
    """The title of an axis along which lines join the points; numbers have that of ``x``."""
    series: str = "method"
    """The column that colors tell apart."""
    looks: Mapping[str, Look] = field(default_factory=dict)
    """Its values → how they look, where that is not how a method does."""
    where: Mapping[str, Sequence[str | float]] = field(default_factory=dict)
    """Column → the values that are shown, in this order."""
    apart: tuple[str, ...] = ()
    """Columns that tell the lines of one series apart."""

    def figures(self, rows: pd.DataFrame, compared: Iterable[Comparison]) -> list[Entry]:
        """Every figure that has a point of these ok rows."""
        needed = {name for _, name, _, _ in Formatter().parse(self.title) if name}
        needed |= {self.x, self.series}
        if not {*self.where, *needed} <= {*rows, "column"}:
            return []
        drawn: dict[tuple[str, str], list[tuple[Entry, Entry]]] = {}
        lines = self._in_order(rows).to_dict("index").items()
        for column, called in self.columns.items():
            for i, line in lines:
                if pd.notna(line.get(column)) and pd.notna(line.get(self.x, 0)):
                    row = {**{str(name): value for name, value in line.items()}, "column": called}
                    labels = [name for name in self.apart if pd.notna(row.get(name))]
                    group = [f"{name} {str(row[name]).removesuffix('.0')}" for name in labels]
                    point = {"row": i, "x": self._place(row), "group": ", ".join(group)}
                    point |= _measured(row, column)
                    drawn.setdefault(self._key(row, column), []).append((self._look(row), point))
        for entry in compared:
            row = {name: values[0] for name, values in entry.labels.items() if values}
            row = {**row, "column": self.columns.get(entry.field, "")}
            if row["column"] and needed <= set(row) and row[self.x] in self.order:
                source = "{source} [{label}]".format(**entry.figure)
                point = {"row": None, "x": self._place(row), "published": source}
                y = float(entry.figure["value"]) * _scale(entry.field)
                point |= {"y": y, "low": None, "high": None}
                look = self._look(row, published=True)
                drawn.get(self._key(row, entry.field), []).append((look, point))
        return [self._figure(*key, points) for key, points in drawn.items()]

    def _in_order(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that are shown, in the order in which lines join them."""
        named = {self.x: list(self.order)} if self.order and self.x != self.series else {}
        for name, wanted in {**self.where, **named}.items():
            rows = in_order(rows[rows[name].isin(list(wanted))], name, wanted)
        if self.x in rows:
            rows = in_order(rows, self.x, self.order or sorted(rows[self.x].dropna().unique()))
        if self.series in rows:
            rows = in_order(rows, self.series, [*self.looks, *methods()])
        return rows

    def _key(self, row: Cells, column: str) -> tuple[str, str]:
        """The title of a point's figure and its unit."""
        unit = "milliseconds" if column.endswith("_s") else "bits per dimension"
        return self.title.format_map(row), unit

    def _place(self, row: Cells) -> object:
        if self.x == self.series:
            return self._look(row)["name"]
        return self.order[str(row[self.x])] if self.order else float(row[self.x])

    def _look(self, row: Cells, published: bool = False) -> Entry:
        """How a point's series looks in plotly's words, hollow where dashed."""
        value, dashed = str(row[self.series]), published
        if value in self.looks:
            name, color, marker = self.looks[value]
        else:
            one = method(value)
            name, color, marker = one.title, one.color, one.marker
            dashed |= one.step != "common"
        symbol = SYMBOLS.get(marker, "circle") + "-open" * (dashed and marker not in "x.")
        name += ", published" * published
        return {"name": name, "color": color, "symbol": symbol, "dash": LINES[dashed]}

    def _figure(self, title: str, unit: str, drawn: Iterable[tuple[Entry, Entry]]) -> Entry:
        """No line joins the points where the axis has no title."""
        series, points = list[Entry](), list[Entry]()
        for look, point in drawn:
            if look not in series:
                series.append(look)
            points.append({**point, "series": series.index(look)})
        order = list(self.order.values())
        axes = {"x": self.axis or ("" if order else self.x), "y": unit, "order": order}
        legend = self.x != self.series
        return {"title": title, **axes, "series": series, "points": points, "legend": legend}


def _measured(row: Cells, column: str) -> Entry:
    """A column of a row, with its quartiles or the 95 % interval of bits per dimension."""
    y, stem = float(row[column]), column.removesuffix("_s")
    low, high = (float(row.get(f"{stem}{quartile}", nan)) for quartile in QUARTILES)
    if column == "bpd":
        half = float(row.get("bpd_interval", nan))
        low, high = y - half, y + half
    scale, known = _scale(column), low <= high  # not NaN
    ends = {"low": scale * low if known else None, "high": scale * high if known else None}
    return {"y": scale * y, **ends}


def _scale(column: str) -> float:
    """By what a column's values are multiplied: times are drawn in milliseconds."""
    return 1e3 if column.endswith("_s") else 1


def default_plot(rows: pd.DataFrame, columns: Sequence[Column]) -> Plot:
    """Every time and every bits per dimension against the method."""
    drawn = {
        name: name
        for name in map(str, rows)
        if isinstance(column_of(name, columns), Seconds | Bits) and not name.endswith(QUARTILES)
    }
    order = {name: one.title for name, one in methods().items()}
    return Plot(title="{column}", columns=drawn, order=order)
