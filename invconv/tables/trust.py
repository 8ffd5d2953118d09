"""What the tests tried and covered; ``tests/trust.py`` makes the rows of their reports."""

from pathlib import Path

import pandas as pd

from invconv.report import Document, Entry, Grid, Line
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.rows.columns import Name, Number, Seconds, Sentence
from invconv.tables.table import Table

RUN = "full"
"""The run of all tests."""


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows: of the last whole run on each machine."""
    machines = [group for _, group in rows.groupby("machine")]
    blocks = [group[group["date"] == group["date"].max()] for group in machines]
    context: dict[str, object] = {
        "runs": Grid([_line(block) for block in blocks]),
        "origins": [bl.origin(block) for block in blocks],
        "failures": [line for block in blocks for line in bl.failures(block)],
    }
    if blocks:
        latest = max(blocks, key=lambda block: str(block["date"].iloc[0]))
        findings = latest[latest["part"] == "finding"]
        context |= {"findings": len(findings), "guarded": sum(findings["status"] == "ok")}
    return Document("trust", Path(__file__).with_suffix(".md.j2"), context)


def _line(rows: pd.DataFrame) -> Line:
    run, covered = bl.only(rows, part="run", name=RUN), rows[rows["part"] == "coverage"]
    counts = ("passed", "failed", "skipped", "cases")
    return {
        "machine": str(rows["machine"].iloc[0]),
        **{name: en.value(run, name, en.whole) for name in counts},
        "minutes": en.value(run, "suite_s", "{:.1f}".format, 1 / 60),
        **{f"{what} covered": _share(covered, what) for what in ("lines", "branches")},
        "commit": en.value(run, "tested_commit", str),
        "date": str(rows["date"].iloc[0])[:10],
    }


def _share(rows: pd.DataFrame, what: str) -> Entry:
    """How much of all rooms was covered."""
    fields = (what, f"covered_{what}")
    every, seen = (rows[field].sum() if field in rows else 0 for field in fields)
    return en.over_rows(f"{seen / every:.1%}", rows, *fields) if every else Entry(en.ABSENT)


def finding(rows: pd.DataFrame) -> str:
    """Say what the last whole run tried and covered."""
    rows = rows[rows["date"] == rows["date"].max()]
    run, covered = bl.only(rows, part="run", name=RUN), rows[rows["part"] == "coverage"]
    if run is None:
        return ""
    return (
        f"{run['passed']:,.0f} tests passed and {run['failed']:,.0f} failed; they ran "
        f"{_share(covered, 'lines')} of the lines."
    )


TABLE = Table(
    name="trust",
    title="What was tried to break this, and what broke",
    question="What was tried to break this package?",
    named=False,
    labels={"part": "part", "name": "name"},
    columns=(
        Number("tests passed failed skipped cases *lines *branches"),
        Seconds("suite", verified=False),
        Name("tested_commit"),
        Sentence("found_by what guard"),
    ),
    headline="passed failed skipped cases suite_s covered_lines lines found_by what guard",
    page=page,
    finding=finding,
    made_by="make test-full",
    order=11,
)
