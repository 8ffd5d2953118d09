"""Timing protocol, provenance, rows and their store."""

from invconv.bench.cells import Incorrect, Unsupported, run_cell
from invconv.bench.flow_timing import time_flow
from invconv.bench.provenance import provenance
from invconv.bench.rows import Row, cell_id, read_row, write_row, write_text_atomically
from invconv.bench.store import add, collect, merge, newest, read_rows, read_table, table_of
from invconv.bench.timing import Timing, spread, time_interleaved

__all__ = [
    "Incorrect",
    "Row",
    "Timing",
    "Unsupported",
    "add",
    "cell_id",
    "collect",
    "merge",
    "newest",
    "provenance",
    "read_row",
    "read_rows",
    "read_table",
    "run_cell",
    "spread",
    "table_of",
    "time_flow",
    "time_interleaved",
    "write_row",
    "write_text_atomically",
]
