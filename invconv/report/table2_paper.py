"""Table 2 at the sizes of the paper: published beside measured."""

import json

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks
from invconv.report.names import METHODS
from invconv.report.published import published

PAPER = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "imagenet32": "ImageNet-32",
    "imagenet64": "ImageNet-64",
}
SIZES = {"mnist": (2, 16), "cifar10": (3, 32), "imagenet32": (3, 48), "imagenet64": (4, 48)}
"""(L, K) of FInC's models."""
IMAGES = 100
"""How many of them the published times are for."""
METRICS = {"bpd": "bpd", "ft_s": "FT s,", "st_s": "ST s,"}
TIMED = ("glow", "finc", "emerging", "cinc", "woodbury", "macow")
"""The methods of which a row is expected."""


def model_size(row: pd.Series) -> tuple[int, int, int] | None:
    """(L, K, width of the couplings) of a row's model, None where its configuration is silent."""
    budget = json.loads(row["config"]).get("budget", {})
    if not {"levels", "steps", "width"} <= set(budget):
        return None
    return budget["levels"], budget["steps"], budget["width"]


def paper_table(rows: pd.DataFrame) -> str:
    """A line for every published model and every row on the paper's data sets.

    Args:
        rows: in order, one per cell and machine.
    """
    figures = published("table2")
    models = list(dict.fromkeys([*METHODS.values(), *figures["model"]]))
    expected = {METHODS[name] for name in TIMED}
    lines = []
    for dataset, title in PAPER.items():
        for model in models:
            names = [method for method, name in METHODS.items() if name == model]
            measured = rows[(rows["dataset"] == dataset) & rows["method"].isin(names)]
            theirs = {
                metric: pages.published_cell(figures, model=model, dataset=dataset, metric=metric)
                for metric in METRICS
            }
            unknown = set(theirs.values()) == {md.ABSENT} and model not in expected
            if measured.empty and unknown:
                continue
            for row in [None] if measured.empty else [row for _, row in measured.iterrows()]:
                lines.append({"data": title, **_line(model, row, theirs)})
    return md.table(lines)


def _line(model: str, row: pd.Series | None, theirs: dict[str, str]) -> dict[str, str]:
    line = {"model": model if row is None else pages.named(model, row)}
    size = None if row is None else model_size(row)
    levels, steps, width = size or (md.ABSENT,) * 3
    line["L, K, width"] = md.ABSENT if size is None else f"{levels}, {steps}, {width}"
    alike = (
        row is not None and (levels, steps) == SIZES[row["dataset"]] and width == pages.PAPER_WIDTH
    )
    shown = {
        "bpd": md.bits_with_interval(row),
        "ft_s": md.quartiles(row, "ft"),
        "st_s": remarks.sampling_time(row),
    }
    for metric, label in METRICS.items():
        line[f"{label} published"] = theirs[metric]
        line[f"{label} measured"] = shown[metric]
        line[f"{label} ratio"] = md.ABSENT
        if row is not None and alike and (metric == "bpd" or row["timed_images"] == IMAGES):
            ratio = md.against(row, metric, theirs[metric])
            counted = [] if metric == "bpd" else [md.source(row, "timed_images")]
            line[f"{label} ratio"] = md.also(ratio, *counted)
    if row is None:
        return line
    random = pd.isna(row["bpd"])
    return line | {
        "ST/FT": md.quotient(row, "st_s", row, "ft_s"),
        "ST s, paper's algorithm": md.quartiles(row, "st_published"),
        "A/A": md.value(row, "aa_spread", "{:.1%}".format),
        "images": md.value(row, "timed_images", "{:.0f}".format),
        "stored": md.value(row, "parameters", "{:,.0f}".format),
        "free": md.value(row, "free_parameters", "{:,.0f}".format),
        "weights": "random" if random else "trained",
        "device": pages.where(str(row["device"]), str(row["machine"])),
        "commit": str(row["commit"]),
    }
