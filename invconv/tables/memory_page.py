"""The page of what training without kept activations costs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from invconv.methods import method
from invconv.report import Document, Grid, Line, Picture
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.comparison import MARGIN, Comparison
from invconv.report.grids import swept
from invconv.rows import newest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WAYS = ("ordinary", "reversible", "checkpointed")
"""How a step gets its activations: kept, by inverses, or by forward passes from kept ones."""
LINES = {"ordinary": ":", "reversible": "-", "checkpointed": "--"}
STUDY = "default"
MEGABYTE = 1e-6
TICKS = (20, 50, 100, 200, 500, 1000)
NEEDED = ["part", "preset", "memory", "images", "steps", "method", "seed", "bpd"]
"""Columns that no row may have: nothing was measured yet."""


def page(rows: pd.DataFrame) -> Document:
    """Make the page from the rows."""
    rows = bl.with_columns(newest(rows), NEEDED)
    ok = rows[rows["status"] == "ok"]
    steps = ok[(ok["part"] == "step") & (ok["preset"] != "tiny")]
    trained = ok[(ok["part"] == "train") & (ok["preset"] == "trained")]
    blocks = bl.blocks(steps, "method", "budget", "images")
    pictures = {"memory": partial(draw, blocks[0])} if blocks else {}
    context = {
        "picture": "memory" if pictures else "",
        "blocks": [
            {"origin": bl.origin(block), "first": block.iloc[0], "grid": Grid(_lines(block))}
            for block in blocks
        ],
        "trained": Grid(_trained(trained)),
        "seeds": trained["seed"].nunique(),
        "margin": MARGIN,
        "failures": bl.failures(rows),
    }
    return Document("memory", Path(__file__).with_name("memory.md.j2"), context, pictures)


def finding(rows: pd.DataFrame) -> str:
    """Say what the deepest FInC flow needs, kept and inverted."""
    rows = bl.with_columns(rows, NEEDED)
    rows = rows[(rows["status"] == "ok") & (rows["part"] == "step") & (rows["method"] == "finc")]
    if rows.empty:
        return ""
    row = rows.sort_values(["steps", "images"]).iloc[-1]
    kept, inverted = (MEGABYTE * row[f"{way}_bytes"] for way in WAYS[:2])
    return (
        f"A training step of a FInC flow, L = {row['levels']:.0f}, K = {row['steps']:.0f}, width "
        f"{row['width']:.0f}, on {row['images']:.0f} images takes {en.number(inverted)} MB beside "
        f"weights and gradients instead of {en.number(kept)} MB, and "
        f"{en.number(row['reversible_vs_ordinary'])} times as long."
    )


def _lines(block: pd.DataFrame) -> Iterator[Line]:
    block = bl.in_order(block.sort_values(["steps", "images"]), "method", swept())
    for _, row in block.iterrows():
        line: dict[str, object] = {
            "method": bl.title(row["method"]),
            "steps K": f"{row['steps']:.0f}",
            "images": f"{row['images']:.0f}",
        }
        for way in WAYS:
            line[f"{way}, MB"] = en.value(row, f"{way}_bytes", scale=MEGABYTE)
        line["reversible ÷ ordinary, time"] = en.ratio(row, "reversible_vs_ordinary")
        line["checkpointed ÷ ordinary, time"] = en.ratio(row, "checkpointed_vs_ordinary")
        line["gradient off by"] = en.value(row, "reversible_gradient_error")
        line["checkpointed off by"] = en.value(row, "checkpointed_gradient_error")
        line["drift"] = en.value(row, "drift")
        line["stored"] = en.value(row, "stored", en.whole)
        line["ordinary, s"] = en.quartiles(row, "ordinary")
        yield line | {"ordinary ÷ itself": en.ratio(row, "aa_ordinary")}


def _trained(rows: pd.DataFrame) -> Iterator[Line]:
    """Each method's bits with activations kept and not, and the difference over the seeds."""
    for name, own in rows.groupby("method", sort=False):
        bits = own.pivot_table("bpd", "seed", "memory").dropna()
        if not {"ordinary", "auto"} <= set(bits) or len(bits) < 2:
            continue
        found = Comparison(bits, "ordinary").to_control["auto"]
        both = {memory: own[own["memory"] == memory] for memory in ("ordinary", "auto")}
        yield {
            "method": bl.title(str(name)),
            "ordinary, bpd": en.mean_bits(both["ordinary"]),
            "reversible, bpd": en.mean_bits(both["auto"]),
            "difference [95 % interval]": en.over_rows(f"{found}: {found.verdict}", own, "bpd"),
        }


def draw(block: pd.DataFrame) -> "Figure":
    """Draw megabytes against steps per level, a panel for each method."""
    block = block[block["images"] == block["images"].mode().iloc[0]]
    names = list(bl.in_order(block, "method", swept())["method"].unique())
    picture = Picture(1, len(names), (3.2 * len(names), 3.2))
    handles = []
    for panel, name in zip(picture.panels, names, strict=True):
        rows = block[block["method"] == name].sort_values("steps")
        handles = [
            panel.plot(
                rows["steps"],
                MEGABYTE * rows[f"{way}_bytes"],
                LINES[way],
                color=method(name).color,
                marker="o",
                markersize=4,
                label=way,
            )[0]
            for way in WAYS
        ]
        panel.set(xscale="log", yscale="log", title=bl.title(name), xlabel="steps per level K")
        panel.set_xticks(rows["steps"], [f"{steps:.0f}" for steps in rows["steps"]])
        panel.set_yticks(TICKS, [str(tick) for tick in TICKS])
        panel.set_ylim(TICKS[0], TICKS[-1])
        panel.minorticks_off()
    picture.panels[0].set_ylabel("MB beside weights and gradients")
    picture.figure.suptitle(
        "Memory of a training step does not grow with K if it inverts", fontsize=10
    )
    picture.legend(handles, len(handles))
    return picture.figure
