"""A row: what one cell of a sweep measured, or why it measured nothing."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from invconv.files import write_atomically

STATUSES = ("ok", "unsupported", "incorrect", "oom", "timeout", "error")


@dataclass(frozen=True)
class Row:
    """One cell of one table.

    Attributes:
        cell: the cell's identity, see `cell_id`.
        table: the table it belongs to.
        status: one of `STATUSES`; only "ok" carries values.
        reason: one sentence where the status is not "ok".
        labels: by which a reader finds it: preset, dataset, method, seed, ...
        config: all that was asked for.
        values: what was measured, in the units their names end with (_s seconds).
        provenance: device, versions, commit, see `invconv.bench.provenance`.
    """

    cell: str
    table: str
    status: str
    reason: str = ""
    labels: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """One level of names: what a line of `results/data/*.csv` holds."""
        return {
            "cell": self.cell,
            "table": self.table,
            **self.labels,
            "status": self.status,
            "reason": self.reason,
            **self.values,
            **self.provenance,
            "config": json.dumps(self.config, sort_keys=True),
        }


def cell_id(label: str, config: Mapping[str, Any]) -> str:
    """``label`` and a hash of the configuration, independent of the order of its keys."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"))
    return f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def write_row(row: Row, path: Path) -> None:
    """Writes ``path`` atomically."""
    write_text_atomically(json.dumps(asdict(row), indent=1) + "\n", path)


def read_row(path: Path) -> Row | None:
    """The row at ``path``, or None where there is none."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    return Row(**json.loads(text))


def write_text_atomically(text: str, path: Path) -> None:
    """Writes ``path``, which never holds half a file, not even after the machine lost power."""
    write_atomically(text.encode(), path)
