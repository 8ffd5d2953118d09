"""The page `results/published.md`: figures of other papers, and inferred ones."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from invconv.data import DATASETS
from invconv.flows.published import FIGURE4, FINC
from invconv.report import Document, Entry, Grid, Line
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.published import published
from invconv.tables import table4

INVERSE_FLOW = " (K16 L2)"
"""How the models of the Inverse-Flow paper's table end."""
COUNTED = {
    **{
        f"FInC {FINC[model]}, {DATASETS[size].title}": ("table4", "FInC", size)
        for size, model in table4.MODELS.items()
    },
    f"FInC {FINC['cifar10_k28']}, CIFAR-10": ("table3", "FInC", "cifar10"),
    "MaCow-FG, CIFAR-10": ("table3", "MaCow-FG", "cifar10"),
    f"FInC {FIGURE4[3]}, RGB": ("figure4", "FInC", "rgb"),
    "MaCow, RGB": ("figure4", "MaCow", "rgb"),
    "Emerging, RGB": ("figure4", "Emerging", "rgb"),
}
"""A model whose parameters are shown → its published figures: their table, model and data set."""

PARAMETERS = {"published": "parameters", "counted": "parameters_exact"}

Columns = Mapping[str, tuple[str, str]]
"""Title of a column → the metric and the data set of the figures in it."""
BITS = {data.title: ("bpd", name) for name, data in DATASETS.items() if data.published}
SNF = {"training step, ms": ("train_ms", "mnist"), "one sample, ms": ("sample_ms", "mnist")}
SNF |= {"nats": ("nats", "mnist"), "bits per dimension, computed": ("nats_bpd", "mnist")}
CORE = {"100 samples, s": ("st_cpu_s", "")}
LOOP = {"ST, ms": ("st_ms", "cifar10"), "FT, ms": ("ft_ms", "cifar10")}
LOOP |= {"bits per dimension": ("bpd", "cifar10")}
LAUNCHES = {
    "µs per launch": "launch_us",
    "share of launches in FInC's sampling time, %": "launch_share_percent",
}


def page() -> Document:
    """Make the page from the published figures alone."""
    figures = published("neighbors")
    loop = figures["model"].str.endswith(INVERSE_FLOW)
    models = {metric: group["model"] for metric, group in figures[~loop].groupby("metric")}
    parameters = pd.concat([published(table) for table in ("table4", "table3", "figure4")])
    parameters = parameters[parameters["metric"].isin(PARAMETERS.values())]
    place = ["table", "model", "dataset"]
    parameters = parameters.set_index(place).loc[list(COUNTED.values())].reset_index()
    counted = partial(bl.published_entry, parameters, en.whole)
    context = {
        "bits": Grid(_lines(figures, models["bpd"], BITS)),
        "self_normalizing": Grid(_lines(figures, models["train_ms"], SNF)),
        "cpu": Grid(_lines(figures, models["st_cpu_s"], CORE)),
        "inverse_flow": Grid(_lines(figures, figures[loop]["model"], LOOP)),
        "counts": Grid(
            {"model": title}
            | {
                name: counted(metric=metric, **dict(zip(place, names, strict=True)))
                for name, metric in PARAMETERS.items()
            }
            for title, names in COUNTED.items()
        ),
        "launches": Grid(
            {"what": title, "inferred": _joined(figures, f"{metric}_low", "–", f"{metric}_high")}
            for title, metric in LAUNCHES.items()
        ),
        "published": bl.published_notes(pd.concat([figures, parameters])),
    }
    return Document("published", Path(__file__).with_name("published.md.j2"), context)


def _lines(figures: pd.DataFrame, models: Iterable[str], columns: Columns) -> list[Line]:
    """A line for each model: its name, its setting where not all have the same, the columns."""
    lines: list[Line] = []
    names = {model: model.removesuffix(")").partition(" (") for model in models}
    differ = len({setting for _, _, setting in names.values()}) > 1
    for model, (name, _, setting) in names.items():
        line: dict[str, object] = {"model": name}
        line |= {"setting": setting or en.ABSENT} if differ else {}
        for title, (metric, dataset) in columns.items():
            both, place = (metric, " ± ", f"{metric}_error"), {"model": model, "dataset": dataset}
            line[title] = _joined(figures, *both, **place)
        lines.append(line)
    return lines


def _joined(figures: pd.DataFrame, one: str, between: str, two: str, **labels: str) -> Entry:
    """Two published metrics in one; the first alone where there is no second."""
    stated = partial(bl.published_entry, figures, None, **labels)
    first, second = stated(metric=one), stated(metric=two)
    return first.saying(f"{first}{between}{second}", *second.sources) if second.sources else first
