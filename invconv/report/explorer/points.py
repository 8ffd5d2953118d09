"""Points of the explorer's figures, their looks, and the rows or papers that they come from."""

from collections.abc import Iterable, Iterator
from math import nan
from typing import Any

import pandas as pd

from invconv.report import pages
from invconv.report.names import LAYERS, METHODS
from invconv.report.published import published
from invconv.report.style import LOOKS, OTHER, style

SYMBOLS = {
    "o": "circle",
    "s": "square",
    "D": "diamond",
    "d": "diamond-tall",
    "^": "triangle-up",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "x": "x-thin-open",
    "*": "star",
    "h": "hexagon",
    ".": "circle-dot",
}
"""matplotlib's markers in plotly's words."""
DASHES = {"-": "solid", "--": "dash", ":": "dot"}

Look = tuple[str, str, str, str]
"""Name, colour, marker and line of a series, in matplotlib's words."""
Point = dict[str, Any]
Figure = dict[str, Any]


def figure(
    title: str, x: str, y: str, points: Iterable[tuple[Look, Point]], **kind: Any
) -> Figure:
    """A figure as the page has it: see `invconv.report.explorer.figures.figures`."""
    looks: dict[Look, int] = {}
    found = [{**point, "series": looks.setdefault(look, len(looks))} for look, point in points]
    series = [
        {
            "name": name,
            "colour": colour,
            "symbol": SYMBOLS[marker] + ("-open" if line == "--" and marker not in "x." else ""),
            "dash": DASHES[line],
        }
        for name, colour, marker, line in looks
    ]
    return {"title": title, "x": x, "y": y, "series": series, "points": found, **kind}


def point(i: Any, row: pd.Series, x: Any, field: str, apart: Iterable[str]) -> Point | None:
    """One field of the row number ``i``, with its interval; None where it was not measured.

    Args:
        x: the place on the axis, a number or a category.
        field: in seconds with its quartiles, or bpd with its interval.
        apart: labels that tell lines of one series apart.
    """
    if pd.isna(row.get(field)):
        return None
    stem = field.removesuffix("_s")
    low, high = (row.get(f"{stem}_{q}_s", nan) for q in ("q25", "q75"))
    if field == "bpd" and pd.notna(row.get("bpd_interval")):
        low, high = row["bpd"] - row["bpd_interval"], row["bpd"] + row["bpd_interval"]
    known = pd.notna(low) and pd.notna(high)
    return {
        "x": x if isinstance(x, str) else float(x),
        "y": float(row[field]),
        "low": float(low) if known else None,
        "high": float(high) if known else None,
        "group": ", ".join(_label(name, row[name]) for name in apart if pd.notna(row.get(name))),
        "row": int(i),
    }


def _label(name: str, value: Any) -> str:
    return f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"


def series_points(
    rows: pd.DataFrame, x: str, series: dict[str, tuple[str, str, str]], apart: tuple[str, ...]
) -> Iterator[tuple[Look, Point]]:
    """Several times of each row against its column ``x``."""
    for i, row in rows.sort_values(x, kind="stable").iterrows():
        for field, (name, colour, marker) in series.items():
            found = point(i, row, row[x], f"{field}_s", apart)
            if found is not None:
                yield (name, colour, marker, "-"), found


def method_points(
    rows: pd.DataFrame, field: str, column: str, apart: tuple[str, ...]
) -> Iterator[tuple[Look, Point]]:
    """One field of each row against a column, in the colour of the row's method.

    Methods in their order, the rows of one method in that of ``rows``, in which a line joins them.
    """
    for i, row in pages.in_order(rows, "method", list(METHODS)).iterrows():
        look = style(row["method"])
        found = point(i, row, look.title if column == "method" else row[column], field, apart)
        if found is not None:
            yield (look.title, look.colour, look.marker, look.line), found


def published_points(
    table: str,
    x: dict[str, str],
    looks: dict[str, tuple[str, str, str]] | None = None,
    **labels: str,
) -> Iterator[tuple[Look, Point]]:
    """The published points with these labels.

    Args:
        x: model or data set → the place on the axis; others are left out.
        looks: model → (name, colour, marker), where it is not that of a method.
    """
    looks = {title: (title, *LOOKS[name]) for name, title in LAYERS.items()} | (looks or {})
    for entry in published(table).astype(str).to_dict("records"):
        if any(entry[name] != wanted for name, wanted in labels.items()):
            continue
        place = x.get(entry["model"], x.get(entry["dataset"]))
        value = pd.to_numeric(entry["value"], errors="coerce")
        if place is None or pd.isna(value):
            continue
        title, colour, marker = looks.get(entry["model"], (entry["model"], *OTHER))
        yield (
            (f"{title}, published", colour, marker, "--"),
            {
                "x": place,
                "y": float(value),
                "low": None,
                "high": None,
                "group": "",
                "published": f"{entry['source']} [{entry['label']}]",
            },
        )
