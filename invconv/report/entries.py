"""What stands in a table: texts, and where each number comes from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

ABSENT = "–"
MISSING = "missing"


@dataclass(frozen=True)
class Source:
    """Where a number comes from.

    Attributes:
        cell, machine, commit: of a measured row.
        field: its column in the CSV file.
        published: otherwise where the figure was published.
    """

    cell: str = ""
    machine: str = ""
    commit: str = ""
    field: str = ""
    published: str = ""


@dataclass(frozen=True)
class Entry:
    """A text with the sources of its numbers."""

    text: str
    sources: tuple[Source, ...] = ()

    def __str__(self) -> str:
        return self.text

    def saying(self, text: str, *more: Source) -> "Entry":
        """Another text from the same sources, and ``more``."""
        return Entry(text, tuple(dict.fromkeys((*self.sources, *more))))


Line = Mapping[str, object]
"""One line of a `Grid`: column → `Entry`, or what its text is made of."""


class Grid:
    """A table of a page: lines with the same columns, numeric ones to the right.

    Args:
        lines: one may lack columns, which are `ABSENT` then.
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        names = dict.fromkeys(name for line in lines for name in line)
        cells = [[_entry(line.get(name, ABSENT)) for name in names] for line in lines]
        self.frame = pd.DataFrame(cells, columns=list(names), dtype=object)

    @cached_property
    def texts(self) -> pd.DataFrame:
        """The texts alone."""
        return self.frame.map(str)

    def __str__(self) -> str:
        """The table in Markdown."""
        texts = self.texts.map(lambda text: text.replace("|", "\\|"))
        align = ["right" if texts[name].str.match(r"^[\d–−-]").all() else "left" for name in texts]
        return str(texts.to_markdown(index=False, colalign=align, disable_numparse=True))

    def latex(self) -> str:
        """The table in LaTeX, with the rules of booktabs."""
        texts = self.texts.map(lambda text: text.strip("`*"))
        return (
            texts.style.hide(axis="index")
            .format(escape="latex")
            .format_index(escape="latex", axis=1)
            .to_latex(hrules=True)
        )


def _entry(text: object) -> Entry:
    return text if isinstance(text, Entry) else Entry(str(text))


def source(row: pd.Series, field: str) -> Source:
    """One field of one measured row."""
    return Source(str(row["cell"]), str(row["machine"]), str(row["commit"]), field)


def value(
    row: pd.Series | None, field: str, form: Callable[[float], str] | None = None, scale: float = 1
) -> Entry:
    """One field of a row that may be missing or not ok, times ``scale``, in ``form``."""
    if row is None:
        return Entry(MISSING)
    if row["status"] != "ok":
        return Entry(str(row["status"]), (source(row, "status"),))
    found = row.get(field)
    if found is None or pd.isna(found):
        return Entry(ABSENT)
    return Entry((form or number)(scale * found), (source(row, field),))


def quartiles(row: pd.Series | None, name: str, scale: float = 1) -> Entry:
    """``name_s`` of a row with its quartiles, times ``scale``."""
    if row is None or row["status"] != "ok" or pd.isna(row.get(f"{name}_s")):
        return value(row, f"{name}_s")
    fields = [f"{name}{part}_s" for part in ("", "_q25", "_q75")]
    text = with_quartiles(*(scale * row[f] for f in fields))
    return Entry(text, tuple(source(row, f) for f in fields))


def over_rows(text: str, rows: pd.DataFrame, *fields: str) -> Entry:
    """``text``, computed from the ``fields`` of all ``rows``."""
    return Entry(text, tuple(source(r, field) for _, r in rows.iterrows() for field in fields))


def quotient(
    row: pd.Series | None,
    field: str,
    other: pd.Series | None,
    other_field: str,
    form: Callable[[float], str] = "{:.2f}".format,
) -> Entry:
    """A field of one row ÷ a field of another, where both are ok."""
    if row is None or other is None or row["status"] != "ok" or other["status"] != "ok":
        return Entry(ABSENT)
    above, below = row.get(field), other.get(other_field)
    if above is None or below is None or pd.isna(above) or pd.isna(below) or not below:
        return Entry(ABSENT)
    return Entry(form(above / below), (source(row, field), source(other, other_field)))


def against(row: pd.Series | None, field: str, published: Entry) -> Entry:
    """A field of a row ÷ a published figure, an entry of the same table."""
    if row is None or row["status"] != "ok" or published.text == ABSENT:
        return Entry(ABSENT)
    text = ratio(row.get(field), float(published.text.replace(",", "")))
    return Entry(text, (source(row, field), *published.sources))


def bits_with_interval(row: pd.Series | None) -> Entry:
    """``bpd`` of a row, with half its 95 % interval over the images where that was measured."""
    if row is None or row["status"] != "ok" or pd.isna(row.get("bpd_interval")):
        return value(row, "bpd", bits)
    text = f"{bits(row['bpd'])} ± {row['bpd_interval']:.3f}"
    return Entry(text, (source(row, "bpd"), source(row, "bpd_interval")))


def listed(numbers: pd.Series) -> str:
    """The different numbers of a column, in order."""
    return ", ".join(f"{number:g}" for number in sorted(numbers.unique()))


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


def whole(value: float) -> str:
    """A count, with commas."""
    return f"{value:,.0f}"


def with_quartiles(median: float, q25: float, q75: float) -> str:
    """``median [q25, q75]``."""
    return ABSENT if pd.isna(median) else f"{number(median)} [{number(q25)}, {number(q75)}]"


def ratio(measured: float | None, published: float | None) -> str:
    """measured ÷ published, where there are both."""
    if measured is None or published is None or pd.isna(measured) or pd.isna(published):
        return ABSENT
    return f"{measured / published:.2f}"
