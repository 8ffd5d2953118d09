"""Rows from what ``pytest --benchmark-only --benchmark-json=FILE`` has written."""

import json
from pathlib import Path
from typing import Any

from invconv.bench.rows import Row, RowsError, cell_id

TABLE = "benchmark"
ASKED = ("operation", "layer", "n", "k", "channels", "batch")


def rows_from_benchmarks(path: Path) -> tuple[list[Row], int]:
    """A row of the table ``benchmark`` for every layer and solver method that was timed.

    The median and the quartiles over the rounds are taken from the file, machine and versions
    from what `tests/conftest.py` has added to it. A benchmark that failed leaves nothing in such
    a file, and so no row.

    Returns:
        The rows, and how many benchmarks were left out because they time something else.

    Raises:
        RowsError: if the file is not there, is not of pytest-benchmark, or was not made
            by the benchmarks of this package.
    """
    try:
        content = json.loads(path.read_text())
        machine, commit = content["machine_info"], content["commit_info"]
        benchmarks, date = content["benchmarks"], content["datetime"]
    except OSError as error:
        raise RowsError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RowsError(
            f"{path} is no file of pytest-benchmark: write one by "
            "pytest --benchmark-only --benchmark-json=FILE"
        ) from error
    source = machine.get("invconv") if isinstance(machine, dict) else None
    if source is None:
        raise RowsError(
            f"{path} does not say where it was measured: run the benchmarks in this repository's "
            "tests/benchmarks"
        )
    source = {
        **source,
        "commit": str(commit["id"])[:10],
        "dirty": bool(commit["dirty"]),
        "date": f"{date[:19]}Z",
    }
    try:
        ours = [entry for entry in benchmarks if set(ASKED) <= set(entry["extra_info"])]
        return [_row(entry, source) for entry in ours], len(benchmarks) - len(ours)
    except (KeyError, TypeError) as error:
        raise RowsError(f"{path} has a benchmark that lacks {error}: measure again") from error


def _row(entry: dict[str, Any], source: dict[str, Any]) -> Row:
    asked = {name: entry["extra_info"][name] for name in ASKED}
    given, stats = entry["extra_info"], entry["stats"]
    if asked["layer"] == "solver":
        asked["method"] = given["method"]
    kernel = "" if asked["k"] is None else f"-k{asked['k']}"
    name = asked.get("method", asked["layer"])
    label = f"{asked['operation']}-{name}-n{asked['n']}{kernel}"
    values = {
        "time_s": stats["median"],
        "time_q25_s": stats["q1"],
        "time_q75_s": stats["q3"],
        "rounds": stats["rounds"],
        "iterations": stats["iterations"],
        "residual": given["residual"],
        "solver": given["method"] or None,
    }
    labels = {**asked, "method": name}
    source = {**source, "threads": given["threads"]}
    return Row(cell_id(label, asked), TABLE, "ok", "", labels, asked, values, source)
