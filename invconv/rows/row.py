"""A row: what one cell of a sweep measured, or why it measured nothing."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

from invconv.files import write_text_atomically
from invconv.rows.status import Status

if TYPE_CHECKING:
    import pandas as pd

FIXED = ("cell", "table", "status", "reason", "config", "parts")
SOURCE = {"machine", "commit", "date"}
"""What a row's provenance has at least."""
TIME = "%Y-%m-%dT%H:%M:%SZ"
Value = str | int | float | bool | None
Values = dict[str, Value]
"""What a row may hold, by name; a number's unit is the end of its name (_s seconds)."""


class CellError(ValueError):
    """A configuration whose cell cannot have a folder."""


class RowsError(ValueError):
    """Rows that cannot be read or taken; the message says why."""


@dataclass(frozen=True)
class Part:
    """One of several things that a cell measured together, such as a method: a line of its own."""

    labels: Values = field(default_factory=dict)
    values: Values = field(default_factory=dict)
    status: Status = Status.OK
    reason: str = ""


@dataclass(frozen=True)
class Block:
    """What a measurement returns that timed several things together, and not only values.

    Attributes:
        values: of every line.
        parts: by name; none if the cell has one line.
        samples: call, process, round, window, quiet and seconds of every repeat of every call.
        noisy: one sentence if others computed meanwhile, otherwise "".
    """

    values: Values
    parts: Mapping[str, Part]
    samples: "pd.DataFrame"
    noisy: str = ""


@dataclass(frozen=True)
class Row:
    """One cell of one table."""

    cell: str
    """See `cell_id`."""
    table: str
    status: Status
    reason: str = ""
    """One sentence where the status is not "ok"."""
    labels: Values = field(default_factory=dict)
    """By which a reader finds it: preset, dataset, method, seed, ..."""
    config: dict[str, Any] = field(default_factory=dict)
    values: Values = field(default_factory=dict)
    provenance: Values = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    """Each is a line of its own, whose cell is ``cell/part``."""

    def lines(self) -> list[Values]:
        """One level of names: the lines of `results/data/*.csv`, one for each part."""
        whole = {"": Part(status=self.status, reason=self.reason)}
        return [self._line(name, part) for name, part in (self.parts or whole).items()]

    def _line(self, name: str, part: Part) -> Values:
        cell = f"{self.cell}/{name}" if name else self.cell
        named = {"cell": cell, "table": self.table, **self.labels, **part.labels}
        became = {"status": str(part.status), "reason": part.reason, **self.values, **part.values}
        asked = json.dumps(self.config, sort_keys=True)
        return {**named, **became, **self.provenance, "config": asked}


def now() -> str:
    """The time as rows have it, UTC."""
    return datetime.now(UTC).strftime(TIME)


def time_of(text: str) -> str:
    """An ISO 8601 time as rows have it, so that their order is that of text; raises ValueError.

    Without a zone it is of UTC.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        wanted = "an ISO 8601 time such as 2026-01-31T12:00:00Z"
        raise ValueError(f"date must be {wanted}, not {text!r:.60}") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).strftime(TIME)


def check_name(text: str, what: str) -> str:
    """Raise RowsError unless ``text`` can name a machine, commit or contributor on a page."""
    if not text.strip() or not text.isprintable() or set(":<>|`") & set(text):
        allowed = "a name without a colon, <, >, | and `"
        raise RowsError(f"{what} must be {allowed}, not {text!r:.60}")
    return text


def cell_id(label: str, config: Mapping[str, Any]) -> str:
    """``label`` and a hash of the configuration; CellError if that cannot be a folder's name."""
    if not label.isprintable() or set("/\\") & set(label) or not 0 < len(label) <= 200:
        allowed = "that of a folder, up to 200 characters without / and \\"
        raise CellError(f"a cell's name is {allowed}, not {label!r:.250}")
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def block_of(cells: "pd.Series") -> "pd.Series":
    """The names of the cells that lines belong to: those of parts are ``cell/part``."""
    return cells.astype(str).str.split("/").str[0]  # of no lines, too


def write_row(row: Row, path: Path) -> None:
    """Write ``path`` atomically."""
    write_text_atomically(json.dumps(asdict(row), indent=1) + "\n", path)


def read_row(path: Path) -> Row | None:
    """The row at ``path``, None where there is none; raises `RowsError` if that is no row."""
    found = read_json(path)
    try:
        return None if found is None else checked_row(found)
    except (TypeError, ValueError) as error:
        cure = "remove it, or measure again with force=true"
        raise RowsError(f"{path} is not a row ({error}): {cure}") from error


def checked_row(found: Mapping[str, Any]) -> Row:
    """The row with these fields, which may come from anywhere; raises Type- or ValueError."""
    fields = get_type_hints(Row)
    if unknown := found.keys() - fields:
        raise ValueError(f"it has {min(unknown)!r:.40}, which no row has")
    row = Row(**found)
    row = replace(row, status=Status(row.status))
    _check_types(row)
    parts = {name: Part(**part) for name, part in row.parts.items()}  # type: ignore[arg-type]
    parts = {name: replace(part, status=Status(part.status)) for name, part in parts.items()}
    for part in parts.values():
        _check_types(part)
    row = replace(row, parts=parts)
    if not {name for name, value in row.provenance.items() if isinstance(value, str)} >= SOURCE:
        raise ValueError("its provenance must name machine, commit and date")
    row = replace(row, provenance={**row.provenance, "date": time_of(str(row.provenance["date"]))})
    everything = [row.labels, row.values, row.provenance]
    everything += [named for part in parts.values() for named in (part.labels, part.values)]
    for name, value in (item for named in everything for item in named.items()):
        huge = isinstance(value, int) and abs(value) >= 2**63
        if name in FIXED or huge or not isinstance(value, str | int | float | None):
            raise ValueError(f"it cannot hold {name!r:.40} = {value!r:.40}")
    return row


def _check_types(found: Row | Part) -> None:
    for name, kind in get_type_hints(type(found)).items():
        if not isinstance(getattr(found, name), get_origin(kind) or kind):
            raise TypeError(f"its {name} is {getattr(found, name)!r:.40}")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object at ``path``, None where no file is; raises `RowsError` for another thing."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RowsError(f"{path} is no JSON object ({error}): remove it") from error
    return found
