"""Rows on a page: blocks of one machine and configuration, in order, and where they come from."""

import json
import math
from collections.abc import Callable, Iterable

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

    The rows of one block may differ in the keys ``apart`` of the configuration.
    """
    if rows.empty:
        return []
    kept = newest(rows)
    kept = kept.assign(_setting=[setting(text, *apart) for text in kept["config"]])
    return [group for _, group in kept.groupby(["machine", "_setting"])]


ABOVE = {
    "in float64": "round_trip_error_float64",
    "of any part alone, in float64": "part_round_trip_error",
}
"""The errors of a round trip that say whether float32 is to blame for it."""


def origin(rows: pd.DataFrame) -> dict[str, object]:
    """Where ``rows``, of one machine, come from; minutes is "" where one does not know them."""
    shown = rows.assign(threads=rows["threads"].map("{:g}".format))
    names = ("device", "torch", "threads")
    said = {name: ", ".join(sorted(set(map(str, shown[name])))) for name in names}
    machine = str(rows["machine"].iloc[0])
    known = "duration_s" in rows and not rows["duration_s"].isna().any()
    return {
        **said,
        "machine": machine,
        "device": where(said["device"], machine),
        "commits": sorted({commit(row) for _, row in rows.iterrows()}),
        "minutes": en.number(rows["duration_s"].sum() / 60, 2) if known else "",
        "memory": memory(rows),
    }


def commit(row: pd.Series) -> str:
    """The commit of a row, "+changes" where the code had any."""
    return f"{row['commit']}{'+changes' if row['dirty'] else ''}"


def memory(rows: pd.DataFrame) -> str:
    """Whether freed memory stayed with the process: "yes", "no", or the cells where it did not."""
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


def in_order(rows: pd.DataFrame, column: str, order: Iterable[object]) -> pd.DataFrame:
    """``rows`` with ``column`` in the declared order, what is not in it behind."""
    places = {name: i for i, name in enumerate(order)}
    return rows.sort_values(column, key=lambda names: names.map(places), kind="stable")


def only(rows: pd.DataFrame, **labels: object) -> pd.Series | None:
    """The row with these labels, None if there is none."""
    for name, wanted in labels.items() if len(rows) else ():
        rows = rows[rows[name] == wanted]
    return rows.iloc[-1] if len(rows) else None


def provenance(rows: pd.DataFrame) -> Grid:
    """One line per row: status, device, versions, commit and date."""
    return Grid(
        [
            {
                "cell": cell_name(row),
                "status": row["status"],
                "device": where(str(row["device"]), str(row["machine"])),
                "threads": f"{row['threads']:.0f}",
                "torch": row["torch"],
                "python": row["python"],
                "commit": commit(row),
                "date": row["date"],
            }
            for _, row in rows.iterrows()
        ]
    )


def published_entry(
    figures: pd.DataFrame, form: Callable[[float], str] | None = None, **labels: object
) -> Entry:
    """A published figure, as printed or in ``form``; (R) where it was read off a plot."""
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
    return [
        {"name": called(row), "status": str(row["status"]), "reason": str(row["reason"])}
        for _, row in rows.iterrows()
        if row["status"] != "ok"
    ]


def lossy(
    rows: pd.DataFrame, called: Callable[[pd.Series], str] = cell_name
) -> list[dict[str, str]]:
    """Every model whose samples are not what its latents stand for: name, and how it is lost.

    Keys: name; error with the relative errors in float32 and above, or overflows, or not_finite.
    """
    found: dict[str, list[dict[str, str]]] = {"error": [], "overflows": [], "not_finite": []}
    for _, row in rows.iterrows():
        lost, bad = row.get("round_trip_error", 0), row.get("samples_not_finite", 0)
        if lost > TRUSTED:
            known = {place: row.get(name) for place, name in ABOVE.items()}
            more = [f"{x:.1e} {place}" for place, x in known.items() if not pd.isna(x)]
            exact = f" ({'; at most '.join(more)})" if more else ""
            found["error"].append({"name": called(row), "error": f"{lost:.1e}{exact}"})
        if row.get("round_trip_overflows") == True:  # noqa: E712 - an object
            found["overflows"].append({"name": called(row), "overflows": "yes"})
        if bad > 0:
            of = f"{bad:.0f} of {row['timed_images']:.0f}"
            found["not_finite"].append({"name": called(row), "not_finite": of})
    return [one for kind in found.values() for one in kind]


def sampling_time(
    row: pd.Series | None, name: str = "st", error: str = "round_trip_error"
) -> Entry:
    """``name_s`` with its quartiles, and in the same cell whether the model does not invert."""
    entry = en.quartiles(row, name)
    if row is None or row["status"] != "ok" or entry.text == en.ABSENT:
        return entry
    lost, why = row.get(error), f"round trip {en.number(row.get(error), 2)}"
    if row.get("round_trip_overflows") == True:  # noqa: E712 - an object
        lost, error, why = math.inf, "round_trip_overflows", "overflows"
    if pd.isna(lost):
        return entry
    text = f"{entry}, does not invert in float32: {why}" if lost > TRUSTED else entry.text
    return entry.saying(text, en.source(row, error))


def published_notes(figures: pd.DataFrame) -> dict[str, list[str]]:
    """The sources of published figures, and the footnotes of those that need one, as items."""
    sources = [
        f"{source}: {', '.join(group['model'].unique())} (label "
        f"{', '.join(sorted(set(group['label'])))})"
        for source, group in figures.groupby("source", sort=False)
    ]
    notes = [
        f"{', '.join(group['model'].unique())}, {', '.join(group['metric'].unique())}: {note}."
        for note, group in figures[figures["note"] != ""].groupby("note", sort=False)
    ]
    return {"sources": sources, "notes": notes}
