"""What rows say in one sentence, and which rows a reader sees first."""

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

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
    kept = newest(rows)
    presets = kept["preset"].fillna("") if "preset" in kept else pd.Series("", kept.index)
    places = pd.DataFrame({"machine": kept["machine"], "preset": presets, "date": kept["date"]})
    places["ours"] = bl.labels(kept) == ""
    places["cell"] = block_of(kept["cell"]).where(kept["status"] == "ok")
    every = places.groupby("preset")["cell"].agg(lambda cells: set(cells.dropna()))

    def rank(group: pd.DataFrame) -> tuple[object, ...]:
        first, cells = group.iloc[0], set(group["cell"].dropna())
        complete = cells == every[first["preset"]]
        return first["preset"] == study, first["ours"], complete, len(cells), group["date"].max()

    groups = [group for _, group in places.groupby(["machine", "preset"])]
    complete = [rank(group) for group in groups]
    return kept.loc[groups[complete.index(max(complete))].index]


def extremes(rows: pd.DataFrame, ratios: Iterable[str], called: bl.Called) -> str:
    """Return the smallest and the largest of some ratios, "0.93 (FInC) to 2.4 (CInC)".

    Those of rows that are noisy, not ok or without valid samples do not count; "" without any.

    Args:
        ratios: patterns of columns, such as "st_*_vs_glow".
    """
    names = [str(name) for name in rows if any(fnmatchcase(str(name), one) for one in ratios)]
    found = [
        (float(row[name]), called(row))
        for _, row in rows.iterrows()
        for name in names
        if bl.sampling_ratio(row, name).sources
    ]
    return span(found)


def span(named: Iterable[tuple[float, str]], form: en.Form = lambda x: en.number(x, 2)) -> str:
    """Return the smallest and the largest of named values, "" without any.

    >>> from invconv.report.findings import span
    >>> span([(2.41, "CInC"), (0.931, "FInC")])
    '0.93 (FInC) to 2.4 (CInC)'
    """
    if not (found := sorted(named)):
        return ""
    return " to ".join(dict.fromkeys(f"{form(x)} ({who})" for x, who in (found[0], found[-1])))


def sentence(text: str, *ratios: str, called: bl.Called) -> Finding:
    """Return a `Finding` that fills each {} of ``text`` with the `extremes` of one pattern."""

    def finding(rows: pd.DataFrame) -> str:
        found = [extremes(rows, [pattern], called) for pattern in ratios]
        return text.format(*found) if all(found) else ""

    return finding


def silent(rows: pd.DataFrame) -> str:
    """Return "": a table that says nothing in one sentence."""
    return ""
