"""Published figures, tables and pages: pure functions of rows."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from invconv.report import (
    accuracy,
    benchmark,
    faults,
    figure4,
    gpu,
    scaling,
    table1,
    table2,
    table3,
    table4,
    trust,
)

PAGES: dict[str, Callable[[pd.DataFrame, Path], Path]] = {
    "table1": table1.write_page,
    "table2": table2.write_page,
    "table3": table3.write_page,
    "table4": table4.write_page,
    "figure4": figure4.write_page,
    "scaling": scaling.write_page,
    "accuracy": accuracy.write_page,
    "gpu": gpu.write_page,
    "faults": faults.write_page,
    "benchmark": benchmark.write_page,
    "trust": trust.write_page,
}
"""Table name to the function that writes its page from ``results/data/<name>.csv``."""
