"""Rows that somebody else measured: their schema and provenance, checked before they are shown."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pandas as pd

from invconv.conv import GROUP, available
from invconv.data import DATASETS
from invconv.data import label as data_label
from invconv.rows import Status
from invconv.rows.row import CellError, RowsError, cell_id
from invconv.rows.store import KEY, add, read_table

REQUIRED = "cell table status config device machine threads torch commit python dirty date"
"""Columns without which a row says neither what it is nor where it comes from."""
LABELS: dict[str, dict[str, str]] = {
    "table1": {"method": "method.name", "channels": "channels", "n": "n"},
    "table2": {"preset": "preset", "dataset": "dataset", "method": "method.name", "seed": "seed"},
    "table3": {"model": "flow.name", "images": "images", "width": "width"},
    "table4": {"size": "size", "images": "images", "width": "width"},
    "figure4": {"method": "method.name", "size": "size", "width": "width"},
    "scaling": {"point": "point", "channels": "channels", "batch": "batch"},
    "accuracy": {"method": "method.name", "channels": "channels"},
    "gpu": {"part": "part"},
    "faults": {},
    "benchmark": {name: name for name in ("operation", "layer", "n", "channels", "batch")}
    | {"method": "method|layer"},
    "trust": {"part": "part", "name": "name"},
}
"""The columns of each table by which a row is found, and where its configuration says the same."""
UNNAMED = ("faults", "trust")
"""Tables whose cells have names without a hash, and whose times are no inverse's."""

FLOW = "parameters round_trip_error* part_round_trip_error published_round_trip aa_spread repeats"
FLOW += " timed_images samples_not_finite peak_memory_bytes"
NUMBERS = {
    "table1": "k stored free dependent_steps *_operations round_trip_error",
    "table2": f"bpd bpd_interval valid_bpd histogram_bpd free_parameters *extra_bytes {FLOW}",
    "table3": FLOW,
    "table4": f"ours_round_trip algorithm_?_round_trip {FLOW}",
    "figure4": f"height image_width aa_spread_[0-9]* {FLOW}",
    "scaling": "n k input_bytes inverse*_extra_bytes inverse_*_error aa_spread gflops",
    "accuracy": "*_growth *_sample *_round_trip *_residual",
    "gpu": f"channels n batch *_bytes *_per_s *_error launches* graph_aa_spread {FLOW}",
    "faults": "cells launches kills:* attempts lost repeated other_bpd side_by_side trivial_cells",
    "benchmark": "k rounds iterations residual",
    "trust": "tests passed failed skipped cases *lines *branches",
}
TIMES = {
    "table2": "ft st st_published train_step",
    "table3": "ft st st_published",
    "table4": "ours algorithm_?",
    "figure4": "st_[0-9]* st_published_[0-9]*",
    "scaling": "torch_forward pointwise forward fresh inverse inverse_*",
    "gpu": "*",
    "faults": "last_kill_to_table slurm basic",
    "benchmark": "time",
    "trust": "suite",
}
"""Without ``_s``, ``_q25_s`` and ``_q75_s``."""
NAMES = "cell table status device machine torch commit python date cuda isa solver kind exact"
NAMES += " dequantization fastest_* tested_commit"
SENTENCES = "reason *_reason config sanitizer found_by what guard"
"""Texts that no page shows as a name, and which may hold what would end one."""
TRUTHS = "dirty tf32 tf32_block memory_kept round_trip_overflows"
PROOFS = "*_error *_error_float64 *round_trip* *residual"
BITS = 64
"""Of a dimension: beyond this, bits per dimension are a mistake."""


def check_rows(rows: pd.DataFrame, tables: tuple[str, ...]) -> None:
    """Raises `RowsError` unless ``rows`` could have been written by a sweep of this package.

    Args:
        rows: as `read_table` gives them.
        tables: that have a page.
    """
    if rows.empty:
        raise RowsError("there are no rows")
    _check_columns(rows, REQUIRED.split())
    found = sorted(set(map(str, rows["table"])))
    if not set(found) <= set(tables):
        raise RowsError(f"table must be one of {', '.join(tables)}, not {', '.join(found)!r:.200}")
    if len(found) > 1:
        raise RowsError(f"one file holds the rows of one table, not of {', '.join(found)}")
    (table,) = found
    _check_columns(rows, LABELS[table])
    known = [*LABELS[table], *_numbers(table), *f"{NAMES} {SENTENCES} {TRUTHS}".split()]
    wrong = [
        f"column {name!r:.60} is unknown in {table}, whose are {', '.join(sorted(set(known)))}"
        for name in rows.columns
        if not _among(name, known)
    ]
    for number, (_, row) in enumerate(rows.iterrows(), 1):
        reasons = [*_fields(row, table), *_identity(row, table)]
        wrong += [f"row {number}: {reason}" for reason in reasons]
    wrong += [f"{cell} stands there twice" for cell in rows[rows.duplicated(KEY)]["cell"]]
    if wrong:
        raise RowsError("\n".join(wrong))


def _check_columns(rows: pd.DataFrame, names: Iterable[str]) -> None:
    missing = [name for name in names if name not in rows.columns]
    if missing:
        raise RowsError(f"columns are missing: {', '.join(missing)}")


def _times(table: str) -> list[str]:
    names = TIMES.get(table, "").split()
    return [f"{name}{part}_s" for name in names for part in ("", "_q25", "_q75")]


def _numbers(table: str) -> list[str]:
    shared = ("threads", "duration_s", "load_average")
    return [*NUMBERS[table].split(), *_times(table), *shared]


def _among(name: object, patterns: list[str]) -> bool:
    return any(fnmatchcase(str(name), pattern) for pattern in patterns)


def _fields(row: pd.Series, table: str) -> Iterator[str]:
    """What is wrong with single columns: what they may hold, and what they hold."""
    needed = (*REQUIRED.split(), *LABELS[table])
    yield from (f"{name} is empty" for name in needed if pd.isna(row[name]))
    if row["status"] not in list(Status):
        yield f"status must be one of {', '.join(Status)}, not {str(row['status'])!r:.60}"
    if str(row["commit"]) == "unknown":
        yield "the commit is unknown: measure from a git checkout, or set INVCONV_COMMIT"
    if pd.isna(pd.to_datetime(row["date"], errors="coerce", utc=True)):
        yield f"date must be a time such as 2026-01-31T12:00:00Z, not {str(row['date'])!r:.60}"
    numbers, sentences, truths = _numbers(table), SENTENCES.split(), TRUTHS.split()
    given = row.dropna()
    for name, value in given.items():
        text, may = str(value), ""
        if name in truths:
            may = "" if text in ("True", "False") else "True or False"
        elif name not in LABELS[table] and _among(name, numbers):
            may = _range(str(name), value, table)
        elif not text.isprintable():
            may = "without characters that cannot be printed"
        elif set("<>|`") & set(text) and not _among(name, sentences):
            may = "without <, >, | and `"
        if may:
            yield f"{name} must be {may}, not {text!r:.60}"
    timed = [name for name in given.index if _among(name, _times(table))]
    proved = any(_among(name, PROOFS.split()) for name in given.index)
    inverts = table not in UNNAMED and row.get("part") not in ("machine", "sanitizer")
    if row["status"] == "ok" and timed and inverts and not proved:
        yield f"{timed[0]} must have the error of a proof beside it, in a column of {PROOFS}"


def _range(name: str, value: Any, table: str) -> str:
    """What a number may be; "" if it is that."""
    number = pd.to_numeric(str(value), errors="coerce")
    if "bpd" in name and table == "table2":
        return "" if 0 <= number <= BITS else f"a number from 0 to {BITS}"
    if 0 <= number < float("inf") or (table == "accuracy" and number > 0):
        return ""
    return f"{'seconds' if name.endswith('_s') else 'a number'}, finite and not negative"


def _identity(row: pd.Series, table: str) -> Iterator[str]:
    """Whether cell, labels and configuration belong together, and to layers and data of ours."""
    cell, config = str(row["cell"]), None
    with suppress(TypeError, ValueError, RecursionError):
        config = json.loads(row["config"])
    if not isinstance(config, dict):
        yield f"config must be a JSON object, not {str(row['config'])!r:.60}"
        return
    try:
        name = cell_id(cell if table in UNNAMED else cell.rpartition("-")[0], config)
    except (CellError, RecursionError) as error:
        yield str(error)
    else:
        if table not in UNNAMED and cell != name:
            yield f"cell must end with the hash of its config, {name[-8:]}, not {cell!r:.250}"
    for label, place in LABELS[table].items():
        asked, found = _asked(config, place), row[label]
        if not isinstance(asked, str | int | float) or asked not in (found, str(found)):
            yield f"{label} must be what config says, {asked!r:.60}, not {str(found)!r:.60}"
    data, conv = _asked(config, "dataset.name"), _asked(config, "method.conv")
    if "dataset" in LABELS[table] and str(data) not in DATASETS:
        yield f"dataset must be one of {', '.join(DATASETS)}, not {data!r:.60}"
    layers = {*available(), *_installed()}
    if table == "benchmark":
        conv, layers = row["layer"], {*layers, "solver"}
    if conv is not None and str(conv) not in layers:
        yield f"method must be of a layer, one of {', '.join(sorted(layers))}, not {conv!r:.60}"


@cache
def _installed() -> set[str]:
    return {entry.name for entry in entry_points(group=GROUP)}


def _asked(config: dict[str, Any], place: str) -> Any:
    """What a configuration has at the first of some places that it has; None if at none."""
    for path in place.split("|"):
        found: Any = config
        for part in path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if path == "dataset":
            options = ("name", "version", "bits", "path")
            name, version, bits, own = (_asked(config, f"dataset.{option}") for option in options)
            found = data_label(name, version, bits, None if own is None else str(own))
        if found is not None:
            return found
    return None


def import_rows(
    path: Path, label: str, data: Path, pages: Mapping[str, Callable[[pd.DataFrame, Path], Path]]
) -> tuple[str, pd.DataFrame]:
    """Checks the rows at ``path`` and adds them to those in ``data``, marked with ``label``.

    The label goes in front of their machine's name, so that they form a block of their own and
    replace nothing that was measured here; to import them again replaces them. Rows that are in
    ``data`` already, without a label, are left out: a checkout's file holds them too.

    Args:
        path: a CSV file as in ``results/data``.
        label: of the contributor.
        data: the folder ``results/data``; the pages are beside it.
        pages: table → what writes its page from all rows into a folder.

    Returns:
        The table's name, and all of its rows.

    Raises:
        RowsError: if the file or the label cannot be taken; nothing is changed then.
    """
    if not label.strip() or not label.isprintable() or set(":<>|`") & set(label):
        raise RowsError(
            f"the contributor's label must be a name without a colon, <, >, | and `, not {label!r}"
        )
    if not path.exists():
        raise RowsError(f"there is no file {path}")
    rows = read_table(path)
    check_rows(rows, tuple(pages))
    table = str(rows["table"].iloc[0])
    stored = data / f"{table}.csv"

    def theirs() -> pd.DataFrame:
        known = read_table(stored)
        ours = set() if known.empty else set(known[[*KEY, "date"]].itertuples(False, None))
        kept = [key not in ours for key in rows[[*KEY, "date"]].itertuples(False, None)]
        if not any(kept):
            raise RowsError(f"all of its {len(rows)} rows are here already, without a label")
        return rows[kept].assign(machine=f"{label}: " + rows["machine"].astype(str))

    return table, add(theirs, stored, pages[table])
