"""Published figures and the rows that measure the same."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from invconv.flows.published import WIDTH
from invconv.methods import methods
from invconv.report.published import published

Place = tuple[str, Mapping[str, Sequence[str | float]]]
"""The column that measures a published figure, and the labels of the rows that have it."""


@dataclass(frozen=True, kw_only=True)
class Match:
    """Where a published figure is measured."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Metric → the column that measures it, where it has another name."""
    model: str = "method"
    """The label that says which model a row is of."""
    titles: Mapping[str, str] = field(default_factory=dict)
    """Its values → the model's name as published; empty for the titles of the methods."""
    dataset: str = "dataset"
    """The label with the data set as published; "" where all rows are comparable."""

    def __call__(self, figure: Mapping[str, str]) -> Place:
        """The place of a figure."""
        titles = self.titles or {name: one.title for name, one in methods().items()}
        named = [name for name, title in titles.items() if title == figure["model"]]
        data = figure["dataset"]
        labels = {self.model: named, **({self.dataset: [data]} if self.dataset and data else {})}
        return self.columns.get(figure["metric"], figure["metric"]), labels


@dataclass(frozen=True)
class Comparison:
    """A published figure beside what was measured."""

    figure: Mapping[str, str | float]
    """As published; its value is a number if every one of the table is."""
    field: str
    labels: Mapping[str, Sequence[str | float]]
    """Its `Place`."""
    rows: list[int]
    """The numbers of those that have the labels."""
    full: list[int]
    """Those that have the published size, so that a ratio means something."""


def comparisons(
    table: str, rows: pd.DataFrame, match: Callable[[Mapping[str, str]], Place]
) -> list[Comparison]:
    """One entry for each published figure of a table."""
    try:
        figures = published(table).drop(columns="table")
    except FileNotFoundError:
        return []
    numbers = pd.to_numeric(figures["value"], errors="coerce").notna().all()
    found = []
    for line in figures.astype(str).to_dict("records"):
        figure = {str(name): text for name, text in line.items()}
        column, labels = match(figure)
        same = rows[:0]
        if {column, *labels} <= set(rows):
            same = rows[(rows["status"] == "ok") & rows[column].notna()]
            for name, wanted in labels.items():
                same = same[same[name].isin(list(wanted))]
        full = same[same["width"] == WIDTH] if "width" in same else same
        shown = figure | ({"value": float(figure["value"])} if numbers else {})
        found.append(Comparison(shown, column, labels, same.index.tolist(), full.index.tolist()))
    return found
