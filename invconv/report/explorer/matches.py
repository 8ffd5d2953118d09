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
    """Where a published figure is measured.

    Attributes:
        columns: metric → the column that measures it, where it has another name.
        model: the label that says which model a row is of.
        titles: its values → the model's name as published; empty for the titles of the methods.
        dataset: the label with the data set as published; "" where all rows are comparable.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    model: str = "method"
    titles: Mapping[str, str] = field(default_factory=dict)
    dataset: str = "dataset"

    def __call__(self, figure: Mapping[str, str]) -> Place:
        """Return the place of a figure."""
        titles = self.titles or {name: one.title for name, one in methods().items()}
        named = [name for name, title in titles.items() if title == figure["model"]]
        labels: dict[str, list[str]] = {self.model: named}
        if self.dataset and figure["dataset"]:
            labels[self.dataset] = [figure["dataset"]]
        return self.columns.get(figure["metric"], figure["metric"]), labels


@dataclass(frozen=True)
class Comparison:
    """A published figure beside what was measured.

    Attributes:
        value: a number if every figure of the table is one.
        field, labels: the column that measures it, and the labels of the rows that have it.
        rows: their numbers.
        full: those that have the published size, so that a ratio means something.
    """

    field: str
    labels: Mapping[str, Sequence[str | float]]
    rows: tuple[int, ...]
    full: tuple[int, ...]
    model: str
    dataset: str
    metric: str
    value: float | str
    label: str
    source: str
    note: str


def comparisons(
    table: str, rows: pd.DataFrame, match: Callable[[Mapping[str, str]], Place]
) -> list[Comparison]:
    """Return one entry for each published figure of a table."""
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
        places = column, labels, tuple(same.index.tolist()), tuple(full.index.tolist())
        value = float(figure["value"]) if numbers else figure["value"]
        found.append(Comparison(*places, **{**figure, "value": value}))
    return found
