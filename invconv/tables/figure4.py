"""Figure 4 of the FInC Flow paper: sampling time against image size and batch."""

import re
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from invconv.bench import spread, time_interleaved
from invconv.bench.flow_timing import published_inverses, verify_published, verify_round_trip
from invconv.bench.memory import keep_freed_memory
from invconv.flows import MultiScaleFlow
from invconv.flows.published import FIGURE4, WIDTH
from invconv.methods import method
from invconv.report import Document, Grid, Line, Match, Picture, Plot, illustrated
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.illustrated import plot_times
from invconv.report.published import published
from invconv.rows import Values
from invconv.rows.columns import FLOW, Number, Seconds
from invconv.sweeps.config import Method, ModelTiming, Preset
from invconv.tables.table import Table

METHODS = ("glow", "finc", "emerging", "cinc", "macow")
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
SIZES = ("16x16", "16x32", "32x32", "32x64", "64x64", "64x128", "128x128")
RGB_BATCH, RGB_SIZES = 100, tuple(f"rgb-{size}" for size in ("8x8", "8x16", *SIZES[:5]))
"""Of the older run, in the last panel."""
PANELS = {batch: (f"st_{batch}_s", SIZES) for batch in BATCHES} | {RGB_BATCH: ("st_s", RGB_SIZES)}
"""Batch → the published metric and the sizes."""
INITIAL_IMAGES = 16
OPEN, GRAY = {"markersize": 7, "markerfacecolor": "none"}, "#777777"
"""The look of a published point, and its color in the legend."""
LOUD, ASIDE = 0.15, 0.15
"""An A/A ratio beyond which a time is noise; how far right of its size a published point is."""


@dataclass
class Figure4(ModelTiming):
    """One method at one size."""

    method: Method = field(default_factory=Method)
    size: str = "32x32"
    batches: list[int] = field(default_factory=lambda: list(BATCHES))
    repeats: int = 3


def image_shape(size: str) -> tuple[int, int, int]:
    """(C, H, W) of a size."""
    found = re.fullmatch(r"(rgb-)?([1-9]\d*)x([1-9]\d*)", size)
    if not found:
        raise ValueError(f"size must be such as 64x128 or rgb-32x32, not {size!r}")
    return 3 if found[1] else 2, int(found[2]), int(found[3])


def measure(config: Figure4, device: torch.device, _: Path) -> Values:
    """Verify the round trip, then time sampling for every batch size."""
    shape = image_shape(config.size)
    levels, steps = FIGURE4[shape[0]]
    conv, options, step = config.method.conv, config.method.options, config.method.step
    torch.manual_seed(config.seed)
    flow = MultiScaleFlow(conv, shape, levels, steps, config.width, options, step=step)
    flow.to(device).eval()
    images = torch.randint(256, (INITIAL_IMAGES, *shape), device=device)
    flow.initialize(images)
    values: Values = {
        "height": shape[1],
        "image_width": shape[2],
        "parameters": sum(parameter.numel() for parameter in flow.parameters()),
        "memory_kept": keep_freed_memory(device),
    }
    values |= verify_round_trip(flow, images) | verify_published(flow, images)
    for batch in config.batches if shape[0] == 2 else [RGB_BATCH]:
        calls = dict.fromkeys(("st", "again"), partial(flow.sample, batch))
        times = time_interleaved(calls, device, config.warmup, config.repeats)
        values[f"aa_spread_{batch}"] = spread(times["st"], times["again"])
        with published_inverses(flow) as known:
            if known:
                once = time_interleaved({"st": calls["st"]}, device, 0, 1)["st"]
                values[f"st_published_{batch}_s"] = once.median
        values |= times["st"].values(f"st_{batch}")
    return values | {"repeats": config.repeats}


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows and the published figures."""
    figures = published("figure4")
    blocks = bl.blocks(rows, "method", "size")
    return illustrated(
        Path(__file__).with_suffix(".md.j2"),
        blocks,
        "w{width:g}",
        lambda block: {"noise": _noise(block), **_grids(block, figures)},
        draw,
        empty=None if blocks else _grids(rows, figures),
        full=WIDTH,
        rgb_batch=RGB_BATCH,
        published=bl.published_notes(figures),
    )


def _noise(block: pd.DataFrame) -> dict[str, str] | None:
    """How often a call was timed, and how much one call differs from itself."""
    good = block[block["status"] == "ok"]
    spreads = good.filter(regex=r"^aa_spread_\d+$").stack().dropna()
    if spreads.empty:
        return None
    return {
        "repeats": en.listed(good["repeats"]),
        "median": f"{spreads.median():.1%}",
        "loud": f"{LOUD:.0%}",
        "louder": f"{(spreads > LOUD).sum()} of {len(spreads)}",
        "most": f"{spreads.max():.0%}",
    }


def _grids(block: pd.DataFrame, figures: pd.DataFrame) -> dict[str, Grid]:
    """The tables of the two models."""
    line = partial(_line, block, figures)
    two = [{"batch": str(batch), **line(batch, size)} for batch in BATCHES for size in SIZES]
    return {"two": Grid(two), "rgb": Grid([line(RGB_BATCH, size) for size in RGB_SIZES])}


def _line(block: pd.DataFrame, figures: pd.DataFrame, batch: int, size: str) -> Line:
    line: dict[str, object] = {"size": size.removeprefix("rgb-")}
    stated = partial(bl.published_entry, figures, dataset=size, metric=PANELS[batch][0])
    for name in METHODS:
        title, row = bl.title(name), bl.only(block, method=name, size=size)
        own = {title: en.value(row, f"st_{batch}_s")}
        paper = {f"{title}, paper's algorithm": en.value(row, f"st_published_{batch}_s")}
        line |= own if name == "glow" else {f"{title} p": stated(model=title), **own, **paper}
    return line


def draw(block: pd.DataFrame) -> Picture:
    """One panel per batch size, and one for the older run's model."""
    from matplotlib.lines import Line2D

    good, figures = block[block["status"] == "ok"], published("figure4")
    picture = Picture(3, 3, (9, 9.6))
    for panel, (batch, (metric, sizes)) in zip(picture.panels, PANELS.items(), strict=True):
        place, paper = {size: i for i, size in enumerate(sizes)}, f"st_published_{batch}_s"
        for name in METHODS:
            members = good[(good["method"] == name) & good["size"].isin(sizes)]
            members = bl.in_order(members, "size", sizes)
            at = [place[size] for size in members["size"]]
            plot_times(panel, at, members, f"st_{batch}", 1, **method(name).look)
            if len(members) and paper in members:
                look = {"color": method(name).color, "linestyle": ":", "linewidth": 1}
                panel.plot(at, members[paper], **look)
        for name in METHODS:
            points = figures[(figures["model"] == bl.title(name)) & (figures["metric"] == metric)]
            aside = [place[size] + ASIDE for size in points["dataset"]]
            look = {"marker": method(name).marker, "markeredgecolor": method(name).color}
            panel.plot(aside, points["value"].astype(float), **look, **OPEN, linestyle="none")
        panel.set(
            title=f"batch {batch}" if sizes == SIZES else f"(2, 16) on RGB, {batch} images",
            yscale="log",
            xticks=range(len(sizes)),
            xticklabels=[size.removeprefix("rgb-").replace("x", "×") for size in sizes],
            xlim=(-0.4, len(sizes) - 0.6),
        )
        panel.tick_params(axis="x", labelrotation=60, labelsize=8)
    for panel in picture.panels[::3]:
        panel.set_ylabel("seconds per batch")
    width = f"couplings {block['width'].iloc[0]:g} wide (published: {WIDTH})"
    picture.figure.suptitle(f"Measured on {block['device'].iloc[0]}, {width}", fontsize=10)
    looks = {bl.title(name): method(name).look for name in METHODS}
    looks |= {"paper's algorithm": {"color": GRAY, "linestyle": ":", **OPEN}}
    looks |= {"published": {"color": GRAY, "linestyle": "none", "marker": "o", **OPEN}}
    picture.legend([Line2D([], [], label=label, **looks[label]) for label in looks], 7)
    return picture


PLOTS = [
    Plot(
        title="sampling time against image size, batch {column}",
        columns={f"st_{batch}_s": batch for batch in batches},
        x="size",
        order={size: size for size in sizes},
        axis="image size",
        apart=("width",),
    )
    for batches, sizes in ((BATCHES, SIZES), ([RGB_BATCH], RGB_SIZES))
]
AGAINST_BATCH = replace(
    PLOTS[0],
    title="sampling time against batch, {size}",
    x="column",
    axis="batch",
    order={},
    where={"size": SIZES},
)
SWEEP = {"size": ",".join((*SIZES, *RGB_SIZES)), "method": ",".join(METHODS)}
TINY = {"size": "16x16,rgb-8x8", "method": "finc,macow"}
TABLE = Table(
    name="figure4",
    title="Figure 4: sampling time against image size and batch",
    config=Figure4,
    measure=measure,
    cell="{method.name}-{size}-w{width}",
    labels={"method": "method.name", "size": "size", "width": "width"},
    columns=(
        Seconds("st_[0-9]* st_published_[0-9]*"),
        Number("height image_width aa_spread_[0-9]*"),
        *FLOW,
    ),
    presets={
        "default": Preset({"width": 16}, SWEEP, minutes=12),
        "tiny": Preset({"width": 4, "repeats": 2, "batches": [1, 2]}, TINY),
        "paper": Preset({"width": WIDTH}, SWEEP),
    },
    choices={"method": "finc"},
    headline="st_*[0-9]_s",
    page=page,
    plots=(*PLOTS, AGAINST_BATCH),
    match=Match(columns={"st_s": f"st_{RGB_BATCH}_s"}, dataset="size"),
    order=5,
)
