"""The page `results/table2.md`: bits per dimension, forward and sampling time."""

import json
from collections.abc import Set
from pathlib import Path

import pandas as pd

from invconv.bench import newest
from invconv.report import markdown as md
from invconv.report import pages
from invconv.report.names import EMBEDDED, METHODS
from invconv.report.published import published
from invconv.report.ranked import seeds_section

PAPER = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "imagenet32": "ImageNet-32",
    "imagenet64": "ImageNet-64",
}
METRICS = {"bpd": "bpd", "ft_s": "FT s,", "st_s": "ST s,"}
RANKED = "embedded_long"
UNTRAINED = "paper_timing"
DETAILS = ("histogram", "images", "round trip", "steps", "solver")
TIMES = [f"{name}{part}_s" for name in ("ft", "st") for part in ("", "_q25", "_q75")]
TIMES += ["train_step_s", "aa_spread", "timed_images", "bpd", "bpd_interval", "histogram_bpd"]
TIMES += ["st_published_s", "train_step_extra_bytes", "free_parameters"]
"""What a cell that was not timed or not trained, or an older one, has no values for."""


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/table2.md`` from the rows and returns its path."""
    return pages.write("table2", lambda: page(rows), results)


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows and the published figures."""
    rows = in_order(rows)
    parts = [
        "# Table 2: bits per dimension, forward time and sampling time",
        "Made by `python reproductions/table2.py -m`; do not edit. Rows: "
        "[data/table2.csv](data/table2.csv). bpd: bits per dimension on the held-out test split, "
        "uniform dequantisation unless the name says otherwise, one noise draw. FT, ST: seconds "
        "for one forward pass (log-probability) and one sampling pass of the whole model over as "
        "many images as the column says, median [quartiles], interleaved, after warm-up, "
        "synchronised on a GPU. bpd ±: half of the 95 % interval over the test images. A ratio "
        "is bold where it is above 1 by more than A/A (by how much the same forward pass, timed "
        "twice in the same block, differs from itself), the quartiles do not overlap and nothing "
        "in it was timed only once. × Glow compares rows that were timed at different times and "
        "is never bold, nor is bpd of one seed. × own algorithm compares two blocks of one row; "
        "at the published sizes the own algorithm ran once.",
        "## Embedded data, a few minutes on a CPU",
        "One seed and a few hundred steps: **bpd not for ranking**. The paper has no figures for "
        "these data. Histogram: the bpd of one histogram per pixel, a model without any "
        "dependence between pixels. × Glow: Glow's ST ÷ ST. × own algorithm: ST with the "
        "inverse of the method's own paper ÷ ST. Train step: forward and backward of the same "
        "images; memory: what it needs at its peak above what is held anyway. Stored: all "
        "parameters; free: without what the convolutions mask away. FT and ST of one row share a "
        "block; the rows are timed minutes apart, on a machine that drifts by more than A/A "
        "shows, so that small differences between rows are none.",
        quick_table(rows),
        *notes(rows[~rows["dataset"].isin(PAPER)]),
        "## Embedded data, several seeds and thousands of steps",
        *seeds_section(rows[rows["preset"] == RANKED]),
        "## The paper's data sets: published | measured",
        "Published FT and ST are seconds for 100 images on the authors' GPU; hardware not stated. "
        "A ratio is measured ÷ published; across different machines it compares machines as much "
        "as methods. Random weights: as initialised, timed at the published size without training "
        "(`preset=paper_timing`).",
        paper_table(rows),
        *notes(rows[rows["dataset"].isin(PAPER)]),
        *pages.published_notes(published("table2")),
        "## Where each row comes from",
        *pages.memory_note(rows[rows["ft_s"].notna()]),
        pages.provenance_table(rows),
    ]
    return "\n\n".join(parts) + "\n"


def notes(rows: pd.DataFrame) -> list[str]:
    """What is to be said of cells that are not ok, and of samples that are not exact."""
    return [*pages.footnotes(rows), *pages.lossy_notes(rows)]


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The newest row of each cell on each machine, data sets and methods in their order."""
    if rows.empty:
        names = [*rows.columns, "preset", "dataset", "method", "seed", *TIMES]
        return rows.reindex(columns=list(dict.fromkeys(names)))
    kept = newest(rows)
    kept = kept.reindex(columns=list(dict.fromkeys([*kept.columns, *TIMES])))
    order = {name: i for i, name in enumerate([*EMBEDDED, *PAPER, *METHODS])}
    places = kept[["dataset", "method"]].map(lambda name: order.get(name, len(order)))
    kept = kept.assign(_d=places["dataset"], _m=places["method"])
    kept = kept.sort_values(["preset", "_d", "_m", "seed", "machine"], kind="stable")
    return kept.drop(columns=["_d", "_m"]).reset_index(drop=True)


def quick(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the quick runs, with one seed."""
    return rows[~rows["preset"].isin([RANKED, UNTRAINED])]


def quick_table(
    rows: pd.DataFrame, expected: dict[str, str] = METHODS, brief: bool = False
) -> str:
    """The table of the quick runs, with a line for every cell of ``expected`` that is missing.

    Args:
        rows: `in_order`.
        expected: method → name.
        brief: whether to leave out what is not about speed and quality.
    """
    rows = quick(rows)
    lines = []
    for dataset, title in _titles(rows["dataset"], EMBEDDED, set(PAPER)).items():
        for method, name in _titles(rows["method"], expected).items():
            here = _select(rows, dataset=dataset, method=method)
            if here.empty:
                lines.append({"data": title, "method": name, "status": md.MISSING})
            for _, row in here.iterrows():
                same = {key: row[key] for key in ("dataset", "machine", "preset", "seed")}
                glow = pages.only(rows, method="glow", **same)
                lines.append(_quick_line(title, name, row, glow))
    if brief:
        for line in lines:
            for column in DETAILS:
                line.pop(column, None)
    return md.table(lines)


def _titles(
    names: pd.Series, known: dict[str, str], apart: Set[str] = frozenset()
) -> dict[str, str]:
    """What is ``known``, and behind it whatever else occurs in the rows."""
    return known | {name: name for name in names if name not in known and name not in apart}


def _quick_line(title: str, name: str, row: pd.Series, glow: pd.Series | None) -> dict[str, str]:
    line = {"data": title, "method": pages.named(name, row), "status": str(row["status"])}
    if row["status"] != "ok":
        return line | {"device": row["device"]}
    steps = json.loads(row["config"])["budget"]["training"]["steps"]
    other = None if glow is None or glow["cell"] == row["cell"] else glow
    return line | {
        "bpd": md.bits_with_interval(row),
        "histogram": md.value(row, "histogram_bpd", md.bits),
        "FT s": md.quartiles(row, "ft"),
        "ST s": md.quartiles(row, "st"),
        "ST/FT": md.quotient(row, "st_s", row, "ft_s"),
        "× Glow": md.quotient(other, "st_s", row, "st_s"),
        "× own algorithm": md.times_faster(row, "st_published_s", "st_s"),
        "train step s": md.value(row, "train_step_s"),
        "memory MB": md.value(row, "train_step_extra_bytes", scale=1e-6),
        "A/A": md.value(row, "aa_spread", "{:.1%}".format),
        "images": md.value(row, "timed_images", "{:.0f}".format),
        "round trip": md.value(row, "round_trip_error", lambda error: md.number(error, 2)),
        "stored": md.value(row, "parameters", "{:,.0f}".format),
        "free": md.value(row, "free_parameters", "{:,.0f}".format),
        "steps": str(steps),
        "solver": md.ABSENT if pd.isna(row.get("solver")) else row["solver"],
        "device": row["device"],
    }


def paper_table(rows: pd.DataFrame) -> str:
    """Published beside measured for every model and data set of the paper."""
    figures = published("table2")
    models = list(dict.fromkeys([*METHODS.values(), *figures["model"]]))
    lines = []
    for dataset, title in PAPER.items():
        for model in models:
            names = [method for method, name in METHODS.items() if name == model]
            measured = _select(
                rows, status="ok", dataset=dataset, method=names[0] if names else ""
            )
            theirs = {
                metric: pages.published_cell(figures, model=model, dataset=dataset, metric=metric)
                for metric in METRICS
            }
            if measured.empty and set(theirs.values()) == {md.ABSENT}:
                continue
            for row in [None] if measured.empty else [row for _, row in measured.iterrows()]:
                lines.append({"data": title, **_paper_line(model, row, theirs)})
    return md.table(lines)


def _paper_line(model: str, row: pd.Series | None, theirs: dict[str, str]) -> dict[str, str]:
    random = row is not None and pd.isna(row["bpd"])
    line = {
        "model": model if row is None else pages.named(model, row),
    }
    for metric, label in METRICS.items():
        form = md.bits if metric == "bpd" else md.number
        line[f"{label} published"] = theirs[metric]
        line[f"{label} measured"] = md.value(row, metric, form)
        line[f"{label} ratio"] = md.against(row, metric, theirs[metric])
    line["weights"] = md.ABSENT if row is None else "random" if random else "trained"
    line["ST/FT"] = md.quotient(row, "st_s", row, "ft_s")
    line["× own algorithm"] = (
        md.ABSENT if row is None else md.times_faster(row, "st_published_s", "st_s")
    )
    line["device"] = md.ABSENT if row is None else row["device"]
    return line


def _select(rows: pd.DataFrame, **labels: str) -> pd.DataFrame:
    for name, wanted in labels.items():
        rows = rows[rows[name] == wanted]
    return rows
