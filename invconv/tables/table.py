"""A table or figure as one object."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

import invconv.tables
from invconv.report.document import FORMATS, Document
from invconv.report.explorer.matches import Place, by_name
from invconv.report.explorer.points import Figure
from invconv.rows.columns import Column
from invconv.sweeps.application import Application


@dataclass(frozen=True, kw_only=True)
class Table(Application):
    """Everything about one table; pages, explorer, import checks and commands follow from it.

    Attributes:
        title: in one line, for lists and the explorer.
        page: makes the page from all rows; it knows rows and published figures only.
        columns: what a row may hold besides its labels, see `invconv.rows.columns`.
        named: whether a cell's name ends with the hash of its configuration.
        explore: the explorer's figures of the ok rows; None for every time against the method.
        match: a published figure → the column that measures it and the labels of the rows that
            do; None for a figure that is not comparable.
        order: its place among the others.
    """

    title: str
    page: Callable[[pd.DataFrame], Document]
    columns: tuple[Column, ...] = ()
    named: bool = True
    explore: Callable[[pd.DataFrame], Iterable[Figure]] | None = None
    match: Callable[[Mapping[str, str]], Place | None] = by_name
    order: int = 100

    def write_page(
        self, rows: pd.DataFrame, results: Path, formats: Iterable[str] = FORMATS
    ) -> Path:
        """Writes ``results/<name>.md`` and its pictures, and returns the page's path."""
        return self.page(rows).write(results, tuple(formats))

    def __reduce__(self) -> tuple[Callable[[str], "Table"], tuple[str]]:
        return load, (self.name,)


def load(name: str) -> Table:
    """The table that the module ``invconv.tables.<name>`` calls TABLE."""
    table: Table = importlib.import_module(f"invconv.tables.{name}").TABLE
    return table


@cache
def tables() -> dict[str, Table]:
    """Every table by name, in their order."""
    names = [module.name for module in pkgutil.iter_modules(invconv.tables.__path__)]
    modules = [importlib.import_module(f"invconv.tables.{name}") for name in names]
    found = [module.TABLE for module in modules if isinstance(getattr(module, "TABLE", 0), Table)]
    return {table.name: table for table in sorted(found, key=lambda t: (t.order, t.name))}
