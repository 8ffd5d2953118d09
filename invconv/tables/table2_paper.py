"""What table 2 shows of the paper's data sets: published beside measured."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import product

import pandas as pd

from invconv.report import Entry, Line
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.grids import CELLS, cells
from invconv.report.naming import budget, data_title
from invconv.report.published import published

METRICS = {"bpd": "bpd", "ft_s": "FT s,", "st_s": "ST s,"}
"""Published metric → its name on the page."""
NET = ", own net"
"""How the title of a paper's whole net ends, which is measured beside its published figures."""


def paper_lines(
    rows: pd.DataFrame, titles: Iterable[str], datasets: Iterable[str]
) -> Iterator[Line]:
    """Yield a line for every published model and every row on the paper's data sets.

    Args:
        rows: those on them.
        titles: of the methods, in order.
        datasets: in order.
    """
    figures = published("table2")
    models = [m for m in dict.fromkeys([*titles, *figures["model"]]) if not m.endswith(NET)]
    of_rows = rows["method"].map(lambda name: str(bl.title(name)).removesuffix(NET))
    for dataset, model in product(datasets, models):
        figure = partial(bl.published_entry, figures, model=model, dataset=dataset)
        stated = {metric: figure(metric=metric) for metric in METRICS}
        same = rows[(rows["dataset"] == dataset) & (of_rows == model)]
        if same.empty and any(e.text != en.ABSENT for e in stated.values()):
            yield {"data": data_title(dataset), **_line(model, stated)}
        for _, row in same.iterrows():
            yield {"data": data_title(dataset), **_line(model, stated, row)}


def _line(
    model: str, stated: Mapping[str, Entry], row: pd.Series | None = None
) -> dict[str, object]:
    title = model if row is None else bl.title(row["method"])
    size: list[int] = []
    if row is not None and not title.endswith(NET):
        size = [budget(row)[name] for name in ("levels", "steps", "width")]
    line: dict[str, object] = {
        "model": title if row is None else bl.named(title, row),
        "L, K, width": ", ".join(map(str, size)) or en.ABSENT,
    }
    for metric, name in METRICS.items():
        line[f"{name} published"] = stated[metric]
        line[f"{name} measured"] = CELLS[name.removesuffix(",")](row)
    if row is None:
        return line
    line |= cells(row, "ST ÷ FT", "paper's ST ÷ ST", "images", "stored", "free")
    return line | {
        "weights": "random" if "/" in str(row["cell"]) else "trained",
        "device": bl.where(str(row["device"]), str(row["machine"])),
        "commit": str(row["commit"]),
    }
