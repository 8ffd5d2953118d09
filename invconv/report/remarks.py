"""What is said below a table: cells that are not ok, samples not to be trusted, sources."""

from collections.abc import Callable

import pandas as pd

from invconv.bench.flow_timing import TRUSTED
from invconv.report import markdown as md

OWN_ALGORITHMS = (
    "That is the algorithm of the release, rewritten in C++: scalar and in float64, FInC's on one "
    "thread, Emerging's and CInC's with an image per thread; ours computes in the model's type, "
    "on all threads. Of Woodbury, ME-Woodbury and Periodic it is the release's way to invert its "
    "matrices anew in each call, which ours keeps while it samples; of MaCow its loop."
)
"""What is behind a time of a paper's algorithm."""

UNTRAINED = (
    "The round trip was verified with the weights as initialized, where couplings are the "
    "identity and MaCow's masked convolutions a constant: that verifies the other convolutions, "
    "and says nothing of the couplings."
)
"""What is said of the verification of models with random weights."""


def sampling_time(row: pd.Series | None, name: str = "st", error: str = "round_trip_error") -> str:
    """``name_s`` with its quartiles, and in the same cell whether the model does not invert."""
    text = md.quartiles(row, name)
    if row is None or row["status"] != "ok" or not isinstance(text, md.Cell):
        return text
    lost, overflows = row.get(error), row.get("round_trip_overflows") == True  # noqa: E712
    known = lost is not None and not pd.isna(lost)
    why = "overflows" if overflows else f"round trip {md.number(lost, 2)}"
    said = f"{text}, does not invert in float32: {why}"
    marks = [md.source(row, "round_trip_overflows" if overflows else error)]
    fine = not overflows and not (lost is not None and lost > TRUSTED)
    return md.Cell(text if fine else said, *text.sources, *marks * (overflows or known))


def cell_name(row: pd.Series) -> str:
    """A row's cell, as it is called in its CSV file."""
    return f"`{row['cell']}`"


def footnotes(rows: pd.DataFrame, called: Callable[[pd.Series], str] = cell_name) -> list[str]:
    """A line for every row that is not ok."""
    if rows.empty:
        return []
    bad = rows[rows["status"] != "ok"]
    lines = [f"- {called(row)}: {row['status']}: {row['reason']}" for _, row in bad.iterrows()]
    return ["\n".join(lines)] if lines else []


def lossy_notes(rows: pd.DataFrame, called: Callable[[pd.Series], str] = cell_name) -> list[str]:
    """A line for every model whose samples are not what its latents stand for."""
    if "round_trip_error" not in rows:
        return []
    lines = []
    for _, row in rows[rows["round_trip_error"] > TRUSTED].iterrows():
        found = {"in float64": "round_trip_error_float64"}
        found["of any part alone, in float64"] = "part_round_trip_error"
        known = [
            f"{row[field]:.1e} {where}"
            for where, field in found.items()
            if field in row and not pd.isna(row[field])
        ]
        exact = f" ({'; at most '.join(known)})" if known else ""
        lines.append(
            f"- {called(row)}: decoding what was encoded has a relative error of "
            f"{row['round_trip_error']:.1e}{exact}: rounding errors grow from layer to layer. "
            "In float32 its samples are not those of its latents; only its times count."
        )
    if "round_trip_overflows" in rows:
        lines += [
            f"- {called(row)}: decoding what was encoded overflows, though every layer inverts: "
            "only its times and its bits per dimension count."
            for _, row in rows[rows["round_trip_overflows"] == True].iterrows()  # noqa: E712
        ]
    if "samples_not_finite" in rows:
        lines += [
            f"- {called(row)}: {row['samples_not_finite']:.0f} of {row['timed_images']:.0f} "
            "samples were not finite: an inverse overflowed in float32."
            for _, row in rows[rows["samples_not_finite"] > 0].iterrows()
        ]
    return ["\n".join(lines)] if lines else []


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
