"""The page `results/table1.md`: the published complexities beside what the modules really do."""

import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks
from invconv.report.names import LAYERS
from invconv.report.published import published
from invconv.rows import newest

FORMULAS: dict[str, Callable[[float, float, float], float]] = {
    "(2n−1)k²": lambda c, n, k: (2 * n - 1) * k**2,
    "cn²": lambda c, n, k: c * n**2,
    "4nk²": lambda c, n, k: 4 * n * k**2,
    "2n²k²": lambda c, n, k: 2 * n**2 * k**2,
    "n²k²": lambda c, n, k: n**2 * k**2,
    "3n": lambda c, n, k: 3 * n,
    "k²": lambda c, n, k: k**2,
    "k²−1": lambda c, n, k: k**2 - 1,
    "k²/3": lambda c, n, k: k**2 / 3,
    "k(⌈k/2⌉−1)": lambda c, n, k: k * (math.ceil(k / 2) - 1),
}
"""The table's formulas in channels, image size and kernel size."""

TOPICS = {
    "operations": (
        "The inverse",
        "Dependent steps: how many steps of our inverse have to follow one another. "
        "Multiply-adds: of the inverse of one image in eval mode, with what sampling keeps "
        "already computed, borders counted full.",
        {"dependent steps": "dependent_steps", "multiply-adds": "inverse_operations"},
    ),
    "parameters": (
        "Parameters of one layer",
        "Stored: the numbers that the module keeps. Free: those on which z or log_det depends, "
        "counted by gradients.",
        {"stored": "stored", "free": "free"},
    ),
    "log_det": (
        "The cost of log_det",
        "Counted: multiply-adds and other elementwise steps that log_det adds to the forward pass "
        "of one image in training.",
        {"counted": "log_det_operations"},
    ),
    "inverse": (
        "Exactness",
        "Declared: whether the layer's inverse is exact up to rounding. Round trip: its relative "
        "error in float64; a row whose exact inverse misses by more than 1e-10 is refused.",
        {"declared": "exact", "round trip": "round_trip_error"},
    ),
}
"""Published metric → title, what was counted, and the columns that show it."""


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/table1.md`` from the rows and returns its path."""
    return pages.write("table1", lambda: page(rows), results)


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows and the published table."""
    parts = [
        "# Table 1: complexity, published and counted",
        "Made by `python reproductions/table1.py -m`; do not edit. Rows: "
        "[data/table1.csv](data/table1.csv). Most published formulas drop the channels C: their "
        "values are no counts, and stand beside the counts to show how far apart they are. "
        "n: image size, k: kernel size, c: channels, d: rank.",
    ]
    for (label, channels, n, k), group in _sizes(rows):
        by = f"{label}: " if label else ""
        parts.append(f"## {by}C = {channels}, n = {n}, k = {k}")
        for metric, (title, text, columns) in TOPICS.items():
            parts += [f"### {title}", text, _table(group, metric, columns, (channels, n, k))]
    if rows.empty:
        parts.append("missing: no rows yet.")
    parts += [
        "## Where the count differs from the published formula, and why",
        *_notes(),
        *remarks.footnotes(newest(rows)),
    ]
    if not rows.empty:
        commits = ", ".join(sorted(set(newest(rows)["commit"].astype(str))))
        parts.append(f"Counted at commit {commits}.")
    return "\n\n".join(parts) + "\n"


def _sizes(rows: pd.DataFrame) -> list[tuple[tuple[str, int, int, int], pd.DataFrame]]:
    """The newest counts by contributor and size; of ours the machine does not matter."""
    if rows.empty:
        return []
    size = ["channels", "n", "k"]
    kept = newest(rows)
    kept = kept.assign(_label=pages.labels(kept))
    kept = newest(kept, ("method", "_label", *size))
    return [
        ((group["_label"].iloc[0], *map(int, group[size].iloc[0])), group)
        for _, group in kept.groupby(["_label", *size])
    ]


def _table(
    rows: pd.DataFrame, metric: str, columns: dict[str, str], size: tuple[int, int, int]
) -> str:
    figures = published("table1")
    chosen = figures[figures["metric"] == metric]
    theirs = dict(zip(chosen["model"].astype(str), chosen["value"].astype(str), strict=True))
    found = {str(row["method"]): row for _, row in rows.iterrows()}
    lines, seen = [], set()
    for method in [*LAYERS, *(name for name in found if name not in LAYERS)]:
        name = LAYERS.get(method, method)
        model = name.partition(" (")[0]
        seen.add(model)
        line = {"method": name, **_published_cells(theirs.get(model), size)}
        row = found.get(method)
        for title, column in columns.items():
            line[title] = md.value(row, column, _count)
        lines.append(line)
    for model, value in theirs.items():
        if model not in seen:
            line = {"method": model, **_published_cells(value, size)}
            lines.append(line | dict.fromkeys(columns, "published only"))
    if all(line["its value"] == md.ABSENT for line in lines):
        for line in lines:
            del line["its value"]
    return md.table(lines)


def _published_cells(value: str | None, size: tuple[int, int, int]) -> dict[str, str]:
    formula = FORMULAS.get(value or "")
    if value is None:
        return {"published": md.ABSENT, "its value": md.ABSENT}
    source = md.Source(published=f"{published('table1')['source'].iloc[0]} [V]")
    worth = md.Cell(_count(formula(*size)), source) if formula else md.ABSENT
    return {"published": md.Cell(value, source), "its value": worth}


def _count(value: object) -> str:
    if isinstance(value, str):
        return value
    number = float(value)  # type: ignore[arg-type]
    if math.isnan(number):
        return md.ABSENT
    return f"{number:,.0f}" if number >= 1 or number == 0 else md.number(number, 2)


def _notes() -> list[str]:
    figures = published("table1")
    noted = figures[figures["note"] != ""]
    lines = [
        f"- {row.model}, {row.metric}, {row.value}: {row.note}." for row in noted.itertuples()
    ]
    sources = ", ".join(dict.fromkeys(figures["source"]))
    return ["\n".join(lines), f"Source of the published column: {sources} (label V)."]
