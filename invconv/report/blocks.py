"""Rows on a page: blocks of one machine and configuration, in order, and where they come from."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from invconv.methods import method
from invconv.numerical import TRUSTED
from invconv.report import entries as en
from invconv.report.entries import Entry, Form, Grid, Measured
from invconv.report.published import LABELS
from invconv.rows import block_of, newest

Called = Callable[[pd.Series], str]
"""What a row is called in a sentence."""


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
    settings = kept["config"].map(lambda text: setting(text, *apart))
    return [group for _, group in kept.groupby(["machine", settings])]


def origin(rows: pd.DataFrame) -> dict[str, object]:
    """Where ``rows``, of one machine, come from; minutes is "" where one does not know them."""
    threads, machine = rows["threads"].map("{:g}".format), str(rows["machine"].iloc[0])
    cells = rows.assign(cell=block_of(rows["cell"])).drop_duplicates(["cell", "date"])
    known = "duration_s" in rows and not rows["duration_s"].isna().any()
    return {
        "torch": ", ".join(sorted(set(map(str, rows["torch"])))),
        "threads": ", ".join(sorted(set(threads))),
        "machine": machine,
        "environment": sorted(set(rows["environment"].dropna())) if "environment" in rows else [],
        "device": where(", ".join(sorted(set(map(str, rows["device"])))), machine),
        "commits": sorted(set(_commits(rows))),
        "minutes": en.number(cells["duration_s"].sum() / 60, 2) if known else "",
        "memory": memory(rows),
        **_clock(rows),
    }


def _clock(rows: pd.DataFrame) -> dict[str, object]:
    """How many processes and rounds the times are of; nothing if rows of no block are there."""
    named = ("processes", "rounds")
    if any(name not in rows or rows[name].isna().all() for name in named):
        return {}
    timed = rows[rows["processes"].notna()]
    return {
        "processes": en.listed(timed["processes"]),
        "rounds": f"{timed['rounds'].min():g}"
        + (f" to {timed['rounds'].max():g}" if timed["rounds"].nunique() > 1 else ""),
        "hardware": ", ".join(sorted(set(timed["hardware"].dropna())))
        if "hardware" in timed
        else "",
    }


def _commits(rows: pd.DataFrame) -> list[str]:
    """The commit of each row, "+changes" where the code had any."""
    both = zip(rows["commit"], rows["dirty"], strict=True)
    return [f"{commit}{'+changes' if dirty else ''}" for commit, dirty in both]


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


def with_columns(rows: pd.DataFrame, needed: Iterable[str]) -> pd.DataFrame:
    """``rows`` with the columns ``needed``, empty where nothing was measured yet."""
    return rows.reindex(columns=list(dict.fromkeys([*rows.columns, *needed])))


def only(rows: pd.DataFrame, **labels: object) -> pd.Series | None:
    """The row with these labels, None if there is none."""
    for name, wanted in labels.items() if len(rows) else ():
        rows = rows[rows[name] == wanted]
    return rows.iloc[-1] if len(rows) else None


def provenance(rows: pd.DataFrame) -> Grid:
    """One line per row: status, device, versions, commit and date."""
    names = ["cell", "status", "device", "threads", "torch", "commit", "date"]
    shown = rows.assign(
        cell=[cell_name(row) for _, row in rows.iterrows()],
        device=list(map(where, rows["device"], rows["machine"])),
        threads=rows["threads"].map("{:.0f}".format),
        commit=_commits(rows),
    )
    lines = shown[names].itertuples(index=False)
    return Grid(dict(zip(names, line, strict=True)) for line in lines)


def published_entry(figures: pd.DataFrame, form: Form | None = None, **labels: object) -> Entry:
    """A published figure, as printed or in ``form``, with its label where that is R or S."""
    row = only(figures, **labels)
    if row is None:
        return Entry(en.ABSENT)
    text = form(float(row["value"])) if form else row["value"]
    mark = f" ({row['label']})" if row["label"] in ("R", "S") else ""
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


def failures(rows: pd.DataFrame, called: Called = cell_name) -> list[dict[str, object]]:
    """Every row that is not ok, and the name that it has on the page."""
    found = rows[rows["status"] != "ok"]
    return [{**row, "name": called(row)} for _, row in found.iterrows()]


def lossy(rows: pd.DataFrame, called: Called = cell_name) -> list[dict[str, object]]:
    """Every model whose samples are not what its latents stand for: what is known of it.

    With its name, and how it is lost: kind, which is error, overflows or not_finite.
    """
    known = [row.dropna() for _, row in rows.iterrows()]
    found = {
        "error": [row for row in known if row.get("round_trip_error", 0) > TRUSTED],
        "overflows": [row for row in known if row.get("round_trip_overflows")],
        "not_finite": [row for row in known if _overflowed(row)],
    }
    lines = [(kind, row) for kind, lost in found.items() for row in lost]
    return [{**row, "name": called(row), "kind": kind} for kind, row in lines]


def sampling_time(
    row: Measured,
    name: str = "st",
    error: str = "round_trip_error",
    scale: float = 1,
    brief: bool = False,
) -> Entry:
    """``name_s`` with its quartiles, and in the same cell whether the model does not invert.

    Without the time where samples were not finite: then it is of no samples. ``brief``: the
    median alone.
    """
    if brief:
        entry = en.value(row, f"{name}_s", scale=scale)
        return entry.saying("not valid") if _overflowed(row) else entry
    entry = en.quartiles(row, name, scale)
    if row is None or row["status"] not in en.CARRYING or entry.text == en.ABSENT:
        return entry
    if _overflowed(row):
        return Entry("not valid: samples not finite", (en.source(row, "samples_not_finite"),))
    lost, why = row.get(error), f"round trip {en.number(row.get(error), 2)}"
    if row.get("round_trip_overflows") == True:  # noqa: E712 - an object
        lost, error, why = math.inf, "round_trip_overflows", "overflows"
    if pd.isna(lost):
        return entry
    text = f"{entry}, does not invert in float32: {why}" if lost > TRUSTED else entry.text
    return entry.saying(text, en.source(row, error))


def sampling_ratio(row: Measured, name: str) -> Entry:
    """A ratio of sampling times; `ABSENT` where samples were not finite."""
    return Entry(en.ABSENT) if _overflowed(row) else en.ratio(row, name)


def _overflowed(row: Measured) -> bool:
    """Whether samples of the row were not finite, so that its sampling times are of no samples."""
    return row is not None and bool(row.get("samples_not_finite", 0) > 0)


@dataclass(frozen=True)
class Verdict:
    """What a page's ratios to one reference say, of rows that are ok.

    Attributes:
        ratios: how many.
        below: in how many the ratio is below 1.
        faster: those whose simultaneous interval is below 1, "FInC on digits 8×8".
        together: for how many ratios the simultaneous intervals hold.
    """

    ratios: int
    below: int
    faster: list[str]
    together: int


def verdict(rows: pd.DataFrame, ratios: Iterable[str], called: Called) -> Verdict:
    """Count the ``ratios`` of ``rows`` that are below 1, raw and by simultaneous intervals."""
    good, found, below, faster = rows[rows["status"] == "ok"], 0, 0, list[str]()
    for _, row in good.iterrows():
        for name in ratios:
            valid = not en.is_noisy(row) and not (_overflowed(row) and name.startswith("st"))
            if valid and not pd.isna(row.get(name)):
                found, below = found + 1, below + (row[name] < 1)
                faster += [called(row)] if row.get(f"{name}_high_all", math.inf) < 1 else []
    together = good["compared"].max() if found and "compared" in good else 0
    return Verdict(found, int(below), faster, int(together))


def around_one(rows: pd.DataFrame, ratio: str) -> pd.Series:
    """Whether the 95 % interval of a ratio contains 1, of those rows that are ok and have one."""
    ends = rows[rows["status"] == "ok"].reindex(columns=[f"{ratio}_low", f"{ratio}_high"]).dropna()
    return (ends[f"{ratio}_low"] <= 1) & (ends[f"{ratio}_high"] >= 1)


def published_notes(figures: pd.DataFrame) -> dict[str, object]:
    """Published figures by source and label, those with a footnote by note, and all labels."""
    noted = figures[figures["note"] != ""]
    return {
        "labels": LABELS,
        "sources": [group for _, group in figures.groupby(["source", "label"], sort=False)],
        "notes": [group for _, group in noted.groupby("note", sort=False)],
    }
