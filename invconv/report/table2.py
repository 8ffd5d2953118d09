"""The page `results/table2.md`: bits per dimension, forward and sampling time."""

import json
from collections.abc import Set
from pathlib import Path

import pandas as pd

from invconv.report import markdown as md
from invconv.report import pages, remarks
from invconv.report.names import EMBEDDED, METHODS
from invconv.report.published import published
from invconv.report.ranked import seeds_section
from invconv.report.table2_paper import PAPER, model_size, paper_table
from invconv.rows import newest

RANKED = "embedded_long"
UNTRAINED = "paper_timing"
DATA = (
    "digits: scikit-learn's 1,797 handwritten digits, 250 of them for testing. patches: 32×32 "
    "crops of scikit-learn's two photographs, 250 for testing, which overlap, so that their bpd ± "
    "is too small."
)
DETAILS = ("histogram", "images", "round trip", "steps", "solver")
TIMES = [f"{name}{part}_s" for name in ("ft", "st") for part in ("", "_q25", "_q75")]
TIMES += ["train_step_s", "aa_spread", "timed_images", "bpd", "bpd_interval", "histogram_bpd"]
TIMES += ["st_published_s", "train_step_extra_bytes", "free_parameters"]
"""What a cell that was not timed or not trained, or an older one, has no values for."""


def write_page(rows: pd.DataFrame, results: Path) -> Path:
    """Writes ``results/table2.md`` from the rows and returns its path."""
    return pages.write("table2", lambda: page(rows), results)


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
        "synchronised on a GPU. bpd ±: half of the 95 % interval over the test images, which is "
        "no interval for a difference between methods. A/A: by how much the same forward pass, "
        "timed twice in the same block, differs from itself. Rows are timed minutes to hours "
        "apart: their times are not compared with each other.",
        "Every method stands inside the common step, the convolution → ActNorm → Glow's 1×1 → "
        "affine coupling, which is FInC's; Glow itself has no second convolution. Own step: "
        "inside the step of the method's own paper. ST s, paper's algorithm: the same pass with "
        "the inverse as the method's paper computes it. "
        + remarks.OWN_ALGORITHMS
        + " –: there is none, "
        "or it was not measured; missing: no row yet.",
        "## Embedded data, a few minutes on a CPU",
        "One seed and a few hundred steps: **bpd not for ranking**. The paper has no figures for "
        f"these data. {DATA} Histogram: the bpd of one histogram per pixel, a model without any "
        "dependence between pixels. Train step: forward and backward of "
        "the same images; memory: peak memory of a training step, excluding weights and data. "
        "Stored: all parameters; free: without what the convolutions mask away.",
        *_quick_sections(quick(rows[~rows["dataset"].isin(PAPER)])),
        "## Embedded data, several seeds and thousands of steps",
        *seeds_section(rows[rows["preset"] == RANKED]),
        "## The paper's data sets: published | measured",
        "Published FT and ST are seconds for 100 images on the authors' GPU; hardware not stated. "
        "A ratio is measured ÷ published, of models of the published (L, K) and width alone; "
        "across different machines it compares machines as much as methods, and but for FInC the "
        "published models have steps of their own. Random weights: as initialised, timed at the "
        "published size without training (`preset=paper_timing`), the paper's algorithm once, in "
        "a block of its own. "
        + remarks.UNTRAINED
        + " A sampling time is not valid where its cell says that the model does not invert in "
        "float32: what was timed are not the samples of its latents.",
        paper_table(rows[rows["dataset"].isin(PAPER)]),
        *notes(rows[rows["dataset"].isin(PAPER)]),
        *remarks.published_notes(published("table2")),
        "## Where each row comes from",
        *pages.memory_note(rows[rows["ft_s"].notna()]),
        pages.provenance_table(rows),
    ]
    return "\n\n".join(parts) + "\n"


def notes(rows: pd.DataFrame) -> list[str]:
    """What is to be said of cells that are not ok, and of samples that are not exact."""

    def called(row: pd.Series) -> str:
        data = (EMBEDDED | PAPER).get(row["dataset"], row["dataset"])
        return f"{pages.title(row['method'])} on {data} (`{row['cell']}`, {row['machine']})"

    return [*remarks.footnotes(rows, called), *remarks.lossy_notes(rows, called)]


def _quick_sections(rows: pd.DataFrame) -> list[str]:
    """The table of the quick runs of each machine."""
    if rows.empty:
        return [quick_table(rows)]
    parts = []
    for machine, block in rows.groupby("machine"):
        parts += [f"### {machine}", pages.origin(block), budgets(block), quick_table(block)]
        parts += notes(block)
    return [part for part in parts if part]


def budgets(rows: pd.DataFrame) -> str:
    """The sizes of the models and of their training, as the rows' configurations say."""
    said = []
    for dataset, members in rows.groupby("dataset", sort=False):
        found = dict.fromkeys(_budget(row) for _, row in members.iterrows())
        known = "; ".join(filter(None, found))
        if known:
            said.append(f"{EMBEDDED.get(str(dataset), dataset)}: {known}.")
    return " ".join(said)


def _budget(row: pd.Series) -> str:
    size, training = model_size(row), json.loads(row["config"])["budget"]["training"]
    if size is None or "batch_size" not in training:
        return ""
    levels, steps, width = size
    return (
        f"(L, K) = ({levels}, {steps}), couplings {width} wide, {training['steps']} training "
        f"steps of {training['batch_size']} images"
    )


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The newest row of each cell on each machine, data sets and methods in their order."""
    if rows.empty:
        names = [*rows.columns, "preset", "dataset", "method", "seed", *TIMES]
        return rows.reindex(columns=list(dict.fromkeys(names)))
    kept = newest(rows)
    kept = kept.reindex(columns=list(dict.fromkeys([*kept.columns, *TIMES])))
    order = {name: i for i, name in enumerate([*EMBEDDED, *PAPER, *METHODS])}
    places = kept[["dataset", "method"]].map(lambda name: order.get(name, len(order)))
    kept = kept.assign(_d=places["dataset"], _m=places["method"])
    kept = kept.sort_values(["preset", "_d", "_m", "seed", "machine"], kind="stable")
    return kept.drop(columns=["_d", "_m"]).reset_index(drop=True)


def quick(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the quick runs, with one seed."""
    return rows[~rows["preset"].isin([RANKED, UNTRAINED])]


def quick_table(
    rows: pd.DataFrame, expected: dict[str, str] = METHODS, brief: bool = False
) -> str:
    """The table of the quick runs, with a line for every cell of ``expected`` that is missing.

    Args:
        rows: those of `quick` of one machine, `in_order`.
        expected: method → name.
        brief: whether to leave out what is not about speed and quality.
    """
    lines = []
    for dataset, title in _titles(rows["dataset"], EMBEDDED, set(PAPER)).items():
        for method, name in _titles(rows["method"], expected).items():
            here = rows[(rows["dataset"] == dataset) & (rows["method"] == method)]
            if here.empty:
                lines.append({"data": title, "method": name, "status": md.MISSING})
            for _, row in here.iterrows():
                lines.append(_quick_line(title, name, row))
    if brief:
        hidden = [*DETAILS, *["status"] * all(line["status"] == "ok" for line in lines)]
        lines = [{key: line[key] for key in line if key not in hidden} for line in lines]
    return md.table(lines)


def _titles(
    names: pd.Series, known: dict[str, str], apart: Set[str] = frozenset()
) -> dict[str, str]:
    """What is ``known``, and behind it whatever else occurs in the rows."""
    return known | {name: name for name in names if name not in known and name not in apart}


def _quick_line(title: str, name: str, row: pd.Series) -> dict[str, str]:
    line = {"data": title, "method": pages.named(name, row), "status": str(row["status"])}
    if row["status"] != "ok":
        return line
    steps = json.loads(row["config"])["budget"]["training"]["steps"]
    return line | {
        "bpd": md.bits_with_interval(row),
        "histogram": md.value(row, "histogram_bpd", md.bits),
        "FT s": md.quartiles(row, "ft"),
        "ST s": remarks.sampling_time(row),
        "ST/FT": md.quotient(row, "st_s", row, "ft_s"),
        "ST s, paper's algorithm": md.quartiles(row, "st_published"),
        "train step s": md.value(row, "train_step_s"),
        "memory MB": md.value(row, "train_step_extra_bytes", scale=1e-6),
        "A/A": md.value(row, "aa_spread", "{:.1%}".format),
        "images": md.value(row, "timed_images", "{:.0f}".format),
        "round trip": md.value(row, "round_trip_error", lambda error: md.number(error, 2)),
        "stored": md.value(row, "parameters", "{:,.0f}".format),
        "free": md.value(row, "free_parameters", "{:,.0f}".format),
        "steps": str(steps),
        "solver": md.ABSENT if pd.isna(row.get("solver")) else row["solver"],
    }
