"""A table or figure as one object."""

import importlib
import pkgutil
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, wraps
from pathlib import Path

import pandas as pd

import invconv.tables
from invconv.files import user_path
from invconv.report import Document
from invconv.report.document import FORMATS
from invconv.report.explorer.tables import Shown
from invconv.report.findings import latest
from invconv.rows import newest, read_table
from invconv.rows.columns import Ratio, column_of
from invconv.rows.provenance import ROOT
from invconv.sweeps.application import Application
from invconv.validation import check_choice


@dataclass(frozen=True, kw_only=True)
class Table(Application, Shown):
    """Everything about one table; pages, explorer, import checks and commands follow from it."""

    page: Callable[[pd.DataFrame], Document]
    """Makes the page from all rows; it knows rows and published figures only."""
    named: bool = True
    """Whether a cell's name ends with the hash of its configuration."""
    question: str = ""
    """What its page answers, in one line; "" for the title."""
    order: int = 100
    """Its place among the others."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "page", _or_one_sentence(self, self.page))

    @property
    def sampled(self) -> bool:
        """Whether the samples of its times are stored."""
        return any(isinstance(column, Ratio) for column in self.columns)

    def write_page(
        self, rows: pd.DataFrame, results: Path, formats: Iterable[str] = FORMATS
    ) -> Path:
        """Write ``results/<name>.md`` and its pictures, and return the page's path."""
        return self.page(rows).write(results, tuple(formats))

    def __reduce__(self) -> tuple[Callable[[str], "Table"], tuple[str]]:
        return load, (self.name,)


def _or_one_sentence(
    table: Table, page: Callable[[pd.DataFrame], Document]
) -> Callable[[pd.DataFrame], Document]:
    """``page``, but one sentence of a table without rows, and what `page.md.j2` says of all."""
    empty = Document(table.name, Path(__file__).with_name("empty.md.j2"), {})
    about: dict[str, object] = {"question": table.question or table.title, "table": table.name}
    about |= {"command": table.command, "sampled": table.sampled}

    @wraps(page)
    def made(rows: pd.DataFrame) -> Document:
        shown = latest(rows, table.study)
        answer = table.finding(shown) if (shown["status"] == "ok").any() else ""
        document = empty if rows.empty else page(rows)
        return replace(document, context={**about, "answer": answer, **document.context})

    return made


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


def results(table: str, folder: str | Path | None = None, every: bool = False) -> pd.DataFrame:
    """The rows of ``table``, one line each: labels, status, values with their units, provenance.

    Labels are first, columns without a value left out; ``attrs["units"]`` has the unit of each
    column that has one.

    Args:
        folder: the one that holds ``data/<table>.csv``; by default ``results`` in the current
            folder, otherwise that of this checkout.
        every: all rows, instead of the newest one of each cell and machine. Times of two
            machines are not to be mixed: choose one by the column ``hardware``.

    >>> import invconv
    >>> rows = invconv.results("table1")
    >>> wide = rows.pivot_table("free", "method", "channels")
    """
    known = tables()[check_choice(table, tables(), "table")]
    near = Path("results")
    folder = user_path(folder or (near if (near / "data").is_dir() else ROOT / "results"))
    rows = read_table(folder / "data" / f"{table}.csv")
    if rows.empty:
        script = f"python reproductions/{table}.py -m results={folder}"
        warnings.warn(f"{folder} has no rows of {table} yet: {script} measures some", stacklevel=2)
    kept = rows if every else newest(rows)
    labels = [name for name in known.labels if name in kept]
    others = [name for name in kept if name not in labels and kept[name].notna().any()]
    found = kept[[*labels, *others]].reset_index(drop=True)
    columns = {name: column_of(str(name), known.columns) for name in found}
    found.attrs["units"] = {name: c.unit for name, c in columns.items() if c and c.unit}
    return found
