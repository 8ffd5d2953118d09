"""Figure 4 of the FInC Flow paper: sampling time against image size and batch."""

import math
import re
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from invconv.bench import Measured, Process, time_block
from invconv.bench.blocks import guarded_parts
from invconv.bench.flow_timing import FlowCalls, flow_ratios, time_together, verify_flow
from invconv.flows import MultiScaleFlow
from invconv.flows.published import FIGURE4, WIDTH
from invconv.methods import method
from invconv.report import Document, Grid, Line, Match, Picture, Plot, illustrated
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.findings import sentence
from invconv.report.illustrated import plot_times
from invconv.report.published import published
from invconv.rows import Block, Values
from invconv.rows.columns import FLOW, Number, Ratio, Seconds
from invconv.sweeps.config import QUICK, ModelTiming, Preset
from invconv.tables.table import Table

REFERENCE = "glow"
METHODS = (REFERENCE, "finc", "emerging", "cinc", "macow")
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
SIZES = ("16x16", "16x32", "32x32", "32x64", "64x64", "64x128", "128x128")
RGB_BATCH, RGB_SIZES = 100, tuple(f"rgb-{size}" for size in ("8x8", "8x16", *SIZES[:5]))
"""Of the older run, in the last panel."""
PANELS = {batch: (f"st_{batch}_s", SIZES) for batch in BATCHES} | {RGB_BATCH: ("st_s", RGB_SIZES)}
"""Batch → the published metric and the sizes."""
INITIAL_IMAGES = 16
OPEN, GRAY, ASIDE = {"markersize": 7, "markerfacecolor": "none"}, "#777777", 0.15
"""The look of a published point, its color in the legend, how far right of its size it is."""


@dataclass
class Figure4(ModelTiming):
    """All methods at one size."""

    methods: list[str] = field(default_factory=lambda: list(METHODS))
    size: str = "32x32"
    batches: list[int] = field(default_factory=lambda: list(BATCHES))


def image_shape(size: str) -> tuple[int, int, int]:
    """(C, H, W) of a size."""
    found = re.fullmatch(r"(rgb-)?([1-9]\d*)x([1-9]\d*)", size)
    if not found:
        raise ValueError(f"size must be such as 64x128 or rgb-32x32, not {size!r}")
    return 3 if found[1] else 2, int(found[2]), int(found[3])


def measure(config: Figure4, device: torch.device, _: Path) -> Block:
    """Verify all methods, and time sampling with each batch size in one block."""
    batches = _batches(config)
    ratios = [rule for batch in batches for rule in flow_ratios(REFERENCE, f"_{batch}")]
    sizes = len(batches) * len(SIZES) + len(RGB_SIZES)
    among = max(1, 2 * sizes * (len(config.methods) - 1))  # our inverse's ST, and the paper's
    return time_block(time_sampling, config, device, config.clock, ratios, among)


def _batches(config: Figure4) -> list[int]:
    return config.batches if image_shape(config.size)[0] == 2 else [RGB_BATCH]


def time_sampling(config: Figure4, device: torch.device, process: Process) -> Measured:
    """Build a flow for each method with random weights, verify it, and time sampling."""
    shape, batches = image_shape(config.size), _batches(config)
    levels, steps = FIGURE4[shape[0]]
    images = torch.randint(256, (INITIAL_IMAGES, *shape), device=device)
    flows = dict[str, MultiScaleFlow]()

    def build(name: str) -> Values:
        one = method(name)
        torch.manual_seed(config.seed)
        options, step = dict(one.options), one.step
        flow = MultiScaleFlow(one.conv, shape, levels, steps, config.width, options, step=step)
        flow.to(device).eval()
        flow.initialize(images)
        values = verify_flow(flow, images) if process.first else {}
        flows[name] = flow
        return values | {"parameters": sum(parameter.numel() for parameter in flow.parameters())}

    parts = guarded_parts({name: {"method": name} for name in config.methods}, process, build)
    timed, infinite = [], dict.fromkeys(flows, 0)
    for batch in batches:
        drawn = images[:1].expand(batch, *shape)
        calls = {n: FlowCalls(flow, drawn, ("st", "st_published")) for n, flow in flows.items()}
        end = f"_{batch}"
        timed.append(time_together(calls, device, config.clock, process, REFERENCE, end))
        infinite = {name: max(infinite[name], one.infinite) for name, one in calls.items()}
    for name, count in infinite.items():
        values = {**parts[name].values, "samples_not_finite": count}
        parts[name] = replace(parts[name], values=values)
    return Measured(timed, {"height": shape[1], "image_width": shape[2]}, parts)


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows and the published figures."""
    figures = published("figure4")
    blocks = bl.blocks(rows, "size")
    return illustrated(
        Path(__file__).with_suffix(".md.j2"),
        blocks,
        "w{width:g}",
        partial(_section, figures=figures),
        draw,
        full=WIDTH,
        rgb_batch=RGB_BATCH,
        published=bl.published_notes(figures),
    )


def _section(block: pd.DataFrame, figures: pd.DataFrame) -> dict[str, object]:
    """The tables of a block, and what its ratios and its twins say."""
    ratios = [str(name) for name in block if re.fullmatch(r"st_\d+_vs_" + REFERENCE, str(name))]
    twins = [str(name) for name in block if re.fullmatch(r"aa_st_\d+", str(name))]
    around = [one for name in twins for one in bl.around_one(block, name)]
    return {
        "verdict": bl.verdict(block, ratios, bl.cell_name),
        "twins": len(around),
        "around": sum(around),
        **_grids(block, figures),
    }


def _grids(block: pd.DataFrame, figures: pd.DataFrame) -> dict[str, Grid]:
    """The tables of the two models."""
    line = partial(_line, block, figures)
    two = [{"batch": str(batch), **line(batch, size)} for batch in BATCHES for size in SIZES]
    rgb = [line(RGB_BATCH, size) for size in RGB_SIZES]
    return {"two": Grid(filter(_has_time, two)), "rgb": Grid(filter(_has_time, rgb))}


def _has_time(line: Line) -> bool:
    return any(str(v) != en.ABSENT for name, v in line.items() if name not in ("batch", "size"))


def _line(block: pd.DataFrame, figures: pd.DataFrame, batch: int, size: str) -> Line:
    line: dict[str, object] = {"size": size.removeprefix("rgb-")}
    stated = partial(bl.published_entry, figures, dataset=size, metric=PANELS[batch][0])
    for name in METHODS:
        title, row = bl.title(name), bl.only(block, method=name, size=size)
        time = bl.sampling_time(row, f"st_{batch}", scale=1e3, brief=True)
        if name == REFERENCE:
            line[title] = time
            continue
        line[f"{title} p"] = stated(model=title)
        line[title] = time
        line[f"{title} ÷ Glow"] = bl.sampling_ratio(row, f"st_{batch}_vs_{REFERENCE}")
        line[f"{title}, paper's ÷ ours"] = bl.sampling_ratio(row, f"st_published_{batch}_vs_st")
    return line


def draw(block: pd.DataFrame) -> Picture:
    """One panel per batch size that was measured or published, the older run's model last."""
    from matplotlib.lines import Line2D

    good, figures = block[block["status"] == "ok"], published("figure4")
    known = {name for name in block if block[name].notna().any()} | set(figures["metric"])
    chosen = {b: found for b, found in PANELS.items() if {f"st_{b}_s", found[0]} & known}
    lines = math.ceil(len(chosen) / 3)
    picture = Picture(lines, 3, (9, 0.6 + 3 * lines))
    for panel in picture.panels[len(chosen) :]:
        panel.set_axis_off()
    for panel, (batch, (metric, sizes)) in zip(picture.panels, chosen.items(), strict=False):
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
SWEEP = {"size": ",".join((*SIZES, *RGB_SIZES))}
TINY = {"size": "16x16,rgb-8x8"}
TABLE = Table(
    name="figure4",
    title="Figure 4: sampling time against image size and batch",
    question="How does sampling time grow with image size and batch?",
    config=Figure4,
    measure=measure,
    cell="{size}-w{width}",
    labels={"size": "size", "width": "width"},
    parts="method",
    columns=(
        Seconds("st_[0-9]* st_published_[0-9]*"),
        Ratio("st_[0-9]*_vs_* st_published_[0-9]*_vs_* aa_st_[0-9]*"),
        Number("height image_width"),
        *FLOW,
    ),
    presets={
        "default": Preset({"width": 16, "batches": [1, 4, 16, 64]}, SWEEP, minutes=40),
        "tiny": Preset(
            {"width": 4, "batches": [1, 2], "methods": ["glow", "finc", "macow"], "clock": QUICK},
            TINY,
        ),
        "paper": Preset({"width": WIDTH, "clock": {"rounds": 6}}, SWEEP),
    },
    headline="st_[0-9]_s st_[0-9][0-9]_s st_[0-9][0-9][0-9]_s",
    page=page,
    finding=sentence(
        "Relative to Glow, sampling takes {} times as long with our inverses.",
        "st_[0-9]*_vs_glow",
        called=lambda row: f"{bl.title(row['method'])} at {row['size']}",
    ),
    plots=(*PLOTS, AGAINST_BATCH),
    match=Match(columns={"st_s": f"st_{RGB_BATCH}_s"}, dataset="size"),
    order=5,
)
