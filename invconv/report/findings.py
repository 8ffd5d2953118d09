"""What rows say in one sentence, and which rows a reader sees first."""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from functools import partial

import pandas as pd

from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.rows import block_of, newest

Finding = Callable[[pd.DataFrame], str]
"""One sentence made from the rows of one machine and preset; "" where they do not carry it."""


def latest(rows: pd.DataFrame, study: str = "") -> pd.DataFrame:
    """Return the newest rows of one machine and preset: its newest complete measurement.

    A measurement is complete if each cell of the preset that is ok on any machine is ok on this
    one. The preset ``study`` precedes all others, and contributed rows come last.
    """
    if rows.empty:
        return rows
    current = newest(rows)
    presets = current["preset"].fillna("") if "preset" in current else pd.Series("", current.index)
    places = pd.DataFrame(
        {"machine": current["machine"], "preset": presets, "date": current["date"]}
    )
    places["ours"] = bl.labels(current) == ""
    places["cell"] = block_of(current["cell"]).where(current["status"] == "ok")
    presets_cells = places.groupby("preset")["cell"]
    cells_of = {preset: set(cells.dropna()) for preset, cells in presets_cells}

    def rank(group: pd.DataFrame) -> tuple[bool, bool, bool, int, str]:
        first, cells = group.iloc[0], set(group["cell"].dropna())
        complete = cells == cells_of[first["preset"]]
        measured = 0 if complete else len(cells)
        return first["preset"] == study, first["ours"], complete, measured, group["date"].max()

    groups = [group for _, group in places.groupby(["machine", "preset"])]
    return current.loc[max(groups, key=rank).index]


def extremes(rows: pd.DataFrame, ratios: Iterable[str], called: bl.Called) -> str:
    """Return the smallest and the largest of some ratios, "0.93 (FInC) to 2.4 (CInC)".

    Those of rows that are noisy, not ok or without valid samples do not count; "" without any.

    Args:
        ratios: patterns of columns, such as "st_*_vs_glow".
    """
    names = [str(name) for name in rows if any(fnmatchcase(str(name), one) for one in ratios)]
    named_ratios = [
        (float(row[name]), called(row))
        for _, row in rows.iterrows()
        for name in names
        if bl.sampling_ratio(row, name).sources
    ]
    return span(named_ratios)


def span(named: Iterable[tuple[float, str]], form: en.Form | None = None) -> str:
    """Return the smallest and the largest of named values, "" without any.

    Without a ``form`` they have two significant digits, or three where two are the same.

    >>> from invconv.report.findings import span
    >>> span([(2.41, "CInC"), (0.931, "FInC")]), span([(10.3, "MaCow"), (10.1, "MaCow-FG")])
    ('0.93 (FInC) to 2.4 (CInC)', '10.1 (MaCow-FG) to 10.3 (MaCow)')
    """
    if not (ordered := sorted(named)):
        return ""
    if form is None:
        digits = 2 + (en.number(ordered[0][0], 2) == en.number(ordered[-1][0], 2))
        form = partial(en.number, digits=digits if len(ordered) > 1 else 2)
    ends = [f"{form(value)} ({name})" for value, name in (ordered[0], ordered[-1])]
    return " to ".join(dict.fromkeys(ends))


def sentence(text: str, *ratios: str, called: bl.Called) -> Finding:
    """Return a `Finding` that fills each {} of ``text`` with the `extremes` of one pattern."""

    def finding(rows: pd.DataFrame) -> str:
        spans = [extremes(rows, [pattern], called) for pattern in ratios]
        return text.format(*spans) if all(spans) else ""

    return finding


def silent(rows: pd.DataFrame) -> str:
    """Return "": a table that says nothing in one sentence."""
    return ""
