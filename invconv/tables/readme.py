"""What the README shows of the newest rows: a picture, what was found, the methods, table 2.

All of it is of one machine at a time, that of the newest rows, and nothing of contributed rows.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from invconv.files import write_text_atomically
from invconv.methods import Method, methods
from invconv.numerical import TRUSTED
from invconv.report import Document, Entry, Grid
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.grids import swept
from invconv.report.naming import called, data_title
from invconv.rows import newest
from invconv.tables import depth_page, ranking_page, relative, released
from invconv.tables import scaling_page as scaling
from invconv.tables import table2_page as table2

BLOCKS = ("picture", "findings", "methods", "table2")
COUNTED = {"channels": 12, "n": 32}
"""The size at which dependent steps are shown."""


def write_readme(rows: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Update the README in place, atomically, from the rows of every table."""
    write_text_atomically(with_rows(path.read_text(encoding="utf-8"), rows), path)


def with_rows(readme: str, rows: Mapping[str, pd.DataFrame]) -> str:
    """Return ``readme`` with what is between its markers made again from the rows."""
    document = page(rows)
    for name in BLOCKS:
        begin = f"<!-- {name}: python -m invconv report --readme -->"
        end = f"<!-- end of {name} -->"
        before, opened, rest = readme.partition(begin)
        _, closed, after = rest.partition(end)
        if not (opened and closed):
            raise ValueError(f"the README must hold the markers {begin!r} and {end!r}")
        readme = f"{before}{begin}\n\n{document.block(name)}\n\n{end}{after}"
    return readme


def page(rows: Mapping[str, pd.DataFrame]) -> Document:
    """Make the `BLOCKS` from the rows of every table."""
    ours = {table: frame[bl.labels(frame) == ""] for table, frame in rows.items()}
    shown = _latest_machine(table2.in_order(ours["table2"]))
    timed = table2.featured(shown)
    embedded = shown[shown["method"].isin(swept()) & ~shown["dataset"].isin(table2.PAPER)]
    data = (timed if len(timed) else embedded)["dataset"].tail(1)
    one = embedded[embedded["dataset"].isin(data)]
    named = {*(timed if len(timed) else one)["method"]}  # what is trained alone has no times
    compared = relative.compared(timed)
    context = {
        "data": data_title(timed["dataset"].iloc[0]) if len(timed) else "",
        "first": timed.iloc[0] if len(timed) else None,
        "origin": bl.origin(timed) if len(timed) else None,
        "picture": relative.finding(compared) if len(compared) else "",
        "figure": table2.PICTURE,
        "sampling": _sampling(compared),
        "layer": _layer(ours["scaling"]),
        "authors": _authors(ours["released"]),
        "float32": _float32(ours["depth"]),
        "studies": _studies(ours["ranking"]),
        "methods": _methods(ours["table1"]),
        "table": table2.brief_grid(one[one["method"].isin(named)], swept()),
        "unmeasured": [title for name, title in swept().items() if name not in named],
        "failures": bl.failures(one),
        "lossy": bl.lossy(one, called),
    }
    return Document("README", Path(__file__).with_suffix(".md.j2"), context)


def _latest_machine(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the machine that measured last."""
    return rows[rows["machine"].isin(rows.sort_values("date", kind="stable")["machine"].tail(1))]


def _ends(rows: pd.DataFrame, ratio: str) -> str:
    """The smallest and the largest ratio of methods, with their intervals."""
    ordered = rows.sort_values(ratio).iloc[[0, -1]] if len(rows) > 1 else rows
    named = [
        f"{en.ratio(row, ratio)} ({bl.title(row['method'])})" for _, row in ordered.iterrows()
    ]
    return " to ".join(named)


def _sampling(rows: pd.DataFrame) -> dict[str, str] | None:
    """How long sampling takes relative to Glow, by our inverses and by the papers' algorithms."""
    if rows.empty:
        return None
    most, apart = relative.split(rows)
    papers = rows[rows[relative.PAPERS].notna()] if relative.PAPERS in rows else rows[:0]
    return {
        "ours": _ends(most, relative.OURS),
        "apart": _ends(apart, relative.OURS),
        "papers": _ends(papers, relative.PAPERS),
    }


def _layer(rows: pd.DataFrame) -> dict[str, object] | None:
    """Our inverse of one layer against torch's forward."""
    rows = _with_ratio(rows, scaling.FRESH)
    if rows.empty:
        return None
    called = "{channels:g} channels, batch {batch:g}, n = {n:g}, k = {k:g}"
    faster = (rows[f"{scaling.FRESH}_high"] < 1).all()
    ends = _two_ends(rows, scaling.FRESH, called)
    return {"ratios": ends, "points": len(rows), "faster": faster}


def _with_ratio(rows: pd.DataFrame, ratio: str) -> pd.DataFrame:
    """The newest rows of the machine that measured last that have a valid ``ratio``."""
    rows = _latest_machine(newest(rows))
    shown = [bool(en.ratio(row, ratio).sources) for _, row in rows.iterrows()]
    return rows[pd.Series(shown, index=rows.index, dtype=bool)]


def _two_ends(rows: pd.DataFrame, ratio: str, called: str) -> str:
    """The smallest and the largest ratio; ``called`` is a format of a row."""
    ends = rows.sort_values(ratio).iloc[[0, -1]]
    return " to ".join(
        f"{en.ratio(row, ratio)} ({called.format_map(row)})" for _, row in ends.iterrows()
    )


def _authors(rows: pd.DataFrame) -> dict[str, object] | None:
    """How much longer than ours the inverses of the authors' own code take."""
    rows = _with_ratio(rows, released.INVERSE)
    if rows.empty:
        return None
    called = "{released}, {channels:g} channels, n = {n:g}, batch {batch:g}"
    slower = int((rows[f"{released.INVERSE}_low"] > 1).sum())
    ends = _two_ends(rows, released.INVERSE, called)
    return {"ratios": ends, "slower": slower, "cells": len(rows)}


def _float32(rows: pd.DataFrame) -> dict[str, str] | None:
    """The published model that loses most in float32 as released, and what a bound leaves."""
    rows = _latest_machine(newest(rows))
    if rows.empty or "images_float32_0" not in rows:
        return None
    rows = rows[(rows["status"] == "ok") & (rows["part"] == "published")]
    variant = rows["variant"].fillna("")
    released = rows[variant == ""].sort_values("images_float32_0")
    if released.empty or not released["images_float32_0"].iloc[-1] > TRUSTED:
        return None
    worst = released.iloc[-1]
    same = rows[(rows["dataset"] == worst["dataset"]) & (variant == "_bounded")]
    bounded = bl.only(same, method=worst["method"])
    named = bl.title(worst["method"]), data_title(worst["dataset"])
    return {
        "model": "{} at its published size for {}".format(*named),
        "released": depth_page.error(worst["images_float32_0"]),
        "bounded": "" if bounded is None else depth_page.error(bounded["images_float32_0"]),
    }


def _studies(rows: pd.DataFrame) -> list[object]:
    """What the ranking resolved, of each data set; nothing of quick runs."""
    if rows.empty:
        return []
    studies = ranking_page.page(rows).context["studies"]
    assert isinstance(studies, list)
    return [study for study in studies if study["first"]["preset"] == ranking_page.STUDY]


def _methods(rows: pd.DataFrame) -> Grid:
    """A line for each method of the default sweeps: its paper, and what its inverse needs."""
    rows = newest(rows)
    for label, size in COUNTED.items() if len(rows) else ():
        rows = rows[rows[label] == size]
    words = {"exact": "exact", "approx": "to a tolerance"}
    lines = []
    for name in swept():
        one, row = methods()[name], bl.only(rows, method=name)
        lines.append(
            {
                "method": one.title,
                "name": f"`{one.name}`",
                "paper": _paper(one),
                "dependent steps": en.value(row, "dependent_steps", en.whole),
                "inverse": en.value(row, "exact", lambda declared: words[str(declared)]),
                "as released": _released(one),
            }
        )
    return Grid(lines)


def _paper(one: Method) -> Entry:
    """The authors and the year, with a link where the paper is on arXiv."""
    authors = one.paper.partition(', "')[0]
    text = f"{authors} {one.year}"
    number = re.search(r"arXiv (\d+\.\d+)", one.paper)
    linked = f"[{text}](https://arxiv.org/abs/{number[1]})" if number else text
    return Entry(linked, (en.Source(published=one.paper),))


def _released(one: Method) -> Entry:
    """How far the layer agrees with the authors' code, with a link to it."""
    place, _, commit = one.released.partition("@")
    if not place:
        return Entry(en.ABSENT)
    linked = f"[{one.agrees}](https://{place}/tree/{commit})"
    return Entry(linked, (en.Source(published=one.released),))
