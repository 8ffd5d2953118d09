"""The page `results/published.md`: figures of other papers, and inferred ones."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from invconv.data import DATASETS
from invconv.flows.published import FIGURE4, FINC
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.document import Document
from invconv.report.entries import Entry, Grid
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

Columns = Mapping[str, dict[str, str]]
"""Title of a column → what the figures in it have in common."""
BITS: Columns = {
    data.title: {"dataset": name, "metric": "bpd"}
    for name, data in DATASETS.items()
    if data.published
}
RUN_TIMES: Columns = {
    "training step, ms": {"metric": "train_ms"},
    "one sample, ms": {"metric": "sample_ms"},
}
LOOP: Columns = {
    "ST, ms": {"metric": "st_ms"},
    "FT, ms": {"metric": "ft_ms"},
    "bits per dimension": {"metric": "bpd"},
}
LAUNCHES = {
    "µs per launch": "launch_us",
    "share of launches in FInC's sampling time, %": "launch_share_percent",
}


def page() -> Document:
    """Make the page from the published figures alone."""
    figures = published("neighbours")
    parameters = pd.concat([_parameters(*place) for place in COUNTED.values()])
    loop = figures["model"].str.endswith(INVERSE_FLOW)
    models = {metric: group["model"] for metric, group in figures[~loop].groupby("metric")}
    context = {
        "bits": Grid(_lines(figures, models["bpd"], BITS)),
        "run_times": Grid(_lines(figures, models["train_ms"], RUN_TIMES)),
        "inverse_flow": Grid(_lines(figures, figures[loop]["model"], LOOP)),
        "counts": Grid([_counted(parameters, *item) for item in COUNTED.items()]),
        "launches": Grid([_launches(figures, *item) for item in LAUNCHES.items()]),
        "published": bl.published_notes(pd.concat([figures, parameters])),
    }
    return Document("published", Path(__file__).with_name("published.md.j2"), context)


def _lines(
    figures: pd.DataFrame, models: Iterable[str], columns: Columns
) -> list[dict[str, object]]:
    """A line for each model: its name, its setting where not all have the same, the columns."""
    lines, names = [], {model: model.removesuffix(")").partition(" (") for model in models}
    differ = len({setting for _, _, setting in names.values()}) > 1
    for model, (name, _, setting) in names.items():
        line: dict[str, object] = {"model": name}
        if differ:
            line["setting"] = setting or en.ABSENT
        for title, labels in columns.items():
            stated, error = (
                bl.published_entry(figures, None, model=model, **labels | {"metric": metric})
                for metric in (labels["metric"], f"{labels['metric']}_error")
            )
            line[title] = _joined(stated, " ± ", error)
        lines.append(line)
    return lines


def _joined(first: Entry, between: str, second: Entry) -> Entry:
    """Two published figures in one; the first alone where there is no second."""
    if second.text == en.ABSENT:
        return first
    return first.saying(f"{first}{between}{second}", *second.sources)


def _parameters(table: str, model: str, data: str) -> pd.DataFrame:
    """The published and the counted parameters of a model."""
    figures = published(table)
    same = (figures["model"] == model) & (figures["dataset"] == data)
    return figures[same & figures["metric"].isin(["parameters", "parameters_exact"])]


def _counted(
    parameters: pd.DataFrame, title: str, place: tuple[str, str, str]
) -> dict[str, object]:
    labels = dict(zip(("table", "model", "dataset"), place, strict=True))
    metrics = {"published": "parameters", "counted": "parameters_exact"}
    return {"model": title} | {
        name: bl.published_entry(parameters, en.whole, **labels, metric=metric)
        for name, metric in metrics.items()
    }


def _launches(figures: pd.DataFrame, title: str, metric: str) -> dict[str, object]:
    low, high = (bl.published_entry(figures, metric=f"{metric}_{e}") for e in ("low", "high"))
    return {"what": title, "inferred": _joined(low, "–", high)}
