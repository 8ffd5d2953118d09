"""Rows on a page: blocks of one machine and configuration, in order, and where they come from."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from invconv.methods import method
from invconv.numerical import TRUSTED
from invconv.report import entries as en
from invconv.report.entries import Entry, Grid
from invconv.report.published import as_printed
from invconv.rows import newest


def setting(config: str, *apart: str) -> str:
    """What rows must share to be compared: the configuration less the keys in ``apart``."""
    kept = {key: value for key, value in json.loads(config).items() if key not in apart}
    return json.dumps(kept, sort_keys=True)


def blocks(rows: pd.DataFrame, *apart: str) -> list[pd.DataFrame]:
    """The newest row of each cell on each machine, one block per machine and configuration.

    Args:
        rows: of one table.
        apart: the keys of the configuration in which the rows of one block may differ.
    """
    if rows.empty:
        return []
    kept = newest(rows)
    kept = kept.assign(_setting=kept["config"].map(lambda text: setting(text, *apart)))
    return [group for _, group in kept.groupby(["machine", "_setting"])]


def picture_names(
    stem: str, found: Sequence[pd.DataFrame], detail: Callable[[pd.Series], str]
) -> dict[str, pd.DataFrame]:
    """The name of each block's picture, such as ``scaling-amd-epyc-2-cores-c12``, and the block.

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


@dataclass(frozen=True)
class Origin:
    """Where the rows of a block come from.

    Attributes:
        machine: under which they are merged.
        device, torch, threads: as they say.
        commits: of the code, "+changes" where it had any.
        minutes: that their cells took together; "" where one does not know it.
        memory: whether freed memory stayed with the process: "yes", "no" where no row knows, or
            the cells for which it did not.
    """

    machine: str
    device: str
    torch: str
    threads: str
    commits: list[str]
    minutes: str
    memory: str


def origin(rows: pd.DataFrame) -> Origin:
    """Where ``rows``, of one machine, come from."""
    marked = rows["commit"].astype(str) + rows["dirty"].map(lambda d: "+changes" if d else "")
    device, torch, threads = (
        ", ".join(sorted({f"{v:g}" if name == "threads" else str(v) for v in rows[name]}))
        for name in ("device", "torch", "threads")
    )
    machine = str(rows["machine"].iloc[0])
    known = "duration_s" in rows and not rows["duration_s"].isna().any()
    minutes = en.number(rows["duration_s"].sum() / 60, 2) if known else ""
    commits = sorted(set(marked))
    return Origin(machine, where(device, machine), torch, threads, commits, minutes, memory(rows))


def memory(rows: pd.DataFrame) -> str:
    """Whether freed memory stayed with the process, see `Origin`."""
    if "memory_kept" not in rows or rows["memory_kept"].isna().all():
        return "no"
    kept = rows["memory_kept"] == True  # noqa: E712 - a column of objects
    return ", ".join(f"`{cell}`" for cell in rows.loc[~kept, "cell"]) or "yes"


def labels(rows: pd.DataFrame) -> pd.Series:
    """The contributor's label of each row, which `import` puts before the machine; "" for ours."""
    return rows["machine"].map(lambda name: name.rpartition(": ")[0])


def where(device: str, machine: str) -> str:
    """The device, and the name under which its rows are merged where that is another."""
    return device if device == machine else f"{device} ({machine})"


def in_order(rows: pd.DataFrame, column: str, order: Iterable[str]) -> pd.DataFrame:
    """``rows`` with ``column`` in the declared order, what is not in it behind."""
    places = {name: i for i, name in enumerate(order)}
    return rows.sort_values(
        column,
        key=lambda names: names.map(lambda name: places.get(name, len(places))),
        kind="stable",
    )


def only(rows: pd.DataFrame, **labels: object) -> pd.Series | None:
    """The row with these labels, None if there is none."""
    if rows.empty:
        return None
    meets = np.ones(len(rows), dtype=bool)
    for name, wanted in labels.items():
        meets &= (rows[name] == wanted).to_numpy(dtype=bool)
    found = np.flatnonzero(meets)
    return rows.iloc[found[-1]] if len(found) else None


def provenance(rows: pd.DataFrame) -> Grid:
    """One line per row: status, device, versions, commit and date."""
    return Grid(
        [
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
    )


def published_entry(
    figures: pd.DataFrame, form: Callable[[float], str] | None = None, **labels: object
) -> Entry:
    """A published figure, as printed or in ``form``, with its source; (R) where it was read off
    a plot.
    """
    row = only(figures, **labels)
    if row is None:
        return Entry(en.ABSENT)
    text = as_printed(row) if form is None else form(float(row["value"]))
    mark = " (R)" if row["label"] == "R" else ""
    return Entry(text + mark, (en.Source(published=f"{row['source']} [{row['label']}]"),))


def named(name: str, row: pd.Series) -> str:
    """``name``, with the dequantization where it is not the uniform one."""
    dequantization = row.get("dequantization")
    plain = pd.isna(dequantization) or dequantization == "uniform"
    return name if plain else f"{name}, {dequantization}"


def title(name: str) -> str:
    """A method's name on a page."""
    return method(name).title


def cell_name(row: pd.Series) -> str:
    """A row's cell, as it is called in its CSV file."""
    return f"`{row['cell']}`"


def failures(
    rows: pd.DataFrame, called: Callable[[pd.Series], str] = cell_name
) -> list[dict[str, str]]:
    """Every row that is not ok: what it is called, its status and its reason."""
    if rows.empty:
        return []
    bad = rows[rows["status"] != "ok"]
    return [
        {"name": called(row), "status": str(row["status"]), "reason": str(row["reason"])}
        for _, row in bad.iterrows()
    ]


def lossy(
    rows: pd.DataFrame, called: Callable[[pd.Series], str] = cell_name
) -> list[dict[str, str]]:
    """Every model whose samples are not what its latents stand for: name, and how it is lost.

    Keys: name; error with the relative errors in float32 and above, or overflows, or not_finite.
    """
    found = []
    for _, row in rows.iterrows():
        if not pd.isna(row.get("round_trip_error")) and row["round_trip_error"] > TRUSTED:
            above = {"in float64": "round_trip_error_float64"}
            above["of any part alone, in float64"] = "part_round_trip_error"
            known = [
                f"{row[name]:.1e} {place}"
                for place, name in above.items()
                if name in row and not pd.isna(row[name])
            ]
            exact = f" ({'; at most '.join(known)})" if known else ""
            found.append({"name": called(row), "error": f"{row['round_trip_error']:.1e}{exact}"})
    for _, row in rows.iterrows():
        if row.get("round_trip_overflows") == True:  # noqa: E712 - an object
            found.append({"name": called(row), "overflows": "yes"})
    for _, row in rows.iterrows():
        if not pd.isna(row.get("samples_not_finite")) and row["samples_not_finite"] > 0:
            of = f"{row['samples_not_finite']:.0f} of {row['timed_images']:.0f}"
            found.append({"name": called(row), "not_finite": of})
    return found


def sampling_time(
    row: pd.Series | None, name: str = "st", error: str = "round_trip_error"
) -> Entry:
    """``name_s`` with its quartiles, and in the same cell whether the model does not invert."""
    entry = en.quartiles(row, name)
    if row is None or row["status"] != "ok" or entry.text == en.ABSENT:
        return entry
    lost, overflows = row.get(error), row.get("round_trip_overflows") == True  # noqa: E712
    known = lost is not None and not pd.isna(lost)
    why = "overflows" if overflows else f"round trip {en.number(lost, 2)}"
    fine = not overflows and not (lost is not None and lost > TRUSTED)
    text = entry.text if fine else f"{entry}, does not invert in float32: {why}"
    marks = [en.source(row, "round_trip_overflows" if overflows else error)]
    return entry.saying(text, *marks * (overflows or known))


def published_notes(figures: pd.DataFrame) -> dict[str, list[str]]:
    """The sources of published figures, and the footnotes of those that need one, as items."""
    sources = [
        f"{source}: {', '.join(dict.fromkeys(group['model']))} (label "
        f"{', '.join(sorted(set(group['label'])))})"
        for source, group in figures.groupby("source", sort=False)
    ]
    noted = figures[figures["note"] != ""]
    notes = [
        f"{', '.join(dict.fromkeys(group['model']))}, "
        f"{', '.join(dict.fromkeys(group['metric']))}: {note}."
        for note, group in noted.groupby("note", sort=False)
    ]
    return {"sources": sources, "notes": notes}
