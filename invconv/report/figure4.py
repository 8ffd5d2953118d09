"""The page `results/figure4.md`: sampling time against image size and batch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks
from invconv.report.published import published
from invconv.report.style import save_for_page, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
RGB_BATCH = 100
SIZES = ("16x16", "16x32", "32x32", "32x64", "64x64", "64x128", "128x128")
RGB_SIZES = (
    "rgb-8x8",
    "rgb-8x16",
    "rgb-16x16",
    "rgb-16x32",
    "rgb-32x32",
    "rgb-32x64",
    "rgb-64x64",
)
LOUD = 0.15
"""An A/A ratio beyond which a time is noise."""
ASIDE = 0.15
"""How far right of its size a published point stands, so as not to hide the measured ones."""
METHODS = ("glow", "finc", "emerging", "cinc", "macow")


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/figure4.md`` and its figures, and returns the page's path."""
    for name, block in figures(rows).items():
        save_for_page(draw(block), results, name)
    return pages.write("figure4", lambda: page(rows), results)


def figures(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each figure's name and its rows."""
    found = pages.blocks(rows, "method", "size")
    return pages.figures("figure4", found, lambda row: f"w{row['width']:g}")


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows and the published figures."""
    stated = published("figure4")
    parts = [
        "# Figure 4: sampling time against image size and batch",
        "Made by `python reproductions/figure4.py -m` (`preset=paper` for the published width); "
        "do not edit. Rows: [data/figure4.csv](data/figure4.csv). Seconds to sample one batch "
        "from a flow with random weights, (L, K) = (2, 10) on two-channel input; median, in the "
        "figure with quartiles as a band. Dotted, paper's algorithm: "
        f"the same flow inverted as its paper does, once. {remarks.OWN_ALGORITHMS} "
        f"{remarks.UNTRAINED} Models and sizes are timed minutes apart, and their times are not "
        "compared with each other. Open markers: "
        "published, from the authors' GPU, which they do not name. The last panel is another "
        f"model, (2, 16) on three channels, sampling {RGB_BATCH} images; the published batch is "
        "not stated. On a CPU torch computes the couplings' convolutions of one small image by "
        "itself and those of two or more with oneDNN, where a call on few pixels takes several "
        "times as long: that is the step from batch 1 to batch 2 at the small sizes.",
    ]
    found = figures(rows)
    if not found:
        parts += ["missing: no rows yet.", *_tables(rows, stated)]
    for figure, block in found.items():
        width = int(block["width"].iloc[0])
        parts += [
            f"## {block['machine'].iloc[0]}: coupling width {width}, {pages.size(width)}",
            pages.origin(block),
            *_noise(block),
            f"![sampling time](figures/{figure}.svg)",
            *_tables(block, stated),
            *remarks.footnotes(block),
            *remarks.lossy_notes(block),
        ]
    return "\n\n".join([*parts, *remarks.published_notes(stated)]) + "\n"


def _noise(block: pd.DataFrame) -> list[str]:
    """How often a call was timed, and how much one call differs from itself."""
    good = block[block["status"] == "ok"]
    spreads = good.filter(regex=r"^aa_spread_\d+$").stack().dropna()
    if spreads.empty:
        return []
    repeats = md.listed(good["repeats"])
    return [
        f"{repeats} repeats. One call differs from "
        f"itself, timed twice in the same block, by {spreads.median():.1%} (median over the "
        f"cells), by more than {LOUD:.0%} in {(spreads > LOUD).sum()} of {len(spreads)}, at most "
        f"by {spreads.max():.0%}. A smaller difference between two columns means nothing."
    ]


def _tables(block: pd.DataFrame, stated: pd.DataFrame) -> list[str]:
    two = [
        _line(
            {"batch": str(batch), "size": size}, block, size, batch, _points(stated, size, batch)
        )
        for batch in BATCHES
        for size in SIZES
    ]
    older = [
        _line({"size": size[4:]}, block, size, RGB_BATCH, _points(stated, size, None))
        for size in RGB_SIZES
    ]
    return [
        "Two channels, (2, 10). p: published.",
        md.table(two),
        f"Three channels, (2, 16), {RGB_BATCH} images; p: published, of an older run.",
        md.table(older),
    ]


def _points(stated: pd.DataFrame, size: str, batch: int | None) -> dict[str, str]:
    """The published times of all methods at one size, as cells."""
    metric = "st_s" if batch is None else f"st_{batch}_s"
    return {
        method: pages.published_cell(
            stated, model=pages.title(method), dataset=size, metric=metric
        )
        for method in METHODS
    }


def _line(
    line: dict[str, str], block: pd.DataFrame, size: str, batch: int, points: dict[str, str]
) -> dict[str, str]:
    for method in METHODS:
        row = None if block.empty else pages.only(block, method=method, size=size)
        name = pages.title(method)
        if method != "glow":
            line[f"{name} p"] = points[method]
        line[name] = md.value(row, f"st_{batch}_s")
        if method != "glow":
            line[f"{name}, paper's algorithm"] = md.value(row, f"st_published_{batch}_s")
    return line


def draw(block: pd.DataFrame) -> "Figure":
    """One panel per batch size, and one for the older run's model."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    stated = published("figure4")
    good = block[block["status"] == "ok"]
    figure = Figure(figsize=(9, 9.6), layout="constrained")
    panels = figure.subplots(3, 3, sharey=True).flat
    for panel, batch in zip(panels, (*BATCHES, None), strict=True):
        sizes = RGB_SIZES if batch is None else SIZES
        _draw(panel, good, sizes, RGB_BATCH if batch is None else batch)
        for method in METHODS:
            look = style(method)
            metric = "st_s" if batch is None else f"st_{batch}_s"
            points = stated[(stated["model"] == look.title) & (stated["metric"] == metric)]
            at = [sizes.index(size) + ASIDE for size in points["dataset"]]
            panel.plot(
                at,
                points["value"].astype(float),
                linestyle="none",
                marker=look.marker,
                markerfacecolor="none",
                markeredgecolor=look.colour,
                markersize=7,
            )
        title = f"batch {batch}" if batch else f"(2, 16) on RGB, {RGB_BATCH} images"
        panel.set(title=title, yscale="log")
        names = [size.removeprefix("rgb-").replace("x", "×") for size in sizes]
        panel.set_xticks(range(len(sizes)), names)
        panel.set_xlim(-0.4, len(sizes) - 0.6)
        panel.tick_params(axis="x", labelrotation=60, labelsize=8)
        panel.grid(alpha=0.3)
    for panel in figure.axes[::3]:
        panel.set_ylabel("seconds per batch")
    if len(block):
        first = block.iloc[0]
        width = f"couplings {first['width']:g} wide (published: {pages.PAPER_WIDTH})"
        figure.suptitle(f"Measured on {first['device']}, {width}", fontsize=10)
    handles = [
        Line2D([], [], label=style(method).title, **style(method).options()) for method in METHODS
    ]
    handles.append(Line2D([], [], label="paper's algorithm", color="#777777", linestyle=":"))
    hollow: dict[str, Any] = {"marker": "o", "linestyle": "none", "markerfacecolor": "none"}
    handles.append(Line2D([], [], label="published", color="#777777", markersize=7, **hollow))
    figure.legend(handles=handles, loc="outside lower center", ncols=7, frameon=False, fontsize=9)
    return figure


def _draw(panel: "Axes", good: pd.DataFrame, sizes: tuple[str, ...], batch: int) -> None:
    for method in METHODS:
        members = good[(good["method"] == method) & good["size"].isin(sizes)]
        if members.empty or f"st_{batch}_s" not in members:
            continue
        look = style(method)
        members = pages.in_order(members, "size", sizes)
        at = [sizes.index(size) for size in members["size"]]
        panel.plot(at, members[f"st_{batch}_s"], markersize=4, linewidth=1.2, **look.options())
        band = (members[f"st_{batch}_q25_s"], members[f"st_{batch}_q75_s"])
        panel.fill_between(at, *band, color=look.colour, alpha=0.2, linewidth=0)
        if f"st_published_{batch}_s" in members:
            own = members[f"st_published_{batch}_s"]
            panel.plot(at, own, color=look.colour, linestyle=":", linewidth=1)
