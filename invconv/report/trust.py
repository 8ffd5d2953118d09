"""The page `results/trust.md`: what was tried to break this package, and what broke."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages

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
        "Made by `make test-full`; do not edit. Rows: [data/trust.csv](data/trust.csv). The tests "
        "that need a GPU are not part of it; what ran on one stands in [gpu.md](gpu.md), and what "
        "sweeps on SLURM survive in [faults.md](faults.md).",
    ]
    found = _last_runs(rows)
    if not found:
        parts.append("missing: no rows yet.")
    for block in found:
        parts += [
            f"## {block['machine'].iloc[0]}",
            f"{block['date'].iloc[0]}, {pages.origin(block)}",
            *_section(block, "run", "Runs", "", _run),
            *_section(block, "cases", "Cases", CASES, _kind, _all_kinds),
            *_section(block, "coverage", "Coverage", COVERAGE, _room, _all_rooms),
            *_section(block, "finding", "Failures found, and fixed", FINDINGS, _finding),
            *pages.footnotes(block),
        ]
    return "\n\n".join(parts) + "\n"


def _section(
    block: pd.DataFrame,
    part: str,
    title: str,
    text: str,
    line: Callable[[pd.Series], dict[str, str]],
    whole: Callable[[pd.DataFrame], dict[str, str]] | None = None,
) -> list[str]:
    """The rows of one part as a table, with a line for all of them where there are several."""
    rows = block[(block["part"] == part) & ((block["status"] == "ok") | (part == "finding"))]
    lines = [line(row) for _, row in rows.iterrows()]
    if whole is not None and len(rows) > 1:
        lines.append(whole(rows))
    return [f"### {title}", *[text] * bool(text), md.table(lines)] if lines else []


def _last_runs(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of the last run on each machine."""
    if rows.empty:
        return []
    return [group[group["date"] == group["date"].max()] for _, group in rows.groupby("machine")]


def _run(row: pd.Series) -> dict[str, str]:
    return {
        "command": f"`{RUNS[row['name']]}`",
        "passed": md.value(row, "passed", WHOLE),
        "failed": md.value(row, "failed", WHOLE),
        "skipped": md.value(row, "skipped", WHOLE),
        "minutes": md.value(row, "suite_s", "{:.1f}".format, 1 / 60),
        "commit": md.Cell(row["tested_commit"], md.source(row, "tested_commit")),
    }


def _kind(row: pd.Series) -> dict[str, str]:
    fields = ("tests", "cases", "failed", "skipped")
    line = {"what": row["name"], **{name: md.value(row, name, WHOLE) for name in fields}}
    return line | {"seconds": md.value(row, "suite_s", WHOLE)}


def _all_kinds(kinds: pd.DataFrame) -> dict[str, str]:
    fields = ("tests", "cases", "failed", "skipped")
    line = {name: md.over_rows(WHOLE(kinds[name].sum()), kinds, name) for name in fields}
    seconds = md.over_rows(WHOLE(kinds["suite_s"].sum()), kinds, "suite_s")
    return {"what": "**all**", **line, "seconds": seconds}


def _room(row: pd.Series) -> dict[str, str]:
    return {"room": f"`{row['name']}`", **_covered(row.to_frame().T)}


def _all_rooms(rooms: pd.DataFrame) -> dict[str, str]:
    return {"room": "**all**", **_covered(rooms)}


def _covered(rooms: pd.DataFrame) -> dict[str, str]:
    line = {}
    for name in ("lines", "branches"):
        every, seen = rooms[name].sum(), rooms[f"covered_{name}"].sum()
        share = f"{seen / every:.1%}" if every else md.ABSENT
        line[name] = md.over_rows(WHOLE(every), rooms, name)
        line[f"{name} covered"] = md.over_rows(share, rooms, name, f"covered_{name}")
    return line


def _finding(row: pd.Series) -> dict[str, str]:
    return {
        "found by": row["found_by"],
        "what was wrong": row["what"],
        "guarded by": f"`{row['guard']}`",
        "now": md.Cell("passes" if row["status"] == "ok" else "error", md.source(row, "status")),
    }
