"""Published figures as data: `figures_published/*.csv`, each with its label and source."""

from importlib.resources import files
from io import StringIO
from typing import IO

import pandas as pd

from invconv.files import brief

LABELS = {
    "V": "read in the primary source",
    "R": "read off a plot, ±10 %",
    "I": "inferred or computed",
    "S": "secondary, known through another paper or page only",
}
"""Label of a figure → what it says of it. Pages mark R and S beside the number."""
COLUMNS = ("table", "model", "dataset", "metric", "value", "label", "source", "note")


def published(table: str) -> pd.DataFrame:
    """The published figures of one table, as printed: 0.30, not 0.3."""
    path = files("invconv.report") / "figures_published" / f"{table}.csv"
    return read_published(StringIO(path.read_text(encoding="utf-8")), table)


def read_published(file: IO[str], table: str) -> pd.DataFrame:
    """`published`, of an open file.

    Raises ValueError unless every line is of ``table``, has a source, a label and a value, which
    is a finite number but in the formulas of table1.
    """
    name = f"the published figures of {table}"
    try:
        figures = pd.read_csv(file, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read: {brief(error)}") from error
    if tuple(figures.columns) != COLUMNS:
        raise ValueError(f"{name} must have the columns {', '.join(COLUMNS)}")
    good = {name: figures[name] != "" for name in ("model", "metric", "value", "source")}
    good |= {"table": figures["table"] == table, "label": figures["label"].isin(list(LABELS))}
    if table != "table1":
        good["value"] = pd.to_numeric(figures["value"], errors="coerce").abs() < float("inf")
    for column, fine in good.items():
        if not fine.all():
            line, found = (~fine).argmax() + 2, figures[column][~fine].iloc[0]
            raise ValueError(f"{name}: line {line} cannot have the {column} {found!r:.40}")
    return figures
