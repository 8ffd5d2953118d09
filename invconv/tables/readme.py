"""What the README shows of the newest rows: table 2, what the pages say, and two figures.

All of it is of one machine at a time, that of the newest rows, and nothing of contributed rows.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from invconv.files import write_text_atomically
from invconv.report import Document
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.grids import swept
from invconv.report.naming import called, data_title
from invconv.rows import newest
from invconv.tables import figure4, ranking_page
from invconv.tables import scaling_page as scaling
from invconv.tables import table2_page as table2


def write_readme(rows: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Update the README in place, atomically, from the rows of every table."""
    write_text_atomically(with_rows(path.read_text(encoding="utf-8"), rows), path)


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
    if len(full := shown[shown["preset"] == "full"]):
        shown = full
    embedded = _latest_machine(shown[~shown["dataset"].isin(table2.PAPER)])
    blocks = table2.timing_blocks(embedded)
    context = {
        "origin": bl.origin(pd.concat(blocks)) if blocks else None,
        "budgets": table2.budgets(embedded[embedded["bpd"].notna()]),
        "table": table2.brief_grid(embedded, swept()),
        "failures": bl.failures(embedded),
        "lossy": bl.lossy(embedded, called),
        "sampling": [_sampling(block) for block in blocks],
        "layer": _layer(ours["scaling"]),
        "studies": _studies(ours["ranking"]),
        "scaling": _picture(scaling.page, ours["scaling"]),
        "figure4": _picture(figure4.page, ours["figure4"], "size"),
    }
    return Document("README", Path(__file__).with_suffix(".md.j2"), context)


def _studies(rows: pd.DataFrame) -> list[object]:
    """What the ranking resolved, of each data set; nothing of quick runs."""
    if rows.empty:
        return []
    studies = ranking_page.page(rows).context["studies"]
    assert isinstance(studies, list)
    return [study for study in studies if study["first"]["preset"] == ranking_page.STUDY]


def _latest_machine(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the machine that measured last."""
    return rows[rows["machine"].isin(rows.sort_values("date", kind="stable")["machine"].tail(1))]


def _extremes(rows: pd.DataFrame, ratio: str) -> tuple[pd.Series, pd.Series] | None:
    """The rows with the smallest and the largest ratio, of those whose ratio is shown."""
    shown = [bool(bl.sampling_ratio(row, ratio).sources) for _, row in rows.iterrows()]
    found = rows[pd.Series(shown, index=rows.index, dtype=bool)]
    if found.empty:
        return None
    ordered = found.sort_values(ratio)
    return ordered.iloc[0], ordered.iloc[-1]


def _sampling(block: pd.DataFrame) -> dict[str, object]:
    """How long sampling takes, against the forward pass and by the papers' algorithms."""
    said: dict[str, object] = {"data": data_title(block["dataset"].iloc[0])}
    for name, ratio in (("ours", "st_vs_ft"), ("papers", "st_published_vs_st")):
        if found := _extremes(block, ratio):
            ends = [
                f"{bl.sampling_ratio(row, ratio)} ({bl.title(row['method'])})" for row in found
            ]
            said[name] = " to ".join(ends)
    return said


def _layer(rows: pd.DataFrame) -> dict[str, object] | None:
    """Our inverse of one layer against torch's forward."""
    rows = _latest_machine(newest(rows))
    found = _extremes(rows, scaling.FRESH)
    if found is None:
        return None
    of = "{:g} channels, {:g} images, n = {:g}, k = {:g}"
    named = ["channels", "batch", "n", "k"]
    ends = [f"{en.ratio(row, scaling.FRESH)} ({of.format(*row.reindex(named))})" for row in found]
    return {"ratios": " to ".join(ends), "points": len(rows), "device": rows["device"].iloc[0]}


def _picture(make: Callable[[pd.DataFrame], Document], rows: pd.DataFrame, *apart: str) -> str:
    """The picture of the block that the latest machine measured last; "" if there is none."""
    rows = _latest_machine(rows)
    dates = [block["date"].max() for block in bl.blocks(rows, *apart)]
    pictures = dict(zip(make(rows).pictures, dates, strict=True))
    return max(pictures, key=lambda name: pictures[name], default="")
