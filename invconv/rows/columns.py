"""Columns of a table: their names, units, what a value may be, and what verifies a time."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar

import pandas as pd

BITS = 64
"""Of a dimension: beyond this, bits per dimension are a mistake."""


@dataclass(frozen=True)
class Column:
    """One column, or several that are alike.

    Args:
        names: separated by spaces; * stands for any characters.
    """

    names: str
    unit: ClassVar[str] = ""
    verifies: ClassVar[bool] = False
    """Whether a value is the error of a verification."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """The names in a row."""
        return tuple(self.names.split())

    def has(self, name: str) -> bool:
        """Whether a column of rows is this one."""
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def refusal(self, value: object) -> str:
        """What a value must be, where ``value`` is not that; "" if it is."""
        raise NotImplementedError


@dataclass(frozen=True)
class Number(Column):
    """A count, a ratio, or a number of units that its name ends with."""

    infinite: bool = False

    def refusal(self, value: object) -> str:
        """Numbers are not negative, and finite unless ``infinite``."""
        number = pd.to_numeric(str(value), errors="coerce")
        fine = 0 <= number < float("inf") or (self.infinite and number > 0)
        return "" if fine else "a number, finite and not negative"


@dataclass(frozen=True)
class Error(Number):
    """A relative error that was measured before anything was timed."""

    verifies = True


@dataclass(frozen=True)
class Seconds(Column):
    """A median time, ``<name>_s``, with its quartiles.

    Args:
        verified: whether an `Error` has to stand beside it.
    """

    verified: bool = True
    unit = "s"

    @property
    def patterns(self) -> tuple[str, ...]:
        """The names in a row."""
        parts = ("", "_q25", "_q75")
        return tuple(f"{name}{part}_s" for name in self.names.split() for part in parts)

    def refusal(self, value: object) -> str:
        """Seconds are finite and not negative."""
        number = pd.to_numeric(str(value), errors="coerce")
        return "" if 0 <= number < float("inf") else "seconds, finite and not negative"


@dataclass(frozen=True)
class Bits(Column):
    """Bits per dimension."""

    unit = "bits/dim"

    def refusal(self, value: object) -> str:
        """At most `BITS`."""
        number = pd.to_numeric(str(value), errors="coerce")
        return "" if 0 <= number <= BITS else f"a number from 0 to {BITS}"


@dataclass(frozen=True)
class Name(Column):
    """A short text that a page shows."""

    def refusal(self, value: object) -> str:
        """Printable, and without what would end a cell of a table."""
        text = str(value)
        if not text.isprintable():
            return "without characters that cannot be printed"
        return "without <, >, | and `" if set("<>|`") & set(text) else ""


@dataclass(frozen=True)
class Sentence(Column):
    """A text that no page shows as a name."""

    def refusal(self, value: object) -> str:
        """Printable."""
        return "" if str(value).isprintable() else "without characters that cannot be printed"


@dataclass(frozen=True)
class Truth(Column):
    """True or False."""

    def refusal(self, value: object) -> str:
        """One of the two."""
        return "" if str(value) in ("True", "False") else "True or False"


COMMON: tuple[Column, ...] = (
    Name("cell table status device machine torch commit python date cuda isa"),
    Sentence("reason *_reason config"),
    Truth("dirty tf32"),
    Number("threads duration_s load_average"),
)
"""What every table's rows may hold."""

FLOW: tuple[Column, ...] = (
    Number("parameters aa_spread repeats timed_images samples_not_finite peak_memory_bytes"),
    Error("round_trip_error* part_round_trip_error published_round_trip"),
    Truth("memory_kept round_trip_overflows"),
    Name("solver dequantization"),
)
"""What rows of whole models hold."""


def column_of(name: str, columns: Iterable[Column]) -> Column | None:
    """The first of ``columns`` that ``name`` is one of."""
    return next((column for column in columns if column.has(name)), None)
