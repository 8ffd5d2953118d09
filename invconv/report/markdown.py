"""Numbers and tables in Markdown, and where each number comes from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import pandas as pd

ABSENT = "–"
MISSING = "missing"


@dataclass(frozen=True)
class Source:
    """What a cell of a table shows.

    Attributes:
        cell, machine, commit: of a measured row.
        field: its column in the CSV file.
        published: or else where the figure was published.
    """

    cell: str = ""
    machine: str = ""
    commit: str = ""
    field: str = ""
    published: str = ""


class Cell(str):
    """The text of a table's cell, with its sources."""

    sources: tuple[Source, ...]

    def __new__(cls, text: str, *sources: Source) -> "Cell":  # noqa: D102
        made = super().__new__(cls, text)
        made.sources = sources
        return made


_tables: ContextVar[list[pd.DataFrame] | None] = ContextVar("tables", default=None)


@contextmanager
def recorded() -> Iterator[list[pd.DataFrame]]:
    """The tables that are made inside, as frames of `Cell` and str."""
    tables: list[pd.DataFrame] = []
    token = _tables.set(tables)
    try:
        yield tables
    finally:
        _tables.reset(token)


def source(row: pd.Series, field: str) -> Source:
    """One field of one measured row."""
    return Source(str(row["cell"]), str(row["machine"]), str(row["commit"]), field)


def also(text: str, *sources: Source) -> str:
    """A cell that depends on more than what it shows; anything else as it is."""
    return Cell(text, *text.sources, *sources) if isinstance(text, Cell) else text


def value(
    row: pd.Series | None, field: str, form: Callable[[float], str] | None = None, scale: float = 1
) -> str:
    """One field of a row that may be missing or not ok, times ``scale``, in ``form``."""
    if row is None:
        return MISSING
    if row["status"] != "ok":
        return Cell(str(row["status"]), source(row, "status"))
    found = row.get(field)
    if found is None or pd.isna(found):
        return ABSENT
    return Cell((form or number)(scale * found), source(row, field))


def quartiles(row: pd.Series | None, name: str, scale: float = 1) -> str:
    """``name_s`` of a row with its quartiles, times ``scale``."""
    if row is None or row["status"] != "ok" or pd.isna(row.get(f"{name}_s")):
        return value(row, f"{name}_s")
    fields = [f"{name}{part}_s" for part in ("", "_q25", "_q75")]
    text = with_quartiles(*(scale * row[f] for f in fields))
    return Cell(text, *(source(row, f) for f in fields))


def over_rows(text: str, rows: pd.DataFrame, *fields: str) -> str:
    """``text``, computed from the ``fields`` of all ``rows``."""
    return Cell(text, *(source(row, field) for _, row in rows.iterrows() for field in fields))


def quotient(
    row: pd.Series | None,
    field: str,
    other: pd.Series | None,
    other_field: str,
    form: Callable[[float], str] = "{:.2f}".format,
) -> str:
    """A field of one row ÷ a field of another, where both are ok."""
    known = [row is not None and row["status"] == "ok" for row in (row, other)]
    if not all(known) or row is None or other is None:
        return ABSENT
    above, below = row.get(field), other.get(other_field)
    if above is None or below is None or pd.isna(above) or pd.isna(below) or not below:
        return ABSENT
    return Cell(form(above / below), source(row, field), source(other, other_field))


def listed(numbers: pd.Series) -> str:
    """The different numbers of a column, in order."""
    return ", ".join(f"{number:g}" for number in sorted(numbers.unique()))


def bits_with_interval(row: pd.Series | None) -> str:
    """``bpd`` of a row, with half its 95 % interval over the images where that was measured."""
    if row is None or row["status"] != "ok" or pd.isna(row.get("bpd_interval")):
        return value(row, "bpd", bits)
    text = f"{bits(row['bpd'])} ± {row['bpd_interval']:.3f}"
    return Cell(text, source(row, "bpd"), source(row, "bpd_interval"))


def against(row: pd.Series | None, field: str, published: str) -> str:
    """A field of a row ÷ a published figure, a cell of the same table."""
    if row is None or row["status"] != "ok" or published == ABSENT:
        return ABSENT
    text = ratio(row.get(field), float(published.replace(",", "")))
    return Cell(text, source(row, field), *getattr(published, "sources", ()))


def number(value: float | None, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits, without an exponent from 1e-4 to 1e6."""
    if value is None or pd.isna(value):
        return ABSENT
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.{digits - 1}e}"
    if abs(value) >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def bits(value: float | None) -> str:
    """Bits per dimension, two decimals as the papers print them and one more."""
    return ABSENT if value is None or pd.isna(value) else f"{value:.3f}"


def with_quartiles(median: float, q25: float, q75: float) -> str:
    """``median [q25, q75]``."""
    return ABSENT if pd.isna(median) else f"{number(median)} [{number(q25)}, {number(q75)}]"


def ratio(measured: float | None, published: float | None) -> str:
    """measured ÷ published, where there are both."""
    if measured is None or published is None or pd.isna(measured) or pd.isna(published):
        return ABSENT
    return f"{measured / published:.2f}"


def table(rows: list[dict[str, str]]) -> str:
    """A Markdown table; the keys of the rows are its columns."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[row.get(name, ABSENT) for name in names] for row in rows]
    frame = pd.DataFrame(cells, columns=names, dtype=object)
    recording = _tables.get()
    if recording is not None:
        recording.append(frame)
    frame = frame.map(lambda text: str.replace(text, "|", "\\|"))
    numeric = [
        "right" if frame[name].str.match(r"^[\d–−-]").all() else "left" for name in frame.columns
    ]
    return str(frame.to_markdown(index=False, colalign=numeric, disable_numparse=True))
