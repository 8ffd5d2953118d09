"""The page `results/table3.md`: FInC and MaCow with as many parameters."""

from pathlib import Path

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks
from invconv.report.published import published

MODELS = {
    "macow_fg": ("MaCow-FG", "uniform"),
    "macow_org": ("MaCow-org", "variational"),
    "finc_k28": ("FInC", "uniform"),
}
"""Name of a row's model → its name on the page and in the paper, and its dequantisation."""


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/table3.md`` from the rows and returns its path."""
    return pages.write("table3", lambda: page(rows), results)


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows and the published figures."""
    figures = published("table3")
    parts = [
        "# Table 3: equal parameters, 32×32 RGB images",
        "Made by `python reproductions/table3.py -m` (`preset=paper` for the published width); do "
        "not edit. Rows: [data/table3.csv](data/table3.csv). FT: seconds for the "
        "log-probability of a batch, ST: to sample as many images, median [quartiles], "
        "interleaved, with random weights. MaCow-FG: levels "
        "of [4, [12, 12], [12, 12], 12] steps; MaCow-org: the same behind a dequantisation flow "
        "of [4, 4] steps, which sampling does not run; FInC: 3 levels of 28 steps. ST s, paper's "
        "algorithm: the same pass with the inverse as the model's paper computes it, timed once, "
        f"in a block of its own. {remarks.OWN_ALGORITHMS} {remarks.UNTRAINED} The models are "
        "timed minutes apart: their times are not compared with each other. Parameters, exactly: "
        "of the published model, counted by us from the released layers. Published times are for "
        "100 images on the authors' GPU, which they do not name.",
    ]
    found = pages.blocks(rows, "flow")
    for block in found or [rows]:
        parts += _block(block, figures)
    return "\n\n".join([*parts, *remarks.published_notes(figures)]) + "\n"


def _block(block: pd.DataFrame, figures: pd.DataFrame) -> list[str]:
    if block.empty:
        return ["missing: no rows yet.", _table(block, figures, False)]
    width, images = int(block["width"].iloc[0]), int(block["images"].iloc[0])
    full = width == pages.PAPER_WIDTH
    size = pages.size(width, ": parameters are not equal here")
    return [
        f"## {block['machine'].iloc[0]}: {images} images, coupling width {width}, {size}",
        pages.origin(block),
        _table(block, figures, full and images == 100),
        *remarks.footnotes(block),
        *remarks.lossy_notes(block),
    ]


def _table(block: pd.DataFrame, figures: pd.DataFrame, full: bool) -> str:
    """One line per model; ratios to published times at full size alone."""
    lines = []
    for model, (name, noise) in MODELS.items():
        row = None if block.empty else pages.only(block, model=model)
        stated = pages.published_cell(figures, "{:,.0f}".format, model=name, metric="parameters")
        line = {
            "model": name,
            "dequantisation": noise,
            "parameters published": stated,
            "exactly": pages.published_cell(
                figures, "{:,.0f}".format, model=name, metric="parameters_exact"
            ),
            "parameters": md.value(row, "parameters", "{:,.0f}".format),
        }
        for metric, title in (("ft", "FT"), ("st", "ST")):
            stated = pages.published_cell(figures, model=name, metric=f"{metric}_s")
            line[f"{title} s, published"] = stated
            line[f"{title} s, measured"] = (
                remarks.sampling_time(row) if metric == "st" else md.quartiles(row, metric)
            )
            if full:
                line[f"{title} ratio"] = md.against(row, f"{metric}_s", stated)
        line["ST/FT"] = md.quotient(row, "st_s", row, "ft_s")
        line["ST s, paper's algorithm"] = md.quartiles(row, "st_published")
        line["A/A"] = md.value(row, "aa_spread", "{:.1%}".format)
        line["round trip"] = md.value(row, "round_trip_error", "{:.1e}".format)
        lines.append(line)
    return md.table(lines)
