"""The page of the ranking: what the seeds resolve, as a picture, a table and all pairs."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from invconv.methods import method
from invconv.report import Document, Grid, Line, Picture
from invconv.report import blocks as bl
from invconv.report import entries as en
from invconv.report.comparison import (
    MARGIN,
    WANTED,
    Comparison,
    Difference,
    coverage,
    reach_over_images,
)
from invconv.report.grids import swept
from invconv.report.naming import budget, data_title
from invconv.report.published import published
from invconv.rows import newest
from invconv.rows.bits import bits_path, read_bits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CONTROL = "glow"
STUDY, LONG = "ranked", "long"
MARKS = {"resolved": "R", "equivalent": "E", "resolved, equivalent": "RE", "neither": "·"}


def page(rows: pd.DataFrame) -> Document:
    """Make the page from the rows, and from the bits of each image beside them."""
    per_image = read_bits(bits_path(Path(rows.attrs["path"]))) if "path" in rows.attrs else {}
    rows = bl.in_order(newest(rows), "method", swept()) if len(rows) else rows
    pictures, studies = {}, []
    for group in groups(rows, STUDY) or groups(rows, "default"):
        table = of_seeds(group)
        name = f"ranking-{group['dataset'].iloc[0]}"
        if CONTROL in table and min(table.dropna().shape) > 1:
            comparison = Comparison(table, CONTROL)
            pictures[name] = partial(draw, comparison, data_title(group["dataset"].iloc[0]))
            studies.append(study(group, comparison, per_image) | {"picture": name})
    context = {
        "studies": studies,
        "margin": MARGIN,
        "wanted": WANTED,
        "long": [found for group in groups(rows, LONG) if (found := longer(rows, group))],
        "published": Grid(neighbors()),
        "failures": bl.failures(rows),
    }
    return Document("ranking", Path(__file__).with_name("ranking.md.j2"), context, pictures)


def groups(rows: pd.DataFrame, preset: str) -> list[pd.DataFrame]:
    """Return the ok rows of a preset that differ in method and seed alone."""
    if rows.empty:
        return []
    rows = rows[(rows["preset"] == preset) & (rows["status"] == "ok")]
    settings = rows["config"].map(lambda text: bl.setting(text, "method", "seed"))
    return [group for _, group in rows.groupby(settings, sort=False)]


def of_seeds(group: pd.DataFrame) -> pd.DataFrame:
    """Return bits per dimension, a line for each seed and a column for each method."""
    newest_first = group.sort_values("date", kind="stable")
    table = newest_first.pivot_table("bpd", "seed", "method", aggfunc="last", sort=False)
    return table[[name for name in swept() if name in table]].sort_index()


def finding(rows: pd.DataFrame) -> str:
    """Say which methods' bits per dimension differ from Glow's, on each data set."""
    said = []
    for preset in dict.fromkeys(rows["preset"]):
        for group in groups(rows, preset):
            table, data = of_seeds(group), data_title(group["dataset"].iloc[0])
            if CONTROL in table and min(table.dropna().shape) > 1:
                found = Comparison(table, CONTROL).to_control
                best = [name for name in found if found[name].resolved]
                fewer = _named(best, found, below=True) or "none"
                more = _named(best, found, below=False) or "none"
                said.append(
                    f"On {data}, fewer bits per dimension than Glow: {fewer}; more: {more}."
                )
    return " ".join(said)


def study(
    group: pd.DataFrame, comparison: Comparison, per_image: dict[str, np.ndarray]
) -> dict[str, object]:
    """Return what the page shows of one data set."""
    size, first = budget(group.iloc[0]), group.iloc[0]
    differences = comparison.to_control
    best = [name for name in differences if differences[name].resolved]
    return {
        "data": data_title(first["dataset"]),
        "comparison": comparison,
        "coverage": coverage(comparison.methods, comparison.seeds),
        "detectable": max(d.detectable for d in differences.values()),
        "lower": _named(best, differences, below=True),
        "higher": _named(best, differences, below=False),
        "size": size,
        "first": first,
        "origins": [bl.origin(part) for _, part in group.groupby("machine")],
        "draws_sd": group["bpd_draws_sd"].mean() if "bpd_draws_sd" in group else float("nan"),
        "grid": Grid(_lines(group, comparison, per_image)),
        "pairs": Grid(_pairs(group, comparison)),
    }


def _named(names: list[str], found: dict[str, Difference], below: bool) -> str:
    chosen = [name for name in names if (found[name].mean < 0) == below]
    chosen.sort(key=lambda name: -abs(found[name].mean))
    return ", ".join(f"{bl.title(name)} ({found[name].mean:+.3f})" for name in chosen)


def _lines(
    group: pd.DataFrame, comparison: Comparison, per_image: dict[str, np.ndarray]
) -> Iterator[Line]:
    unpaired, images = comparison.unpaired(), image_differences(group, per_image)
    for name in comparison.names:
        rows, bpd = group[group["method"] == name], comparison.bpd[name]
        line: dict[str, object] = {
            "method": bl.title(name),
            "bpd": en.over_rows(f"{bpd.mean():.3f} ± {bpd.std():.3f}", rows, "bpd"),
        }
        if name != CONTROL:  # the residual is that of all rows
            found = comparison.to_control[name]
            line |= {
                "minus Glow": en.over_rows(f"{found}: {found.verdict}", group, "bpd"),
                "unpaired p": en.over_rows(f"{unpaired[name]:.2g}", group, "bpd"),
            }
            if name in images:
                line["± over images"] = en.over_rows(images[name], rows, "bpd")
        yield line | {"parameters": en.value(rows.iloc[-1], "parameters", en.whole)}


def image_differences(group: pd.DataFrame, per_image: dict[str, np.ndarray]) -> dict[str, str]:
    """Return half the 95 % interval over test images of each method's mean difference to Glow."""
    means = {}
    for name, rows in group.groupby("method"):
        known = [per_image[cell] for cell in rows["cell"] if cell in per_image]
        if known:
            means[str(name)] = np.mean(known, axis=0)
    if CONTROL not in means:
        return {}
    found = {name: values - means[CONTROL] for name, values in means.items()}
    return {name: f"{reach_over_images(x):.4f}" for name, x in found.items()}


def _pairs(group: pd.DataFrame, comparison: Comparison) -> Iterator[Line]:
    """A line and a column for each method: its mean minus the column's, with the verdict."""
    names = comparison.names
    for i, row in enumerate(names[1:], 1):
        line: dict[str, object] = {"": bl.title(row)}
        for column in names[:i]:
            found = comparison.pairs[column, row]
            text = f"{-found.mean:+.3f} {MARKS[found.verdict]}"
            line[bl.title(column)] = en.over_rows(text, group, "bpd")
        yield line


def longer(rows: pd.DataFrame, group: pd.DataFrame) -> dict[str, object] | None:
    """Return whether differences of single trainings keep their sign when they are longer."""
    dataset = group["dataset"].iloc[0]
    short = [one for one in groups(rows, STUDY) if one["dataset"].iloc[0] == dataset]
    seeds = of_seeds(group)
    if not short or CONTROL not in seeds:
        return None
    before, after = (x.sub(x[CONTROL], axis=0).stack() for x in (of_seeds(short[0]), seeds))
    both = pd.DataFrame({"before": before, "after": after}).dropna().reset_index()
    lines = [
        {
            "method": f"{bl.title(pair['method'])}, seed {pair['seed']}",
            "minus Glow": en.over_rows(f"{pair['before']:+.4f}", _of(short[0], pair), "bpd"),
            "minus Glow, longer": en.over_rows(f"{pair['after']:+.4f}", _of(group, pair), "bpd"),
        }
        for _, pair in both.iterrows()
        if pair["method"] != CONTROL
    ]
    steps = [budget(one.iloc[0])["training"] for one in (short[0], group)]
    return {"data": data_title(dataset), "steps": steps, "grid": Grid(lines)}


def _of(group: pd.DataFrame, pair: pd.Series) -> pd.DataFrame:
    """The rows of a method and of Glow with one seed."""
    methods = group["method"].isin((pair["method"], CONTROL))
    return group[methods & (group["seed"] == pair["seed"])]


def neighbors() -> Iterator[Line]:
    """What others published on Fashion-MNIST, of models without these convolutions."""
    for _, figure in published("ranking").iterrows():
        entry = bl.published_entry(pd.DataFrame([figure]))
        yield {
            "model": figure["model"],
            "bpd published": entry.saying(f"{entry} {figure['note']}"),
            "source": entry.saying(f"{figure['source']} [{figure['label']}]"),
        }


def draw(comparison: Comparison, data: str) -> "Figure":
    """Draw each method's difference to Glow with its simultaneous interval, and zero."""
    found = sorted(comparison.to_control.items(), key=lambda item: -item[1].mean)
    picture = Picture(1, 1, (6.4, 0.34 * len(found) + 1.3), sharey=False)
    panel = picture.panels[0]
    panel.axvspan(-MARGIN, MARGIN, color="#DDDDDD", alpha=0.6, linewidth=0)
    panel.axvline(0, color="#000000", linewidth=0.8)
    for place, (name, difference) in enumerate(found):
        one = method(name)
        look = {"color": one.color, "marker": one.marker, "markersize": 6, "capsize": 3}
        panel.errorbar(difference.mean, place, xerr=difference.reach, **look)
    panel.set_yticks(range(len(found)), [bl.title(name) for name, _ in found])
    panel.set_xlabel("bits per dimension minus Glow's; fewer bits to the left")
    seeds = comparison.seeds
    panel.set_title(f"{data}: {seeds} seeds, simultaneous 95 % intervals", fontsize=10)
    return picture.figure
