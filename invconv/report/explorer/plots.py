"""Figures of the explorer: what a table declares of them, and the points that rows give."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from string import Formatter

import pandas as pd

from invconv.methods import method, methods
from invconv.report.blocks import in_order
from invconv.report.explorer.matches import Comparison
from invconv.rows.columns import Bits, Column, Seconds, column_of

SYMBOLS = {"o": "circle", "s": "square", "D": "diamond", "d": "diamond-tall", "*": "star"}
SYMBOLS |= {"^": "triangle-up", "v": "triangle-down", "<": "triangle-left", ">": "triangle-right"}
SYMBOLS |= {"P": "cross", "X": "x", "x": "x-thin-open", "h": "hexagon", ".": "circle-dot"}
"""matplotlib's markers in plotly's words; any other one is a circle."""
QUARTILES = ("_q25_s", "_q75_s")

Cells = Mapping[str, str | float]
"""A row, or what is known of one."""


@dataclass(frozen=True)
class Point:
    """One point of a figure, a number or a category along x.

    Attributes:
        low, high: its interval, where there is one.
        group: tells the lines of one series apart.
        row: the number of its row; None for a published point.
        published: where it was published.
        series: the number of its series.
    """

    x: float | str
    y: float
    low: float | None = None
    high: float | None = None
    group: str = ""
    row: Hashable = None
    published: str = ""
    series: int = 0


@dataclass(frozen=True)
class Look:
    """How a series looks, in matplotlib's words."""

    name: str
    color: str
    marker: str
    line: str = "-"

    @property
    def plotly(self) -> dict[str, str]:
        """The same in plotly's words, hollow where dashed."""
        symbol = SYMBOLS.get(self.marker, "circle")
        dashed = self.line == "--"
        hollow = "-open" if dashed and self.marker not in "x." else ""
        dash = "dash" if dashed else "solid"
        return {"name": self.name, "color": self.color, "symbol": symbol + hollow, "dash": dash}


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        x, y: the axes' titles; no line joins the points where x has none.
        order: of the categories; none where x is a number.
        legend: False where the categories name the series.
    """

    title: str
    x: str
    y: str
    series: list[dict[str, str]]
    points: list[Point]
    order: list[str]
    legend: bool


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Figures of a table that are made alike.

    A point is one column of one row. Its place, its series and the title of its figure are
    columns of the row as well, or "column": what ``columns`` calls the point's own. Published
    figures that `Match` has a place for join the figures with categories.

    Attributes:
        title: of a figure, such as ``"{column}, {dataset}"``; points of one title share a figure.
        columns: times and bits per dimension → what they are called.
        x: the column along the axis.
        order: category, a value of ``x`` → its title; empty where ``x`` is a number. Other values
            are shown only where they name the series.
        axis: the title of an axis along which lines join the points; numbers have that of ``x``.
        series: the column that colors tell apart.
        looks: its values → title, color and marker, where they are not those of a method.
        where: column → the values that are shown, in this order.
        apart: columns that tell the lines of one series apart.
    """

    title: str
    columns: Cells
    x: str = "method"
    order: Mapping[str, str] = field(default_factory=dict)
    axis: str = ""
    series: str = "method"
    looks: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    where: Mapping[str, Sequence[str | float]] = field(default_factory=dict)
    apart: tuple[str, ...] = ()

    def figures(self, rows: pd.DataFrame, compared: Iterable[Comparison]) -> list[Figure]:
        """Return every figure that has a point of these ok rows."""
        needed = {name for _, name, _, _ in Formatter().parse(self.title) if name}
        needed |= {self.x, self.series}
        if not {*self.where, *needed} <= {*rows, "column"}:
            return []
        drawn: dict[tuple[str, str], list[tuple[Look, Point]]] = {}
        lines: dict[Hashable, Cells] = {
            i: {str(name): value for name, value in line.items()}
            for i, line in self._in_order(rows).to_dict("index").items()
        }
        for column, called in self.columns.items():
            for i, line in lines.items():
                if pd.notna(line.get(column)) and pd.notna(line.get(self.x, 0)):
                    row: Cells = {**line, "column": called}
                    point = _point(i, row, column, self._place(row), self.apart)
                    drawn.setdefault(self._key(row, column), []).append((self._look(row), point))
        for entry in compared:
            row = {name: values[0] for name, values in entry.labels.items() if values}
            row = {**row, "column": self.columns.get(entry.field, "")}
            if row["column"] and needed <= set(row) and row[self.x] in self.order:
                source = f"{entry.source} [{entry.label}]"
                point = Point(self._place(row), float(entry.value), published=source)
                look = self._look(row)
                look = replace(look, name=f"{look.name}, published", line="--")
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
        unit = "seconds" if column.endswith("_s") else "bits per dimension"
        return self.title.format_map(row), unit

    def _place(self, row: Cells) -> float | str:
        value = row[self.x]
        if self.x == self.series:
            return self._look(row).name
        return self.order[str(value)] if self.order else float(value)

    def _look(self, row: Cells) -> Look:
        value = str(row[self.series])
        if value in self.looks:
            return Look(*self.looks[value])
        one = method(value)
        return Look(one.title, one.color, one.marker, "--" if one.step == "paper" else "-")

    def _figure(self, title: str, unit: str, drawn: Iterable[tuple[Look, Point]]) -> Figure:
        looks: dict[Look, int] = {}
        points = [replace(p, series=looks.setdefault(look, len(looks))) for look, p in drawn]
        series = [look.plotly for look in looks]
        order, legend = list(self.order.values()), self.x != self.series
        axis = self.axis or ("" if order else self.x)
        return Figure(title, axis, unit, series, points, order, legend)


def _point(i: Hashable, row: Cells, column: str, x: float | str, apart: Iterable[str]) -> Point:
    """A column of a row, with its quartiles or the 95 % interval of bits per dimension."""
    y, stem = float(row[column]), column.removesuffix("_s")
    low, high = (float(row.get(f"{stem}{quartile}", nan)) for quartile in QUARTILES)
    if column == "bpd":
        half = float(row.get("bpd_interval", nan))
        low, high = y - half, y + half
    labels = [name for name in apart if pd.notna(row.get(name))]
    group = ", ".join(f"{name} {str(row[name]).removesuffix('.0')}" for name in labels)
    known = low <= high  # not NaN
    return Point(x, y, low if known else None, high if known else None, group, i)


def default_plot(rows: pd.DataFrame, columns: Sequence[Column]) -> Plot:
    """Return every time and every bits per dimension against the method."""
    drawn = {
        name: name
        for name in map(str, rows)
        if isinstance(column_of(name, columns), Seconds | Bits) and not name.endswith(QUARTILES)
    }
    order = {name: one.title for name, one in methods().items()}
    return Plot(title="{column}", columns=drawn, order=order)
