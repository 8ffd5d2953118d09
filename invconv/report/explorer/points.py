"""Figures of the explorer: points with the rows or papers that they come from, and their looks."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import nan

import pandas as pd

from invconv.methods import COLOR, MARKER, method, methods
from invconv.report.blocks import in_order
from invconv.report.published import published
from invconv.rows.columns import Bits, Column, Seconds, column_of

SYMBOLS = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "d": "diamond-tall",
    "^": "triangle-up",
    "v": "triangle-down",
    "<": "triangle-left",
    ">": "triangle-right",
    "P": "cross",
    "X": "x",
    "x": "x-thin-open",
    "*": "star",
    "h": "hexagon",
    ".": "circle-dot",
}
"""matplotlib's markers in plotly's words; any other one is a circle."""
DASHES = {"-": "solid", "--": "dash", ":": "dot"}
QUARTILES = ("_q25_s", "_q75_s")

Look = tuple[str, str, str, str]
"""Name, color, marker and line of a series, in matplotlib's words."""


@dataclass(frozen=True)
class Point:
    """One point of a figure.

    Attributes:
        x: a number or a category.
        y: the value.
        low, high: its interval, where there is one.
        group: tells the lines of one series apart.
        row: the number of its row; None for a published point.
        published: where it was published.
        series: the number of its series, set by `figure`.
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
class Series:
    """The look of a series, in plotly's words."""

    name: str
    color: str
    symbol: str
    dash: str


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        title: by which it is chosen.
        x, y: the axes' titles.
        series, points: what is drawn.
        log: whether x is logarithmic; None for categories.
        order: of the categories.
        legend: False where the categories name the series.
        joined: whether lines join categories.
    """

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    points: tuple[Point, ...]
    log: bool | None
    order: tuple[str, ...] = ()
    legend: bool = True
    joined: bool = False


def figure(
    title: str,
    x: str,
    y: str,
    points: Iterable[tuple[Look, Point]],
    log: bool | None = None,
    order: Iterable[str] = (),
    legend: bool = True,
    joined: bool = False,
) -> Figure:
    """Return the `Figure` of these points, with one series for each look."""
    looks: dict[Look, int] = {}
    drawn = [replace(each, series=looks.setdefault(look, len(looks))) for look, each in points]
    series = [
        Series(
            name,
            color,
            SYMBOLS.get(marker, "circle")
            + ("-open" if line == "--" and marker not in "x." else ""),
            DASHES[line],
        )
        for name, color, marker, line in looks
    ]
    return Figure(title, x, y, tuple(series), tuple(drawn), log, tuple(order), legend, joined)


def point(
    i: Hashable, row: pd.Series, x: float | str, field: str, apart: Iterable[str]
) -> Point | None:
    """Return one field of the row number ``i``, with its interval; None if it was not measured.

    Args:
        i: the row's number.
        row: with the field.
        x: the place on the axis, a number or a category.
        field: in seconds with its quartiles, or bpd with its interval.
        apart: labels that tell lines of one series apart.
    """
    if pd.isna(row.get(field)):
        return None
    stem = field.removesuffix("_s")
    low, high = (row.get(f"{stem}{quartile}", nan) for quartile in QUARTILES)
    if field == "bpd" and pd.notna(row.get("bpd_interval")):
        low, high = row["bpd"] - row["bpd_interval"], row["bpd"] + row["bpd_interval"]
    known = pd.notna(low) and pd.notna(high)
    return Point(
        x if isinstance(x, str) else float(x),
        float(row[field]),
        float(low) if known else None,
        float(high) if known else None,
        ", ".join(_label(name, row[name]) for name in apart if pd.notna(row.get(name))),
        i,
    )


def _label(name: str, value: object) -> str:
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def series_points(
    rows: pd.DataFrame, x: str, series: Mapping[str, tuple[str, str, str]], apart: tuple[str, ...]
) -> Iterator[tuple[Look, Point]]:
    """Yield several times of each row against its column ``x``."""
    for i, row in rows.sort_values(x, kind="stable").iterrows():
        for field, look in series.items():
            found = point(i, row, row[x], f"{field}_s", apart)
            if found is not None:
                yield (*look, "-"), found


def method_points(
    rows: pd.DataFrame, field: str, column: str, apart: tuple[str, ...] = ()
) -> Iterator[tuple[Look, Point]]:
    """Yield one field of each row against a column, in the color of the row's method.

    Methods in their order, the rows of one method in that of ``rows``, in which a line joins them.
    """
    for i, row in in_order(rows, "method", methods()).iterrows():
        one = method(row["method"])
        found = point(i, row, one.title if column == "method" else row[column], field, apart)
        if found is not None:
            line = "--" if one.step == "paper" else "-"
            yield (one.title, one.color, one.marker, line), found


def published_points(
    table: str,
    x: Mapping[str, str],
    looks: Mapping[str, tuple[str, str, str]] | None = None,
    **labels: str,
) -> Iterator[tuple[Look, Point]]:
    """Yield the published points with these labels.

    Args:
        table: its name.
        x: model or data set → the place on the axis; others are omitted.
        looks: model → (name, color, marker), where it is not that of a method.
        labels: columns of the published figures.
    """
    known = {one.title: (one.title, one.color, one.marker) for one in methods().values()}
    known |= looks or {}
    for entry in published(table).astype(str).to_dict("records"):
        if any(entry[name] != wanted for name, wanted in labels.items()):
            continue
        place = x.get(entry["model"], x.get(entry["dataset"]))
        value = pd.to_numeric(entry["value"], errors="coerce")
        if place is None or pd.isna(value):
            continue
        name, color, marker = known.get(entry["model"], (entry["model"], COLOR, MARKER))
        source = f"{entry['source']} [{entry['label']}]"
        found = Point(place, float(value), published=source)
        yield (f"{name}, published", color, marker, "--"), found


def default_figures(rows: pd.DataFrame, columns: Iterable[Column]) -> Iterator[Figure]:
    """Yield a figure for every time and every bits per dimension, against the method."""
    columns, order = tuple(columns), [one.title for one in methods().values()]
    for name in [str(name) for name in rows if "method" in rows]:
        column = column_of(name, columns)
        if isinstance(column, Seconds | Bits) and not name.endswith(QUARTILES):
            unit = "seconds" if isinstance(column, Seconds) else column.unit
            points = method_points(rows, name, "method")
            yield figure(name, "", unit, points, order=order, legend=False)
