"""Published figures and the rows that measure the same."""

from typing import Any

import pandas as pd

from invconv.report import pages, table3, table4
from invconv.report.names import METHODS
from invconv.report.published import published

COUNTED = {
    "operations": "inverse_operations",
    "parameters": "free",
    "log_det": "log_det_operations",
    "inverse": "exact",
}
"""A metric of Table 1 → the field of a row that counts it."""
ALGORITHMS = {title: f"{name}_s" for name, title in table4.ALGORITHMS.items()}


def matches(table: str, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry per published figure of a table.

    Returns:
        model, dataset, metric, value (a number or a formula), label, source and note as
        published; field, the column that measures it; rows, the numbers of the rows that do; and
        ratio, whether those of them in ``full`` may be divided by it.
    """
    try:
        figures = published(table)
    except FileNotFoundError:
        return []
    found = []
    for figure in figures.astype(str).to_dict("records"):
        field, labels = _place(table, figure)
        same = _rows(rows, field, labels)
        number = pd.to_numeric(figure["value"], errors="coerce")
        found.append(
            {
                **{str(k): v for k, v in figure.items() if k != "table"},
                "value": figure["value"] if pd.isna(number) else float(number),
                "field": field,
                "rows": [int(i) for i in same.index],
                "full": [int(i) for i in same.index if _full(table, same.loc[i])],
            }
        )
    return found


def _place(table: str, figure: dict[Any, str]) -> tuple[str, dict[str, Any]]:
    """The field that measures a published figure, and the labels of the rows that have it."""
    model, dataset, metric = (figure[name] for name in ("model", "dataset", "metric"))
    methods = [name for name, title in METHODS.items() if title == model]
    if table == "table1":
        return COUNTED.get(metric, metric), {"method": methods}
    if table == "table2":
        return metric, {"method": methods, "dataset": [dataset]}
    if table == "table3":
        return metric, {"model": [k for k, (title, _) in table3.MODELS.items() if title == model]}
    if table == "figure4":
        field = "st_100_s" if metric == "st_s" else metric
        return field, {"method": methods, "size": [dataset]}
    if model in ALGORITHMS:
        return ALGORITHMS[model], {"size": [dataset], "images": [int(metric.split("_")[1])]}
    return metric, {"size": [dataset]}


def _rows(rows: pd.DataFrame, field: str, labels: dict[str, Any]) -> pd.DataFrame:
    if field not in rows or not set(labels) <= set(rows):
        return rows[:0]
    rows = rows[(rows["status"] == "ok") & rows[field].notna()]
    for name, wanted in labels.items():
        rows = rows[rows[name].isin(wanted)]
    return rows


def _full(table: str, row: pd.Series) -> bool:
    """Whether a row has the published size, so that a ratio means something."""
    return table != "table1" and ("width" not in row or row["width"] == pages.PAPER_WIDTH)
