"""The page of linear flows in closed form: bits per dimension against taps, for every mask."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from invconv.report import Document, Entry, Grid, Line, Picture
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.illustrated import label_ends
from invconv.report.naming import data_title
from invconv.rows import newest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = {
    "quarter plane": ("#0072B2", "o"),
    "four corners": ("#D55E00", "s"),
    "half plane": ("#009E73", "^"),
}
"""Mask → color and marker; what a mask lets a pixel see."""
AGAINST = {3: 3, 7: 5}
"""k of a half plane → k of the quarter plane beside it, with at least as many taps."""
TRAINED = "trained"
STUDY = "full"


def page(rows: pd.DataFrame) -> Document:
    """Make the page, a function of the rows."""
    rows = newest(rows)
    good = rows[rows["status"] == "ok"]
    if (good["preset"] == STUDY).any():
        good = good[good["preset"] == STUDY]
    sections, pictures = [], {}
    for (dataset, _), group in good.groupby(["dataset", "squeezes"], sort=False):
        first = group.iloc[0]
        name = "linear-{dataset}-c{channels:.0f}".format_map(first)
        size = "C = {channels:.0f}, {n:.0f}×{n:.0f}".format_map(first)
        title = f"{data_title(str(dataset))}, {size}"
        closed = group[group["mask"] != TRAINED].sort_values(["mask", "k"])
        pictures[name] = partial(draw, closed, title)
        sections.append(
            {
                "title": title,
                "picture": name,
                "grid": Grid(map(_line, _rows(closed))),
                "pairs": Grid(_pairs(closed)),
                "trained": Grid(map(_trained, _rows(group[group["mask"] == TRAINED]))),
                "origin": bl.origin(group),
            }
        )
    context = {"sections": sections, "failures": bl.failures(rows)}
    return Document("linear", Path(__file__).with_name("linear.md.j2"), context, pictures)


def _rows(frame: pd.DataFrame) -> Iterator[pd.Series]:
    return (row for _, row in frame.iterrows())


def finding(rows: pd.DataFrame) -> str:
    """Say what the nearest neighbors bring of what the largest mask does, on the first data."""
    rows = rows[(rows["status"] == "ok") & (rows["mask"] != TRAINED)]
    rows = rows[rows["squeezes"] == 0]
    rows = rows[rows["dataset"].isin(rows["dataset"].head(1))]
    alone, near = (bl.only(rows, mask="quarter plane", k=k) for k in (1, 2))
    if alone is None or near is None:
        return ""
    best, data = rows["bpd"].min(), data_title(rows["dataset"].iloc[0])
    return (
        f"On {data} three neighbors take {alone['bpd']:.2f} bits per dimension to "
        f"{near['bpd']:.2f}, and the best mask with any number of taps to {best:.2f}."
    )


def _line(row: pd.Series) -> Line:
    return {
        "mask": row["mask"],
        "k": en.value(row, "k", en.whole),
        "taps": en.value(row, "taps", en.whole),
        "bpd": en.value(row, "bpd", en.bits),
        "∞-norm of the inverse": en.value(row, "inverse_norm"),
        "condition number": en.value(row, "condition"),
    }


def _pairs(closed: pd.DataFrame) -> Iterator[Line]:
    """What a half plane gains over a quarter plane with at least as many taps."""
    for k, other in AGAINST.items():
        half = bl.only(closed, mask="half plane", k=k)
        quarter = bl.only(closed, mask="quarter plane", k=other)
        if half is None or quarter is None or pd.isna(half.get("paired_interval")):
            continue
        gain = quarter["bpd"] - half["bpd"]
        both = pd.DataFrame([half, quarter])
        text = f"{gain:+.4f} ± {half['paired_interval']:.4f}"
        yield {
            "half plane": _kernel(half),
            "quarter plane": _kernel(quarter),
            "fewer bits": en.over_rows(text, both, "bpd"),
        }


def _kernel(row: pd.Series) -> Entry:
    k, taps = (en.value(row, name, en.whole) for name in ("k", "taps"))
    return k.saying(f"k = {k}, {taps} taps", *taps.sources)


def _trained(row: pd.Series) -> Line:
    return {
        "k": en.value(row, "k", en.whole),
        "trained bpd": en.value(row, "trained_bpd", "{:.4f}".format),
        "in closed form": en.value(row, "closed_bpd", "{:.4f}".format),
    }


def draw(closed: pd.DataFrame, title: str) -> "Figure":
    """Draw bits per dimension against the number of taps, a line for each mask."""
    picture = Picture(1, 1, (6.4, 4.0), sharey=False)
    panel = picture.panels[0]
    for mask, (color, marker) in LOOKS.items():
        own = closed[closed["mask"] == mask].sort_values("taps")
        if len(own):
            look = {"color": color, "marker": marker, "markersize": 4, "linewidth": 1.2}
            panel.plot(own["taps"], own["bpd"], label=mask, **look)
    panel.set_xscale("symlog", linthresh=4)
    ticks = [0, 4, 8, 24, 48, 120]
    panel.set_xticks(ticks, map(str, ticks))
    panel.set_xlabel("taps besides the pixel itself")
    panel.set_ylabel("bits per dimension")
    panel.set_title(title, fontsize=10)
    label_ends(panel)
    return picture.figure
