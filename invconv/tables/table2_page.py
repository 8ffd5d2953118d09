"""The page of table 2, and what the README and the explorer show of its rows."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path

import pandas as pd

from invconv.data import DATASETS
from invconv.flows.published import FINC, WIDTH
from invconv.methods import methods
from invconv.report import Document, Entry, Grid, Line
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.entries import Measured
from invconv.report.grids import CELLS, cells, sections, swept
from invconv.report.published import published
from invconv.report.ranking import budget, called, data_title, ranking, verdicts
from invconv.rows import newest

RANKED = "embedded_long"
UNTRAINED = "paper_timing"
IMAGES = 100  # of the published times
METRICS = {"bpd": "bpd", "ft_s": "FT s,", "st_s": "ST s,"}
"""Published metric → its name on the page."""
DETAILS = ("histogram", "images", "round trip")
"""What the README does not show of a row."""
EMBEDDED = [name for name, data in DATASETS.items() if data.embedded]
PAPER = [name for name, data in DATASETS.items() if data.published]
NEEDED = ["preset", "dataset", "method", "seed", "config", "bpd", "ft_s", "st_s", "timed_images"]
"""Columns that no row may have: nothing was measured yet, trained or timed."""
TIMES = {
    "ft_s": "forward time FT",
    "st_s": "sampling time ST",
    "st_published_s": "sampling time, own algorithm",
    "train_step_s": "time of a training step",
}
"""Column → its title in the explorer."""


def shown() -> dict[str, str]:
    """Return the titles of `swept` and of the methods inside their own paper's step."""
    return swept() | {name: m.title for name, m in methods().items() if m.step == "paper"}


def timed() -> dict[str, str]:
    """Return the methods of the default sweeps of which the paper has figures."""
    known = set(published("table2")["model"])
    return {name: title for name, title in swept().items() if title in known}


def page(rows: pd.DataFrame) -> Document:
    """Make the page from the rows and the published figures."""
    rows = in_order(rows)
    of_paper = rows["dataset"].isin(PAPER)
    embedded, paper = quick(rows[~of_paper]), rows[of_paper]
    seeds = rows[(rows["preset"] == RANKED) & (rows["status"] == "ok")]
    blocks = [block for _, block in embedded.groupby("machine")]
    context = {
        "machines": sections(blocks, lambda block: quick_grid(block, shown()), _called),
        "budgets": [budgets(block) for block in blocks],
        "empty": quick_grid(embedded, shown()) if embedded.empty else None,
        "origins": [bl.origin(block) for _, block in seeds.groupby("machine")],
        "ranking": None if seeds.empty else Grid(ranking(seeds)),
        "verdicts": list(verdicts(seeds)),
        "unranked": [data_title(name) for name in EMBEDDED if name not in set(seeds["dataset"])],
        "paper": Grid(_paper_lines(paper)),
        "failures": bl.failures(paper, _called),
        "lossy": bl.lossy(paper, _called),
        "published": bl.published_notes(published("table2")),
        "memory": bl.memory(rows[rows["ft_s"].notna()]),
        "provenance": None if rows.empty else bl.provenance(rows),
    }
    return Document("table2", Path(__file__).with_name("table2.md.j2"), context)


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the newest row of each cell on each machine, data sets and methods in their order."""
    rows = newest(rows).reindex(columns=list(dict.fromkeys([*rows.columns, *NEEDED])))
    rows = rows.sort_values(["seed", "machine"])
    rows = bl.in_order(bl.in_order(rows, "method", shown()), "dataset", [*EMBEDDED, *PAPER])
    return rows.sort_values("preset", kind="stable", ignore_index=True)


def quick(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the quick runs, with one seed."""
    return rows[~rows["preset"].isin([RANKED, UNTRAINED])]


def budgets(rows: pd.DataFrame) -> dict[str, list[dict[str, int]]]:
    """Return by data set the sizes of its models and of their training, as configured."""
    found: dict[str, list[dict[str, int]]] = {}
    for _, row in rows.iterrows():
        size = budget(row)
        if size["batch"]:
            sizes = found.setdefault(data_title(row["dataset"]), [])
            sizes += [size] * (size not in sizes)
    return found


def quick_grid(rows: pd.DataFrame, expected: Iterable[str], brief: bool = False) -> Grid:
    """Return the table of the `quick` rows, a line for each missing one of ``expected`` included.

    ``brief`` leaves out what is not about speed and quality.
    """
    lines: list[dict[str, object]] = []
    data, names = ([*EMBEDDED, *rows["dataset"]], [*expected, *rows["method"]])
    for dataset, name in product(dict.fromkeys(data), dict.fromkeys(names)):
        found = rows[(rows["dataset"] == dataset) & (rows["method"] == name)]
        missing: dict[str, object] = {"method": bl.title(name), "status": en.MISSING}
        shown = [_quick_line(row, brief) for _, row in found.iterrows()] or [missing]
        lines += [{"data": data_title(dataset), **line} for line in shown]
    if brief and all(line["status"] == "ok" for line in lines):
        for line in lines:
            del line["status"]
    return Grid(lines)


def _quick_line(row: pd.Series, brief: bool) -> dict[str, object]:
    name = bl.named(bl.title(row["method"]), row)
    line: dict[str, object] = {"method": name, "status": str(row["status"])}
    if row["status"] != "ok":
        return line
    if brief:
        return line | cells(row, *(title for title in CELLS if title not in DETAILS))
    solver = en.ABSENT if pd.isna(row.get("solver")) else row["solver"]
    return line | cells(row, *CELLS) | {"steps": budget(row)["training"], "solver": solver}


def _paper_lines(rows: pd.DataFrame) -> Iterator[Line]:
    """A line for every published model and every row on the paper's data sets."""
    figures = published("table2")
    models = dict.fromkeys([*shown().values(), *figures["model"]])
    for dataset, model in product(PAPER, models):
        figure = partial(bl.published_entry, figures, model=model, dataset=dataset)
        stated = {metric: figure(metric=metric) for metric in METRICS}
        same = rows[(rows["dataset"] == dataset) & (rows["method"].map(bl.title) == model)]
        wanted = model in timed().values() or any(e.text != en.ABSENT for e in stated.values())
        for row in [row for _, row in same.iterrows()] or [None] * wanted:
            yield {"data": data_title(dataset), **_paper_line(model, row, stated)}


def _paper_line(model: str, row: Measured, stated: Mapping[str, Entry]) -> dict[str, object]:
    size = () if row is None else tuple(budget(row)[name] for name in ("levels", "steps", "width"))
    line: dict[str, object] = {
        "model": model if row is None else bl.named(model, row),
        "L, K, width": ", ".join(map(str, size)) or en.ABSENT,
    }
    for metric, title in METRICS.items():
        line[f"{title} published"] = stated[metric]
        line[f"{title} measured"] = CELLS[title.removesuffix(",")](row)
        line[f"{title} ratio"] = en.ABSENT
        if row is None or size != (*FINC[row["dataset"]], WIDTH):
            continue
        if metric == "bpd" or row["timed_images"] == IMAGES:
            more = [] if metric == "bpd" else ["timed_images"]
            line[f"{title} ratio"] = en.against(row, metric, stated[metric], *more)
    if row is None:
        return line
    line |= cells(row, "ST/FT", "ST s, paper's algorithm", "A/A", "images", "stored", "free")
    return line | {
        "weights": "random" if pd.isna(row["bpd"]) else "trained",
        "device": bl.where(str(row["device"]), str(row["machine"])),
        "commit": str(row["commit"]),
    }


def _called(row: pd.Series) -> str:
    return f"{called(row)} (`{row['cell']}`, {row['machine']})"
