"""What the README shows of the newest rows: table 2, what the pages say, and two figures.

All of it is of one machine at a time, that of the newest rows, and nothing of contributed rows.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from invconv.files import write_text_atomically
from invconv.numerical import TRUSTED
from invconv.report import Document
from invconv.report import blocks as bl
from invconv.report.grids import swept
from invconv.report.published import published
from invconv.report.ranking import called, data_title, verdicts
from invconv.rows import newest
from invconv.tables import figure4, scaling
from invconv.tables import table2_page as table2

LAYER = {"channels": 12, "batch": 100}
"""Of the layer that the README has a sentence about."""


def write_readme(rows: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Update the README in place, atomically, from the rows of every table."""
    write_text_atomically(with_rows(path.read_text(), rows), path)


def with_rows(readme: str, rows: Mapping[str, pd.DataFrame]) -> str:
    """Return ``readme`` with what is between its markers made again from the rows."""
    document = page(rows)
    for name in ("table2", "figures"):
        begin = f"<!-- {name}: python -m invconv report --readme -->"
        end = f"<!-- end of {name} -->"
        before, opened, rest = readme.partition(begin)
        _, closed, after = rest.partition(end)
        if not (opened and closed):
            raise ValueError(f"the README must hold the markers {begin!r} and {end!r}")
        readme = f"{before}{begin}\n\n{document.block(name)}\n\n{end}{after}"
    return readme


def page(rows: Mapping[str, pd.DataFrame]) -> Document:
    """Make the two blocks, ``table2`` and ``figures``, from the rows of every table."""
    ours = {table: frame[bl.labels(frame) == ""] for table, frame in rows.items()}
    shown = table2.in_order(ours["table2"])
    shown = shown[shown["method"].isin(swept())]
    embedded = _latest_machine(table2.quick(shown[~shown["dataset"].isin(table2.PAPER)]))
    context = {
        "origin": None if embedded.empty else bl.origin(embedded),
        "budgets": table2.budgets(embedded),
        "table": table2.quick_grid(embedded, swept(), brief=True),
        "failures": bl.failures(embedded),
        "lossy": bl.lossy(embedded, called),
        "sampling": _sampling(shown),
        "layer": _layer(ours["scaling"]),
        "verdicts": list(verdicts(shown[shown["preset"] == table2.RANKED])),
        "scaling": _picture(scaling.page, ours["scaling"], "point"),
        "figure4": _picture(figure4.page, ours["figure4"], "method", "size"),
    }
    return Document("README", Path(__file__).with_suffix(".md.j2"), context)


def _latest_machine(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the machine that measured last."""
    return rows[rows["machine"].isin(rows.sort_values("date", kind="stable")["machine"].tail(1))]


def _sampling(rows: pd.DataFrame) -> dict[str, object] | None:
    """ST ÷ FT of table 2, published and measured at the same sizes."""
    figures = published("table2").set_index(["model", "dataset", "metric"])["value"]
    times = figures.astype(float).unstack()
    stated = (times["st_s"] / times["ft_s"]).dropna()
    timed = (rows["status"] == "ok") & rows["st_s"].notna()
    same = rows[timed & (rows["preset"] == table2.UNTRAINED)]
    same = same.set_index([same["method"].map(bl.title), "dataset"])
    same = _latest_machine(same[same.index.isin(stated.index)])
    if same.empty:
        return None
    stated = stated[stated.index.isin(same.index)].sort_values()
    model, dataset = stated.index.to_list()[-1]
    inverts = same["round_trip_error"] <= TRUSTED
    ratios = (same["st_s"] / same["ft_s"])[inverts]
    return {
        "published": stated.max(),
        "model": model,
        "data": data_title(dataset),
        "device": same["device"].iloc[0],
        "ratios": (ratios.min(), ratios.max()),
        "lost": list(dict.fromkeys(f"{m} on {data_title(d)}" for m, d in same[~inverts].index)),
    }


def _layer(rows: pd.DataFrame) -> dict[str, object] | None:
    """Our inverse of one layer against torch's forward."""
    rows = newest(rows).reindex(columns=list(dict.fromkeys([*rows.columns, *LAYER])))
    same = (rows[list(LAYER)] == pd.Series(LAYER)).all(axis=1)
    rows = _latest_machine(rows[same & (rows["status"] == "ok")])
    if rows.empty:
        return None
    sizes = [f"{name} {rows[name].min():g} to {rows[name].max():g}" for name in "nk"]
    ratios, device = rows["fresh_s"] / rows["torch_forward_s"], rows["device"].iloc[0]
    return {**LAYER, "sizes": sizes, "ratios": (ratios.min(), ratios.max()), "device": device}


def _picture(make: Callable[[pd.DataFrame], Document], rows: pd.DataFrame, *apart: str) -> str:
    """The picture of the block that the latest machine measured last; "" if there is none."""
    rows = _latest_machine(rows)
    dates = [block["date"].max() for block in bl.blocks(rows, *apart)]
    pictures = dict(zip(make(rows).pictures, dates, strict=True))
    return max(pictures, key=lambda name: pictures[name], default="")
