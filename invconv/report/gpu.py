"""The page `results/gpu.md`: layers and whole models on a GPU."""

from pathlib import Path

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks
from invconv.rows import newest

INTRODUCTION = (
    "Made by `python -m invconv.bench gpu`; do not edit. Rows: {rows}. "
    "Medians of interleaved repeats, CUDA events, the L2 cache overwritten before each; "
    "microseconds unless a column says otherwise. Inverse, our forward, torch's forwards and the "
    "1×1 are replays of CUDA graphs; `eager` is a plain call. Every inverse was verified against "
    "its input first. The torch forward is the fastest of four padded or cropped, one grouped, "
    "one dense and one dense channels-last convolution (FInC), or one padded convolution. "
    "Algorithms 1 and 2 are FInC's, one thread per sample and pixel, a launch and a wait for the "
    "device per diagonal and channel, looped in C++."
)


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/gpu.md`` and returns its path."""
    return pages.write("gpu", lambda: page(rows), results)


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows."""
    parts = ["# On a GPU", INTRODUCTION.format(rows=pages.rows_link("gpu", rows))]
    if rows.empty:
        return "\n\n".join([*parts, "missing: no rows yet, no GPU could be reached."]) + "\n"
    for (machine, device), group in newest(rows).groupby(["machine", "device"]):
        parts.append(f"## {device} ({machine})")
        parts += _machine(group)
        for title, with_tf32 in (("TF32 off", False), ("TF32 on for torch's forwards", True)):
            kept = _column(group, "tf32_block") == with_tf32
            layers = group[(group["part"] == "layer") & kept]
            if len(layers):
                layers = layers.sort_values(["kind", "batch", "channels", "n"], kind="stable")
                copy = pages.only(group, part="machine")
                lines = [_layer(row, copy) for _, row in layers.iterrows()]
                parts += [f"### One layer, {title}", md.table(lines)]
        models = group[group["part"] == "model"]
        if len(models):
            parts += _models(models)
        parts += remarks.footnotes(group[group["part"].isin(["layer", "model"])])
        commits = ", ".join(sorted(set(group["commit"].astype(str))))
        dirty = " with changes" if group["dirty"].astype(bool).any() else ""
        versions = ", ".join(sorted(set(group["torch"].astype(str))))
        parts.append(f"Commit {commits}{dirty}, torch {versions}.")
    return "\n\n".join(parts) + "\n"


def _machine(rows: pd.DataFrame) -> list[str]:
    parts = []
    for _, row in rows[rows["part"] == "machine"].iterrows():
        if row["status"] != "ok":
            parts.append(f"machine: {row['status']}: {row['reason']}")
            continue
        parts.append(f"A copy on the device moves {row['copy_bytes_per_s'] / 1e9:,.0f} GB/s.")
        for name, what in (
            ("launch_and_wait_s", "in C++, as for the published algorithms"),
            ("python_launch_and_wait_s", "in a loop of Python"),
        ):
            if name in row and not pd.isna(row[name]):
                cost = md.number(1e6 * row[name])
                parts.append(f"An empty launch and a wait {what}: {cost} µs.")
    for _, row in rows[rows["part"] == "sanitizer"].iterrows():
        said = row["sanitizer"] if row["status"] == "ok" else f"{row['status']}: {row['reason']}"
        parts.append(f"compute-sanitizer, {said}")
    return parts


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    return rows[name] if name in rows else pd.Series(index=rows.index, dtype=object)


def _layer(row: pd.Series, copy: pd.Series | None) -> dict[str, str]:
    line = {
        "layer": str(row["kind"]),
        "C, n": f"{row['channels']:.0f}, {row['n']:.0f}",
        "images": f"{row['batch']:.0f}",
    }
    if row["status"] != "ok":
        return line | {"inverse": md.value(row, "status")}

    def micro(name: str) -> str:
        return md.value(row, f"{name}_s", scale=1e6)

    forward = micro("torch_forward")
    sources = getattr(forward, "sources", ())
    return line | {
        "inverse": md.quartiles(row, "inverse", 1e6),
        "A/A": md.value(row, "aa_spread", "{:.1%}".format),
        "our forward": micro("forward"),
        "torch forward": md.Cell(f"{forward} ({row['fastest_torch_forward']})", *sources),
        "inverse ÷ torch forward": md.quotient(row, "inverse_s", row, "torch_forward_s"),
        "1×1": micro("pointwise"),
        "inverse eager": micro("inverse_eager"),
        "wavefront": micro("wavefront"),
        "algorithm 1": micro("diagonal_channel"),
        "algorithm 2": micro("diagonal_channel_4"),
        "GB/s": md.value(row, "inverse_bytes_per_s", "{:,.0f}".format, 1e-9),
        "of copy": md.quotient(
            row, "inverse_bytes_per_s", copy, "copy_bytes_per_s", "{:.0%}".format
        ),
        "GFLOP/s": md.value(row, "inverse_flop_per_s", "{:,.0f}".format, 1e-9),
    }


def _models(rows: pd.DataFrame) -> list[str]:
    lines = []
    for _, row in rows.sort_values(["batch", "kind"], kind="stable").iterrows():
        line = {"model": str(row["kind"]), "images": f"{row['batch']:.0f}"}
        if row["status"] != "ok":
            lines.append(line | {"FT": md.value(row, "status")})
            continue
        lines.append(
            line
            | {
                "FT": md.value(row, "ft_s", scale=1e3),
                "ST": md.value(row, "st_s", scale=1e3),
                "ST/FT": md.quotient(row, "st_s", row, "ft_s"),
                "FT, graph": md.value(row, "graph_ft_s", scale=1e3),
                "ST, graph": md.value(row, "graph_st_s", scale=1e3),
                "ST/FT, graph": md.quotient(row, "graph_st_s", row, "graph_ft_s"),
                "convolutions' share of ST": md.quotient(
                    row, "convolutions_s", row, "graph_st_s", "{:.1%}".format
                ),
                "train step": md.value(row, "train_step_s", scale=1e3),
                "A/A": md.value(row, "graph_aa_spread", "{:.1%}".format),
                "round trip": md.value(row, "round_trip_error", "{:.1e}".format),
                "parameters": md.value(row, "parameters", "{:,.0f}".format),
            }
        )
    return ["### Whole models, milliseconds", md.table(lines)]
