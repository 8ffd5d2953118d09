"""Layers and whole models on a GPU; `invconv.tables.gpu_session` measures them."""

import math
from pathlib import Path

import pandas as pd

from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.document import Document
from invconv.report.entries import Grid, Line
from invconv.report.explorer.plots import Plot
from invconv.report.grids import CELLS
from invconv.rows import newest
from invconv.rows.columns import FLOW, Error, Name, Number, Seconds, Truth
from invconv.tables.scaling import SERIES
from invconv.tables.table import Table

SHOWN = {name: SERIES[name] for name in ("inverse", "forward", "torch_forward", "pointwise")}
SHOWN |= {name: SERIES[f"inverse_{name}"] for name in ("wavefront", "diagonal_channel")}
SHOWN |= {"diagonal_channel_4": ("inverse, FInC's algorithm 2", "#44AA99", "P")}
"""Field → title, color and marker in the explorer."""
LAYER = "inverse forward fresh inverse_eager forward_eager torch_forward torch pointwise 1x1_*"
LAYER += " four four_* grouped dense dense_* wavefront diagonal_channel* raster_serial"
MODEL = "ft st train_step graph_ft graph_st convolutions"
LAUNCHES = {"compiled": "launch_and_wait", "python": "python_launch_and_wait"}
"""Where the loop of launches ran → the field with its time."""


def page(rows: pd.DataFrame) -> Document:
    """The page, a function of the rows."""
    blocks = newest(rows).groupby(["machine", "device"]) if len(rows) else ()
    shown = [_block(block) for _, block in blocks]
    return Document("gpu", Path(__file__).with_suffix(".md.j2"), {"blocks": shown})


def _block(block: pd.DataFrame) -> dict[str, object]:
    """What is shown of one machine."""
    columns = ["kind", "batch", "channels", "n", "tf32_block"]
    block = block.reindex(columns=[*dict.fromkeys([*block, *columns])])
    layers = block[block["part"] == "layer"].sort_values(columns, kind="stable")
    models = block[block["part"] == "model"].sort_values(["batch", "kind"], kind="stable")
    machine = bl.only(block, part="machine")
    return {
        "origin": bl.origin(block),
        "machine": None if machine is None else _costs(machine),
        "layers": {
            bool(tf32): Grid([_layer(row, machine) for _, row in found.iterrows()])
            for tf32, found in layers.groupby("tf32_block")
        },
        "models": Grid([_model(row) for _, row in models.iterrows()]) if len(models) else None,
        "failures": bl.failures(block[block["part"] != "machine"]),
    }


def _costs(row: pd.Series) -> dict[str, str]:
    """What a machine's copy and launches cost, or why that was not measured."""
    if row["status"] != "ok":
        return {"failure": f"{row['status']}: {row['reason']}"}
    micro = {place: 1e6 * row.get(f"{name}_s", math.nan) for place, name in LAUNCHES.items()}
    launches = {place: en.number(cost) for place, cost in micro.items() if cost > 0}
    return {"rate": f"{row['copy_bytes_per_s'] / 1e9:,.0f}", **launches}


def _layer(row: pd.Series, copy: pd.Series | None) -> Line:
    line = {
        "layer": str(row["kind"]),
        "C, n": f"{row['channels']:.0f}, {row['n']:.0f}",
        "images": f"{row['batch']:.0f}",
    }
    if row["status"] != "ok":
        return line | {"inverse": en.value(row, "status")}
    micro = {name: en.value(row, f"{name}_s", scale=1e6) for name in (*SHOWN, "inverse_eager")}
    forward, rate = micro["torch_forward"], "inverse_bytes_per_s"
    return line | {
        "inverse": en.quartiles(row, "inverse", 1e6),
        "A/A": CELLS["A/A"](row),
        "our forward": micro["forward"],
        "torch forward": forward.saying(f"{forward} ({row['fastest_torch_forward']})"),
        "inverse ÷ torch forward": en.quotient(row, "inverse_s", row, "torch_forward_s"),
        "1×1": micro["pointwise"],
        "inverse eager": micro["inverse_eager"],
        "wavefront": micro["wavefront"],
        "algorithm 1": micro["diagonal_channel"],
        "algorithm 2": micro["diagonal_channel_4"],
        "GB/s": en.value(row, rate, "{:,.0f}".format, 1e-9),
        "of copy": en.quotient(row, rate, copy, "copy_bytes_per_s", "{:.0%}".format),
        "GFLOP/s": en.value(row, "inverse_flop_per_s", "{:,.0f}".format, 1e-9),
    }


def _model(row: pd.Series) -> Line:
    line = {"model": str(row["kind"]), "images": f"{row['batch']:.0f}"}
    if row["status"] != "ok":
        return line | {"FT": en.value(row, "status")}
    milli = {name: en.value(row, f"{name}_s", scale=1e3) for name in MODEL.split()}
    share = en.quotient(row, "convolutions_s", row, "graph_st_s", "{:.1%}".format)
    return line | {
        "FT": milli["ft"],
        "ST": milli["st"],
        "ST/FT": CELLS["ST/FT"](row),
        "FT, graph": milli["graph_ft"],
        "ST, graph": milli["graph_st"],
        "ST/FT, graph": en.quotient(row, "graph_st_s", row, "graph_ft_s"),
        "convolutions' share of ST": share,
        "train step": milli["train_step"],
        "A/A": en.value(row, "graph_aa_spread", "{:.1%}".format),
        "round trip": en.value(row, "round_trip_error", "{:.1e}".format),
        "parameters": CELLS["stored"](row),
    }


TABLE = Table(
    name="gpu",
    title="Layers and whole models on a GPU",
    labels={"part": "part"},
    columns=(
        Number("*_per_s channels n batch *_bytes launches* graph_aa_spread"),
        Seconds(" ".join(LAUNCHES.values()), verified=False),
        Seconds(f"{LAYER} {MODEL}"),
        Error("*_error"),
        Name("kind fastest_*"),
        Truth("tf32_block cudnn_benchmark"),
        *FLOW,
    ),
    page=page,
    plots=tuple(
        Plot(
            title=f"{{kind}}: time against {x}",
            columns={f"{name}_s": name for name in SHOWN},
            x=x,
            series="column",
            looks=SHOWN,
            where={"part": ["layer"]},
            apart=("channels", other, "tf32_block"),
        )
        for x, other in (("n", "batch"), ("batch", "n"))
    ),
    order=8,
)
