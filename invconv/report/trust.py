"""The page `results/trust.md`: what was tried to break this package, and what broke."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks

RUNS = {"full": "make test-full", "quick": "make test"}
WHOLE = "{:,.0f}".format
CASES = (
    "A case is one test with one set of arguments; of a test that draws its arguments "
    "(hypothesis, random problems) each draw that was not refused, of the conformance kit each "
    "check of each layer in each dtype, of the C++ driver each problem on each instruction set. "
    "Sanitizers: AddressSanitizer and UndefinedBehaviorSanitizer on the C++ kernels, these and "
    "ThreadSanitizer on the CUDA text, which a CPU emulates."
)
COVERAGE = "Of the Python code by the tests above, processes that they start included."
FINDINGS = (
    "What searching for failures found in this package, or in what it depends on, and the tests "
    "that guard against it since."
)


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/trust.md`` from the rows and returns its path."""
    return pages.write("trust", lambda: page(rows), results)


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows."""
    parts = [
        "# Trust: what was tried to break this",
        "Made by `make test-full`; do not edit. Rows: "
        f"{pages.rows_link('trust', rows)}. The tests that need a GPU are not part of it; what "
        "ran on one stands in [gpu.md](gpu.md), and what sweeps on SLURM survive in "
        "[faults.md](faults.md).",
    ]
    found = _last_runs(rows)
    if not found:
        parts.append("missing: no rows yet.")
    for block in found:
        parts += [
            f"## {block['machine'].iloc[0]}",
            f"{block['date'].iloc[0]}, {pages.origin(block)}",
            *_section(block, "run", "Runs", "", _run),
            *_section(block, "cases", "Cases", CASES, _kind, summed=True),
            *_section(block, "coverage", "Coverage", COVERAGE, _room, summed=True),
            *_section(block, "finding", "Failures found, and fixed", FINDINGS, _finding),
            *remarks.footnotes(block),
        ]
    return "\n\n".join(parts) + "\n"


def _section(
    block: pd.DataFrame,
    part: str,
    title: str,
    text: str,
    line: Callable[[pd.DataFrame], dict[str, str]],
    summed: bool = False,
) -> list[str]:
    """The rows of one part as a table; where they are ``summed`` with a line for all of them."""
    rows = block[(block["part"] == part) & ((block["status"] == "ok") | (part == "finding"))]
    lines = [line(rows.iloc[[i]]) for i in range(len(rows))]
    if summed and len(rows) > 1:
        lines.append(line(rows))
    return [f"### {title}", *[text] * bool(text), md.table(lines)] if lines else []


def _last_runs(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of the last run on each machine."""
    if rows.empty:
        return []
    return [group[group["date"] == group["date"].max()] for _, group in rows.groupby("machine")]


def _run(rows: pd.DataFrame) -> dict[str, str]:
    row = rows.iloc[0]
    counts = {name: md.value(row, name, WHOLE) for name in ("passed", "failed", "skipped")}
    return {
        "command": f"`{RUNS[row['name']]}`",
        **counts,
        "minutes": md.value(row, "suite_s", "{:.1f}".format, 1 / 60),
        "commit": md.Cell(row["tested_commit"], md.source(row, "tested_commit")),
    }


def _kind(rows: pd.DataFrame) -> dict[str, str]:
    fields = {name: name for name in ("tests", "cases", "failed", "skipped")}
    fields["seconds"] = "suite_s"
    line = {
        title: md.over_rows(WHOLE(rows[name].sum()), rows, name) for title, name in fields.items()
    }
    return {"what": _whose(rows), **line}


def _room(rows: pd.DataFrame) -> dict[str, str]:
    line = {"room": _whose(rows, "`")}
    for name in ("lines", "branches"):
        every, seen = rows[name].sum(), rows[f"covered_{name}"].sum()
        share = f"{seen / every:.1%}" if every else md.ABSENT
        line[name] = md.over_rows(WHOLE(every), rows, name)
        line[f"{name} covered"] = md.over_rows(share, rows, name, f"covered_{name}")
    return line


def _whose(rows: pd.DataFrame, quote: str = "") -> str:
    return "**all**" if len(rows) > 1 else f"{quote}{rows['name'].iloc[0]}{quote}"


def _finding(rows: pd.DataFrame) -> dict[str, str]:
    row = rows.iloc[0]
    return {
        "found by": row["found_by"],
        "what was wrong": row["what"],
        "guarded by": f"`{row['guard']}`",
        "now": md.Cell("passes" if row["status"] == "ok" else "error", md.source(row, "status")),
    }
