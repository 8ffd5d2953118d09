"""Columns of a table: their names, units, what a value may be, and what verifies a time."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar

import pandas as pd


@dataclass(frozen=True)
class Column:
    """Columns that are alike: ``names``, separated by spaces, where * is any characters."""

    names: str
    ends: ClassVar[tuple[str, ...]] = ("",)
    unit: ClassVar[str] = ""
    verifies: ClassVar[bool] = False
    """Whether a value is the error of a verification."""
    must: ClassVar[str] = "without characters that cannot be printed"

    @property
    def patterns(self) -> tuple[str, ...]:
        """The names in a row."""
        return tuple(f"{name}{end}" for name in self.names.split() for end in self.ends)

    def refusal(self, value: object) -> str:
        """What a value must be, where ``value`` is not that; "" if it is."""
        return "" if self._takes(str(value)) else self.must

    def _takes(self, text: str) -> bool:
        return text.isprintable()


@dataclass(frozen=True)
class Number(Column):
    """A count, a ratio, or a number of units that its name ends with."""

    infinite: bool = False
    most: ClassVar[float] = sys.float_info.max
    must = "a number, finite and not negative"

    def _takes(self, text: str) -> bool:
        most = float("inf") if self.infinite else self.most
        return bool(0 <= pd.to_numeric(text, errors="coerce") <= most)


@dataclass(frozen=True)
class Error(Number):
    """A relative error that was measured before anything was timed."""

    verifies = True


@dataclass(frozen=True)
class Seconds(Number):
    """A median time, ``<name>_s``, with its quartiles; ``verified`` if it needs an `Error`."""

    verified: bool = True
    ends = ("_s", "_q25_s", "_q75_s")
    unit = "s"
    must = "seconds, finite and not negative"


@dataclass(frozen=True)
class Ratio(Number):
    """A ratio of two times of one block, with its 95 % interval, alone and with all others."""

    ends = ("", "_low", "_high", "_low_all", "_high_all")


@dataclass(frozen=True)
class Bits(Number):
    """Bits per dimension; more than 64 are a mistake."""

    unit = "bits/dim"
    most = 64
    must = f"a number from 0 to {most}"


@dataclass(frozen=True)
class Sentence(Column):
    """A text that no page shows as a name."""


@dataclass(frozen=True)
class Name(Column):
    """A short text that a page shows, without what would end a cell of a table."""

    def refusal(self, value: object) -> str:
        """Printable, and without <, >, | and `."""
        wrong = "without <, >, | and `" if set("<>|`") & set(str(value)) else ""
        return super().refusal(value) or wrong


@dataclass(frozen=True)
class Truth(Column):
    """True or False."""

    must = "True or False"

    def _takes(self, text: str) -> bool:
        return text in ("True", "False")


COMMON: tuple[Column, ...] = (
    Name("cell table status device machine hardware torch commit python date cuda isa"),
    Sentence("reason *_reason config environment"),
    Truth("dirty tf32"),
    Number("threads duration_s load_average"),
)
"""What every table's rows may hold."""

TEXT = (*COMMON, Name("method dataset preset"))
"""What is text whatever it looks like is a `Name` or a `Sentence` among these."""

BLOCK: tuple[Column, ...] = (
    Number("processes rounds compared discarded_windows foreign_cpu steal_s clock_mhz"),
    Number("involuntary_switches"),
    Truth("memory_kept noisy"),
)
"""What rows hold that were timed in one block."""

FLOW: tuple[Column, ...] = (
    Number("parameters timed_images samples_not_finite verified_scale"),
    Error("round_trip_error* part_round_trip_error published_round_trip*"),
    Error("perturbed_* log_det_error"),
    Truth("round_trip_overflows"),
    Name("solver dequantization"),
    *BLOCK,
)
"""What rows of whole models hold."""


def read_csv(path: Path) -> pd.DataFrame:
    """The columns of a file, none guessed: what is `TEXT` is, as what else is not all numbers.

    A number, or a truth, is what prints as it is written there: neither 007 nor NA nor 1e3.
    """
    rows = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    typed = {}
    for name, column in rows.items():
        text = isinstance(column_of(str(name), TEXT), Name | Sentence)
        typed[name] = column if text else _as_written(column)
    return pd.DataFrame(typed, index=rows.index)


def _as_written(column: pd.Series) -> pd.Series:
    texts = column.dropna().unique()
    if not len(texts):
        return column.astype(float)
    for kind in (_truth, _number):
        with suppress(ValueError):
            return column.map({text: kind(text) for text in texts})
    return column


def _truth(text: str) -> bool:
    return bool(("False", "True").index(text))


def _number(text: str) -> int | float:
    for kind in (int, float):
        with suppress(ValueError):
            if str(found := kind(text)) == text != "nan":
                return found
    raise ValueError(text)


def column_of(name: str, columns: Iterable[Column]) -> Column | None:
    """The first of ``columns`` that ``name`` is one of."""
    named = ((part, column) for column in columns for part in column.patterns)
    return next((column for part, column in named if fnmatchcase(name, part)), None)
