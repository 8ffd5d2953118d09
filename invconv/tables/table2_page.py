"""The page of table 2, and what the README and the explorer show of its rows."""

from collections.abc import Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from invconv.data import DATASETS
from invconv.methods import methods
from invconv.report import Document, Entry, Grid, Line
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.grids import CELLS, cells, swept
from invconv.report.naming import budget, called, data_title
from invconv.report.published import published
from invconv.rows import block_of, newest
from invconv.tables import relative
from invconv.tables.convergence import convergence_lines
from invconv.tables.relative import PAPERS, REFERENCE
from invconv.tables.table2_paper import paper_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EMBEDDED = [name for name, data in DATASETS.items() if data.embedded]
PAPER = [name for name, data in DATASETS.items() if data.published]
NEEDED = ["preset", "dataset", "method", "seed", "config", "bpd", "ft_s", "st_s", "timed_images"]
"""Columns that no row may have: nothing was measured yet, trained or timed."""
TITLES = {
    "ft_s": "forward time FT",
    "st_s": "sampling time ST",
    "st_published_s": "sampling time by the paper's algorithm",
    "train_step_s": "time of a training step",
}
"""Column → its title in the explorer."""
TO_GLOW = {
    "FT ÷ Glow": f"ft_vs_{REFERENCE}",
    "ST ÷ Glow": f"st_vs_{REFERENCE}",
    "train step ÷ Glow": f"train_step_vs_{REFERENCE}",
}
"""Title of a column → the ratio in it."""
TWINS = {"FT": "aa_ft", "ST": "aa_st"}
PICTURE = "table2-relative"
STUDY = "full"


def shown() -> dict[str, str]:
    """Return the titles of `swept` and of the methods in their own paper's step or net."""
    return swept() | {name: m.title for name, m in methods().items() if m.step != "common"}


def page(rows: pd.DataFrame) -> Document:
    """Make the page from the rows and the published figures."""
    rows = in_order(rows)
    of_paper = rows["dataset"].isin(PAPER)
    embedded, paper = rows[~of_paper], rows[of_paper]
    trained = embedded[embedded["bpd"].notna()]
    blocks = timing_blocks(embedded)
    compared = relative.compared(featured(rows))
    context = {
        "picture": PICTURE if len(compared) else "",
        "blocks": [timing_section(block) for block in blocks],
        "trained": [
            {
                "origin": bl.origin(block),
                "preset": preset,
                "budgets": budgets(block),
                "grid": bits_grid(block),
                "convergence": Grid(convergence_lines(block)),
            }
            for (_, preset), block in trained.groupby(["machine", "preset"])
        ],
        "missing": ", ".join(missing(embedded)),
        "failed": bl.failures(embedded[~is_timing(embedded)], _called),
        "paper": Grid(paper_lines(paper, shown().values(), PAPER)),
        "unmeasured": paper.empty,
        "failures": bl.failures(paper, _called),
        "lossy": bl.lossy(paper, _called),
        "published": bl.published_notes(published("table2")),
        "provenance": None if rows.empty else bl.provenance(rows),
    }
    pictures = {PICTURE: partial(_draw, compared)} if len(compared) else {}
    return Document("table2", Path(__file__).with_name("table2.md.j2"), context, pictures)


def _draw(compared: pd.DataFrame) -> "Figure":
    first = compared.iloc[0]
    return relative.draw(compared, f"{data_title(first['dataset'])}, {first['device']}")


def featured(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the block that the README and the first picture show, of rows as `in_order` has them.

    That is the last one of our machine that measured last, of the preset `STUDY` if it has that:
    of the largest embedded images.
    """
    ours = rows[(bl.labels(rows) == "") & rows["method"].isin(swept())]
    ours = ours[~ours["dataset"].isin(PAPER)]
    last = ours.sort_values("date", kind="stable")["machine"].tail(1)
    ours = ours[ours["machine"].isin(last)].assign(study=lambda rows: rows["preset"] == STUDY)
    chosen = ours.sort_values(["study", "date"], kind="stable")[["machine", "preset"]].tail(1)
    return next(reversed(timing_blocks(ours.merge(chosen))), ours[:0])


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the newest row of each cell on each machine, data sets and methods in their order."""
    rows = bl.with_columns(newest(rows), NEEDED)
    rows = rows.sort_values(["seed", "machine"])
    rows = bl.in_order(bl.in_order(rows, "method", shown()), "dataset", [*EMBEDDED, *PAPER])
    return rows.sort_values("preset", kind="stable", ignore_index=True)


def timing_blocks(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows that were timed together: one frame for each block of each machine."""
    block, timed = block_of(rows["cell"]), rows[is_timing(rows)]
    return [part for _, part in timed.groupby(["machine", block], sort=False)]


def is_timing(rows: pd.DataFrame) -> pd.Series:
    """Return whether each row is of a timing cell, measured or failed, and not of a training."""
    return rows["ft_s"].notna() | rows["cell"].str.contains("/")


def timing_section(block: pd.DataFrame) -> dict[str, object]:
    """Return what a page shows of one block."""
    first, reference = block.iloc[0], bl.only(block, method=REFERENCE)
    twins = {title: en.ratio(reference, name) for title, name in TWINS.items()}
    return {
        "data": data_title(first["dataset"]),
        "first": first,
        "size": budget(first),
        "origin": bl.origin(block),
        "grid": Grid(_timing_line(row) for _, row in block.iterrows()),
        "twins": twins,
        "verdict": bl.verdict(block, TO_GLOW.values(), called),
        "failures": bl.failures(block, called),
        "lossy": bl.lossy(block, called),
    }


def _timing_line(row: pd.Series) -> Line:
    line: dict[str, object] = {"method": bl.title(row["method"])}
    if row["status"] not in en.CARRYING:
        return {**line, "FT ms": en.value(row, "status")}
    ratio = {title: en.ratio(row, name) for title, name in TO_GLOW.items()}
    ratio["ST ÷ Glow"] = bl.sampling_ratio(row, TO_GLOW["ST ÷ Glow"])
    if row["method"] == REFERENCE:
        ratio = dict.fromkeys(ratio, Entry("1"))
    return {
        **line,
        "FT ms": en.quartiles(row, "ft", 1e3),
        "ST ms": bl.sampling_time(row, scale=1e3),
        **ratio,
        **cells(row, "ST ÷ FT", "FT cold ÷ FT", "paper's ST ÷ ST", "memory MB", "stored", "free"),
        "round trip": CELLS["round trip"](row),
        "solver": en.ABSENT if pd.isna(row.get("solver")) else row["solver"],
    }


def missing(rows: pd.DataFrame) -> list[str]:
    """Return the methods of the default sweep with rows of a data set, but no bpd or no times."""
    lines = []
    for dataset in rows["dataset"].unique():
        own = rows[rows["dataset"] == dataset]
        for field, what in (("bpd", "bpd"), ("ft_s", "times")):
            names = set(own.loc[own[field].notna(), "method"])
            lines += [
                f"{what} of {title} on {data_title(dataset)}"
                for name, title in swept().items()
                if name in set(own["method"]) - names
            ]
    return lines


def budgets(rows: pd.DataFrame) -> dict[str, list[dict[str, int]]]:
    """Return by data set the sizes of its models and of their training, as configured."""
    found: dict[str, list[dict[str, int]]] = {}
    for _, row in rows.iterrows():
        size = budget(row)
        if size["batch"]:
            sizes = found.setdefault(data_title(row["dataset"]), [])
            sizes += [size] * (size not in sizes)
    return found


def bits_grid(rows: pd.DataFrame) -> Grid:
    """Return the table of the bits per dimension of quick runs."""
    lines: list[Line] = []
    for _, row in rows.iterrows():
        name = bl.named(bl.title(row["method"]), row)
        line: dict[str, object] = {"data": data_title(row["dataset"]), "method": name}
        line |= cells(row, "bpd", "histogram", "round trip")
        lines.append({**line, "steps": str(budget(row)["training"])})
    return Grid(lines)


def brief(rows: pd.DataFrame) -> Grid:
    """Return what the terminal shows at the end of a sweep."""
    return brief_grid(in_order(rows), shown())


def brief_grid(rows: pd.DataFrame, expected: Iterable[str]) -> Grid:
    """Return times of one block beside bpd of one seed, a line for each method and data set."""
    lines: list[Line] = []
    data = rows["dataset"].unique()
    for dataset, name in product(data, expected):
        own = rows[(rows["dataset"] == dataset) & (rows["method"] == name)]
        if own.empty:
            continue
        time, bits = bl.only(own[is_timing(own)]), bl.only(own[~is_timing(own)])
        to_glow = bl.sampling_ratio(time, TO_GLOW["ST ÷ Glow"])
        lines.append(
            ({"data": data_title(dataset)} if len(data) > 1 else {})
            | {
                "method": bl.title(name),
                "FT ms": en.value(time, "ft_s", scale=1e3),
                "ST ms": bl.sampling_time(time, scale=1e3, brief=True),
                "ST ÷ Glow": Entry("1") if name == REFERENCE and time is not None else to_glow,
                "paper's ST ÷ Glow": bl.sampling_ratio(time, PAPERS),
                "bpd, one seed": en.value(bits, "bpd", en.bits),
            }
        )
    return Grid(lines)


def _called(row: pd.Series) -> str:
    return f"{called(row)} (`{row['cell']}`, {row['machine']})"
