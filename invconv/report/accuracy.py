"""The page `results/accuracy.md`: what each inverse loses in float32 and bfloat16."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks
from invconv.report.names import METHODS
from invconv.report.style import save_for_page, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CENTRE = {"n": 32.0, "k": 3.0, "s": 0.0}
AXES = {
    "n": ("image size n", "k = 3, as initialised"),
    "k": ("kernel size k", "n = 32, as initialised"),
    "s": ("weight scale", "n = 32, k = 3, N(0, scale) added to every parameter"),
}
TRUSTED = 1e-3
SHOWN = (1e-8, 1e3)
"""The residuals in the figure; what is beyond is not an inverse any more."""
INITIAL = {"float32": (3e-8, 3e-6), "bfloat16": (1e-4, 1e-1)}
"""The same of layers as initialised."""
MEASURES = {
    "float32_sample": "Sample in float32, against the same layer in float64",
    "float32_round_trip": "Round trip in float32",
    "float32_residual": "Residual in float32",
    "bfloat16_round_trip": "Round trip in bfloat16",
    "bfloat16_residual": "Residual in bfloat16",
    "growth": "Growth of the inverse",
}
FIELD = re.compile(r"([nks][\d.]+)_growth")


def place(point: str) -> tuple[int, int, float]:
    """(n, k, scale) of a point.

    Raises:
        ValueError: if it is no point.
    """
    axis, number = point[:1], point[1:]
    if axis not in CENTRE or not re.fullmatch(r"\d+" if axis != "s" else r"\d+(\.\d+)?", number):
        raise ValueError(
            f"points must be n, k or s and a number, such as n64, k5 or s0.1, not {point!r}"
        )
    values = CENTRE | {axis: float(number)}
    return int(values["n"]), int(values["k"]), values["s"]


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/accuracy.md`` and its figures, and returns the page's path."""
    for name, block in figures(rows).items():
        save_for_page(draw(block), results, name)
    return pages.write("accuracy", lambda: page(rows), results)


def figures(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Each figure's name and its rows."""
    found = [
        pages.in_order(block, "method", list(METHODS)) for block in pages.blocks(rows, "method")
    ]
    return pages.figures("accuracy", found, lambda row: f"c{row['channels']:g}")


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows."""
    parts = [
        "# What the inverse loses in float32 and bfloat16",
        "Made by `python reproductions/accuracy.py -m`; do not edit. Rows: "
        "[data/accuracy.csv](data/accuracy.csv). One layer with the parameters of its paper's "
        "initialisation on N(0, 1) input. In float64 every inverse was checked first, to a "
        "residual of 10⁻⁶ × growth, which beyond a growth of some 10¹⁰ shows little. Sample: "
        "‖f⁻¹(z) − f₆₄⁻¹(z)‖ ÷ ‖f₆₄⁻¹(z)‖, how exact what is sampled is. Residual: "
        "‖f(f⁻¹(z)) − z‖ ÷ ‖z‖, how well the sample encodes to its latent again; it grows with "
        "f⁻¹(z): where that is 10⁹ times as large as z, even a perfectly rounded one has a "
        "residual of some 100. Round trip: ‖f⁻¹(f(x)) − x‖ ÷ ‖x‖. Growth: max |f⁻¹(z)| ÷ max |z| "
        "in float64, or that of f where it is larger (Inverse-Flow solves in f). inf: something "
        "overflowed, and its line in the figure ends. The figure ends at 10³. The scale is no "
        "measure between methods: FInC's kernels have a quarter of the channels that CInC's, "
        "Emerging's and Inverse-Flow's have, and MaCow's weights are normalised. No paper "
        "publishes these figures. – : the layer has no such setting, or does not run in that "
        "type.",
    ]
    found = figures(rows)
    if not found:
        parts.append("missing: no rows yet.")
    for figure, block in found.items():
        parts += [
            f"## {block['machine'].iloc[0]}: C = {block['channels'].iloc[0]}",
            pages.origin(block),
            f"![residuals](figures/{figure}.svg)",
            _trust(block),
        ]
        for axis, (title, rest) in AXES.items():
            parts.append(f"### Against {title} ({rest})")
            for measure, name in MEASURES.items():
                parts += [f"{name}:", _table(block, measure, axis)]
        parts += [*remarks.footnotes(block), *_types(block)]
    return "\n\n".join(parts) + "\n"


def points_along(block: pd.DataFrame, axis: str) -> dict[float, str]:
    """Value on an axis → point, in order; the centre, n = 32, belongs to all of them."""
    points = {match[1] for name in block.columns if (match := FIELD.fullmatch(str(name)))}
    found = {float(point[1:]): point for point in points if point[0] == axis}
    if f"n{CENTRE['n']:g}" in points:
        found.setdefault(CENTRE[axis], f"n{CENTRE['n']:g}")
    return dict(sorted(found.items()))


def _along(row: pd.Series, axis: str, point: str, measure: str) -> str | None:
    """The field of a point, None where a layer without k is not on the axis of k."""
    here = axis != "k" or any(
        str(name)[0] == "k" and FIELD.fullmatch(str(name)) and not pd.isna(row[name])
        for name in row.index
    )
    return f"{point}_{measure}" if here else None


def _table(block: pd.DataFrame, measure: str, axis: str) -> str:
    lines = []
    for _, row in block.iterrows():
        line = {"method": pages.title(str(row["method"]))}
        for size, point in points_along(block, axis).items():
            field = _along(row, axis, point, measure)
            text = md.ABSENT if field is None else md.value(row, field, "{:.1e}".format)
            line[f"{axis} = {size:g}"] = text
        lines.append(line)
    return md.table(lines)


def _trust(block: pd.DataFrame) -> str:
    """Where a float32 residual exceeds 1e-3, and the sample's own error there."""
    found = []
    errors: list[float] = []
    for _, row in block[block["status"] == "ok"].iterrows():
        lost = [
            name.removesuffix("_float32_residual")
            for name in map(str, block.columns)
            if name.endswith("_float32_residual")
            and not row[name] <= TRUSTED
            # a layer without k has no such point
            and not pd.isna(row[name.replace("_float32_residual", "_growth")])
        ]
        if lost:
            errors += [row.get(f"{point}_float32_sample", math.inf) for point in lost]
            points = sorted(lost, key=lambda point: (point[0], float(point[1:])))
            found.append(f"{pages.title(str(row['method']))} at {', '.join(points)}")
    if not found:
        return f"No float32 residual here exceeds {TRUSTED:.0e}."
    finite = [error for error in errors if math.isfinite(error)]
    exact = f"at most {max(finite):.0e} wherever it is finite" if finite else "not there"
    return (
        f"In float32 the residual exceeds {TRUSTED:.0e}, so that encoding a sample does not give "
        f"its latent back, for {'; '.join(found)} (n: image size, k: kernel size, s: weight "
        "scale). Such a flow is to sample in float64, or to be trained with bounded growth; the "
        f"sample itself may be exact (table Sample: {exact})."
    )


def _types(block: pd.DataFrame) -> list[str]:
    """Which layers do not run in a type, and why."""
    lines = []
    for _, row in block[block["status"] == "ok"].iterrows():
        for dtype in ("float32", "bfloat16"):
            reasons = [
                row[name] for name in block.columns if str(name).endswith(f"_{dtype}_reason")
            ]
            reasons = [str(reason) for reason in reasons if not pd.isna(reason)]
            if reasons:
                name = pages.title(str(row["method"]))
                lines.append(f"- {name} does not run in {dtype}: {reasons[0]}.")
    return ["\n".join(lines)] if lines else []


def draw(block: pd.DataFrame) -> "Figure":
    """Residual in float32 and bfloat16 against n, k and weight scale."""
    from matplotlib.figure import Figure

    good = block[block["status"] == "ok"]
    figure = Figure(figsize=(9, 6.6), layout="constrained")
    panels = figure.subplots(2, len(AXES))
    for dtype, line in zip(("float32", "bfloat16"), panels, strict=True):
        for panel, (axis, (title, _)) in zip(line, AXES.items(), strict=True):
            points = points_along(good, axis)
            for _, row in good.iterrows():
                look = style(str(row["method"]))
                fields = [_along(row, axis, p, f"{dtype}_residual") for p in points.values()]
                errors = [row.get(field) if field else None for field in fields]
                sizes = list(points)
                panel.plot(
                    sizes, errors, label=look.title, markersize=5, linewidth=1.2, **look.options()
                )
            if axis == "s":
                label = f"residual {TRUSTED:.0e}"
                panel.axhline(TRUSTED, label=label, color="#777777", linestyle=":", linewidth=1)
            panel.set(yscale="log")
            panel.set_ylim(SHOWN if axis == "s" else INITIAL[dtype])
            if dtype == "bfloat16":
                panel.set_xlabel(title)
            if axis == "n":
                panel.set_xscale("log", base=2)
            if axis != "s":
                panel.set_xticks(list(points), [f"{size:g}" for size in points])
                panel.minorticks_off()
            panel.grid(alpha=0.3)
        line[0].set_ylabel(f"residual in {dtype}")
    handles, labels = panels[0][-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    return figure
