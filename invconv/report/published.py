"""Published figures as data: `figures_published/*.csv`, each with its label and source.

Labels: V, read in the primary source; R, read off a plot (±10 %); I, inferred or computed.
"""

from collections.abc import Hashable
from functools import cache
from importlib.resources import files
from io import StringIO
from typing import IO

import pandas as pd

from invconv.files import brief

LABELS = ("V", "R", "I")
COLUMNS = ("table", "model", "dataset", "metric", "value", "label", "source", "note")


def published(table: str) -> pd.DataFrame:
    """The published figures of one table."""
    return read_published(_open(table), table)


def as_printed(figure: pd.Series) -> str:
    """The value of a line of `published` with the digits of its source: 0.30, not 0.3."""
    return _texts(str(figure["table"]))[figure["model"], figure["dataset"], figure["metric"]]


@cache
def _texts(table: str) -> dict[Hashable, str]:
    lines = pd.read_csv(_open(table), dtype=str, keep_default_na=False)
    return lines.set_index(["model", "dataset", "metric"])["value"].to_dict()


def _open(table: str) -> IO[str]:
    path = files("invconv.report") / "figures_published" / f"{table}.csv"
    return StringIO(path.read_text(encoding="utf-8"))


def read_published(file: IO[str], table: str) -> pd.DataFrame:
    """`published`, of an open file.

    Raises ValueError unless every line is of ``table``, has a source, a label and a value, which
    is a finite number but in the formulas of table1.
    """
    name = f"the published figures of {table}"
    try:
        figures = pd.read_csv(file, keep_default_na=False)
    except ValueError as error:
        raise ValueError(f"{name} cannot be read: {brief(error)}") from error
    if tuple(figures.columns) != COLUMNS:
        raise ValueError(f"{name} must have the columns {', '.join(COLUMNS)}")
    good = {name: figures[name] != "" for name in ("model", "metric", "value", "source")}
    good |= {"table": figures["table"] == table, "label": figures["label"].isin(LABELS)}
    if table != "table1":
        good["value"] = pd.to_numeric(figures["value"], errors="coerce").abs() < float("inf")
    for column, fine in good.items():
        if not fine.all():
            line, found = (~fine).argmax() + 2, figures[column][~fine].iloc[0]
            raise ValueError(f"{name}: line {line} cannot have the {column} {found!r:.40}")
    return figures
