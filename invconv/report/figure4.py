"""The page `results/figure4.md`: sampling time against image size and batch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages
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
METHODS = ("glow", "finc", "emerging", "cinc", "macow")


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/figure4.md`` and its figures, and returns the page's path."""
    found = _blocks(rows)
    for i, block in enumerate(found):
        save_for_page(draw(block), results, _figure(i))
    return pages.write("figure4", lambda: page(rows), results)


def _blocks(rows: pd.DataFrame) -> list[pd.DataFrame]:
    return pages.blocks(rows, "method", "size")


def _figure(i: int) -> str:
    return f"figure4{f'-{i + 1}' if i else ''}"


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows and the published figures."""
    figures = published("figure4")
    parts = [
        "# Figure 4: sampling time against image size and batch",
        "Made by `python reproductions/figure4.py -m` (`preset=paper` for the published width); "
        "do not edit. Rows: [data/figure4.csv](data/figure4.csv). Seconds to sample one batch "
        "from a flow with random weights, (L, K) = (2, 10) on two-channel input; median, in the "
        "figure with quartiles as a band, after the round trip was proved. Dotted: the same flow "
        "inverted by its paper's own algorithm, once. Open markers: published, from the authors' "
        "GPU, which they do not name. The last panel is another model, (2, 16) on three "
        f"channels, sampling {RGB_BATCH} images; the published batch is not stated.",
    ]
    found = _blocks(rows)
    if not found:
        parts += ["missing: no rows yet.", *_tables(rows, figures)]
    for i, block in enumerate(found):
        width = int(block["width"].iloc[0])
        parts += [
            f"## Coupling width {width}, {pages.size(width)}",
            pages.origin(block),
            *_noise(block),
            f"![sampling time](figures/{_figure(i)}.svg)",
            *_tables(block, figures),
            *pages.footnotes(block),
            *pages.lossy_notes(block),
        ]
    return "\n\n".join([*parts, *pages.published_notes(figures)]) + "\n"


def _noise(block: pd.DataFrame) -> list[str]:
    """How often a call was timed, and how much one call differs from itself."""
    good = block[block["status"] == "ok"]
    spreads = good.filter(regex=r"^aa_spread_\d+$").stack().dropna()
    if spreads.empty:
        return []
    repeats = md.listed(good["repeats"])
    return [
        f"{repeats} repeats; models and sizes are timed minutes apart. One call differs from "
        f"itself, timed twice in the same block, by {spreads.median():.1%} (median over the "
        f"cells), by more than {LOUD:.0%} in {(spreads > LOUD).sum()} of {len(spreads)}, at most "
        f"by {spreads.max():.0%}. What is smaller between two columns says nothing."
    ]


def _tables(block: pd.DataFrame, figures: pd.DataFrame) -> list[str]:
    two = [
        _line(
            {"batch": str(batch), "size": size}, block, size, batch, _points(figures, size, batch)
        )
        for batch in BATCHES
        for size in SIZES
    ]
    older = [
        _line({"size": size[4:]}, block, size, RGB_BATCH, _points(figures, size, None))
        for size in RGB_SIZES
    ]
    return [
        "Two channels, (2, 10). p: published.",
        md.table(two),
        f"Three channels, (2, 16), {RGB_BATCH} images; p: published, of an older run.",
        md.table(older),
    ]


def _points(figures: pd.DataFrame, size: str, batch: int | None) -> dict[str, str]:
    """The published times of all methods at one size, as cells."""
    metric = "st_s" if batch is None else f"st_{batch}_s"
    return {
        method: pages.published_cell(
            figures, model=pages.title(method), dataset=size, metric=metric
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
            line[f"{name}, own algorithm"] = md.value(row, f"st_published_{batch}_s")
    return line


def draw(block: pd.DataFrame) -> "Figure":
    """One panel per batch size, and one for the older run's model."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figures = published("figure4")
    good = block[block["status"] == "ok"]
    figure = Figure(figsize=(9, 9.6), layout="constrained")
    panels = figure.subplots(3, 3, sharey=True).flat
    for panel, batch in zip(panels, (*BATCHES, None), strict=True):
        sizes = RGB_SIZES if batch is None else SIZES
        _draw(panel, good, sizes, RGB_BATCH if batch is None else batch)
        for method in METHODS:
            look = style(method)
            metric = "st_s" if batch is None else f"st_{batch}_s"
            points = figures[(figures["model"] == look.title) & (figures["metric"] == metric)]
            at = [sizes.index(size) for size in points["dataset"]]
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
    handles = [
        Line2D([], [], label=style(method).title, **style(method).options()) for method in METHODS
    ]
    handles.append(Line2D([], [], label="own paper's algorithm", color="#777777", linestyle=":"))
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
