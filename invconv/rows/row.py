"""A row: what one cell of a sweep measured, or why it measured nothing."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from invconv.files import write_text_atomically
from invconv.rows.status import Status

FIXED = ("cell", "table", "status", "reason", "config")
SOURCE = {"machine", "commit", "date"}
"""What a row's provenance has at least."""
Value = str | int | float | bool | None
Values = dict[str, Value]
"""What a row may hold, by name; a number's unit is the end of its name (_s seconds)."""


class CellError(ValueError):
    """A configuration whose cell cannot have a folder."""


class RowsError(ValueError):
    """Rows that cannot be read or taken; the message says why."""


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

    def flat(self) -> Values:
        """One level of names: what a line of `results/data/*.csv` holds."""
        named = {"cell": self.cell, "table": self.table, **self.labels}
        became = {"status": str(self.status), "reason": self.reason, **self.values}
        asked = json.dumps(self.config, sort_keys=True)
        return {**named, **became, **self.provenance, "config": asked}


def now() -> str:
    """The time as rows have it, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cell_id(label: str, config: Mapping[str, Any]) -> str:
    """``label`` and a hash of the configuration; CellError if that cannot be a folder's name."""
    if not label.isprintable() or set("/\\") & set(label) or not 0 < len(label) <= 200:
        allowed = "that of a folder, up to 200 characters without / and \\"
        raise CellError(f"a cell's name is {allowed}, not {label!r:.250}")
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def write_row(row: Row, path: Path) -> None:
    """Writes ``path`` atomically."""
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
    for name, kind in fields.items():
        if not isinstance(getattr(row, name), get_origin(kind) or kind):
            raise TypeError(f"its {name} is {getattr(row, name)!r:.40}")
    if not {name for name, value in row.provenance.items() if isinstance(value, str)} >= SOURCE:
        raise ValueError("its provenance must name machine, commit and date")
    for name, value in {**row.labels, **row.values, **row.provenance}.items():
        huge = isinstance(value, int) and abs(value) >= 2**63
        if name in FIXED or huge or not isinstance(value, str | int | float | None):
            raise ValueError(f"it cannot hold {name!r:.40} = {value!r:.40}")
    return row


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object at ``path``, None where no file is; raises `RowsError` for another thing."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        found = json.loads(path.read_text())
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RowsError(f"{path} is no JSON object ({error}): remove it") from error
    return found
