"""What a row, its data and its model are called on a page."""

import json

import pandas as pd

from invconv.data import DATASETS
from invconv.report import blocks as bl


def data_title(name: str) -> str:
    """Return what a data set is called on a page.

    >>> from invconv.report.naming import data_title
    >>> data_title("photographs_16x16")
    'photographs 16×16'
    """
    base, _, size = name.rpartition("_")
    if name not in DATASETS and size in ("permuted", "shifted"):
        return f"{data_title(base)}, {size}"
    if name not in DATASETS and base in DATASETS and "x" in size:
        return f"{DATASETS[base].title} {size.replace('x', '×')}"
    return DATASETS[name].title if name in DATASETS else name


def called(row: pd.Series) -> str:
    """Return what a row is called in a sentence."""
    return f"{bl.title(row['method'])} on {data_title(row['dataset'])}"


def budget(row: pd.Series) -> dict[str, int]:
    """Return a row's levels, steps and width, and its training's steps and batch (0: unknown)."""
    found = json.loads(row["config"])["budget"]
    training = found.pop("training")
    return found | {"training": training["steps"], "batch": training.get("batch_size", 0)}
