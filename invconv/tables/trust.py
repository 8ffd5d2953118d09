"""What the tests tried and covered; ``tests/trust.py`` makes the rows of their reports."""

from pathlib import Path

import pandas as pd

from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.document import Document
from invconv.report.entries import Entry, Grid
from invconv.rows.columns import Name, Number, Seconds, Sentence
from invconv.tables.table import Table

RUN = "full"
"""The run of all tests."""


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    blocks = [] if rows.empty else [_newest(group) for _, group in rows.groupby("machine")]
    latest = max(blocks, key=lambda block: str(block["date"].iloc[0]), default=rows)
    findings = latest[latest["part"] == "finding"] if len(latest) else latest
    return Document(
        "trust",
        Path(__file__).with_suffix(".md.j2"),
        {
            "runs": Grid([_line(block) for block in blocks]) if blocks else None,
            "origins": [bl.origin(block) for block in blocks],
            "findings": len(findings),
            "guarded": int((findings["status"] == "ok").sum()),
            "failures": [line for block in blocks for line in bl.failures(block)],
        },
    )


def _newest(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a machine's last whole run."""
    return rows[rows["date"] == rows["date"].max()]


def _line(rows: pd.DataFrame) -> dict[str, str | Entry]:
    run, covered = bl.only(rows, part="run", name=RUN), rows[rows["part"] == "coverage"]
    counts = {name: en.value(run, name, en.whole) for name in ("passed", "failed", "skipped")}
    return {
        "machine": str(rows["machine"].iloc[0]),
        **counts,
        "cases": en.value(run, "cases", en.whole),
        "minutes": en.value(run, "suite_s", "{:.1f}".format, 1 / 60),
        "lines covered": _share(covered, "lines"),
        "branches covered": _share(covered, "branches"),
        "commit": en.value(run, "tested_commit", str),
        "date": str(rows["date"].iloc[0])[:10],
    }


def _share(rows: pd.DataFrame, what: str) -> Entry:
    """How much of all rooms was covered."""
    fields = (what, f"covered_{what}")
    if not set(fields) <= set(rows):
        return Entry(en.ABSENT)
    every, seen = (rows[field].sum() for field in fields)
    return en.over_rows(f"{seen / every:.1%}", rows, *fields) if every else Entry(en.ABSENT)


TABLE = Table(
    name="trust",
    title="What was tried to break this, and what broke",
    named=False,
    labels={"part": "part", "name": "name"},
    columns=(
        Number("tests passed failed skipped cases *lines *branches"),
        Seconds("suite", verified=False),
        Name("tested_commit"),
        Sentence("found_by what guard"),
    ),
    page=page,
    order=11,
)
