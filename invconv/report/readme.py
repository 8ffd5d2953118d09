"""What the README shows of the newest rows: table 2, and what the figures say."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from invconv.bench import newest, write_text_atomically
from invconv.report import markdown as md
from invconv.report.figure4 import BATCHES
from invconv.report.names import LAYERS
from invconv.report.published import published
from invconv.report.table2 import PAPER, UNTRAINED, in_order, notes, quick, quick_table


def write_readme(rows: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Updates the README in place, atomically, from the rows of every table."""
    write_text_atomically(with_rows(path.read_text(), rows), path)


def with_rows(readme: str, rows: Mapping[str, pd.DataFrame]) -> str:
    """``readme`` with what stands between its markers made anew from the rows.

    Raises:
        ValueError: if a marker is missing.
    """
    shown = in_order(rows["table2"])
    shown = shown[shown["method"].isin(LAYERS)]
    embedded = quick(shown[~shown["dataset"].isin(PAPER)])
    parts = [quick_table(shown, LAYERS, brief=True), *notes(embedded)]
    readme = _between(readme, "table2", "\n\n".join(parts))
    said = [*_sampling(shown), *_one_layer(rows["scaling"]), *_against_glow(rows["figure4"])]
    return _between(readme, "figures", "\n".join(f"- {sentence}" for sentence in said))


def _between(readme: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name}: python -m invconv report --readme -->", f"<!-- end of {name} -->"
    if begin not in readme or end not in readme:
        raise ValueError(f"the README must hold the markers {begin!r} and {end!r}")
    before, _, rest = readme.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _sampling(rows: pd.DataFrame) -> list[str]:
    """ST ÷ FT of table 2: published and measured at the same sizes, and of the small models."""
    rows = rows[(rows["status"] == "ok") & rows["st_s"].notna()]
    rows = rows.assign(ratio=rows["st_s"] / rows["ft_s"])
    figures = published("table2")
    times = figures.pivot_table("value", ["model", "dataset"], "metric", aggfunc="first")
    theirs = (times["st_s"].astype(float) / times["ft_s"].astype(float)).dropna()
    same = rows[rows["preset"] == UNTRAINED]
    same = same.set_index([same["method"].map(LAYERS), "dataset"])
    same = same[same.index.isin(theirs.index)]
    said = []
    if len(same):
        theirs = theirs[theirs.index.isin(same.index)]
        model, dataset = theirs.sort_values().index.to_list()[-1]
        said.append(
            f"In the published table 2 sampling takes up to {theirs.max():.0f} times as long as "
            f"the forward pass ({model} on {PAPER[dataset]}, its inverse on one CPU thread); "
            f"here the same models take {same['ratio'].min():.2f} to {same['ratio'].max():.2f} "
            "times as long, at the same sizes, with random weights, on a CPU."
        )
    small = rows[rows["preset"] == "smoke"]
    if len(small):
        others = small[small["method"] != "macow"]
        said.append(
            f"The small trained models above take {small['ratio'].min():.2f} to "
            f"{small['ratio'].max():.2f} times as long, at most {others['ratio'].max():.2f} but "
            "for MaCow."
        )
    return said


def _one_layer(rows: pd.DataFrame) -> list[str]:
    """Our inverse of one layer against torch's forward and FInC's own algorithm."""
    if rows.empty:
        return []
    rows = newest(rows)
    rows = rows[(rows["status"] == "ok") & (rows["channels"] == 12) & (rows["batch"] == 100)]
    if rows.empty:
        return []
    forward = rows["fresh_s"] / rows["torch_forward_s"]
    own = rows["inverse_diagonal_channel_s"] / rows["inverse_s"]
    return [
        f"The inverse of one FInC layer takes {forward.min():.2f} to {forward.max():.2f} of "
        "torch's fastest forward pass of it, with its result in newly allocated memory, and is "
        f"{own.min():.0f} to {own.max():.0f} times as fast as the paper's own algorithm in C++ on "
        "the same machine."
    ]


def _against_glow(rows: pd.DataFrame) -> list[str]:
    """Sampling time of FInC and MaCow against Glow's in figure 4, over sizes and batches."""
    if rows.empty:
        return []
    rows = newest(rows)
    rows = rows[(rows["status"] == "ok") & ~rows["size"].str.startswith("rgb")]
    ratios = {}
    fields = [f"st_{batch}_s" for batch in BATCHES]
    for method in ("glow", "finc", "macow"):
        ratios[method] = rows[rows["method"] == method].set_index(["machine", "width", "size"])
    found = {
        method: (ratios[method][fields] / ratios["glow"][fields]).stack()
        for method in ("finc", "macow")
    }
    texts = [
        f"{values.median():.3g} ({values.min():.3g} to {values.max():.3g})"
        for values in found.values()
    ]
    return [
        f"A whole FInC flow samples in {texts[0]} times Glow's time and a whole MaCow flow in "
        f"{texts[1]} times it: median and range over the sizes and batches of figure 4, "
        f"with couplings {md.listed(rows['width'])} wide and {md.listed(rows['repeats'])} repeats."
    ]
