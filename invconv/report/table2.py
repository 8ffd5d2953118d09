"""The page `results/table2.md`: bits per dimension, forward and sampling time."""

import json
from collections.abc import Set
from pathlib import Path

import pandas as pd

from invconv.bench import newest, write_text_atomically
from invconv.report import markdown as md
from invconv.report.names import METHODS
from invconv.report.published import published
from invconv.report.seeds import paired_difference, setting

EMBEDDED = {"digits": "digits 8×8", "patches": "patches 32×32"}
PAPER = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "imagenet32": "ImageNet-32",
    "imagenet64": "ImageNet-64",
}
METRICS = {"bpd": "bpd", "ft_s": "FT s,", "st_s": "ST s,"}
RANKED = "embedded_long"
TIMES = [f"{name}{part}_s" for name in ("ft", "st") for part in ("", "_q25", "_q75")]
TIMES += ["train_step_s", "aa_spread", "timed_images"]
"""What a cell that was not timed has no values for."""


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/table2.md`` from the rows and returns its path."""
    path = results / "table2.md"
    write_text_atomically(page(rows), path)
    return path


def page(rows: pd.DataFrame) -> str:
    """The whole page, a pure function of the rows and the published figures."""
    rows = in_order(rows)
    parts = [
        "# Table 2: bits per dimension, forward time and sampling time",
        "Made by `python reproductions/table2.py -m`; do not edit. Rows: "
        "[data/table2.csv](data/table2.csv). bpd: bits per dimension on the held-out test split, "
        "uniform dequantisation unless the name says otherwise, one noise draw. FT, ST: seconds "
        "for one forward pass (log-probability) and one sampling pass of the whole model over as "
        "many images as the column says, median [quartiles], interleaved, after warm-up, "
        "synchronised on a GPU.",
        "## Embedded data, a few minutes on a CPU",
        "One seed and a few hundred steps: **bpd not for ranking**. The paper has no figures for "
        "these data. Histogram: the bpd of one histogram per pixel, a model without any "
        "dependence between pixels. A/A: by how much the same forward pass, timed twice in the "
        "same block, differs from itself. FT and ST of one row share a block; the rows are timed "
        "minutes apart, on a machine that drifts by more than A/A shows, so that small "
        "differences between rows are none.",
        quick_table(rows),
        *_footnotes(rows),
        "## Embedded data, several seeds and thousands of steps",
        *seeds_section(rows[rows["preset"] == RANKED]),
        "## The paper's data sets: published | measured",
        "Published FT and ST are seconds for 100 images on the authors' GPU; hardware not stated. "
        "A ratio is measured ÷ published; across different machines it compares machines as much "
        "as methods.",
        paper_table(rows),
        *_published_notes(),
        "## Where each row comes from",
        provenance_table(rows),
    ]
    return "\n\n".join(parts) + "\n"


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The newest row of each cell on each machine, data sets and methods in their order."""
    if rows.empty:
        return rows.reindex(columns=[*rows.columns, "preset", "dataset", "method", "seed"])
    kept = newest(rows)
    kept = kept.reindex(columns=list(dict.fromkeys([*kept.columns, *TIMES])))
    order = {name: i for i, name in enumerate([*EMBEDDED, *PAPER, *METHODS])}
    places = kept[["dataset", "method"]].map(lambda name: order.get(name, len(order)))
    kept = kept.assign(_d=places["dataset"], _m=places["method"])
    kept = kept.sort_values(["preset", "_d", "_m", "seed", "machine"], kind="stable")
    return kept.drop(columns=["_d", "_m"]).reset_index(drop=True)


def quick_table(rows: pd.DataFrame, expected: dict[str, str] = METHODS) -> str:
    """The table of the quick runs, with a line for every cell of ``expected`` that is missing."""
    rows = rows[rows["preset"] != RANKED]
    lines = []
    for dataset, title in _titles(rows["dataset"], EMBEDDED, set(PAPER)).items():
        for method, name in _titles(rows["method"], expected).items():
            here = _select(rows, dataset=dataset, method=method)
            if here.empty:
                lines.append({"data": title, "method": name, "status": "missing"})
            lines += [_quick_line(title, name, row) for _, row in here.iterrows()]
    return md.table(lines)


def _titles(
    names: pd.Series, known: dict[str, str], apart: Set[str] = frozenset()
) -> dict[str, str]:
    """What is ``known``, and behind it whatever else occurs in the rows."""
    return known | {name: name for name in names if name not in known and name not in apart}


def _quick_line(title: str, name: str, row: pd.Series) -> dict[str, str]:
    line = {"data": title, "method": _named(name, row), "status": row["status"]}
    if row["status"] != "ok":
        return line | {"device": row["device"]}
    steps = json.loads(row["config"])["budget"]["training"]["steps"]
    return line | {
        "bpd published": md.ABSENT,
        "bpd measured": md.bits(row["bpd"]),
        "histogram": md.bits(row["histogram_bpd"]),
        "FT s": md.with_quartiles(row["ft_s"], row["ft_q25_s"], row["ft_q75_s"]),
        "ST s": md.with_quartiles(row["st_s"], row["st_q25_s"], row["st_q75_s"]),
        "ST/FT": md.ratio(row["st_s"], row["ft_s"]),
        "train step s": md.number(row["train_step_s"]),
        "A/A": md.ABSENT if pd.isna(row["aa_spread"]) else f"{row['aa_spread']:.1%}",
        "images": md.ABSENT if pd.isna(row["timed_images"]) else f"{row['timed_images']:.0f}",
        "round trip": md.number(row["round_trip_error"], 2),
        "parameters": f"{row['parameters']:,.0f}",
        "steps": str(steps),
        "solver": md.ABSENT if pd.isna(row.get("solver")) else row["solver"],
        "device": row["device"],
    }


def _named(name: str, row: pd.Series) -> str:
    """``name``, with the dequantisation where it is not the uniform one."""
    dequantization = row.get("dequantization")
    plain = pd.isna(dequantization) or dequantization == "uniform"
    return name if plain else f"{name}, {dequantization}"


def seeds_section(rows: pd.DataFrame) -> list[str]:
    """Means over seeds, and differences to Glow paired by seed with their interval."""
    rows = rows[rows["status"] == "ok"] if len(rows) else rows
    if rows.empty:
        return [
            "missing: no such run yet. `python reproductions/table2.py -m preset=embedded_long`."
        ]
    lines, sentences = [], []
    settings = rows["config"].map(lambda text: setting(text, "method", "seed"))
    for keys, group in rows.groupby([settings, "machine"], sort=False):
        first = group.iloc[0]
        config = json.loads(first["config"])
        title = EMBEDDED.get(first["dataset"], first["dataset"])
        glow = group[group["method"] == "glow"]
        for method, members in group.groupby("method", sort=False):
            name = _named(METHODS.get(str(method), str(method)), members.iloc[0])
            difference = None if method == "glow" else paired_difference(members, glow, "bpd")
            lines.append(
                {
                    "data": title,
                    "method": name,
                    "seeds": str(len(members)),
                    "bpd measured": f"{members['bpd'].mean():.3f} ± {members['bpd'].std():.3f}",
                    "histogram": md.bits(first["histogram_bpd"]),
                    "minus Glow": f"{difference.mean:+.4f} [{difference.low:+.4f}, "
                    f"{difference.high:+.4f}]"
                    if difference
                    else md.ABSENT,
                    "steps": str(config["budget"]["training"]["steps"]),
                    "machine": str(keys[1]),
                }
            )
            if difference is not None:
                sentences.append(_verdict(title, name, difference.mean, difference.resolved))
    return [
        "bpd: mean ± standard deviation over the seeds. minus Glow: mean difference to Glow with "
        "the same seed, [95 % interval by Student's t].",
        md.table(lines),
        " ".join(sentences),
    ]


def _verdict(data: str, name: str, mean: float, resolved: bool) -> str:
    if not resolved:
        return f"On {data} these seeds resolve no difference between {name} and Glow."
    return f"On {data} {name} is {'better' if mean < 0 else 'worse'} than Glow."


def paper_table(rows: pd.DataFrame) -> str:
    """Published beside measured for every model and data set of the paper."""
    figures = published("table2")
    value = figures.set_index(["dataset", "model", "metric"])["value"].to_dict()
    models = list(dict.fromkeys([*METHODS.values(), *figures["model"]]))
    lines = []
    for dataset, title in PAPER.items():
        for model in models:
            names = [method for method, name in METHODS.items() if name == model]
            measured = _select(
                rows, status="ok", dataset=dataset, method=names[0] if names else ""
            )
            known = [value.get((dataset, model, metric)) for metric in METRICS]
            if measured.empty and not any(known):
                continue
            for row in [None] if measured.empty else [row for _, row in measured.iterrows()]:
                line = {"data": title, "model": model if row is None else _named(model, row)}
                for metric, label in METRICS.items():
                    theirs = value.get((dataset, model, metric))
                    ours = None if row is None else float(row[metric])
                    form = md.bits if metric == "bpd" else md.number
                    line[f"{label} published"] = md.ABSENT if theirs is None else f"{theirs:g}"
                    line[f"{label} measured"] = "missing" if ours is None else form(ours)
                    line[f"{label} ratio"] = md.ratio(ours, theirs)
                lines.append(line)
    return md.table(lines)


def _published_notes() -> list[str]:
    figures = published("table2")
    sources = [
        f"- {source}: {', '.join(dict.fromkeys(group['model']))} (label "
        f"{', '.join(sorted(set(group['label'])))})"
        for source, group in figures.groupby("source", sort=False)
    ]
    noted = figures[figures["note"] != ""]
    notes = [
        f"- {', '.join(dict.fromkeys(group['model']))}, "
        f"{', '.join(METRICS[m][:3].strip() for m in dict.fromkeys(group['metric']))}: {note}."
        for note, group in noted.groupby("note", sort=False)
    ]
    return ["Sources (V: read in the primary source):", "\n".join(sources), "\n".join(notes)]


def _footnotes(rows: pd.DataFrame) -> list[str]:
    failed = rows[rows["status"] != "ok"] if len(rows) else rows
    lines = [
        f"- `{row['cell']}`: {row['status']}: {row['reason']}" for _, row in failed.iterrows()
    ]
    return ["\n".join(lines)] if lines else []


def provenance_table(rows: pd.DataFrame) -> str:
    """One line per row: status, device, versions, commit and date."""
    lines = [
        {
            "cell": f"`{row['cell']}`",
            "status": row["status"],
            "device": row["device"],
            "threads": f"{row['threads']:.0f}",
            "torch": row["torch"],
            "python": row["python"],
            "commit": f"{row['commit']}{'+changes' if row['dirty'] else ''}",
            "date": row["date"],
        }
        for _, row in rows.iterrows()
    ]
    return md.table(lines) if lines else "missing: no rows yet."


def _select(rows: pd.DataFrame, **labels: str) -> pd.DataFrame:
    for name, wanted in labels.items():
        rows = rows[rows[name] == wanted]
    return rows
