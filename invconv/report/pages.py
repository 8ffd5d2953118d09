"""What every page has in common: its file, its map, blocks of rows, footnotes and sources."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from invconv.files import write_text_atomically
from invconv.report import markdown as md
from invconv.report.names import METHODS
from invconv.report.published import as_printed
from invconv.report.seeds import setting
from invconv.rows import newest

PAPER_WIDTH = 512
"""Hidden channels of the published models' couplings."""
MAP = ["table", "line", "column", "text", "cell", "machine", "commit", "field", "published"]
"""Columns of ``results/map/*.csv``: tables and lines of a page are counted from 1."""


def write(name: str, make: Callable[[], str], results: Path) -> Path:
    """Writes ``results/<name>.md`` and ``results/map/<name>.csv``, and returns the page's path.

    The map says for each cell of each table of the page from which fields of which rows, or from
    which publication, its numbers come.

    Args:
        make: makes the page.
    """
    with md.recorded() as tables:
        text = make()
    path = results / f"{name}.md"
    write_text_atomically(text, path)
    lines = sources_of(tables).to_csv(index=False)
    write_text_atomically(lines, results / "map" / f"{name}.csv")
    return path


def sources_of(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The columns of `MAP`, one line per number and source."""
    found = []
    for number, table in enumerate(tables, 1):
        for line, row in enumerate(table.to_dict("records"), 1):  # keeps each `Cell` as it is
            for column, text in row.items():
                for source in getattr(text, "sources", ()):
                    place = {"table": number, "line": line, "column": column, "text": str(text)}
                    found.append(place | vars(source))
    return pd.DataFrame(found, columns=MAP)


def rows_link(table: str, rows: pd.DataFrame) -> str:
    """The name of a table's file of rows, a link where there is such a file."""
    name = f"data/{table}.csv"
    return f"`{name}`" if rows.empty else f"[{name}]({name})"


def blocks(rows: pd.DataFrame, *apart: str) -> list[pd.DataFrame]:
    """The newest row of each cell on each machine, one block per machine and configuration.

    Args:
        apart: the keys of the configuration in which the rows of one block may differ.
    """
    if rows.empty:
        return []
    kept = newest(rows).copy()
    kept = kept.assign(_setting=kept["config"].map(lambda text: setting(text, *apart)))
    return [group for _, group in kept.groupby(["machine", "_setting"])]


def figures(
    stem: str, found: Sequence[pd.DataFrame], detail: Callable[[pd.Series], str]
) -> dict[str, pd.DataFrame]:
    """The name of each block's figure, such as ``scaling-amd-epyc-2-cores-c12``, and the block.

    Args:
        stem: the name of the page.
        found: the `blocks`.
        detail: the end of the name, from a row of the block.
    """
    names: list[str] = []
    for block in found:
        first = block.iloc[0]
        machine = re.sub(r"[\W_]+", "-", str(first["machine"]).lower()).strip("-")
        names.append(f"{stem}-{machine}-{detail(first)}")
    numbers = [names[:i].count(name) for i, name in enumerate(names)]
    unique = [f"{name}-{n + 1}" if n else name for name, n in zip(names, numbers, strict=True)]
    return dict(zip(unique, found, strict=True))


def size(width: int, meaning: str = "") -> str:
    """Whether a model is as wide as the published one, and what it means if it is not."""
    return "as published" if width == PAPER_WIDTH else f"reduced from {PAPER_WIDTH}{meaning}"


def origin(block: pd.DataFrame) -> str:
    """The machine line of a block; it says so where the rows are of several commits."""
    commits = sorted(
        {f"{row['commit']}{'+changes' if row['dirty'] else ''}" for _, row in block.iterrows()}
    )
    several = "commits, which may differ in speed: " if len(commits) > 1 else "commit "
    names = ("device", "torch", "threads")
    device, torch, threads = (
        ", ".join(
            sorted({f"{value:g}" if name == "threads" else str(value) for value in block[name]})
        )
        for name in names
    )
    place = where(device, str(block["machine"].iloc[0]))
    source = f"{place}; torch {torch}, {threads} threads; {several}{', '.join(commits)}."
    return " ".join([source, *_duration(block), *memory_note(block)])


def _duration(block: pd.DataFrame) -> list[str]:
    """How long the cells of a block took together, where their rows know it."""
    if "duration_s" not in block or block["duration_s"].isna().any():
        return []
    minutes = block["duration_s"].sum() / 60
    return [f"Measured in {md.number(minutes, 2)} minutes."]


def memory_note(rows: pd.DataFrame) -> list[str]:
    """What is to be said of the memory between two calls; nothing of rows that do not know it."""
    if "memory_kept" not in rows or rows["memory_kept"].isna().all():
        return []
    kept = rows["memory_kept"] == True  # noqa: E712 - a column of objects
    others = ", ".join(f"`{cell}`" for cell in rows.loc[~kept, "cell"])
    which = f", but for {others}" if others else ""
    return [f"Freed memory stays with the process{which} ([why](README.md))."]


def labels(rows: pd.DataFrame) -> pd.Series:
    """The contributor's label of each row, which `import` puts before the machine; "" for ours."""
    return rows["machine"].map(lambda name: name.rpartition(": ")[0])


def where(device: str, machine: str) -> str:
    """The device, and the name under which its rows are merged where that is another."""
    return device if device == machine else f"{device} ({machine})"


def in_order(rows: pd.DataFrame, column: str, order: Sequence[str]) -> pd.DataFrame:
    """``rows`` with ``column`` in the declared order, what is not in it behind."""
    places = {name: i for i, name in enumerate(order)}
    return rows.sort_values(
        column,
        key=lambda names: names.map(lambda name: places.get(name, len(order))),
        kind="stable",
    )


def only(rows: pd.DataFrame, **labels: object) -> pd.Series | None:
    """The row with these labels, None if there is none."""
    meets = np.ones(len(rows), dtype=bool)
    for name, wanted in labels.items():
        meets &= (rows[name] == wanted).to_numpy(dtype=bool)
    found = np.flatnonzero(meets)
    return rows.iloc[found[-1]] if len(found) else None


def provenance_table(rows: pd.DataFrame) -> str:
    """One line per row: status, device, versions, commit and date."""
    lines = [
        {
            "cell": f"`{row['cell']}`",
            "status": row["status"],
            "device": where(str(row["device"]), str(row["machine"])),
            "threads": f"{row['threads']:.0f}",
            "torch": row["torch"],
            "python": row["python"],
            "commit": f"{row['commit']}{'+changes' if row['dirty'] else ''}",
            "date": row["date"],
        }
        for _, row in rows.iterrows()
    ]
    return md.table(lines) if lines else "missing: no rows yet."


def published_cell(
    figures: pd.DataFrame, form: Callable[[float], str] | None = None, **labels: str
) -> str:
    """The published figure with these labels as a cell, `ABSENT` if there is none.

    It has the digits of its source where no ``form`` is given, and says so where it was read off
    a plot.
    """
    row = only(figures, **labels)
    if row is None:
        return md.ABSENT
    text = as_printed(row) if form is None else form(float(row["value"]))
    mark = " (R)" if row["label"] == "R" else ""
    return md.Cell(text + mark, md.Source(published=f"{row['source']} [{row['label']}]"))


def title(method: str) -> str:
    """A method's name on the page."""
    return METHODS.get(method, method)


def named(name: str, row: pd.Series) -> str:
    """``name``, with the dequantisation where it is not the uniform one."""
    dequantization = row.get("dequantization")
    plain = pd.isna(dequantization) or dequantization == "uniform"
    return name if plain else f"{name}, {dequantization}"
