"""Running one cell of a sweep: skip it if it is done, claim it, and end with a row."""

import os
import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from invconv.files import remove_partial, write_text_atomically
from invconv.rows.provenance import device_name, provenance, revision
from invconv.rows.row import Row, read_row, write_row
from invconv.rows.status import Status, classify, describe
from invconv.sweeps.claims import Claim
from invconv.sweeps.processes import slurm_job


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

    A cell whose row is "ok" is skipped; every other one is tried again. Outside of SLURM a row
    of another device does not count: whoever starts a sweep on this machine wants this machine's
    times, while jobs of one sweep may end up on unlike nodes. The cell is claimed meanwhile, so
    that no other process runs it. Whatever the measurement raises becomes the row's status and
    reason, with the traceback in ``folder/traceback.txt``, so that one failing cell never stops
    the others; a process that is stopped leaves no row.

    Args:
        cell, table, labels, config: the row's.
        folder: the cell's own; passed to ``measure`` for checkpoints.
        device: for the provenance.
        measure: returns the row's values.
        force: whether to measure from the start, checkpoints removed, although there is such a
            row. A SLURM job that was requeued goes on instead.

    Returns:
        The row, and whether it was measured now.

    Raises:
        Held: if another process works on the cell.
        ClaimLost: if another process took it over, see `invconv.sweeps.claims`; no row is written.
    """
    path = folder / "row.json"
    done = None if force else _done(path, device)
    if done is not None:
        return done, False
    with Claim(folder) as claim:
        again = "SLURM_RESTART_COUNT" in os.environ and claim.previous.get("job") == slurm_job()
        done = None if force and not again else _done(path, device)
        if done is not None:
            claim.outcome = "skipped"
            return done, False
        if force and not again:
            _clear(folder)
        remove_partial(folder)
        for left in (folder / "traceback.txt", *folder.glob(".*.probe")):
            left.unlink(missing_ok=True)
        revision()  # of the code that was loaded, not of what it has become when the cell ends
        start = time.perf_counter()
        values: dict[str, Any] = {}
        status, reason = Status.OK, ""
        try:
            values = measure(folder)
        except KeyboardInterrupt:
            claim.check()
            raise
        except Exception as error:
            status, reason = classify(error), describe(error)
            write_text_atomically(traceback.format_exc(), folder / "traceback.txt")
        values = {**values, "duration_s": round(time.perf_counter() - start, 2)}
        source = provenance(device)
        row = Row(cell, table, status, reason, dict(labels), dict(config), values, source)
        claim.check()
        write_row(row, path)
        claim.outcome = status
        return row, True


def _done(path: Path, device: torch.device) -> Row | None:
    row = read_row(path)
    if row is None or row.status != Status.OK:
        return None
    here = slurm_job() or row.provenance.get("device") == device_name(device)
    return row if here else None


def _clear(folder: Path) -> None:
    """Removes all but the claims."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif not entry.name.startswith("claim."):
            entry.unlink(missing_ok=True)
