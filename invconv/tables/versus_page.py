"""The page of everything against n and k: pictures, wide tables, exponents."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from invconv.report import Document, Entry, Grid, Line
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.grids import swept
from invconv.rows import newest
from invconv.tables.versus_pictures import (
    AXES,
    KERNEL,
    LAYERS,
    MODELS,
    REFERENCE,
    TORCH,
    Draw,
    along,
    at_center,
    at_largest,
    draw_layer,
    draw_models,
    draw_pareto,
    draw_relative,
    named,
)

STUDY = "full"
BITS = {"bpd": MODELS["bpd"]}
MEASURED = "measured"
"""The column that names where torch's forward time comes from."""
TIMES = {field: title for field, title in MODELS.items() if field != "bpd"}
SIX = ("glow", "finc", "emerging", "cinc", "woodbury", "macow")
"""What the README's picture shows."""
RATIOS = {"models": {"st_vs_glow": "ST ÷ Glow"}, "layers": {"inverse_vs_glow": "inverse ÷ Glow"}}
"""What has tables besides the times themselves: a drift of the machine cancels in it."""
WAYS = ("dense", "dense_channels_last", "grouped")
"""torch's convolutions, of which the fastest stands for torch."""
FIT_FROM = {"n": 16, "k": 2}
NEEDED = ["preset", "part", "method", "n", "k", "channels", "batch", "seed", "bpd", "point"]
NEEDED += ["above_uniform"]


def page(rows: pd.DataFrame) -> Document:
    """Make the page from the rows of the study, or of a quick run where there are none."""
    rows = newest(rows)
    rows = bl.with_columns(rows, NEEDED)
    rows = rows.assign(k=rows["k"].fillna(KERNEL))
    good = rows[rows["status"] == "ok"]
    ok = good[good["preset"] == STUDY]
    study = len(ok) > 0
    ok = ok if study else good[good["preset"] == "default"]
    ok = bl.in_order(ok.sort_values(["n", "k"]), "method", [*swept(), TORCH])
    times, trained = ok[ok["part"] == "models"], ok[ok["part"] == "train"]
    layers = [group for _, group in with_torch(ok).groupby(["channels", "batch"])]
    pictures = _pictures(joined(ok), times) | {_name(g): partial(draw_layer, g) for g in layers}
    context = {
        "pictures": pictures,
        "study": study,
        "answer": answer(times, trained),
        "narrow": Grid(narrow(trained, times)),
        "above_uniform": trained["above_uniform"].max(),
        "tables": _tables(trained, BITS, "models")
        | _tables(times, TIMES | RATIOS["models"], "models"),
        "exponents": Grid(exponents(times, "models", TIMES)),
        "verdict": bl.verdict(times, ["ft_vs_half", "st_vs_half"], _called),
        "layers": [
            {
                "picture": _name(group),
                "first": group.iloc[0],
                "tables": _tables(group, LAYERS | RATIOS["layers"], "layers"),
                "exponents": Grid(exponents(group, "layers", LAYERS)),
                "verdict": bl.verdict(group, ["forward_vs_half", "inverse_vs_half"], _called),
            }
            for group in layers
        ],
        "origins": [bl.origin(part) for _, part in good.groupby(["machine", "part"])],
        "failures": bl.failures(rows),
    }
    return Document("versus", Path(__file__).with_name("versus.md.j2"), context, pictures)


def _pictures(whole: pd.DataFrame, times: pd.DataFrame) -> dict[str, Draw]:
    found: dict[str, Draw] = {}
    if len(whole):
        found["versus-models"] = partial(draw_models, whole, list(swept()))
        found["versus-readme"] = partial(draw_models, whole, SIX)
    if {"bpd", "st_s"} <= set(whole) and len(at_center(whole)):
        found["versus-pareto"] = partial(draw_pareto, whole)
    if len(times) and len(at_largest(times)):
        found["versus-relative"] = partial(draw_relative, times)
    return found


def _tables(rows: pd.DataFrame, fields: Mapping[str, str], part: str) -> dict[str, Grid]:
    """A grid for each field and axis, by its title."""
    return {
        f"{title} against {axis}": Grid(wide(rows, part, field, axis))
        for field, title in fields.items()
        for axis in AXES[part]
        if len(rows)
    }


def _name(layer: pd.DataFrame) -> str:
    return "versus-layer-c{channels:.0f}-b{batch:.0f}".format_map(layer.iloc[0])


def _called(row: pd.Series) -> str:
    return f"{named(row['method'])} at {row['point']}"


def joined(rows: pd.DataFrame) -> pd.DataFrame:
    """Join trainings and times: a line for each method, n and k, with means over the seeds.

    Columns: method, n, k (3 where a method has no kernel size), bpd, bpd_sd, seeds, and all of
    the row of the times.
    """
    at = ["method", "n", "k"]
    trained = rows[rows["part"] == "train"].groupby(at, sort=False)["bpd"]
    bits = pd.DataFrame({"bpd": trained.mean(), "bpd_sd": trained.std(), "seeds": trained.size()})
    times = rows[(rows["part"] == "models") & rows["method"].isin(swept())]
    found = bits.reset_index().merge(times.drop(columns="bpd"), "outer", on=at)
    found = found.astype({"n": float, "k": float})
    return bl.in_order(found.sort_values(["n", "k"]), "method", swept())


def with_torch(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of layers; torch's have the time of its fastest convolution as forward."""
    found = rows[rows["part"] == "layers"]
    lines = []
    for _, row in found.iterrows():
        ways = {way: row[f"{way}_s"] for way in WAYS if not pd.isna(row.get(f"{way}_s"))}
        if row["method"] == TORCH and ways:
            best = min(ways, key=lambda way: ways[way])
            times = {f"forward{end}": row[f"{best}{end}"] for end in ("_s", "_q25_s", "_q75_s")}
            row = pd.concat([row.drop(list(times), errors="ignore"), pd.Series(times)])
            row[MEASURED] = f"{best}_s"
        lines.append(row)
    found = pd.DataFrame(lines, columns=None if lines else found.columns)
    return bl.in_order(found.sort_values(["n", "k"]), "method", [*swept(), TORCH])


def wide(rows: pd.DataFrame, part: str, field: str, axis: str) -> Iterator[Line]:
    """A line for each method and a column for each n or k; of bpd ``rows`` are the trainings."""
    rows = along(rows, part, axis)
    sizes = sorted(int(x) for x in rows[axis].unique())
    for name, own in rows.groupby("method", sort=False):
        line: dict[str, object] = {"method": named(name)}
        for size in sizes:
            line[f"{axis} = {size}"] = _cell(own[own[axis] == size], field)
        if not (field.endswith("_vs_glow") and name == REFERENCE):  # it is 1
            yield line


def _cell(rows: pd.DataFrame, field: str) -> Entry:
    """The mean of bpd over seeds, a ratio, or a time in milliseconds."""
    rows = rows[rows[field].notna()] if field in rows else rows[:0]
    if rows.empty:
        return Entry(en.ABSENT)
    if field == "bpd":
        return en.mean_bits(rows)
    row = rows.iloc[-1]
    if field.endswith("_vs_glow"):
        return bl.sampling_ratio(row, field)
    return en.value(row, _measured(row, field), scale=1e3 if field.endswith("_s") else 1)


def _measured(row: pd.Series, field: str) -> str:
    """The column in which a time was measured."""
    return field if pd.isna(row.get(MEASURED)) else str(row[MEASURED])


def narrow(trained: pd.DataFrame, times: pd.DataFrame) -> Iterator[Line]:
    """The table of the first screen: every method at the center of both axes."""
    at = {"n": AXES["models"]["k"][1], "k": KERNEL}
    bits, timed = (
        rows[(rows["n"] == at["n"]) & (rows["k"] == at["k"])] for rows in (trained, times)
    )
    for name in swept():
        own, row = bits[bits["method"] == name], bl.only(timed, method=name)
        if len(own) or row is not None:
            yield {
                "method": named(name),
                "bpd": _cell(own, "bpd"),
                "FT ms": en.value(row, "ft_s", scale=1e3),
                "ST ms": bl.sampling_time(row, scale=1e3, brief=True),
                "ST ÷ Glow": Entry("1") if name == REFERENCE else en.ratio(row, "st_vs_glow"),
                "paper's ST ÷ Glow": en.ratio(row, "st_published_vs_glow"),
                "parameters": en.value(row, "parameters", en.whole),
            }


def finding(rows: pd.DataFrame) -> str:
    """Return `answer`, of the rows of one preset."""
    rows = bl.with_columns(rows, NEEDED)
    rows = rows[rows["status"] == "ok"].assign(k=rows["k"].fillna(KERNEL))
    return answer(rows[rows["part"] == "models"], rows[rows["part"] == "train"])


def answer(times: pd.DataFrame, trained: pd.DataFrame) -> str:
    """Say in one sentence what sampling costs, and who needs the fewest bits."""
    if times.empty or "st_vs_glow" not in times:
        return ""
    center = times[times["point"] == f"n{AXES['models']['k'][1]}k{KERNEL}"]
    others = center[center["method"] != REFERENCE].dropna(subset=["st_vs_glow"])
    if others.empty:
        return ""
    ordered = others.sort_values("st_vs_glow")
    slow, rest = ordered.iloc[-1], ordered["st_vs_glow"].iloc[:-1]
    bits = trained[(trained["n"] == slow["n"]) & (trained["k"] == KERNEL)]
    means = bits.groupby("method")["bpd"].mean().sort_values()
    name, times_slower = named(slow["method"]), f"{slow['st_vs_glow']:.1f} times"
    said = f"With our inverses {name} samples in {times_slower} Glow's time"
    if len(rest):
        said = (
            f"With our inverses every k×k convolution but {name} samples in {rest.min():.2f} to "
            f"{rest.max():.2f} times Glow's time, {name} in {times_slower}"
        )
    if len(means):
        best = f"{named(means.index[0])} ({means.iloc[0]:.3f})"
        said += f"; the fewest bits per dimension has {best}"
    return f"{said} (n = {slow['n']:.0f}, k = {KERNEL})."


def slope(x: pd.Series, y: pd.Series) -> tuple[float, float] | None:
    """Return the exponent of y against x and half its 95 % interval, by a line in logarithms."""
    from scipy import stats  # not at the top: every job of a sweep would load it

    if len(x) < 3:
        return None
    fit = stats.linregress(np.log(x.astype(float)), np.log(y.astype(float)))
    return float(fit.slope), float(stats.t.ppf(0.975, len(x) - 2) * fit.stderr)


def exponents(rows: pd.DataFrame, part: str, fields: Mapping[str, str]) -> Iterator[Line]:
    """A line for each method: the exponents of its times in n and k with their intervals."""
    for name, own in rows.groupby("method", sort=False):
        line: dict[str, object] = {"method": named(name)}
        for field, axis in product(fields, AXES[part]):
            points = along(own, part, axis)
            points = points[points[axis] >= FIT_FROM[axis]].sort_values(axis)
            points = points[points[field].notna()] if field in points else points[:0]
            found = slope(points[axis], points[field])
            title = f"{fields[field].partition(',')[0]} in {axis}"
            line[title] = (
                en.over_rows(
                    f"{found[0]:.2f} ± {found[1]:.2f}", points, _measured(points.iloc[0], field)
                )
                if found
                else en.ABSENT
            )
        yield line
