"""Published figures as data: `figures_published/*.csv`, each with its label and source.

Labels: V, read in the primary source; R, read off a plot (±10 %); I, inferred or computed.
"""

from importlib.resources import files

import pandas as pd

LABELS = ("V", "R", "I")


def published(table: str) -> pd.DataFrame:
    """The published figures of one table.

    Returns:
        Columns table, model, dataset, metric, value, label, source, note.
    """
    path = files("invconv.report") / "figures_published" / f"{table}.csv"
    with path.open() as file:
        return pd.read_csv(file, keep_default_na=False)
