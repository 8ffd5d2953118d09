"""Running one cell of a sweep: skip it if it is done, lock it, and end with a row."""

import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from invconv.files import remove_partial, write_text_atomically
from invconv.rows.provenance import device_name, provenance, revision
from invconv.rows.row import Row, Value, Values, read_row, write_row
from invconv.rows.status import Status, classify, describe
from invconv.sweeps.locks import ATTEMPTS, LOCK, Lock, slurm_job


def run_cell(
    cell: str,
    table: str,
    labels: Mapping[str, Value],
    config: Mapping[str, object],
    folder: Path,
    device: torch.device,
    measure: Callable[[Path], Values],
    force: bool = False,
) -> tuple[Row, bool]:
    """Measure one cell and write ``folder/row.json`` the moment it ends.

    A cell whose row is "ok" is skipped; every other one is tried again. Outside SLURM a row of
    another device does not count: you want this machine's times, while jobs of one sweep may run
    on unlike nodes. The cell is locked meanwhile, so that no other process runs it. What the
    measurement raises becomes the row's status and reason, with the traceback in
    ``folder/traceback.txt``, so that one failing cell never stops the others; a process that is
    stopped leaves no row.

    With ``force`` the cell's row and checkpoints are deleted first; a SLURM job that was requeued
    resumes instead. Returns the row, and whether it was measured now; raises Held if another
    process works on it.
    """
    path = folder / "row.json"
    if not force and (done := _done(path, device)):
        return done, False
    with Lock(folder) as lock:
        force = force and not lock.requeued
        if force:
            _clear(folder)
        elif done := _done(path, device):
            lock.outcome = "skipped"
            return done, False
        remove_partial(folder)
        (folder / "traceback.txt").unlink(missing_ok=True)
        revision()  # of the code that was loaded, not of what it has become when the cell ends
        start, values, status, reason = time.perf_counter(), Values(), Status.OK, ""
        try:
            values |= measure(folder)
        except Exception as error:
            status, reason = classify(error), describe(error)
            write_text_atomically(traceback.format_exc(), folder / "traceback.txt")
        values["duration_s"] = round(time.perf_counter() - start, 2)
        source = provenance(device)
        row = Row(cell, table, status, reason, dict(labels), dict(config), values, source)
        write_row(row, path)
        lock.outcome = status
        return row, True


def _done(path: Path, device: torch.device) -> Row | None:
    row = read_row(path)
    if row is None or row.status != Status.OK:
        return None
    return row if slurm_job() or row.provenance.get("device") == device_name(device) else None


def _clear(folder: Path) -> None:
    """Deletes all but the lock, whose file must stay the one that is locked, and the attempts."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in (LOCK, ATTEMPTS):
            entry.unlink(missing_ok=True)
