"""The page `results/benchmark.md`: what `pytest --benchmark-only` timed."""

from pathlib import Path

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks
from invconv.report.names import METHODS

OPERATIONS = {
    "forward": "Forward of a layer, in eval mode",
    "inverse": "Inverse of a layer, in eval mode",
    "inverse_backward": "The gradient through the inverse, in the latent and all parameters",
    "log_det": "log_det in training mode, by itself where a layer can, else by its forward",
    "solve": "The solver, every method, four corners, into a reused output",
    "convolve": "The triangular convolution, every method, into a reused output",
}


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/benchmark.md`` from the rows and returns its path."""
    return pages.write("benchmark", lambda: page(rows), results)


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows."""
    parts = [
        "# Every layer and solver method by pytest-benchmark",
        "Made by `pytest --benchmark-only --benchmark-json=FILE` and `python -m invconv report "
        "--from-benchmark FILE`; do not edit. Rows: [data/benchmark.csv](data/benchmark.csv). "
        "Milliseconds, median [quartiles] over the rounds, each result verified before it was "
        "timed. The benchmarks run one after the other, not interleaved, and caches are warm: "
        "these times are for comparing one commit with another on one machine, and a difference "
        "between two lines may be the drift of the machine.",
    ]
    found = pages.blocks(rows, "operation", "layer", "method", "n", "k")
    if not found:
        parts.append("missing: no rows yet.")
    for block in found:
        parts += [f"## {block['machine'].iloc[0]}", pages.origin(block)]
        first = block.iloc[0]
        parts.append(f"{first['channels']:.0f} channels, batch {first['batch']:.0f}.")
        for operation, title in OPERATIONS.items():
            here = block[(block["operation"] == operation) & (block["status"] == "ok")]
            if len(here):
                parts += [f"### {title}", md.table(_lines(here))]
        parts += remarks.footnotes(block)
    return "\n\n".join(parts) + "\n"


def _lines(rows: pd.DataFrame) -> list[dict[str, str]]:
    """One line per layer or method and kernel size, one column per image size."""
    lines = []
    rows = pages.in_order(rows, "method", list(METHODS))
    sizes = sorted(rows["n"].unique())
    for _, group in rows.groupby(["method", "k"], sort=False, dropna=False):
        first = group.iloc[0]
        line = {"method": pages.title(first["method"])}
        line["k"] = md.value(first, "k", "{:.0f}".format)
        for n in sizes:
            row = pages.only(group, n=n)
            line[f"n = {n:.0f}"] = md.ABSENT if row is None else md.quartiles(row, "time", 1e3)
        worst = group.sort_values("residual").iloc[-1]
        line["largest residual"] = md.value(worst, "residual", "{:.0e}".format)
        solvers = sorted(set(group["solver"].dropna()))
        lines.append(line | {"solver": ", ".join(solvers) or md.ABSENT})
    return lines
