"""Published figures as data: `figures_published/*.csv`, each with its label and source.

Labels: V, read in the primary source; R, read off a plot (±10 %); I, inferred or computed.
"""

from functools import cache
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
    with _open(table) as file:
        return read_published(file, table)


def as_printed(figure: pd.Series) -> str:
    """The value of a line of `published` with the digits of its source: 0.30, not 0.3."""
    return _texts(str(figure["table"]))[figure["model"], figure["dataset"], figure["metric"]]


@cache
def _texts(table: str) -> dict[tuple[str, str, str], str]:
    with _open(table) as file:
        lines = pd.read_csv(file, dtype=str, keep_default_na=False)
    keys = zip(lines["model"], lines["dataset"], lines["metric"], strict=True)
    return dict(zip(keys, lines["value"], strict=True))


def _open(table: str) -> IO[str]:
    path = files("invconv.report") / "figures_published" / f"{table}.csv"
    return path.open(encoding="utf-8")


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
