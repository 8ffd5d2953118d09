"""The authors' own code beside ours; `invconv.tables.released_session` measures it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from invconv.report import Document, Grid, Line, Picture
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.rows import columns as cl
from invconv.rows import newest
from invconv.tables.relative import BLUE, VERMILION, dot
from invconv.tables.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORWARD, INVERSE = "released_forward_vs_ours", "released_inverse_vs_ours"
LOOKS = {INVERSE: (BLUE, BLUE, "inverse"), FORWARD: (VERMILION, "white", "forward")}
"""Ratio → color, filling and name."""
SHOWN = {"channels": 12, "n": 32, "batch": 100}
"""The layer of the first picture and table."""
DIFFERENCES = {
    "round trip": "round_trip_error",
    "forward differs": "forward_difference",
    "inverse differs": "inverse_difference",
    "log_det differs": "log_det_difference",
}
NEEDED = ["released", "method", *SHOWN, FORWARD, INVERSE, "what", "repository", "revision"]
"""Columns that no row may have: nothing was measured yet."""


def page(rows: pd.DataFrame) -> Document:
    """Make the page, a function of the rows."""
    rows = bl.with_columns(newest(rows), NEEDED)
    blocks, pictures = list[dict[str, object]](), {}
    for _, block in rows.groupby("machine", sort=False):
        good = block[block["status"] == "ok"]
        shown = _at(good, **SHOWN)
        name = f"released-{len(blocks)}" if blocks else "released"
        if len(shown):
            pictures[name] = partial(draw, shown)
        blocks.append(
            {
                "origin": bl.origin(block),
                "picture": name if len(shown) else "",
                "grid": Grid(map(_brief, _rows(shown))),
                "layers": [
                    {
                        "about": own.iloc[0],
                        "ours": bl.title(own["method"].iloc[0]),
                        "grid": Grid(map(_line, _rows(_in_order(own)))),
                    }
                    for _, own in good.groupby("released", sort=False)
                ],
                "failures": bl.failures(block),
            }
        )
    context = {"blocks": blocks, "shown": SHOWN}
    return Document("released", Path(__file__).with_suffix(".md.j2"), context, pictures)


def _rows(frame: pd.DataFrame) -> Iterator[pd.Series]:
    return (row for _, row in frame.iterrows())


def _at(rows: pd.DataFrame, **place: float) -> pd.DataFrame:
    """The rows of one size, by how much slower the released inverse is."""
    for name, value in place.items():
        rows = rows[rows[name] == value]
    return rows.sort_values(INVERSE, kind="stable")


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values(["channels", "n", "batch"], kind="stable")


def finding(rows: pd.DataFrame) -> str:
    """Say of how many cells the released code is slower, forward and inverse."""
    rows = bl.with_columns(rows, NEEDED)
    rows = rows[rows["status"] == "ok"]
    if rows.empty or rows[[FORWARD, INVERSE]].isna().all(axis=None):
        return ""
    said = []
    for name, (*_, kind) in ((name, LOOKS[name]) for name in (INVERSE, FORWARD)):
        ratios = rows[name].dropna()
        slower = (rows.reindex(columns=[f"{name}_low"])[f"{name}_low"] > 1).sum()
        said.append(
            f"the {kind} takes {en.number(ratios.min(), 2)} to {en.number(ratios.max(), 2)} times "
            f"as long as ours and is slower in {slower} of {len(ratios)} cells"
        )
    return f"Of the code that the authors released {', '.join(said)}."


def _brief(row: pd.Series) -> Line:
    return {
        "released": row["released"],
        "ours": bl.title(row["method"]),
        "inverse ms": en.value(row, "released_inverse_s", scale=1e3),
        "ours ms": en.value(row, "inverse_s", scale=1e3),
        "inverse ÷ ours": en.ratio(row, INVERSE),
        "forward ÷ ours": en.ratio(row, FORWARD),
    }


def _line(row: pd.Series) -> Line:
    names = {"C": "channels", "n": "n", "images": "batch"}
    return {
        **{title: en.value(row, name, en.whole) for title, name in names.items()},
        "inverse ÷ ours": _ratio(row, INVERSE),
        "forward ÷ ours": _ratio(row, FORWARD),
        "inverse ms": en.quartiles(row, "released_inverse", 1e3),
        "ours, ms": en.quartiles(row, "inverse", 1e3),
        "forward ms": en.quartiles(row, "released_forward", 1e3),
        "our forward, ms": en.quartiles(row, "forward", 1e3),
        **{title: en.value(row, name, "{:.0e}".format) for title, name in DIFFERENCES.items()},
        "ours ÷ itself": en.ratio(row, "aa_inverse"),
        "rounds": en.value(row, "rounds", en.whole),
    }


def _ratio(row: pd.Series, name: str) -> en.Entry:
    """A ratio with its interval, alone where too few rounds give none."""
    entry = en.ratio(row, name)
    return entry if entry.sources or en.is_noisy(row) else en.value(row, name)


def draw(rows: pd.DataFrame) -> "Figure":
    """Draw a line for each released layer: how many times as long as ours it takes."""
    picture = Picture(1, 1, (5.8, 0.34 * len(rows) + 1.4), sharey=False)
    panel, most = picture.panels[0], rows[[FORWARD, INVERSE]].max().max()
    panel.axvline(1, color="#000000", linewidth=0.8)
    for place, row in enumerate(_rows(rows)):
        for name, (color, fill, _) in LOOKS.items():
            dot(panel, row, name, place, color, fill)
    panel.set_xscale("log")
    ticks = [tick for tick in (0.3, 1, 3, 10, 30, 100, 300, 1000) if tick < 1.5 * most]
    panel.set_xticks(ticks, [f"{tick:g} ×" for tick in ticks])
    panel.minorticks_off()
    panel.set_ylim(len(rows) - 0.5, -0.9)
    panel.set_yticks(range(len(rows)), rows["released"])
    panel.grid(visible=False, axis="y")
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.tick_params(axis="y", length=0)
    panel.set_xlabel(
        "released code ÷ ours, {channels:g} channels of {n:g}×{n:g}, {batch:g} images".format_map(
            rows.iloc[0]
        )
    )
    look = {"linestyle": "", "marker": "o", "markersize": 7}
    handles = [
        panel.plot([], [], color=color, markerfacecolor=fill, label=name, **look)[0]
        for color, fill, name in LOOKS.values()
    ]
    picture.legend(handles, len(handles))
    return picture.figure


TABLE = Table(
    name="released",
    title="The authors' own code on the same clock",
    question="How fast is the authors' own code beside ours?",
    labels={
        "released": "released",
        "method": "method",
        "channels": "channels",
        "n": "n",
        "batch": "batch",
    },
    columns=(
        cl.Seconds("forward inverse inverse_again released_forward released_inverse"),
        cl.Ratio(f"{FORWARD} {INVERSE} aa_inverse"),
        cl.Error("round_trip_error *_difference"),
        cl.Number("channels n batch seconds_per_image"),
        cl.Name("released revision repository solver"),
        cl.Sentence("what"),
        cl.Truth("same_map"),
        *cl.BLOCK,
    ),
    headline=f"{INVERSE} {FORWARD}",
    page=page,
    finding=finding,
    made_by="python -m invconv bench --against FILE.py",
    order=10,
)
