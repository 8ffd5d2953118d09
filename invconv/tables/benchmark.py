"""What ``pytest --benchmark-only --benchmark-json=FILE`` timed: rows from its file, and a page."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from invconv.methods import methods
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.document import Document
from invconv.report.entries import Grid
from invconv.report.explorer.points import Figure, figure, method_points
from invconv.rows.columns import Error, Name, Number, Seconds
from invconv.rows.row import Row, RowsError, Values, cell_id, checked_row
from invconv.tables.table import Table

NAME = "benchmark"
ASKED = ("operation", "layer", "n", "k", "channels", "batch")
TEXTS = ("operation", "layer", "method")
OPERATIONS = {
    "forward": "Forward of a layer, in eval mode",
    "inverse": "Inverse of a layer, in eval mode",
    "inverse_backward": "The gradient through the inverse, in the latent and all parameters",
    "log_det": "log_det in training mode, by itself where a layer can, else by its forward",
    "solve": "The solver, every method, four corners, into a reused output",
    "convolve": "The triangular convolution, every method, into a reused output",
}
SOLVERS = {
    "compiled": ("#E69F00", "D"),
    "torch": ("#555555", "o"),
    "wavefront": ("#A6761D", "^"),
    "diagonal_channel": ("#7A4EA3", "x"),
    "diagonal_channel_4": ("#44AA99", "P"),
    "raster_serial": ("#88CCEE", "d"),
    "reference": ("#000000", "o"),
}
"""Method of the solver → color and marker."""

Json = dict[str, object]


def rows_from_benchmarks(path: Path) -> tuple[list[Row], int]:
    """Return a row for every layer and solver method that was timed.

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
    assert isinstance(benchmarks, list)
    rows = []
    for number, entry in enumerate(benchmarks, 1):
        try:
            if set(ASKED) <= set(entry["extra_info"]):
                rows.append(_row(entry["extra_info"], entry["stats"], source))
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


def _read(path: Path) -> Json:
    kinds = {"machine_info": dict, "commit_info": dict, "benchmarks": list, "datetime": str}
    if path.exists() and not path.is_file():
        raise RowsError(f"{path} cannot be read: it is no file")
    try:
        content: Json = json.loads(path.read_text())
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


def _source(content: Json, path: Path) -> Json:
    """The provenance that all rows share."""
    machines, commit = content["machine_info"], content["commit_info"]
    assert isinstance(machines, dict) and isinstance(commit, dict)
    machine = machines.get("invconv")
    if not isinstance(machine, dict):
        raise RowsError(
            f"{path} does not say where it was measured: run the benchmarks in this repository's "
            "tests/benchmarks"
        )
    if not isinstance(commit.get("id"), str) or not isinstance(commit.get("dirty"), bool):
        raise RowsError(f"{path} does not say which commit was measured: measure again")
    date = {"date": f"{str(content['datetime'])[:19]}Z"}
    return {**machine, "commit": commit["id"][:10], "dirty": commit["dirty"], **date}


def _row(given: Values, stats: Values, source: Json) -> Row:
    asked = {name: given[name] for name in ASKED}
    if asked["layer"] == "solver":
        asked["method"] = given["method"]
    for name, value in asked.items():
        _check(name, value)
    kernel = "" if asked["k"] is None else f"-k{asked['k']}"
    method = asked.get("method", asked["layer"])
    label = f"{asked['operation']}-{method}-n{asked['n']}{kernel}"
    times = {"time_s": "median", "time_q25_s": "q1", "time_q75_s": "q3"}
    values = {value: stats[known] for value, known in times.items()}
    values |= {name: stats[name] for name in ("rounds", "iterations")}
    values["residual"] = given["residual"]
    for value, found in (*values.items(), ("threads", given["threads"])):
        _check_number(value, found)
    return checked_row(
        {
            "cell": cell_id(label, asked),
            "table": NAME,
            "status": "ok",
            "labels": {**asked, "method": method},
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


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    found = [
        {
            "origin": bl.origin(block),
            "channels": en.whole(block["channels"].iloc[0]),
            "batch": en.whole(block["batch"].iloc[0]),
            "operations": _operations(block[block["status"] == "ok"]),
            "failures": bl.failures(block),
        }
        for block in bl.blocks(rows, "operation", "layer", "method", "n", "k")
    ]
    return Document(NAME, Path(__file__).with_suffix(".md.j2"), {"blocks": found})


def _operations(rows: pd.DataFrame) -> dict[str, Grid]:
    """What is timed, and its times."""
    parts = {title: rows[rows["operation"] == name] for name, title in OPERATIONS.items()}
    return {title: _grid(part) for title, part in parts.items() if len(part)}


def _grid(rows: pd.DataFrame) -> Grid:
    """One line per layer or method and kernel size, one column per image size."""
    lines = []
    rows = bl.in_order(rows, "method", methods())
    sizes = sorted(rows["n"].unique())
    for _, group in rows.groupby(["method", "k"], sort=False, dropna=False):
        first, worst = group.iloc[0], group.sort_values("residual").iloc[-1]
        times = {f"n = {n:.0f}": bl.only(group, n=n) for n in sizes}
        solvers = sorted(set(group["solver"].dropna()))
        lines.append(
            {
                "method": bl.title(first["method"]),
                "k": en.value(first, "k", "{:.0f}".format),
                **{
                    title: en.ABSENT if row is None else en.quartiles(row, "time", 1e3)
                    for title, row in times.items()
                },
                "largest residual": en.value(worst, "residual", "{:.0e}".format),
                "solver": ", ".join(solvers) or en.ABSENT,
            }
        )
    return Grid(lines)


def explore(rows: pd.DataFrame) -> Iterator[Figure]:
    """Every operation's time against the image size and the kernel size."""
    for operation in rows["operation"].unique():
        here = rows[rows["operation"] == operation]
        for x, other in (("n", "k"), ("k", "n")):
            there = here[here[x].notna()].sort_values(x, kind="stable")
            found = method_points(there, "time_s", x, (other, "channels", "batch"))
            points = [
                ((name, *SOLVERS.get(name, (color, marker)), line), each)
                for (name, color, marker, line), each in found
            ]
            yield figure(f"{operation}: time against {x}", x, "seconds", points, log=True)


TABLE = Table(
    name=NAME,
    title="pytest --benchmark-only: every layer and solver method",
    labels={name: name for name in ASKED if name != "k"} | {"method": "method|layer"},
    columns=(
        Seconds("time"),
        Error("residual"),
        Number("k rounds iterations"),
        Name("solver"),
    ),
    page=page,
    explore=explore,
    order=10,
)
