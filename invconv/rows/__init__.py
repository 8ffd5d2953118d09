"""Rows: what a measurement leaves behind, where it comes from, and where it is kept."""

from invconv.rows.provenance import provenance
from invconv.rows.row import CellError, Row, RowsError, Value, Values, cell_id, read_row, write_row
from invconv.rows.status import Incorrect, Status, Unsupported
from invconv.rows.store import add, collect, merge, newest, read_rows, read_table, table_of

__all__ = [
    "CellError",
    "Incorrect",
    "Row",
    "RowsError",
    "Status",
    "Unsupported",
    "Value",
    "Values",
    "add",
    "cell_id",
    "collect",
    "merge",
    "newest",
    "provenance",
    "read_row",
    "read_rows",
    "read_table",
    "table_of",
    "write_row",
]
