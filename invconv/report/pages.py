"""What every page has in common: its file, its map, blocks of rows, footnotes and sources."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from invconv.bench import newest, write_text_atomically
from invconv.bench.flow_timing import TRUSTED
from invconv.report import markdown as md
from invconv.report.names import METHODS
from invconv.report.seeds import setting

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
    return " ".join([source, *memory_note(block)])


def memory_note(rows: pd.DataFrame) -> list[str]:
    """What is to be said of the memory between two calls; nothing of rows that do not know it."""
    if "memory_kept" not in rows or rows["memory_kept"].isna().all():
        return []
    kept = rows["memory_kept"] == True  # noqa: E712 - a column of objects
    others = ", ".join(f"`{cell}`" for cell in rows.loc[~kept, "cell"])
    which = f", but for {others}" if others else ""
    return [f"Freed memory stays with the process{which} ([why](README.md))."]


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
    for name, wanted in labels.items():
        rows = rows[rows[name] == wanted]
    return None if rows.empty else rows.iloc[-1]


def footnotes(rows: pd.DataFrame) -> list[str]:
    """A line for every row that is not ok."""
    if rows.empty:
        return []
    bad = rows[rows["status"] != "ok"]
    lines = [f"- `{row['cell']}`: {row['status']}: {row['reason']}" for _, row in bad.iterrows()]
    return ["\n".join(lines)] if lines else []


def lossy_notes(rows: pd.DataFrame) -> list[str]:
    """A line for every model whose samples are not what its latents stand for."""
    if "round_trip_error" not in rows:
        return []
    lines = []
    for _, row in rows[rows["round_trip_error"] > TRUSTED].iterrows():
        exact = row.get("round_trip_error_float64")
        known = "" if exact is None or pd.isna(exact) else f" ({exact:.1e} in float64)"
        lines.append(
            f"- `{row['cell']}`: decoding what was encoded has a relative error of "
            f"{row['round_trip_error']:.1e}{known}: rounding errors grow from layer to layer. "
            "In float32 its samples are not those of its latents; only its times count."
        )
    if "round_trip_overflows" in rows:
        lines += [
            f"- `{row['cell']}`: decoding what was encoded overflows, though every layer inverts: "
            "only its times and its bits per dimension count."
            for _, row in rows[rows["round_trip_overflows"] == True].iterrows()  # noqa: E712
        ]
    if "samples_not_finite" in rows:
        lines += [
            f"- `{row['cell']}`: {row['samples_not_finite']:.0f} of {row['timed_images']:.0f} "
            "samples were not finite, since an inverse overflowed."
            for _, row in rows[rows["samples_not_finite"] > 0].iterrows()
        ]
    return ["\n".join(lines)] if lines else []


def provenance_table(rows: pd.DataFrame) -> str:
    """One line per row: status, device, versions, commit and date."""
    lines = [
        {
            "cell": f"`{row['cell']}`",
            "status": row["status"],
            "device": row["device"],
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
    figures: pd.DataFrame, form: Callable[[float], str] = "{:g}".format, **labels: str
) -> str:
    """The published figure with these labels as a cell, `ABSENT` if there is none."""
    row = only(figures, **labels)
    if row is None:
        return md.ABSENT
    return md.Cell(
        form(float(row["value"])), md.Source(published=f"{row['source']} [{row['label']}]")
    )


def published_notes(figures: pd.DataFrame) -> list[str]:
    """The sources of published figures, and the footnotes of those that need one."""
    sources = [
        f"- {source}: {', '.join(dict.fromkeys(group['model']))} (label "
        f"{', '.join(sorted(set(group['label'])))})"
        for source, group in figures.groupby("source", sort=False)
    ]
    noted = figures[figures["note"] != ""]
    notes = [
        f"- {', '.join(dict.fromkeys(group['model']))}, "
        f"{', '.join(dict.fromkeys(group['metric']))}: {note}."
        for note, group in noted.groupby("note", sort=False)
    ]
    return [
        "Sources of the published figures (V: read in the primary source; R: read off a plot, "
        "±10 %; I: inferred or computed):",
        "\n".join(sources),
        "\n".join(notes),
    ]


def title(method: str) -> str:
    """A method's name on the page."""
    return METHODS.get(method, method)


def named(name: str, row: pd.Series) -> str:
    """``name``, with the dequantisation where it is not the uniform one."""
    dequantization = row.get("dequantization")
    plain = pd.isna(dequantization) or dequantization == "uniform"
    return name if plain else f"{name}, {dequantization}"
