"""Grids as data: the columns that several pages share, and the sections of a page."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from invconv.flows.published import WIDTH
from invconv.methods import methods
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.document import Document
from invconv.report.entries import Entry, Grid, Line, Measured
from invconv.report.published import published

CELLS: Mapping[str, Callable[[Measured], Entry]] = {
    "bpd": en.bits_with_interval,
    "histogram": lambda row: en.value(row, "histogram_bpd", en.bits),
    "FT s": lambda row: en.quartiles(row, "ft"),
    "ST s": bl.sampling_time,
    "ST ÷ FT": lambda row: bl.sampling_ratio(row, "st_vs_ft"),
    "FT cold ÷ FT": lambda row: en.ratio(row, "ft_cold_vs_ft"),
    "paper's ST ÷ ST": lambda row: bl.sampling_ratio(row, "st_published_vs_st"),
    "ST s, paper's algorithm": lambda row: en.quartiles(row, "st_published"),
    "train step s": lambda row: en.value(row, "train_step_s"),
    "memory MB": lambda row: en.value(row, "train_step_extra_bytes", scale=1e-6),
    "images": lambda row: en.value(row, "timed_images", en.whole),
    "round trip": lambda row: en.value(row, "round_trip_error", lambda e: en.number(e, 2)),
    "stored": lambda row: en.value(row, "parameters", en.whole),
    "free": lambda row: en.value(row, "free_parameters", en.whole),
}
"""Title of a column → its cell for a row."""


def swept() -> dict[str, str]:
    """The methods of the default sweeps and their titles."""
    return {name: method.title for name, method in methods().items() if method.swept}


def cells(row: Measured, *titles: str) -> dict[str, Entry]:
    """The cells of a row in these columns of `CELLS`."""
    return {title: CELLS[title](row) for title in titles}


def sections(
    found: Iterable[pd.DataFrame],
    grid: Callable[[pd.DataFrame], Grid],
    called: bl.Called = bl.cell_name,
) -> list[dict[str, object]]:
    """What a page shows of each block of rows: its origin, its table, and what went wrong."""
    return [
        {
            "origin": bl.origin(block),
            "rows": block.to_dict("records"),
            "grid": grid(block),
            "failures": bl.failures(block, called),
            "lossy": bl.lossy(block, called),
        }
        for block in found
    ]


def page_of_blocks(
    template: Path,
    lines: Callable[[pd.DataFrame, pd.DataFrame], Iterable[Line]],
    apart: Iterable[str],
    rows: pd.DataFrame,
) -> Document:
    """A page with a section for each block of rows.

    The template is named after the table; ``lines``, of a grid, are given a block and the figures.
    """
    name = template.name.partition(".")[0]
    figures = published(name)
    found = sections(bl.blocks(rows, *apart), lambda block: Grid(lines(block, figures)))
    context = {
        "blocks": found,
        "full": WIDTH,
        "published": bl.published_notes(figures),
    }
    return Document(name, template, context)
