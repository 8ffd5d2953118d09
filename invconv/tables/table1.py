"""Table 1 of the FInC Flow paper: what one layer stores and computes, counted."""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch

from invconv import build
from invconv.bench.counting import count_inverse, count_log_det, count_parameters
from invconv.numerical import relative_error
from invconv.report import Document, Grid, Line, Match
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.findings import span
from invconv.report.grids import swept
from invconv.report.published import published
from invconv.rows import Incorrect, Values, newest
from invconv.rows.columns import Error, Name, Number
from invconv.sweeps.config import ChosenMethod, Preset, Sweep, neutral
from invconv.tables.table import Table

TOLERANCE = 1e-10
KERNEL = 3
"""The kernel size where a method's options name none."""
SIZE = ["channels", "n", "k"]
FORMULAS: dict[str, Callable[[float, float, float], float]] = {
    "(2n−1)k²": lambda c, n, k: (2 * n - 1) * k**2,
    "cn²": lambda c, n, k: c * n**2,
    "4nk²": lambda c, n, k: 4 * n * k**2,
    "2n²k²": lambda c, n, k: 2 * n**2 * k**2,
    "n²k²": lambda c, n, k: n**2 * k**2,
    "3n": lambda c, n, k: 3 * n,
    "k²": lambda c, n, k: k**2,
    "k²−1": lambda c, n, k: k**2 - 1,
    "k²/3": lambda c, n, k: k**2 / 3,
    "k(⌈k/2⌉−1)": lambda c, n, k: k * (math.ceil(k / 2) - 1),
}
"""The table's formulas in `SIZE`: channels, image size and kernel size."""
COUNTED = {
    "operations": {"dependent steps": "dependent_steps", "multiply-adds": "inverse_operations"},
    "parameters": {"stored": "stored", "free": "free"},
    "log_det": {"counted": "log_det_operations"},
    "inverse": {"declared": "exact", "round trip": "round_trip_error"},
}
"""Published metric → the columns that show what was counted."""
COMPARED = {"operations": "inverse_operations", "parameters": "free"}
COMPARED |= {"log_det": "log_det_operations", "inverse": "exact"}
"""Published metric → the column that measures it."""


@dataclass
class Table1(Sweep):
    """One layer at one size."""

    method: ChosenMethod = field(default_factory=ChosenMethod)
    channels: int = 12
    n: int = 32
    device: str = neutral("cpu")


def measure(config: Table1, _: torch.device, __: Path) -> Values:
    """Verify the round trip of one layer, then count."""
    shape = (config.channels, config.n, config.n)
    torch.manual_seed(0)
    layer = build(config.method.conv, shape, **config.method.options)
    double = copy.deepcopy(layer).double()
    x = torch.randn(2, *shape, dtype=torch.float64)
    with torch.no_grad():
        error = relative_error(double.inverse(double(x)[0]), x)
    if layer.exact and not error <= TOLERANCE:
        raise Incorrect(f"the inverse is not exact: its round-trip error is {error:.1e}")
    stored, free = count_parameters(layer, shape)
    return {
        "k": config.method.options.get("kernel_size", KERNEL),
        "stored": stored,
        "free": free,
        "dependent_steps": layer.dependent_steps(config.n, config.n),
        "inverse_operations": count_inverse(layer, shape),
        "log_det_operations": count_log_det(layer, shape),
        "exact": "exact" if layer.exact else "approx",
        "sees": layer.sees or None,
        "assumes": layer.assumes or None,
        "round_trip_error": error,
    }


def page(rows: pd.DataFrame) -> Document:
    """Make the page from the rows and the published table."""
    figures, rows = published("table1"), newest(rows)
    context = {
        "sizes": [
            {
                **group.iloc[0][["by", *SIZE]],
                **{m: _grid(group, figures, m) for m in COUNTED},
                "nature": _nature(group),
            }
            for group in _sizes(rows)
        ],
        "notes": figures[figures["note"] != ""].to_dict("records"),
        "sources": ", ".join(dict.fromkeys(figures["source"])),
        "failures": bl.failures(rows),
        "commits": ", ".join(sorted(set(rows["commit"].astype(str)))),
    }
    return Document("table1", Path(__file__).with_suffix(".md.j2"), context)


def _sizes(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """The newest counts by contributor and size; of ours the machine does not matter."""
    if rows.empty:
        return []
    options = [json.loads(text)["method"]["options"] for text in rows["config"]]
    kernels = [asked.get("kernel_size", KERNEL) for asked in options]
    rows = rows.assign(by=bl.labels(rows), k=kernels)
    return [group for _, group in newest(rows, ("method", "by", *SIZE)).groupby(["by", *SIZE])]


def _grid(rows: pd.DataFrame, figures: pd.DataFrame, metric: str) -> Grid:
    """A line for every method, and behind them every one that was published only."""
    size = rows.iloc[0][SIZE].tolist()
    figures = figures[figures["metric"] == metric]
    known = {*rows["method"]}
    names = [name for name in dict.fromkeys((*swept(), *rows["method"])) if name in known]
    models = {name: bl.title(name).partition(" (")[0] for name in names}
    only = [model for model in figures["model"] if model not in models.values()]
    lines: list[Line] = []
    for name, model in (models | dict(zip(only, only, strict=True))).items():
        stated = bl.published_entry(figures, model=model)
        line: dict[str, object] = {"method": bl.title(name), "published": stated}
        if figures["value"].isin(FORMULAS).any():
            formula = FORMULAS.get(stated.text)
            line["its value"] = stated.saying(_count(formula(*size))) if formula else en.ABSENT
        for title, column in COUNTED[metric].items():
            counted = en.value(bl.only(rows, method=name), column, _count)
            line[title] = counted if name in models else "published only"
        lines.append(line)
    return Grid(lines)


def _nature(rows: pd.DataFrame) -> Grid:
    """A line for each method: which pixels a number of z may depend on, and what it asks for."""
    rows = bl.in_order(rows[rows["status"] == "ok"], "method", swept())
    rows = bl.with_columns(rows, ["sees", "assumes"])
    titles = {"sees": "a pixel may see", "assumes": "assumes"}
    return Grid(
        {
            "method": bl.title(row["method"]),
            **{title: en.value(row, name, str) for name, title in titles.items()},
        }
        for _, row in rows.iterrows()
        if pd.notna(row["sees"])
    )


def finding(rows: pd.DataFrame) -> str:
    """Say how many dependent steps an inverse has at the largest size."""
    rows = rows[rows["status"] == "ok"]
    if rows.empty:
        return ""
    size = rows.sort_values(["n", "channels"])[["channels", "n"]].iloc[-1]
    rows = rows[(rows["n"] == size["n"]) & (rows["channels"] == size["channels"])]
    steps = zip(rows["dependent_steps"], rows["method"].map(bl.title), strict=True)
    return (
        f"At n = {size['n']} an inverse needs {span(steps, en.whole)} dependent steps, which no "
        "hardware runs side by side."
    )


def _count(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return en.whole(value) if value >= 1 or value == 0 else en.number(value, 2)


TABLE = Table(
    name="table1",
    title="Table 1: complexity, published and counted",
    question="What does each convolution cost: counted, and as published?",
    config=Table1,
    measure=measure,
    cell="{method.name}-c{channels}-n{n}",
    labels={"method": "method.name", "channels": "channels", "n": "n"},
    columns=(
        Number("k stored free dependent_steps *_operations"),
        Error("round_trip_error"),
        Name("exact sees assumes"),
    ),
    presets={
        "default": Preset(sweep={"method": ",".join(swept())}, minutes=0.1),
        "tiny": Preset({"channels": 4, "n": 4}, {"method": "glow,finc"}),
    },
    choices={"method": "glow"},
    times=lambda _: False,
    headline="free dependent_steps",
    page=page,
    finding=finding,
    match=Match(columns=COMPARED),
    order=1,
)
