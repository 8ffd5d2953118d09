"""Layers and whole models on a GPU; `invconv.tables.gpu_session` measures them."""

import math
from pathlib import Path

import pandas as pd

from invconv.report import Document, Plot
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.findings import sentence
from invconv.report.grids import CELLS
from invconv.rows import newest
from invconv.rows.columns import FLOW, Error, Name, Number, Ratio, Seconds, Truth
from invconv.tables.scaling_page import SERIES, Columns, fastest, grid
from invconv.tables.table import Table

SHOWN = {name: SERIES[name] for name in ("inverse", "forward", "torch_forward", "pointwise")}
SHOWN |= {name: SERIES[f"inverse_{name}"] for name in ("wavefront", "diagonal_channel")}
SHOWN |= {"diagonal_channel_4": ("inverse, FInC's algorithm 2", "#44AA99", "P")}
"""Field → title, color and marker in the explorer."""
LAYER = "inverse inverse_again forward fresh torch_forward torch pointwise 1x1_* four four_*"
LAYER += " inverse_eager forward_eager inverse_hot forward_hot"
LAYER += " grouped dense dense_* wavefront diagonal_channel* raster_serial"
MODEL = "ft ft_cold st st_published train_step graph_ft graph_ft_again graph_st convolutions"
LAYERS: Columns = {
    "inverse": lambda row: en.quartiles(row, "inverse", 1e6),
    "inverse, hot": lambda row: en.quartiles(row, "inverse_hot", 1e6),
    "our forward": "forward",
    "forward, hot": "forward_hot",
    "torch forward": lambda row: fastest(row, 1e6),
    "inverse ÷ torch forward": lambda row: en.ratio(row, "inverse_vs_torch_forward"),
    "inverse ÷ itself": lambda row: en.ratio(row, "aa_inverse"),
    "1×1": "pointwise",
    "inverse eager": "inverse_eager",
    "wavefront": "wavefront",
    "algorithm 1": "diagonal_channel",
    "algorithm 2": "diagonal_channel_4",
    "GB/s": lambda row: en.value(row, "inverse_bytes_per_s", "{:,.0f}".format, 1e-9),
    "of copy": "copy",  # replaced: of the machine's row
    "GFLOP/s": lambda row: en.value(row, "inverse_flop_per_s", "{:,.0f}".format, 1e-9),
}
MODELS: Columns = {
    "FT": "ft",
    "ST": "st",
    "ST ÷ FT": CELLS["ST ÷ FT"],
    "FT, graph": "graph_ft",
    "ST, graph": "graph_st",
    "ST ÷ FT, graph": lambda row: en.ratio(row, "graph_st_vs_graph_ft"),
    "convolutions ÷ ST, graph": lambda row: en.ratio(row, "convolutions_vs_graph_st"),
    "FT ÷ itself, graph": lambda row: en.ratio(row, "aa_graph_ft"),
    "train step": "train_step",
    "round trip": lambda row: en.value(row, "round_trip_error", "{:.1e}".format),
    "parameters": CELLS["stored"],
}
LAYER_NAMES = {"layer": "{kind}", "C, n": "{channels:.0f}, {n:.0f}", "images": "{batch:.0f}"}
MODEL_NAMES = {"model": "{kind}", "images": "{batch:.0f}", "TF32": "{tf32_block}"}
LAUNCHES = {"compiled": "launch_and_wait", "python": "python_launch_and_wait"}
"""Where the loop of launches ran → the field with its time."""


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    blocks = newest(rows).groupby(["machine", "device"]) if len(rows) else ()
    shown = [_block(block) for _, block in blocks]
    return Document("gpu", Path(__file__).with_suffix(".md.j2"), {"blocks": shown})


def _block(block: pd.DataFrame) -> dict[str, object]:
    """What is shown of one machine."""
    named = ["kind", "batch", "channels", "n", "tf32_block"]
    block = block.reindex(columns=[*dict.fromkeys([*block, *named])])
    layers = block[block["part"] == "layer"].sort_values(named, kind="stable")
    order = ["batch", "kind", "tf32_block"]
    models = block[block["part"] == "model"].sort_values(order, kind="stable")
    machine = bl.only(block, part="machine")
    fields = "inverse_bytes_per_s", machine, "copy_bytes_per_s", "{:.0%}".format
    columns = {**LAYERS, "of copy": lambda row: en.quotient(row, *fields)}
    return {
        "origin": bl.origin(block),
        "machine": None if machine is None else _costs(machine),
        "layers": {
            bool(tf32): grid(found, LAYER_NAMES, columns, 1e6)
            for tf32, found in layers.groupby("tf32_block")
        },
        "models": grid(models, MODEL_NAMES, MODELS, 1e3) if len(models) else None,
        "failures": bl.failures(block[block["part"] != "machine"]),
    }


def _costs(row: pd.Series) -> dict[str, str]:
    """What a machine's copy and launches cost, or why that was not measured."""
    if row["status"] != "ok":
        return {"failure": f"{row['status']}: {row['reason']}"}
    micro = {place: 1e6 * row.get(f"{name}_s", math.nan) for place, name in LAUNCHES.items()}
    launches = {place: en.number(cost) for place, cost in micro.items() if cost > 0}
    return {"rate": f"{row['copy_bytes_per_s'] / 1e9:,.0f}", **launches}


TABLE = Table(
    name="gpu",
    title="Layers and whole models on a GPU",
    question="How fast are layers and whole models on a GPU?",
    labels={"part": "part"},
    columns=(
        Ratio("inverse_vs_* inverse_hot_vs_* st_vs_ft graph_st_vs_* convolutions_vs_* aa_*"),
        Number("*_per_s channels n batch *_bytes launches*"),
        Seconds(" ".join(LAUNCHES.values()), verified=False),
        Seconds(f"{LAYER} {MODEL}"),
        Error("*_error"),
        Name("kind fastest_*"),
        Truth("tf32_block cudnn_benchmark"),
        *FLOW,
    ),
    headline="kind n batch inverse_s torch_forward_s inverse_vs_torch_forward ft_s st_s",
    page=page,
    finding=sentence(
        "On a GPU our inverse of a layer takes {} times as long as torch's fastest forward pass.",
        "inverse_vs_torch_forward",
        called="{0.kind}, n = {0.n:g}, batch {0.batch:g}".format,
    ),
    made_by="python -m invconv bench gpu --out runs/gpu",
    plots=tuple(
        Plot(
            title=f"{{kind}}: time against {x}, {{channels:g}} channels, {other} = {{{other}:g}}",
            columns={f"{name}_s": name for name in SHOWN},
            x=x,
            series="column",
            looks=SHOWN,
            where={"part": ["layer"]},
            apart=("tf32_block",),
        )
        for x, other in (("n", "batch"), ("batch", "n"))
    ),
    order=8,
)
