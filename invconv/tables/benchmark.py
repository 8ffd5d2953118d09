"""What ``pytest --benchmark-only --benchmark-json=FILE`` timed: rows from its file, and a page."""

import json
from pathlib import Path

import pandas as pd

from invconv.files import brief
from invconv.methods import methods
from invconv.report import Document, Grid, Plot
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.findings import span
from invconv.rows.columns import Error, Name, Number, Seconds, column_of
from invconv.rows.row import Row, RowsError, Values, cell_id, checked_row
from invconv.tables.table import Table

NAME = "benchmark"
ASKED = ("operation", "layer", "n", "k", "channels", "batch")
OPERATIONS = ("forward", "inverse", "inverse_backward", "log_det", "solve", "convolve")
SOLVERS = {
    "compiled": ("#E69F00", "D"),
    "torch": ("#555555", "o"),
    "wavefront": ("#A6761D", "^"),
    "jacobi": ("#333333", "P"),
    "diagonal_channel": ("#7A4EA3", "x"),
    "diagonal_channel_4": ("#44AA99", "X"),
    "raster_serial": ("#88CCEE", "d"),
    "reference": ("#000000", "o"),
}
"""Method of the solver → color and marker."""


def rows_from_benchmarks(path: Path) -> tuple[list[Row], int]:
    """A row for every layer and solver method that was timed, and how many others there are.

    The median and the quartiles over the rounds are taken from the file, machine and versions
    from what `tests/conftest.py` has added to it. Raises `RowsError` for a file of others, or a
    value that no row can hold.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        benchmarks, commit = list(content["benchmarks"]), content["commit_info"]
        machine, date = content["machine_info"], f"{content['datetime'][:19]}Z"
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise RowsError(
            f"{path} is no file of pytest-benchmark ({brief(error)}): write one by "
            "pytest --benchmark-only --benchmark-json=FILE"
        ) from error
    rows = []
    try:
        measured = {"commit": commit["id"][:10], "dirty": commit["dirty"], "date": date}
        source = {**machine["invconv"], **measured}
    except (LookupError, TypeError):
        benchmarks = []
    for number, entry in enumerate(benchmarks, 1):
        try:
            if set(ASKED) <= set(entry["extra_info"]):
                rows.append(_row(entry["extra_info"], entry["stats"], source))
        except (LookupError, TypeError, ValueError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else brief(error)
            raise RowsError(f"{path}: benchmark {number}: {reason}: measure again") from error
    if not rows:
        raise RowsError(
            f"{path} holds no times of this repository: run its tests/benchmarks, from a checkout"
        )
    return rows, len(benchmarks) - len(rows)


def _row(given: Values, stats: Values, source: Values) -> Row:
    asked = {name: given[name] for name in ASKED}
    if asked["layer"] == "solver":
        asked["method"] = given["method"]
    method = asked.get("method", asked["layer"])
    kernel = "" if asked["k"] is None else f"-k{asked['k']}"
    label = f"{asked['operation']}-{method}-n{asked['n']}{kernel}"
    parts = {"time_s": "median", "time_q25_s": "q1", "time_q75_s": "q3"}
    parts |= {"rounds": "rounds", "iterations": "iterations"}
    values = {name: stats[part] for name, part in parts.items()} | {"residual": given["residual"]}
    for name, value in {**asked, "k": asked["k"] or 0, **values}.items():
        column = column_of(name, TABLE.columns)
        if column and column.refusal(value):
            raise ValueError(f"{name} must be {column.refusal(value)}, not {value!r:.40}")
    found = {"cell": cell_id(label, asked), "table": NAME, "status": "ok", "config": asked}
    found["values"] = {**values, "solver": given["method"] or None}
    found["provenance"] = {**source, "threads": given["threads"]}
    return checked_row({**found, "labels": {**asked, "method": method}})


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    found = list[dict[str, object]]()
    for block in bl.blocks(rows, "operation", "layer", "method", "n", "k"):
        good = bl.in_order(block[block["status"] == "ok"], "operation", OPERATIONS)
        operations = good.groupby("operation", sort=False)
        shown = {name: en.whole(block[name].iloc[0]) for name in ("channels", "batch")}
        grids = {name: _grid(part) for name, part in operations}
        told = {"origin": bl.origin(block), "failures": bl.failures(block)}
        found.append({**told, **shown, "operations": grids})
    return Document(NAME, Path(__file__).with_suffix(".md.j2"), {"blocks": found})


def finding(rows: pd.DataFrame) -> str:
    """Say how long an inverse takes at the largest size, by layer."""
    rows = rows[(rows["status"] == "ok") & (rows["operation"] == "inverse")]
    rows = rows[rows["n"] == rows["n"].max()]
    times = span(zip(1e3 * rows["time_s"], rows["method"].map(bl.title), strict=True))
    if not times:
        return ""
    size = "{channels:.0f} channels, {batch:.0f} images, n = {n:.0f}".format_map(rows.iloc[0])
    return f"An inverse of {size} takes {times} milliseconds."


def _grid(rows: pd.DataFrame) -> Grid:
    """One line per layer or method and kernel size, one column per image size."""
    lines, sizes = [], sorted(rows["n"].unique())
    rows = bl.in_order(rows, "method", methods())
    for _, group in rows.groupby(["method", "k"], sort=False, dropna=False):
        first, worst = group.iloc[0], group.sort_values("residual").iloc[-1]
        line: dict[str, object] = {"method": bl.title(first["method"])}
        line["k"] = en.value(first, "k", "{:.0f}".format)
        for n in sizes:
            row = bl.only(group, n=n)
            line[f"n = {n:.0f}"] = en.ABSENT if row is None else en.quartiles(row, "time", 1e3)
        line["largest residual"] = en.value(worst, "residual", "{:.0e}".format)
        line["solver"] = ", ".join(sorted(set(group["solver"].dropna()))) or en.ABSENT
        lines.append(line)
    return Grid(lines)


TABLE = Table(
    name=NAME,
    title="pytest --benchmark-only: every layer and solver method",
    question="How fast is every layer and solver method?",
    labels={name: name for name in ASKED if name != "k"} | {"method": "method|layer"},
    columns=(
        Seconds("time"),
        Error("residual"),
        Number("n k channels batch rounds iterations"),
        Name("solver"),
    ),
    headline="k time_s residual solver",
    page=page,
    finding=finding,
    made_by="pytest --benchmark-only --benchmark-json=runs/benchmark.json",
    plots=tuple(
        Plot(
            title=f"{{operation}}: time against {x}",
            columns={"time_s": "time"},
            x=x,
            looks={name: (name, *look) for name, look in SOLVERS.items()},
            apart=(other, "channels", "batch"),
        )
        for x, other in (("n", "k"), ("k", "n"))
    ),
    order=10,
)
