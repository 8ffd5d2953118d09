"""The page of the flows without couplings: bits per dimension against the kernel size."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from invconv.data import DATASETS
from invconv.methods import method
from invconv.report import Document, Grid, Line, Picture
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.comparison import Comparison
from invconv.report.findings import span
from invconv.report.grids import swept
from invconv.report.illustrated import label_ends
from invconv.report.naming import data_title
from invconv.report.published import published
from invconv.rows import newest
from invconv.tables.ranking_page import CONTROL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STUDY, LONG, CONTROLS = "grid", "long", "controls"
CENTER = 3


def page(rows: pd.DataFrame) -> Document:
    """Make the page from the rows and the published figures."""
    rows = bl.in_order(newest(rows), "method", swept()) if len(rows) else rows
    pictures, studies = {}, []
    for dataset, group in _groups(rows, STUDY) or _groups(rows, "default"):
        name = f"coupling-free-{dataset}"
        pictures[name] = partial(draw, group, data_title(dataset))
        studies.append(_study(dataset, group) | {"picture": name})
    context = {
        "studies": studies,
        "long": [
            {"data": data_title(dataset), "grid": Grid(_longer(rows, dataset, group))}
            for dataset, group in _groups(rows, LONG)
        ],
        "controls": Grid(_controls(rows)),
        "published": Grid(_published()),
        "failures": bl.failures(rows),
    }
    template = Path(__file__).with_name("coupling_free.md.j2")
    return Document("coupling_free", template, context, pictures)


def finding(rows: pd.DataFrame) -> str:
    """Say which methods have the fewest and the most bits at k = 3, and what other k change."""
    said = []
    for dataset, group in rows[rows["status"] == "ok"].groupby("dataset", sort=False):
        means = at(group, CENTER).groupby("method")["bpd"].mean()
        bits = _ends(means, en.bits)
        said.append(f"{data_title(str(dataset))}, k = {CENTER}: {bits} bits per dimension.")
        by_k = group.pivot_table("bpd", "method", "k")
        sizes = [float(str(k)) for k in by_k]
        for k in sorted({min(sizes), max(sizes)} - {CENTER}) if CENTER in sizes else ():
            changes = _ends((by_k[k] - by_k[CENTER]).dropna(), "{:+.3f}".format)
            said.append(f"With k = {k:.0f} in place of {CENTER}: {changes}." if changes else "")
    return " ".join(filter(None, said))


def _ends(values: pd.Series, form: en.Form) -> str:
    return span(((x, bl.title(str(name))) for name, x in values.items()), form)


def _groups(rows: pd.DataFrame, preset: str) -> list[tuple[str, pd.DataFrame]]:
    if rows.empty:
        return []
    ok = rows[(rows["preset"] == preset) & (rows["status"] == "ok")]
    return [(str(dataset), group) for dataset, group in ok.groupby("dataset", sort=False)]


def at(group: pd.DataFrame, k: int) -> pd.DataFrame:
    """Return the rows of one kernel size, and of methods that have none."""
    return group[(group["k"] == k) | group["k"].isna()]


def _study(dataset: str, group: pd.DataFrame) -> dict[str, object]:
    table = at(group, CENTER).pivot_table("bpd", "seed", "method", sort=False)
    compared = CONTROL in table and min(table.dropna().shape) > 1
    comparison = Comparison(table, CONTROL) if compared else None
    found = comparison.to_control if comparison else {}
    return {
        "data": data_title(dataset),
        "first": group.iloc[0],
        "seeds": group["seed"].nunique(),
        "origins": [bl.origin(part) for _, part in group.groupby("machine")],
        "grid": Grid(_lines(group)),
        "differences": {bl.title(name): difference for name, difference in found.items()},
        "nats": Grid(_nats(dataset, group)),
    }


def _lines(group: pd.DataFrame) -> Iterator[Line]:
    """A line for each method and a column for each kernel size: mean bits per dimension."""
    sizes = sorted(int(k) for k in group["k"].dropna().unique())
    for name, rows in group.groupby("method", sort=False):
        line: dict[str, object] = {"method": bl.title(str(name))}
        if rows["k"].isna().all():
            line["no k"] = en.mean_bits(rows)
        for k in sizes:
            own = rows[rows["k"] == k]
            line[f"k = {k}"] = en.mean_bits(own) if len(own) else en.ABSENT
        yield line


def _nats(dataset: str, group: pd.DataFrame) -> Iterator[Line]:
    """Nats per image at k = 3, as the paper prints them."""
    shape = DATASETS[dataset].shape if dataset in DATASETS else None
    if shape is None:
        return
    to_nats = math.log(2) * math.prod(shape)
    for name, rows in at(group, CENTER).groupby("method", sort=False):
        nats = to_nats * rows["bpd"]
        spread = f" ± {nats.std():.1f}" if len(nats) > 1 else ""
        yield {
            "method": bl.title(str(name)),
            "nats per image": en.over_rows(f"{nats.mean():.1f}{spread}", rows, "bpd"),
            "bpd": en.mean_bits(rows),
            "parameters": en.value(rows.iloc[-1], "parameters", en.whole),
        }


def _longer(rows: pd.DataFrame, dataset: str, group: pd.DataFrame) -> Iterator[Line]:
    """Each method of the longer trainings, after both numbers of steps."""
    short = dict(_groups(rows, STUDY)).get(dataset, rows[:0])
    for name, long in group.groupby("method", sort=False):
        own = at(short[short["method"] == name], CENTER)
        before = en.mean_bits(own) if len(own) else en.ABSENT
        yield {
            "method": bl.title(str(name)),
            "1,000 steps": before,
            "10 epochs": en.mean_bits(long),
        }


def _controls(rows: pd.DataFrame) -> Iterator[Line]:
    """Each method's bits minus Glow's, on the images and with their pixels rearranged."""
    groups = [*_groups(rows, STUDY), *_groups(rows, CONTROLS)]
    found = {name: at(group, CENTER) for name, group in groups if group["seed"].eq(0).any()}
    if not _groups(rows, CONTROLS):
        return
    for name, title in swept().items():
        line: dict[str, object] = {"method": title}
        for dataset, group in found.items():
            own, glow = (
                group[(group["method"] == which) & (group["seed"] == 0)]
                for which in (name, CONTROL)
            )
            if name != CONTROL and len(own) and len(glow):
                difference = own["bpd"].iloc[-1] - glow["bpd"].iloc[-1]
                both = pd.concat([own.tail(1), glow.tail(1)])
                line[data_title(dataset)] = en.over_rows(f"{difference:+.3f}", both, "bpd")
        if len(line) > 1:
            yield line


def _published() -> Iterator[Line]:
    figures = published("coupling_free")
    for model in dict.fromkeys(figures["model"]):
        own = figures[figures["model"] == model]
        yield {
            "method": model,
            "nats published": bl.published_entry(own, metric="nats"),
            "bpd published": bl.published_entry(own, metric="bpd"),
        }


def draw(group: pd.DataFrame, data: str) -> "Figure":
    """Draw bits per dimension against k, each seed as a dot; a level line where there is no k."""
    picture = Picture(1, 1, (6.4, 4.2), sharey=False)
    panel = picture.panels[0]
    sizes = sorted(group["k"].dropna().unique())
    ends = (min(sizes, default=1), max(sizes, default=1))
    for name, rows in group.groupby("method", sort=False):
        one = method(str(name))
        means = rows.groupby("k")["bpd"].mean() if rows["k"].notna().any() else None
        if means is None:
            level = rows["bpd"].mean()
            label = f"{one.title} (no k)"
            look = {"color": one.color, "linestyle": ":", "linewidth": 1.2}
            panel.plot(ends, (level, level), label=label, **look)
            continue
        panel.plot(means.index, means, label=one.title, **{**one.look, "markersize": 4})
        panel.plot(rows["k"], rows["bpd"], ".", color=one.color, alpha=0.4, label="_seeds")
    panel.set_xticks(sizes)
    panel.set_xlabel("kernel size k")
    panel.set_ylabel("bits per dimension")
    panel.set_title(f"{data}, without couplings", fontsize=10)
    label_ends(panel)
    return picture.figure
