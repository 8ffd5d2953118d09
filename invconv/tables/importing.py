"""Rows that somebody else measured: their schema and provenance, checked before they are shown."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import get_type_hints

import pandas as pd

from invconv.data import DATASETS
from invconv.methods import methods
from invconv.rows import CellError, RowsError, Status, add, cell_id, read_table
from invconv.rows.columns import COMMON, Column, Name, Number, Seconds, column_of
from invconv.rows.row import check_name
from invconv.rows.store import KEY
from invconv.tables.table import Table, tables

REQUIRED = "cell table status config device machine threads torch commit python dirty date"
"""Columns without which a row says neither what it is nor where it comes from."""


def check_rows(rows: pd.DataFrame, known: Mapping[str, Table]) -> None:
    """Raise `RowsError` unless a sweep of one of the ``known`` tables could have written these."""
    if rows.empty:
        raise RowsError("there are no rows")
    names = sorted(set(map(str, rows["table"])))
    if not set(names) <= set(known):
        raise RowsError(f"table must be one of {', '.join(known)}, not {', '.join(names)!r:.200}")
    if len(names) > 1:
        raise RowsError(f"one file holds the rows of one table, not of {', '.join(names)}")
    table = known[names[0]]
    needed = (*REQUIRED.split(), *table.labels)
    if missing := [name for name in needed if name not in rows.columns]:
        raise RowsError(f"columns are missing: {', '.join(missing)}")
    columns = _columns(table)
    patterns = ", ".join(sorted({pattern for column in columns for pattern in column.patterns}))
    kinds = {str(name): column_of(str(name), columns) for name in rows.columns}
    unknown = [name for name, kind in kinds.items() if kind is None]
    known_here = f"is unknown in {table.name}, whose are {patterns}"
    wrong = [f"column {name!r:.60} {known_here}" for name in unknown]
    for number, (_, row) in enumerate(rows.iterrows(), 1):
        empty = [f"{name} is empty" for name in needed if pd.isna(row[name])]
        reasons = [*empty, *_fields(row, table, kinds), *_identity(row, table)]
        wrong += [f"row {number}: {reason}" for reason in reasons]
    wrong += [f"{cell} stands there twice" for cell in rows[rows.duplicated(KEY)]["cell"]]
    if wrong:
        raise RowsError("\n".join(wrong))


def _columns(table: Table) -> tuple[Column, ...]:
    return (Name(" ".join(table.labels)), *table.columns, Name(table.parts), *COMMON)


def _fields(row: pd.Series, table: Table, kinds: Mapping[str, Column | None]) -> Iterator[str]:
    """What is wrong with single columns: what they may hold, and what they hold."""
    if row["status"] not in list(Status):
        yield f"status must be one of {', '.join(Status)}, not {str(row['status'])!r:.60}"
    if str(row["commit"]) == "unknown":
        yield "the commit is unknown: measure from a git checkout, or set INVCONV_COMMIT"
    given = {name: kind for name, kind in kinds.items() if kind and not pd.isna(row[name])}
    for name, kind in given.items():
        if must := kind.refusal(row[name]):
            yield f"{name} must be {must}, not {str(row[name])!r:.60}"
    timed = [name for name, kind in given.items() if isinstance(kind, Seconds) and kind.verified]
    if row["status"] == "ok" and timed and not any(kind.verifies for kind in given.values()):
        errors = " ".join(column.names for column in table.columns if column.verifies)
        beside = f"the error of a verification beside it, in a column of {errors}"
        yield f"{timed[0]} must have {beside}"


def _identity(row: pd.Series, table: Table) -> Iterator[str]:
    """Whether cell, labels and configuration belong together, and to layers and data of ours."""
    (cell, _, part), config = str(row["cell"]).partition("/"), None
    with suppress(TypeError, ValueError, RecursionError):
        config = json.loads(row["config"])
    if not isinstance(config, dict):
        yield f"config must be a JSON object, not {str(row['config'])!r:.60}"
        return
    try:
        name = cell_id(cell.rpartition("-")[0] if table.named else cell, config)
        if table.named and cell != name:
            yield f"cell must end with the hash of its config, {name[-8:]}, not {cell!r:.250}"
    except (CellError, RecursionError) as error:
        yield str(error)
    for label, places in table.labels.items():
        found = (_asked(table.config, config, place) for place in places.split("|"))
        asked, said = next((value for value in found if value is not None), None), row[label]
        if label == table.parts and part:
            asked = part
        if not isinstance(asked, str | int | float) or asked not in (said, str(said)):
            yield f"{label} must be what config says, {asked!r:.60}, not {str(said)!r:.60}"
    data, conv = (_asked(None, config, place) for place in ("dataset.name", "method.conv"))
    if "dataset" in table.labels and str(data) not in DATASETS:
        yield f"dataset must be one of {', '.join(DATASETS)}, not {data!r:.60}"
    layers = {one.conv for one in methods().values()}
    if "layer" in table.labels:
        conv, layers = row["layer"], {*layers, "solver"}
    if part and table.parts == "method":
        conv, layers = part, set(methods())
    if conv is not None and str(conv) not in layers:
        yield f"method must be of a layer, one of {', '.join(sorted(layers))}, not {conv!r:.60}"


def _asked(kind: object, config: object, place: str) -> object:
    """What ``config``, with what its dataclass ``kind`` adds, has at "method.name", or None."""
    name, _, rest = place.partition(".")
    if not isinstance(config, dict):
        return None
    if rest:
        inner = get_type_hints(kind).get(name) if isinstance(kind, type) else None
        return _asked(inner, config.get(name), rest)
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return config.get(name)
    defaults = {part.name: part.default for part in fields(kind)}
    if name in defaults:
        return config.get(name, defaults[name])
    try:
        known = {part.name: config[part.name] for part in fields(kind) if part.name in config}
        return getattr(kind(**known), name)
    except (TypeError, ValueError, AttributeError):
        return None


def import_rows(path: Path, label: str, results: Path) -> tuple[str, pd.DataFrame]:
    """Check the rows at ``path`` and add them to those in ``results``, marked with ``label``.

    The contributor's label goes in front of their machine's name, so that they form a block of
    their own and replace nothing that was measured here; to import them again replaces them. Rows
    that are in ``results`` already, without a label, are omitted: a checkout's file holds them
    too. Returns the table's name, and all of its rows; raises `RowsError`, and changes nothing,
    if the file or the label cannot be taken.
    """
    check_name(label, "the contributor's label")
    if not path.exists():
        raise RowsError(f"there is no file {path}")
    rows = read_table(path)
    check_rows(rows, tables())
    table = tables()[str(rows["table"].iloc[0])]
    stored = results / "data" / f"{table.name}.csv"
    for name in rows.columns:  # which a spreadsheet may have written in another form
        if isinstance(column_of(str(name), _columns(table)), Number):
            rows[name] = pd.to_numeric(rows[name])

    def theirs() -> pd.DataFrame:
        both = (frame[[*KEY, "date"]] for frame in (read_table(stored), rows))
        ours, given = map(pd.MultiIndex.from_frame, both)
        new = ~given.isin(ours)
        if not new.any():
            raise RowsError(f"all of its {len(rows)} rows are here already, without a label")
        return rows[new].assign(machine=f"{label}: " + rows["machine"].astype(str))

    return table.name, add(theirs, stored, table.write_page)
