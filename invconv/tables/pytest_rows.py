"""Rows from what ``pytest --benchmark-only --benchmark-json=FILE`` has written."""

import json
import math
from pathlib import Path
from typing import Any

from invconv.rows.row import Row, RowsError, cell_id, checked_row

TABLE = "benchmark"
ASKED = ("operation", "layer", "n", "k", "channels", "batch")
TEXTS = ("operation", "layer", "method")


def rows_from_benchmarks(path: Path) -> tuple[list[Row], int]:
    """A row of the table ``benchmark`` for every layer and solver method that was timed.

    The median and the quartiles over the rounds are taken from the file, machine and versions
    from what `tests/conftest.py` has added to it. A benchmark that failed leaves nothing in such
    a file, and so no row.

    Returns:
        The rows, and how many benchmarks were left out because they time something else.

    Raises:
        RowsError: if the file is not there, is not of pytest-benchmark, was not made by the
            benchmarks of this package, holds none of them, or holds what no row can.
    """
    content = _read(path)
    source, benchmarks = _source(content, path), content["benchmarks"]
    rows = []
    for number, entry in enumerate(benchmarks, 1):
        try:
            if set(ASKED) <= set(entry["extra_info"]):
                rows.append(_row(entry, source))
        except KeyError as error:
            raise RowsError(f"{path}: benchmark {number} lacks {error}: measure again") from error
        except (TypeError, ValueError) as error:
            raise RowsError(f"{path}: benchmark {number}: {error}: measure again") from error
    if not rows:
        raise RowsError(
            f"{path} times no layer and no solver method: run the benchmarks in this repository's "
            "tests/benchmarks"
        )
    return rows, len(benchmarks) - len(rows)


def _read(path: Path) -> dict[str, Any]:
    kinds = {"machine_info": dict, "commit_info": dict, "benchmarks": list, "datetime": str}
    if path.exists() and not path.is_file():
        raise RowsError(f"{path} cannot be read: it is no file")
    try:
        content = json.loads(path.read_text())
        for name, kind in kinds.items():
            if not isinstance(content[name], kind):
                raise TypeError(name)
    except OSError as error:
        raise RowsError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RowsError(
            f"{path} is no file of pytest-benchmark: write one by "
            "pytest --benchmark-only --benchmark-json=FILE"
        ) from error
    return content


def _source(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The provenance that all rows share."""
    machine, commit = content["machine_info"].get("invconv"), content["commit_info"]
    if not isinstance(machine, dict):
        raise RowsError(
            f"{path} does not say where it was measured: run the benchmarks in this repository's "
            "tests/benchmarks"
        )
    if not isinstance(commit.get("id"), str) or not isinstance(commit.get("dirty"), bool):
        raise RowsError(f"{path} does not say which commit was measured: measure again")
    return {
        **machine,
        "commit": commit["id"][:10],
        "dirty": commit["dirty"],
        "date": f"{content['datetime'][:19]}Z",
    }


def _row(entry: dict[str, Any], source: dict[str, Any]) -> Row:
    given, stats = entry["extra_info"], entry["stats"]
    asked = {name: given[name] for name in ASKED}
    if asked["layer"] == "solver":
        asked["method"] = given["method"]
    for name, value in asked.items():
        _check(name, value)
    kernel = "" if asked["k"] is None else f"-k{asked['k']}"
    name = asked.get("method", asked["layer"])
    label = f"{asked['operation']}-{name}-n{asked['n']}{kernel}"
    times = {"time_s": "median", "time_q25_s": "q1", "time_q75_s": "q3"}
    values = {value: stats[known] for value, known in times.items()}
    values |= {name: stats[name] for name in ("rounds", "iterations")}
    values["residual"] = given["residual"]
    for value, found in (*values.items(), ("threads", given["threads"])):
        _check_number(value, found)
    return checked_row(
        {
            "cell": cell_id(label, asked),
            "table": TABLE,
            "status": "ok",
            "labels": {**asked, "method": name},
            "config": asked,
            "values": {**values, "solver": given["method"] or None},
            "provenance": {**source, "threads": given["threads"]},
        }
    )


def _check(name: str, value: object) -> None:
    """Raises ValueError unless a label has the value of one."""
    if name in TEXTS:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise ValueError(f"{name} must be a name, not {value!r:.40}")
    elif not (name == "k" and value is None) and type(value) is not int:
        raise ValueError(f"{name} must be a whole number, not {value!r:.40}")


def _check_number(name: str, value: object) -> None:
    if not isinstance(value, int | float) or type(value) is bool or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a number, finite and not negative, not {value!r:.40}")
