"""A table or figure as one object."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

import invconv.tables
from invconv.report.document import FORMATS, Document
from invconv.report.explorer.tables import Shown
from invconv.sweeps.application import Application


@dataclass(frozen=True, kw_only=True)
class Table(Application, Shown):
    """Everything about one table; pages, explorer, import checks and commands follow from it."""

    page: Callable[[pd.DataFrame], Document]
    """Makes the page from all rows; it knows rows and published figures only."""
    named: bool = True
    """Whether a cell's name ends with the hash of its configuration."""
    order: int = 100
    """Its place among the others."""

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
