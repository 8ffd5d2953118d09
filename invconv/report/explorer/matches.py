"""Published figures and the rows that measure the same."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from invconv.flows.published import WIDTH
from invconv.methods import methods
from invconv.report.published import published

Place = tuple[str, Mapping[str, Sequence[object]]]
"""The column that measures a published figure, and the labels of the rows that have it."""


@dataclass(frozen=True)
class Comparison:
    """A published figure beside what was measured.

    Attributes:
        model, dataset, metric, value, label, source, note: as published; the value is a number
            if every figure of the table is one.
        field: the column that measures it.
        rows: the numbers of the rows that do.
        full: those of them that have the published size, so that a ratio means something.
    """

    model: str
    dataset: str
    metric: str
    value: float | str
    label: str
    source: str
    note: str
    field: str
    rows: tuple[int, ...]
    full: tuple[int, ...]


def by_name(figure: Mapping[str, str]) -> Place:
    """Return the place of a figure whose metric is a column, and whose model a method's title."""
    names = [one.name for one in methods().values() if one.title == figure["model"]]
    data = {"dataset": [figure["dataset"]]} if figure["dataset"] else {}
    return figure["metric"], {"method": names, **data}


def comparisons(
    table: str, rows: pd.DataFrame, match: Callable[[Mapping[str, str]], Place | None]
) -> list[Comparison]:
    """Return one entry for each published figure of a table that ``match`` has a place for."""
    try:
        figures = published(table)
    except FileNotFoundError:
        return []
    numbers = pd.to_numeric(figures["value"], errors="coerce").notna().all()
    found = []
    for line in figures.astype(str).to_dict("records"):
        figure = {str(name): text for name, text in line.items() if name != "table"}
        place = match(figure)
        if place is None:
            continue
        field, labels = place
        same = _rows(rows, field, labels)
        full = same[same["width"] == WIDTH] if "width" in same else same
        value = figure.pop("value")
        found.append(
            Comparison(
                **figure,
                value=float(value) if numbers else value,
                field=field,
                rows=tuple(same.index.tolist()),
                full=tuple(full.index.tolist()),
            )
        )
    return found


def _rows(rows: pd.DataFrame, field: str, labels: Mapping[str, Sequence[object]]) -> pd.DataFrame:
    if field not in rows or not set(labels) <= set(rows):
        return rows[:0]
    rows = rows[(rows["status"] == "ok") & rows[field].notna()]
    for name, wanted in labels.items():
        rows = rows[rows[name].isin(list(wanted))]
    return rows
