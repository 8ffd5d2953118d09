"""What the README shows of the newest rows: table 2, and what the figures say."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from invconv.bench import newest, write_text_atomically
from invconv.report.figure4 import BATCHES
from invconv.report.names import LAYERS
from invconv.report.published import published
from invconv.report.table2 import in_order, quick_table


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
    readme = _between(readme, "table2", quick_table(shown, LAYERS, brief=True))
    said = [_sampling(shown), _one_layer(rows["scaling"]), _against_glow(rows["figure4"])]
    return _between(readme, "figures", " ".join(sentence for sentence in said if sentence))


def _between(readme: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name}: python -m invconv report --readme -->", f"<!-- end of {name} -->"
    if begin not in readme or end not in readme:
        raise ValueError(f"the README must hold the markers {begin!r} and {end!r}")
    before, _, rest = readme.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _sampling(rows: pd.DataFrame) -> str:
    """ST ÷ FT of table 2, published and measured."""
    figures = published("table2")
    times = figures.pivot_table("value", ["model", "dataset"], "metric", aggfunc="first")
    worst = (times["st_s"].astype(float) / times["ft_s"].astype(float)).max()
    rows = rows[(rows["status"] == "ok") & (rows["preset"] == "smoke") & rows["st_s"].notna()]
    if rows.empty:
        return ""
    ratios = rows["st_s"] / rows["ft_s"]
    others = ratios[rows["method"] != "macow"]
    return (
        f"Sampling takes up to {worst:.0f} times as long as the forward pass in the published "
        f"table 2; here it takes {ratios.min():.2f} to {ratios.max():.2f} times as long, "
        f"at most {others.max():.2f} but for MaCow."
    )


def _one_layer(rows: pd.DataFrame) -> str:
    """Our inverse of one layer against torch's forward and FInC's own algorithm."""
    if rows.empty:
        return ""
    rows = newest(rows)
    rows = rows[(rows["status"] == "ok") & (rows["channels"] == 12) & (rows["batch"] == 100)]
    if rows.empty:
        return ""
    forward = rows["inverse_s"] / rows["torch_forward_s"]
    own = rows["inverse_diagonal_channel_s"] / rows["inverse_s"]
    return (
        f"The inverse of one FInC layer takes {forward.min():.2f} to {forward.max():.2f} of "
        f"torch's fastest forward pass of it, and is {own.min():.0f} to {own.max():.0f} times as "
        "fast as the paper's own algorithm in C++ on the same machine."
    )


def _against_glow(rows: pd.DataFrame) -> str:
    """Sampling time of FInC and MaCow against Glow's in figure 4, over sizes and batches."""
    if rows.empty:
        return ""
    rows = newest(rows)
    rows = rows[(rows["status"] == "ok") & ~rows["size"].str.startswith("rgb")]
    ratios = {}
    fields = [f"st_{batch}_s" for batch in BATCHES]
    for method in ("glow", "finc", "macow"):
        ratios[method] = rows[rows["method"] == method].set_index(["machine", "width", "size"])
    found = {
        method: (ratios[method][fields] / ratios["glow"][fields]).stack().median()
        for method in ("finc", "macow")
    }
    return (
        f"A whole FInC flow samples in {found['finc']:.2f} of Glow's time and MaCow's in "
        f"{found['macow']:.1f} times it (medians over the sizes and batches of figure 4)."
    )
