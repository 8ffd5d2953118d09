"""What the README shows of the newest rows: table 2, what the pages say, and two figures.

All of it is of one machine at a time, that of the newest rows, and nothing of contributed rows.
"""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from invconv.bench.flow_timing import TRUSTED
from invconv.files import write_text_atomically
from invconv.report import figure4, pages, remarks, scaling
from invconv.report.names import EMBEDDED, LAYERS
from invconv.report.published import published
from invconv.report.ranked import verdict
from invconv.report.table2 import RANKED, UNTRAINED, budgets, in_order, quick, quick_table
from invconv.report.table2_paper import PAPER
from invconv.rows import newest


def write_readme(rows: Mapping[str, pd.DataFrame], path: Path) -> None:
    """Updates the README in place, atomically, from the rows of every table."""
    write_text_atomically(with_rows(path.read_text(), rows), path)


def with_rows(readme: str, rows: Mapping[str, pd.DataFrame]) -> str:
    """``readme`` with what stands between its markers made anew from the rows.

    Raises:
        ValueError: if a marker is missing.
    """
    ours = {table: frame[pages.labels(frame) == ""] for table, frame in rows.items()}
    shown = in_order(ours["table2"])
    shown = shown[shown["method"].isin(LAYERS)]
    readme = _between(readme, "table2", _table(quick(shown[~shown["dataset"].isin(PAPER)])))
    said = [
        *_published_sizes(shown),
        *_one_layer(ours["scaling"]),
        *verdict(shown[shown["preset"] == RANKED]),
    ]
    parts = ["\n".join(f"- {sentence}" for sentence in said), *_pictures(ours)]
    return _between(readme, "figures", "\n\n".join(parts))


def _between(readme: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name}: python -m invconv report --readme -->", f"<!-- end of {name} -->"
    if begin not in readme or end not in readme:
        raise ValueError(f"the README must hold the markers {begin!r} and {end!r}")
    before, _, rest = readme.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _latest_machine(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the machine that measured last."""
    if rows.empty:
        return rows
    return rows[rows["machine"] == rows.sort_values("date", kind="stable")["machine"].iloc[-1]]


def _table(rows: pd.DataFrame) -> str:
    rows = _latest_machine(rows)
    if rows.empty:
        return quick_table(rows, LAYERS, brief=True)
    lost = [
        f"- {LAYERS[row['method']]} on {EMBEDDED.get(row['dataset'], row['dataset'])}: "
        f"{row['samples_not_finite']:.0f} of {row['timed_images']:.0f} samples were not finite: "
        "the inverse overflowed in float32."
        for _, row in rows[rows.get("samples_not_finite", pd.Series(0, rows.index)) > 0].iterrows()
    ]
    where = pages.origin(rows).replace("(README.md)", "(results/README.md)")
    parts = [where, budgets(rows), quick_table(rows, LAYERS, brief=True)]
    parts += [*remarks.footnotes(rows), "\n".join(lost)]
    return "\n\n".join(part for part in parts if part)


def _published_sizes(rows: pd.DataFrame) -> list[str]:
    """ST ÷ FT of table 2, published and measured at the same sizes."""
    figures = published("table2")
    times = figures.pivot_table("value", ["model", "dataset"], "metric", aggfunc="first")
    theirs = (times["st_s"].astype(float) / times["ft_s"].astype(float)).dropna()
    same = rows[(rows["status"] == "ok") & rows["st_s"].notna() & (rows["preset"] == UNTRAINED)]
    same = same.set_index([same["method"].map(LAYERS), "dataset"])
    same = _latest_machine(same[same.index.isin(theirs.index)])
    if same.empty:
        return []
    here = theirs[theirs.index.isin(same.index)].sort_values()
    model, dataset = here.index.to_list()[-1]
    inverts = same["round_trip_error"] <= TRUSTED
    lost = ", ".join(dict.fromkeys(f"{m} on {PAPER[d]}" for m, d in same[~inverts].index))
    but = (
        f"; {lost} do not invert in float32 at these depths, so that none is given" if lost else ""
    )
    return [
        f"Of the models timed here the published table 2 has sampling take up to {here.max():.0f} "
        f"times as long as the forward pass ({model} on {PAPER[dataset]}: forward on a GPU, "
        f"inverse on one CPU thread). On {_device(same)} sampling takes "
        f"{_range((same['st_s'] / same['ft_s'])[inverts])} times as long with our solver{but}, at "
        "the same sizes, inside one common step, with random weights."
    ]


def _one_layer(rows: pd.DataFrame) -> list[str]:
    """Our inverse of one layer against torch's forward."""
    if rows.empty:
        return []
    rows = newest(rows)
    rows = rows[(rows["status"] == "ok") & (rows["channels"] == 12) & (rows["batch"] == 100)]
    rows = _latest_machine(rows)
    if rows.empty:
        return []
    fresh = rows["fresh_s"] / rows["torch_forward_s"]
    sizes = ", ".join(f"{name} {rows[name].min():g} to {rows[name].max():g}" for name in "nk")
    return [
        f"The inverse of one FInC layer (12 channels, batch 100, {sizes}) takes {_range(fresh)} "
        "of torch's fastest forward pass, both timed in one block, with its result in newly "
        f"allocated memory ({_device(rows)})."
    ]


def _range(ratios: pd.Series) -> str:
    return f"{ratios.min():.2f} to {ratios.max():.2f}"


def _device(rows: pd.DataFrame) -> str:
    return str(rows["device"].iloc[0])


def _pictures(rows: Mapping[str, pd.DataFrame]) -> list[str]:
    """The figures of scaling and of figure 4, of the machine that measured each last."""
    drawn = {
        "one layer against image size and kernel size": scaling.figures,
        "sampling time against image size and batch": figure4.figures,
    }
    links = []
    for (title, figures), table in zip(drawn.items(), ("scaling", "figure4"), strict=True):
        found = figures(_latest_machine(rows[table]))
        if found:
            latest = max(found, key=lambda name: found[name]["date"].max())
            links.append(f"![{title}](results/figures/{latest}.svg)")
    return links
