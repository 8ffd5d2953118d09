"""The page `results/gpu.md`: layers and whole models on a GPU."""

from pathlib import Path

import pandas as pd

from invconv.bench import newest, write_text_atomically
from invconv.report import markdown as md

INTRODUCTION = (
    "Made by `python -m invconv.bench gpu`; do not edit. Rows: [data/gpu.csv](data/gpu.csv). "
    "Medians of interleaved repeats, CUDA events, the L2 cache overwritten before each; "
    "microseconds unless a column says otherwise. Inverse, our forward, torch's forwards and the "
    "1×1 are replays of CUDA graphs; `eager` is a plain call. Every inverse was proved against "
    "its input first. The torch forward is the fastest of four padded or cropped, one grouped, "
    "one dense and one dense channels-last convolution (FInC), or one padded convolution. "
    "Algorithms 1 and 2 are FInC's, one thread per sample and pixel, a launch and a wait for the "
    "device per diagonal and channel, looped in C++."
)


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/gpu.md`` and returns its path."""
    path = results / "gpu.md"
    write_text_atomically(page(rows), path)
    return path


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows."""
    parts = ["# On a GPU", INTRODUCTION]
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
                copy = _copy_rate(group)
                lines = [_layer(row, copy) for _, row in layers.iterrows()]
                parts += [f"### One layer, {title}", md.table(lines)]
        models = group[group["part"] == "model"]
        if len(models):
            parts += _models(models)
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


def _copy_rate(rows: pd.DataFrame) -> float | None:
    found = _column(rows[rows["part"] == "machine"], "copy_bytes_per_s").dropna()
    return float(found.iloc[0]) if len(found) else None


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    return rows[name] if name in rows else pd.Series(index=rows.index, dtype=object)


def _layer(row: pd.Series, copy: float | None) -> dict[str, str]:
    line = {
        "layer": str(row["kind"]),
        "C, n": f"{row['channels']:.0f}, {row['n']:.0f}",
        "images": f"{row['batch']:.0f}",
    }
    if row["status"] != "ok":
        return line | {"inverse": f"{row['status']}: {row['reason']}"}

    def micro(name: str) -> str:
        value = row.get(f"{name}_s")
        return md.ABSENT if value is None or pd.isna(value) else md.number(1e6 * value)

    line["inverse"] = md.with_quartiles(
        *(1e6 * row[f"inverse{part}_s"] for part in ("", "_q25", "_q75"))
    )
    line["A/A"] = f"{row['aa_spread']:.1%}"
    line["our forward"] = micro("forward")
    line["torch forward"] = f"{micro('torch_forward')} ({row['fastest_torch_forward']})"
    line["inverse ÷ torch forward"] = md.ratio(row["inverse_s"], row["torch_forward_s"])
    line["algorithm 2 ÷ inverse"] = md.ratio(row.get("diagonal_channel_4_s"), row["inverse_s"])
    line |= {
        "1×1": micro("pointwise"),
        "inverse eager": micro("inverse_eager"),
        "wavefront": micro("wavefront"),
        "algorithm 1": micro("diagonal_channel"),
        "algorithm 2": micro("diagonal_channel_4"),
    }
    rate = row["inverse_bytes_per_s"]
    line["GB/s"] = f"{rate / 1e9:,.0f}"
    line["of copy"] = f"{rate / copy:.0%}" if copy else md.ABSENT
    line["GFLOP/s"] = f"{row['inverse_flop_per_s'] / 1e9:,.0f}"
    return line


def _models(rows: pd.DataFrame) -> list[str]:
    glow = {
        row["batch"]: row.get("graph_st_s")
        for _, row in rows.iterrows()
        if row["kind"] == "glow" and row["status"] == "ok"
    }
    lines = []
    for _, row in rows.sort_values(["batch", "kind"], kind="stable").iterrows():
        line = {"model": str(row["kind"]), "images": f"{row['batch']:.0f}"}
        if row["status"] != "ok":
            lines.append(line | {"FT": f"{row['status']}: {row['reason']}"})
            continue
        ms = {
            name: 1e3 * row[f"{name}_s"]
            for name in ("ft", "st", "train_step", "graph_ft", "graph_st")
        }
        share = row.get("convolutions_s")
        share = None if share is None or pd.isna(share) else share / row["graph_st_s"]
        lines.append(
            line
            | {
                "FT": md.number(ms["ft"]),
                "ST": md.number(ms["st"]),
                "ST/FT": f"{ms['st'] / ms['ft']:.2f}",
                "FT, graph": md.number(ms["graph_ft"]),
                "ST, graph": md.number(ms["graph_st"]),
                "ST/FT, graph": f"{ms['graph_st'] / ms['graph_ft']:.2f}",
                "ST ÷ Glow's, graph": md.ratio(row["graph_st_s"], glow.get(row["batch"])),
                "convolutions' share of ST": md.ABSENT if share is None else f"{share:.1%}",
                "train step": md.number(ms["train_step"]),
                "A/A": f"{row['graph_aa_spread']:.1%}",
                "round trip": f"{row['round_trip_error']:.1e}",
                "parameters": f"{row['parameters']:,.0f}",
            }
        )
    return ["### Whole models, milliseconds", md.table(lines)]
