"""What a table holds: texts, and where each number comes from."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

ABSENT = "–"
Measured = pd.Series | None
"""A measured row, if there is one."""
Form = Callable[[float], str]


@dataclass(frozen=True)
class Source:
    """Where a number comes from: a column of a measured row, or where it was published."""

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
    """A table of a page: lines of the same columns, `ABSENT` where one lacks one."""

    def __init__(self, lines: Iterable[Line]) -> None:
        lines = list(lines)
        names = dict.fromkeys(name for line in lines for name in line)
        found = [[line.get(name, ABSENT) for name in names] for line in lines]
        cells = [[x if isinstance(x, Entry) else Entry(str(x)) for x in row] for row in found]
        self.frame = pd.DataFrame(cells, columns=list(names), dtype=object)

    def __str__(self) -> str:
        """The table in Markdown, numeric columns to the right."""
        texts = self.frame.map(lambda entry: str(entry).replace("|", "\\|"))
        align = ["right" if texts[name].str.match(r"^[\d–−-]").all() else "left" for name in texts]
        return str(texts.to_markdown(index=False, colalign=align, disable_numparse=True))

    def narrow(self, *names: str) -> "Grid":
        """Return the table of these columns alone, by default of those that say something."""
        filled = [name for name in self.frame if set(map(str, self.frame[name])) != {ABSENT}]
        grid = Grid([])
        grid.frame = self.frame[[name for name in filled if not names or name in names]]
        return grid

    def split(self, most: int, first: int = 1) -> "list[Grid]":
        """Return tables of at most ``most`` columns, each with the ``first`` ones of this."""
        names = list(map(str, self.frame))
        rest = range(first, len(names), most - first)
        return [self.narrow(*names[:first], *names[i : i + most - first]) for i in rest]

    def latex(self) -> str:
        """The table in LaTeX, with the rules of booktabs."""
        style = self.frame.map(lambda entry: str(entry).strip("`*")).style.hide(axis="index")
        escaped = style.format(escape="latex").format_index(escape="latex", axis=1)
        return str(escaped.to_latex(hrules=True))


def source(row: pd.Series, field: str) -> Source:
    """One field of one measured row."""
    return Source(str(row["cell"]), str(row["machine"]), str(row["commit"]), field)


def value(row: Measured, field: str, form: Form | None = None, scale: float = 1) -> Entry:
    """One field of a row that may be missing or not ok, times ``scale``, in ``form``."""
    if row is None:
        return Entry(ABSENT)
    if row["status"] not in CARRYING:
        return Entry(str(row["status"]), (source(row, "status"),))
    return _computed(lambda found: (form or number)(scale * found), (row, field))


CARRYING = ("ok", "noisy")
"""The statuses of rows that have numbers."""


def _computed(form: Callable[..., str], *places: tuple[Measured, str]) -> Entry:
    """``form`` of fields of rows; `ABSENT` unless all rows carry numbers and have theirs.

    A time of a row that is noisy says so.
    """
    found, mark = [], ""
    for row, field in places:
        if row is None or row["status"] not in CARRYING or pd.isna(row.get(field)):
            return Entry(ABSENT)
        found.append((row[field], source(row, field)))
        mark = " (noisy)" if field.endswith("_s") and is_noisy(row) else mark
    return Entry(form(*(number for number, _ in found)) + mark, tuple(place for _, place in found))


def is_noisy(row: pd.Series) -> bool:
    """Whether others computed while the row was measured."""
    return bool(row["status"] == "noisy" or row.get("noisy") == True)  # noqa: E712 - an object


def quartiles(row: Measured, name: str, scale: float = 1) -> Entry:
    """``name_s`` of a row with its quartiles, times ``scale``."""
    places = [(row, f"{name}{part}_s") for part in ("", "_q25", "_q75")]
    entry = _computed(lambda *times: with_quartiles(*(scale * t for t in times)), *places)
    return entry if entry.sources else value(row, f"{name}_s", scale=scale)


def ratio(row: Measured, name: str) -> Entry:
    """A ratio of times of one block with its 95 % interval; `ABSENT` of a row that is noisy."""
    if row is None or row["status"] != "ok" or is_noisy(row):
        return Entry(ABSENT)
    places = [(row, f"{name}{end}") for end in ("", "_low", "_high")]
    return _computed(lambda *found: with_interval(*found), *places)


def with_interval(value: float, low: float, high: float) -> str:
    """``value [low, high]``, as many decimals as two digits of the smallest need."""
    digits = 2 if low >= 0.1 else 3
    digits = 0 if low >= 100 else 1 if low >= 10 else digits
    return f"{value:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def over_rows(text: str, rows: pd.DataFrame, *fields: str) -> Entry:
    """``text``, computed from the ``fields`` of all ``rows``."""
    return Entry(text, tuple(source(r, field) for _, r in rows.iterrows() for field in fields))


def mean_bits(rows: pd.DataFrame) -> Entry:
    """The mean of ``bpd`` over rows, with its standard deviation where there are several."""
    bpd = rows["bpd"]
    spread = f" ± {bpd.std():.3f}" if len(bpd) > 1 else ""
    return over_rows(f"{bpd.mean():.3f}{spread}", rows, "bpd")


def quotient(
    row: Measured, field: str, other: Measured, other_field: str, form: Form = "{:.2f}".format
) -> Entry:
    """A field of one row ÷ a field of another, where both are ok."""
    return _computed(lambda a, b: form(a / b) if b else ABSENT, (row, field), (other, other_field))


def bits_with_interval(row: Measured) -> Entry:
    """``bpd`` of a row, with half its 95 % interval over the images where that was measured."""
    both = (row, "bpd"), (row, "bpd_interval")
    entry = _computed(lambda bpd, interval: f"{bits(bpd)} ± {interval:.3f}", *both)
    return entry if entry.sources else value(row, "bpd", bits)


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


def bits(value: float) -> str:
    """Bits per dimension, two decimals as the papers print them and one more."""
    return f"{value:.3f}"


def whole(value: float) -> str:
    """A count, with commas."""
    return f"{value:,.0f}"


def with_quartiles(median: float, q25: float, q75: float) -> str:
    """``median [q25, q75]``."""
    return f"{number(median)} [{number(q25)}, {number(q75)}]"
