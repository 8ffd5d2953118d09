"""The page `results/published.md`: figures of other papers, and inferred ones."""

from pathlib import Path

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks
from invconv.report.published import published
from invconv.report.table2_paper import PAPER

INVERSE_FLOW = " (K16 L2)"
"""How the models of the Inverse-Flow paper's table end."""
COUNTED = {
    "FInC (2, 16), MNIST": ("table4", "FInC", "mnist"),
    "FInC (3, 32), CIFAR-10": ("table4", "FInC", "cifar10"),
    "FInC (3, 48), ImageNet-32": ("table4", "FInC", "imagenet32"),
    "FInC (3, 32), ImageNet-64": ("table4", "FInC", "imagenet64"),
    "FInC (3, 28), CIFAR-10": ("table3", "FInC", "cifar10"),
    "MaCow-FG, CIFAR-10": ("table3", "MaCow-FG", "cifar10"),
    "FInC (2, 16), RGB": ("figure4", "FInC", "rgb"),
    "MaCow, RGB": ("figure4", "MaCow", "rgb"),
    "Emerging, RGB": ("figure4", "Emerging", "rgb"),
}
"""A model whose parameters are shown → its published figures: their table, model and data set."""
LAUNCHES = {
    "µs per launch": "launch_us",
    "share of launches in FInC's sampling time, %": "launch_share_percent",
}


def write_page(results: Path) -> Path:
    """Writes ``results/published.md``, which has no rows, and returns its path."""
    return pages.write("published", page, results)


def page() -> str:
    """The whole page, a function of the published figures alone."""
    figures = published("neighbours")
    parameters = _parameters()
    parts = [
        "# Other published figures",
        "Made by `python -m invconv report` from the figures that come with the package; do not "
        "edit. Nothing here was measured by this project: every paper has its own models, "
        "training, hardware and clock, so that a figure of one table divided by one of another, "
        "or of ours, means nothing. What the FInC paper published stands beside our rows in "
        "[table1.md](table1.md), [table2.md](table2.md), [table3.md](table3.md), "
        "[table4.md](table4.md) and [figure4.md](figure4.md).",
        "## Bits per dimension",
        "Each as its source below prints it, the ± included. Depth, as the paper counts it: of "
        "models that are shallower than its main one. ImageNet-32 and -64 exist in two versions, "
        "of 2016 and of 2021, whose bits per dimension cannot be compared.",
        md.table(_bits(figures)),
        "## Run times of Self-Normalizing Flows",
        "Milliseconds to train on a batch of 100 images and to sample one image, on MNIST, as the "
        "paper of Self-Normalizing Flows (SNF) prints them: convolutional nets of 9 layers, and "
        "Glow with 32. Its own implementations of the others, on its hardware; our rows are of no "
        "such nets.",
        md.table(_run_times(figures)),
        "## The Inverse-Flow paper's CIFAR-10 table",
        "Milliseconds of sampling (ST) and of the forward pass (FT), and bits per dimension, of "
        "models with L = 2 levels of K = 16 steps. Only to be read with the footnotes below: "
        "other figures of that paper disagree with each other, or with what its loop can do.",
        md.table(_inverse_flow(figures)),
        "## Inferred figures",
        "Printed nowhere, but counted or computed. Parameters: counted from the released layers "
        "with couplings 512 wide, weights that a mask keeps at zero included, beside the number "
        "that was published; –: not counted. Launches: FInC's released code launches a kernel for "
        "each diagonal and channel and waits for it; how long that takes was fitted to its "
        "published sampling times.",
        md.table(_counts(parameters)),
        md.table(_launches(figures)),
        *remarks.published_notes(pd.concat([figures, parameters])),
    ]
    return "\n\n".join(parts) + "\n"


def _named(model: str) -> dict[str, str]:
    name, _, setting = model.partition(" (")
    return {"model": name, "setting": setting.removesuffix(")") or md.ABSENT}


def _with(figures: pd.DataFrame, *metrics: str) -> pd.DataFrame:
    return figures[figures["metric"].isin(metrics)]


def _joined(first: str, between: str, second: str) -> str:
    """Two published figures in one cell."""
    sources = [*getattr(first, "sources", ()), *getattr(second, "sources", ())]
    return md.Cell(f"{first}{between}{second}", *dict.fromkeys(sources))


def _bits(figures: pd.DataFrame) -> list[dict[str, str]]:
    known = _with(figures, "bpd")
    lines = []
    for model in known.loc[~known["model"].str.endswith(INVERSE_FLOW), "model"].unique():
        line = _named(model)
        for data, title in PAPER.items():
            place = {"model": model, "dataset": data}
            bits = pages.published_cell(figures, **place, metric="bpd")
            error = pages.published_cell(figures, **place, metric="bpd_error")
            line[title] = bits if error == md.ABSENT else _joined(bits, " ± ", error)
        lines.append(line)
    return lines


def _run_times(figures: pd.DataFrame) -> list[dict[str, str]]:
    columns = {"train_ms": "training step, ms", "sample_ms": "one sample, ms"}
    return _lines(figures, _with(figures, *columns)["model"], columns)


def _inverse_flow(figures: pd.DataFrame) -> list[dict[str, str]]:
    models = figures.loc[figures["model"].str.endswith(INVERSE_FLOW), "model"]
    columns = {"st_ms": "ST, ms", "ft_ms": "FT, ms", "bpd": "bits per dimension"}
    lines = _lines(figures, models, columns)
    for line in lines:
        del line["setting"]
    return lines


def _lines(
    figures: pd.DataFrame, models: "pd.Series[str]", columns: dict[str, str]
) -> list[dict[str, str]]:
    return [
        _named(model)
        | {
            title: pages.published_cell(figures, model=model, metric=metric)
            for metric, title in columns.items()
        }
        for model in models.unique()
    ]


def _parameters() -> pd.DataFrame:
    """The published and the counted parameters of `COUNTED`."""
    found = []
    for table, model, data in COUNTED.values():
        figures = _with(published(table), "parameters", "parameters_exact")
        found.append(figures[(figures["model"] == model) & (figures["dataset"] == data)])
    return pd.concat(found)


def _counts(parameters: pd.DataFrame) -> list[dict[str, str]]:
    columns = {"published": "parameters", "counted": "parameters_exact"}
    return [
        {"model": title}
        | {
            name: pages.published_cell(
                parameters, "{:,.0f}".format, table=table, model=model, dataset=data, metric=metric
            )
            for name, metric in columns.items()
        }
        for title, (table, model, data) in COUNTED.items()
    ]


def _launches(figures: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "what": title,
            "inferred": _joined(
                pages.published_cell(figures, metric=f"{metric}_low"),
                "–",
                pages.published_cell(figures, metric=f"{metric}_high"),
            ),
        }
        for title, metric in LAUNCHES.items()
    ]
