"""The page `results/table4.md`: sampling with FInC's two algorithms and with our inverse."""

from pathlib import Path

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks
from invconv.report.published import published

SIZES = {
    "mnist": "MNIST (2, 16)",
    "cifar10": "CIFAR-10 (3, 32)",
    "imagenet32": "ImageNet-32 (3, 48)",
    "imagenet64": "ImageNet-64 (3, 32)",
}
"""The models of the table, with their (L, K)."""
IMAGES = (1, 100)
ALGORITHMS = {"algorithm_1": "algorithm 1", "algorithm_2": "algorithm 2"}


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/table4.md`` from the rows and returns its path."""
    return pages.write("table4", lambda: page(rows), results)


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows and the published figures."""
    figures = published("table4")
    parts = [
        "# Table 4: algorithm 1, algorithm 2 and ours",
        "Made by `python reproductions/table4.py -m` (`preset=paper` for the published width); do "
        "not edit. Rows: [data/table4.csv](data/table4.csv). Seconds to sample 1 or 100 images "
        "from a FInC flow with random weights, median [quartiles]; the algorithms of a line are "
        "timed interleaved. Algorithm 1: one corner at a "
        "time, a step per diagonal and channel. Algorithm 2: the same, four corners in one GPU "
        "launch; without a GPU there is nothing to tell them apart. Here algorithm 1 is the "
        "release's, rewritten in C++: scalar, in float64, on one thread; ours computes in float32 "
        "on all threads, so that the difference is of programs, not of algorithms. "
        + remarks.UNTRAINED
        + " A/A: by how much our own time differs from itself in the same block. Parameters, "
        "exactly: of the published model, counted by us from the released layers. "
        "Published times are from "
        "the authors' GPU, which they do not name. The rest of the flow costs the same with every "
        "inverse.",
    ]
    found = pages.blocks(rows, "size", "images")
    for block in found or [rows]:
        parts += _block(block, figures)
    return "\n\n".join([*parts, *remarks.published_notes(figures)]) + "\n"


def _block(block: pd.DataFrame, figures: pd.DataFrame) -> list[str]:
    if block.empty:
        return ["missing: no rows yet.", _table(block, figures, False)]
    width = int(block["width"].iloc[0])
    full = width == pages.PAPER_WIDTH
    size = pages.size(width, ": not the published model")
    return [
        f"## {block['machine'].iloc[0]}: coupling width {width}, {size}",
        pages.origin(block),
        _table(block, figures, full),
        *remarks.footnotes(block),
        *_absent(block),
    ]


def _table(block: pd.DataFrame, figures: pd.DataFrame, full: bool) -> str:
    """One line per model and number of images; ratios to published times at full width alone."""
    lines = []
    for size, title in SIZES.items():
        for images in IMAGES:
            row = None if block.empty else pages.only(block, size=size, images=images)
            stated = pages.published_cell(
                figures, "{:,.0f}".format, model="FInC", dataset=size, metric="parameters"
            )
            line = {
                "model (L, K)": title,
                "images": str(images),
                "parameters published": stated,
                "exactly": pages.published_cell(
                    figures,
                    "{:,.0f}".format,
                    model="FInC",
                    dataset=size,
                    metric="parameters_exact",
                ),
                "parameters": md.value(row, "parameters", "{:,.0f}".format),
            }
            for name, theirs in ALGORITHMS.items():
                stated = pages.published_cell(
                    figures, model=theirs, dataset=size, metric=f"st_{images}_s"
                )
                line[f"{theirs} published"] = stated
                line[f"{theirs} measured"] = md.quartiles(row, name)
                if full:
                    line[f"{theirs} ratio"] = md.against(row, f"{name}_s", stated)
            line["ours"] = remarks.sampling_time(row, "ours", "ours_round_trip")
            line["A/A"] = md.value(row, "aa_spread", "{:.1%}".format)
            lines.append(line)
    return md.table(lines)


def _absent(block: pd.DataFrame) -> list[str]:
    """Why an algorithm was not measured."""
    lines = []
    for name, title in ALGORITHMS.items():
        reasons = block.get(f"{name}_reason", pd.Series(dtype=object)).dropna()
        lines += [f"- {title}: not measured: {reason}." for reason in dict.fromkeys(reasons)]
    return ["\n".join(lines)] if lines else []
