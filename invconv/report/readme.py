"""The block of the README that shows the newest table."""

from pathlib import Path

import pandas as pd

from invconv.bench import write_text_atomically
from invconv.report.names import LAYERS
from invconv.report.table2 import in_order, quick_table

BEGIN, END = "<!-- table2: python -m invconv report --readme -->", "<!-- end of table2 -->"


def with_table(readme: str, rows: pd.DataFrame) -> str:
    """``readme`` with what stands between the markers replaced by the common step's table.

    Raises:
        ValueError: if a marker is missing.
    """
    if BEGIN not in readme or END not in readme:
        raise ValueError(f"the README must hold the markers {BEGIN!r} and {END!r}")
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    shown = in_order(rows)
    shown = shown[shown["method"].isin(LAYERS)]
    return f"{before}{BEGIN}\n\n{quick_table(shown, LAYERS, brief=True)}\n\n{END}{after}"


def write_readme(rows: pd.DataFrame, path: Path) -> None:
    """Updates the README in place, atomically."""
    write_text_atomically(with_table(path.read_text(), rows), path)
