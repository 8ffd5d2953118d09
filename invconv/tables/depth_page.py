"""The page of what deep flows lose: round trips against depth and training step."""

import math
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from invconv.methods import method
from invconv.numerical import TRUSTED
from invconv.report import Document, Grid, Line, Picture
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.naming import data_title
from invconv.rows import newest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WORDS = {"": "as released", "_fan_in": "scaled by fan-in", "_bounded": "max_growth = 4"}
LINES = {"": "-", "_fan_in": "--", "_bounded": ":"}
STUDY = "trained"
NEEDED = ["preset", "part", "dataset", "method", "variant"]
"""Columns that no row may have: nothing was measured yet."""


def page(rows: pd.DataFrame) -> Document:
    """Make the page from the rows."""
    rows = newest(rows)
    rows = bl.with_columns(rows, NEEDED)
    rows = rows.assign(variant=rows["variant"].fillna(""))
    ok = rows[rows["status"] == "ok"]
    parts = {name: ok[ok["part"] == name] for name in ("train", "published", "weight")}
    trained = parts["train"][parts["train"]["preset"] == STUDY]
    last = _steps(trained)[-1:] or [0]
    pictures = {"depth": partial(draw, trained, last[0])} if len(trained) else {}
    context = {
        "picture": "depth" if pictures else "",
        "trained": Grid(_lines(trained, last[0])) if len(trained) else None,
        "healed": _verdict(trained, last[0]),
        "last": last[0],
        "published": Grid(_initialized(parts["published"])),
        "weight": Grid(_weight(parts["weight"])),
        "trusted": TRUSTED,
        "origins": [bl.origin(block) for _, block in ok.groupby("machine")],
        "failures": bl.failures(rows),
        "provenance": None if rows.empty else bl.provenance(rows),
    }
    return Document("depth", Path(__file__).with_name("depth.md.j2"), context, pictures)


def finding(rows: pd.DataFrame) -> str:
    """Say how many models lose their latents in float32, as trained or as initialized."""
    rows = bl.with_columns(rows, NEEDED)
    rows = rows[rows["status"] == "ok"].assign(variant=rows["variant"].fillna(""))
    trained, published = (rows[rows["part"] == part] for part in ("train", "published"))
    last = _steps(trained)[-1:] or [0]
    if len(trained) and (found := _verdict(trained, last[0])):
        return (
            f"Of {found['models']} models, {found['first']} recover their latents in float32 as "
            f"initialized and {found['last']} after {last[0]:,} steps."
        )
    if published.empty:
        return ""
    lost = (~(published["latents_float32_0"] <= TRUSTED)).sum()
    return (
        f"As initialized, {lost} of {len(published)} models of published sizes lose more than "
        f"{TRUSTED:g} of their latents in float32."
    )


def _steps(rows: pd.DataFrame) -> list[int]:
    """The training steps at which something was measured."""
    found = (re.fullmatch(r"images_float32_(\d+)", str(name)) for name in rows.dropna(axis=1))
    return sorted(int(match[1]) for match in found if match)


def error(value: float) -> str:
    """Write an error; infinity is an overflow."""
    return "overflows" if math.isinf(value) else en.number(value, 2)


def _kind(row: pd.Series) -> str:
    return f"{bl.title(row['method'])}, {WORDS[row['variant']]}"


def _lines(rows: pd.DataFrame, last: int) -> Iterator[Line]:
    for _, row in rows.iterrows():
        line: dict[str, object] = {"model": _kind(row), "steps": f"{row['steps']:.0f}"}
        for step, when in ((0, "at first"), (last, "trained")):
            for name in ("float32", "float64"):
                line[f"{name}, {when}"] = en.value(row, f"latents_{name}_{step}", error)
        yield line | {"bpd": en.value(row, "bpd", en.bits)}


def _initialized(rows: pd.DataFrame) -> Iterator[Line]:
    for _, row in rows.sort_values(["dataset", "method"], kind="stable").iterrows():
        size = f"{data_title(row['dataset'])}, ({row['levels']:.0f}, {row['steps']:.0f})"
        line: dict[str, object] = {"model": _kind(row), "size": size}
        for name in ("float32", "float64"):
            for what in ("images", "latents"):
                line[f"{what}, {name}"] = en.value(row, f"{what}_{name}_0", error)
        yield line


def _weight(rows: pd.DataFrame) -> Iterator[Line]:
    sizes = [name for name in rows if str(name).startswith("weight_float32_n")]
    for _, row in rows.iterrows():
        for name in sizes:
            n = str(name).rpartition("n")[2]
            yield {
                "size": f"{n}×{n}",
                "float32": en.value(row, f"weight_float32_n{n}", error),
                "float64": en.value(row, f"weight_float64_n{n}", error),
            }


def _verdict(rows: pd.DataFrame, last: int) -> dict[str, object]:
    """How many of the trained models invert in float32, at first and in the end, as released."""
    own = rows[rows["variant"] == ""] if len(rows) else rows
    if own.empty:
        return {}
    counts = {
        when: int((own[f"latents_float32_{step}"] <= TRUSTED).sum())
        for when, step in (("first", 0), ("last", last))
    }
    return {**counts, "models": len(own)}


def draw(rows: pd.DataFrame, last: int) -> "Figure":
    """Draw errors against depth, at first and trained, and of the deepest against steps."""
    picture = Picture(1, 3, (10, 4), sharey=True)
    deepest, probes = rows["steps"].max(), _steps(rows)
    handles = {}
    for (name, variant), group in rows.groupby(["method", "variant"], sort=False):
        look = {"color": method(str(name)).color, "linestyle": LINES[str(variant)], "marker": "."}
        group = group.sort_values("steps")
        for panel, step in zip(picture.panels, (0, last), strict=False):
            panel.plot(group["steps"], _drawn(group[f"latents_float32_{step}"]), **look)
        whole = group[group["steps"] == deepest]
        if len(whole):
            errors = [whole.iloc[0][f"latents_float32_{step}"] for step in probes]
            line = picture.panels[2].plot(probes, _drawn(pd.Series(errors)), **look)[0]
            handles[f"{bl.title(str(name))}, {WORDS[str(variant)]}"] = line
    titles = ("as initialized", f"after {last:,} steps", f"K = {deepest:.0f}")
    for panel, title, x in zip(
        picture.panels, titles, ("steps per level K",) * 2 + ("training step",), strict=True
    ):
        panel.set_yscale("log")
        panel.axhline(TRUSTED, color="#000000", linewidth=0.8)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel(x)
    for panel in picture.panels[:2]:
        panel.set_xscale("log", base=2)
    picture.panels[2].set_xscale("symlog", linthresh=10)
    picture.panels[0].set_ylabel("relative error of latents\nafter sampling, float32")
    for label, line in handles.items():
        line.set_label(label)
    picture.legend(list(handles.values()), 4)
    return picture.figure


def _drawn(errors: pd.Series) -> pd.Series:
    """Errors with a place in the picture: what overflows is at its upper edge."""
    return errors.clip(1e-8, 1e4)
