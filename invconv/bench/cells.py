"""Running one cell of a sweep: skip it if it is done, otherwise end with a row."""

import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from invconv.bench.provenance import device_name, provenance, revision
from invconv.bench.rows import Row, read_row, write_row, write_text_atomically
from invconv.solvers import InverseError


class Unsupported(Exception):
    """The cell asks for what the method cannot do; the message says why."""


class Incorrect(ArithmeticError):
    """The cell's result failed its check, so its speed means nothing."""


def run_cell(
    cell: str,
    table: str,
    labels: Mapping[str, Any],
    config: Mapping[str, Any],
    folder: Path,
    device: torch.device,
    measure: Callable[[Path], dict[str, Any]],
    force: bool = False,
) -> tuple[Row, bool]:
    """Measures one cell and writes ``folder/row.json`` the moment it ends.

    A cell whose row is "ok" on this device is skipped; every other one is tried again. Whatever
    the measurement raises becomes the row's status and reason, with the traceback in
    ``folder/traceback.txt``, so that one failing cell never stops the others.

    Args:
        cell, table, labels, config: the row's.
        folder: the cell's own; passed to ``measure`` for checkpoints.
        device: for the provenance.
        measure: returns the row's values.
        force: whether to measure from the start, checkpoints removed, although there is such a
            row.

    Returns:
        The row, and whether it was measured now.
    """
    path = folder / "row.json"
    done, here = read_row(path), device_name(device)
    if force:
        shutil.rmtree(folder, ignore_errors=True)
    elif done is not None and done.status == "ok" and done.provenance["device"] == here:
        return done, False
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "traceback.txt").unlink(missing_ok=True)
    revision()  # of the code that was loaded, not of what it has become when the cell ends
    start = time.perf_counter()
    values: dict[str, Any] = {}
    status, reason = "ok", ""
    try:
        values = measure(folder)
    except Exception as error:
        status, reason = classify(error), describe(error)
        write_text_atomically(traceback.format_exc(), folder / "traceback.txt")
    values = {**values, "duration_s": round(time.perf_counter() - start, 2)}
    row = Row(cell, table, status, reason, dict(labels), dict(config), values, provenance(device))
    write_row(row, path)
    return row, True


def classify(error: Exception) -> str:
    """The status that an exception stands for."""
    if isinstance(error, Unsupported | NotImplementedError):
        return "unsupported"
    if isinstance(error, Incorrect | InverseError):
        return "incorrect"
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "oom"
    if isinstance(error, TimeoutError):
        return "timeout"
    return "error"


def describe(error: Exception) -> str:
    """The exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
