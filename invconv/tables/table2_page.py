"""The page of table 2, and what the README and the explorer show of its rows."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from invconv.data import DATASETS
from invconv.flows.published import FINC, WIDTH
from invconv.methods import methods
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.document import Document
from invconv.report.entries import Entry, Grid
from invconv.report.explorer.points import Figure, figure, method_points, published_points
from invconv.report.published import published
from invconv.report.ranking import data_title, ranking, verdicts
from invconv.rows import newest
from invconv.rows.columns import Seconds

RANKED = "embedded_long"
UNTRAINED = "paper_timing"
IMAGES = 100
"""How many of them the published times are for."""
METRICS = {"bpd": "bpd", "ft_s": "FT s,", "st_s": "ST s,"}
"""Published metric → its name on the page."""
DETAILS = ("histogram", "images", "round trip", "steps", "solver")
EMBEDDED = [name for name, data in DATASETS.items() if data.embedded]
PAPER = [name for name, data in DATASETS.items() if data.published]
LABELS = ["preset", "dataset", "method", "seed"]
SOME = [*Seconds("ft st st_published").patterns, "bpd", "timed_images"]
"""What cells that were not timed or not trained have no values for."""
TIMES = {
    "ft_s": "forward time FT",
    "st_s": "sampling time ST",
    "st_published_s": "sampling time, own algorithm",
    "train_step_s": "time of a training step",
}
"""Column → its title in the explorer."""


def swept() -> dict[str, str]:
    """Return the methods of the default sweeps and their titles."""
    return {name: method.title for name, method in methods().items() if method.swept}


def shown() -> dict[str, str]:
    """Return the same, and those inside the step of their own paper."""
    paper = {name: one.title for name, one in methods().items() if one.step == "paper"}
    return swept() | paper


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
    context = {
        "machines": [
            {
                "origin": bl.origin(block),
                "budgets": budgets(block),
                "table": quick_grid(block, shown()),
                "failures": bl.failures(block, _called),
                "lossy": bl.lossy(block, _called),
            }
            for _, block in embedded.groupby("machine")
        ],
        "empty": quick_grid(embedded, shown()) if embedded.empty else None,
        "origins": [bl.origin(block) for _, block in seeds.groupby("machine")],
        "ranking": None if seeds.empty else ranking(seeds),
        "verdicts": verdicts(seeds),
        "unranked": [data_title(name) for name in EMBEDDED if name not in set(seeds["dataset"])],
        "paper": _paper_grid(paper),
        "failures": bl.failures(paper, _called),
        "lossy": bl.lossy(paper, _called),
        "published": bl.published_notes(published("table2")),
        "memory": bl.memory(rows[rows["ft_s"].notna()]),
        "provenance": None if rows.empty else bl.provenance(rows),
    }
    return Document("table2", Path(__file__).with_name("table2.md.j2"), context)


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the newest row of each cell on each machine, data sets and methods in their order."""
    rows = newest(rows)
    rows = rows.reindex(columns=list(dict.fromkeys([*rows.columns, *LABELS, *SOME])))
    places = {name: i for i, name in enumerate([*EMBEDDED, *PAPER, *shown()])}

    def place(column: pd.Series) -> pd.Series:
        if column.name not in ("dataset", "method"):
            return column
        return column.map(lambda name: places.get(name, len(places)))

    return rows.sort_values([*LABELS, "machine"], key=place, ignore_index=True)


def quick(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the quick runs, with one seed."""
    return rows[~rows["preset"].isin([RANKED, UNTRAINED])]


def budgets(rows: pd.DataFrame) -> dict[str, list[dict[str, int]]]:
    """Return by data set the sizes of its models and of their training, as configured."""
    found: dict[str, list[dict[str, int]]] = {}
    for _, row in rows.iterrows():
        size, training = _size(row), json.loads(row["config"])["budget"]["training"]
        if size is not None and "batch_size" in training:
            known = dict(zip(("levels", "steps", "width"), size, strict=True))
            known |= {"training": training["steps"], "batch": training["batch_size"]}
            sizes = found.setdefault(data_title(row["dataset"]), [])
            sizes += [known] * (known not in sizes)
    return found


def quick_grid(rows: pd.DataFrame, expected: Mapping[str, str], brief: bool = False) -> Grid:
    """Return the table of the quick runs, a line for each missing cell of ``expected`` included.

    Args:
        rows: those of `quick` of one machine, `in_order`.
        expected: method → title.
        brief: whether to leave out what is not about speed and quality.
    """
    lines: list[dict[str, object]] = []
    for dataset in dict.fromkeys([*EMBEDDED, *rows["dataset"]]):
        for method in dict.fromkeys([*expected, *rows["method"]]):
            found = rows[(rows["dataset"] == dataset) & (rows["method"] == method)]
            name = bl.title(method)
            line: dict[str, object] = {"data": data_title(dataset), "method": name}
            lines += [line | _quick_line(name, row) for _, row in found.iterrows()]
            lines += [line | {"status": en.MISSING}] * found.empty
    if brief:
        well = all(line["status"] == "ok" for line in lines)
        hidden = [*DETAILS, *["status"] * well]
        lines = [{key: line[key] for key in line if key not in hidden} for line in lines]
    return Grid(lines)


def _quick_line(name: str, row: pd.Series) -> dict[str, object]:
    line: dict[str, object] = {"method": bl.named(name, row), "status": str(row["status"])}
    if row["status"] != "ok":
        return line
    solver = row.get("solver")
    return line | {
        "bpd": en.bits_with_interval(row),
        "histogram": en.value(row, "histogram_bpd", en.bits),
        "FT s": en.quartiles(row, "ft"),
        "ST s": bl.sampling_time(row),
        "ST/FT": en.quotient(row, "st_s", row, "ft_s"),
        "ST s, paper's algorithm": en.quartiles(row, "st_published"),
        "train step s": en.value(row, "train_step_s"),
        "memory MB": en.value(row, "train_step_extra_bytes", scale=1e-6),
        "A/A": en.value(row, "aa_spread", "{:.1%}".format),
        "images": en.value(row, "timed_images", en.whole),
        "round trip": en.value(row, "round_trip_error", lambda error: en.number(error, 2)),
        "stored": en.value(row, "parameters", en.whole),
        "free": en.value(row, "free_parameters", en.whole),
        "steps": str(json.loads(row["config"])["budget"]["training"]["steps"]),
        "solver": en.ABSENT if pd.isna(solver) else str(solver),
    }


def _paper_grid(rows: pd.DataFrame) -> Grid:
    """A line for every published model and every row on the paper's data sets."""
    figures = published("table2")
    models, expected = [*shown().values(), *figures["model"]], timed().values()
    titles = rows["method"].map(bl.title)
    lines = []
    for dataset in PAPER:
        for model in dict.fromkeys(models):
            stated = {
                metric: bl.published_entry(figures, model=model, dataset=dataset, metric=metric)
                for metric in METRICS
            }
            found = [
                row for _, row in rows[(rows["dataset"] == dataset) & (titles == model)].iterrows()
            ]
            known = any(entry.text != en.ABSENT for entry in stated.values())
            for row in found or [None] * (known or model in expected):
                lines.append({"data": data_title(dataset), **_paper_line(model, row, stated)})
    return Grid(lines)


def _paper_line(
    model: str, row: pd.Series | None, stated: Mapping[str, Entry]
) -> dict[str, object]:
    size = None if row is None else _size(row)
    line: dict[str, object] = {
        "model": model if row is None else bl.named(model, row),
        "L, K, width": en.ABSENT if size is None else ", ".join(map(str, size)),
    }
    measured = {
        "bpd": en.bits_with_interval(row),
        "ft_s": en.quartiles(row, "ft"),
        "st_s": bl.sampling_time(row),
    }
    for metric, title in METRICS.items():
        line[f"{title} published"] = stated[metric]
        line[f"{title} measured"] = measured[metric]
        line[f"{title} ratio"] = en.ABSENT
        if row is not None and size == (*FINC[row["dataset"]], WIDTH):
            ratio, timed = en.against(row, metric, stated[metric]), metric != "bpd"
            counted = [en.source(row, "timed_images")] * (timed and ratio.text != en.ABSENT)
            if not timed or row["timed_images"] == IMAGES:
                line[f"{title} ratio"] = ratio.saying(ratio.text, *counted)
    if row is None:
        return line
    return line | {
        "ST/FT": en.quotient(row, "st_s", row, "ft_s"),
        "ST s, paper's algorithm": en.quartiles(row, "st_published"),
        "A/A": en.value(row, "aa_spread", "{:.1%}".format),
        "images": en.value(row, "timed_images", en.whole),
        "stored": en.value(row, "parameters", en.whole),
        "free": en.value(row, "free_parameters", en.whole),
        "weights": "random" if pd.isna(row["bpd"]) else "trained",
        "device": bl.where(str(row["device"]), str(row["machine"])),
        "commit": str(row["commit"]),
    }


def _size(row: pd.Series) -> tuple[int, int, int] | None:
    """(L, K, width of the couplings) of a row's model, None where its configuration is silent."""
    budget = json.loads(row["config"]).get("budget", {})
    if not {"levels", "steps", "width"} <= set(budget):
        return None
    return budget["levels"], budget["steps"], budget["width"]


def _called(row: pd.Series) -> str:
    data = data_title(row["dataset"])
    return f"{bl.title(row['method'])} on {data} (`{row['cell']}`, {row['machine']})"


def explore(rows: pd.DataFrame) -> Iterator[Figure]:
    """Show bits per dimension and each time against the method, one figure for each data set."""
    names = list(shown().values())
    for data in rows["dataset"].unique():
        members = rows[rows["dataset"] == data]
        for column, title in {"bpd": "bits per dimension", **TIMES}.items():
            points = list(method_points(members, column, "method", ("preset", "seed")))
            if points:
                places = {name: name for name in names}
                points += published_points("table2", places, dataset=data, metric=column)
            unit = "bits per dimension" if column == "bpd" else "seconds"
            yield figure(f"{title}, {data}", "", unit, points, order=names, legend=False)
