"""Published figures as data: `figures_published/*.csv`, each with its label and source.

Labels: V, read in the primary source; R, read off a plot (±10 %); I, inferred or computed.
"""

from importlib.resources import files
from typing import IO

import pandas as pd

from invconv.files import brief

LABELS = ("V", "R", "I")
COLUMNS = ("table", "model", "dataset", "metric", "value", "label", "source", "note")


def published(table: str) -> pd.DataFrame:
    """The published figures of one table.

    Returns:
        The columns of `COLUMNS`.
    """
    path = files("invconv.report") / "figures_published" / f"{table}.csv"
    with path.open() as file:
        return read_published(file, table)


def read_published(file: IO[str], table: str) -> pd.DataFrame:
    """`published`, of an open file.

    Raises:
        ValueError: unless every line is of ``table``, has a source, a label of `LABELS` and a
            value, which is a finite number but in the formulas of table1.
    """
    name = f"the published figures of {table}"
    try:
        figures = pd.read_csv(file, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read: {brief(error)}") from error
    if tuple(figures.columns) != COLUMNS:
        raise ValueError(f"{name} must have the columns {', '.join(COLUMNS)}")
    values = pd.to_numeric(figures["value"], errors="coerce")
    known = figures["value"] != "" if table == "table1" else values.abs() < float("inf")
    good = {
        "table": figures["table"] == table,
        "model": figures["model"] != "",
        "metric": figures["metric"] != "",
        "value": known,
        "label": figures["label"].isin(LABELS),
        "source": figures["source"] != "",
    }
    for column, fine in good.items():
        if not fine.all():
            line = (~fine).argmax()
            found = figures[column].iloc[line]
            raise ValueError(f"{name}: line {line + 2} cannot have the {column} {found!r:.40}")
    return figures
